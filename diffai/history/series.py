"""A model's history as columns of numbers, oldest first: what every drawing of it shows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from diffai.frozen import frozen
from diffai.history.entries import ModelLog

MOST_GROUPS = 40
_WIDE = 1000.0  # times the middle value: beside a larger one, all others would lie on the ground


@frozen
class Scale:
    """An axis from ``low`` to ``high``; logarithmic where few values would leave no room for the others."""

    low: float
    high: float
    logarithmic: bool

    def height(self, value: float) -> float:
        """Where a value lies, from 0 to 1."""
        if not math.isfinite(value):
            return 1.0
        if not self.logarithmic:
            return value / self.high if self.high > 0 else 0.0
        return max(0.0, math.log(value / self.low) / math.log(self.high / self.low)) if value > 0 else 0.0

    def value(self, height: float) -> float:
        """What lies at a height."""
        return self.low * (self.high / self.low) ** height if self.logarithmic else self.high * height


def scale_of(values: Sequence[float | None]) -> Scale:
    """The axis for some values, of which those that are not finite are not drawn."""
    known = sorted(value for value in values if value is not None and math.isfinite(value) and value > 0)
    if not known:
        return Scale(0.0, 0.0, False)
    wide = known[-1] > _WIDE * known[len(known) // 2]
    return Scale(known[0], known[-1], wide)


@frozen
class Series:
    """One value a commit in every column; None where there is none.

    Attributes:
        title: path of the model.
        commits, days, subjects: of the commits, oldest first.
        update, drift: the update size, and the same from the first version; None where they are not comparable.
        norm: L2 of all parameters.
        groups: layers or modules, in the order of the model (the most moved ones, where there are very many).
        heat: for each group the size of its update at each commit.
        left_out: groups that are not shown.
    """

    title: str
    commits: tuple[str, ...]
    days: tuple[str, ...]
    subjects: tuple[str, ...]
    update: tuple[float | None, ...]
    drift: tuple[float | None, ...]
    norm: tuple[float | None, ...]
    groups: tuple[str, ...]
    heat: tuple[tuple[float | None, ...], ...]
    left_out: int = 0


def series_of(log: ModelLog) -> Series:
    """The columns of a history."""
    entries = list(reversed(log.entries))
    moves = [entry.figures.movement if entry.figures is not None else None for entry in entries]
    maps = [{g.name: g.relative for g in move.groups} if move is not None else {} for move in moves]
    names = list(dict.fromkeys(name for each in maps for name in each))
    most = {name: max((each.get(name) or 0.0 for each in maps), default=0.0) for name in names}
    kept = set(sorted(names, key=lambda name: -most[name])[:MOST_GROUPS])
    shown = tuple(name for name in names if name in kept)
    return Series(
        log.path,
        tuple(entry.commit.short for entry in entries),
        tuple(entry.commit.day for entry in entries),
        tuple(entry.commit.subject for entry in entries),
        tuple(move.update.value if move is not None else None for move in moves),
        tuple(move.drift.value if move is not None else None for move in moves),
        tuple(move.norm if move is not None else None for move in moves),
        shown,
        tuple(tuple(each.get(name) for each in maps) for name in shown),
        len(names) - len(shown),
    )
