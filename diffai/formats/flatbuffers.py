"""FlatBuffers: tables, vectors and strings of a buffer, without a schema, every offset checked before it is followed.

Specification: https://flatbuffers.dev/internals. Metadata lies between large vectors that are never read here, so the
file is looked at by pages.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from diffai.errors import FormatError
from diffai.formats.base import Budget
from diffai.sources.base import Source

_PAGE = 1 << 14
_MOST_PAGES = 512
_LONGEST_TEXT = 1 << 16


class Pages:
    """The bytes of a source by pages, with a budget for what is made of them."""

    def __init__(self, source: Source, budget: Budget) -> None:
        self.source, self.size, self.budget = source, source.size, budget
        self._pages: dict[int, bytes] = {}

    def read(self, at: int, count: int) -> bytes:
        """Exactly ``count`` bytes; FormatError, with the offset, where they are not in the file."""
        if at < 0 or count < 0 or at + count > self.size:
            raise FormatError(f"an offset leads to byte {at:,} of {self.size:,}", offset=min(max(at, 0), self.size))
        if count > _PAGE:
            return self.source.read(at, count)
        first, skip = divmod(at, _PAGE)
        data = self._page(first)
        if skip + count > _PAGE:
            data += self._page(first + 1)
        return data[skip : skip + count]

    def _page(self, number: int) -> bytes:
        data = self._pages.get(number)
        if data is None:
            if len(self._pages) >= _MOST_PAGES:
                self._pages.clear()
            data = self.source.read(number * _PAGE, min(_PAGE, self.size - number * _PAGE))
            self._pages[number] = data
        return data

    def u32(self, at: int) -> int:
        """An unsigned number of 32 bits."""
        return int.from_bytes(self.read(at, 4), "little")

    def root(self) -> Table:
        """The table that the file begins with."""
        return Table(self, self.u32(0))


class Table:
    """A table at byte ``at``; a field that is not there has its default."""

    __slots__ = ("_fields", "_pages", "_width", "at")

    def __init__(self, pages: Pages, at: int) -> None:
        pages.budget.step()
        self._pages, self.at = pages, at
        (back,) = struct.unpack("<i", pages.read(at, 4))
        size, self._width = struct.unpack("<HH", pages.read(at - back, 4))
        if size < 4 or size % 2 or self._width < 4:
            raise FormatError("a table's layout makes no sense", offset=at)
        pages.read(at + self._width - 1, 1)
        self._fields = struct.unpack(f"<{(size - 4) // 2}H", pages.read(at - back + 4, size - 4))

    def _place(self, field: int, width: int) -> int:
        """Where a field lies; 0 when it is not there."""
        offset = self._fields[field] if field < len(self._fields) else 0
        if not offset:
            return 0
        if offset < 4 or offset + width > self._width:
            raise FormatError(f"field {field} lies outside its table", offset=self.at)
        return self.at + offset

    def number(self, field: int, code: str, default: int = 0) -> int:
        """A whole number; ``code`` as :mod:`struct` has it."""
        width = struct.calcsize(code)
        place = self._place(field, width)
        if not place:
            return default
        (value,) = struct.unpack("<" + code, self._pages.read(place, width))
        return int(value)

    def real(self, field: int, code: str, default: float = 0.0) -> float:
        """A number with a fraction, as :meth:`number`."""
        place = self._place(field, struct.calcsize(code))
        if not place:
            return default
        (value,) = struct.unpack("<" + code, self._pages.read(place, struct.calcsize(code)))
        return float(value)

    def _target(self, field: int) -> int:
        place = self._place(field, 4)
        return place + self._pages.u32(place) if place else 0

    def table(self, field: int) -> Table | None:
        """A table that this one points to."""
        place = self._target(field)
        return Table(self._pages, place) if place else None

    def vector(self, field: int, width: int) -> tuple[int, int]:
        """Where a vector's elements begin and how many there are; (0, 0) when it is not there."""
        place = self._target(field)
        if not place:
            return 0, 0
        count = self._pages.u32(place)
        if place + 4 + count * width > self._pages.size:
            raise FormatError(f"a vector of {count:,} elements reaches past the end of the file", offset=place)
        return place + 4, count

    def numbers(self, field: int, code: str) -> tuple[int, ...]:
        """A vector of whole numbers."""
        return tuple(self._values(field, code))

    def floats(self, field: int) -> tuple[float, ...]:
        """A vector of numbers of 32 bits."""
        return tuple(self._values(field, "f"))

    def _values(self, field: int, code: str) -> tuple[int, ...]:
        width = struct.calcsize(code)
        start, count = self.vector(field, width)
        if not count:
            return ()
        self._pages.budget.make(32 * count)
        return struct.unpack(f"<{count}{code}", self._pages.read(start, count * width))

    def raw(self, field: int, width: int) -> bytes:
        """A vector's bytes, of elements of ``width`` bytes each."""
        start, count = self.vector(field, width)
        self._pages.budget.make(count * width)
        return self._pages.read(start, count * width) if count else b""

    def text(self, field: int) -> str:
        """A string; what is not UTF-8 is escaped, of a very long one the beginning is given."""
        return self._text(*self.vector(field, 1))

    def texts(self, field: int) -> Iterator[str]:
        """A vector of strings, each as :meth:`text`."""
        start, count = self.vector(field, 4)
        for at in range(start, start + 4 * count, 4):
            self._pages.budget.step()
            place = at + self._pages.u32(at)
            size = self._pages.u32(place)
            self._pages.read(place + 4 + size - 1, 1)
            yield self._text(place + 4, size)

    def _text(self, start: int, count: int) -> str:
        self._pages.budget.name(min(count, _LONGEST_TEXT))
        return self._pages.read(start, min(count, _LONGEST_TEXT)).decode("utf-8", "backslashreplace") if count else ""

    def tables(self, field: int) -> Iterator[Table]:
        """A vector of tables."""
        start, count = self.vector(field, 4)
        for at in range(start, start + 4 * count, 4):
            yield Table(self._pages, at + self._pages.u32(at))

    def inline(self) -> Iterator[tuple[int, bytes]]:
        """Each field that is there, with the bytes up to the next one: numbers as they are, offsets unfollowed."""
        there = sorted((offset, field) for field, offset in enumerate(self._fields) if offset)
        ends = [*(offset for offset, _ in there[1:]), self._width]
        for (offset, field), end in zip(there, ends, strict=False):
            if not 4 <= offset <= end <= self._width:
                raise FormatError(f"field {field} lies outside its table", offset=self.at)
            yield field, self._pages.read(self.at + offset, end - offset)
