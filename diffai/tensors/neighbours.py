"""Rows of an embedding, one by one: how far each turned, and who its neighbours are."""

from __future__ import annotations

import numpy as np

from diffai.frozen import slotted
from diffai.tensors.dtypes import Array

_AT_ONCE = 256


@slotted
class Turned:
    """How rows of two equal shapes lie to each other.

    Attributes:
        drift: 1 - cosine of each pair of rows, 0 to 2; NaN where one of them is all zero or not finite.
        old, new: their lengths; NaN where a value is not finite.
    """

    drift: Array
    old: Array
    new: Array


def turned(old: Array, new: Array) -> Turned:
    """How far each row turned; float64 of shape (rows, columns) on both sides.

    1 - cos = |a/|a| - b/|b||^2 / 2: of rows that are nearly the same, a product would leave no digit of it.
    """
    (left, old_lengths), (right, new_lengths) = directions(old), directions(new)
    apart = left - right
    with np.errstate(invalid="ignore"):
        return Turned(np.einsum("ij,ij->i", apart, apart) / 2, old_lengths, new_lengths)


def directions(rows: Array) -> tuple[Array, Array]:
    """Rows of length 1, and their lengths; NaN for rows that are zero (the length is 0) or not finite."""
    with np.errstate(all="ignore"):
        largest = np.abs(rows).max(axis=1, initial=0.0)
        _, exponent = np.frexp(np.where(np.isfinite(largest), largest, np.nan))
        scaled = np.ldexp(rows, -exponent[:, None])  # neither overflows nor underflows when squared
        lengths = np.sqrt(np.einsum("ij,ij->i", scaled, scaled))
        lengths[~np.isfinite(largest)] = np.nan
        return scaled / lengths[:, None], np.ldexp(lengths, exponent)


def nearest(rows: Array, k: int) -> Array:
    """The ``k`` nearest others of each row by cosine, int64 of shape (rows, k), the nearest ones in ascending number.

    Args:
        rows: float64, finite, none all zero.
        k: less than there are rows.
    """
    unit, _ = directions(rows)
    found = np.empty((len(rows), k), np.int64)
    for start in range(0, len(rows), _AT_ONCE):
        likeness = unit[start : start + _AT_ONCE] @ unit.T
        here = np.arange(len(likeness))
        likeness[here, start + here] = -np.inf
        best = np.argpartition(-likeness, k - 1, axis=1)[:, :k]
        found[start : start + len(likeness)] = np.sort(best, axis=1)
    return found


def overlap(old: Array, new: Array) -> float:
    """The mean share of neighbours that rows have in common; :func:`nearest` of both sides."""
    common = [len(np.intersect1d(a, b, assume_unique=True)) for a, b in zip(old, new, strict=True)]
    return float(np.mean(common) / old.shape[1])
