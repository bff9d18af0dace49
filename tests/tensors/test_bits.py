"""Bits that differ are counted one by one."""

from __future__ import annotations

import numpy as np
import pytest
from memory_checkpoint import MemoryCheckpoint

from diffai.tensors.bits import bits_apart


@pytest.mark.parametrize("size", [0, 1, 2, 7, 4096, (1 << 20) + 3])
def test_bits_are_those_of_all_bytes(size: int) -> None:
    rng = np.random.default_rng(size)
    sides = [rng.integers(0, 256, size, dtype=np.uint8) for _ in range(2)]
    old, new = (MemoryCheckpoint({"w": ("U8", (size,), side.tobytes())}) for side in sides)
    expected = int(np.unpackbits(sides[0] ^ sides[1]).sum())
    assert bits_apart(old, new, (old.tensors["w"], new.tensors["w"])) == expected
    assert bits_apart(old, old, (old.tensors["w"], old.tensors["w"])) == 0
