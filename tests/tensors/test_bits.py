"""Bits that differ are counted one by one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from diffai.tensors.bits import bits_apart


def reader(data: np.ndarray) -> Callable[[int, memoryview], None]:
    def read(offset: int, buffer: memoryview) -> None:
        buffer[:] = data[offset : offset + len(buffer)].tobytes()

    return read


@pytest.mark.parametrize("size", [0, 1, 2, 7, 4096, (1 << 20) + 3])
def test_bits_are_those_of_all_bytes(size: int) -> None:
    rng = np.random.default_rng(size)
    old, new = (rng.integers(0, 256, size, dtype=np.uint8) for _ in range(2))
    assert bits_apart(reader(old), reader(new), size) == int(np.unpackbits(old ^ new).sum())
    assert bits_apart(reader(old), reader(old), size) == 0
