"""The figures of a comparison as the page carries them: compact JSON, for its own script and for others'.

Schema ``diffai.page/1``: ``models`` holds one object a model, whose ``rows`` stand in natural order of names. A row is
an array in the order of ``columns``; what is missing at its end is null. A name is the first ``shared`` characters of
the name before it, and ``rest``. ``status`` and ``spec`` are places in ``statuses`` and ``specs``; a spec is old dtype,
old shape, new dtype, new shape, role. Names are escaped as everywhere in diffai's output.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from diffai.analyses.update import shares
from diffai.comparison.result import ModelDiff, TensorChange
from diffai.frozen import frozen
from diffai.model import Statistics, TensorSpec
from diffai.views.blocks import Histogram
from diffai.views.lines import describe_cast, statistics_of
from diffai.views.style import escape
from diffai.views.values import Json

SCHEMA = "diffai.page/1"
COLUMNS = (
    "shared", "rest", "status", "spec", "l2", "old_l2", "new_l2", "changed_count", "max_abs",
    "old_mean", "old_std", "old_min", "old_max", "new_mean", "new_std", "new_min", "new_max",
)  # fmt: skip
MOST_BYTES = 890_000
"""Room for all rows; beyond it statistics are kept of the tensors that moved most, and then rows of those."""
LONGEST_NAME = 300
_FIGURES = COLUMNS.index("old_mean")
_DIGITS, _MORE_DIGITS = 4, 6  # of these sums and ratios are made, which must look as they do elsewhere
_AROUND = 8


@frozen
class Packed:
    """Rows of one model.

    Attributes:
        rows: one array a tensor, of the columns :data:`COLUMNS`.
        notes: what else is to be said of a row, by its place.
        update: L2 of the update of all parameters, of which shares are taken; None where nothing moved.
        left_out: tensors that have no row, and tensors that have one without statistics, for want of room.
        histograms: first and last edge, counts of the old and of the new side, by the place of a row.
    """

    rows: tuple[tuple[Json, ...], ...]
    notes: dict[str, list[str]]
    update: float | None
    left_out: tuple[int, int] = (0, 0)
    histograms: Json = None


class Packer:
    """Packs models into one document; what they have in common is written once."""

    def __init__(self, room: int = MOST_BYTES) -> None:
        self.statuses: dict[tuple[str, ...], int] = {}
        self.specs: dict[str, int] = {}
        self.room = room

    def model(self, diff: ModelDiff, counts: Sequence[Histogram] = ()) -> Packed:
        """The rows of one model, in as much room as is left, and histograms of those that were ``counted``."""
        names = [escape(change.name, longest=LONGEST_NAME) for change in diff.tensors]
        said = [notes_of(change) for change in diff.tensors]
        whole = [self._row(change) for change in diff.tensors]
        order = sorted(range(len(names)), key=lambda place: _weight(diff.tensors[place]), reverse=True)
        kept: dict[int, list[Json]] = {}
        for place in order:
            row = _without_statistics(whole[place])
            rest = names[place][_shared(names[place - 1], names[place]) if place else 0 :]
            self.room -= len(_json([rest, row])) + (len(_json(said[place])) + _AROUND if said[place] else 0) + _AROUND
            if self.room < 0:
                break
            kept[place] = row
        for place in order[: len(kept)]:
            self.room -= len(_json(whole[place])) - len(_json(kept[place]))
            if self.room < 0:
                break
            kept[place] = whole[place]
        bare = sum(len(whole[place]) > len(row) for place, row in kept.items())
        rows, notes, before = [], {}, ""
        for number, place in enumerate(sorted(kept)):
            shared = _shared(before, names[place])
            rows.append((shared, names[place][shared:], *kept[place]))
            before = names[place]
            if said[place]:
                notes[str(number)] = said[place]
        lengths = [c.figures.delta.l2 for c, _ in shares(diff) if c.figures is not None and c.figures.delta is not None]
        update = math.hypot(*lengths) if lengths else None
        places = {diff.tensors[place].name: number for number, place in enumerate(sorted(kept))}
        drawn = {str(places[c.title]): self._histogram(c) for c in counts if c.title in places and self.room > 0}
        return Packed(tuple(rows), notes, update, (len(names) - len(rows), bare), drawn)

    def _histogram(self, counts: Histogram) -> Json:
        made = [_short(counts.edges[0]), _short(counts.edges[-1]), list(counts.old), list(counts.new)]
        self.room -= len(_json(made)) + _AROUND
        return made

    def _row(self, change: TensorChange) -> list[Json]:
        """All columns but the name's."""
        status = self.statuses.setdefault(change.status, len(self.statuses))
        row: list[Json] = [status, self.specs.setdefault(_spec(change), len(self.specs))]
        figures = change.figures
        delta = figures.delta if figures is not None and not figures.as_bytes else None
        if delta is not None:
            row += [_short(delta.l2, _MORE_DIGITS), _short(delta.old_l2, _MORE_DIGITS), _short(delta.new_l2)]
            row += [delta.changed_count, _short(delta.max_abs)]
        elif figures is not None and figures.norm is not None:
            row += [0, _short(figures.norm, _MORE_DIGITS), _short(figures.norm), 0, 0]
        else:
            row += [None] * 5
        old, new = statistics_of(change)
        row += [*_statistics(old), *_statistics(new)]
        while row and row[-1] is None:
            row.pop()
        return row


def _without_statistics(row: list[Json]) -> list[Json]:
    return row[: _FIGURES - 2]


def _weight(change: TensorChange) -> tuple[bool, float, float]:
    """What a reader wants to see sooner: what differs, then what moved most."""
    figures = change.figures
    moved = figures.delta.l2 if figures is not None and figures.delta is not None and change.is_parameter else 0.0
    return change.differs, moved, change.relative_l2


def _shared(before: str, name: str) -> int:
    """Characters that two names begin with; ASCII ones only, which every language counts alike."""
    count = 0
    for a, b in zip(before, name, strict=False):
        if a != b or a > "\x7f":
            break
        count += 1
    return count


def _spec(change: TensorChange) -> str:
    role = "parameter" if change.is_parameter else "training" if change.role == "training" else "buffer"
    return _json([*_side(change.old), *_side(change.new), role])


def _side(spec: TensorSpec | None) -> tuple[Json, Json]:
    return (escape(spec.dtype), list(spec.shape)) if spec is not None else (None, None)


def _statistics(found: Statistics | None) -> Sequence[Json]:
    if found is None:
        return (None,) * 4
    mean = found.mean
    if (
        mean and found.std and math.isfinite(found.std) and abs(mean) < found.std
    ):  # its digits end where the deviation's do
        mean = round(mean, _DIGITS - 1 - math.floor(math.log10(found.std)))
    return tuple(_short(value) for value in (mean, found.std, found.min, found.max))


def _short(value: float | int | None, digits: int = _DIGITS) -> Json:
    """A figure of so many significant digits; None where there is no finite one."""
    if value is None or not math.isfinite(value):
        return None
    if isinstance(value, int):
        return value
    text = float(f"{value:.{digits}g}")
    return int(text) if text.is_integer() and abs(text) < 1e15 else text


def notes_of(change: TensorChange) -> list[str]:
    """What the columns do not say: where it was, what a cast did, what is not finite, why nothing was compared."""
    said = []
    if "renamed" in change.status and change.old is not None:
        said.append(f"renamed from {escape(change.old.name, longest=LONGEST_NAME)}")
    figures = change.figures
    if figures is not None and figures.cast is not None:
        said.append(f"cast: {describe_cast(figures.cast)}")
    if figures is not None and figures.as_bytes and figures.delta is not None:
        said.append(f"compared as bytes: {figures.delta.changed_count:,} differ")
    elif change.spec.values:
        said.append("compared decoded")
    if figures is not None and figures.delta is not None and figures.delta.tolerated_count:
        said.append(f"{figures.delta.tolerated_count:,} values differ within the tolerance")
    if change.over_finite:
        said.append("figures are over the finite values")
    old, new = statistics_of(change)
    for label, field in (("NaN", "nan_count"), ("+Inf", "pos_inf_count"), ("-Inf", "neg_inf_count")):
        counts = [f"{getattr(side, field):,}" if side is not None else "n/a" for side in (old, new)]
        if any(side is not None and getattr(side, field) for side in (old, new)):
            said.append(f"{label}: {counts[0]} -> {counts[1]}")
    if change.spec.alias_of:
        said.append(f"tied to {escape(change.spec.alias_of, longest=LONGEST_NAME)}")
    if change.reason:
        said.append(f"not compared: {escape(change.reason, longest=500)}")
    return said


def _json(data: Json) -> str:
    return json.dumps(data, separators=(",", ":"), allow_nan=False)


def embedded(data: Json) -> str:
    """JSON that is inert inside of a script element: no tag can begin or end in it, and it is ASCII throughout.

    Source: https://html.spec.whatwg.org/multipage/scripting.html#restrictions-for-contents-of-script-elements
    """
    text = _json(data)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text
