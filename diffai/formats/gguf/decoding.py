"""Decoders of ggml's quantized blocks, on numpy; see :mod:`diffai.formats.gguf.types` for their source.

``b`` is a table of bytes, one block a row; ``e`` is "<" or ">", the byte order of numbers of several bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Values = NDArray[Any]
Array = NDArray[Any]

_IQ4 = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)
_FP4 = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.float32)  # doubled E2M1


def _half(b: Bytes, at: int, e: str) -> Values:
    """A float16 field, as a column."""
    return np.ascontiguousarray(b[:, at : at + 2]).view(e + "f2").astype(np.float32)


def _words(b: Bytes, start: int, stop: int, code: str) -> Array:
    """A field of larger integers, in the machine's own order."""
    found = np.ascontiguousarray(b[:, start:stop]).view(code)
    return found.astype(found.dtype.newbyteorder("="))


def _nibbles(q: Bytes) -> Bytes:
    """Low nibbles, then high ones: (n, k) -> (n, 2k)."""
    return np.concatenate((q & 15, q >> 4), axis=1)


def _fifth(b: Bytes, at: int, e: str) -> Array:
    """32 high bits of a block as 0 or 16."""
    bits = _words(b, at, at + 4, e + "u4")
    return ((bits >> np.arange(32, dtype=np.uint32) & 1) << 4).astype(np.uint8)


def q4_0(b: Bytes, e: str) -> Values:
    """D * (q - 8), 4 bits."""
    return _half(b, 0, e) * (_nibbles(b[:, 2:]).astype(np.float32) - 8)


def q4_1(b: Bytes, e: str) -> Values:
    """D * q + m, 4 bits."""
    return _half(b, 0, e) * _nibbles(b[:, 4:]).astype(np.float32) + _half(b, 2, e)


def q5_0(b: Bytes, e: str) -> Values:
    """D * (q - 16), 5 bits."""
    return _half(b, 0, e) * ((_nibbles(b[:, 6:]) | _fifth(b, 2, e)).astype(np.float32) - 16)


def q5_1(b: Bytes, e: str) -> Values:
    """D * q + m, 5 bits."""
    return _half(b, 0, e) * (_nibbles(b[:, 8:]) | _fifth(b, 4, e)).astype(np.float32) + _half(b, 2, e)


def q8_0(b: Bytes, e: str) -> Values:
    """D * q, 8 bits."""
    return _half(b, 0, e) * b[:, 2:].view(np.int8).astype(np.float32)


def q8_1(b: Bytes, e: str) -> Values:
    """D * q, 8 bits; the sum that stands beside is not needed."""
    return _half(b, 0, e) * b[:, 4:].view(np.int8).astype(np.float32)


def q8_k(b: Bytes, e: str) -> Values:
    """D * q, 8 bits, 256 a block."""
    return _words(b, 0, 4, e + "f4").astype(np.float32) * b[:, 4:260].view(np.int8).astype(np.float32)


def q2_k(b: Bytes, e: str) -> Values:
    """Sixteen parts of 16: d * s * q - m * t, 2 bits."""
    scales, d, low = b[:, :16], _half(b, 80, e), _half(b, 82, e)
    q = b[:, 16:80].reshape(-1, 2, 1, 32) >> np.array([0, 2, 4, 6], np.uint8).reshape(1, 1, 4, 1) & 3
    scale, least = d * (scales & 15).astype(np.float32), low * (scales >> 4).astype(np.float32)
    made: Values = (scale[:, :, None] * q.reshape(-1, 16, 16).astype(np.float32) - least[:, :, None]).reshape(-1, 256)
    return made


def q3_k(b: Bytes, e: str) -> Values:
    """Sixteen parts of 16: d * (s - 32) * q, 3 bits."""
    low = (b[:, 96:104].reshape(-1, 1, 8) >> np.array([0, 4], np.uint8).reshape(1, 2, 1) & 15).reshape(-1, 16)
    high = (b[:, 104:108].reshape(-1, 1, 4) >> np.array([0, 2, 4, 6], np.uint8).reshape(1, 4, 1) & 3).reshape(-1, 16)
    scales = _half(b, 108, e) * ((low | high << 4).astype(np.float32) - 32)
    q = (b[:, 32:96].reshape(-1, 2, 1, 32) >> np.array([0, 2, 4, 6], np.uint8).reshape(1, 1, 4, 1) & 3).reshape(-1, 256)
    mask = (b[:, :32].reshape(-1, 1, 32) >> np.arange(8, dtype=np.uint8).reshape(1, 8, 1) & 1).reshape(-1, 256)
    values = q.astype(np.float32) - ((mask ^ 1) << 2).astype(np.float32)
    return (scales[:, :, None] * values.reshape(-1, 16, 16)).reshape(-1, 256)


def _six_bits(b: Bytes) -> tuple[Values, Values]:
    """Scales and minima of the eight parts of a Q4_K or Q5_K block, out of 12 bytes."""
    first, second, third = b[:, 4:8], b[:, 8:12], b[:, 12:16]
    scales = np.concatenate((first & 63, third & 15 | first >> 2 & 0x30), axis=1)
    minima = np.concatenate((second & 63, third >> 4 | second >> 2 & 0x30), axis=1)
    return scales.astype(np.float32), minima.astype(np.float32)


def _affine(b: Bytes, e: str, q: Array) -> Values:
    scales, minima = _six_bits(b)
    scales *= _half(b, 0, e)
    minima *= _half(b, 2, e)
    values = q.astype(np.float32)
    values *= scales[:, :, None]
    values -= minima[:, :, None]
    return values.reshape(-1, 256)


def q4_k(b: Bytes, e: str) -> Values:
    """Eight parts of 32: d * s * q - m * t, 4 bits."""
    q = b[:, 16:].reshape(-1, 4, 1, 32) >> np.array([0, 4], np.uint8).reshape(1, 1, 2, 1) & 15
    return _affine(b, e, q.reshape(-1, 8, 32))


def q5_k(b: Bytes, e: str) -> Values:
    """Eight parts of 32: d * s * q - m * t, 5 bits."""
    q = b[:, 48:].reshape(-1, 4, 1, 32) >> np.array([0, 4], np.uint8).reshape(1, 1, 2, 1) & 15
    high = b[:, 16:48].reshape(-1, 1, 32) >> np.arange(8, dtype=np.uint8).reshape(1, 8, 1) & 1
    return _affine(b, e, q.reshape(-1, 8, 32) | high << 4)


def q6_k(b: Bytes, e: str) -> Values:
    """Sixteen parts of 16: d * s * (q - 32), 6 bits."""
    low = b[:, :128].reshape(-1, 2, 1, 64) >> np.array([0, 4], np.uint8).reshape(1, 1, 2, 1) & 15
    high = b[:, 128:192].reshape(-1, 2, 1, 32) >> np.array([0, 2, 4, 6], np.uint8).reshape(1, 1, 4, 1) & 3
    q = (low.reshape(-1, 2, 4, 32) | high << 4).astype(np.float32) - 32
    scales = _half(b, 208, e) * b[:, 192:208].view(np.int8).astype(np.float32)
    made: Values = (q.reshape(-1, 16, 16) * scales[:, :, None]).reshape(-1, 256)
    return made


def iq4_nl(b: Bytes, e: str) -> Values:
    """D * table[q], 4 bits."""
    return _half(b, 0, e) * _IQ4[_nibbles(b[:, 2:])]


def iq4_xs(b: Bytes, e: str) -> Values:
    """Eight parts of 32: d * (s - 32) * table[q], 4 bits."""
    high = _words(b, 2, 4, e + "u2") >> np.arange(0, 16, 2, dtype=np.uint16) & 3
    low = (b[:, 4:8].reshape(-1, 4, 1) >> np.array([0, 4], np.uint8) & 15).reshape(-1, 8)
    scales = _half(b, 0, e) * ((low | high << 4).astype(np.float32) - 32)
    q = b[:, 8:].reshape(-1, 8, 16)
    values = _IQ4[np.concatenate((q & 15, q >> 4), axis=2)]
    return (scales[:, :, None] * values).reshape(-1, 256)


def tq1_0(b: Bytes, e: str) -> Values:
    """D * (trit - 1): five trits a byte, then four."""
    powers = np.array([1, 3, 9, 27, 81], np.uint8).reshape(1, 5, 1)
    parts = [(b[:, :32].reshape(-1, 1, 32) * powers).reshape(-1, 160), (b[:, 32:48].reshape(-1, 1, 16) * powers)]
    parts = [parts[0], parts[1].reshape(-1, 80), (b[:, 48:52].reshape(-1, 1, 4) * powers[:, :4]).reshape(-1, 16)]
    trits = np.concatenate(parts, axis=1).astype(np.uint16) * 3 >> 8
    return _half(b, 52, e) * (trits.astype(np.float32) - 1)


def tq2_0(b: Bytes, e: str) -> Values:
    """D * (q - 1), 2 bits."""
    q = b[:, :64].reshape(-1, 2, 1, 32) >> np.array([0, 2, 4, 6], np.uint8).reshape(1, 1, 4, 1) & 3
    return _half(b, 64, e) * (q.reshape(-1, 256).astype(np.float32) - 1)


def mxfp4(b: Bytes, e: str) -> Values:
    """Scale 2^(e - 128): E8M0 halved, because the table of values is doubled."""
    scale = np.ldexp(np.float32(1), b[:, :1].astype(np.int32) - 128)
    return scale.astype(np.float32) * _FP4[_nibbles(b[:, 1:])]


def nvfp4(b: Bytes, e: str) -> Values:
    """Four parts of 16, each with an unsigned E4M3 scale; 0x7F means 0."""
    code = b[:, :4].astype(np.int32)
    exponent, mantissa = code >> 3 & 15, (code & 7).astype(np.float32)
    scale = np.where(exponent == 0, mantissa * 2.0**-9, (1 + mantissa / 8) * np.exp2((exponent - 7).astype(np.float32)))
    scale = np.where(code == 0x7F, 0, scale * 0.5).astype(np.float32)
    q = b[:, 4:].reshape(-1, 4, 8)
    return (scale[:, :, None] * _FP4[np.concatenate((q & 15, q >> 4), axis=2)]).reshape(-1, 64)


# ---------------------------------------------------------------- codes that point into a grid


@cache
def _grids() -> dict[str, Values]:
    """Tables of vectors; the format defines them as constants of ggml-common.h."""
    import os
    import zlib

    with open(os.path.join(os.path.dirname(__file__), "grids.bin"), "rb") as file:
        data = np.frombuffer(zlib.decompress(file.read()), np.int8).astype(np.float32)
    tables, at = {}, 0
    for name, rows, width in (
        ("iq2_xxs", 256, 8), ("iq2_xs", 512, 8), ("iq2_s", 1024, 8), ("iq3_xxs", 256, 4), ("iq3_s", 512, 4),
        ("iq1_s", 2048, 8),
    ):  # fmt: skip
        tables[name] = data[at : at + rows * width].reshape(rows, width)
        at += rows * width
    return tables


@cache
def _signs() -> Values:
    """128 codes of seven signs; the eighth makes their number even."""
    codes = np.arange(128, dtype=np.uint16)
    parity = np.zeros(128, np.uint16)
    for bit in range(7):
        parity ^= codes >> bit & 1
    return _sign_bits(codes | parity << 7)


def _sign_bits(codes: Array) -> Values:
    """Eight signs of each byte, the lowest bit first."""
    bits = codes[..., None] >> np.arange(8, dtype=codes.dtype) & 1
    made: Values = 1 - 2 * bits.astype(np.float32)
    return made


def _four_bit_scales(b: Bytes, at: int, d: Values) -> Values:
    """Sixteen scales out of eight bytes: d * (0.5 + s) / 4."""
    codes = (b[:, at : at + 8].reshape(-1, 8, 1) >> np.array([0, 4], np.uint8) & 15).reshape(-1, 16)
    made: Values = d * (codes.astype(np.float32) + 0.5) * 0.25
    return made


def iq2_xxs(b: Bytes, e: str) -> Values:
    """Eight parts of four vectors of 8, 2.06 bits an element."""
    words = _words(b, 2, 66, e + "u4").reshape(-1, 8, 2)
    index, packed = words[:, :, 0], words[:, :, 1]
    rows = index[:, :, None] >> np.array([0, 8, 16, 24], np.uint32) & 255
    signs = _signs()[packed[:, :, None] >> np.array([0, 7, 14, 21], np.uint32) & 127]
    scale = _half(b, 0, e) * ((packed >> 28).astype(np.float32) + 0.5) * 0.25
    made: Values = (scale[:, :, None, None] * _grids()["iq2_xxs"][rows] * signs).reshape(-1, 256)
    return made


def iq2_xs(b: Bytes, e: str) -> Values:
    """Sixteen parts of two vectors of 8, 2.31 bits an element."""
    codes = _words(b, 2, 66, e + "u2").reshape(-1, 16, 2)
    scale = _four_bit_scales(b, 66, _half(b, 0, e))
    values = _grids()["iq2_xs"][codes & 511] * _signs()[codes >> 9]
    made: Values = (scale[:, :, None, None] * values).reshape(-1, 256)
    return made


def iq2_s(b: Bytes, e: str) -> Values:
    """Sixteen parts of two vectors of 8, 2.5 bits an element."""
    high = b[:, 66:74].reshape(-1, 8, 1) >> np.array([0, 2, 4, 6], np.uint8) & 3
    rows = b[:, 2:34].reshape(-1, 16, 2).astype(np.uint16) | high.reshape(-1, 16, 2).astype(np.uint16) << 8
    scale = _four_bit_scales(b, 74, _half(b, 0, e))
    values = _grids()["iq2_s"][rows] * _sign_bits(b[:, 34:66].reshape(-1, 16, 2))
    made: Values = (scale[:, :, None, None] * values).reshape(-1, 256)
    return made


def iq3_xxs(b: Bytes, e: str) -> Values:
    """Eight parts of eight vectors of 4, 3.06 bits an element."""
    packed = _words(b, 66, 98, e + "u4")
    signs = _signs()[packed[:, :, None] >> np.array([0, 7, 14, 21], np.uint32) & 127]
    scale = _half(b, 0, e) * ((packed >> 28).astype(np.float32) + 0.5) * 0.5
    values = _grids()["iq3_xxs"][b[:, 2:66]].reshape(-1, 8, 4, 8)
    made: Values = (scale[:, :, None, None] * values * signs).reshape(-1, 256)
    return made


def iq3_s(b: Bytes, e: str) -> Values:
    """Eight parts of eight vectors of 4, 3.44 bits an element."""
    high = b[:, 66:74].reshape(-1, 8, 1) >> np.arange(8, dtype=np.uint8) & 1
    rows = b[:, 2:66].astype(np.uint16) | high.reshape(-1, 64).astype(np.uint16) << 8
    codes = (b[:, 106:110].reshape(-1, 4, 1) >> np.array([0, 4], np.uint8) & 15).reshape(-1, 8)
    scale = _half(b, 0, e) * (1 + 2 * codes.astype(np.float32))
    values = _grids()["iq3_s"][rows].reshape(-1, 8, 4, 8) * _sign_bits(b[:, 74:106].reshape(-1, 8, 4))
    made: Values = (scale[:, :, None, None] * values).reshape(-1, 256)
    return made


def iq1_s(b: Bytes, e: str) -> Values:
    """Eight parts of four vectors of 8 trits and a shift, 1.56 bits an element."""
    high = _words(b, 34, 50, e + "u2")
    rows = b[:, 2:34].reshape(-1, 8, 4).astype(np.uint16)
    rows |= (high[:, :, None] >> np.array([0, 3, 6, 9], np.uint16) & 7) << 8
    scale = _half(b, 0, e) * (2 * (high >> 12 & 7).astype(np.float32) + 1)
    delta = np.where(high & 0x8000, np.float32(-0.125), np.float32(0.125))
    made: Values = (scale[:, :, None, None] * (_grids()["iq1_s"][rows] + delta[:, :, None, None])).reshape(-1, 256)
    return made


def iq1_m(b: Bytes, e: str) -> Values:
    """Sixteen parts of two vectors of 8 trits and a shift each, 1.75 bits an element."""
    words = _words(b, 48, 56, e + "u2")
    tops = words >> 12 << np.array([0, 4, 8, 12], np.uint16)
    d = np.bitwise_or.reduce(tops, axis=1).astype(np.uint16).view(np.float16).astype(np.float32).reshape(-1, 1)
    codes = (words[:, :, None] >> np.array([0, 3, 6, 9], np.uint16) & 7).reshape(-1, 16)
    scale = d * (2 * codes.astype(np.float32) + 1)
    high = (b[:, 32:48].reshape(-1, 16, 1) >> np.array([0, 4], np.uint8)).reshape(-1, 16, 2)
    rows = b[:, :32].reshape(-1, 16, 2).astype(np.uint16) | (high & 7).astype(np.uint16) << 8
    delta = np.where(high & 8, np.float32(-0.125), np.float32(0.125))
    made: Values = (scale[:, :, None, None] * (_grids()["iq1_s"][rows] + delta[:, :, :, None])).reshape(-1, 256)
    return made


DECODERS: dict[str, Callable[[Bytes, str], Values]] = {
    decoder.__name__: decoder
    for decoder in (
        q4_0, q4_1, q5_0, q5_1, q8_0, q8_1, q8_k, q2_k, q3_k, q4_k, q5_k, q6_k, iq4_nl, iq4_xs, tq1_0, tq2_0, mxfp4,
        nvfp4, iq2_xxs, iq2_xs, iq2_s, iq3_xxs, iq3_s, iq1_s, iq1_m,
    )
}  # fmt: skip
