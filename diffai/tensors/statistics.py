"""Mean, deviation, extremes and counts of one side, in pieces that merge.

Squares are always taken about a value near the mean and pieces are merged by the update of Chan, Golub and LeVeque
("Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979), so a mean a million times the
deviation costs no digits.
"""

from __future__ import annotations

import math

import numpy as np

from diffai.frozen import slotted
from diffai.model import Statistics
from diffai.tensors.dtypes import INTEGERS, Array, Values

# Squares of float64 values outside 2**-SAFE .. 2**SAFE may overflow or lose digits; they are scaled first.
_SAFE = 400
_DOT = 8192


@slotted
class Moments:
    """What merges to Statistics. mean and m2 are over the finite values, divided by 2**e and 2**(2e), e = exponent.

    Attributes:
        finite: number of finite values.
        m2: sum of squared deviations from the mean.
        low, high: extremes of the finite values (not scaled); +inf, -inf where there are none.
    """

    finite: int = 0
    mean: float = 0.0
    m2: float = 0.0
    low: float | int = math.inf
    high: float | int = -math.inf
    zeros: int = 0
    nans: int = 0
    positive_infs: int = 0
    negative_infs: int = 0
    exponent: int = 0

    @property
    def square_sum(self) -> float:
        """Sum of squares about zero, divided by 2**(2 * exponent)."""
        return self.m2 + self.finite * self.mean * self.mean

    @property
    def norm(self) -> float:
        """L2 of the finite values."""
        return rescale(math.sqrt(max(self.square_sum, 0.0)), self.exponent)

    def add(self, other: Moments) -> None:
        """Merge the moments of further elements into these."""
        self.zeros += other.zeros
        self.nans += other.nans
        self.positive_infs += other.positive_infs
        self.negative_infs += other.negative_infs
        if not other.finite:
            return
        self.low = min(self.low, other.low)
        self.high = max(self.high, other.high)
        if not self.finite:
            self.finite, self.mean, self.m2, self.exponent = other.finite, other.mean, other.m2, other.exponent
            return
        mean, m2 = other.mean, other.m2
        if other.exponent != self.exponent:
            # Zeros have any exponent; otherwise the greater one keeps the greater values exact.
            contents = [item.exponent for item in (self, other) if item.mean or item.m2]
            common = max(contents, default=0)
            self.mean = rescale(self.mean, self.exponent - common)
            self.m2 = rescale(self.m2, 2 * (self.exponent - common))
            mean, m2 = rescale(mean, other.exponent - common), rescale(m2, 2 * (other.exponent - common))
            self.exponent = common
        total = self.finite + other.finite
        shift = mean - self.mean
        self.mean += shift * (other.finite / total)
        self.m2 += m2 + shift * shift * (self.finite * (other.finite / total))
        self.finite = total

    def statistics(self, dtype: str, elements: int) -> Statistics:
        """The figures people see; ``dtype`` decides whether extremes are integers."""
        mean = std = low = high = None
        if self.finite:
            low, high = self.low, self.high
            if low == high:
                mean, std = float(low), 0.0  # a constant is told exactly
            else:
                mean = self.mean
                std = math.sqrt(self.m2 / self.finite) if self.m2 > 0 else 0.0
                if self.exponent:
                    mean, std = rescale(mean, self.exponent), rescale(std, self.exponent)
            if dtype in INTEGERS:
                low, high = int(low), int(high)
            else:
                low, high, mean = low + 0.0, high + 0.0, mean + 0.0  # no minus zero
        return Statistics(mean, std, low, high, elements, self.zeros, self.nans,
                          self.positive_infs, self.negative_infs)  # fmt: skip


def rescale(value: float, exponent: int) -> float:
    """Scale by 2**exponent; infinite where that is out of range."""
    if not exponent:
        return value
    try:
        return math.ldexp(value, exponent)
    except OverflowError:
        return math.copysign(math.inf, value)


@slotted
class Segments:
    """Where tensors lie in a block that holds several: element positions and lengths (all > 0), int64."""

    starts: Array
    counts: Array

    @classmethod
    def one(cls, count: int) -> Segments:
        """A block of one piece."""
        return cls(np.zeros(1, np.int64), np.array([count], np.int64))

    def sum(self, values: Array) -> Array:
        """float64 sum of each segment."""
        if len(self.starts) == 1:
            return np.add.reduce(values, keepdims=True)
        return np.add.reduceat(values, self.starts)

    def dot(self, left: Array, right: Array) -> Array:
        """float64 sum of products of each segment."""
        if len(self.starts) == 1:
            return np.array([_dot(left, right)])
        return np.add.reduceat(left * right, self.starts)

    def count(self, mask: Array) -> Array:
        """Number of True in each segment."""
        if len(self.starts) == 1:
            return np.array([np.count_nonzero(mask)])
        return np.add.reduceat(mask, self.starts, dtype=np.int64)

    def max(self, values: Array) -> Array:
        """Maximum of each segment."""
        return np.maximum.reduceat(values, self.starts)

    def min(self, values: Array) -> Array:
        """Minimum of each segment."""
        return np.minimum.reduceat(values, self.starts)

    def spread(self, per_segment: Array) -> Array:
        """One value a segment, repeated for its elements (or left to broadcast when there is one segment)."""
        if len(self.starts) == 1:
            return per_segment
        return np.repeat(per_segment, self.counts)


def _dot(left: Array, right: Array) -> float:
    """Sum of products in pieces too small for OpenBLAS to start threads of its own (it does from 10,000 on)."""
    rows = len(left) // _DOT
    whole = rows * _DOT
    parts = np.matmul(left[:whole].reshape(rows, 1, _DOT), right[:whole].reshape(rows, _DOT, 1))
    return float(np.add.reduce(parts, axis=None) + np.dot(left[whole:], right[whole:]))


def scaling(largest: Array) -> Array | None:
    """Exponents e, one a segment, by which 2**-e brings values up to ``largest`` near 1; None when none is needed."""
    _, exponents = np.frexp(largest)
    exponents = np.where((largest > 0) & (np.abs(exponents) > _SAFE), exponents, 0)
    exponents[np.isinf(largest)] = 1025  # the modulus of a finite complex number may be out of range
    return exponents if exponents.any() else None


class Side:
    """One side of a block, made ready for sums: non-finite values are zero, extreme ones scaled.

    Attributes:
        parts: (real,) or (real, imaginary), float64, scaled by 2**-exponent.
        size: real values themselves or complex moduli, scaled.
        low: second halves of 64-bit integers, or None.
        finite: mask of the finite elements, or None when all are.
        low_high: least and greatest finite value of each segment, not scaled.
        exponents: one a segment, or None for all zero.
    """

    __slots__ = ("exponents", "finite", "low", "low_high", "parts", "segments", "size", "values")

    def __init__(self, values: Values, segments: Segments) -> None:
        """Decide on masks and scales; copies only where something is masked or scaled."""
        self.values, self.segments, self.low = values, segments, values.low
        self.parts: tuple[Array, ...] = (values.high,)
        self.size = values.high
        if values.imag is not None:
            self.parts = (values.high, values.imag)
            self.size = np.hypot(values.high, values.imag)
        self.finite: Array | None = None
        self.low_high = segments.min(self.size), segments.max(self.size)
        largest = np.maximum(-self.low_high[0], self.low_high[1])
        # NaN and infinity show in the extremes: no mask is made where there are none.
        if not np.isfinite(largest).all():
            finite = values.finite()
            if not finite.all():
                self.finite = finite
                self.low_high = (
                    segments.min(np.where(finite, self.size, np.inf)),
                    segments.max(np.where(finite, self.size, -np.inf)),
                )
                self.parts = tuple(np.where(finite, part, 0.0) for part in self.parts)
                self.size = np.where(finite, self.size, 0.0)
                largest = segments.max(np.abs(self.size))
        self.exponents = scaling(largest)
        if self.exponents is not None:
            back = segments.spread(-self.exponents)
            self.parts = tuple(np.ldexp(part, back) for part in self.parts)
            self.size = self.parts[0] if values.imag is None else np.hypot(*self.parts)

    def moments(self) -> list[Moments]:
        """Moments of each segment."""
        segments, size = self.segments, self.size
        finite = segments.counts if self.finite is None else segments.count(self.finite)
        safe = np.maximum(finite, 1)
        pivot = segments.sum(size) / safe
        shifted = size - segments.spread(pivot)
        if self.low is not None:
            shifted += self.low
        if self.finite is not None:
            shifted *= self.finite
        rest = segments.sum(shifted)
        mean = pivot + rest / safe
        m2 = segments.dot(shifted, shifted) - rest * (rest / safe)
        columns = [finite, mean, m2, *self._extremes(), segments.count(self.values.zero()), *self.specials()]
        if self.exponents is not None:
            columns.append(self.exponents)
        return [Moments(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]

    def _extremes(self) -> tuple[Array, Array]:
        """Least and greatest finite value of each segment, 64-bit integers as such."""
        if self.values.integers is not None:
            return self.segments.min(self.values.integers), self.segments.max(self.values.integers)
        return self.low_high

    def specials(self) -> tuple[Array, Array, Array]:
        """Counts of NaN, +inf and -inf in each segment."""
        if self.finite is None:
            none = np.zeros(len(self.segments.starts), np.int64)
            return none, none, none
        size, count = self.values.high, self.segments.count
        if self.values.imag is not None:
            size = np.hypot(size, self.values.imag)
        infinite = ~self.finite & ~np.isnan(size)  # not isinf: a finite complex may have an infinite modulus
        return count(np.isnan(size)), count(infinite & (size > 0)), count(infinite & (size < 0))
