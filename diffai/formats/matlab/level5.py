"""Versions 5 to 7: elements with a type and a size, nested; version 7 compresses each variable."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from diffai.formats.base import Budget
from diffai.formats.matlab.variables import Cursor, MatlabCheckpoint, Stored, bounded_text, decoded, wrong
from diffai.formats.regions import FileRegion, PartOf, Region, read
from diffai.frozen import frozen
from diffai.model import element_count

_DTYPES = {1: "I8", 2: "U8", 3: "I16", 4: "U16", 5: "I32", 6: "U32", 7: "F32", 9: "F64", 12: "I64", 13: "U64",
           16: "U8", 17: "U16", 18: "U32"}  # fmt: skip
_INT8, _UINT8, _UINT32, _INT32, _UTF8 = 1, 2, 6, 5, 16
_MATRIX, _COMPRESSED = 14, 15
_ENCODINGS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 3: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_CELL, _STRUCT, _OBJECT, _CHAR, _SPARSE, _FUNCTION, _OPAQUE = 1, 2, 3, 4, 5, 16, 17
_NUMERIC = {6: "F64", 7: "F32", 8: "I8", 9: "U8", 10: "I16", 11: "U16", 12: "I32", 13: "U32", 14: "I64", 15: "U64"}
_COMPLEX, _LOGICAL = 0x0800, 0x0200
_LONGEST_NAME = 1 << 16
_SHORT = 64 << 10


def begins(head: bytes) -> bool:
    """Whether a file has the marks of version 5 at byte 124."""
    return (head[126:128] == b"IM" and head[125] == 1) or (head[126:128] == b"MI" and head[124] == 1)


def read_variables(checkpoint: MatlabCheckpoint, budget: Budget) -> None:
    """Add all variables. Raises FormatError (MA01 to MA06)."""
    source = checkpoint.source
    head = source.read(0, 128)
    swap = head[126:128] == b"MI"
    order = ">" if swap else "<"
    (subsystem,) = struct.unpack(f"{order}Q", head[116:124])
    said = head[:116].split(b"\0")[0].decode("latin-1").strip()
    checkpoint.written["header"] = said
    file = Cursor(FileRegion(source, 0, source.size))
    at = 128
    reader = _Reader(checkpoint, budget, swap)
    while at < source.size:
        element = reader.element(file, at)
        if element.kind == _COMPRESSED:
            whole = Cursor(reader.unpacked(element.region, at))
            inner = reader.element(whole, 0)
        else:
            inner = element
        if inner.kind == _MATRIX and at == subsystem:
            checkpoint.leave_aside("objects of classes (subsystem)", inner.region)
        elif inner.kind == _MATRIX:
            reader.array(inner.region, "", 0)
        else:
            raise wrong(f"has a variable of type {inner.kind}", "MA03", offset=at)
        at = element.after


@frozen
class _Element:
    """A data element: its type, its payload, and where the next begins."""

    kind: int
    region: PartOf
    after: int


class _Reader:
    """One walk over all arrays of a file."""

    def __init__(self, checkpoint: MatlabCheckpoint, budget: Budget, swap: bool) -> None:
        self._checkpoint, self._budget, self._swap = checkpoint, budget, swap
        self._order = ">" if swap else "<"
        self._packed = self._inflated = 0

    def element(self, cursor: Cursor, at: int) -> _Element:
        """The element at ``at``; short ones keep their payload in the tag."""
        self._budget.step()
        tag = cursor.take(at, 8)
        kind, size = struct.unpack(f"{self._order}II", tag)
        if kind >> 16:
            size, kind = kind >> 16, kind & 0xFFFF
            if size > 4:
                raise wrong(f"has a short element of {size} bytes", "MA03", offset=cursor.place(at))
            return _Element(kind, cursor.part(at + 4, size), at + 8)
        after = at + 8 + (size if kind == _COMPRESSED else (size + 7) // 8 * 8)
        return _Element(kind, cursor.part(at + 8, size), after)

    def _next(self, cursor: Cursor, at: int, *kinds: int) -> _Element:
        """The element at ``at``, which has to be of one of these types."""
        found = self.element(cursor, at)
        if found.kind not in kinds:
            raise wrong(f"has an element of type {found.kind}, not {kinds[0]}", "MA03", offset=cursor.place(at))
        return found

    def unpacked(self, packed: Region, at: int) -> Region:
        """The content of a compressed element, in the private temporary file."""
        self._packed += packed.size
        return self._checkpoint.spool.append(self._inflate(packed, at))

    def _inflate(self, packed: Region, place: int) -> Iterator[bytes]:
        machine = zlib.decompressobj()
        try:
            for at in range(0, packed.size, 1 << 18):
                data = read(packed, at, min(1 << 18, packed.size - at))
                while data and not machine.eof:
                    chunk = machine.decompress(data, 1 << 20)
                    self._inflated += len(chunk)
                    self._budget.inflate(self._packed, self._inflated)
                    yield chunk
                    data = machine.unconsumed_tail
        except zlib.error as error:
            raise wrong("has compressed data that is damaged", "MA05", offset=place) from error
        if not machine.eof:
            raise wrong("has compressed data that breaks off", "MA05", offset=place)

    # ---------------------------------------------------------------- arrays

    def array(self, region: Region, name: str, depth: int) -> None:
        """Add an array, and all that is in it; ``name`` is "" for a variable, which has its own."""
        self._budget.deep(depth)
        self._budget.value()
        if not region.size:
            self._numbers_of(name, "F64", (0, 0), None)
            return
        cursor = Cursor(region)
        flags = self._next(cursor, 0, _UINT32, _INT32)
        word = struct.unpack(f"{self._order}I", self._exactly(flags, 4))[0]
        kind = word & 0xFF
        at = flags.after
        if kind == _OPAQUE:
            self._opaque(cursor, at, name)
            return
        sizes = self._next(cursor, at, _INT32, _UINT32)
        shape = self._shape(sizes, name)
        own = self._next(cursor, sizes.after, _INT8, _UTF8, _UINT8)
        name = name or self._name(own)
        array = _Array(name, kind, shape, bool(word & _COMPLEX), bool(word & _LOGICAL), depth)
        if kind in _NUMERIC:
            self._numbers(cursor, own.after, array)
        elif kind == _CHAR:
            self._characters(cursor, own.after, array)
        elif kind == _SPARSE:
            self._sparse(cursor, own.after, array)
        elif kind in (_STRUCT, _OBJECT):
            self._struct(cursor, own.after, array)
        elif kind == _CELL:
            self._cell(cursor, own.after, array)
        elif kind == _FUNCTION:
            self._checkpoint.kinds[name] = "function handle"
            inner = self._next(cursor, own.after, _MATRIX)
            self.array(inner.region, f"{name}.function", depth + 1)
        else:
            raise wrong(f"is of class {kind}, which is not known", "MA03", name, cursor.place(0))

    def _exactly(self, element: _Element, count: int) -> bytes:
        if element.region.size < count:
            raise wrong("has an element that is cut off", "MA02", offset=element.region.file_offset)
        return read(element.region, 0, count)

    def _shape(self, element: _Element, name: str) -> tuple[int, ...]:
        count = element.region.size // 4
        if count > 64:
            raise wrong(f"has {count} dimensions", "MA04", name)
        shape: tuple[int, ...] = struct.unpack(f"{self._order}{count}i", self._exactly(element, 4 * count))
        if any(size < 0 for size in shape):
            raise wrong("has an impossible shape", "MA04", name)
        return shape

    def _name(self, element: _Element) -> str:
        if element.region.size > _LONGEST_NAME:
            raise wrong("has a name that is too long", "MA03")
        self._budget.name(element.region.size)
        return decoded(read(element.region, 0, element.region.size).split(b"\0")[0], "utf-8")

    def _stored(self, element: _Element, name: str) -> Stored:
        if element.kind not in _DTYPES:
            raise wrong(f"has values of type {element.kind}, which are no numbers", "MA03", name)
        return Stored(_DTYPES[element.kind], element.region, self._swap)

    def _numbers_of(self, name: str, dtype: str, shape: tuple[int, ...], values: Stored | None) -> None:
        if values is None or not element_count(shape):
            self._checkpoint.place(name, dtype, shape, None)
        else:
            self._checkpoint.numbers(name, dtype, shape, values)

    def _numbers(self, cursor: Cursor, at: int, array: _Array) -> None:
        """Real and imaginary parts, each stored in whatever type is small enough."""
        dtype = "BOOL" if array.logical and array.kind == 9 else _NUMERIC[array.kind]
        if not element_count(array.shape):
            self._numbers_of(array.name, dtype, array.shape, None)
            return
        real = self.element(cursor, at)
        imaginary = self._stored(self.element(cursor, real.after), array.name) if array.is_complex else None
        self._checkpoint.numbers(array.name, dtype, array.shape, self._stored(real, array.name), imaginary)

    def _characters(self, cursor: Cursor, at: int, array: _Array) -> None:
        if not element_count(array.shape):
            self._checkpoint.text(array.name, array.shape, "")
            return
        element = self.element(cursor, at)
        encoding = _ENCODINGS.get(element.kind, "")
        if not encoding:
            raise wrong(f"has characters of type {element.kind}", "MA03", array.name)
        data = bounded_text(element.region, array.name)
        if not data:  # characters that were never set
            self._budget.make(element_count(array.shape))
            self._checkpoint.text(array.name, array.shape, " " * element_count(array.shape))
            return
        self._budget.make(4 * len(data))
        wide = encoding in ("utf-16", "utf-32")
        self._checkpoint.text(array.name, array.shape, self._text(data, encoding, wide, array))

    def _text(self, data: bytes, encoding: str, wide: bool, array: _Array) -> str:
        text = decoded(data, encoding + (("-be" if self._swap else "-le") if wide else ""))
        missing = element_count(array.shape) - len(text)
        # A character outside the basic plane counts as two in MATLAB, of UTF-8 each byte may count.
        return text + "\0" * missing if 0 < missing <= len(data) and encoding != "latin-1" else text

    def _sparse(self, cursor: Cursor, at: int, array: _Array) -> None:
        """Row numbers, where each column starts, and the values; room that is not used is left out."""
        rows = self._next(cursor, at, _INT32, _UINT32)
        starts = self._next(cursor, rows.after, _INT32, _UINT32)
        real = self.element(cursor, starts.after)
        columns = array.shape[1] if len(array.shape) == 2 else -1
        if columns < 0 or starts.region.size < 4 * (columns + 1):
            raise wrong("is sparse, but its columns do not fit its shape", "MA04", array.name)
        (count,) = struct.unpack(f"{self._order}i", read(starts.region, 4 * columns, 4))
        if count < 0:
            raise wrong("is sparse with an impossible number of values", "MA04", array.name)
        name, checkpoint = array.name, self._checkpoint
        checkpoint.texts[f"{name}.size"] = f"sparse {list(array.shape)}"
        checkpoint.numbers(f"{name}.row_indices", "I32", (count,), Stored("I32", rows.region, self._swap), role="index")
        checkpoint.numbers(
            f"{name}.column_starts", "I32", (columns + 1,), Stored("I32", starts.region, self._swap), role="index"
        )
        imaginary = self._stored(self.element(cursor, real.after), name) if array.is_complex else None
        values = self._stored(real, name)
        if array.logical and real.region.size < values.width * count:  # bytes, whatever the type says
            values = Stored("U8", real.region)
        dtype = "BOOL" if array.logical else "F64"
        checkpoint.numbers(f"{name}.values", dtype, (count,), values, imaginary)

    # ---------------------------------------------------------------- what holds other arrays

    def _cell(self, cursor: Cursor, at: int, array: _Array) -> None:
        self._checkpoint.kinds[array.name] = f"cell {list(array.shape)}"
        for number in range(element_count(array.shape)):
            inner = self._next(cursor, at, _MATRIX)
            self.array(inner.region, self._named(array.name, str(number + 1)), array.depth + 1)
            at = inner.after

    def _struct(self, cursor: Cursor, at: int, array: _Array) -> None:
        what = "struct"
        if array.kind == _OBJECT:
            own = self._next(cursor, at, _INT8, _UTF8, _UINT8)
            what, at = f"object of class {self._name(own)}", own.after
        width = self._next(cursor, at, _INT32, _UINT32)
        (longest,) = struct.unpack(f"{self._order}i", self._exactly(width, 4))
        names = self._next(cursor, width.after, _INT8, _UTF8, _UINT8)
        fields = self._fields(names, longest, array.name)
        at, count = names.after, element_count(array.shape)
        self._checkpoint.kinds[array.name] = what if count == 1 else f"{what} {list(array.shape)}"
        if not count:
            self._checkpoint.texts[f"{array.name} fields"] = ", ".join(fields)
        for number in range(count if fields else 0):
            path = array.name if count == 1 else self._named(array.name, str(number + 1))
            for field in fields:
                inner = self._next(cursor, at, _MATRIX)
                self.array(inner.region, self._named(path, field), array.depth + 1)
                at = inner.after

    def _fields(self, names: _Element, longest: int, name: str) -> list[str]:
        """Names of fields; one that stands twice is numbered."""
        if not names.region.size:
            return []
        if longest <= 0 or names.region.size > 64 * _LONGEST_NAME:
            raise wrong("has damaged names of fields", "MA03", name)
        self._budget.name(names.region.size)
        self._budget.value(names.region.size // longest)
        data = read(names.region, 0, names.region.size)
        found: list[str] = []
        seen: dict[str, int] = {}
        for at in range(0, len(data) - longest + 1, longest):
            field = decoded(data[at : at + longest].split(b"\0")[0], "utf-8")
            seen[field] = seen.get(field, 0) + 1
            found.append(field if seen[field] == 1 else f"{field}#{seen[field]}")
        return found

    def _named(self, path: str, part: str) -> str:
        self._budget.name(len(path) + len(part) + 1)
        return f"{path}.{part}"

    def _opaque(self, cursor: Cursor, at: int, name: str) -> None:
        """An object of a class that only MATLAB knows: its own name, the system it is of, its class, its content."""
        words = []
        for _ in range(3):
            element = self._next(cursor, at, _INT8, _UTF8, _UINT8)
            words.append(self._name(element))
            at = element.after
        name = name or words[0]
        self._checkpoint.kinds[name] = f"object of class {words[2]} ({words[1]}), not read"
        self._checkpoint.leave_aside(name, cursor.part(at, cursor.region.size - at))


@frozen
class _Array:
    """An array's header."""

    name: str
    kind: int
    shape: tuple[int, ...]
    is_complex: bool
    logical: bool
    depth: int
