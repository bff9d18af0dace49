"""A model between two others is called so, within rounding, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from controls import CONTROLS, Arrays, base, fresh, noise
from program import diffai as program
from safetensors.numpy import save_file

import diffai
from diffai.analyses.change_kind import change_kind

pytestmark = pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")

FAR = noise(fresh(base()), 0.05)


def between(t: float, other: Arrays = FAR, dtype: Any = "f4") -> Arrays:
    old = base()
    return {n: ((1 - t) * a.astype("f8") + t * other[n].astype("f8")).astype(dtype) for n, a in old.items()}


def kind(old: Any, new: Any, third: Any) -> tuple[Any, Any]:
    (found,) = diffai.compare(old, new, analyses=["change_kind"], base=third).findings
    return found.fields.get("kinds"), found.fields.get("share_of_base")


@pytest.mark.parametrize("t", [0.01, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_merge_of_two_models_is_interpolated(t: float, dtype: str) -> None:
    kinds, share = kind({n: a.astype(dtype) for n, a in base().items()}, between(t, dtype=dtype),
                        {n: a.astype(dtype) for n, a in FAR.items()})  # fmt: skip
    assert kinds == ("interpolated",) and share == pytest.approx(t, abs=1e-6)


def test_a_merge_in_half_precision_is_interpolated_within_its_rounding() -> None:
    half = ml_dtypes.bfloat16
    old, far = ({n: a.astype(half) for n, a in side.items()} for side in (base(), FAR))
    new = {n: (0.5 * old[n].astype("f4") + 0.5 * far[n].astype("f4")).astype(half) for n in old}
    assert kind(old, new, far)[0] == ("interpolated",)


def test_beyond_the_base_is_extrapolated_and_at_it_is_the_base() -> None:
    assert kind(base(), between(1.5), FAR)[0] == ("extrapolated",)
    (found,) = diffai.compare(base(), FAR, analyses=["change_kind"], base=FAR).findings
    assert found.text == "interpolated (the base itself)"


@pytest.mark.parametrize("name", [name for name in CONTROLS if name != "identity"])
def test_nothing_else_is_interpolated(name: str, tmp_path: Path) -> None:
    old, new = CONTROLS[name].sides(tmp_path)
    kinds, share = kind(old, new, FAR)
    assert kinds == CONTROLS[name].kinds and share is None


def test_a_merge_that_was_trained_afterwards_is_not() -> None:
    assert kind(base(), noise(between(0.5), 0.001), FAR)[1] is None


def test_a_base_of_another_shape_is_none(tmp_path: Path) -> None:
    other = {**FAR, "head.weight": np.zeros((3, 16), "f4")}
    assert kind(base(), between(0.5), other)[1] is None


def test_the_program_says_it(tmp_path: Path) -> None:
    for name, arrays in (("a", base()), ("b", between(0.25)), ("c", FAR)):
        save_file(arrays, tmp_path / f"{name}.safetensors")
    words = ["a.safetensors", "b.safetensors", "--change-kind", "--base", "c.safetensors"]
    done = program(*words, cwd=tmp_path)
    assert done.returncode == 0 and "+ change_kind: interpolated (0.75 of the old, 0.25 of the base)" in done.stdout
    assert "interpolated" not in program(*words[:3], cwd=tmp_path).stdout


def test_all_that_quotes_the_kind_says_where_the_model_lies() -> None:
    third = FAR
    new = {name: (base()[name] + third[name]) / 2 for name in third}
    diff = diffai.compare(base(), new, analyses=["review_friendly", "change_kind"], base=third)
    said = {found.name: found.fields for found in diff.findings}
    assert said["review_friendly"]["kind"] == said["change_kind"]["phrase"] == change_kind(diff).phrase
    assert "interpolated" in said["change_kind"]["phrase"]
