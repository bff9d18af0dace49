"""Two tables: columns, then rows, matched by a key or by what they hold. Rows stream; little of them is ever in memory.

Without a key equal rows are found by hashes of eight bytes each; rows between them belong together by their order. With
a key rows go into partitions on disk by the hash of the key, of which one at a time is in memory.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from operator import itemgetter

from diffai.comparison.documents.align import Aligner, gaps
from diffai.comparison.documents.columns import Cell, ColumnFigures, cell_value, same_cell
from diffai.comparison.documents.result import Column, ColumnChange, DocumentOptions, Path, TableChange, Value
from diffai.comparison.documents.structure import Comparison
from diffai.formats.base import Limits
from diffai.sources.base import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from diffai.tensors.distribution import Distribution, Shift
else:
    Protocol = object

MOST_LISTED = 10_000
"""Changes of cells and rows that are listed; all are counted."""

_MOST_ALIGNED = 5_000_000
"""Rows that are aligned by their hashes, between those that are equal at both ends; beyond, the place decides."""

_BLOCK = 4096
Row = list[Cell]
Take = Callable[[Row], "tuple[Cell, ...]"]


class Table(Protocol):
    """An opened table; see :class:`.csv_tables.Table`."""

    names: tuple[str, ...]
    types: tuple[str, ...]
    encoding: str
    notes: tuple[str, ...]

    def rows(self) -> Iterator[Row]:
        """All rows, from the start."""


def open_table(source: Source, kind: str, limits: Limits) -> Table:
    """Open a table of a kind.

    Raises:
        DocumentError: it is none, or an extra is missing.
    """
    if kind == "parquet":
        from diffai.comparison.documents import parquet_tables

        return parquet_tables.Table(source, limits)
    from diffai.comparison.documents import csv_tables

    return csv_tables.Table(source, limits)


class TableComparison:
    """One comparison of two tables.

    Attributes:
        comparison: where the differences are kept, and by what options.
        uncounted: differences beyond those that are listed.
        repeated: keys that several rows of the new table have.
        names: of the columns of both sides.
    """

    def __init__(self, old: Table, new: Table, options: DocumentOptions) -> None:
        self.comparison = Comparison(options)
        self.uncounted = self.repeated = 0
        self.names = (old.names, new.names)
        self._sides = (old, new)
        self._options = options
        self._key = options.array_id_key
        places = [{name: place for place, name in enumerate(side.names)} for side in self._sides]
        self._common = [name for name in new.names if name in places[0]]
        self._places = [[side[name] for name in self._common] for side in places]
        self._counts = dict.fromkeys(("added", "removed", "changed", "equal", "cells"), 0)
        self._columns: list[dict[str, Column]] = [{}, {}]
        self._distributions: list[dict[str, Distribution | None]] = [{}, {}]
        self._kinds: list[tuple[str, str]] = []

    def run(self) -> TableChange:
        """Compare.

        Raises:
            DocumentError: a row cannot be read.
            UsageError: the key is no column of both.
        """
        from diffai.comparison.documents.partitions import matched_by_key, require_key

        keyed = require_key(self._key, self._common) if self._key else False
        hashes, totals = [], []
        for side in (0, 1):
            found, total = self._first_pass(side)
            hashes.append(found)
            totals.append(total)
        self._compare_columns()
        if keyed:
            matched_by_key(self, self._key, [table.rows() for table in self._sides])
            how = "by key"
            if self.repeated:
                note = f"{self.repeated:,} values of {self._key!r} stand in several rows: the n-th belong together"
                self.comparison.notes.append(note)
        else:
            how = self._by_content(hashes[0], hashes[1])
        order = dict.fromkeys((*self._sides[1].names, *self._sides[0].names))
        columns = tuple(
            ColumnChange(n, self._columns[0].get(n), self._columns[1].get(n), self._shift(n)) for n in order
        )
        return TableChange((totals[0], totals[1]), columns=columns, how=how, **self._counts)

    # ---------------------------------------------------------------- the first pass: figures and hashes

    def _first_pass(self, side: int) -> tuple[array[int], int]:
        table = self._sides[side]
        types = table.types or ("",) * len(table.names)
        tally = self._options.distribution
        figures = [ColumnFigures(n, t, tally=tally) for n, t in zip(table.names, types, strict=True)]
        take, found, total, long = self.take(side), array("q"), 0, 0
        rows = table.rows()
        while block := list(islice(rows, _BLOCK)):
            total += len(block)
            long += sum(len(row) > len(figures) for row in block)
            for column, cells in zip(figures, zip(*block, strict=False), strict=False):
                column.feed(cells)
            if not self._key:
                found.extend(map(hash, map(take, block)))
        self._columns[side] = {column.name: column for column in (one.finished() for one in figures)}
        if tally:
            self._distributions[side] = {
                name: one.distribution for name, one in zip(table.names, figures, strict=True)
            }
        if long:
            which = ("old", "new")[side]
            note = f"{long:,} rows of the {which} table have more cells than its header; those cells were not compared"
            self.comparison.notes.append(note)
        return found, total

    def _shift(self, name: str) -> Shift | None:
        old, new = (found.get(name) for found in self._distributions)
        if old is None or new is None:
            return None
        from diffai.tensors.distribution import shift

        return shift(old, new)

    def take(self, side: int) -> Take:
        """What picks the cells of the columns that both tables have, in the same order."""
        places = self._places[side]
        if not places:
            return lambda row: ()
        if len(places) == 1:
            return lambda row: (row[places[0]],)
        return itemgetter(*places)

    def _compare_columns(self) -> None:
        old, new = self._columns
        for name, column in old.items():
            if name not in new:
                self.comparison.note("Removed", ("columns", name), column.type, None)
        for name, column in new.items():
            if name not in old:
                self.comparison.note("Added", ("columns", name), None, column.type)
            elif old[name].type != column.type:
                self.comparison.note("TypeChanged", ("columns", name), old[name].type, column.type)
        self._kinds = [(old[name].type, new[name].type) for name in self._common]

    # ---------------------------------------------------------------- rows

    def _by_content(self, old: array[int], new: array[int]) -> str:
        """Match rows by their hashes; rows of gaps by their order. Both tables are read once more."""
        start = 0
        shorter = min(len(old), len(new))
        while start < shorter and old[start] == new[start]:
            start += 1
        stop = 0
        while stop < shorter - start and old[-1 - stop] == new[-1 - stop]:
            stop += 1
        middle = (len(old) - start - stop, len(new) - start - stop)
        self._counts["equal"] += start + stop
        if not any(middle):
            return "by content"
        aligned = max(middle) <= _MOST_ALIGNED
        slices = [old[start : start + middle[0]], new[start : start + middle[1]]]
        runs = Aligner().equal_runs(*slices) if aligned else []
        self._counts["equal"] += sum(length for _, _, length in runs)
        rows = [islice(table.rows(), start, None) for table in self._sides]
        at = (0, 0)
        for begin, end in gaps(runs, *middle):
            for side in (0, 1):  # rows that are equal
                next(islice(rows[side], begin[side] - at[side], begin[side] - at[side]), None)
            self._gap(rows, (start + begin[0], start + begin[1]), (end[0] - begin[0], end[1] - begin[1]))
            at = end
        return "by content" if aligned else "by position"

    def _gap(self, rows: Sequence[Iterator[Row]], at: tuple[int, int], length: tuple[int, int]) -> None:
        both = min(length)
        for place in range(both):
            self.pair(next(rows[0]), next(rows[1]), ("rows", at[1] + place))
        for place in range(both, length[0]):
            self.alone(0, next(rows[0]), ("rows", at[0] + place))
        for place in range(both, length[1]):
            self.alone(1, next(rows[1]), ("rows", at[1] + place))

    def pair(self, old: Row, new: Row, path: Path) -> None:
        """Compare two rows that belong together, cell by cell."""
        before, after = self.take(0)(old), self.take(1)(new)
        differs = False
        for name, kinds, one, other in zip(self._common, self._kinds, before, after, strict=True):
            if not same_cell(one, other, kinds):
                differs = self._cell((*path, name), cell_value(one, kinds[0]), cell_value(other, kinds[1])) or differs
        self._counts["changed" if differs else "equal"] += 1

    def _cell(self, path: Path, old: Value, new: Value) -> bool:
        """Keep or count one cell that differs; False where an option lets it count as equal."""
        chosen = self.comparison.chosen
        if self._full() and chosen.everything and self.comparison.tolerance == (0.0, 0.0):
            self.uncounted += 1
        else:
            before = len(self.comparison.changes)
            if type(old) is type(new) or (isinstance(old, int | float) and isinstance(new, int | float)):
                self.comparison.scalar(*_alike(old, new), path)
            else:
                self.comparison.note("Modified", path, old, new)
            if len(self.comparison.changes) == before:
                return False
            self._drop_beyond()
        self._counts["cells"] += 1
        return True

    def alone(self, side: int, row: Row, path: Path) -> None:
        """A row that one table alone has."""
        self._counts["removed" if side == 0 else "added"] += 1
        if self._full() and self.comparison.chosen.everything:
            self.uncounted += 1
            return
        table, columns = self._sides[side], self._columns[side]
        cells = {n: cell_value(cell, columns[n].type) for n, cell in zip(table.names, row, strict=False)}
        if side == 0:
            self.comparison.note("Removed", path, cells, None)
        else:
            self.comparison.note("Added", path, None, cells)
        self._drop_beyond()

    def _full(self) -> bool:
        return len(self.comparison.changes) >= MOST_LISTED

    def _drop_beyond(self) -> None:
        changes = self.comparison.changes
        if len(changes) > MOST_LISTED:
            self.uncounted += len(changes) - MOST_LISTED
            del changes[MOST_LISTED:]


def _alike(old: Value, new: Value) -> tuple[Value, Value]:
    """Two numbers as the same type, where that loses nothing."""
    if isinstance(old, int) and isinstance(new, float):
        return (float(old), new) if abs(old) <= 1 << 53 else (old, new)
    if isinstance(old, float) and isinstance(new, int):
        return (old, float(new)) if abs(new) <= 1 << 53 else (old, new)
    return old, new
