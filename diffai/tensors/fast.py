"""Large blocks in float32, for the dtypes whose values float32 holds exactly; or a refusal, never a wrong figure.

Why float32 is enough here. A difference of two float32 is rounded by at most 2**-24 of itself, and is zero only where
the values are equal (subnormals are kept). Sums are taken over rows of 128 and 256 elements, whose results are added
in float64: the rounding of one row is at most (row / lanes + log2(lanes)) * 2**-24 of its terms, below 1e-6 with
the 8 lanes of the oldest vector unit that matters, and in practice near 1e-8 after averaging over rows. The functions
return None, and the block is done again in float64, where that reasoning does not hold: a value is NaN or infinite or
so great that squares overflow, or all are so small that squares lose digits.
"""

from __future__ import annotations

import numpy as np

from diffai.tensors.delta import Difference
from diffai.tensors.dtypes import Array
from diffai.tensors.statistics import Moments

# OpenBLAS starts threads of its own, which would fight with ours, for matrices of 9,216 elements and dots of 10,000:
# both products are taken in smaller pieces. Blocks are zero-filled to whole pieces.
_SUM_ROW = 128
_SUM_PIECE = 64 * _SUM_ROW
_SQUARE_ROW = 256
PADDING = _SUM_PIECE
# Squares of values below 2**-50 approach float32's subnormals.
_SMALLEST = 2.0**-50
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
        self._memory = np.zeros(3 * size, np.float32)
        self._mask = np.empty(3 * size, np.bool_)

    def rows(self, count: int, sides: int) -> Array:
        """float32 rows for ``sides`` sides and the distance: shape (sides + 1, padded count), padding zeroed."""
        size = padded(count)
        rows = self._memory[: (sides + 1) * size].reshape(sides + 1, size)
        if size != count:
            rows[:, count:] = 0
        return rows

    def mask(self, shape: tuple[int, int]) -> Array:
        """Scratch for masks, bool, of a shape no larger than the rows."""
        return self._mask[: shape[0] * shape[1]].reshape(shape)


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


def compare_rows(rows: Array, count: int, limit: float, mask: Array) -> tuple[Difference, Moments, Moments] | None:
    """Figures of a block, or None where it must be done in float64.

    Args:
        rows: from :meth:`Lanes.rows` with old and new in the first two; the third is overwritten.
        count: elements of the block, at most the row length.
        limit: greatest magnitude that is to be trusted.
        mask: bool scratch of shape (3, count); it then tells the zeros of each row.
    """
    lows = np.minimum.reduce(rows[:2, :count], axis=1).tolist()
    highs = np.maximum.reduce(rows[:2, :count], axis=1).tolist()
    if not all(_in_range(low, high, limit) for low, high in zip(lows, highs, strict=True)):
        return None
    old, new, distance = rows
    np.subtract(new, old, out=distance)
    np.absolute(distance, out=distance)
    greatest = float(np.maximum.reduce(distance))
    if 0.0 < greatest < _SMALLEST:
        return None
    sums = _sums(rows)
    squares = _squares(rows, rows)
    dot = _squares(rows[:1], rows[1:2])[0]
    np.equal(rows[:, :count], 0, out=mask)
    zeros = [int(np.count_nonzero(row)) for row in mask]
    difference = Difference(
        joint=count, changed=count - zeros[2], max_abs=greatest, sum_abs=sums[2], sum_squares=squares[2],
        dot=dot, old_squares=squares[0], new_squares=squares[1],
    )  # fmt: skip
    sides = [_moments(rows[i, :count], distance, sums[i], squares[i], (lows[i], highs[i]), zeros[i]) for i in (0, 1)]
    return difference, sides[0], sides[1]


def summarise_row(rows: Array, count: int, limit: float, mask: Array) -> Moments | None:
    """Moments of one side: as :func:`compare_rows`, with rows for one side (the second is scratch)."""
    row = rows[0, :count]
    low, high = float(np.minimum.reduce(row)), float(np.maximum.reduce(row))
    if not _in_range(low, high, limit):
        return None
    np.equal(row, 0, out=mask[0])
    zeros = int(np.count_nonzero(mask[0]))
    return _moments(row, rows[1], _sums(rows[:1])[0], _squares(rows[:1], rows[:1])[0], (low, high), zeros)


def _in_range(low: float, high: float, limit: float) -> bool:
    """Whether float32 sums of squares can be trusted; a NaN fails every comparison."""
    largest = max(-low, high)
    return -limit <= low and high <= limit and (largest >= _SMALLEST or largest == 0.0)


def _moments(
    row: Array, scratch: Array, total: float, squares: float, extremes: tuple[float, float], zeros: int
) -> Moments:
    """Moments from the sums about zero or, where these have lost digits, about the mean."""
    count = len(row)
    low, high = extremes
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
    return Moments(count, mean, m2, low, high, zeros)
