"""Two values of documents, side by side: what was added, removed, modified, or became another type."""

from __future__ import annotations

import math
from collections.abc import Iterator

from diffai.comparison.documents.align import Aligner, Pair, gaps
from diffai.comparison.documents.paths import Chosen, path_text
from diffai.comparison.documents.result import (
    Change,
    ChangeKind,
    Children,
    DocumentOptions,
    Identified,
    Key,
    Path,
    Special,
    Value,
)

_MOST_SCORED = 2500
"""Pairs of mappings in a gap whose likeness is looked at."""


class Comparison:
    """One comparison of two values.

    Args:
        options: tolerances, what is chosen, how elements of lists are matched.
        text_only: whether one side's kind holds nothing but text (INI, XML), so that ``"1"`` there is 1 elsewhere.

    Attributes:
        changes: in the order of the new document.
        tolerated: numbers that differ within the tolerance.
        notes: what is said of the comparison as a whole.
    """

    def __init__(self, options: DocumentOptions, *, text_only: bool = False) -> None:
        self.changes: list[Change] = []
        self.tolerated = 0
        self.notes: list[str] = []
        self.chosen = Chosen(options.compare)
        self._epsilon, self._rtol = options.compare.epsilon, options.compare.rtol
        self._id_key = options.array_id_key
        self._text_only = text_only
        self._aligner = Aligner()
        self._prints: dict[int, int] = {}

    def compare(self, old: Value, new: Value, path: Path = ()) -> None:
        """Note how ``new`` differs from ``old``; both must stay alive as long as this object."""
        if isinstance(old, dict) and isinstance(new, dict):
            self._mapping(old, new, path)
        elif isinstance(old, list) and isinstance(new, list):
            if isinstance(old, Children) and isinstance(new, Children) and len(old) == len(new) == 1:
                self.compare(old[0], new[0], path)
            else:
                self._list(old, new, path)
        elif isinstance(old, dict | list) or isinstance(new, dict | list):
            self.note("TypeChanged", path, old, new)
        else:
            self.scalar(old, new, path)

    # ---------------------------------------------------------------- scalars

    def scalar(self, old: Value, new: Value, path: Path) -> None:
        """Compare two scalars."""
        if type(old) is not type(new) or (isinstance(old, Special) and old.kind != new.kind):
            if not (self._text_only and _same_as_text(old, new)):
                self.note("Modified" if self._text_only else "TypeChanged", path, old, new)
        elif old != new and not (old != old and new != new):  # NaN on both sides is no change
            if self._is_tolerated(old, new):
                if self.chosen.leaf(path_text(path)):
                    self.tolerated += 1
            else:
                self.note("Modified", path, old, new)

    def _is_tolerated(self, old: Value, new: Value) -> bool:
        if not (self._epsilon or self._rtol) or isinstance(old, bool):
            return False
        if isinstance(old, int) and isinstance(new, int):
            return abs(new - old) <= self._epsilon if not self._rtol else _near(new, old, self)
        if isinstance(old, str):  # where a document has text alone, or YAML 1.1 takes 1e-3 for text
            before, after = number_in(old), number_in(new)
            return before is not None and after is not None and _near(after, before, self)
        return isinstance(old, float) and _near(new, old, self)

    @property
    def tolerance(self) -> tuple[float, float]:
        """``epsilon`` and ``rtol``."""
        return self._epsilon, self._rtol

    # ---------------------------------------------------------------- mappings

    def _mapping(self, old: dict[Value, Value], new: dict[Value, Value], path: Path) -> None:
        for key, value in old.items():
            if key not in new:
                self.note("Removed", (*path, key), value, None)
        for key, value in new.items():
            if key in old:
                self.compare(old[key], value, (*path, key))
            else:
                self.note("Added", (*path, key), None, value)

    # ---------------------------------------------------------------- lists

    def _list(self, old: list[Value], new: list[Value], path: Path) -> None:
        if self._id_key and self._by_id(old, new, path):
            return
        if len(old) == len(new) and all(map(_is_number, old)) and all(map(_is_number, new)):
            for place, (before, after) in enumerate(zip(old, new, strict=True)):
                self.scalar(before, after, (*path, place))
            return
        pairs = self._pairs(old, new)
        paired = dict(pairs)
        for place, value in enumerate(old):
            if place not in paired:
                self.note("Removed", (*path, place), value, None)
        partner = {after: before for before, after in pairs}
        for place, value in enumerate(new):
            if place in partner:
                self.compare(old[partner[place]], value, (*path, place))
            else:
                self.note("Added", (*path, place), None, value)

    def _pairs(self, old: list[Value], new: list[Value]) -> list[Pair]:
        prints = [[self._print(value) for value in side] for side in (old, new)]
        runs = self._aligner.equal_runs(*prints)
        pairs = [(i + n, j + n) for i, j, length in runs for n in range(length)]
        for (i, j), (i_end, j_end) in gaps(runs, len(old), len(new)):
            pairs += self._likely(old[i:i_end], new[j:j_end], (i, j))
        return sorted(pairs)

    def _likely(self, old: list[Value], new: list[Value], at: Pair) -> list[Pair]:
        """Elements of a gap that are the same thing with another value."""
        if len(old) == len(new):
            return [(at[0] + place, at[1] + place) for place in range(len(old))]
        mappings = all(isinstance(value, dict) for value in (*old, *new))
        if mappings and len(old) * len(new) <= _MOST_SCORED:
            return [(at[0] + i, at[1] + j) for i, j in self._most_alike(old, new)]
        if mappings:
            return [(at[0] + place, at[1] + place) for place in range(min(len(old), len(new)))]
        return []

    def _most_alike(self, old: list[dict[Value, Value]], new: list[dict[Value, Value]]) -> list[Pair]:
        """The choice of pairs in order with the most members in common; a pair has at least one."""
        prints = [[{key: self._print(v) for key, v in each.items()} for each in side] for side in (old, new)]
        rows, columns = len(old), len(new)
        score = [[len(a.items() & b.items()) for b in prints[1]] for a in prints[0]]
        best = [[0] * (columns + 1) for _ in range(rows + 1)]
        for i in range(rows - 1, -1, -1):
            for j in range(columns - 1, -1, -1):
                best[i][j] = max(best[i + 1][j], best[i][j + 1], best[i + 1][j + 1] + score[i][j])
        found, i, j = [], 0, 0
        while i < rows and j < columns:
            if score[i][j] and best[i][j] == best[i + 1][j + 1] + score[i][j]:
                found.append((i, j))
                i, j = i + 1, j + 1
            elif best[i][j] == best[i + 1][j]:
                i += 1
            else:
                j += 1
        return found

    def _by_id(self, old: list[Value], new: list[Value], path: Path) -> bool:
        """Match elements by the value of one key; False where not all have one of their own."""
        sides = [identities(side, self._id_key) for side in (old, new)]
        if not (old or new) or not any(isinstance(value, dict) for value in (*old, *new)):
            return False
        before, after = sides
        if before is None or after is None:
            self.notes.append(f"elements of {path_text(path)} are not all known by {self._id_key!r}: matched by place")
            return False
        for name, place in before.items():
            if name not in after:
                self.note("Removed", (*path, name), old[place], None)
        for name, place in after.items():
            if name in before:
                self.compare(old[before[name]], new[place], (*path, name))
            else:
                self.note("Added", (*path, name), None, new[place])
        kept = [name for name in before if name in after]
        if kept != [name for name in after if name in before]:
            self.notes.append(f"elements of {path_text(path)} stand in another order")
        return True

    # ---------------------------------------------------------------- what is noted

    def note(self, kind: ChangeKind, path: Path, old: Value, new: Value) -> None:
        """Keep a difference if it is chosen; where an option chooses, what came or went is looked at leaf by leaf."""
        if self.chosen.everything or not (isinstance(old, dict | list) or isinstance(new, dict | list)):
            if self.chosen.leaf(path_text(path)):
                self.changes.append(Change(kind, path, old, new))
            return
        for side, word in ((old, "Removed"), (new, "Added")):  # an option chooses among what is inside
            if kind not in ("TypeChanged", word):
                continue
            for inside, leaf in leaves(side, path):
                if self.chosen.leaf(path_text(inside)):
                    pair = (leaf, None) if word == "Removed" else (None, leaf)
                    self.changes.append(Change("Removed" if word == "Removed" else "Added", inside, *pair))

    def _print(self, value: Value) -> int:
        """Equal for equal values; only a hint, since what it brings together is compared all the same."""
        if not isinstance(value, dict | list):
            return hash("nan" if value != value else (type(value).__name__, value))
        known = self._prints.get(id(value))
        if known is None:
            if isinstance(value, dict):
                known = hash(frozenset((key, self._print(inside)) for key, inside in value.items()))
            else:
                known = hash(tuple([self._print(inside) for inside in value]))
            self._prints[id(value)] = known
        return known


def leaves(value: Value, path: Path = ()) -> Iterator[tuple[Path, Value]]:
    """Every scalar and every empty container inside, with its path."""
    if isinstance(value, dict) and value:
        for key, inside in value.items():
            yield from leaves(inside, (*path, key))
    elif isinstance(value, list) and value:
        for place, inside in enumerate(value):
            yield from leaves(inside, (*path, place))
    else:
        yield path, value


def identities(elements: list[Value], key: str) -> dict[Identified, int] | None:
    """Places of elements by the value of one key; None where one lacks it, or two share one."""
    found: dict[Identified, int] = {}
    for place, element in enumerate(elements):
        value = element.get(key) if isinstance(element, dict) else None
        if value is None or isinstance(value, dict | list):
            return None
        found[Identified(key, scalar_text(value))] = place
    return found if len(found) == len(elements) else None


def scalar_text(value: Value) -> str:
    """A scalar as text: as it would be written."""
    if isinstance(value, Special | Key):
        return value.text
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)


def number_in(value: Value) -> float | None:
    """The number that a value is, or that its text says; None for any other, and for one beyond floats."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value) if not isinstance(value, str) or (len(value) < 400 and "_" not in value) else None
    except (ValueError, OverflowError):
        return None


def _near(new: float, old: float, comparison: Comparison) -> bool:
    epsilon, rtol = comparison.tolerance
    try:
        if not (math.isfinite(old) and math.isfinite(new)):
            return False
        return abs(new - old) <= epsilon + rtol * abs(old)
    except OverflowError:  # whole numbers beyond floats
        return False


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_WORDS: dict[Value, tuple[str, ...]] = {None: ("", "null", "none", "~"), True: ("true",), False: ("false",)}


def _same_as_text(old: Value, new: Value) -> bool:
    """Whether a text says the value of the other side."""
    text, value = (old, new) if isinstance(old, str) else (new, old)
    if not isinstance(text, str):
        return False
    if value is None or isinstance(value, bool):
        return text.strip().lower() in _WORDS[value]
    if isinstance(value, int | float):
        told = number_in(text.strip())
        return text.strip() == str(value) or (told is not None and told == value)
    return text == scalar_text(value)
