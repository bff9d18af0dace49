"""Extremes and zeros told from codes, against the decoded values."""

from __future__ import annotations

import numpy as np
import pytest

from diffai.model import DTYPE_BITS
from diffai.tensors.dtypes import decode64
from diffai.tensors.fast import CODED, count_zeros, extremes


def check(dtype: str, raw: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        values = decode64(dtype, raw, len(raw) * 8 // DTYPE_BITS[dtype]).high
        found = extremes(dtype, raw)
    if np.isfinite(values).all():
        assert found == (values.min(), values.max())
        scratch = np.empty(len(raw) + 64, np.uint8)
        assert count_zeros(dtype, raw, scratch) == np.count_nonzero(values == 0)
    else:
        assert not np.isfinite(found).all()


@pytest.mark.parametrize("dtype", sorted(CODED))
def test_every_code_alone(dtype: str) -> None:
    size = DTYPE_BITS[dtype] // 8
    codes = np.arange(256 if size == 1 else 65536, dtype=f"<u{size}")
    for code in codes[:: 1 if size == 1 else 7]:
        check(dtype, np.array([code], f"<u{size}").view(np.uint8))
    check(dtype, codes.view(np.uint8))


@pytest.mark.parametrize("dtype", sorted(CODED))
def test_pieces_of_every_character(dtype: str) -> None:
    size = DTYPE_BITS[dtype] // 8
    sign = 1 << (8 * size - 1)
    rng = np.random.default_rng(3)
    for low, high in ((0, sign), (sign, 2 * sign), (0, 2 * sign), (0, 4), (sign, sign + 4), (sign - 3, sign + 3)):
        for count in (1, 2, 5, 300):
            codes = rng.integers(low, high, count).astype(f"<u{size}")
            check(dtype, codes.view(np.uint8))
            codes[rng.random(count) < 0.5] = sign >> 1
            codes[-1] = 0
            check(dtype, codes.view(np.uint8))
