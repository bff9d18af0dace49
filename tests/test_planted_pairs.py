"""The planted pairs that other tools get wrong: each must come out right here, from real files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted import BF16, F8, F16, Q0, UP0, Arrays, base, cast_to, changed, flip_one_bit, noise, put
from safetensors.numpy import save_file

import diffai
from diffai.comparison.result import ModelDiff


@pytest.fixture
def compare(tmp_path: Path) -> Any:
    def run(old: Arrays, new: Arrays, **options: Any) -> ModelDiff:
        for name, arrays in (("old", old), ("new", new)):
            save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, tmp_path / f"{name}.safetensors")
        return diffai.compare(
            tmp_path / "old.safetensors", tmp_path / "new.safetensors", diffai.CompareOptions(**options)
        )

    return run


def test_identical_files_are_identical(compare: Any) -> None:
    diff = compare(base(), base())
    assert not diff.differs
    assert {c.status for c in diff.tensors} == {("identical",)}


def test_one_flipped_bit_is_one_changed_value(compare: Any) -> None:
    diff = compare(base(), changed(flip_one_bit))
    (change,) = diff.changes
    assert (change.name, change.status) == (Q0, ("changed",))
    assert change.figures.delta.changed_count == 1
    assert 0 < change.figures.delta.max_abs < 1e-8


def test_a_permuted_tensor_differs_though_its_statistics_agree(compare: Any) -> None:
    def flip(arrays: Arrays) -> None:
        arrays[Q0] = arrays[Q0][::-1].copy()

    diff = compare(base(), changed(flip))
    (change,) = diff.changes
    figures = change.figures
    assert figures.old_statistics.mean == pytest.approx(figures.new_statistics.mean)
    assert figures.delta.changed_count == 1024


@pytest.mark.parametrize("dtype", [BF16, F16, F8])
def test_a_whole_model_cast_is_a_cast_and_nothing_else(compare: Any, dtype: Any) -> None:
    diff = compare(base(), changed(cast_to(dtype)))
    assert {c.status for c in diff.tensors} == {("cast",)}
    assert all(c.figures.cast.rounded for c in diff.tensors)
    assert diff.totals.modified == 0
    assert diff.structure_changes == 0


def test_a_cast_with_one_other_change_says_where(compare: Any) -> None:
    new = changed(cast_to(BF16))
    new[Q0][0, 0] = 1.0
    diff = compare(base(), new)
    assert [c.name for c in diff.tensors if "changed" in c.status] == [Q0]


@pytest.mark.parametrize(
    ("value", "field"), [(np.nan, "nan_count"), (np.inf, "pos_inf_count"), (-np.inf, "neg_inf_count")]
)
def test_one_nonfinite_value(compare: Any, value: float, field: str) -> None:
    diff = compare(base(), changed(put(value)))
    (change,) = diff.changes
    assert change.figures.delta.changed_count == 1
    assert change.figures.delta.max_abs == 0.0  # deltas are over jointly finite values
    assert getattr(change.figures.old_statistics, field) == 0
    assert getattr(change.figures.new_statistics, field) == 1


def test_a_whole_tensor_of_nan(compare: Any) -> None:
    def overwrite(arrays: Arrays) -> None:
        arrays[Q0][:] = np.nan

    (change,) = compare(base(), changed(overwrite)).changes
    assert change.figures.delta.changed_count == 1024
    assert change.figures.new_statistics.nan_count == 1024
    assert change.figures.new_statistics.mean is None


def test_the_same_nan_on_both_sides_is_no_change(compare: Any) -> None:
    one, two = changed(put(np.nan)), changed(put(np.nan))
    two[Q0].view("u4")[0, 0] |= 5  # another payload
    diff = compare(one, two)
    assert not diff.differs
    assert diff.totals.equal_by_value == 1


def test_minus_zero_equals_zero(compare: Any) -> None:
    diff = compare(changed(put(0.0)), changed(put(-0.0)))
    assert not diff.differs
    assert "bytes differ, values equal" in diffai.render_text(diff)[0]


def test_a_merged_low_rank_update_changes_its_four_tensors_only(compare: Any) -> None:
    rng = np.random.default_rng(3)

    def merge(arrays: Arrays) -> None:
        for layer in range(4):
            update = rng.normal(0, 0.01, (32, 4)) @ rng.normal(0, 0.01, (4, 32))
            arrays[f"model.layers.{layer}.self_attn.q_proj.weight"] += update.astype("f4")

    diff = compare(base(), changed(merge))
    assert len(diff.changes) == 4
    assert all("q_proj" in c.name and c.figures.delta.changed_count > 1000 for c in diff.changes)


def test_every_name_prefixed_is_21_renames(compare: Any) -> None:
    diff = compare(base(), {f"module.{name}": value for name, value in base().items()})
    assert {c.status for c in diff.tensors} == {("renamed",)}
    assert diff.totals.renamed == 21
    assert (diff.totals.added, diff.totals.removed) == (0, 0)


def test_every_name_prefixed_and_fine_tuned(compare: Any) -> None:
    diff = compare(base(), {f"module.{name}": value for name, value in changed(noise(1e-4)).items()})
    assert {c.status for c in diff.tensors} == {("renamed", "changed")}
    assert {c.evidence for c in diff.tensors} == {"prefix"}


def test_renamed_modules_are_paired_by_content(compare: Any) -> None:
    diff = compare(base(), {name.replace("up_proj", "fc1"): value for name, value in base().items()})
    assert diff.totals.renamed == 4
    assert diff.totals.unchanged == 17


def test_constant_tensors_are_never_called_renamed_by_content(compare: Any) -> None:
    old, new = base(), base()
    old["a.norm.weight"] = np.ones(32, "f4")
    new["b.scale"] = np.ones(32, "f4")
    diff = compare(old, new)
    assert (diff.totals.added, diff.totals.removed, diff.totals.renamed) == (1, 1, 0)


def test_reshape_and_transpose_are_shape_changes(compare: Any) -> None:
    def reshape(arrays: Arrays) -> None:
        arrays[Q0] = arrays[Q0].reshape(64, 16)
        arrays[UP0] = arrays[UP0].T.copy()

    diff = compare(base(), changed(reshape))
    assert {(c.name, c.status) for c in diff.changes} == {(Q0, ("reshaped",)), (UP0, ("reshaped",))}
    assert diff.totals.reshaped == 2


def test_metadata_only(tmp_path: Path) -> None:
    save_file(base(), tmp_path / "old.safetensors", metadata={"version": "1.0"})
    save_file(base(), tmp_path / "new.safetensors", metadata={"version": "2.0"})
    diff = diffai.compare(tmp_path / "old.safetensors", tmp_path / "new.safetensors")
    assert diff.differs
    assert not diff.changes
    assert [(m.key, m.old, m.new) for m in diff.metadata] == [("version", "1.0", "2.0")]


@pytest.mark.parametrize("dtype", [np.float32, BF16, F16, F8, np.float64])
def test_a_full_fine_tune_changes_every_matrix_in_every_dtype(compare: Any, dtype: Any) -> None:
    old = changed(cast_to(dtype))
    diff = compare(old, changed(noise(0.01), old))
    assert {c.status for c in diff.tensors if "norm" not in c.name} == {("changed",)}
    assert 0.001 < diff.totals.changed_relative_l2 < 1


def test_a_large_integer_step_is_seen(compare: Any) -> None:
    old = {"index": np.array([2**40 + 1, 2**53 + 1, -(2**63)], "i8")}
    new = {"index": np.array([2**40 + 2, 2**53, -(2**63) + 1], "i8")}
    (change,) = compare(old, new).changes
    assert change.figures.delta.changed_count == 3
    assert change.figures.new_statistics.min == -(2**63) + 1


def test_a_tiny_double_precision_step_is_seen(compare: Any) -> None:
    old = changed(cast_to(np.float64))
    diff = compare(old, {name: value + 1e-12 for name, value in old.items()})
    assert diff.totals.changed == 21
    flat = np.concatenate([value.ravel() for value in old.values()])
    moved = np.concatenate([(value + 1e-12).ravel() for value in old.values()])
    assert diff.totals.changed_relative_l2 == pytest.approx(np.linalg.norm(moved - flat) / np.linalg.norm(flat), rel=1e-12)


def test_integer_weights(compare: Any) -> None:
    rng = np.random.default_rng(0)
    old = {"w": rng.integers(-128, 127, (64, 64)).astype("i1")}
    new = {"w": old["w"].copy()}
    new["w"][3, 4] ^= 1
    (change,) = compare(old, new).changes
    assert (change.figures.delta.changed_count, change.figures.delta.max_abs) == (1, 1.0)


def test_zero_size_and_scalar_tensors(compare: Any) -> None:
    old = {"empty": np.zeros((0, 4), "f4"), "scalar": np.array(1.5, "f4")}
    diff = compare(old, {"empty": np.zeros((0, 4), "f4"), "scalar": np.array(2.5, "f4")})
    assert [(c.name, c.status) for c in diff.tensors] == [("empty", ("identical",)), ("scalar", ("changed",))]


@pytest.mark.parametrize(("epsilon", "rtol", "same"), [(1e-3, 0.0, True), (1e-9, 0.0, False), (0.0, 1.0, False)])
def test_tolerances_act_on_elements(compare: Any, epsilon: float, rtol: float, same: bool) -> None:
    old = {"w": np.array([0.0, 1.0, 2.0], "f4")}
    new = {"w": np.array([1e-6, 1.0, 2.0], "f4")}
    diff = compare(old, new, epsilon=epsilon, rtol=rtol)
    assert diff.differs is not same
    if same:
        assert "within epsilon tolerance" in diffai.render_text(diff)[0]


def test_a_relative_tolerance_never_makes_a_number_equal_infinity(compare: Any) -> None:
    assert compare({"w": np.array([1.0], "f4")}, {"w": np.array([np.inf], "f4")}, rtol=1e30).differs
    assert compare({"w": np.array([np.inf], "f4")}, {"w": np.array([1.0], "f4")}, rtol=1e30).differs


def test_relative_l2_from_zero_is_undefined(compare: Any) -> None:
    (change,) = compare({"w": np.zeros(4, "f4")}, {"w": np.ones(4, "f4")}).changes
    assert change.figures.delta.relative_l2 is None
    assert change.figures.delta.l2 == 2.0
