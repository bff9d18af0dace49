"""XGBoost and LightGBM against the libraries themselves: values, counts, importances; hostile documents."""

from __future__ import annotations

import contextlib
import json
import pickle
import random
import re
import struct
import subprocess
import sys
from functools import cache
from pathlib import Path

import lightgbm
import numpy as np
import pytest
import xgboost

from diffai.comparison.models import Input, compare_models
from diffai.comparison.result import ModelDiff
from diffai.errors import DiffaiError, FormatError, LimitError
from diffai.formats import registry
from diffai.formats.base import Budget, Limits
from diffai.formats.boosting.documents import Ubjson
from diffai.model import Checkpoint
from diffai.sources.local import MemoryBytes

DTYPES = {"F32": "<f4", "F64": "<f8", "I32": "<i4", "U8": "u1", "U32": "<u4"}


def opened(data: bytes, limits: Limits = Limits()) -> Checkpoint:
    return registry.open_checkpoint(MemoryBytes(bytes(data), label="m.bin"), limits)


def values(checkpoint: Checkpoint, name: str) -> np.ndarray:  # type: ignore[type-arg]
    spec = checkpoint.tensors[name]
    data = bytearray(spec.nbytes)
    checkpoint.read_into(spec, 0, memoryview(data))
    return np.frombuffer(data, DTYPES[spec.dtype]).reshape(spec.shape)


def diff_of(old: bytes, new: bytes) -> ModelDiff:
    return compare_models(Input("a", opened(old)), Input("b", opened(new)))


@cache
def table() -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    rng = np.random.default_rng(0)
    columns = rng.normal(size=(300, 4))
    columns[:, 3] = rng.integers(0, 6, 300)
    return columns, (columns[:, 0] + columns[:, 3] > 2).astype(int)


@cache
def xgb(rounds: int = 4, kind: str = "json", booster: str = "gbtree", **more: object) -> tuple[xgboost.Booster, bytes]:
    columns, wanted = table()
    named = {} if booster == "gblinear" else {"feature_names": list("abcd"), "feature_types": ["float"] * 3 + ["c"]}
    matrix = xgboost.DMatrix(columns, wanted, enable_categorical=True, **named)
    options = {"objective": "binary:logistic", "max_depth": 3, "booster": booster, "max_cat_to_onehot": 1, "nthread": 1, **more}
    model = xgboost.train(options, matrix, num_boost_round=rounds)
    model.set_attr(note="kept")
    return model, bytes(model.save_raw(kind))


@cache
def lgb(rounds: int = 3, **more: object) -> tuple[lightgbm.Booster, bytes]:
    columns, wanted = table()
    data = lightgbm.Dataset(columns, wanted, categorical_feature=[3], feature_name=list("abcd"), free_raw_data=False)
    options = {"objective": "binary", "num_leaves": 6, "verbose": -1, "num_threads": 1, "min_data_per_group": 5, **more}
    model = lightgbm.train(options, data, num_boost_round=rounds)
    return model, model.model_to_string().encode()


# ---------------------------------------------------------------- XGBoost


@pytest.mark.parametrize("kind", ["json", "ubj"])
@pytest.mark.parametrize("booster", ["gbtree", "dart"])
def test_xgboost_has_the_trees_that_the_library_dumps(kind: str, booster: str) -> None:
    model, data = xgb(4, kind, booster)
    checkpoint = opened(data)
    assert checkpoint.format == "xgboost"
    dumped = [json.loads(tree) for tree in model.get_dump(dump_format="json")]
    leaves, thresholds = [], []

    def walk(node: dict) -> None:  # type: ignore[type-arg]
        if "leaf" in node:
            leaves.append((int(node["nodeid"]), node["leaf"]))
        elif not isinstance(node["split_condition"], list):
            thresholds.append(node["split_condition"])
        for child in node.get("children", ()):
            walk(child)

    for number, tree in enumerate(dumped):
        leaves.clear()
        thresholds.clear()
        walk(tree)
        ours = values(checkpoint, f"trees.{number}.leaf_values")
        assert np.array_equal(ours, np.array([leaf for _, leaf in sorted(leaves)], "f4"))
        assert set(np.array(thresholds, "f4")) <= set(values(checkpoint, f"trees.{number}.thresholds"))
    assert checkpoint.facts["trees"] == 4 and checkpoint.facts["max depth"] == 3
    uses, gains = model.get_score(importance_type="weight"), model.get_score(importance_type="total_gain")
    for name in uses:
        assert checkpoint.facts[f"splits on {name}"] == uses[name]
        assert checkpoint.facts[f"gain of {name}"] == pytest.approx(gains[name], rel=1e-5)
    assert len(checkpoint.parts["trees"]) == 4
    said = checkpoint.metadata
    # From 3.4 on the library itself calls "dart" a "gbtree".
    kept = json.loads(model.save_raw("json"))["learner"]["gradient_booster"]["name"]
    assert said["objective"] == "binary:logistic" and said["booster"] == kept and said["attributes.note"] == "kept"
    assert isinstance(said["base_score"], float) and said["num_feature"] == 4
    assert dict(checkpoint.graph) == {"feature 0": "a (float)", "feature 1": "b (float)", "feature 2": "c (float)", "feature 3": "d (c)"}


@pytest.mark.parametrize("booster", ["gbtree", "dart", "gblinear"])
def test_json_and_ubjson_of_one_model_are_equal(booster: str) -> None:
    diff = diff_of(xgb(4, "json", booster)[1], xgb(4, "ubj", booster)[1])
    assert diff.equal and not diff.changes and not diff.metadata and not diff.graph


def test_one_more_round_keeps_the_trees_that_were_there() -> None:
    diff = diff_of(xgb(4)[1], xgb(5)[1])
    (trees, splits) = diff.parts
    assert (trees.kind, trees.old, trees.new, trees.identical) == ("trees", 4, 5, 4) and splits.identical == 4
    assert {change.name.rsplit(".", 1)[0] for change in diff.changes} == {"trees.4"}
    assert ("num_trees", 4, 5) in [(c.key, c.old, c.new) for c in diff.metadata]


def test_a_moved_threshold_is_one_changed_element_and_leaves_other_trees_alone() -> None:
    data = xgb(4)[1]
    document = json.loads(data)
    trees = document["learner"]["gradient_booster"]["model"]["trees"]
    inner = next(n for n, left in enumerate(trees[2]["left_children"]) if left >= 0 and not trees[2]["split_type"][n])
    trees[2]["split_conditions"][inner] += 0.5
    diff = diff_of(data, json.dumps(document).encode())
    assert [change.name for change in diff.changes] == ["trees.2.thresholds"]
    assert [(part.kind, part.identical) for part in diff.parts] == [("trees", 3), ("trees' splits", 3)]


def test_new_leaves_under_the_same_splits_are_told_apart() -> None:
    data = xgb(4)[1]
    document = json.loads(data)
    for tree in document["learner"]["gradient_booster"]["model"]["trees"]:
        tree["split_conditions"] = [
            value if left >= 0 else value * 2 for value, left in zip(tree["split_conditions"], tree["left_children"], strict=True)
        ]
    diff = diff_of(data, json.dumps(document).encode())
    assert {change.name.rsplit(".", 1)[1] for change in diff.changes} == {"leaf_values"}
    assert [(part.kind, part.identical) for part in diff.parts] == [("trees", 0)]


def test_another_feature_and_another_objective_are_shown() -> None:
    data = xgb(2)[1]
    diff = diff_of(data, data.replace(b'"b",', b'"income",').replace(b"binary:logistic", b"binary:logitraw"))
    assert [(c.key, c.old, c.new) for c in diff.graph] == [("feature 1", "b (float)", "income (float)")]
    assert [(c.key, c.new) for c in diff.metadata] == [("objective", "binary:logitraw")]


def test_several_outputs_and_a_base_score_of_older_versions() -> None:
    columns, wanted = table()
    matrix = xgboost.DMatrix(columns, np.stack([wanted, 1 - wanted], 1))
    options = {"multi_strategy": "multi_output_tree", "max_depth": 2, "tree_method": "hist", "nthread": 1}
    model = xgboost.train(options, matrix, num_boost_round=1)
    checkpoint = opened(model.save_raw("ubj"))
    leaves = values(checkpoint, "trees.0.leaf_values")
    base = np.array(json.loads(str(checkpoint.metadata["base_score"])))
    predicted = np.unique(model.predict(matrix), axis=0)
    assert np.allclose(predicted, np.unique(leaves + base, axis=0), atol=1e-6)
    data = xgb(2)[1]
    score = re.search(rb'"base_score":"\[([^]]*)\]"', data)
    assert score is not None
    older = data.replace(score.group(0), b'"base_score":"' + score.group(1) + b'"')
    assert older != data and diff_of(data, older).equal


# ---------------------------------------------------------------- LightGBM


@pytest.mark.parametrize("more", [{}, {"linear_tree": True}, {"objective": "regression"}], ids=str)
def test_lightgbm_has_the_trees_that_the_library_dumps(more: dict[str, object]) -> None:
    model, data = lgb(3, **more)
    checkpoint = opened(data)
    assert checkpoint.format == "lightgbm" and checkpoint.facts["trees"] == 3
    dumped = model.dump_model()["tree_info"]
    for number, tree in enumerate(dumped):
        leaves: dict[int, float] = {}

        def walk(node: dict, depth: int, leaves: dict[int, float] = leaves) -> int:  # type: ignore[type-arg]
            if "leaf_value" in node and "left_child" not in node:
                leaves[node.get("leaf_index", 0)] = node["leaf_value"]
                return depth
            return max(walk(node["left_child"], depth + 1), walk(node["right_child"], depth + 1))

        deepest = walk(tree["tree_structure"], 0)
        assert deepest <= checkpoint.facts["max depth"]
        assert np.array_equal(values(checkpoint, f"trees.{number}.leaf_values"), [leaves[n] for n in sorted(leaves)])
    for name, count in zip("abcd", model.feature_importance("split"), strict=True):
        assert checkpoint.facts.get(f"splits on {name}", 0) == count
    assert checkpoint.facts["leaves"] == sum(tree["num_leaves"] for tree in dumped)
    assert checkpoint.metadata["parameters.num_leaves"] == 6 and "feature 3" in checkpoint.graph


def test_lightgbm_trained_longer_keeps_its_first_trees() -> None:
    diff = diff_of(lgb(3)[1], lgb(5)[1])
    trees = diff.parts[0]
    assert (trees.kind, trees.old, trees.new, trees.identical) == ("trees", 3, 5, 3)
    assert {change.name.split(".")[1] for change in diff.changes} == {"3", "4"}


def test_lightgbm_with_line_ends_of_windows_is_the_same_model() -> None:
    data = lgb(2)[1]
    assert diff_of(data, data.replace(b"\n", b"\r\n")).equal


# ---------------------------------------------------------------- hostile documents and the program

TREE = b"Tree=0\nnum_leaves=3\nsplit_feature=0 1\nthreshold=1 2\ndecision_type=2 2\nleft_child=%s\nright_child=%s\nleaf_value=1 2 3\n"
HEAD = b"tree\nversion=v4\nfeature_names=a b\nfeature_infos=[0:1] [0:1]\n\n"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"tree\nversion=v4\n\n", "LG01"),
        (HEAD + TREE % (b"1 -1", b"-2 -3"), "LG01"),
        (HEAD + TREE % (b"x -1", b"-2 -3") + b"end of trees\n", "LG02"),
        (HEAD + TREE % (b"1", b"-2 -3") + b"end of trees\n", "LG03"),
        (HEAD + TREE % (b"1 0", b"-2 -3") + b"end of trees\n", "LG04"),
        (HEAD + TREE % (b"1 -9", b"-2 -3") + b"end of trees\n", "LG04"),
        (HEAD + TREE % (b"1 7", b"-2 -3") + b"end of trees\n", "LG04"),
        (b'{"learner":{"attributes":', "XB01"),
        (b'{"learner":{"attributes":{},"attributes":{}}}', "XB01"),
        (b'{"learner":{"attributes":{}}}', "XB02"),
        (b"{L" + bytes(7) + b"\x07learner[$d#L" + b"\x7f" * 8, "XB01"),
    ],
)  # fmt: skip
def test_lies_are_refused_by_number(data: bytes, code: str) -> None:
    with pytest.raises(FormatError) as caught:
        opened(data)
    assert caught.value.code == code
    assert [p.code for p in registry.check(MemoryBytes(data, label="m"), Limits())] == [code]


@pytest.mark.parametrize(("key", "value", "code"), [
    ("left_children", [1, -1], "XB03"), ("left_children", [0, -1, -1, -1, -1, -1, -1], "XB04"), ("right_children", "x", "XB02"),
])  # fmt: skip
def test_a_tree_whose_arrays_lie_is_refused(key: str, value: object, code: str) -> None:
    document = json.loads(xgb(2)[1])
    tree = document["learner"]["gradient_booster"]["model"]["trees"][1]
    size = len(tree["left_children"])
    tree[key] = (value + [-1] * size)[:size] if isinstance(value, list) and code == "XB04" else value
    with pytest.raises(FormatError) as caught:
        opened(json.dumps(document).encode())
    assert (caught.value.code, caught.value.tensor) == (code, "trees.1")


def test_depth_and_length_are_bounded() -> None:
    deep = b'{"learner":{"attributes":' + b'{"a":' * 500 + b"1" + b"}" * 502
    with pytest.raises(LimitError, match="maxDepth"):
        opened(deep)
    with pytest.raises(LimitError, match="maxHeader"):
        opened(xgb(4)[1], Limits(max_header=1000))


def test_every_kind_of_ubjson_value_is_read() -> None:
    parts = {b"i\x01z": b"Z", b"i\x01t": b"T", b"i\x01u": b"U\xff", b"i\x01I": b"I\xff\xfe", b"i\x01D": b"D" + struct.pack(">d", 2.5),
             b"i\x01c": b"Cx", b"i\x01a": b"[i\x01i\x02]", b"i\x01e": b"[]", b"i\x01o": b"{$i#i\x01i\x01k\x07", b"i\x01H": b"Hi\x011"}  # fmt: skip
    found = Ubjson(b"{" + b"".join(k + v for k, v in parts.items()) + b"}", Budget(Limits())).parse()
    assert isinstance(found, dict) and found.pop("a").tolist() == [1, 2]
    wanted = {"z": None, "t": True, "u": 255, "I": -2, "D": 2.5, "c": "x", "e": [], "o": {"k": 7}, "H": "1"}
    assert {key[0]: value for key, value in found.items()} == wanted


def test_damaged_files_give_our_errors_and_no_others() -> None:
    random_ = random.Random(4)
    samples = [xgb(1)[1], xgb(1, "ubj")[1], lgb(1)[1][:1500] + b"\nend of trees\n", xgb(2, "ubj", "gblinear")[1]]
    for number in range(1500):
        data = bytearray(samples[number % len(samples)])
        for _ in range(random_.randint(1, 6)):
            data[random_.randrange(12, len(data))] = random_.choice((*b"[]{},:\"0-e.N\n ", 0, 0x7F, 0xFF, random_.randrange(256)))
        with contextlib.suppress(DiffaiError):
            opened(bytes(data))


def test_the_program_compares_and_git_needs_no_suffix(tmp_path: Path) -> None:
    for name, rounds in (("a.json", 4), ("b.json", 5)):
        (tmp_path / name).write_bytes(xgb(rounds)[1])
    run = subprocess.run([sys.executable, "-m", "diffai", "a.json", "b.json"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0 and "+ trees.4.leaf_values" in run.stdout, run.stdout + run.stderr


# ---------------------------------------------------------------- lists of numbers


def parsed(text: bytes) -> object:
    from diffai.formats.boosting.documents import Json

    return Json(text, Budget(Limits())).parse()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (b"[1, 2,-3]", [1, 2, -3]),
        (b"[9007199254740993,9223372036854775807,-9223372036854775808]", [2**53 + 1, 2**63 - 1, -(2**63)]),
        (b"[0.1, 1e-3,2.5E+4 , -0.0]", [0.1, 1e-3, 25000.0, -0.0]),
        (b"[1e400,-1e400,NaN,Infinity,-Infinity,5e-324]", [np.inf, -np.inf, np.nan, np.inf, -np.inf, 5e-324]),
        (b"[ ]", []),
        (b"[1," + b"0.5," * 50_000 + b"3]", [1.0, *[0.5] * 50_000, 3.0]),
    ],
)
def test_lists_of_numbers_are_what_json_says(text: bytes, wanted: list[float]) -> None:
    np.testing.assert_array_equal(parsed(text), np.array(wanted))


@pytest.mark.parametrize(
    "text", [b"[1,,2]", b"[,1]", b"[1,]", b"[1 2]", b"[1-2]", b"[--1]", b"[1e]", b"[.5]", b"[+1]", b"[Inf]", b"[nan]", b"[1.2.3]",
             b"[9223372036854775808]", b"[" + b"1," * 50_000 + b"x]"]
)  # fmt: skip
def test_what_is_no_number_is_refused(text: bytes) -> None:
    with pytest.raises(FormatError):
        parsed(text)


def test_trees_are_taken_as_they_come() -> None:
    """Of a long document no more than a tree at a time is held: lists outside of trees are what they were."""
    from diffai.formats.boosting.documents import Json

    seen: list[tuple[int, object]] = []
    text = b'{"a": {"trees": [{"x": 1}, {"x": 2}]}, "b": [1, 2], "trees": "none"}'
    found = Json(text, Budget(Limits()), lambda number, tree: seen.append((number, tree))).parse()
    assert seen == [(0, {"x": 1}), (1, {"x": 2})]
    assert isinstance(found, dict) and found["a"] == {"trees": 2} and found["trees"] == "none"


# ---------------------------------------------------------------- in pickles


X = np.random.default_rng(0).normal(size=(120, 4))
Y = (X[:, 0] + X[:, 1] ** 2 > 0.5).astype(int)
PICKLED = {
    "xgboost": (lambda n: xgboost.XGBClassifier(n_estimators=n, max_depth=2).fit(X, Y), "ubj"),
    "lightgbm": (lambda n: lightgbm.LGBMClassifier(n_estimators=n, verbose=-1).fit(X, Y).booster_, "txt"),
}


def pickled(model: object) -> Checkpoint:
    return registry.open_checkpoint(MemoryBytes(pickle.dumps(model), label="m.pkl"), Limits(allow_torch=False))


@pytest.mark.parametrize("library", PICKLED)
def test_a_pickled_booster_is_its_trees(library: str, tmp_path: Path) -> None:
    """What people keep in git is the estimator that they trained, not the file that the library would write of it."""
    make, suffix = PICKLED[library]
    model = make(3)
    path = tmp_path / f"m.{suffix}"
    model.save_model(path)
    saved = registry.open_checkpoint(MemoryBytes(path.read_bytes(), label=path.name), Limits())
    held = pickled(model)
    before = "_Booster." if library == "xgboost" else ""
    trees = {name: spec for name, spec in held.tensors.items() if name.startswith(f"{before}trees.")}
    assert len(trees) == len(saved.tensors)
    for name, spec in trees.items():
        other = saved.tensors[name.removeprefix(before)]
        assert (spec.dtype, spec.shape, spec.role) == (other.dtype, other.shape, other.role)
        np.testing.assert_array_equal(values(held, name), values(saved, other.name))
    assert held.facts[f"{before}trees"] == saved.facts["trees"] == 3
    assert held.safety == "builds classes"


@pytest.mark.parametrize("library", PICKLED)
def test_a_booster_trained_longer_keeps_its_first_trees_in_a_pickle_too(library: str) -> None:
    make, _ = PICKLED[library]
    diff = compare_models(Input("a", pickled(make(3))), Input("b", pickled(make(5))))
    assert [(p.old, p.new, p.identical) for p in diff.parts if p.kind.endswith("trees")] == [(3, 5, 3)]


def test_a_document_that_is_none_stays_bytes_and_its_change_shows() -> None:
    data = pickle.dumps(PICKLED["xgboost"][0](1).get_booster())
    assert data.count(b"Config") == 1

    def broken(key: bytes) -> Checkpoint:
        return registry.open_checkpoint(MemoryBytes(data.replace(b"Config", key), label="m.pkl"), Limits())

    diff = compare_models(Input("a", broken(b"\x00onfig")), Input("b", broken(b"\x01onfig")))
    assert diff.equal is False and not diff.tensors
