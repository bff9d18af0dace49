"""Extremes and zeros of a block from its stored codes, which are up to four times narrower than decoded values.

The codes of a small float are ordered as signed integers among the positive values, and as unsigned ones backwards
among the negative. NaN and infinity lie beyond the finite values on both sides, so the extremes tell of them too.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from diffai.tensors.dtypes import NAN_OF_FNUZ, Array, decode64

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
