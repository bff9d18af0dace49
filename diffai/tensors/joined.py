"""Final figures of many small pairs that were compared in one block, without an object for each step of each pair."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diffai.model import Cast, Delta, NonFinite, PairFigures, Statistics
from diffai.tensors.delta import SCALES, Difference, Rule, compare_columns
from diffai.tensors.dtypes import Array
from diffai.tensors.statistics import Side

IDENTICAL = PairFigures(identical=True)
_FINITE = NonFinite()


def finish_joined(
    old: Side, new: Side, rule: Rule, same: Sequence[bool], dtypes: tuple[str, str] | None, *, norms: bool = False
) -> list[PairFigures]:
    """One result a segment.

    Args:
        old, new: both sides of one block, in which every segment is a whole tensor.
        rule: by which they are compared.
        same: segments that are identical.
        dtypes: of both sides' values, where statistics are wanted; else None.
        norms: whether the norms of identical segments are wanted.
    """
    counts = old.segments.counts.tolist()
    columns = compare_columns(old, new, rule)
    casts: Sequence[Cast | None] = [None] * len(counts)
    if rule.target or len(columns) == SCALES:
        differences = [Difference(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]
        deltas = [difference.delta(count) for difference, count in zip(differences, counts, strict=True)]
        if rule.target:
            casts = [difference.cast() for difference in differences]
    else:
        deltas = _deltas(columns, counts)
    olds = _statistics(old, dtypes[0] if dtypes else "", counts)
    news = _statistics(new, dtypes[1] if dtypes else "", counts)
    equal: Sequence[PairFigures] = [IDENTICAL] * len(counts)
    if norms:
        equal = [PairFigures(identical=True, norm=delta.old_l2) for delta in deltas]
    return [
        one if is_same else PairFigures(False, delta, cast, before, after, nonfinite=strange)
        for is_same, one, delta, cast, before, after, strange in zip(
            same, equal, deltas, casts, olds, news, _nonfinite(old, new), strict=True
        )
    ]


def _nonfinite(old: Side, new: Side) -> Sequence[tuple[NonFinite, NonFinite] | None]:
    """Counts of each segment on both sides; None where both have none."""
    if old.finite is None and new.finite is None:
        return [None] * len(old.segments.starts)
    sides = [
        [NonFinite(*row) for row in zip(*(column.tolist() for column in side.specials()), strict=True)]
        for side in (old, new)
    ]
    return [None if pair == (_FINITE, _FINITE) else pair for pair in zip(*sides, strict=True)]


def _statistics(side: Side, dtype: str, counts: Sequence[int]) -> Sequence[Statistics | None]:
    if not dtype:
        return [None] * len(counts)
    return [moments.statistics(dtype, count) for moments, count in zip(side.moments(), counts, strict=True)]


def _deltas(columns: Sequence[Array], counts: Sequence[int]) -> list[Delta]:
    """What :meth:`Difference.delta` gives, by the same operations on whole columns; nothing is scaled."""
    joint, changed, tolerated, nonfinite, largest, total, squares, dot, old_squares, new_squares = columns[:10]
    joint = np.maximum(joint, 1)
    l2, old_l2, new_l2 = np.sqrt(squares), np.sqrt(old_squares), np.sqrt(new_squares)
    relative = (l2 / old_l2).tolist()
    cosine = np.clip(dot / (old_l2 * new_l2), -1.0, 1.0).tolist()
    for index in np.flatnonzero(old_squares == 0).tolist():
        relative[index] = cosine[index] = None
    for index in np.flatnonzero(new_squares == 0).tolist():
        cosine[index] = None
    figures = (changed, tolerated, nonfinite, largest, total / joint, np.sqrt(squares / joint), l2)
    norms = (old_l2.tolist(), new_l2.tolist())
    rows = zip(counts, *(column.tolist() for column in figures), relative, cosine, *norms, strict=True)
    return [Delta(*row) for row in rows]
