"""Protocol Buffers on the wire: fields of a message with their places, without a schema and without copying payloads.

Specification: https://protobuf.dev/programming-guides/encoding. Long payloads (the weights of an ONNX file) are never
read here; a caller gets their offsets. Messages of up to :data:`WHOLE` bytes are read at once, longer ones by windows,
as is, from :data:`PAYLOAD` bytes on, a message that is mostly one payload.
"""

from __future__ import annotations

from collections.abc import Iterator

from diffai.errors import FormatError
from diffai.sources.base import Source

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
WHOLE = 4 << 20
PAYLOAD = 1 << 16
_WINDOW = 1 << 16

Field = tuple[int, int, int, int]
"""(number, wire type, a, b): for VARINT a is the value; for the others the payload lies at absolute offsets a to b."""


class Message:
    """A message at bytes ``start`` to ``stop`` of a source."""

    __slots__ = ("_base", "_data", "source", "start", "stop")

    def __init__(self, source: Source, start: int, stop: int, data: bytes = b"", base: int = 0) -> None:
        self.source, self.start, self.stop = source, start, stop
        self._data, self._base = data, base

    def within(self, start: int, stop: int) -> Message:
        """A message inside this one; it shares what has been read."""
        return Message(self.source, start, stop, self._data, self._base)

    def content(self, start: int, stop: int) -> bytes:
        """The bytes of a payload; the caller bounds their number."""
        if self._base <= start and stop <= self._base + len(self._data):
            return self._data[start - self._base : stop - self._base]
        return self.source.read(start, stop - start)

    def held(self) -> tuple[bytes, int]:
        """Bytes that hold all of this message, and the offset of the first of them; the caller bounds its length.

        Raises:
            FormatError: the file ends inside the message.

        """
        if not (self._base <= self.start and self.stop <= self._base + len(self._data)):
            self._data, self._base = self.source.read(self.start, self.stop - self.start), self.start
            if len(self._data) < self.stop - self.start:
                raise FormatError("ends inside a message", offset=self.start + len(self._data))
        return self._data, self._base

    def text(self, start: int, stop: int, longest: int = 1 << 16) -> str:
        """A string field; what is not UTF-8 is escaped, what is longer than ``longest`` bytes is cut."""
        return self.content(start, min(stop, start + longest)).decode("utf-8", "backslashreplace")

    def fields(self, whole: int = WHOLE) -> Iterator[Field]:
        """All fields in order; a message of more than ``whole`` bytes is not read, its payloads are jumped over.

        Raises:
            FormatError: the bytes are no message; with the offset.

        """
        held = self._base <= self.start and self.stop <= self._base + len(self._data)
        if not held and self.stop - self.start <= whole:
            self.held()
            held = True
        return self._from_memory() if held else self._by_windows()

    def _from_memory(self) -> Iterator[Field]:
        data, base = self._data, self._base
        at, stop = self.start - base, self.stop - base
        while at < stop:
            key = data[at]
            at += 1
            if key > 127:
                key, at = varint(data, at - 1, stop, base)
            kind = key & 7
            if kind == LENGTH:
                if at >= stop:
                    raise FormatError("ends inside a message", offset=base + at)
                size = data[at]
                at += 1
                if size > 127:
                    size, at = varint(data, at - 1, stop, base)
                end = at + size
                if end > stop:
                    raise FormatError(f"a field of {size:,} bytes reaches past its message", offset=base + at)
                yield key >> 3, LENGTH, base + at, base + end
                at = end
            elif kind == VARINT:
                value, at = varint(data, at, stop, base)
                yield key >> 3, VARINT, value, 0
            elif kind in (FIXED32, FIXED64):
                end = at + (4 if kind == FIXED32 else 8)
                if end > stop:
                    raise FormatError("ends inside a message", offset=base + at)
                yield key >> 3, kind, base + at, base + end
                at = end
            else:
                raise FormatError(f"wire type {kind} is not known", offset=base + at)

    def _by_windows(self) -> Iterator[Field]:
        """As from memory, reading 64 KiB at a time and jumping over payloads."""
        at, window, base = self.start, b"", 0
        while at < self.stop:
            if not base <= at <= base + len(window) - 24:
                window, base = self.source.read(at, min(_WINDOW, self.stop - at)), at
            end = base + len(window)
            key, here = varint(window, at - base, len(window), base)
            kind = key & 7
            if kind == LENGTH:
                size, here = varint(window, here, len(window), base)
                first, at = base + here, base + here + size
            elif kind == VARINT:
                value, here = varint(window, here, len(window), base)
                at = base + here
                yield key >> 3, VARINT, value, 0
                continue
            elif kind in (FIXED32, FIXED64):
                first, at = base + here, base + here + (4 if kind == FIXED32 else 8)
            else:
                raise FormatError(f"wire type {kind} is not known", offset=base + here)
            if at > self.stop:
                raise FormatError(f"a field reaches {at - self.stop:,} bytes past its message", offset=min(first, end))
            yield key >> 3, kind, first, at


def varint(data: bytes, at: int, stop: int, base: int) -> tuple[int, int]:
    """A base-128 number (at most 64 bits) and where the next field begins."""
    value = shift = 0
    while at < stop and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
        shift += 7
    raise FormatError("a number is cut off or too long", offset=base + at)


def varints(data: bytes) -> Iterator[int]:
    """Packed numbers, unsigned; FormatError when the last is cut off."""
    value = shift = 0
    for byte in data:
        value |= (byte & 127) << shift
        if byte < 128:
            yield value & 0xFFFF_FFFF_FFFF_FFFF
            value = shift = 0
        else:
            shift += 7
            if shift > 63:
                raise FormatError("a number is too long")
    if shift:
        raise FormatError("a number is cut off")


def signed(value: int) -> int:
    """A 64-bit number as the signed one that int32 and int64 fields mean."""
    return value - (1 << 64) if value >> 63 else value
