"""A model's history as a chart, oldest commit first: its updates, drift and norms, and the layers that moved."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from diffai.analyses.convergence import oscillates
from diffai.history.entries import ModelLog
from diffai.history.figures import Movement
from diffai.views.blocks import Chart, Curve

_MOST_PARTS = 40
_TURNED = 0.5  # cosine of successive updates beyond which a word is given to it
_FEWEST = 3


def chart_of(log: ModelLog) -> Chart:
    """All that can be drawn of a history; None stands for versions that are not comparable."""
    moves = _moves(log)
    maps = [{g.name: g.relative for g in move.groups} if move is not None else {} for move in moves]
    names = list(dict.fromkeys(name for each in maps for name in each))
    most = {name: max((each.get(name) or 0.0 for each in maps), default=0.0) for name in names}
    kept = set(sorted(names, key=lambda name: -most[name])[:_MOST_PARTS])
    shown = [name for name in names if name in kept]
    hidden = len(names) - len(shown)
    entries = log.entries[::-1]
    norm = tuple(move.norm if move is not None else None for move in moves)
    return Chart(
        log.path,
        tuple(entry.commit.day for entry in entries),
        tuple(f"{entry.commit.short} {entry.commit.day} {entry.commit.subject}" for entry in entries),
        (*_curves(moves), Curve("norm", norm, "L2 of all parameters")),
        tuple(Curve(name, tuple(each.get(name) for each in maps)) for name in shown),
        "update size by layer" + (f" ({hidden:,} calmer ones left out)" if hidden else ""),
        note=_note(moves),
    )


def course_chart(log: ModelLog) -> Chart:
    """The updates and the drift alone, as they stand below a list of commits."""
    moves = _moves(log)
    return Chart(log.path, ("",) * len(moves), ("",) * len(moves), _curves(moves), note=_note(moves))


def _moves(log: ModelLog) -> list[Movement | None]:
    return [entry.figures.movement if entry.figures is not None else None for entry in reversed(log.entries)]


def _curves(moves: Sequence[Movement | None]) -> tuple[Curve, ...]:
    update = tuple(m.update.value if m is not None else None for m in moves)
    drift = tuple(m.drift.value if m is not None else None for m in moves)
    return (
        Curve("update", update, "relative L2 from the version before"),
        Curve("drift", drift, "relative L2 from the first version"),
    )


def _note(moves: Sequence[Movement | None]) -> str:
    said = course(moves)
    return "from the oldest to the newest commit shown" + (f"; {said}" if said else "")


def course(moves: Sequence[Movement | None]) -> str:
    """What successive updates, oldest first, say together: settling, oscillating; "" where they say nothing."""
    turns = [m.turn.value for m in moves if m is not None and m.turn.value is not None]
    sizes = [m.update.value for m in moves if m is not None and m.update.value is not None]
    words = []
    if oscillates(turns):
        words.append("updates oscillate")
    if (
        len(sizes) > _FEWEST
        and sizes[-1] < sizes[0] / 2
        and all(later <= earlier * 1.1 for earlier, later in pairwise(sizes))
    ):
        words.append("updates shrink steadily")
    return ", ".join(words)


def turn_word(value: float) -> str:
    """What the cosine of two successive updates means; "" where it means little."""
    if value >= _TURNED:
        return " (goes on)"
    return " (turns back)" if value <= -_TURNED else ""
