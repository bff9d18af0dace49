"""Cutting the work into pieces of bounded size, and the memory that one thread reuses for all of its pieces."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cache

import numpy as np

from diffai.frozen import frozen
from diffai.model import DTYPE_BITS, Checkpoint, TensorSpec
from diffai.tensors.dtypes import Array, has_values
from diffai.tensors.fast import Lanes

Pair = tuple[TensorSpec, TensorSpec]


@frozen
class Sizes:
    """Sizes in elements, all even (F4 packs two in a byte).

    Attributes:
        block: read and compared at once. Large enough that a numpy call outlasts the hand-over of the interpreter
            lock between threads, small enough that all its arrays stay in the last-level cache.
        exact_block: the same for the float64 route, which needs several arrays of eight bytes an element.
        chunk: unit of work of a thread.
        small: tensors up to this size are joined with others of their dtype.
        batch: elements joined at most.
    """

    block: int = 524288
    exact_block: int = 65536
    chunk: int = 1 << 20
    small: int = 8192
    batch: int = 65536


SIZES = Sizes()


@frozen
class Chunk:
    """Elements ``start`` to ``stop`` of pair (or tensor) number ``index``; ``once``: they cannot be read again."""

    index: int
    start: int
    stop: int
    once: bool = False


@frozen
class Batch:
    """Small pairs (or tensors) of the same dtypes, by number."""

    indices: tuple[int, ...]


Piece = Chunk | Batch


class Workspace:
    """Buffers of one thread, allocated when first needed."""

    def __init__(self, sizes: Sizes) -> None:
        """Remember the sizes only."""
        self.sizes = sizes
        keep_freed_memory()
        self._raw: list[Array] = [np.empty(0, np.uint8), np.empty(0, np.uint8)]
        self._codes: list[Array] = [np.empty(0, np.uint8), np.empty(0, np.uint8)]
        self._lanes: Lanes | None = None

    def codes(self, side: int, size: int) -> Array:
        """uint8 buffer of ``size`` bytes for codes that are not decoded yet; valid until the next call for it."""
        if len(self._codes[side]) < size:
            self._codes[side] = np.empty(size, np.uint8)
        return self._codes[side][:size]

    def raw(self, side: int, size: int) -> Array:
        """uint8 buffer of ``size`` bytes for side 0 or 1, aligned to 64 bytes; valid until the next call for it."""
        if len(self._raw[side]) < size:
            memory = np.empty(size + 64, np.uint8)
            skip = -memory.ctypes.data % 64
            self._raw[side] = memory[skip:]
        return self._raw[side][:size]

    def lanes(self) -> Lanes:
        """float32 rows for one block."""
        if self._lanes is None:
            self._lanes = Lanes(self.sizes.block)
        return self._lanes


@cache
def keep_freed_memory() -> None:
    """Make the C library reuse the memory of temporary arrays instead of returning it to the system each time.

    glibc maps each allocation above a threshold anew (page faults cost more than the arithmetic on it) until one
    such is freed; then the threshold rises to that size. Nothing is touched, so nothing is used.
    """
    np.empty(24 << 20, np.uint8)


def unit_bits(spec: TensorSpec) -> int:
    """Bits of one element as read; 8 for unknown dtypes and packed ones without a definition, taken as bytes."""
    dtype = spec.values_dtype
    return DTYPE_BITS[dtype] if has_values(dtype) else 8


def span(bits: int, start: int, stop: int) -> tuple[int, int]:
    """Byte offset and byte length of elements ``start`` to ``stop``; ``start`` must lie on a whole byte."""
    offset = bits * start // 8
    return offset, (bits * stop + 7) // 8 - offset


def plan(
    counts: Sequence[int], groups: Sequence[Hashable | None], order: Sequence[int], sizes: Sizes, *, join: bool
) -> list[Piece]:
    """Cut pairs (or single tensors) into pieces.

    Args:
        counts: elements of each, or bytes where its dtype has no values; those of 0 get no piece.
        groups: small ones of the same group may be joined; None is joined with nothing.
        order: in which order to go through them.
        sizes: how large pieces may be.
        join: small ones may be joined although others lie between them.
    """
    pieces: list[Piece] = []
    waiting: dict[Hashable, list[int]] = {}
    totals: dict[Hashable, int] = {}

    def flush(some: Sequence[Hashable]) -> None:
        for group in some:
            pieces.append(Batch(tuple(waiting.pop(group))))

    for index in order:
        count, group = counts[index], groups[index]
        if not count:
            continue
        if group is None or count > sizes.small:
            if not join:
                flush(tuple(waiting))
            pieces.extend(
                Chunk(index, start, min(start + sizes.chunk, count)) for start in range(0, count, sizes.chunk)
            )
        elif group in waiting and totals[group] + count <= sizes.batch:
            waiting[group].append(index)
            totals[group] += count
        else:
            flush((group,) if join and group in waiting else () if join else tuple(waiting))
            waiting[group], totals[group] = [index], count
    flush(tuple(waiting))
    return pieces


def file_order(checkpoint: Checkpoint, specs: Sequence[TensorSpec]) -> list[int]:
    """Numbers of ``specs`` in the order in which their bytes lie in the checkpoint's files."""
    if all(spec.offset >= 0 for spec in specs):
        places = [(spec.file, spec.offset) for spec in specs]
        return sorted(range(len(specs)), key=places.__getitem__)
    position = {name: place for place, name in enumerate(checkpoint.tensors)}
    return sorted(range(len(specs)), key=lambda i: position.get(specs[i].name, len(position)))


def read_joined(checkpoint: Checkpoint, specs: Sequence[TensorSpec], out: Array) -> None:
    """Read small tensors one after the other into ``out`` (uint8), neighbours in the file with one read."""
    view = out.data
    position = 0
    first = 0
    while first < len(specs):
        spec = specs[first]
        last, size = first + 1, spec.nbytes
        if spec.offset >= 0:
            file, end = spec.file, spec.offset + size
            while last < len(specs) and specs[last].offset == end and specs[last].file == file:
                end += specs[last].nbytes
                last += 1
            size = end - spec.offset
        part = view[position : position + size]
        if last - first > 1:
            checkpoint.read_file_into(spec.file, spec.offset, part)
        else:
            checkpoint.read_into(spec, 0, part)
        position += size
        first = last
