"""Rounding exact values to a dtype, to tell a faithful cast from a changed tensor.

To nearest, ties to even (IEEE 754-2019, 4.3.1). Casts differ in what they make of values beyond the target's range:
IEEE overflows to infinity (NaN where the format has no infinity, as ml_dtypes and torch do for E4M3), saturating casts
clip to the greatest finite value. Both conventions are accepted. BOOL follows every library's conversion: anything but
zero is true. To integers too the nearest is asked for; truncation is not rounding.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diffai.model import DTYPE_BITS
from diffai.tensors.dtypes import COMPLEX, FLOATS, INTEGERS, Array, FloatFormat, Values

_PIECE = 1 << 16
_PART = {"C32": "F16", "C64": "F32", "C128": "F64"}


def can_round(dtype: str) -> bool:
    """Whether rounding to ``dtype`` is defined (not for quantized kinds, whose scale is part of the cast)."""
    return dtype in FLOATS or dtype in INTEGERS or dtype in COMPLEX


def not_rounded(old: Values, new: Values, dtype: str) -> Array:
    """Mask of the elements where ``new`` is not ``old`` rounded to ``dtype``, under any convention above."""
    if dtype in COMPLEX:
        part = _PART[dtype]
        real: Array = _wrong_part(Values(old.high, old.low), Values(new.high), part)
        imag = np.zeros_like(old.high) if old.imag is None else old.imag
        assert new.imag is not None
        np.logical_or(real, _wrong_part(Values(imag), Values(new.imag), part), out=real)
        return real
    wrong = _wrong_part(old, new, dtype)
    if old.imag is not None:
        np.logical_or(wrong, old.imag != 0, out=wrong)
    return wrong


def _wrong_part(old: Values, new: Values, dtype: str) -> Array:
    """The same for real values."""
    if dtype == "BOOL":
        truth: Array = np.not_equal(old.high != 0, new.high != 0)
        return truth
    if dtype in INTEGERS:
        return _wrong_integer(old, new, dtype)
    form = FLOATS[dtype]
    expected = _round_float(old, dtype)
    right: Array = expected == new.high
    if new.low is not None:
        right &= new.low == 0
    both_nan = np.isnan(old.high) & np.isnan(new.high)
    beyond = np.abs(expected) > form.largest
    if beyond.any():
        # Overflow: infinity of the same sign, NaN in a format without infinities, or the greatest value.
        clipped = new.high == np.copysign(form.largest, old.high)
        overflowed = (new.high == np.copysign(np.inf, old.high)) if form.has_inf else np.isnan(new.high)
        right |= beyond & (clipped | overflowed)
    right |= both_nan
    if dtype == "F8_E8M0":
        right |= (old.high <= 0) & np.isnan(new.high)  # a format of positive powers of two only
    return ~right


def _round_float(old: Values, dtype: str) -> Array:
    """``old`` rounded to the precision of a float dtype as float64; what overflows exceeds its greatest value."""
    exact = old.high
    if dtype == "F64":
        return exact
    if old.low is not None:
        exact = _round_to_odd(exact, old.low)
    if dtype == "F32":
        single: Array = exact.astype(np.float32).astype(np.float64)
        return single
    return _round_to(exact, FLOATS[dtype])


def _round_to(exact: Array, form: FloatFormat) -> Array:
    """Round float64 to ``form.precision`` bits, or to the fixed spacing below the least normal value."""
    _, exponent = np.frexp(exact)  # exact = m * 2**exponent, 0.5 <= m < 1
    spacing = np.maximum(exponent, form.min_exponent + 1) - form.precision
    scaled = np.ldexp(exact, -spacing)
    rounded: Array = np.ldexp(np.rint(scaled), spacing)
    return rounded


def _round_to_odd(high: Array, low: Array) -> Array:
    """Round high + low to odd: a later rounding to fewer bits is then as if done once (Boldo, Melquiond 2008)."""
    bits = high.view(np.int64)
    toward = np.where(low > 0, np.inf, -np.inf)
    step = (low != 0) & ((bits & 1) == 0)
    odd: Array = np.where(step, np.nextafter(high, toward), high)
    return odd


def _wrong_integer(old: Values, new: Values, dtype: str) -> Array:
    """Nearest integer, ties to even, clipped to the range of the dtype; NaN has no nearest integer."""
    least, (top, top_low) = _integer_range(dtype)
    high = np.rint(old.high)
    low = np.zeros_like(high) if old.low is None else old.low
    above = (high > top) | ((high == top) & (low >= top_low))
    below = high < least
    high = np.where(above, top, np.where(below, least, high))
    low = np.where(above, top_low, np.where(below, 0.0, low))
    new_low = np.zeros_like(high) if new.low is None else new.low
    wrong: Array = (high != new.high) | (low != new_low)
    return wrong


def beyond_ulp(old: Values, new: Values, dtype: str) -> Array:
    """Mask of the elements where ``new`` is more than one ulp of ``dtype`` from ``old``.

    One ulp is the spacing of the values of ``dtype`` at ``old``, and 1 for integers. Complex and quantized kinds have
    none: there, and where one of both is not finite, every element that is not equal is beyond.
    """
    within: Array = old.high == new.high
    if dtype not in FLOATS and (dtype not in INTEGERS or dtype == "BOOL"):
        return ~within
    spacing: Array | float = 1.0
    if dtype in FLOATS:
        _, exponent = np.frexp(old.high)
        form = FLOATS[dtype]
        spacing = np.ldexp(1.0, np.maximum(exponent, form.min_exponent + 1) - form.precision)
    with np.errstate(invalid="ignore"):
        np.logical_or(within, np.abs(new.high - old.high) <= spacing, out=within)
    return ~within


def outside_range(values: Values, dtype: str) -> Array:
    """Mask of the values that lie beyond the least or greatest integer of ``dtype``."""
    least, (top, top_low) = _integer_range(dtype)
    low = 0.0 if values.low is None else values.low
    outside: Array = (values.high > top) | ((values.high == top) & (low > top_low)) | (values.high < least)
    return outside


def _integer_range(dtype: str) -> tuple[float, tuple[float, float]]:
    """Least and greatest value of an integer dtype; the greatest as high + low, as 2**63 - 1 is no float64."""
    bits = DTYPE_BITS[dtype]
    signed = dtype.startswith("I")
    least = -(1 << (bits - 1)) if signed else 0
    greatest = (1 << (bits - signed)) - 1
    return float(least), (float(greatest), float(greatest - int(float(greatest))))


# ---------------------------------------------------------------- in float32, for the fast route


def is_lossless(source: str, target: str) -> bool:
    """Whether every finite value of one float dtype is a value of the other."""
    if source not in FLOATS or target not in FLOATS or "F8_E8M0" in (source, target):
        return False
    old, new = FLOATS[source], FLOATS[target]
    return (
        new.precision >= old.precision
        and new.largest >= old.largest
        and new.min_exponent - new.precision <= old.min_exponent - old.precision
    )


def round32(source: str, target: str) -> Callable[[Array, Array, Array], int] | None:
    """A count of the elements that are not ``old`` rounded, for float32 rows (old, new, scratch); None: no such."""
    return _ROUND32.get((source, target))


def _unrounded_bf16(old: Array, new: Array, scratch: Array) -> int:
    """Add half of the last kept place, a little less where that place is even, and drop the lower 16 bits."""
    bits, rounded = old.view(np.uint32), scratch.view(np.uint32)
    np.right_shift(bits, 16, out=rounded)
    np.bitwise_and(rounded, 1, out=rounded)
    np.add(rounded, bits, out=rounded)
    np.add(rounded, 0x7FFF, out=rounded)
    np.bitwise_and(rounded, 0xFFFF0000, out=rounded)
    return int(np.count_nonzero(scratch != new))


def _unrounded_f16(old: Array, new: Array, scratch: Array) -> int:
    np.copyto(scratch, old.astype(np.float16))
    return int(np.count_nonzero(scratch != new))


def beyond_ulp32(old: Array, new: Array, target: str) -> int:
    """How many elements of ``new`` are more than one ulp of a float dtype from ``old``; finite float32 rows."""
    form, far = FLOATS[target], 0
    for start in range(0, len(old), _PIECE):
        a, b = old[start : start + _PIECE], new[start : start + _PIECE]
        power = (a.view(np.uint32) & np.uint32(0x7F800000)).view(np.float32)  # 2**exponent of each
        np.maximum(power, np.float32(2.0**form.min_exponent), out=power)
        np.multiply(power, np.float32(2.0 ** (1 - form.precision)), out=power)
        far += int(np.count_nonzero(np.abs(b - a) > power))
    return far


_ROUND32: dict[tuple[str, str], Callable[[Array, Array, Array], int]] = {
    ("F32", "BF16"): _unrounded_bf16,
    ("F32", "F16"): _unrounded_f16,
}
