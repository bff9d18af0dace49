"""What looks wrong: values that are not finite, explosions, gradients that vanished, distributions that jumped."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from statistics import median

from diffai.analyses import nonfinite
from diffai.analyses.casts import is_recoded
from diffai.analyses.finding import counted
from diffai.analyses.growth import growths, statistics
from diffai.analyses.slots import FIRST_MOMENT, norm_on, slots
from diffai.analyses.update import is_moved, matched
from diffai.comparison.result import ModelDiff, TensorChange
from diffai.frozen import frozen
from diffai.model import Statistics, element_count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from diffai.analyses.context import Context
    from diffai.analyses.finding import Basis, Fields, Finding, Severity

    Kind = Literal["non-finite", "explosion", "vanishing", "distribution shift", "dead units"]
else:
    Kind = Severity = Basis = str

NAME = "anomaly_detection"

SHIFT, SPREAD = 1.0, 3.0
"""A mean that moved by more than so many old deviations; a deviation that is so many times, or a part of, the old."""
LEAST_SHIFT = 0.1
"""Share of the old root mean square that mean or deviation must move by, too: weights of a norm stand close to 1."""
FEWEST_ELEMENTS = 64
LEAST_DEVIATION = 1e-3
"""Share of the root mean square below which a tensor is as good as constant, and has no distribution to shift."""
VANISHED = 1e-6
"""Share of what its neighbours move, below which a tensor has as good as no update or gradient."""
FEW = 0.2
_FEWEST_NEIGHBOURS = 3
_SHOWN = 3
_RANK: dict[Severity, int] = {"critical": 0, "warning": 1, "notice": 2, "info": 3}
_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")


@frozen
class Anomaly:
    """One tensor, what is wrong with it, and how much that matters.

    ``basis`` is an estimate where a slot of the optimizer was mapped to it.
    """

    kind: Kind
    tensor: str
    severity: Severity
    text: str
    basis: Basis = "fact"


def anomalies(
    diff: ModelDiff, shift: float = SHIFT, spread: float = SPREAD, least: float = LEAST_SHIFT
) -> tuple[Anomaly, ...]:
    """Everything that the first pass shows to be wrong, the worst first.

    Args:
        diff: the comparison.
        shift: least move of a mean, in old standard deviations.
        spread: least ratio of two standard deviations, either way.
        least: share of the old root mean square that either must move by as well.
    """
    if diff.old.state is not None or diff.new.state is not None:
        return ()
    changes = [change for change in diff.tensors if change.role == "weight" and not is_recoded(change)]
    found = [*_nonfinite(diff), *_explosions(changes), *_vanished_updates(changes), *_vanished_moments(diff),
             *_shifts(changes, shift, spread, least)]  # fmt: skip
    first: dict[tuple[Kind, str], Anomaly] = {}
    for each in found:
        first.setdefault((each.kind, each.tensor), each)
    return tuple(sorted(first.values(), key=lambda each: _RANK[each.severity]))


def _nonfinite(diff: ModelDiff) -> Iterable[Anomaly]:
    for event in nonfinite.events(diff):
        if event.worse:
            count = event.new.nan + event.new.pos_inf + event.new.neg_inf
            text = f"{nonfinite.WORDS[event.kind]}: {count:,} of {event.change.spec.elements:,} values"
            yield Anomaly("non-finite", event.change.name, "critical" if event.parameter else "warning", text)


def _explosions(changes: Sequence[TensorChange]) -> Iterable[Anomaly]:
    for found in growths(changes):
        yield Anomaly("explosion", found.change.name, "critical" if found.beyond else "warning", found.text)


def _vanished_updates(changes: Sequence[TensorChange]) -> Iterable[Anomaly]:
    """Tensors that hardly moved though their own module and nearly all of the same kind in other layers did."""
    kinds: dict[str, list[tuple[TensorChange, float]]] = {}
    movers: dict[str, int] = {}
    for change in changes:
        delta = change.figures.delta if change.figures is not None else None
        if not matched(change) or change.figures is None or not _NUMBER.search(change.name):
            continue
        moved = delta.relative_l2 if delta is not None and is_moved(change) else 0.0
        if moved is None:
            continue
        kinds.setdefault(_NUMBER.sub("#", change.name), []).append((change, moved))
        if moved:
            module = change.name.rpartition(".")[0].rpartition(".")[0]
            movers[module] = movers.get(module, 0) + 1
    for alike in kinds.values():
        if len(alike) < _FEWEST_NEIGHBOURS:
            continue
        middle = median(moved for _, moved in alike)
        still = [change for change, moved in alike if moved < VANISHED * middle]
        if len(still) < FEW * len(alike) or len(still) == 1:
            for change in still:
                if movers.get(change.name.rpartition(".")[0].rpartition(".")[0]):
                    text = f"hardly moved, while {len(alike) - len(still):,} of its kind moved by {middle:.2g}"
                    yield Anomaly("vanishing", change.name, "warning", text)


def _vanished_moments(diff: ModelDiff) -> Iterable[Anomaly]:
    """Parameters whose first moment is (nearly) zero while the others' are not: their gradient vanished."""
    found = slots(diff, "new")
    moments = [(slot, norm) for slot in found.of(FIRST_MOMENT) if (norm := norm_on(slot.change, "new")) is not None]
    sizes = [norm / math.sqrt(max(1, slot.change.spec.elements)) for slot, norm in moments]
    if len(sizes) < _FEWEST_NEIGHBOURS:
        return
    middle = median(sizes)
    dead = [slot for (slot, _), size in zip(moments, sizes, strict=True) if size < VANISHED * middle]
    if len(dead) < FEW * len(sizes) or len(dead) == 1:
        for slot in dead:
            name = slot.parameter or slot.change.name
            basis: Basis = "estimate" if slot.parameter and not slot.named else "fact"
            yield Anomaly("vanishing", name, "warning", "its first moment is as good as zero", basis)


def _shifts(changes: Sequence[TensorChange], shift: float, spread: float, least: float) -> Iterable[Anomaly]:
    """Distributions that jumped; what an optimizer does in a step moves neither mean nor deviation that far."""
    for change in changes:
        if not matched(change) or not is_moved(change) or element_count(change.spec.shape) < FEWEST_ELEMENTS:
            continue
        old, new = statistics(change)
        if not _is_spread(old) or new is None or old is None:
            continue
        if None in (old.mean, old.std, new.mean, new.std):
            continue
        assert old.mean is not None and old.std and new.mean is not None and new.std is not None
        moved, ratio = abs(new.mean - old.mean) / old.std, new.std / old.std
        large = least * math.hypot(old.mean, old.std)
        if moved > shift and abs(new.mean - old.mean) > large:
            text = f"mean {old.mean:.3g} -> {new.mean:.3g}, {moved:.3g} of the old standard deviation"
            yield Anomaly("distribution shift", change.name, "warning", text)
        elif (ratio > spread or ratio < 1 / spread) and abs(new.std - old.std) > large:
            text = f"standard deviation {old.std:.3g} -> {new.std:.3g}"
            yield Anomaly("distribution shift", change.name, "warning", text)


def _is_spread(old: Statistics | None) -> bool:
    """Whether a tensor was no constant."""
    if old is None or old.mean is None or not old.std:
        return False
    return old.std > LEAST_DEVIATION * math.hypot(old.mean, old.std)


def dead_units(diff: ModelDiff, context: Context) -> tuple[list[Anomaly], str]:
    """Matrices in which rows became all zero, and why that was not looked at; reads tensors again."""
    if context.unread:
        return [], context.unread
    found = []
    for change in diff.tensors:
        old, new = change.old, change.new
        if not matched(change) or not is_moved(change) or old is None or new is None or len(new.shape) < 2:
            continue
        figures = statistics(change)[1]
        if figures is not None and figures.zero_count < new.elements // new.shape[0]:
            continue  # fewer zeros than one row has elements
        before, after = context.array("old", old), context.array("new", new)
        if before is None or after is None:
            continue
        flat = [array.reshape(len(array), -1) for array in (before, after)]
        dead = int((~flat[1].any(axis=1) & flat[0].any(axis=1)).sum())
        if dead:
            text = f"{dead:,} of {len(flat[1]):,} rows are all zero, and were not before"
            found.append(Anomaly("dead units", change.name, "warning", text))
    return found, ""


def find(diff: ModelDiff, context: Context) -> Finding | None:
    """All anomalies as one finding; none where there are none, unless it was asked for."""
    from diffai.analyses.finding import Finding, not_computed

    asked = context.asked
    limits = (context.number(key) for key in ("shift", "spread", "least"))
    found, unread = list(anomalies(diff, *limits)), ""
    if asked:
        more, unread = dead_units(diff, context)
        found = sorted((*found, *more), key=lambda each: _RANK[each.severity])
    lacking = sum(1 for c in diff.tensors if matched(c) and is_moved(c) and statistics(c) == (None, None))
    if not found and not asked:
        return None
    uncompared = sum(change.status == ("uncompared",) and change.role == "weight" for change in diff.tensors)
    if uncompared and not found:
        return not_computed(NAME, f"the values of {counted(uncompared, 'tensor')} were not compared")
    rows: tuple[Fields, ...] = tuple(
        {"type": each.kind, "tensor": each.tensor, "severity": each.severity, "text": each.text, "basis": each.basis}
        for each in found
    )
    worst: Severity = found[0].severity if found else "info"
    shown = "; ".join(f"{each.tensor}: {each.text}" for each in found[:_SHOWN])
    shown += f"; and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else ""
    layers = tuple(dict.fromkeys(each.tensor for each in found))
    reasons = [f"dead units were not looked for: {unread}"] if unread else []
    if lacking:
        reasons.append(f"no statistics of {counted(lacking, 'changed tensor')}: no shift is judged there")
    types = tuple(dict.fromkeys(each.kind for each in found))
    fields: Fields = {"types": types, "layers": layers, "anomalies": rows, "without_statistics": lacking}
    basis: Basis = "estimate" if any(each.basis == "estimate" for each in found) else "fact"
    text = f"{', '.join(types)}: {shown}" if found else "none found"
    return Finding(NAME, worst, basis, fields, (*layers[:_SHOWN], *reasons), text)
