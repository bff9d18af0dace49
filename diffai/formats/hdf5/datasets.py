"""Datasets: where their values lie, put together from chunks where they are cut up, unpacked where they are packed."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import product

from diffai.formats.hdf5.datatypes import Datatype, parse_dataspace, parse_datatype
from diffai.formats.hdf5.file import DATASPACE, DATATYPE, EXTERNAL, FILTERS, LAYOUT, File, Message, wrong
from diffai.formats.regions import BytesRegion, FileRegion, LazyRegion, Region, Spool
from diffai.frozen import frozen
from diffai.model import element_count

_COMPACT, _CONTIGUOUS, _CHUNKED, _VIRTUAL = 0, 1, 2, 3
_DEFLATE, _SHUFFLE, _FLETCHER32 = 1, 2, 3
_FILTER_NAMES = {4: "szip", 5: "n-bit", 6: "scale-offset", 32000: "lzf", 32001: "blosc", 32004: "lz4", 32015: "zstd"}
_LARGEST_CHUNK = 512 << 20


@frozen
class Dataset:
    """A dataset: element type, sizes (None = null), and how its bytes are found."""

    kind: Datatype
    shape: tuple[int, ...] | None
    layout: bytes
    filters: tuple[int, ...]
    offset: int


def dataset_of(file: File, messages: list[Message]) -> Dataset | None:
    """What an object's messages say of a dataset; None when it is none.

    Raises:
        FormatError: HD05 external storage, HD06 a filter that is not read.

    """
    by_kind = {message.kind: message for message in messages}
    if not {DATASPACE, DATATYPE, LAYOUT} <= by_kind.keys():
        return None
    if EXTERNAL in by_kind:
        raise wrong("keeps its values in another file (external storage), which is never opened", "HD05",
                    by_kind[EXTERNAL].offset)  # fmt: skip
    kind = parse_datatype(file.resolved(by_kind[DATATYPE]))
    shape = parse_dataspace(file, file.resolved(by_kind[DATASPACE]))
    filters = _filters(file.resolved(by_kind[FILTERS]), by_kind[FILTERS].offset) if FILTERS in by_kind else ()
    return Dataset(kind, shape, by_kind[LAYOUT].data, filters, by_kind[LAYOUT].offset)


def _filters(data: bytes, offset: int) -> tuple[int, ...]:
    """The filters of a pipeline in the order in which they were applied; HD06 for one that is not read."""
    if len(data) < 2 or data[0] not in (1, 2):
        raise wrong("has a damaged filter pipeline", "HD03", offset)
    found, at = [], 8 if data[0] == 1 else 2
    for _ in range(data[1]):
        if at + 6 > len(data):
            raise wrong("has a damaged filter pipeline", "HD03", offset)
        number = int.from_bytes(data[at : at + 2], "little")
        named = data[0] == 1 or number >= 256
        name_size = int.from_bytes(data[at + 2 : at + 4], "little") if named else 0
        at += 4 if named else 2
        count = int.from_bytes(data[at + 2 : at + 4], "little")
        at += 4 + ((name_size + 7) // 8 * 8 if data[0] == 1 else name_size) + 4 * count
        at += 4 if data[0] == 1 and count % 2 else 0
        if number not in (_DEFLATE, _SHUFFLE, _FLETCHER32):
            title = _FILTER_NAMES.get(number, f"number {number}")
            raise wrong(f"is packed by the filter {title}, which is not read", "HD06", offset)
        found.append(number)
    return tuple(found)


def region_of(file: File, dataset: Dataset, spool: Spool, name: str) -> Region | None:
    """The bytes of all elements in row-major order; None where there are none.

    Raises:
        FormatError: HD03 damaged, HD05 virtual, HD07 sizes that disagree.

    """
    assert dataset.shape is not None
    wanted = element_count(dataset.shape) * dataset.kind.size
    if not wanted:
        return None
    data = dataset.layout
    version = data[0] if data else 0
    if version not in (1, 2, 3, 4, 5) or len(data) < 4:
        raise wrong("has a layout that is not known", "HD03", dataset.offset, name)
    kind = data[2] if version < 3 else data[1]
    if kind == _VIRTUAL:
        raise wrong("is put together from other files (virtual dataset), which are never opened", "HD05",
                    dataset.offset, name)  # fmt: skip
    if kind == _CHUNKED:
        return _chunked(file, dataset, spool, name, wanted)
    if kind == _COMPACT:
        at, size = (8 + 4 * data[1], 4) if version < 3 else (2, 2)
        held = int.from_bytes(data[at : at + size], "little")
        payload = data[at + size : at + size + held]
        if len(payload) < wanted:
            raise wrong(f"has {len(payload):,} bytes, its shape needs {wanted:,}", "HD07", dataset.offset, name)
        return BytesRegion(payload[:wanted])
    address = file.address(data, 8 if version < 3 else 2)
    if address < 0:  # never written: the fill value, which is zero unless somebody says otherwise
        file.budget.inflate(0, wanted)
        return _zeros(wanted, spool)
    if file.base + address + wanted > file.source.size:
        raise wrong("reaches past the end of the file", "HD07", file.base + address, name)
    return FileRegion(file.source, file.base + address, wanted)


def _zeros(count: int, spool: Spool) -> Region:
    block = bytes(1 << 20)
    pieces = (block[: min(len(block), count - at)] for at in range(0, count, len(block)))
    return LazyRegion(count, lambda: spool.append(pieces))


@frozen
class Chunk:
    """One stored piece: its first element by dimension, its place, and the filters it was written without."""

    corner: tuple[int, ...]
    address: int
    size: int
    skipped: int


def _chunked(file: File, dataset: Dataset, spool: Spool, name: str, wanted: int) -> Region:
    assert dataset.shape is not None
    sizes, chunks = _chunk_index(file, dataset)
    if len(sizes) != len(dataset.shape) or any(not 0 < size < 1 << 32 for size in sizes):
        raise wrong("is cut into impossible chunks", "HD07", dataset.offset, name)
    whole = element_count(sizes) * dataset.kind.size
    slab = sizes[0] * element_count(dataset.shape[1:]) * dataset.kind.size
    if whole > _LARGEST_CHUNK or min(slab, wanted) > _LARGEST_CHUNK:
        raise wrong(f"is cut into chunks of {whole:,} bytes", "HD07", dataset.offset, name)
    file.budget.step(element_count(tuple(-(-n // size) for n, size in zip(dataset.shape, sizes, strict=True))))
    stored = {}
    for chunk in chunks:
        file.budget.step()
        if file.base + chunk.address + chunk.size > file.source.size:
            raise wrong("has a chunk outside the file", "HD07", file.base + chunk.address, name)
        if any(at % size for at, size in zip(chunk.corner, sizes, strict=True)) or chunk.corner in stored:
            raise wrong("has chunks that overlap", "HD07", file.base + chunk.address, name)
        stored[chunk.corner] = chunk
    file.budget.inflate(sum(chunk.size for chunk in stored.values()), wanted)
    return LazyRegion(wanted, lambda: spool.append(_slabs(file, dataset, sizes, stored, name)))


def _slabs(
    file: File, dataset: Dataset, sizes: tuple[int, ...], stored: dict[tuple[int, ...], Chunk], name: str
) -> Iterator[bytes]:
    """The values of all rows of chunks, one after another."""
    import numpy as np

    shape = dataset.shape
    assert shape is not None
    kind = np.dtype(f"V{dataset.kind.size}")
    for first in range(0, shape[0], sizes[0]):
        rows = min(sizes[0], shape[0] - first)
        out = np.zeros((rows, *shape[1:]), kind)
        for inner in product(*(range(0, size, step) for size, step in zip(shape[1:], sizes[1:], strict=True))):
            chunk = stored.get((first, *inner))
            if chunk is None:
                continue
            values = np.frombuffer(_unpacked(file, dataset, sizes, chunk, name), kind).reshape(sizes)
            place = tuple(slice(at, at + step) for at, step in zip(inner, sizes[1:], strict=True))
            target = out[(slice(None), *place)]
            target[...] = values[tuple(slice(0, size) for size in target.shape)]
        yield out.tobytes()


def _unpacked(file: File, dataset: Dataset, sizes: tuple[int, ...], chunk: Chunk, name: str) -> bytes:
    """One chunk with its filters undone, the last one first."""
    wanted = element_count(sizes) * dataset.kind.size
    if chunk.size > 2 * wanted + (1 << 16):
        raise wrong(f"has a chunk of {chunk.size:,} bytes", "HD07", file.base + chunk.address, name)
    data = file.source.read(file.base + chunk.address, chunk.size)
    for position in reversed(range(len(dataset.filters))):
        if chunk.skipped >> position & 1:
            continue
        number = dataset.filters[position]
        if number == _DEFLATE:
            data = _inflated(data, wanted, file.base + chunk.address, name)
        elif number == _FLETCHER32:
            data = data[:-4]
        elif dataset.kind.size > 1:
            import numpy as np

            whole = len(data) // dataset.kind.size * dataset.kind.size
            planes = np.frombuffer(data[:whole], np.uint8).reshape(dataset.kind.size, -1)
            data = planes.T.tobytes() + data[whole:]
    if len(data) != wanted:
        reason = f"has a chunk of {len(data):,} bytes, {wanted:,} are needed"
        raise wrong(reason, "HD07", file.base + chunk.address, name)
    return data


def _inflated(data: bytes, wanted: int, offset: int, name: str) -> bytes:
    import zlib

    unpacker = zlib.decompressobj()
    try:
        made = unpacker.decompress(data, wanted + 8)  # a checksum may follow
    except zlib.error as error:
        raise wrong(f"has damaged compressed data ({error})", "HD08", offset, name) from error
    if not unpacker.eof:
        raise wrong(f"has compressed data of another size than {wanted:,} bytes", "HD08", offset, name)
    return made


def _chunk_index(file: File, dataset: Dataset) -> tuple[tuple[int, ...], Iterator[Chunk]]:
    """The sizes of chunks in elements, and the chunks."""
    data = dataset.layout
    if data[0] < 4:
        at, rank = (8 + file.offset_size, data[1]) if data[0] < 3 else (3 + file.offset_size, data[2])
        sizes = struct.unpack_from(f"<{rank}I", data, at) if at + 4 * rank <= len(data) and rank else (0,)
        address = file.address(data, 8 if data[0] < 3 else 3)
        return tuple(sizes[: rank - 1]), _from_tree(file, address, rank)
    flags, rank, width = data[2], data[3], data[4]
    sizes = tuple(int.from_bytes(data[5 + n * width : 5 + (n + 1) * width], "little") for n in range(rank))[: rank - 1]
    at = 5 + rank * width
    index = data[at] if at < len(data) else 0
    return sizes, _modern_index(file, dataset, sizes, (index, at + 1, flags))


def _from_tree(file: File, address: int, rank: int) -> Iterator[Chunk]:
    if address < 0:
        return
    for key, child in file.tree(address, 1, 8 + 8 * rank):
        size, skipped = struct.unpack_from("<II", key)
        corner = struct.unpack_from(f"<{rank - 1}Q", key, 8)
        yield Chunk(corner, child, size, skipped)


def _modern_index(
    file: File, dataset: Dataset, sizes: tuple[int, ...], where: tuple[int, int, int]
) -> Iterator[Chunk]:
    """Chunks of a layout of version 4: one, implicit, or in a fixed array; HD04 for other indexes."""
    index, at, flags = where
    data, shape = dataset.layout, dataset.shape
    assert shape is not None
    if any(not size for size in sizes):
        raise wrong("is cut into impossible chunks", "HD07", dataset.offset)
    whole = element_count(sizes) * dataset.kind.size
    corners = product(*(range(0, size, step) for size, step in zip(shape, sizes, strict=True)))
    if index == 1:
        size, skipped = whole, 0
        if flags & 2:
            size, skipped = file.length(data, at), int.from_bytes(data[at + 8 : at + 12], "little")
            at += file.length_size + 4
        address = file.address(data, at)
        if address >= 0:
            yield Chunk((0,) * len(shape), address, size, skipped)
    elif index == 2:
        address = file.address(data, at)
        for number, corner in enumerate(corners):
            if address >= 0:
                yield Chunk(corner, address + number * whole, whole, 0)
    elif index == 3:
        yield from _fixed_array(file, file.address(data, at + 1), corners, whole)
    else:
        title = {4: "extensible array", 5: "version 2 B-tree"}.get(index, str(index))
        raise wrong(f"lists its chunks in an index that is not read ({title})", "HD04", dataset.offset)


def _fixed_array(file: File, address: int, corners: Iterator[tuple[int, ...]], whole: int) -> Iterator[Chunk]:
    if address < 0:
        return
    head = file.read(address, 12 + file.length_size + file.offset_size)
    filtered, width, bits = head[5], head[6], head[7]
    count, block = file.length(head, 8), file.address(head, 8 + file.length_size)
    if head[:4] != b"FAHD" or filtered > 1 or not width or bits > 30:
        raise wrong("has a damaged index of chunks", "HD03", file.base + address)
    if block < 0:
        return
    start, page = block + 6 + file.offset_size, 1 << bits
    paged = count > page
    if paged:
        start += (-(-count // page) + 7) // 8 + 4  # which pages were written, and a checksum
    for number, corner in enumerate(corners):
        if number >= count:
            break
        jump = number // page * 4 if paged else 0  # a checksum after each page
        entry = file.read(start + number * width + jump, width)
        child = file.address(entry, 0)
        if child < 0:
            continue
        size, skipped = whole, 0
        if filtered:
            size = int.from_bytes(entry[file.offset_size : width - 4], "little")
            skipped = int.from_bytes(entry[width - 4 :], "little")
        yield Chunk(corner, child, size, skipped)
