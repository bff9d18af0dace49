"""How many bits of the stored numbers differ: what a store that keeps differences of models could save."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from diffai.tensors.dtypes import Array

Read = Callable[[int, memoryview], None]

_BLOCK = 1 << 20


@cache
def _ones() -> Array:
    """How many bits are set in each number of 16 bits."""
    numbers = np.arange(1 << 16, dtype=np.uint32)
    counts = np.zeros(1 << 16, np.uint8)
    for bit in range(16):
        counts += (numbers >> bit & 1).astype(np.uint8)
    return counts


def bits_apart(old: Read, new: Read, size: int) -> int:
    """Bits that differ between two runs of ``size`` bytes.

    Args:
        old, new: fill a buffer with the bytes from an offset on.
        size: bytes of either.

    Raises:
        SourceError: bytes are gone.
    """
    found = 0
    for start in range(0, size, _BLOCK):
        length = min(_BLOCK, size - start)
        sides = []
        for read in (old, new):
            raw = np.zeros(length + length % 2, np.uint8)
            read(start, raw[:length].data)
            sides.append(raw.view(np.uint16))
        found += int(_ones()[sides[0] ^ sides[1]].sum(dtype=np.int64))
    return found
