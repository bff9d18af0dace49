"""Decoding against ml_dtypes and numpy: every code of the small formats, both routes."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import tensor_oracle as oracle

from diffai.model import DTYPE_BITS
from diffai.tensors import dtypes

pytestmark = pytest.mark.filterwarnings("ignore:invalid value")  # signalling NaN

EIGHT_BITS = [name for name, bits in DTYPE_BITS.items() if bits == 8 and name.startswith("F8")]


def every_code(dtype: str) -> np.ndarray:
    size = DTYPE_BITS[dtype] // 8
    return np.arange(256**size, dtype=f"<u{size}").view(np.uint8)


@pytest.mark.parametrize("dtype", [*EIGHT_BITS, "F16", "BF16", "I8", "U8", "I16", "U16"])
def test_every_code(dtype: str) -> None:
    raw = every_code(dtype)
    count = len(raw) * 8 // DTYPE_BITS[dtype]
    found = dtypes.decode64(dtype, raw, count).high
    np.testing.assert_array_equal(found, np.array(oracle.decode(dtype, raw.tobytes(), count)))


@pytest.mark.parametrize("dtype", sorted(set(dtypes.FAST_LIMITS) - {"F32"}))
def test_the_fast_route_agrees_on_every_code_within_its_limit(dtype: str) -> None:
    raw = every_code(dtype)
    count = len(raw) * 8 // DTYPE_BITS[dtype]
    out = np.empty(count, np.float32)
    dtypes.decode32(dtype, raw, out)
    exact = dtypes.decode64(dtype, raw, count).high
    limit = dtypes.FAST_LIMITS[dtype]
    trusted = np.abs(out) <= limit
    if dtype.endswith("FNUZ"):
        trusted &= raw != dtypes.NAN_OF_FNUZ  # looked for by the caller
    np.testing.assert_array_equal(out[trusted], exact[trusted])
    assert trusted[np.abs(exact) <= limit].all(), "a value within the limit is refused"
    assert not trusted[~np.isfinite(exact)].any(), "NaN or infinity would pass for a number"


def test_four_bits_low_nibble_first() -> None:
    raw = np.array([0x21, 0xF7], np.uint8)
    assert dtypes.decode64("F4", raw, 4).high.tolist() == [0.5, 1.0, 6.0, -6.0]
    assert dtypes.decode64("F4", raw, 3).high.tolist() == [0.5, 1.0, 6.0]
    nibbles = np.arange(16, dtype=np.uint8)
    wanted = nibbles.view(ml_dtypes.float4_e2m1fn).astype(np.float64)
    packed = (nibbles[0::2] | nibbles[1::2] << 4).astype(np.uint8)
    np.testing.assert_array_equal(dtypes.decode64("F4", packed, 16).high, wanted)


@pytest.mark.parametrize("dtype", ["I64", "U64"])
def test_integers_beyond_53_bits_are_exact_as_two_floats(dtype: str) -> None:
    signed = dtype == "I64"
    top = 2**63 if signed else 2**64
    exact = [0, 1, 2**53, 2**53 + 1, 2**62 + 3, top - 1, top - 2, top - 1025, 2**40 + 1]
    if signed:
        exact += [-1, -(2**53) - 1, -(2**63), -(2**63) + 1, -(2**32), -(2**32) + 1]
    raw = np.array(exact, np.int64 if signed else np.uint64).view(np.uint8)
    values = dtypes.decode64(dtype, raw, len(exact))
    assert values.low is not None
    assert [int(h) + int(low) for h, low in zip(values.high.tolist(), values.low.tolist(), strict=True)] == exact
    np.testing.assert_array_equal(values.high, np.array([float(x) for x in exact]))


def test_six_bit_kinds_and_unknown_ones_have_no_values() -> None:
    assert not any(dtypes.has_values(name) for name in ("F6_E2M3", "F6_E3M2", "X9"))
    known = set(DTYPE_BITS) - {"F6_E2M3", "F6_E3M2", "QI8", "QU8", "QI32"}
    assert all(dtypes.has_values(name) for name in known)
