"""What the numeric core should say, computed another way: whole arrays, exact rationals, no blocks, slow.

Values are Python ints, floats and complex numbers, whose comparisons and differences are exact (Fraction), and sums
are exact until one square root at the end (Decimal with 60 digits).
"""

from __future__ import annotations

import bisect
import math
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np

NUMPY: dict[str, Any] = {
    "I8": "i1", "U8": "u1", "I16": "<i2", "U16": "<u2", "I32": "<i4", "U32": "<u4", "I64": "<i8", "U64": "<u8",
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "C64": "<c8", "C128": "<c16", "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2, "F8_E8M0": ml_dtypes.float8_e8m0fnu,
    "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz, "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
}  # fmt: skip
DTYPES = (*NUMPY, "BOOL", "C32", "F4")
INTEGER = {"I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64", "BOOL"}
COMPLEX = {"C32", "C64", "C128"}

Number = int | float | complex


def decode(dtype: str, raw: bytes, count: int) -> list[Number]:
    """Values as Python numbers."""
    if dtype == "BOOL":
        return [int(byte != 0) for byte in raw]
    if dtype == "F4":
        nibbles = np.frombuffer(raw, np.uint8).repeat(2)
        nibbles[0::2] &= 15
        nibbles[1::2] >>= 4
        return nibbles[:count].view(ml_dtypes.float4_e2m1fn).astype(np.float64).tolist()
    if dtype == "C32":
        parts = np.frombuffer(raw, "<f2").astype(np.float64)
        return [complex(a, b) for a, b in parts.reshape(-1, 2).tolist()]
    array = np.frombuffer(raw, np.uint8).view(NUMPY[dtype])
    if dtype in INTEGER or dtype in COMPLEX:
        return array.tolist()
    with np.errstate(invalid="ignore"):  # signalling NaN
        return array.astype(np.float64).tolist()


def is_nan(value: Number) -> bool:
    return value != value


def is_finite(value: Number) -> bool:
    parts = (value.real, value.imag) if isinstance(value, complex) else (value,)
    return all(isinstance(part, int) or math.isfinite(part) for part in parts)


def equal(a: Number, b: Number) -> bool:
    return a == b or (is_nan(a) and is_nan(b))


def _square(value: Number) -> Fraction:
    if isinstance(value, complex):
        return Fraction(value.real) ** 2 + Fraction(value.imag) ** 2
    return Fraction(value) ** 2


def _distance_square(a: Number, b: Number) -> Fraction:
    if isinstance(a, complex) or isinstance(b, complex):
        a, b = complex(a), complex(b)
        return (Fraction(b.real) - Fraction(a.real)) ** 2 + (Fraction(b.imag) - Fraction(a.imag)) ** 2
    return (Fraction(b) - Fraction(a)) ** 2


def _decimal(value: Fraction) -> Decimal:
    return Decimal(value.numerator) / Decimal(value.denominator)


def _root(value: Fraction) -> Decimal:
    return _decimal(value).sqrt()


def _float(value: Decimal) -> float:
    return float(value)  # beyond float64's range: infinite


def statistics(dtype: str, values: list[Number]) -> dict[str, Any]:
    """Fields of Statistics, and ``rms`` to judge a mean by."""
    finite = [v for v in values if is_finite(v)]
    infinite = [v for v in values if not is_finite(v) and not is_nan_modulus(v)]
    result: dict[str, Any] = {
        "element_count": len(values), "zero_count": sum(v == 0 for v in values),
        "nan_count": sum(is_nan_modulus(v) for v in values),
        "pos_inf_count": sum(isinstance(v, complex) or v > 0 for v in infinite),
        "neg_inf_count": sum(not isinstance(v, complex) and v < 0 for v in infinite),
        "mean": None, "std": None, "min": None, "max": None, "rms": 0.0,
    }  # fmt: skip
    if not finite:
        return result
    with localcontext() as context:
        context.prec, context.Emax, context.Emin = 60, 999999, -999999
        sizes = [Fraction(_root(_square(v))) if dtype in COMPLEX else Fraction(v) for v in finite]
        mean = sum(sizes, Fraction(0)) / len(sizes)
        variance = sum(((s - mean) ** 2 for s in sizes), Fraction(0)) / len(sizes)
        result["mean"], result["std"] = _float(_decimal(mean)), _float(_root(variance))
        result["rms"] = _float(_root(sum((s * s for s in sizes), Fraction(0)) / len(sizes)))
        result["min"], result["max"] = _float(_decimal(min(sizes))), _float(_decimal(max(sizes)))
    if dtype in INTEGER:
        result["min"], result["max"] = min(finite), max(finite)
    return result


def is_nan_modulus(value: Number) -> bool:
    """Whether abs(value) is NaN: an infinite part makes a complex modulus infinite, whatever the other part."""
    return math.isnan(abs(value)) if isinstance(value, complex) else is_nan(value)


def delta(old: list[Number], new: list[Number], epsilon: float = 0.0, rtol: float = 0.0) -> dict[str, Any]:
    """Fields of Delta."""
    changed = tolerated = nonfinite = 0
    squares: list[Fraction] = []
    roots: list[Decimal] = []
    old_squares = new_squares = dot = Fraction(0)
    with localcontext() as context:
        context.prec, context.Emax, context.Emin = 60, 999999, -999999
        for a, b in zip(old, new, strict=True):
            if not (is_finite(a) and is_finite(b)):
                if not equal(a, b):
                    changed += 1
                    nonfinite += 1
                continue
            square = _distance_square(a, b)
            squares.append(square)
            roots.append(_root(square))
            if square:
                limit = epsilon + rtol * float(abs(a))
                within = (epsilon > 0 or rtol > 0) and float(roots[-1]) <= limit
                tolerated += within
                changed += not within
            old_squares += _square(a)
            new_squares += _square(b)
            dot += _dot(a, b)
        total = sum(squares, Fraction(0))
        count = max(len(squares), 1)
        norms = _root(old_squares) * _root(new_squares)
        return {
            "element_count": len(old), "changed_count": changed, "tolerated_count": tolerated,
            "nonfinite_count": nonfinite, "max_abs": _float(max(roots, default=Decimal(0))),
            "mean_abs": _float(sum(roots, Decimal(0)) / count), "rms": _float(_root(total / count)),
            "l2": _float(_root(total)),
            "relative_l2": _float(_root(total) / _root(old_squares)) if old_squares else None,
            "cosine": _float(_decimal(dot) / norms) if norms else None,
        }  # fmt: skip


def _dot(a: Number, b: Number) -> Fraction:
    if isinstance(a, complex) or isinstance(b, complex):
        a, b = complex(a), complex(b)
        return Fraction(a.real) * Fraction(b.real) + Fraction(a.imag) * Fraction(b.imag)
    return Fraction(a) * Fraction(b)


# ---------------------------------------------------------------- rounding


@cache
def _small_floats(dtype: str) -> tuple[list[Fraction], list[int]]:
    """All finite values of a float dtype of at most 16 bits, ascending, and the code of each."""
    if dtype == "F4":
        codes = np.arange(16, dtype=np.uint8)
        values = codes.view(ml_dtypes.float4_e2m1fn).astype(np.float64)
    else:
        kind = np.dtype(NUMPY[dtype])
        codes = np.arange(256**kind.itemsize, dtype=f"u{kind.itemsize}")
        with np.errstate(invalid="ignore"):
            values = codes.view(kind).astype(np.float64)
    found = {Fraction(v): int(c) for v, c in zip(values.tolist(), codes.tolist(), strict=True) if math.isfinite(v)}
    ordered = sorted(found)
    return ordered, [found[v] for v in ordered]


def rounded(dtype: str, value: Number, result: Number) -> bool:
    """Whether ``result`` is ``value`` rounded to a real dtype, under any accepted overflow convention."""
    if dtype == "BOOL":
        return (value != 0) == (result != 0)
    if is_nan(value):
        return is_nan(result)
    if dtype in INTEGER:
        bits = int(dtype[1:])
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if dtype[0] == "I" else (0, 2**bits - 1)
        if not is_finite(value):
            return result == (high if value > 0 else low)
        return result == min(max(round(Fraction(value)), low), high)
    largest = _largest(dtype)
    has_inf = dtype in ("F64", "F32", "F16", "BF16", "F8_E5M2")
    if dtype == "F8_E8M0" and value <= 0:
        return is_nan(result)
    nearest = _nearest(dtype, Fraction(value)) if is_finite(value) else None
    if nearest is not None:
        return result == nearest
    if not is_nan(result) and result == math.copysign(largest, value):
        return True
    return result == math.copysign(math.inf, value) if has_inf else is_nan(result)


def _largest(dtype: str) -> float:
    if dtype == "F64":
        return float(np.finfo(np.float64).max)
    if dtype == "F32":
        return float(np.finfo(np.float32).max)
    return float(_small_floats(dtype)[0][-1])


def _nearest(dtype: str, value: Fraction) -> Fraction | None:
    """Nearest value, ties to the even code; None where it overflows."""
    if dtype == "F64":
        try:
            return Fraction(float(value))
        except OverflowError:
            return None
    if dtype == "F32":
        # Two neighbouring float32 around it, found from float64 and checked exactly.
        with np.errstate(all="ignore"):
            guess = np.float32(float(value)) if abs(value) < 2**128 else np.float32(np.inf if value > 0 else -np.inf)
            near = [np.nextafter(guess, np.float32(-np.inf)), guess, np.nextafter(guess, np.float32(np.inf))]
        limit = Fraction(2**128)
        candidates = [
            (abs(value - (Fraction(float(c)) if np.isfinite(c) else (limit if c > 0 else -limit))),
             int(c.view(np.uint32)) & 1, c) for c in near if not np.isnan(c)
        ]  # fmt: skip
        best = min(candidates, key=lambda item: item[:2])[2]
        return Fraction(float(best)) if np.isfinite(best) else None
    values, codes = _small_floats(dtype)
    if abs(value) > values[-1]:
        step = values[-1] - values[-2] if dtype != "F8_E8M0" else 2 * values[-1]
        half = values[-1] + step / 2
        odd = codes[-1] & 1 and dtype != "F4"
        if abs(value) > half or (abs(value) == half and (odd or dtype == "F8_E8M0")):
            return None
        return values[-1] if value > 0 else -values[-1]
    place = bisect.bisect_left(values, value)
    if place == len(values) or values[place] == value:
        return values[min(place, len(values) - 1)]
    if place == 0:
        return values[0]
    below, above = values[place - 1], values[place]
    if value - below != above - value:
        return below if value - below < above - value else above
    if dtype == "F8_E8M0":
        return above  # the only significant bit is always 1; its kin round half way up
    return below if codes[place - 1] % 2 == 0 else above


def cast(dtype: str, old: list[Number], new: list[Number]) -> dict[str, Any]:
    """Fields of Cast that are not in Delta."""
    exact = all(equal(a, b) for a, b in zip(old, new, strict=True))
    overflow = underflow = right = 0
    for a, b in zip(old, new, strict=True):
        right += _rounded_any(dtype, a, b)
        underflow += a != 0 and not is_nan(a) and b == 0
        if not is_finite(a):
            continue
        if not is_finite(b):
            # A value within range that became infinite or NaN is another value, unless that is what it rounds to.
            within = dtype not in COMPLEX and dtype not in INTEGER and abs(a.real) <= _largest(dtype)
            overflow += not within or _rounded_any(dtype, a, b)
        elif dtype in COMPLEX or dtype == "BOOL":
            continue
        elif dtype in INTEGER:
            a = a.real
            bits = int(dtype[1:])
            low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if dtype[0] == "I" else (0, 2**bits - 1)
            overflow += a < low or a > high
        else:
            overflow += abs(a.real) > _largest(dtype) and abs(b) == _largest(dtype)
    return {"exact": exact, "rounded": exact or right == len(old), "overflow_count": overflow,
            "underflow_count": underflow}  # fmt: skip


def _rounded_any(dtype: str, a: Number, b: Number) -> bool:
    if dtype in COMPLEX:
        part = {"C32": "F16", "C64": "F32", "C128": "F64"}[dtype]
        imag = a.imag if isinstance(a, complex) else 0.0
        real = a.real if isinstance(a, complex) else a
        assert isinstance(b, complex)
        return rounded(part, real, b.real) and rounded(part, imag, b.imag)
    if isinstance(a, complex):
        return a.imag == 0 and rounded(dtype, a.real, b)
    return rounded(dtype, a, b)
