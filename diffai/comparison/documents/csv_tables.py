"""CSV and its kin: the delimiter and the header are found in the first bytes, rows stream."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from diffai.comparison.documents.columns import Cell
from diffai.comparison.documents.reading import DocumentError
from diffai.formats.base import Limits
from diffai.sources.base import Source

_HEAD = 1 << 16
_LINES = 20
_DELIMITERS = (",", "\t", ";", "|")
_MOST_COLUMNS = 100_000


class Table:
    """An opened table; rows can be read again from the start.

    Attributes:
        names: of the columns, each once.
        types: as the file says them; () where it does not.
        encoding: of its text.
        notes: what is odd about it.
    """

    types: tuple[str, ...] = ()

    def __init__(self, source: Source, limits: Limits) -> None:
        self._source = source
        head = source.read(0, min(source.size, _HEAD))
        self.encoding = _encoding(head)
        text = head.decode(self.encoding, "surrogateescape" if self.encoding.startswith("utf-8") else "replace")
        self._delimiter = "\t" if source.label.lower().endswith((".tsv", ".tab")) else _delimiter(text)
        notes = []
        first = next(self._lines(), None)
        second = next(self._lines(skip=1), None)
        if first is None:
            raise DocumentError("is empty, which is no table")
        if len(first) > _MOST_COLUMNS:
            raise DocumentError(f"has more than {_MOST_COLUMNS:,} columns")
        self._headed = _is_header(first, second)
        if not self._headed:
            notes.append("has no header: columns are called by their places")
        named = first if self._headed else [f"column {place}" for place in range(1, len(first) + 1)]
        self.names = _each_once(named)
        if list(self.names) != named:
            notes.append("has columns of the same name, which are numbered")
        self.notes = tuple(notes)

    def rows(self) -> Iterator[list[Cell]]:
        """Rows of cells, as many as there are columns or more; shorter ones are filled with missing cells.

        Raises:
            DocumentError: the text is no CSV, with the line.
        """
        width = len(self.names)
        for row in self._lines(skip=1 if self._headed else 0):
            if row:
                cells: list[Cell] = [*row, *([None] * (width - len(row)))] if len(row) < width else [*row]
                yield cells

    def _lines(self, skip: int = 0) -> Iterator[list[str]]:
        # Bytes that are no UTF-8 stay themselves, so that they are compared and shown, whatever they were meant to be.
        errors = "surrogateescape" if self.encoding.startswith("utf-8") else "strict"
        with io.TextIOWrapper(self._source.open_stream(), self.encoding, errors, newline="") as stream:
            reader = csv.reader(stream, delimiter=self._delimiter)
            try:
                for number, row in enumerate(reader):
                    if number >= skip:
                        yield row
            except (csv.Error, UnicodeDecodeError) as error:
                reason = f"is not {self.encoding.upper()}" if isinstance(error, UnicodeDecodeError) else str(error)
                raise DocumentError(f"is not CSV: {reason}", line=reader.line_num) from None


def _encoding(head: bytes) -> str:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    return "utf-8-sig" if head.startswith(b"\xef\xbb\xbf") else "utf-8"


def _delimiter(text: str) -> str:
    """The sign that gives the most columns of which the first lines have equally many."""
    lines = text.splitlines()[:_LINES]
    if len(text) >= _HEAD // 2 and len(lines) > 1:
        lines.pop()  # it may be cut
    best = (0, ",")
    for delimiter in _DELIMITERS:
        try:
            widths = [len(row) for row in csv.reader(lines, delimiter=delimiter) if row]
        except csv.Error:
            continue
        if widths and widths[0] > 1 and widths.count(widths[0]) * 10 >= len(widths) * 8 and widths[0] > best[0]:
            best = (widths[0], delimiter)
    return best[1]


def _is_header(first: list[str], second: list[str] | None) -> bool:
    """Whether the first row names columns: no cell of it is a number, unless it is all there is."""
    if not any(first):
        return False
    return not any(_is_number(cell) for cell in first) or (second is None and len(set(first)) == len(first) > 1)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _each_once(names: list[str]) -> tuple[str, ...]:
    """Names made different: ``loss``, ``loss (2)``; an empty one is called by its place."""
    bare = [name.strip() or f"column {place}" for place, name in enumerate(names, 1)]
    given, seen = set(bare), dict[str, int]()
    found = []
    for name in bare:
        seen[name] = seen.get(name, 0) + 1
        while seen[name] > 1 and f"{name} ({seen[name]})" in given:
            seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return tuple(found)
