"""Version 4: variables one after another, each a matrix of numbers, characters or sparse triples."""

from __future__ import annotations

import struct

from diffai.formats.base import Budget
from diffai.formats.matlab.variables import Cursor, MatlabCheckpoint, Stored, bounded_text, decoded, wrong
from diffai.formats.regions import FileRegion, PartOf
from diffai.frozen import frozen

_DTYPES = ("F64", "F32", "I32", "I16", "U16", "U8")
_WIDTHS = (8, 4, 4, 2, 2, 1)
_TEXT, _SPARSE = 1, 2
_LONGEST_NAME = 1024


@frozen
class _Header:
    swap: bool
    dtype: int
    kind: int
    rows: int
    columns: int
    is_complex: bool
    name_size: int

    @property
    def size(self) -> int:
        """Bytes of the values."""
        return self.rows * self.columns * _WIDTHS[self.dtype] * (2 if self.is_complex else 1)


def _header(head: bytes) -> _Header | None:
    """The 20 bytes before a variable; None where they are none."""
    if len(head) < 20:
        return None
    for order, machine in (("<", 0), (">", 1)):
        said, rows, columns, imaginary, length = struct.unpack(f"{order}5I", head[:20])
        rest, kind = divmod(said, 10)
        rest, dtype = divmod(rest, 10)
        if rest == machine * 10 and dtype < 6 and kind < 3 and imaginary < 2 and 0 < length <= _LONGEST_NAME:
            return _Header(machine == 1, dtype, kind, rows, columns, bool(imaginary), length)
    return None


def begins(head: bytes, size: int) -> bool:
    """Whether a file begins with a variable of version 4 whose name is one and whose values fit."""
    header = _header(head)
    if header is None or 20 + header.name_size + header.size > size:
        return False
    name = head[20 : 20 + header.name_size]
    words = name[:-1].decode("ascii", "replace").replace(".", "_")
    return name.endswith(b"\0") and (words.isidentifier() or len(name) > len(head) - 20)


def read_variables(checkpoint: MatlabCheckpoint, budget: Budget) -> None:
    """Add all variables. Raises FormatError (MA01 to MA06)."""
    cursor = Cursor(FileRegion(checkpoint.source, 0, checkpoint.source.size))
    at = 0
    while at < checkpoint.source.size:
        budget.value()
        header = _header(cursor.take(at, 20))
        if header is None:
            raise wrong("has a variable whose header is not known", "MA01", offset=at)
        budget.name(header.name_size)
        name = decoded(cursor.take(at + 20, header.name_size).split(b"\0")[0], "latin-1")
        at += 20 + header.name_size
        values = cursor.part(at, header.size)
        at += header.size
        dtype, shape = _DTYPES[header.dtype], (header.rows, header.columns)
        if header.kind == _SPARSE:
            _sparse(checkpoint, name, header, values)
        elif header.kind == _TEXT:
            characters = _characters(Stored(dtype, values, header.swap), name)
            checkpoint.text(name, shape, characters)
        elif header.is_complex:
            half = header.size // 2
            real, imaginary = PartOf(values, 0, half), PartOf(values, half, half)
            checkpoint.numbers(
                name, dtype, shape, Stored(dtype, real, header.swap), Stored(dtype, imaginary, header.swap)
            )
        else:
            checkpoint.numbers(name, dtype, shape, Stored(dtype, values, header.swap))


def _characters(stored: Stored, name: str) -> str:
    """Characters, which version 4 keeps as numbers of any kind."""
    import numpy as np

    bounded_text(stored.region, name)
    codes = np.frombuffer(b"".join(stored.blocks("U16", stored.elements)), "<u2")
    return "".join(map(chr, codes.tolist()))


def _sparse(checkpoint: MatlabCheckpoint, name: str, header: _Header, values: PartOf) -> None:
    """Rows of (row, column, value); the last has the sizes."""
    wanted = 4 if header.is_complex or header.columns == 4 else 3
    if header.columns != wanted or not header.rows or header.is_complex:
        raise wrong("is sparse, but not of three or four columns", "MA04", name)
    dtype, width = _DTYPES[header.dtype], _WIDTHS[header.dtype]
    count = header.rows - 1
    columns = [
        Stored(dtype, PartOf(values, number * header.rows * width, header.rows * width), header.swap)
        for number in range(wanted)
    ]
    sizes = []
    for column in columns[:2]:
        last = Stored(dtype, PartOf(column.region, count * width, width), header.swap)
        (size,) = struct.unpack("<d", b"".join(last.blocks("F64", 1)))
        if not 0 <= size < 1 << 53 or size != int(size):
            raise wrong("has an impossible shape", "MA04", name)
        sizes.append(int(size))
    checkpoint.texts[f"{name}.size"] = f"sparse {sizes}"
    checkpoint.numbers(f"{name}.row_indices", dtype, (count,), columns[0], role="index")
    checkpoint.numbers(f"{name}.column_indices", dtype, (count,), columns[1], role="index")
    checkpoint.numbers(f"{name}.values", dtype, (count,), columns[2], columns[3] if wanted == 4 else None)
