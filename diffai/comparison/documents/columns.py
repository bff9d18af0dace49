"""Types and figures of the columns of a table, from cells that stream by in blocks."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from diffai.comparison.documents.result import Column, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.tensors.distribution import Distribution, Tally

Cell = str | None

MISSING: frozenset[Cell] = frozenset((None, "", "NA", "N/A", "null", "NULL", "None"))
"""Cells that say that there is no value; NaN is a number."""

_EXACT = 1 << 16
"""Numbers of a column up to which its distribution is exact; 0.5 MB of them."""

_SIGNED = "[+-]?"
_DIGITS = "[0-9]"
_WHOLE = re.compile(rf"(?:{_SIGNED}{_DIGITS}{{1,4000}}\n)*+")
_POINT = rf"(?:{_DIGITS}++\.?{_DIGITS}*+|\.{_DIGITS}++)(?:[eE]{_SIGNED}{_DIGITS}{{1,5}})?"
_NUMBER = re.compile(rf"(?:{_SIGNED}(?:{_POINT}|nan|NaN|NAN|inf|Inf|INF|infinity|Infinity)\n)*+")
_BOOLEAN = re.compile(r"(?:(?:true|false|True|False|TRUE|FALSE)\n)*+")
_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = r"[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?"
_DATE = re.compile(rf"(?:{_DAY}(?:[T ]{_TIME})?\n)*+")
_TYPES = (("boolean", _BOOLEAN), ("integer", _WHOLE), ("float", _NUMBER), ("date", _DATE))
_BOTH = {frozenset(("integer", "float")): "float"}


class ColumnFigures:
    """What is known of one column so far.

    Args:
        name: of the column.
        known: its type, where the file says it; "" = it is found out.
        tally: whether the distribution of its numbers is kept.
    """

    def __init__(self, name: str, known: str = "", *, tally: bool = False) -> None:
        self._name, self._type, self._known = name, known, known
        self._count = self._missing = self._nan = self._finite = 0
        self._mean = self._squares = 0.0
        self._least, self._most = math.inf, -math.inf
        self._lengths = (0, 0)
        self._tally: Tally | None = _new_tally() if tally else None
        self._last: float | None = None

    def feed(self, cells: Sequence[Cell]) -> None:
        """Take the next cells."""
        self._count += len(cells)
        if not MISSING.isdisjoint(cells):
            present = [cell for cell in cells if cell not in MISSING]
            self._missing += len(cells) - len(present)
        else:
            present = list(cells)
        if not present:
            return
        told: list[str] = present  # type: ignore[assignment]
        if not self._known:
            found = _type_of(told)
            both = {self._type, found} - {""}
            self._type = found if len(both) == 1 else _BOTH.get(frozenset(both), "text")
        if self._type in ("integer", "float"):
            self._numbers(told)
        else:
            lengths = list(map(len, told))
            shortest = min(min(lengths), self._lengths[0]) if self._lengths[1] else min(lengths)
            self._lengths = (shortest, max(max(lengths), self._lengths[1]))

    def _numbers(self, told: list[str]) -> None:
        import numpy as np

        values = np.array(list(map(float, told)), np.float64)
        finite = values[np.isfinite(values)]
        if self._tally is not None:
            self._tally.add(values)
        self._nan += int(np.isnan(values).sum())
        self._last = float(values[-1])
        count = len(finite)
        if not count:
            return
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float(finite.mean())
            squares = float(((finite - mean) ** 2).sum())
            ahead = mean - self._mean
            total = self._finite + count
            self._squares += squares + ahead * ahead * self._finite * count / total
        self._mean += ahead * count / total
        self._finite = total
        self._least, self._most = min(self._least, float(finite.min())), max(self._most, float(finite.max()))

    @property
    def distribution(self) -> Distribution | None:
        """Of all its numbers; None where that was not asked for, or it holds others than numbers."""
        return self._tally.distribution() if self._tally is not None and self._type in ("integer", "float") else None

    def finished(self) -> Column:
        """All of it."""
        kind = self._type or "empty"
        numeric = kind in ("integer", "float") and self._finite > 0
        std = math.sqrt(self._squares / self._finite) if numeric and math.isfinite(self._squares) else None
        if numeric and self._least == self._most:  # without what rounding made up
            self._mean, std = self._least, 0.0
        return Column(
            self._name, kind, self._count, self._missing, self._nan,
            self._least if numeric else None, self._most if numeric else None,
            self._mean if numeric and math.isfinite(self._mean) else None, std,
            *self._lengths, self._last if numeric else None,
        )  # fmt: skip


def _new_tally() -> Tally:
    from diffai.tensors.distribution import Tally

    return Tally(exact=_EXACT)


def _type_of(told: list[str]) -> str:
    """The narrowest type that all of the cells have."""
    text = "\n".join(told) + "\n"
    if text.count("\n") != len(told):  # a cell with a line break is text
        return "text"
    return next((name for name, pattern in _TYPES if pattern.fullmatch(text)), "text")


def cell_value(cell: Cell, kind: str) -> Value:
    """A cell as a value of its column's type; None where it is missing."""
    if cell in MISSING or cell is None:
        return None
    try:
        if kind == "integer":
            return int(cell)
        return float(cell) if kind == "float" else cell
    except ValueError:  # longer than Python turns into a number
        return cell


def same_cell(old: Cell, new: Cell, kinds: tuple[str, str]) -> bool:
    """Whether two cells say the same; numbers by their values where both columns hold numbers."""
    if old == new or (old in MISSING and new in MISSING and None not in (old, new)):
        return True
    if old in MISSING or new in MISSING or not {"integer", "float"}.issuperset(kinds):
        return False
    before, after = cell_value(old, kinds[0]), cell_value(new, kinds[1])
    return bool(before == after or (before != before and after != after))
