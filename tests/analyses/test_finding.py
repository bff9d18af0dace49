"""One form for counts, shares and ratios in what findings say."""

from __future__ import annotations

import numpy as np
import pytest
from program import diffai as program
from safetensors.numpy import save_file

import diffai
from diffai.analyses.finding import counted, share_text, times_text
from diffai.views.state import describe_side

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("share", "text"), [
    (1.0, "100%"), (0.1 + 0.2 + 0.7 - 2e-16, "100%"), (0.0, "0%"), (0.98, "98%"), (0.998, "99.8%"), (0.99999, "over 99.9%"), (0.004, "0.4%"),
    (1e-5, "under 0.1%"),
])  # fmt: skip
def test_a_share_is_rounded_neither_to_all_nor_to_nothing(share: float, text: str) -> None:
    assert share_text(share) == text


@pytest.mark.parametrize(("ratio", "text"), [
    (0.5, "0.5x"), (1.0, "1x"), (28_437.0, "28,400x"), (1e300, f"{10**300:,}x"), (3.52e-5, "0.0000352x"), (0.0, "0x"),
])  # fmt: skip
def test_a_ratio_has_no_exponent(ratio: float, text: str) -> None:
    assert times_text(ratio) == text


def test_one_is_one() -> None:
    assert (counted(1, "matrix", "matrices"), counted(2_000, "tensor")) == ("1 matrix", "2,000 tensors")


def test_of_one_parameter_nothing_is_said_in_the_plural(tmp_path: Path) -> None:
    old = {"w": np.ones((1, 1), "f4"), "b": np.ones(40_000, "f4")}
    new = {"w": np.full((1, 1), 1.25, "f4")}
    save_file(old, tmp_path / "a.safetensors")
    save_file(new, tmp_path / "b.safetensors")
    flags = ("--change-summary", "--size-reduction", "--performance-impact-estimate", "--param-efficiency-analysis")
    for look in ("text", "table", "markdown"):
        for pair in (("a", "b"), ("b", "a")):
            names = [f"{name}.safetensors" for name in pair]
            text = program(*names, "-v", "--format", look, *flags, cwd=tmp_path).stdout
            for wrong in (" 1 parameters", " 1 tensors", " 1 params", "e+0", "e-0", "-100.0%"):
                assert wrong not in text, (look, wrong, text)


def test_one_more_dtype_is_one(tmp_path: Path) -> None:
    arrays = {kind: np.ones(2, kind) for kind in ("f4", "f2", "i8", "i4")}
    save_file(arrays, tmp_path / "a.safetensors")
    side = diffai.compare(tmp_path / "a.safetensors", tmp_path / "a.safetensors").old
    assert "and 1 more dtype," in describe_side(side)
