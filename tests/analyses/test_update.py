"""The size of an update is one figure over all parameters, and is not known where a part of it is not."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from diffai import api
from diffai.analyses.update import UpdateSize, shares, update_size
from diffai.comparison.result import CompareOptions

ASKED = CompareOptions(update_size=True, statistics="none")


def size_between(old: dict[str, Any], new: dict[str, Any], options: CompareOptions = ASKED) -> UpdateSize:
    return update_size(api.compare(old, new, options=options))


def arrays(seed: int, sizes: tuple[int, ...] = (5, 30_000, 7)) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {f"w{i}": rng.normal(0, 1, size).astype("f4") for i, size in enumerate(sizes)}


def flat(model: dict[str, Any]) -> Any:
    return np.concatenate([values.astype("f8") for values in model.values()])


@pytest.mark.parametrize("moved", ["w0", "w1"])
def test_identical_tensors_are_part_of_the_base(moved: str) -> None:
    old = arrays(1)
    new = old | {moved: old[moved] * np.float32(1.5)}
    size = size_between(old, new)
    assert size.relative_l2 == pytest.approx(
        np.linalg.norm(flat(new) - flat(old)) / np.linalg.norm(flat(old)), rel=1e-6
    )
    cosine = flat(old) @ flat(new) / np.linalg.norm(flat(old)) / np.linalg.norm(flat(new))
    assert size.cosine == pytest.approx(cosine, rel=1e-6)
    assert size.parameters == size.parameters_new == len(flat(new))


def test_it_is_not_known_where_the_rest_was_not_asked_for() -> None:
    old = arrays(1)
    size = size_between(old, old | {"w0": old["w0"] + 1}, CompareOptions())
    assert size.relative_l2 is None and "not asked for" in size.reason


def test_all_changed_needs_no_asking() -> None:
    old = arrays(2)
    assert size_between(old, {n: v * 2 for n, v in old.items()}, CompareOptions()).relative_l2 == pytest.approx(
        1, rel=1e-6
    )


def test_buffers_take_no_part() -> None:
    old = {"w": np.ones(4, "f4"), "bn.running_mean": np.ones(4, "f4"), "bn.num_batches_tracked": np.array(5000)}
    new = {"w": np.full(4, 2, "f4"), "bn.running_mean": np.full(4, 9, "f4"), "bn.num_batches_tracked": np.array(9000)}
    assert size_between(old, new).relative_l2 == 1.0


def test_only_elements_that_are_finite_on_both_sides() -> None:
    old = {"w": np.array([3, 4, np.nan, 1], "f4")}
    new = {"w": np.array([3, 9, 7, np.inf], "f4")}
    assert size_between(old, new).relative_l2 == 1.0


def test_a_renamed_tensor_with_equal_bytes_counts() -> None:
    value = np.arange(1, 9, dtype="f4")
    size = size_between({"a": value, "w": np.ones(4, "f4")}, {"b": value, "w": np.full(4, 2, "f4")})
    assert size.parameters == 12
    assert size.relative_l2 == pytest.approx(2 / np.sqrt(4 + (value**2).sum()), rel=1e-6)


def test_a_cast_is_decoded() -> None:
    old = {"w": np.array([1, 2, 2], "f4")}
    assert size_between(old, {"w": np.array([1, 2, 5], ml_dtypes.bfloat16)}).relative_l2 == 1.0


def test_reshaped_and_added_tensors_are_not_covered_and_it_shows() -> None:
    old = {"w": np.ones(4, "f4"), "head": np.ones((2, 2), "f4")}
    new = {"w": np.full(4, 2, "f4"), "head": np.ones((3, 2), "f4"), "more": np.ones(5, "f4")}
    size = size_between(old, new)
    assert (size.relative_l2, size.parameters, size.parameters_new) == (1.0, 4, 15)


def test_from_zero_there_is_none_and_equal_is_zero() -> None:
    zero, one = {"w": np.zeros(4, "f4")}, {"w": np.ones(4, "f4")}
    assert size_between(zero, one) == UpdateSize(None, None, 2.0, 0.0, 2.0, 4, 4)
    assert size_between(one, one).relative_l2 == 0.0


def test_values_that_were_not_read_have_no_size() -> None:
    size = size_between(arrays(1), arrays(2), CompareOptions(shape_only=True, update_size=True))
    assert size == UpdateSize(parameters_new=30_012, reason="values were not compared")


def test_shares_of_the_squared_update() -> None:
    old = {"a": np.zeros(2, "f4"), "b": np.zeros(2, "f4"), "c": np.zeros(2, "f4")}
    new = {"a": np.array([3, 0], "f4"), "b": np.array([0, 4], "f4"), "c": np.zeros(2, "f4")}
    found = shares(api.compare(old, new))
    assert [(change.name, share) for change, share in found] == [("b", pytest.approx(0.64)), ("a", pytest.approx(0.36))]


def test_a_tensor_of_several_blocks_that_is_equal_in_part() -> None:
    old = {"w": np.full(1_300_000, 2, "f4"), "equal": np.full(1_200_000, 1, "f4")}
    moved = old["w"].copy()
    moved[1_100_000:] += 1
    size = size_between(old, old | {"w": moved})
    assert size.relative_l2 == pytest.approx(np.sqrt(200_000 / (4 * 1_300_000 + 1_200_000)), rel=1e-6)
