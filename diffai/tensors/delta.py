"""Element-wise figures of a pair, in pieces that merge."""

from __future__ import annotations

import math

import numpy as np

from diffai.frozen import frozen, replace, slotted
from diffai.model import Cast, Delta
from diffai.tensors.dtypes import FLOATS, INTEGERS, Array, Values
from diffai.tensors.rounding import beyond_ulp, can_round, not_rounded, outside_range
from diffai.tensors.statistics import Moments, Segments, Side, rescale, scaling


@frozen
class Rule:
    """What counts as a change.

    Attributes:
        epsilon, rtol: elements with abs(new - old) <= epsilon + rtol * abs(old) are tolerated.
        target: dtype of the new side where it differs from the old one's; "" for no cast.
    """

    epsilon: float = 0.0
    rtol: float = 0.0
    target: str = ""

    @property
    def exact(self) -> bool:
        """Whether nothing is tolerated."""
        return self.epsilon == 0 and self.rtol == 0


@slotted
class Difference:
    """What merges to Delta and Cast.

    Attributes:
        joint: elements finite on both sides; the sums are over these.
        changed, tolerated, nonfinite: counts as in Delta.
        max_abs: greatest abs(d), d = new - old (not scaled).
        sum_abs, sum_squares: of d / 2**exponent.
        dot: sum of old * new / 2**(old_exponent + new_exponent), the real part for complex numbers.
        old_squares, new_squares: sums of squares of each side, scaled by its exponent.
        unrounded: elements of new that are not old rounded; overflows, underflows, beyond_ulp: as in Cast.
    """

    joint: int = 0
    changed: int = 0
    tolerated: int = 0
    nonfinite: int = 0
    max_abs: float = 0.0
    sum_abs: float = 0.0
    sum_squares: float = 0.0
    dot: float = 0.0
    old_squares: float = 0.0
    new_squares: float = 0.0
    unrounded: int = 0
    overflows: int = 0
    underflows: int = 0
    beyond_ulp: int = 0
    exponent: int = 0
    old_exponent: int = 0
    new_exponent: int = 0

    @classmethod
    def of_same(cls, side: Moments) -> Difference:
        """Of two sides that both have these moments and equal bytes."""
        squares = side.square_sum
        return cls(joint=side.finite, dot=squares, old_squares=squares, new_squares=squares,
                   old_exponent=side.exponent, new_exponent=side.exponent)  # fmt: skip

    def add(self, other: Difference) -> None:
        """Merge the figures of further elements into these."""
        if (other.exponent, other.old_exponent, other.new_exponent) != (
            self.exponent, self.old_exponent, self.new_exponent
        ):  # fmt: skip
            other = _with_common_exponents(self, other)
        self.joint += other.joint
        self.changed += other.changed
        self.tolerated += other.tolerated
        self.nonfinite += other.nonfinite
        self.max_abs = max(self.max_abs, other.max_abs)
        self.sum_abs += other.sum_abs
        self.sum_squares += other.sum_squares
        self.dot += other.dot
        self.old_squares += other.old_squares
        self.new_squares += other.new_squares
        self.unrounded += other.unrounded
        self.overflows += other.overflows
        self.underflows += other.underflows
        self.beyond_ulp += other.beyond_ulp

    def delta(self, elements: int) -> Delta:
        """The figures people see; ``elements`` of the tensor, non-finite ones included."""
        l2 = math.sqrt(self.sum_squares)
        joint = self.joint or 1
        cosine = None
        if self.old_squares and self.new_squares:
            cosine = self.dot / (math.sqrt(self.old_squares) * math.sqrt(self.new_squares))
            cosine = max(-1.0, min(1.0, cosine))
        mean_abs, rms = self.sum_abs / joint, math.sqrt(self.sum_squares / joint)
        relative = self._relative(l2)
        if self.exponent:
            l2, mean_abs, rms = (rescale(value, self.exponent) for value in (l2, mean_abs, rms))
        old_l2 = rescale(math.sqrt(self.old_squares), self.old_exponent)
        new_l2 = rescale(math.sqrt(self.new_squares), self.new_exponent)
        return Delta(elements, self.changed, self.tolerated, self.nonfinite, self.max_abs, mean_abs, rms, l2,
                     relative, cosine, old_l2, new_l2)  # fmt: skip

    def _relative(self, l2: float) -> float | None:
        """l2 / L2(old), None from zero."""
        if not self.old_squares:
            return None
        return rescale(l2 / math.sqrt(self.old_squares), self.exponent - self.old_exponent)

    def cast(self) -> Cast:
        """What the change of dtype did."""
        relative = self._relative(math.sqrt(self.sum_squares))
        exact = self.changed + self.tolerated == 0
        sqnr = None
        if relative and math.isfinite(relative):
            sqnr = -20.0 * math.log10(relative)
        rounded = exact or self.unrounded == 0
        beyond = 0 if rounded else self.beyond_ulp
        return Cast(exact, rounded, relative, sqnr, self.overflows, self.underflows, beyond)


def _with_common_exponents(kept: Difference, other: Difference) -> Difference:
    """Bring both to common exponents: ``kept`` in place, ``other`` as a copy. Sides without content have none."""
    copy = replace(other)
    for value, power, squares in (
        ("exponent", 1, "sum_squares"), ("old_exponent", 0, "old_squares"), ("new_exponent", 0, "new_squares")
    ):  # fmt: skip
        # As for moments: zeros have any exponent.
        exponents = [getattr(item, value) for item in (kept, copy) if getattr(item, squares)]
        common = max(exponents, default=0)
        for item in (kept, copy):
            move = getattr(item, value) - common
            setattr(item, squares, rescale(getattr(item, squares), 2 * move))
            if power:
                item.sum_abs = rescale(item.sum_abs, move)
            else:
                item.dot = rescale(item.dot, move)
            setattr(item, value, common)
    return copy


SCALES = 17
"""Columns that :func:`compare_columns` gives where exponents are among them."""


def compare_values(old: Side, new: Side, rule: Rule) -> list[Difference]:
    """Figures of each segment, exact or in float64 throughout.

    Args:
        old, new: both sides of the same block with the same segments.
        rule: tolerance and cast target.
    """
    return [
        Difference(*row) for row in zip(*(column.tolist() for column in compare_columns(old, new, rule)), strict=True)
    ]


def compare_columns(old: Side, new: Side, rule: Rule) -> list[Array]:
    """The same as columns in the order of Difference's fields; without the exponents where all of them are zero."""
    segments = old.segments
    joint = _both(old.finite, new.finite)
    distance, largest, shrink = _distances(old, new, joint)
    differs = distance > 0
    if shrink:  # small differences beside huge ones may have shrunk to nothing
        differs = _differ(old, new, joint)
    if joint is None:
        joint_counts = segments.counts
        nonfinite = np.zeros(len(segments.starts), np.int64)
    else:
        joint_counts = segments.count(joint)
        nonfinite = segments.count(~joint & ~_same_kind(old.values, new.values))
    tolerated = np.zeros(len(segments.starts), np.int64)
    finite_changes = segments.count(differs)
    if not rule.exact:
        within = differs & (distance <= (rule.epsilon + rule.rtol * _modulus(old.values)) * 2.0**-shrink)
        if joint is not None:
            within &= joint
        tolerated = segments.count(within)
    exponents = scaling(largest)
    if exponents is not None:
        distance = np.ldexp(distance, segments.spread(-exponents))
    left, right = _jointly(old, joint), _jointly(new, joint)
    columns = [
        joint_counts, finite_changes - tolerated + nonfinite, tolerated, nonfinite, np.ldexp(largest, shrink),
        segments.sum(distance), segments.dot(distance, distance), *_products(left, right),
    ]  # fmt: skip
    columns += _cast_counts(old.values, new.values, rule.target, segments)
    if exponents is not None or shrink or left.exponents is not None or right.exponents is not None:
        zero = np.zeros(len(segments.starts), np.int64)
        columns.append((zero if exponents is None else exponents) + shrink)
        columns.append(zero if left.exponents is None else left.exponents)
        columns.append(zero if right.exponents is None else right.exponents)
    return columns


def _both(old: Array | None, new: Array | None) -> Array | None:
    """Mask of elements finite on both sides; None for all."""
    if old is None or new is None:
        return new if old is None else old
    return old & new


def _same_kind(old: Values, new: Values) -> Array:
    """Mask of elements that are equal, infinities included, or NaN on both sides."""
    zero = 0.0
    same: Array = old.high == new.high
    if old.imag is not None or new.imag is not None:
        same &= (zero if old.imag is None else old.imag) == (zero if new.imag is None else new.imag)
    same |= old.nan() & new.nan()
    return same


def _modulus(values: Values) -> Array:
    """Absolute values as float64."""
    return np.abs(values.high) if values.imag is None else np.hypot(values.high, values.imag)


def _distances(old: Side, new: Side, joint: Array | None) -> tuple[Array, Array, int]:
    """abs(new - old) / 2**shrink, zero outside ``joint``, and its greatest in each segment.

    shrink is 0 unless differences leave float64's range.
    """
    for shrink in (0, 2):
        parts = [_difference(part, shrink) for part in _paired(old.values, new.values)]
        if old.low is not None or new.low is not None:
            for sign, side in ((1.0, new), (-1.0, old)):
                if side.low is not None:
                    parts[0] += sign * side.low
        distance = np.abs(parts[0], out=parts[0]) if len(parts) == 1 else np.hypot(parts[0], parts[1])
        if joint is not None:
            distance = np.where(joint, distance, 0.0)
        largest = old.segments.max(distance)
        if not np.isinf(largest).any():
            break
    return distance, largest, shrink


def _differ(old: Side, new: Side, joint: Array | None) -> Array:
    """Mask of the jointly finite elements that are not equal."""
    differs = ~_same_kind(old.values, new.values)
    for side, other in ((old, new), (new, old)):
        if side.low is not None:
            differs |= side.low != (0.0 if other.low is None else other.low)
    return differs if joint is None else differs & joint


def _paired(old: Values, new: Values) -> list[tuple[Array, Array]]:
    """(old, new) for the real part and, where either side has one, the imaginary part."""
    pairs = [(old.high, new.high)]
    if old.imag is not None or new.imag is not None:
        zero = np.zeros_like(old.high)
        pairs.append((zero if old.imag is None else old.imag, zero if new.imag is None else new.imag))
    return pairs


def _difference(pair: tuple[Array, Array], shrink: int) -> Array:
    old, new = pair
    if shrink:
        return np.subtract(np.ldexp(new, -shrink), np.ldexp(old, -shrink))
    return np.subtract(new, old)


def _jointly(side: Side, joint: Array | None) -> Side:
    """The side with only its jointly finite elements; its scale is chosen anew, for those."""
    if joint is None:
        return side
    values = side.values
    imag = None if values.imag is None else np.where(joint, values.imag, 0.0)
    return Side(Values(np.where(joint, values.high, 0.0), imag=imag), side.segments)


def _products(old: Side, new: Side) -> tuple[Array, Array, Array]:
    """Sums of old * new, old**2 and new**2, in the scaled units of each side."""
    segments = old.segments
    dot = sum((segments.dot(a, b) for a, b in zip(old.parts, new.parts, strict=False)), np.zeros(1))
    squares = [sum((segments.dot(a, a) for a in side.parts), np.zeros(1)) for side in (old, new)]
    return dot, squares[0], squares[1]


def _cast_counts(old: Values, new: Values, target: str, segments: Segments) -> list[Array]:
    """Counts of elements unrounded, overflowed, underflowed and beyond an ulp; zeros when there is no cast."""
    if not target:
        none = np.zeros(len(segments.starts), np.int64)
        return [none, none, none, none]
    unrounded = not_rounded(old, new, target) if can_round(target) else ~_same_kind(old, new)
    far = unrounded & beyond_ulp(old, new, target) if unrounded.any() else unrounded
    finite = old.finite()
    overflow = finite & ~new.finite()
    if target in FLOATS:
        # A value within range that became infinite is a change of values, no overflow.
        largest = FLOATS[target].largest
        beyond = np.abs(old.high) > largest
        overflow |= finite & beyond & (np.abs(new.high) == largest)
        overflow &= beyond | ~unrounded
    elif target in INTEGERS and target != "BOOL":
        overflow |= finite & outside_range(old, target)
    underflow = ~old.zero() & ~old.nan() & new.zero()
    return [segments.count(mask) for mask in (unrounded, overflow, underflow, far)]
