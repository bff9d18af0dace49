"""The table of LevelDB, as TensorFlow writes it for the index of a checkpoint: sorted keys and values in blocks.

Specification: https://github.com/google/leveldb/blob/main/doc/table_format.md. TensorFlow never compresses the blocks.
"""

from __future__ import annotations

from collections.abc import Iterator

from diffai.errors import FormatError
from diffai.formats.base import Budget
from diffai.sources.base import Source

MAGIC = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"
_FOOTER = 48
_LARGEST_BLOCK = 64 << 20


def entries(source: Source, budget: Budget) -> Iterator[tuple[bytes, bytes, int]]:
    """All (key, value, offset of the block), in order of the keys.

    Raises:
        FormatError: it is no table, or is cut off; LimitError.

    """
    footer = source.read(max(0, source.size - _FOOTER), _FOOTER)
    if len(footer) < _FOOTER or footer[40:] != MAGIC:
        raise FormatError("does not end as a table does (cut off?)", offset=max(0, source.size - 8))
    _, _, at = _handle(footer, 0, source.size - _FOOTER)
    start, size, _ = _handle(footer, at, source.size - _FOOTER)
    for _, handle in _block(source, start, size, budget):
        start, size, _ = _handle(handle, 0, start)
        for key, value in _block(source, start, size, budget):
            yield key, value, start


def _handle(data: bytes, at: int, offset: int) -> tuple[int, int, int]:
    """Where a block lies and how long it is, and what follows in ``data``."""
    start, at = _varint(data, at, offset)
    size, at = _varint(data, at, offset)
    return start, size, at


def _varint(data: bytes, at: int, offset: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise FormatError("a number is cut off or too long", offset=offset)


def _block(source: Source, start: int, size: int, budget: Budget) -> Iterator[tuple[bytes, bytes]]:
    """The entries of one block; each key shares its beginning with the one before."""
    if start + size + 5 > source.size or size < 4 or size > _LARGEST_BLOCK:
        raise FormatError(f"a block of {size:,} bytes lies outside the file", offset=min(start, source.size))
    budget.make(size)
    data = source.read(start, size + 1)
    if data[size]:
        raise FormatError("a block is compressed, which no writer of checkpoints does", offset=start)
    restarts = int.from_bytes(data[size - 4 : size], "little")
    stop = size - 4 - 4 * restarts
    if stop < 0:
        raise FormatError("a block's restarts reach before it", offset=start)
    at, key = 0, b""
    while at < stop:
        budget.step()
        shared, at = _varint(data, at, start)
        own, at = _varint(data, at, start)
        length, at = _varint(data, at, start)
        if shared > len(key) or at + own + length > stop:
            raise FormatError("an entry reaches past its block", offset=start)
        key = key[:shared] + data[at : at + own]
        budget.name(len(key))
        at += own
        yield key, data[at : at + length]
        at += length
