"""Figures of joined pairs, made on whole columns, are those that are made pair by pair."""

from __future__ import annotations

import numpy as np
import pytest

from diffai.model import NonFinite, PairFigures
from diffai.tensors.delta import Difference, Rule, compare_values
from diffai.tensors.dtypes import decode64
from diffai.tensors.joined import IDENTICAL, finish_joined
from diffai.tensors.statistics import Moments, Segments, Side

COUNTS = [1, 7, 1, 64, 3, 200, 12]


def blocks(kind: str, dtype: str) -> tuple[Side, Side]:
    """Both sides of a block of seven tensors; some equal, some zero, some odd."""
    generator = np.random.default_rng(len(kind))
    total = sum(COUNTS)
    old = generator.normal(size=total)
    new = np.where(generator.random(total) < 0.5, old, old + generator.normal(size=total) * 1e-3)
    old[1:8] = 0.0
    new[9:73] = -0.0
    match kind:
        case "huge":
            old *= 1e250
            new *= 1e250
        case "tiny":
            old *= 1e-200
            new *= 1e-200
        case "odd":
            old[[20, 80, 90]] = np.nan, np.inf, -np.inf
            new[[20, 80, 91]] = np.nan, -np.inf, np.nan
    segments = Segments(np.cumsum(COUNTS) - COUNTS, np.array(COUNTS))
    with np.errstate(all="ignore"):
        raws = [values.astype({"F64": "f8", "F32": "f4", "I64": "i8"}[dtype]).view(np.uint8) for values in (old, new)]
    return Side(decode64(dtype, raws[0], total), segments), Side(decode64(dtype, raws[1], total), segments)


def counted(*sides: Moments) -> tuple[NonFinite, ...] | None:
    """Counts of both sides; None where there are none."""
    counts = tuple(NonFinite(side.nans, side.positive_infs, side.negative_infs) for side in sides)
    return None if counts == (NonFinite(), NonFinite()) else counts


@pytest.mark.parametrize("kind", ["plain", "huge", "tiny", "odd"])
@pytest.mark.parametrize("dtype", ["F64", "F32", "I64"])
@pytest.mark.parametrize("rule", [Rule(), Rule(1e-4, 1e-4), Rule(target="BF16")], ids=["exact", "tolerant", "cast"])
@pytest.mark.parametrize("statistics", [True, False])
def test_they_are_bit_for_bit_those_of_single_pairs(kind: str, dtype: str, rule: Rule, statistics: bool) -> None:
    with np.errstate(all="ignore"):
        old, new = blocks(kind, dtype)
        same = [False, False, True, False, False, False, True]
        found = finish_joined(old, new, rule, same, (dtype, dtype) if statistics else None)
        rows = zip(same, COUNTS, compare_values(old, new, rule), old.moments(), new.moments(), strict=True)
        expected = [
            IDENTICAL
            if is_same
            else PairFigures(
                False, difference.delta(count), difference.cast() if rule.target else None,
                before.statistics(dtype, count) if statistics else None,
                after.statistics(dtype, count) if statistics else None,
                nonfinite=counted(before, after),
            )
            for is_same, count, difference, before, after in rows
        ]  # fmt: skip
    assert repr(found) == repr(expected)  # repr tells -0.0 from 0.0, 1 from 1.0 and every last bit
    assert isinstance(compare_values(old, new, rule)[0], Difference)
