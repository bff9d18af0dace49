"""How alike tensors of one shape are: Pearson's correlation of the same elements of each, over a bounded sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diffai.model import Checkpoint, TensorSpec
from diffai.tensors.blocks import file_order, span, unit_bits
from diffai.tensors.dtypes import Array, decode64, has_values

FEWEST = 64
"""Elements below which a correlation proves nothing."""

LEAST = 0.5
"""Correlation from which on one tensor is taken for the other, changed."""

FARTHEST = 10.0
"""How many times wider the values of one tensor may be spread: a table and its square root correlate, too."""

_MOST = 4096
_RUNS = 16
_PRODUCTS = 200_000_000
_HELD = 4_000_000


def alike(
    old: Checkpoint, new: Checkpoint, olds: Sequence[TensorSpec], news: Sequence[TensorSpec]
) -> list[tuple[TensorSpec, TensorSpec]]:
    """Pairs of which each is the other's best among tensors of its shape, with a correlation of at least :data:`LEAST`.

    Standard deviations of a pair are within a factor of :data:`FARTHEST`: no training changes a tensor further.
    Non-finite elements count as the mean. Tensors of fewer than :data:`FEWEST` elements, without values or without
    variation are in no pair. Of large ones a sample is read: the same elements of each.

    Raises:
        SourceError: bytes are gone.
    """
    groups: dict[tuple[int, ...], tuple[list[TensorSpec], list[TensorSpec]]] = {}
    for side, specs in enumerate((olds, news)):
        for spec in specs:
            if spec.elements >= FEWEST and has_values(spec.values_dtype) and not spec.lacking:
                groups.setdefault(spec.shape, ([], []))[side].append(spec)
    pairs = []
    for left, right in groups.values():
        if not left or not right:
            continue
        size = _PRODUCTS // (len(left) * len(right))
        size = min(size, _MOST, _HELD // (len(left) + len(right)))
        if size < FEWEST:  # thousands of tensors of one shape: each looks like some other
            continue
        rows = [_standardised(checkpoint, specs, size) for checkpoint, specs in ((old, left), (new, right))]
        (first, wide), (second, wider) = rows
        near = np.abs(wide[:, None] - wider) <= np.log(FARTHEST)
        pairs += [(left[i], right[j]) for i, j in _mutual(np.where(near, np.einsum("ik,jk->ij", first, second), 0))]
    return pairs


def agreeing(
    old: Checkpoint, new: Checkpoint, pairs: Sequence[tuple[TensorSpec, TensorSpec]]
) -> list[tuple[TensorSpec, TensorSpec]]:
    """Those of pairs that something else suggests, of equal shape, whose values do not contradict it.

    Their correlation is at least :data:`LEAST`; of fewer than :data:`FEWEST` elements, or of constants, neither is
    further from the other than half of its length.

    Raises:
        SourceError: bytes are gone.
    """
    kept = []
    for before, after in pairs:
        if any(not has_values(spec.values_dtype) or spec.lacking or not spec.elements for spec in (before, after)):
            continue
        if before.elements >= FEWEST:
            (a,), (b,) = (_standardised(side, [spec], _MOST)[0] for side, spec in ((old, before), (new, after)))
            if a.any() and b.any():
                kept += [(before, after)] * bool(a @ b >= LEAST)
                continue
        a, b = (np.nan_to_num(_sample(side, spec, _MOST)) for side, spec in ((old, before), (new, after)))
        with np.errstate(all="ignore"):
            apart, least = np.linalg.norm(b - a), min(np.linalg.norm(a), np.linalg.norm(b))
        kept += [(before, after)] * bool(apart <= LEAST * least)
    return kept


def _mutual(likeness: Array) -> list[tuple[int, int]]:
    """Row and column of each value that is the greatest of both and great enough."""
    best = likeness.argmax(axis=1)
    back = likeness.argmax(axis=0)
    return [(i, j) for i, j in enumerate(best.tolist()) if back[j] == i and likeness[i, j] >= LEAST]


def _standardised(checkpoint: Checkpoint, specs: Sequence[TensorSpec], size: int) -> tuple[Array, Array]:
    """One row a tensor, of mean 0 and length 1, and the logarithm of its deviation; zero where nothing varies."""
    spreads = np.zeros(len(specs))
    rows: list[Array] = [np.empty(0)] * len(specs)
    for index in file_order(checkpoint, specs):
        row = _sample(checkpoint, specs[index], size)
        finite = np.isfinite(row)
        row = np.where(finite, row, 0.0)
        largest = np.abs(row).max()
        if largest > 0:
            row = row / largest
        row = np.where(finite, row - row.sum() / max(int(finite.sum()), 1), 0.0)
        length = np.sqrt(np.add.reduce(row * row))
        varies = length > 1e-12 * len(row)  # rounding of a constant is no variation
        rows[index] = row / length if varies else np.zeros_like(row)
        if varies:
            spreads[index] = np.log(largest) + np.log(length)
    return np.stack(rows), spreads


def _sample(checkpoint: Checkpoint, spec: TensorSpec, size: int) -> Array:
    """The tensor's values, or those of runs evenly spread over it; which ones depends on shape and size alone."""
    count, run = spec.elements, size // _RUNS // 2 * 2 or 2
    starts = [0] if count <= size else [(count - run) * place // (_RUNS - 1) // 2 * 2 for place in range(_RUNS)]
    stops = [count] if count <= size else [start + run for start in starts]
    parts = []
    for start, stop in zip(starts, stops, strict=True):
        offset, length = span(unit_bits(spec), start, stop)
        raw = np.empty(length, np.uint8)
        checkpoint.read_into(spec, offset, raw.data)
        with np.errstate(all="ignore"):
            parts.append(decode64(spec.values_dtype, raw, stop - start).high)
    return np.concatenate(parts).astype(np.float64, copy=False)
