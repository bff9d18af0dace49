"""CatBoost's binary models against what CatBoost itself says of them (tests/data/catboost); hostile files."""

from __future__ import annotations

import contextlib
import json
import random
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from diffai.comparison.models import Input, compare_models
from diffai.comparison.result import ModelDiff
from diffai.errors import DiffaiError, FormatError, LimitError
from diffai.formats import registry
from diffai.formats.base import Budget, Limits
from diffai.formats.flatbuffers import Pages, Table
from diffai.model import Checkpoint
from diffai.sources.local import MemoryBytes

DATA = Path(__file__).parent.parent / "data" / "catboost"
EXPECTED = json.loads((DATA / "expected.json").read_text())
DTYPES = {"F64": "<f8", "I32": "<i4", "U8": "u1"}


def content(name: str) -> bytes:
    return (DATA / f"{name}.cbm").read_bytes()


def opened(data: bytes, limits: Limits = Limits()) -> Checkpoint:
    return registry.open_checkpoint(MemoryBytes(data, label="m.bin"), limits)


def values(checkpoint: Checkpoint, name: str) -> np.ndarray:  # type: ignore[type-arg]
    spec = checkpoint.tensors[name]
    data = bytearray(spec.nbytes)
    checkpoint.read_into(spec, 0, memoryview(data))
    return np.frombuffer(data, DTYPES[spec.dtype]).reshape(spec.shape)


def diff_of(old: bytes, new: bytes) -> ModelDiff:
    return compare_models(Input("a", opened(old)), Input("b", opened(new)))


def trees_of(data: bytes) -> Table:
    """The table of trees; places in it count from the ninth byte of the file."""
    table = Pages(MemoryBytes(data[8:]), Budget(Limits())).root().table(1)
    assert table is not None
    return table


def patched(data: bytes, field: int, number: int, code: str, value: float) -> bytes:
    """The model with one number of a vector of the trees replaced."""
    start, count = trees_of(data).vector(field, struct.calcsize(code))
    assert number < count
    at = 8 + start + number * struct.calcsize(code)
    return data[:at] + struct.pack(f"<{code}", value) + data[at + struct.calcsize(code) :]


SIZES, LEAVES, STEPS, SPLITS = 2, 8, 10, 1


# ---------------------------------------------------------------- what CatBoost says


@pytest.mark.parametrize("name", EXPECTED)
def test_features_scale_and_bias_are_those_of_catboost(name: str) -> None:
    checkpoint, said = opened(content(name)), EXPECTED[name]
    assert checkpoint.format == "catboost"
    scale, bias = said["scale_and_bias"]
    assert checkpoint.metadata["scale"] == scale and values(checkpoint, "bias").tolist() == bias
    info = said["features_info"]
    rows = [(row, "float") for row in info["float_features"]]
    rows += [(row, "categorical") for row in info.get("categorical_features", ())]
    for row, kind in rows:
        place = row["flat_feature_index"]
        nans = ", NaN is false" if row.get("nan_value_treatment") == "AsFalse" else ""
        assert checkpoint.graph[f"feature {place}"] == f"{row['feature_id'] or place} ({kind}{nans})"


@pytest.mark.parametrize("name", [name for name in EXPECTED if "oblivious_trees" in EXPECTED[name]])
def test_oblivious_trees_are_those_of_catboost(name: str) -> None:
    checkpoint, said = opened(content(name)), EXPECTED[name]
    trees = said["oblivious_trees"]
    flat = {row["feature_index"]: row["flat_feature_index"] for row in said["features_info"]["float_features"]}
    for number, tree in enumerate(trees):
        thresholds, features = (values(checkpoint, f"trees.{number}.{what}") for what in ("thresholds", "features"))
        assert thresholds.tolist() == [split.get("border", split.get("value")) for split in tree["splits"]]
        for split, feature in zip(tree["splits"], features.tolist(), strict=True):
            if split["split_type"] == "FloatFeature":
                assert feature == flat[split["float_feature_index"]]
            elif split["split_type"] == "OneHotFeature":
                assert checkpoint.graph[f"feature {feature}"].endswith("(categorical)")
            else:
                assert feature >= len(flat) + len(said["features_info"].get("categorical_features", ()))
        assert values(checkpoint, f"trees.{number}.leaf_values").ravel().tolist() == tree["leaf_values"]
        assert values(checkpoint, f"trees.{number}.leaf_weights").tolist() == tree["leaf_weights"]
    assert checkpoint.facts["trees"] == len(trees) == len(checkpoint.parts["trees"])
    assert checkpoint.facts["leaves"] == sum(len(tree["leaf_weights"]) for tree in trees)
    assert checkpoint.facts["max depth"] == max(len(tree["splits"]) for tree in trees)
    assert checkpoint.metadata["trees are"] == "oblivious"


def test_trees_that_are_not_oblivious_are_those_of_catboost() -> None:
    checkpoint, trees = opened(content("lossguide")), EXPECTED["lossguide"]["trees"]

    def leaves(node: dict) -> list[tuple[float, float]]:  # type: ignore[type-arg]
        return [(node["value"], node["weight"])] if "value" in node else leaves(node["left"]) + leaves(node["right"])

    def walk(node: int, tree: int) -> list[float]:
        """The leaves below a node, from left to right, as the children of our tensors lead to them."""
        children = values(checkpoint, f"trees.{tree}.children")
        ends = np.flatnonzero((children < 0).any(axis=1)).tolist()
        own = values(checkpoint, f"trees.{tree}.leaf_values")[ends.index(node)] if node in ends else None
        if (children[node] < 0).all():
            return [float(own)]
        return [leaf for child in children[node].tolist() for leaf in ([float(own)] if child < 0 else walk(child, tree))]

    def borders(node: dict) -> list[float]:  # type: ignore[type-arg]
        return [] if "value" in node else [node["split"]["border"], *borders(node["left"]), *borders(node["right"])]

    for number, tree in enumerate(trees):
        assert walk(0, number) == [value for value, _ in leaves(tree)]
        assert sorted(values(checkpoint, f"trees.{number}.thresholds").tolist()) == sorted(borders(tree))
        assert sorted(values(checkpoint, f"trees.{number}.leaf_weights").tolist()) == sorted(weight for _, weight in leaves(tree))
    assert checkpoint.facts["leaves"] == sum(len(leaves(tree)) for tree in trees)
    assert checkpoint.metadata["trees are"] == "not oblivious"


def test_tables_of_categories_are_named_and_counted() -> None:
    checkpoint = opened(content("categorical"))
    assert checkpoint.graph["counted feature 0"].startswith("Borders(colour), target border 0, prior ")
    assert checkpoint.graph["counts.0"] == "Borders(colour), 0 in all, 2 classes"
    assert int(values(checkpoint, "counts.0.counts").sum()) == 200  # each row of the training data once
    assert "counts.0.hashes" in checkpoint.tensors and checkpoint.tensors["counts.0.hashes"].role == "index"
    assert [checkpoint.facts[f"splits on {name}"] for name in ("age", "h")] == [2, 4]
    hashes = {row["hash"] for row in EXPECTED["onehot"]["features_info"]["cat_features_hash"]}
    one_hot = opened(content("onehot"))
    found = [values(one_hot, f"trees.{number}.thresholds").tolist() for number in range(3)]
    assert {int(value) & 0xFFFFFFFF for row in found for value in row if abs(value) > 1000} <= hashes
    assert one_hot.facts["splits on colour"] == 3


def test_other_parts_are_compared_as_bytes() -> None:
    data = content("text")
    assert opened(data).tensors["parts"].dtype == "BYTES" and "feature 1" in opened(data).graph
    diff = diff_of(data, data[:-1] + bytes([data[-1] ^ 1]))
    assert [change.name for change in diff.changes] == ["parts"] and not diff.equal


def test_options_are_metadata_and_what_training_measured_is_training_state() -> None:
    checkpoint = opened(content("oblivious"))
    assert checkpoint.metadata["params.loss_function.type"] == "Logloss"
    assert checkpoint.metadata["params.flat_params.iterations"] == 3
    assert "training.metrics.learn_best_error.Logloss" in checkpoint.training and "train_finish_time" in checkpoint.training


# ---------------------------------------------------------------- what changed


def test_one_more_round_keeps_the_trees_that_were_there() -> None:
    diff = diff_of(content("oblivious"), content("longer"))
    assert [(part.kind, part.old, part.new, part.identical) for part in diff.parts] == [
        ("trees", 3, 4, 3), ("trees' splits", 3, 4, 3),
    ]  # fmt: skip
    assert {change.name.rsplit(".", 1)[0] for change in diff.changes} == {"trees.3"}


def test_a_leaf_and_a_border_that_moved_are_told_apart() -> None:
    data = content("oblivious")
    leaf = diff_of(data, patched(data, LEAVES, 5, "d", 0.125))
    assert [change.name for change in leaf.changes] == ["trees.1.leaf_values"]
    assert [(part.kind, part.identical) for part in leaf.parts] == [("trees", 2)]  # and all splits
    split = diff_of(data, patched(data, SPLITS, 0, "i", 5))
    assert {change.name for change in split.changes} == {"trees.0.thresholds", "trees.0.features"}
    assert [(part.kind, part.identical) for part in split.parts] == [("trees", 2), ("trees' splits", 2)]


def test_a_border_that_no_tree_uses_is_a_difference() -> None:
    data = patched(content("oblivious"), SPLITS, 0, "i", 4)  # nobody uses split 3 any more
    feature = next(iter(trees_of(data).tables(5)))
    start, _ = feature.vector(3, 4)
    at = 8 + start + 3 * 4
    diff = diff_of(data, data[:at] + struct.pack("<f", 0.1) + data[at + 4 :])
    assert not diff.equal and [change.key for change in diff.metadata] == ["splits that no tree uses"]


# ---------------------------------------------------------------- hostile files and the program


def lies() -> dict[str, tuple[bytes, str]]:
    plain, grown, counted = content("oblivious"), content("lossguide"), content("categorical")
    return {
        "cut off": (plain[:-100], "CB01"),
        "no core": (b"CBM1\0\0\0\0", "CB01"),
        "an offset out of the file": (plain[:8] + b"\xff\xff\xff\x7f" + plain[12:], "CB01"),
        "a split that is none": (patched(plain, SPLITS, 2, "i", 999), "CB02"),
        "a split below zero": (patched(plain, SPLITS, 2, "i", -1), "CB02"),
        "a tree that is too deep": (patched(plain, SIZES, 0, "i", 6), "CB03"),
        "a tree of less than nothing": (patched(plain, SIZES, 0, "i", -2), "CB03"),
        "splits of no tree": (patched(plain, SIZES, 2, "i", 1), "CB03"),
        "a child outside its tree": (patched(grown, STEPS, 1, "H", 60000), "CB04"),
        "a child twice": (patched(grown, STEPS, 1, "H", 1), "CB04"),
        "a leaf without values": (patched(grown, 11, 7, "I", 1 << 31), "CB03"),
        "tables that are cut off": (counted[:-9], "CB06"),
        "a damaged table": (counted[: -len(counted) + counted.rindex(b"\x14\0\0\0\0\0\x0e\0")] + b"\xff" * 8 + counted[counted.rindex(b"\x14\0\0\0\0\0\x0e\0") + 8 :], "CB06"),
    }  # fmt: skip


@pytest.mark.parametrize("case", lies())
def test_lies_are_refused_by_number(case: str) -> None:
    data, code = lies()[case]
    with pytest.raises(FormatError) as caught:
        opened(data)
    assert (caught.value.code, caught.value.format) == (code, "catboost")
    assert [problem.code for problem in registry.check(MemoryBytes(data, label="m"), Limits())] == [code]


def test_a_long_core_and_deep_options_are_bounded() -> None:
    with pytest.raises(LimitError, match="maxHeader"):
        opened(content("oblivious"), Limits(max_header=1000))
    with pytest.raises(LimitError, match="maxDepth"):
        opened(content("oblivious"), Limits(max_depth=1))


def test_damaged_files_give_our_errors_and_no_others() -> None:
    random_ = random.Random(11)
    samples = [content(name) for name in ("oblivious", "lossguide", "categorical", "multiclass", "text")]
    for number in range(1500):
        data = bytearray(samples[number % len(samples)])
        for _ in range(random_.randint(1, 6)):
            place = random_.randrange(4, len(data)) if number % 2 else random_.randrange(4, 400)
            data[place] = random_.choice((0, 1, 0x7F, 0xFF, random_.randrange(256)))
        with contextlib.suppress(DiffaiError):
            checkpoint = opened(bytes(data))
            for spec in checkpoint.tensors.values():
                checkpoint.read_into(spec, 0, memoryview(bytearray(spec.nbytes)))


def test_the_program_compares_two_models(tmp_path: Path) -> None:
    for name, source in (("a.cbm", "oblivious"), ("b.cbm", "longer")):
        (tmp_path / name).write_bytes(content(source))
    run = subprocess.run([sys.executable, "-m", "diffai", "a.cbm", "b.cbm"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0 and "+ trees.3.leaf_values" in run.stdout, run.stdout + run.stderr
    assert "trees: 3 -> 4, 3 identical" in run.stdout
