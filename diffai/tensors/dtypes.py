"""From raw little-endian bytes of any dtype to numbers.

Two routes. :func:`decode32` writes float32 for the dtypes whose every finite value float32 holds exactly, at the
speed of a few vector operations; it does not promise anything for NaN and infinity, which the caller detects by
:data:`FAST_LIMITS`. :func:`decode64` is exact for everything: float64, and a second float64 for what a 64-bit
integer has beyond 53 bits.

ml_dtypes is not imported: its import costs as much as numpy's, and 8-bit formats are a table of 256 values.

Formats: OCP "8-bit Floating Point Specification" (E4M3 without infinities, E5M2), OCP "Microscaling Formats" (E8M0,
FP4 E2M1), and the FNUZ kinds of AMD (exponent bias one higher, a single NaN at 0x80, no negative zero). The bit
stream order of packed 6-bit values is not defined by safetensors, so F6 kinds have no values here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np

from diffai.frozen import frozen, slotted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    Array = NDArray[Any]
else:
    Array = np.ndarray

INTEGERS = frozenset(("BOOL", "I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64"))
COMPLEX = frozenset(("C32", "C64", "C128"))


@frozen
class FloatFormat:
    """A binary floating-point format.

    Attributes:
        precision: significant bits, the implicit one included.
        min_exponent: exponent e of the smallest normal value 2**e; below it values are spaced as at it.
        largest: greatest finite value.
        has_inf, has_nan: which special values exist.
    """

    precision: int
    min_exponent: int
    largest: float
    has_inf: bool = True
    has_nan: bool = True


FLOATS: Mapping[str, FloatFormat] = {
    "F64": FloatFormat(53, -1022, float(np.finfo(np.float64).max)),
    "F32": FloatFormat(24, -126, float(np.finfo(np.float32).max)),
    "F16": FloatFormat(11, -14, 65504.0),
    "BF16": FloatFormat(8, -126, 2.0**127 * (2 - 2.0**-7)),
    "F8_E4M3": FloatFormat(4, -6, 448.0, has_inf=False),
    "F8_E5M2": FloatFormat(3, -14, 57344.0),
    "F8_E8M0": FloatFormat(1, -127, 2.0**127, has_inf=False),
    "F8_E4M3FNUZ": FloatFormat(4, -7, 240.0, has_inf=False),
    "F8_E5M2FNUZ": FloatFormat(3, -15, 57344.0, has_inf=False),
    "F4": FloatFormat(2, 0, 6.0, has_inf=False, has_nan=False),
}

_WITH_VALUES = INTEGERS | COMPLEX | FLOATS.keys()

# numpy dtypes whose memory is the dtype's bytes (for a complex dtype, of one of its two parts).
_PLAIN: Mapping[str, str] = {
    "I8": "i1", "U8": "u1", "I16": "<i2", "U16": "<u2", "I32": "<i4", "U32": "<u4", "I64": "<i8", "U64": "<u8",
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "C32": "<f2", "C64": "<f4", "C128": "<f8",
}  # fmt: skip


def has_values(dtype: str) -> bool:
    """Whether the bytes of ``dtype`` are defined to mean numbers; others are compared as bytes."""
    return dtype in _WITH_VALUES


@slotted
class Values:
    """Decoded numbers, all arrays of one length.

    Attributes:
        high: float64; the number itself, its nearest float64, or its real part.
        low: float64 with ``high + low`` exactly the number, where 53 bits are not enough; else None.
        imag: float64 imaginary part of complex numbers; else None.
        integers: the 64-bit integers themselves, for exact extremes; else None.
    """

    high: Array
    low: Array | None = None
    imag: Array | None = None
    integers: Array | None = None

    def zero(self) -> Array:
        """Mask of the elements that are zero, of either sign."""
        zero: Array = self.high == 0
        if self.imag is not None:
            zero &= self.imag == 0
        return zero

    def finite(self) -> Array:
        """Mask of the elements all of whose parts are finite."""
        finite: Array = np.isfinite(self.high)
        if self.imag is not None:
            finite &= np.isfinite(self.imag)
        return finite

    def nan(self) -> Array:
        """Mask of the elements that are not a number, in either part."""
        nan: Array = np.isnan(self.high)
        if self.imag is not None:
            nan |= np.isnan(self.imag)
        return nan


def decode64(dtype: str, raw: Array, count: int) -> Values:
    """Exact values of the first ``count`` elements.

    Args:
        dtype: one for which :func:`has_values` holds.
        raw: uint8, at least the bytes of ``count`` elements, aligned to the element.
        count: number of elements.

    Returns:
        Values that may be views of ``raw``.
    """
    if dtype == "F4":
        return Values(_four_bit_table()[raw[: (count + 1) // 2]].reshape(-1)[:count])
    if dtype == "BOOL":
        return Values((raw[:count] != 0).astype(np.float64))
    if dtype in FLOATS and dtype.startswith("F8"):
        return Values(_eight_bit_table(dtype)[raw[:count]])
    if dtype == "BF16":
        wide = raw[: 2 * count].view("<u2").astype(np.uint32)
        wide <<= 16
        return Values(wide.view(np.float32).astype(np.float64))
    plain = np.dtype(_PLAIN[dtype])
    if dtype in COMPLEX:
        parts = raw[: 2 * plain.itemsize * count].view(plain).reshape(count, 2)
        return Values(parts[:, 0].astype(np.float64), imag=parts[:, 1].astype(np.float64))
    numbers = raw[: plain.itemsize * count].view(plain)
    if dtype in ("I64", "U64"):
        return _split_integers(numbers)
    return Values(numbers if dtype == "F64" else numbers.astype(np.float64))


def _split_integers(numbers: Array) -> Values:
    """64-bit integers as an unevaluated sum of two float64 (Dekker's Fast2Sum of the two 32-bit halves)."""
    upper = (numbers >> 32).astype(np.float64) * 4294967296.0
    lower = (numbers & numbers.dtype.type(0xFFFFFFFF)).astype(np.float64)
    high = upper + lower
    low = (upper - high) + lower
    return Values(high, low if low.any() else None, integers=numbers)


@cache
def _eight_bit_table(dtype: str) -> Array:
    """The 256 values of an 8-bit float format as float64."""
    codes = np.arange(256)
    if dtype == "F8_E8M0":
        return np.append(np.ldexp(1.0, codes[:255] - 127), np.nan)
    mantissa_bits = FLOATS[dtype].precision - 1
    bias = 1 - FLOATS[dtype].min_exponent
    fraction = codes & ((1 << mantissa_bits) - 1)
    exponent = (codes & 0x7F) >> mantissa_bits
    # Exponent 0 means no implicit one, at the exponent of 1.
    significand = np.where(exponent > 0, fraction + (1 << mantissa_bits), fraction)
    table: Array = np.ldexp(significand.astype(np.float64), np.maximum(exponent, 1) - bias - mantissa_bits)
    table[128:] *= -1.0
    if dtype.endswith("FNUZ"):
        table[NAN_OF_FNUZ] = np.nan
    elif dtype == "F8_E4M3":
        table[[0x7F, 0xFF]] = np.nan
    else:
        table[[0x7C, 0xFC]] = np.inf, -np.inf
        table[[0x7D, 0x7E, 0x7F, 0xFD, 0xFE, 0xFF]] = np.nan
    return table


@cache
def _four_bit_table() -> Array:
    """For each byte the two values packed in it, low nibble first: shape (256, 2), float64."""
    half = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
    nibble = np.concatenate((half, -half))
    codes = np.arange(256)
    return np.stack((nibble[codes & 15], nibble[codes >> 4]), axis=1)


# ---------------------------------------------------------------- the fast route

# Beyond these magnitudes decode32 is not to be trusted (NaN compares as beyond any limit). F32 and BF16: squares of
# larger values, summed, could overflow float32. Others: the greatest finite value, above which the bit trick of
# _shift gives a finite number where the format means infinity or NaN. The NaN of the FNUZ kinds is not revealed
# by its magnitude: the caller looks for NAN_OF_FNUZ.
FAST_LIMITS: Mapping[str, float] = {
    "F32": 2.0**55, "BF16": 2.0**55, "F16": 65504.0, "F8_E4M3": 448.0, "F8_E5M2": 57344.0,
    "F8_E4M3FNUZ": 240.0, "F8_E5M2FNUZ": 57344.0,
    "I8": 128.0, "U8": 255.0, "I16": 32768.0, "U16": 65535.0, "BOOL": 1.0,
}  # fmt: skip


NAN_OF_FNUZ = 0x80


def decode32(dtype: str, raw: Array, out: Array) -> None:
    """Write the values of ``raw`` (uint8, contiguous) to ``out`` (float32).

    Args:
        dtype: a key of :data:`FAST_LIMITS`.
        raw: uint8, exactly the bytes of ``len(out)`` elements, aligned.
        out: float32, contiguous.

    """
    _DECODERS[dtype](raw, out)


def _bf16(raw: Array, out: Array) -> None:
    bits = out.view(np.uint32)
    np.copyto(bits, raw.view(np.uint16))
    np.left_shift(bits, 16, out=bits)


def _boolean(raw: Array, out: Array) -> None:
    np.copyto(out, np.not_equal(raw, 0))


def _plain(kind: str) -> Callable[[Array, Array], None]:
    def convert(raw: Array, out: Array) -> None:
        np.copyto(out, raw.view(kind))

    return convert


def _shift(kind: str, shift: int, mask: int, bias: int) -> Callable[[Array, Array], None]:
    """Decoder for small floats: move sign, exponent and mantissa to where float32 has them, then mend the bias.

    Widening a signed integer copies the sign bit upwards, the shift brings the mantissa below float32's exponent,
    the mask clears the copies between sign and exponent. Multiplying by a power of two corrects the exponent's bias
    and is exact for subnormal values too, which float32 then holds as normal ones.
    """
    scale = np.float32(2.0 ** (127 - bias))
    clear = np.uint32(mask).view(np.int32)

    def convert(raw: Array, out: Array) -> None:
        bits = out.view(np.int32)
        np.copyto(bits, raw.view(kind))
        np.left_shift(bits, shift, out=bits)
        np.bitwise_and(bits, clear, out=bits)
        np.multiply(out, scale, out=out)

    return convert


_DECODERS: Mapping[str, Callable[[Array, Array], None]] = {
    "BF16": _bf16,
    "F16": _shift("i2", 13, 0x8FFFE000, 15),
    "F8_E5M2": _shift("i1", 21, 0x8FE00000, 15),
    "F8_E4M3": _shift("i1", 20, 0x87F00000, 7),
    "F8_E5M2FNUZ": _shift("i1", 21, 0x8FE00000, 16),
    "F8_E4M3FNUZ": _shift("i1", 20, 0x87F00000, 8),
    "F32": _plain("f4"),
    "I8": _plain("i1"),
    "U8": _plain("u1"),
    "I16": _plain("i2"),
    "U16": _plain("u2"),
    "BOOL": _boolean,
}
