"""Large blocks in float32, for the dtypes whose values float32 holds exactly; or a refusal, never a wrong figure.

Why float32 is enough here. A difference of two float32 is rounded by at most 2**-24 of itself, and is zero only where
the values are equal (subnormals are kept). Sums are taken over rows of 128 and 256 elements, whose results are added
in float64: the rounding of one row is at most (row / lanes + log2(lanes)) * 2**-24 of its terms, below 1e-6 with
the 8 lanes of the oldest vector unit that matters, and in practice near 1e-8 after averaging over rows. The functions
return None, and the block is done again in float64, where that reasoning does not hold: a value is NaN or infinite or
so great that squares overflow, or all are so small that squares lose digits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from diffai.frozen import frozen
from diffai.tensors.delta import Difference
from diffai.tensors.dtypes import NAN_OF_FNUZ, Array, decode64
from diffai.tensors.statistics import Moments

# OpenBLAS starts threads of its own, which would fight with ours, for matrices of 9,216 elements and dots of 10,000:
# both products are taken in smaller pieces. Blocks are zero-filled to whole pieces.
_SUM_ROW = 128
_SUM_PIECE = 64 * _SUM_ROW
_SQUARE_ROW = 256
PADDING = _SUM_PIECE
# Squares of values below 2**-50 approach float32's subnormals.
_SMALLEST = 2.0**-50
_HUGE = 2 << 20
_HUGE_FROM = 4 << 20
_ONES = np.ones(_SUM_ROW, np.float32)


def padded(count: int) -> int:
    """Round ``count`` up to the padding."""
    return -(-count // PADDING) * PADDING


class Lanes:
    """Room for float32 rows of one block: old, new and their distance, one after the other.

    Args:
        capacity: elements of the largest block.
    """

    def __init__(self, capacity: int) -> None:
        """Allocate once; each thread has its own."""
        size = padded(capacity)
        needed = 14 * size  # bytes: three rows of float32, two masks
        # numpy asks for huge pages from 4 MiB on; with those these passes take a tenth less time.
        memory = np.zeros(max(needed, _HUGE_FROM) + _HUGE, np.uint8)
        skip = -memory.ctypes.data % _HUGE
        self._memory = memory[skip : skip + 12 * size].view(np.float32)
        self._mask = memory[skip + 12 * size : skip + needed].view(np.bool_)

    def rows(self, count: int, sides: int) -> Array:
        """float32 rows for ``sides`` sides and the distance: shape (sides + 1, padded count), padding zeroed."""
        size = padded(count)
        rows = self._memory[: (sides + 1) * size].reshape(sides + 1, size)
        if size != count:
            rows[:, count:] = 0
        return rows

    def masks(self, count: int) -> Array:
        """Scratch for two masks: bool, shape (2, count)."""
        return self._mask[: 2 * count].reshape(2, count)


@frozen
class Known:
    """What the codes of one side of a block tell before any sum is taken.

    Attributes:
        count: elements, all finite.
        low, high: extremes.
        zeros: of either sign.
    """

    count: int
    low: float
    high: float
    zeros: int


def in_range(low: float, high: float, limit: float) -> bool:
    """Whether float32 sums of squares can be trusted for these extremes; a NaN fails every comparison.

    Args:
        low, high: of a block.
        limit: greatest magnitude that is to be trusted.
    """
    largest = max(-low, high)
    return -limit <= low and high <= limit and (largest >= _SMALLEST or largest == 0.0)


def _sums(rows: Array) -> list[float]:
    """Sum of each row (contiguous rows of padded length)."""
    parts = np.matmul(rows.reshape(-1, _SUM_PIECE // _SUM_ROW, _SUM_ROW), _ONES)
    sums: list[float] = np.add.reduce(parts.reshape(len(rows), -1), axis=1, dtype=np.float64).tolist()
    return sums


def _squares(rows: Array, other: Array) -> list[float]:
    """Sum of products of each row of ``rows`` with that of ``other``."""
    left = rows.reshape(len(rows), -1, 1, _SQUARE_ROW)
    right = other.reshape(len(rows), -1, _SQUARE_ROW, 1)
    parts = np.matmul(left, right).reshape(len(rows), -1)
    sums: list[float] = np.add.reduce(parts, axis=1, dtype=np.float64).tolist()
    return sums


def compare_rows(rows: Array, sides: Sequence[Known], *, keep: bool) -> tuple[Difference, Moments, Moments] | None:
    """Figures of a block, or None where it must be done in float64.

    Args:
        rows: from :meth:`Lanes.rows` with old and new in the first two; the others are overwritten.
        sides: what is known of each.
        keep: the values of ``new`` are needed afterwards; else they may be overwritten too.
    """
    count = sides[0].count
    old, new, spare = rows
    sums, squares = _sums(rows[:2]), _squares(rows[:2], rows[:2])
    moments = [_moments(rows[i, :count], spare, sums[i], squares[i], sides[i]) for i in (0, 1)]
    close = 0.25 * squares[0] <= squares[1] <= 4.0 * squares[0]
    dot = 0.0 if close else _squares(rows[:1], rows[1:2])[0]
    distance = rows[2:] if keep else rows[1:2]  # in place costs less memory traffic
    np.subtract(new, old, out=distance[0])
    np.absolute(distance, out=distance)
    greatest = float(np.maximum.reduce(distance[0]))
    if 0.0 < greatest < _SMALLEST:
        return None
    distances = _squares(distance, distance)[0]
    if close:
        # Of norms within a factor of two this is as exact as the sum of products, and more so near a cosine of 1.
        dot = 0.5 * (squares[0] + squares[1] - distances)
    difference = Difference(
        joint=count, changed=int(np.count_nonzero(distance.view(np.uint32))), max_abs=greatest,
        sum_abs=_sums(distance)[0], sum_squares=distances,
        dot=dot, old_squares=squares[0], new_squares=squares[1],
    )  # fmt: skip
    return difference, moments[0], moments[1]


def summarise_row(rows: Array, side: Known) -> Moments:
    """Moments of one side: as :func:`compare_rows`, with rows for one side (the second is scratch)."""
    return _moments(rows[0, : side.count], rows[1], _sums(rows[:1])[0], _squares(rows[:1], rows[:1])[0], side)


def _moments(row: Array, scratch: Array, total: float, squares: float, side: Known) -> Moments:
    """Moments from the sums about zero or, where these have lost digits, about the mean."""
    count, low, high = side.count, side.low, side.high
    mean = total / count
    m2 = squares - total * mean
    if low == high:
        mean, m2 = low, 0.0
    elif m2 < 0.25 * squares:
        # The mean outweighs the deviation: subtract it first (exactly rounded in float32), then sum again.
        pivot = np.float32(mean)
        scratch[count:] = 0
        np.subtract(row, pivot, out=scratch[:count])
        rest = _sums(scratch[np.newaxis])[0]
        mean = float(pivot) + rest / count
        m2 = _squares(scratch[np.newaxis], scratch[np.newaxis])[0] - rest * (rest / count)
    return Moments(count, mean, m2, low, high, side.zeros)


# ---------------------------------------------------------------- what codes tell

# Extremes and zeros of a block come from its stored codes, which are up to four times narrower than decoded values. The
# codes of a small float are ordered as signed integers among the positive values, and as unsigned ones backwards among
# the negative. NaN and infinity lie beyond the finite values on both sides, so the extremes tell of them too.

# Unsigned and signed view of each dtype's codes.
_FLOAT_CODES: Mapping[str, tuple[str, str]] = {
    "BF16": ("<u2", "<i2"), "F16": ("<u2", "<i2"), "F8_E4M3": ("u1", "i1"), "F8_E5M2": ("u1", "i1"),
    "F8_E4M3FNUZ": ("u1", "i1"), "F8_E5M2FNUZ": ("u1", "i1"),
}  # fmt: skip
_INTEGER_CODES: Mapping[str, str] = {"I8": "i1", "U8": "u1", "I16": "<i2", "U16": "<u2", "BOOL": "u1"}

CODED = frozenset((*_FLOAT_CODES, *_INTEGER_CODES))


def extremes(dtype: str, raw: Array) -> tuple[float, float]:
    """Least and greatest value; NaN or infinite where the block holds such a value, on one side at least.

    Args:
        dtype: one of :data:`CODED`.
        raw: uint8, the bytes of at least one element.
    """
    if dtype in _INTEGER_CODES:
        codes = raw.view(_INTEGER_CODES[dtype])
        low, high = int(np.minimum.reduce(codes)), int(np.maximum.reduce(codes))
        return (float(low > 0), float(high > 0)) if dtype == "BOOL" else (float(low), float(high))
    kinds = _FLOAT_CODES[dtype]
    unsigned, signed = raw.view(kinds[0]), raw.view(kinds[1])
    last, top = int(np.maximum.reduce(unsigned)), int(np.maximum.reduce(signed))
    if dtype.endswith("FNUZ") and int(np.minimum.reduce(signed)) == NAN_OF_FNUZ - 256:
        return np.nan, np.nan
    high = top if top >= 0 else int(np.minimum.reduce(unsigned))  # all negative: the first of those
    low = last if last >> (8 * unsigned.itemsize - 1) else int(np.minimum.reduce(signed))  # or none negative
    return _value(dtype, low), _value(dtype, high)


@lru_cache(maxsize=4096)
def _value(dtype: str, code: int) -> float:
    """The number that one unsigned code of a float dtype stands for."""
    raw = np.array([code], _FLOAT_CODES[dtype][0]).view(np.uint8)
    return float(decode64(dtype, raw, 1).high[0])


def count_zeros(dtype: str, raw: Array, scratch: Array) -> int:
    """Number of zeros of either sign.

    Args:
        dtype: one of :data:`CODED`.
        raw: uint8.
        scratch: as many bytes, aligned, overwritten.
    """
    if dtype in _INTEGER_CODES or dtype.endswith("FNUZ"):  # FNUZ kinds have no negative zero
        codes = raw.view(_INTEGER_CODES.get(dtype, "u1"))
    else:
        with_sign = raw.view(_FLOAT_CODES[dtype][0])
        codes = scratch.view(np.uint8)[: len(raw)].view(with_sign.dtype)
        np.bitwise_and(with_sign, (1 << (8 * codes.itemsize - 1)) - 1, out=codes)
    return len(codes) - int(np.count_nonzero(codes))
