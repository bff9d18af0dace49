"""How many bits of the stored numbers differ: what a store that keeps differences of models could save."""

from __future__ import annotations

from functools import cache

import numpy as np

from diffai.model import Checkpoint, TensorSpec
from diffai.tensors.dtypes import Array

_BLOCK = 1 << 20


@cache
def _ones() -> Array:
    """How many bits are set in each number of 16 bits."""
    numbers = np.arange(1 << 16, dtype=np.uint32)
    counts = np.zeros(1 << 16, np.uint8)
    for bit in range(16):
        counts += (numbers >> bit & 1).astype(np.uint8)
    return counts


def bits_apart(old: Checkpoint, new: Checkpoint, pair: tuple[TensorSpec, TensorSpec]) -> int:
    """Bits that differ between the bytes of two tensors of one dtype and shape.

    Raises:
        SourceError: bytes are gone.
    """
    found = 0
    for start in range(0, pair[0].nbytes, _BLOCK):
        size = min(_BLOCK, pair[0].nbytes - start)
        sides = []
        for checkpoint, spec in zip((old, new), pair, strict=True):
            raw = np.zeros(size + size % 2, np.uint8)
            checkpoint.read_into(spec, start, raw[:size].data)
            sides.append(raw.view(np.uint16))
        found += int(_ones()[sides[0] ^ sides[1]].sum(dtype=np.int64))
    return found
