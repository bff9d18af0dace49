"""Rows of two tables matched by a key: into partitions by the hash of the key, on disk where there are many."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterator, Sequence

from diffai.comparison.documents.columns import Cell
from diffai.comparison.documents.result import Identified
from diffai.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO

    from diffai.comparison.documents.tables import Row, TableComparison

_IN_MEMORY = 100_000
"""Rows of both tables together up to which nothing is written."""

_PARTITIONS = 64


def require_key(key: str, common: Sequence[str]) -> bool:
    """True where the key is a column of both tables.

    Raises:
        UsageError: it is not, with the nearest that is.
    """
    if key in common:
        return True
    from difflib import get_close_matches

    near = get_close_matches(key, common, 1, 0.5)
    hint = f"; did you mean {near[0]}?" if near else f" (both have: {', '.join(common[:8])})" if common else ""
    raise UsageError(f"--array-id-key {key}: is not a column of both tables{hint}")


def matched_by_key(comparison: TableComparison, key: str, tables: Sequence[Iterator[Row]]) -> None:
    """Compare the rows of two tables that have the same key; of several, the n-th with the n-th."""
    places = [side.index(key) for side in comparison.names]
    first = [_first_rows(rows) for rows in tables]
    if all(len(rows) <= _IN_MEMORY // 2 for rows in first):
        _compare(comparison, key, [_keyed(enumerate(rows), at) for rows, at in zip(first, places, strict=True)])
        return
    with tempfile.TemporaryDirectory(prefix="diffai-") as folder:
        for side, rows in enumerate(tables):
            _partition(_both(first[side], rows), places[side], f"{folder}/{side}-")
            first[side] = []
        for number in range(_PARTITIONS):
            sides = [_keyed(_written(f"{folder}/{side}-{number}"), places[side]) for side in (0, 1)]
            _compare(comparison, key, sides)


def _first_rows(rows: Iterator[Row]) -> list[Row]:
    found = []
    for row in rows:
        found.append(row)
        if len(found) > _IN_MEMORY // 2:
            break
    return found


def _both(first: Sequence[Row], rest: Iterator[Row]) -> Iterator[Row]:
    yield from first
    yield from rest


def _partition(rows: Iterator[Row], place: int, prefix: str) -> None:
    files: list[IO[str]] = []
    try:
        for number in range(_PARTITIONS):
            files.append(open(f"{prefix}{number}", "w", encoding="utf-8", errors="surrogateescape", newline=""))  # noqa: SIM115
        writers = [csv.writer(file) for file in files]
        for number, row in enumerate(rows):
            writers[hash(row[place]) % _PARTITIONS].writerow([number, *("" if c is None else f".{c}" for c in row)])
    finally:
        for file in files:
            file.close()


def _written(path: str) -> Iterator[tuple[int, Row]]:
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        for number, *row in csv.reader(file):
            yield int(number), [cell[1:] if cell else None for cell in row]


Keyed = dict[tuple[Cell, int], tuple[int, "Row"]]


def _keyed(rows: Iterator[tuple[int, Row]] | enumerate[Row], place: int) -> Keyed:
    """Rows with their numbers, by key and how many of this key stood before."""
    found: Keyed = {}
    seen: dict[Cell, int] = {}
    for number, row in rows:
        key = row[place]
        before = seen.get(key, 0)
        seen[key] = before + 1
        found[key, before] = (number, row)
    return found


def _compare(comparison: TableComparison, key: str, sides: Sequence[Keyed]) -> None:
    old, new = sides
    comparison.repeated += sum(1 for _, before in new if before == 1)
    for name, (_, row) in old.items():
        if name not in new:
            comparison.alone(0, row, ("rows", _identified(key, name)))
    for name, (_, row) in new.items():
        path = ("rows", _identified(key, name))
        if name in old:
            comparison.pair(old[name][1], row, path)
        else:
            comparison.alone(1, row, path)


def _identified(key: str, name: tuple[Cell, int]) -> Identified:
    value, before = name
    text = "" if value is None else value
    return Identified(key, text if not before else f"{text} ({before + 1})")
