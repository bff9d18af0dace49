"""Doubles at both ends of their range: no count and no ratio may be lost to overflow or underflow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from diffai import api
from diffai.analyses.update import update_size

TINY, HUGE = 5e-324, 1.7e308


def compared(old: list[float], new: list[float], padding: int) -> Any:
    between = [0.0] * padding
    return api.compare({"w": np.array([*old[:1], *between, *old[1:]])}, {"w": np.array([*new[:1], *between, *new[1:]])})


@pytest.mark.parametrize("padding", [0, 70_000])
@pytest.mark.parametrize(
    ("old", "new", "changed", "relative"),
    [
        ([9.5e307, 0.0], [-HUGE, TINY], 2, (9.5e307 / 1e308 + 1.7) / 0.95),
        ([2.3e-308, -HUGE, 0.0], [2.3e-308, 1e308, TINY], 2, 2.7 / 1.7),
        ([TINY, 1e308], [0.0, -1e308], 2, 2.0),
    ],
)
def test_a_subnormal_beside_a_difference_beyond_the_range_is_counted(
    old: list[float], new: list[float], changed: int, relative: float, padding: int
) -> None:
    delta = compared(old, new, padding).tensors[0].figures.delta
    assert delta.changed_count == changed
    assert delta.relative_l2 == pytest.approx(relative, rel=1e-12)


def test_no_sum_of_such_is_made_up() -> None:
    diff = compared([HUGE, HUGE], [-HUGE, -HUGE], 0)
    assert diff.tensors[0].figures.delta.relative_l2 == pytest.approx(2.0, rel=1e-12)
    assert diff.totals.changed_relative_l2 is None
    assert update_size(diff).relative_l2 is None and "too large" in update_size(diff).reason
    assert not math.isnan(diff.tensors[0].relative_l2)
