from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from planted import Arrays, base, changed, noise

from diffai import api
from diffai.comparison.models import Input, compare_models
from diffai.comparison.result import ModelDiff
from diffai.model import Absent, FetchCommand, LfsPointer, NotAModel, Unreadable
from diffai.views.markdown import render_markdown
from diffai.views.text import TextOptions, render_text


def lines_of(old: Arrays, new: Arrays, compare: dict[str, Any] | None = None, **text: Any) -> list[str]:
    diff = api.compare(old, new, api.CompareOptions(**(compare or {})))
    return render_text(diff, TextOptions(**text))


def model(layers: int, seed: int = 0) -> Arrays:
    rng = np.random.default_rng(seed)
    arrays = {
        f"model.layers.{layer}.self_attn.{name}_proj.weight": rng.normal(0, 1, (4, 4)).astype("f4")
        for layer in range(layers)
        for name in "qkvo"
    }
    arrays["model.embed_tokens.weight"] = rng.normal(0, 1, (7, 4)).astype("f4")
    return arrays


def test_the_documented_block() -> None:
    old = {"fc1.bias": np.array([0.0, 1.0], "f4"), "head.weight": np.zeros((10, 4), "f4"), "aux.weight": np.arange(3, dtype="f4"),
           "encoder.w": np.arange(8, dtype="f4")}  # fmt: skip
    new = {"fc1.bias": np.array([0.5, 1.0], "f4"), "head.weight": np.zeros((12, 4), "f4"), "proj.weight": np.arange(5, dtype="f4"),
           "encoder.weight": np.arange(8, dtype="f4")}  # fmt: skip
    assert lines_of(old, new) == [
        "Model Changes:",
        "  Structure: 1 added, 1 removed, 1 renamed, 1 reshaped",
        "  Parameters: 53 -> 63 (+18.9% change)",
        "  Weight updates: 10.0% of parameters modified",
        "  - aux.weight: shape=[3], dtype=F32",
        "  > encoder.w -> encoder.weight (identical)",
        "  ~ fc1.bias: mean=0.5000->0.7500, std=0.5000->0.2500",
        "  ~ head.weight: shape=[10, 4] -> [12, 4]",
        "  + proj.weight: shape=[5], dtype=F32",
        "  Kind: renamed ('w' -> 'weight') and resized (head.weight 10 -> 12 rows, proj.weight added, aux.weight removed) and fc1.bias changed",
    ]


def test_equal_inputs_are_one_line() -> None:
    assert lines_of(base(), base()) == ["No differences found"]


def test_a_large_model_folds_by_layer() -> None:
    old = model(32)
    new = {name: value * np.float32(1.01) if "layers" in name else value for name, value in old.items()}
    assert lines_of(old, new) == [
        "Model Changes: F32, 129 tensors, 2,076 parameters",
        "  No structural changes",
        "  Weight updates: 98.7% of parameters modified (128 of 129 tensors, relative L2 of the changed tensors 0.01)",
        "  ~ model.layers.[0-31].self_attn.{k,o,q,v}_proj.weight  x128  relative L2 0.01",
        "  = model.embed_tokens.weight unchanged",
        "  Kind: scaled by 1.01 (all but model.embed_tokens.weight)",
    ]


def test_details_unfold_and_list_what_is_unchanged() -> None:
    old = model(32)
    new = {name: value + np.float32(1) if "layers" in name else value for name, value in old.items()}
    lines = lines_of(old, new, tensor_details=True)
    assert sum(line.startswith("  ~ ") for line in lines) == 128
    assert "  = model.embed_tokens.weight: identical" in lines


def test_a_cap_counts_what_it_hides() -> None:
    lines = lines_of(base(), changed(noise(0.1)), max_lines=5)
    assert sum(line.startswith("  ~ ") for line in lines) == 5
    assert lines[-2] == "  … 16 more lines hidden (16 changed tensors; [output] max_tensor_display lifts the limit)"


def test_small_changes_are_hidden_only_with_a_count() -> None:
    old = {"a": np.ones(4, "f4"), "b": np.ones(4, "f4")}
    new = {"a": np.ones(4, "f4") * np.float32(1.00001), "b": np.ones(4, "f4") * 2}
    lines = lines_of(old, new, threshold=1e-3)
    assert [line[:5] for line in lines if line.startswith("  ~")] == ["  ~ b"]
    assert "  (1 small change below relative L2 0.001 hidden (filter_small_changes))" in lines


def test_diff_only_drops_tensors_that_did_not_change_and_never_the_summary() -> None:
    old, new = base(), changed(lambda a: a.__setitem__("model.layers.0.norm.weight", np.zeros(32, "f4")))
    lines = lines_of(old, new, diff_only=True)
    assert [line for line in lines if line.startswith("  =")] == []
    assert [line.split(":")[0].strip() for line in lines[:4]] == [
        "Model Changes", "No structural changes", "Parameters", "Weight updates",
    ]  # fmt: skip


def test_stats_are_tensor_lines_only_and_structure_has_none() -> None:
    old = {"w": np.zeros(3, "f4"), "x": np.zeros(2, "f4")}
    new = {"w": np.ones(3, "f4"), "x": np.zeros((2, 1), "f4")}
    assert [line.split(":")[0] for line in lines_of(old, new, stats=True)] == ["  ~ w", "  ~ x"]
    structure = lines_of(old, new, show_structure=True)
    assert structure[0] == "Model Changes:"
    assert [line for line in structure if line.startswith("  ~")] == ["  ~ x: shape=[2] -> [2, 1]"]


def test_largest_change_first() -> None:
    old = {"a": np.ones(4, "f4"), "b": np.ones(4, "f4")}
    new = {"a": np.ones(4, "f4") * 1.5, "b": np.ones(4, "f4") * 3}
    lines = lines_of(old, new, {"by_magnitude": True})
    assert [line[:5] for line in lines if line.startswith("  ~")] == ["  ~ b", "  ~ a"]


def test_shape_only_says_that_values_were_not_compared() -> None:
    lines = lines_of(base(), changed(noise(0.1)), {"shape_only": True})
    assert lines == ["No differences found in names, shapes and dtypes (values were not compared)"]
    new = base()
    del new["model.embed_tokens.weight"]
    lines = lines_of(base(), new, {"shape_only": True})
    assert lines[-1] == ("  (20 tensor pairs: only headers were read (--shape-only): values were not compared)")


def test_ignored_tensors_are_counted_and_named() -> None:
    lines = lines_of(base(), changed(noise(0.1)), {"ignore": ("layers", "embed")})
    assert lines == [
        "No differences found",
        "  (20 tensors or keys ignored by --ignore-keys-regex layers)",
        "  (1 tensor or key ignored by --ignore-keys-regex embed)",
    ]


def test_a_hostile_name_stays_on_its_line_and_sends_no_escape() -> None:
    hostile = "x\n+ forged.weight\x1b[2J"
    lines = lines_of({"a": np.ones(2, "f4")}, {"a": np.ones(2, "f4"), hostile: np.ones(2, "f4")})
    assert lines[-2] == "  + x\\n+ forged.weight\\x1b[2J: shape=[2], dtype=F32"


def test_new_nan_is_loud() -> None:
    lines = lines_of({"w": np.ones(2, "f4")}, {"w": np.array([1, np.nan], "f4")})
    assert "  ! NaN or Inf appeared in 1 tensor: w" in lines
    assert (
        lines[-3] == "  ~ w: mean=1.0000->1.0000, std=0.0000->0.0000, NaN 0->1, 1 of 2 values changed, max |d|=0.0000"
    )


def side(state: Any) -> Input:
    return Input("model.pt", state=state)


def compare_states(old: Input, new: Input) -> ModelDiff:
    return compare_models(old, new)


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (LfsPointer("ab" * 32, 4_100_000_000, "m.pt", (FetchCommand("git-lfs", ("git", "lfs", "fetch", "origin"), ("/m.pt",), ("v1",), "-I", ","),)), "LFS object not downloaded (4.1 GB, sha256:abababababab); bring it with: git lfs fetch origin v1 -I /m.pt"),
        (LfsPointer("ab" * 32, 4_100_000_000, "m.pt"), "LFS object not downloaded (4.1 GB, sha256:abababababab)"),
        (Unreadable("header is cut", "safetensors", "ST02", "", 8), "unreadable safetensors: header is cut at offset 8 (ST02)"),
        (NotAModel("is empty (0 bytes)"), "is empty (0 bytes)"),
    ],
)  # fmt: skip
def test_a_side_without_checkpoint_is_named_and_nothing_is_invented(state: Any, text: str) -> None:
    opened = Input("a", api.open_checkpoint({"w": np.ones(2)}))
    lines = render_text(compare_states(opened, side(state)))
    assert lines[1] == f"! new: model.pt: {text}"
    assert not any(line.lstrip().startswith("-") for line in lines)


def test_an_added_model_is_listed_as_added() -> None:
    opened = Input("a", api.open_checkpoint({"w": np.ones(2, "f4")}))
    lines = render_text(compare_states(side(Absent()), opened))
    assert lines[0].startswith("Model Changes: added, ")
    assert lines[-1] == "  + w: shape=[2], dtype=F32"


def test_training_tensors_fold_into_one_line() -> None:
    from diffai.model import TensorSpec

    checkpoint = api.open_checkpoint({"w": np.ones(2, "f4"), "optimizer": {"exp_avg": np.ones(2, "f4")}, "epoch": 3})
    other = api.open_checkpoint({"w": np.ones(2, "f4"), "optimizer": {"exp_avg": np.zeros(2, "f4")}, "epoch": 4})
    for opened in (checkpoint, other):
        spec = opened.tensors["optimizer.exp_avg"]
        opened.tensors["optimizer.exp_avg"] = TensorSpec(
            spec.name, spec.dtype, spec.shape, spec.nbytes, role="training"
        )  # type: ignore[index]
    lines = render_text(api.compare(checkpoint, other))
    assert "  Parameters: 2 -> 2 (0% change)" in lines
    assert "  Weight updates: 0% of parameters modified" in lines
    assert "  Training state: changed (1 tensor, 1 value)" in lines
    assert lines[-2:] == ["  ~ epoch: 3 -> 4", "  Kind: training state only"]


def test_a_healed_nan_is_not_said_to_have_appeared_and_a_change_of_kind_is_loud() -> None:
    old = model(20)
    first, second, third = list(old)[:3]
    bad = {name: value.copy() for name, value in old.items()}
    bad[first][0, 0] = np.nan
    assert f"  NaN or Inf healed in 1 tensor: {first}" in lines_of(bad, old)
    assert not any("!" in line for line in lines_of(bad, old))
    worse = {name: value + np.float32(1) for name, value in bad.items()}
    worse[first][0, 0], worse[second][0, 0], worse[third][0, 0] = np.inf, np.nan, np.nan
    lines = lines_of(bad, worse)
    assert len(lines) < 20  # folded
    assert lines[1:3] == [
        f"  ! NaN or Inf appeared in 2 tensors: {second}, {third}",
        f"  ! NaN or Inf changed kind in 1 tensor: {first}",
    ]


def test_a_folded_line_keeps_its_largest_relative_l2_beside_one_from_zero() -> None:
    old = {f"l.{i}.w": np.full((2, 2), 1 + i, "f4") for i in range(50)}
    new = {name: value + np.float32(1) for name, value in old.items()}
    old["l.7.w"] = np.zeros((2, 2), "f4")
    (line,) = [line for line in lines_of(old, new) if line.startswith("  ~")]
    assert line == "  ~ l.[0-49].w  x50  relative L2 0.02..1.0000 (most: l.0.w), n/a for 1"


def test_a_value_that_was_infinite_before_a_cast_did_not_overflow() -> None:
    old = {"w": np.array([1, np.inf, 3], "f2")}
    assert "  ~ w: dtype=F16 -> F32 (lossless)" in lines_of(old, {"w": old["w"].astype("f4")})
    moved = old["w"].astype("f4") + np.array([1, 0, 0], "f4")
    assert "overflow" not in "".join(lines_of(old, {"w": moved}))
    came = np.array([np.inf, np.inf, 3], "f4")
    assert "overflow" not in "".join(lines_of(old, {"w": came}))
    wide = {"w": np.array([70_000, np.inf, 3], "f4")}
    with np.errstate(over="ignore"):
        assert "1 overflowed" in "".join(lines_of(wide, {"w": wide["w"].astype("f2")}))


def test_training_state_is_one_line_and_no_structure() -> None:
    from diffai.model import TensorSpec

    def opened(moments: int) -> Any:
        checkpoint = api.open_checkpoint(
            {"w": np.ones(2, "f4")} | {f"optimizer.state.{i}": np.ones(2, "f4") for i in range(moments)}
        )
        for name, spec in list(checkpoint.tensors.items()):
            role = "training" if name.startswith("optimizer") else "weight"
            checkpoint.tensors[name] = TensorSpec(name, spec.dtype, spec.shape, spec.nbytes, role=role)  # type: ignore[index]
        return checkpoint

    diff = api.compare(opened(18), opened(0))
    assert diff.structure_changes == 0
    lines = render_text(diff)
    assert "  No structural changes" in lines
    assert "  Training state: dropped (18 tensors)" in lines
    assert not any(line.startswith("  -") for line in lines)
    markdown = render_markdown(diff)
    assert markdown[markdown.index("**TRAINING STATE**") + 2] == "- dropped (18 tensors)"
    assert "  Training state: added (18 tensors)" in render_text(api.compare(opened(0), opened(18)))
    assert "  Training state: changed (8 tensors)" in render_text(api.compare(opened(10), opened(18)))


def test_a_mean_has_no_digits_that_rounding_made() -> None:
    rng = np.random.default_rng(1)
    half = rng.normal(0, 1, 50_000).astype("f4")
    old = np.concatenate([half, -half])
    new = np.concatenate([2 * half, -half - half])
    rng.shuffle(old)
    rng.shuffle(new)
    (line,) = [line for line in lines_of({"w": old}, {"w": new}) if line.startswith("  ~")]
    assert line.startswith("  ~ w: mean=0.0000->0.0000, std=")
