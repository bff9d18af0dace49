"""The header of a GGUF file: key-value pairs and the table of tensors."""

from __future__ import annotations

import struct
from itertools import pairwise

from diffai.errors import FormatError, LimitError
from diffai.formats.base import Limits
from diffai.formats.digests import digest_of, shown_digest
from diffai.formats.gguf.types import PLAIN, TYPES, BlockCoder
from diffai.formats.regions import FileRegion
from diffai.formats.stored import StoredCheckpoint
from diffai.frozen import slotted
from diffai.model import Scalar, byte_count, element_count
from diffai.sources.base import Source

FORMAT = "gguf"
_WINDOW = 1 << 18
_SHOWN = 16  # arrays up to this many values are listed, longer ones are counted
_DEPTH = 4
_MOST_DIMENSIONS = 8
_LONGEST_TEXT = 4096
_ARRAY, _STRING = 9, 8
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TITLES = {0: "uint8", 1: "int8", 2: "uint16", 3: "int16", 4: "uint32", 5: "int32", 6: "float32", 7: "bool",
           8: "string", 10: "uint64", 11: "int64", 12: "float64"}  # fmt: skip


class GgufCheckpoint(StoredCheckpoint):
    """An opened GGUF file."""

    not_expressible = frozenset(("training", "classes", "graph", "ties", "requires_grad"))

    def __init__(self, source: Source, limits: Limits) -> None:
        super().__init__(source, FORMAT, limits.max_spool)


class _Cursor:
    """Reads numbers and strings one after another, through a window, and never past ``limit`` bytes."""

    def __init__(self, source: Source, limit: int) -> None:
        self._source, self._limit = source, limit
        self._window, self._base = b"", 0
        self.at = 4
        self.endian = "<"
        self.wide = True  # lengths and counts have 64 bits, from version 2 on

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        start, stop = self.at, self.at + count
        if stop > self._source.size:
            raise FormatError("ends inside its header", code="GG02", offset=start, format=FORMAT)
        if stop > self._limit:
            reason = f"has a header of more than {self._limit:,} bytes (diffai.maxHeader lifts it)"
            raise LimitError(reason, code="GG12", offset=start, format=FORMAT)
        if not (self._base <= start and stop <= self._base + len(self._window)):
            self._window, self._base = self._source.read(start, max(count, _WINDOW)), start
        self.at = stop
        return self._window[start - self._base : stop - self._base]

    def number(self, code: str) -> int:
        """One number of a ``struct`` code."""
        value: int = struct.unpack(self.endian + code, self.take(struct.calcsize("<" + code)))[0]
        return value

    def count(self) -> int:
        """A length or count."""
        return self.number("Q" if self.wide else "I")

    def text(self) -> bytes:
        """A string."""
        return self.take(self.count())


@slotted
class _Info:
    """A row of the table of tensors."""

    name: str
    shape: tuple[int, ...]
    kind: int
    start: int
    row: int


def read_header(checkpoint: GgufCheckpoint, limits: Limits) -> None:
    """Fill a checkpoint from its source.

    Raises:
        FormatError: see the table of the package.

    """
    source = checkpoint.source
    cursor = _Cursor(source, limits.max_header)
    version = cursor.number("I")
    if version & 0xFFFF == 0 and version:  # written on a big-endian machine, or for one
        cursor.endian, version = ">", int.from_bytes(version.to_bytes(4, "little"), "big")
    if version not in (1, 2, 3):
        raise FormatError(f"is GGUF version {version}, which is not known", code="GG01", offset=4, format=FORMAT)
    cursor.wide = version > 1
    tensors, pairs = cursor.count(), cursor.count()
    if tensors * 24 > source.size or pairs * 12 > source.size:
        reason = f"claims {tensors:,} tensors and {pairs:,} keys in {source.size:,} bytes"
        raise FormatError(reason, code="GG03", offset=8, format=FORMAT)
    metadata, types = _pairs(cursor, pairs)
    infos = [_info(cursor) for _ in range(tensors)]
    order = ", big-endian" if cursor.endian == ">" else ""
    checkpoint.metadata = {"gguf version": f"{version}{order}", **metadata}
    checkpoint.metadata_types = types
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20 or alignment & (alignment - 1):
        raise FormatError(f"has an alignment of {alignment!r}", code="GG05", format=FORMAT)
    _place(checkpoint, infos, -(-cursor.at // alignment) * alignment, alignment, cursor.endian)


def _pairs(cursor: _Cursor, count: int) -> tuple[dict[str, Scalar], dict[str, str]]:
    """Values and their types, by key."""
    metadata: dict[str, Scalar] = {}
    types: dict[str, str] = {}
    for _ in range(count):
        at = cursor.at
        key = cursor.text().decode("utf-8", "backslashreplace")
        if key in metadata:
            raise FormatError(f"has the key {key[:100]!r} twice", code="GG04", offset=at, format=FORMAT)
        metadata[key], types[key] = _value(cursor, cursor.number("I"), key)
    return metadata, types


def _value(cursor: _Cursor, kind: int, key: str) -> tuple[Scalar, str]:
    """A value, and its type."""
    if kind == _STRING:
        return _shown(cursor.text()), _TITLES[kind]
    if kind == _ARRAY:
        return _array(cursor, key, 0)
    code = _SCALARS.get(kind)
    if code is None:
        reason = f"has a value of unknown type {kind} under {key[:100]!r}"
        raise FormatError(reason, code="GG04", offset=cursor.at, format=FORMAT)
    return cursor.number(code), _TITLES[kind]


def _shown(data: bytes) -> str:
    """A text in full, or its beginning with length and digest (chat templates are long)."""
    if len(data) <= _LONGEST_TEXT:
        return data.decode("utf-8", "backslashreplace")
    return f"{data[:60].decode('utf-8', 'backslashreplace')}... {len(data):,} bytes, {shown_digest(data)}"


def _array(cursor: _Cursor, key: str, depth: int) -> tuple[str, str]:
    """An array as text, and its type: its values where they are few, else their number and a digest."""
    from hashlib import blake2b

    kind, count, first = cursor.number("I"), cursor.count(), cursor.at
    if depth > _DEPTH:
        raise FormatError(f"nests arrays too deeply under {key[:100]!r}", code="GG03", offset=first, format=FORMAT)
    if kind in _SCALARS:
        width = struct.calcsize("<" + _SCALARS[kind])
        data = cursor.take(count * width)
        if count > _SHOWN:
            if cursor.endian == ">":
                data = _swapped(data, width)
            return f"{count:,} numbers, {shown_digest(data)}", f"array of {_TITLES[kind]}"
        return str(list(struct.unpack(f"{cursor.endian}{count}{_SCALARS[kind]}", data))), f"array of {_TITLES[kind]}"
    if kind not in (_STRING, _ARRAY):
        reason = f"has an array of unknown type {kind} under {key[:100]!r}"
        raise FormatError(reason, code="GG04", offset=first, format=FORMAT)
    digest = blake2b(digest_size=8)
    shown: list[str] = []
    types: list[str] = []  # of arrays inside
    for _ in range(count):
        if kind == _STRING:
            item = cursor.text()
            digest.update(len(item).to_bytes(8, "little") + item)
            text = repr(_shown(item)) if len(shown) < _SHOWN else ""
        else:
            text, inner = _array(cursor, key, depth + 1)
            types += [inner] * (len(types) < _SHOWN)
            digest.update(digest_of(text, inner))
        if len(shown) < _SHOWN:
            shown.append(text)
    title = _TITLES.get(kind) or f"({', '.join(types if len(set(types)) > 1 else types[:1])})"
    if count > _SHOWN:
        text = f"{count:,} {'strings' if kind == _STRING else 'arrays'}, {digest.hexdigest()}"
    else:
        text = f"[{', '.join(shown)}]"
    return text, f"array of {title}"


def _swapped(data: bytes, width: int) -> bytes:
    """Numbers of the other byte order: what a file says is no matter of the machine that it was written for."""
    swapped = bytearray(data)
    for place in range(width):
        swapped[place::width] = data[width - 1 - place :: width]
    return bytes(swapped)


def _info(cursor: _Cursor) -> _Info:
    row = cursor.at
    name = cursor.text().decode("utf-8", "backslashreplace")
    dimensions = cursor.number("I")
    if dimensions > _MOST_DIMENSIONS:
        reason = f"has {dimensions:,} dimensions"
        raise FormatError(reason, code="GG06", tensor=name, offset=row, format=FORMAT)
    sizes = tuple(cursor.count() for _ in range(dimensions))
    kind = cursor.number("I")
    return _Info(name, sizes[::-1], kind, cursor.number("Q"), row)


def _place(checkpoint: GgufCheckpoint, infos: list[_Info], start: int, alignment: int, endian: str) -> None:
    """Check the table against the file and add each tensor."""
    source = checkpoint.source
    ends: list[tuple[int, int, str]] = []

    def wrong(info: _Info, code: str, reason: str) -> FormatError:
        return FormatError(reason, code=code, tensor=info.name, offset=info.row, format=FORMAT)

    for info in infos:
        if info.name in checkpoint.tensors:
            raise wrong(info, "GG11", "stands twice")
        kind = TYPES.get(info.kind)
        if kind is None:
            raise wrong(info, "GG07", f"has element type {info.kind}, which ggml does not have")
        count = element_count(info.shape)
        if count >= 1 << 60 or any(size >= 1 << 60 for size in info.shape):
            raise wrong(info, "GG06", "has an impossible number of elements")
        if count and info.shape and info.shape[-1] % kind.elements:
            raise wrong(info, "GG06", f"has rows of {info.shape[-1]:,} elements, no whole blocks of {kind.name}")
        size = count // kind.elements * kind.size
        if info.start % alignment:
            raise wrong(info, "GG08", f"begins at {info.start:,}, no multiple of {alignment}")
        if start + info.start + size > source.size:
            missing = start + info.start + size - source.size
            raise wrong(info, "GG09", f"reaches {missing:,} bytes past the end of the file")
        region = FileRegion(source, start + info.start, size)
        if kind.name in PLAIN:
            assert byte_count(kind.name, count) == size
            checkpoint.place(info.name, kind.name, info.shape, region, swap=endian == ">")
        elif kind.decode is None or not count:
            checkpoint.place_bytes(info.name, kind.name, info.shape, region, size)
        else:
            checkpoint.place_coded(info.name, kind.name, info.shape, region, BlockCoder(kind, endian))
        ends.append((start + info.start, start + info.start + size, info.name))
    ends.sort()
    for (_, end, _), (begin, stop, name) in pairwise(ends):
        if begin < end and stop > begin:
            raise FormatError("overlaps the tensor before it", code="GG10", tensor=name, offset=begin, format=FORMAT)
