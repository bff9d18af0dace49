"""Weights that are compressed in a model as the numbers that they stand for, made a piece at a time."""

from __future__ import annotations

import math

from diffai.formats.regions import LazyRegion, Region, Spool, read
from diffai.frozen import frozen
from diffai.model import byte_count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    import numpy as np

    Numbers = np.ndarray[Any, np.dtype[Any]]

_PIECE = 1 << 17  # elements
NUMBERS = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "I8": "i1", "U8": "u1", "I16": "<i2", "U16": "<u2", "I32": "<i4",
           "U32": "<u4", "I64": "<i8", "U64": "<u8", "BOOL": "?"}  # fmt: skip


@frozen
class Codes:
    """Whole numbers of ``bits`` bits each, one after another.

    ``first_high``: the first is in the highest bits of a byte (a neural network's), else in the lowest (a program's).
    """

    region: Region
    bits: int
    signed: bool
    first_high: bool = False

    def read(self, first: int, count: int) -> Numbers:
        """Some of them; ``first`` is a multiple of 8."""
        import numpy as np

        data = np.frombuffer(read(self.region, first * self.bits // 8, -(-count * self.bits // 8)), np.uint8)
        if self.bits == 8:
            values = data
        else:
            wanted = count * self.bits
            flat = np.unpackbits(data, count=wanted, bitorder="big" if self.first_high else "little")
            bits = flat.reshape(count, self.bits)
            powers = 1 << np.arange(self.bits, dtype=np.int64)
            values = bits.astype(np.int64) @ (powers[::-1] if self.first_high else powers)
        if not self.signed:
            return values.astype(np.int64)
        half = 1 << (self.bits - 1)
        return (values.astype(np.int64) ^ half) - half


@frozen
class Cut:
    """A tensor's shape, cut into ``parts`` equal parts along each axis: into blocks."""

    shape: tuple[int, ...]
    parts: tuple[int, ...]

    @property
    def fits(self) -> bool:
        """Whether it can be cut so."""
        sizes = zip(self.shape, self.parts, strict=False)
        return len(self.shape) == len(self.parts) and all(cut > 0 and size % cut == 0 for size, cut in sizes)

    def blocks(self, first: int, count: int) -> Numbers:
        """Which block the elements from ``first`` on lie in, in row-major order."""
        import numpy as np

        index = np.zeros(count, np.int64)
        elements, inner = np.arange(first, first + count), math.prod(self.shape)
        for size, cut in zip(self.shape, self.parts, strict=True):
            inner //= size
            index = index * cut + elements // inner % size // (size // cut)
        return index


def decoded(spool: Spool, dtype: str, count: int, make: Callable[[int, int], Numbers]) -> Region:
    """A region of ``count`` numbers of ``dtype`` that are made when they are first read."""

    def pieces() -> Iterator[bytes]:
        import numpy as np

        for first in range(0, count, _PIECE):
            with np.errstate(all="ignore"):  # scales of a damaged file
                yield make(first, min(_PIECE, count - first)).astype(NUMBERS[dtype]).tobytes()

    return LazyRegion(byte_count(dtype, count), lambda: spool.append(pieces()))


def scaled(codes: Codes, cut: Cut, scales: Numbers, offsets: Numbers, biases: Numbers) -> Callable[[int, int], Numbers]:
    """``(code - offset) * scale + bias``, each of the block that an element lies in."""

    def make(first: int, count: int) -> Numbers:
        at = cut.blocks(first, count)
        return (codes.read(first, count) - offsets[at]) * scales[at] + biases[at]

    return make


def looked_up(codes: Codes, cut: Cut, tables: Numbers) -> Callable[[int, int], Numbers]:
    """The entry of the table of the block that an element lies in; ``tables``: [blocks, entries]."""

    def make(first: int, count: int) -> Numbers:
        return tables[cut.blocks(first, count), codes.read(first, count)]

    return make


def scattered(mask: Codes, values: Region, dtype: str) -> Callable[[int, int], Numbers]:
    """Zeros, and where the mask is set the next of ``values``; pieces have to be made in order."""
    import numpy as np

    done = 0

    def make(first: int, count: int) -> Numbers:
        nonlocal done
        if not first:
            done = 0
        chosen = mask.read(first, count).astype(bool)
        found = int(chosen.sum())
        width = np.dtype(NUMBERS[dtype]).itemsize
        out = np.zeros(count, NUMBERS[dtype])
        out[chosen] = np.frombuffer(read(values, done * width, found * width), NUMBERS[dtype])
        done += found
        return out

    return make
