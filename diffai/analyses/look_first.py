"""What to look at first: at most five plain sentences with figures and a name, the most severe first."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from diffai.analyses import nonfinite
from diffai.analyses.casts import explained_by_cast, is_recoded
from diffai.analyses.growth import GREW, factor_of, growths, judged, largest, least_rms, short, statistics
from diffai.analyses.update import is_moved, matched, shares
from diffai.comparison.result import ModelDiff, TensorChange
from diffai.frozen import frozen
from diffai.model import element_count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.analyses.context import Context
    from diffai.analyses.finding import Finding, Severity
else:
    Severity = str

NAME = "look_first"

MOST = 5
SHARE, SHARE_RATIO = 0.10, 20.0
OUTSTANDING = 1.5
"""Times the relative L2 of all that changed, which a tensor exceeds that stands out by its share of the update."""
FEW_UNTOUCHED = 0.2
NEAR_LARGEST = 0.5
WORSE = 0.01
"""Share of its old value above which a recorded metric that became worse is pointed at."""
_LARGEST = {"F16": 65504.0, "F8_E4M3": 448.0, "F8_E5M2": 57344.0}
_RANK: dict[Severity, int] = {"critical": 0, "warning": 1, "notice": 2, "info": 3}


@frozen
class Look:
    """One line: a tensor or pattern, what is to be seen there, and how much it matters."""

    name: str
    text: str
    severity: Severity = "warning"
    weight: float = 0.0


def look_first(diff: ModelDiff) -> tuple[Look, ...]:
    """The lines, most severe first, at most :data:`MOST`; a tensor is named once."""
    if diff.old.state is not None or diff.new.state is not None:
        return ()
    changes = [change for change in diff.tensors if change.role == "weight" and not is_recoded(change)]
    ends = judged(diff)
    found = [*_nonfinite(diff), *_zeroed(changes), *_grown(changes, ends=ends), *_buffers(changes),
             *_shares(diff, changes), *_untouched(changes), *_worse(diff)]  # fmt: skip
    if ends:
        found += [*_extreme(changes), *_rescaled(changes)]
    found.sort(key=lambda look: (_RANK[look.severity], -look.weight))
    lines: dict[str, Look] = {}
    for look in found:
        first = lines.setdefault(look.name, look)
        if first is not look and look.text not in first.text:
            lines[look.name] = Look(look.name, f"{first.text}; {look.text}", first.severity, first.weight)
    return tuple(list(lines.values())[:MOST])


def _nonfinite(diff: ModelDiff) -> Iterable[Look]:
    for event in nonfinite.events(diff):
        if event.worse:
            old, new = (side.nan + side.pos_inf + side.neg_inf for side in (event.old, event.new))
            text = f"{nonfinite.WORDS[event.kind]}: {old:,} -> {new:,} of {event.change.spec.elements:,} values"
            yield Look(event.change.name, text, "critical" if event.parameter else "warning", float(new - old))


def _worse(diff: ModelDiff) -> Iterable[Look]:
    """The recorded metric that decides, where it became worse by more than :data:`WORSE`."""
    if not (diff.training or diff.metadata):  # a number that differs stands in one of both
        return
    from diffai.analyses.metrics import decisive, metric_changes
    from diffai.analyses.training_run import run_of

    metric = decisive(metric_changes(run_of(diff.old), run_of(diff.new)))
    if metric is not None and metric.worse_by > WORSE:
        by = "" if math.isinf(metric.worse_by) else f"{metric.worse_by:.1%} "
        yield Look(metric.name, f"recorded {metric.old:.4g} -> {metric.new:.4g}, {by}worse", "warning", metric.worse_by)


def _zeroed(changes: Sequence[TensorChange]) -> Iterable[Look]:
    """Tensors whose values are all gone."""
    for change in changes:
        delta = change.figures.delta if change.figures and matched(change) else None
        if delta is not None and delta.old_l2 and not delta.new_l2 and not delta.nonfinite_count:
            which = "its one value is" if change.spec.elements == 1 else f"all {change.spec.elements:,} values are"
            yield Look(change.name, f"{which} zero now", "critical", delta.old_l2)


def _grown(changes: Sequence[TensorChange], *, ends: bool) -> Iterable[Look]:
    """Far beyond the old maximum, or ten times the norm."""
    for found in growths(changes, ends=ends):
        yield Look(found.change.name, found.text, "critical" if found.beyond else "warning", found.ratio)


def _buffers(changes: Sequence[TensorChange]) -> Iterable[Look]:
    """Running statistics of a normalisation that jumped: the data, or the code that feeds it, is another."""
    for change in changes:
        delta = change.figures.delta if change.figures else None
        last = change.name.rpartition(".")[2]
        if delta is None or last not in ("running_var", "running_mean") or not delta.old_l2:
            continue
        times = delta.new_l2 / delta.old_l2
        if times >= GREW or (last == "running_var" and 0 < times <= 1 / GREW):
            text = f"running statistics {short(times)} x what they were"
            yield Look(change.name, text, "warning", abs(math.log(times)))


def _shares(diff: ModelDiff, changes: Sequence[TensorChange]) -> Iterable[Look]:
    """Few of the parameters that moved hold much of the update; a tuned head alone is a kind of change, no surprise."""
    explained = explained_by_cast(diff)
    usual = OUTSTANDING * (diff.totals.changed_relative_l2 or 0.0)  # of a model that is scaled all tensors move alike
    most = [
        (change, share) for change, share in shares(diff, SHARE)
        if is_moved(change) and not is_recoded(change) and not explained(change) and change.relative_l2 > usual
    ]  # fmt: skip
    if not most:
        return
    whole = sum(element_count(change.spec.shape) for change in changes if matched(change))
    touched = sum(
        element_count(change.spec.shape)
        for change in changes
        if matched(change) and is_moved(change) and change.figures and change.figures.delta and change.figures.delta.l2
    )
    least = least_rms(changes)
    for change, share in most:
        count = element_count(change.spec.shape)
        part = count / whole
        old = change.figures.delta.old_l2 if change.figures and change.figures.delta else 0.0
        if share >= SHARE_RATIO * count / touched and old / math.sqrt(count) > least(change):
            delta = change.figures.delta if change.figures else None
            size = f"relative L2 {short(delta.relative_l2)}, " if delta and delta.relative_l2 is not None else ""
            text = f"{size}{_percent(share)} of the update in {_percent(part)} of the parameters"
            yield Look(change.name, text, "warning", share / part)


def _extreme(changes: Sequence[TensorChange]) -> Iterable[Look]:
    """Values that come close to the largest of their dtype: the next step may overflow."""
    for change in changes:
        limit = _LARGEST.get(change.spec.values_dtype)
        old, new = statistics(change)
        if limit is None or new is None or change.new is None:
            continue
        top = largest(new)
        if top >= NEAR_LARGEST * limit and not (old and largest(old) >= NEAR_LARGEST * limit):
            text = f"largest value {short(top)}, the dtype ends at {short(limit)} (overflow ahead)"
            yield Look(change.name, text, "warning", top / limit)


def _untouched(changes: Sequence[TensorChange]) -> Iterable[Look]:
    """One layer of a stack that stayed while nearly all moved, or the only one that moved."""
    stacks: dict[str, _Stack] = {}
    for change in changes:
        if not matched(change) or change.figures is None:
            continue
        parts = change.name.split(".")
        place = next((n for n, part in enumerate(parts) if part.isdigit()), -1)
        if place > 0:
            stacks.setdefault(".".join(parts[:place]), _Stack()).add(parts[place], moved=is_moved(change))
    for name, stack in stacks.items():
        stack.end()
        if stack.layers < 3:
            continue
        if stack.still and len(stack.still) < FEW_UNTOUCHED * stack.layers:
            for layer, count in stack.still:
                rows = f"{count:,} tensor{'' if count == 1 else 's'}"
                yield Look(f"{name}.{layer}", f"{rows} untouched while their neighbours moved", "notice", 1)
        elif len(stack.still) == stack.layers - 1:
            yield Look(f"{name}.{stack.moved}", f"the only one of {stack.layers:,} layers that moved", "notice", 1)


class _Stack:
    """The layers of a stack, whose tensors come one layer after another: of 100,000 only those that stayed are kept.

    Attributes:
        layers: how many there are.
        still: those that did not move, with their number of tensors.
        moved: the last that moved.

    """

    def __init__(self) -> None:
        self.layers, self.moved = 0, ""
        self.still: list[tuple[str, int]] = []
        self._layer, self._count, self._moved = "", 0, False

    def add(self, layer: str, *, moved: bool) -> None:
        """Take in a tensor of a layer."""
        if layer != self._layer:
            self.end()
            self._layer, self._count, self._moved = layer, 0, False
        self._count += 1
        self._moved |= moved

    def end(self) -> None:
        """The layer is through."""
        if not self._count:
            return
        self.layers += 1
        if self._moved:
            self.moved = self._layer
        else:
            self.still.append((self._layer, self._count))


_SCALES = re.compile(r"(.*?)(?:[._](?:weight_|input_|output_)?(?:scales?|scale_inv|zero_points?|zeros?|qzeros|absmax))")
_CODES = ("I8", "U8", "I32", "U32", "I16", "U16", "F8_E4M3", "F8_E5M2", "F4", "BOOL")


def _rescaled(changes: Sequence[TensorChange]) -> Iterable[Look]:
    """A scale or zero point that changed while the codes it is for did not: all their values are others at once."""
    for change in changes:
        spec = change.spec
        if spec.values and "changed" in change.status and (factor := factor_of(change)) is not None:
            yield Look(change.name, f"its scale changed to {short(factor)} x, its codes did not", "warning", 1)
    scales = [(change, found[1]) for change in changes
              if change.status == ("changed",) and (found := _SCALES.fullmatch(change.name))]  # fmt: skip
    if not scales:
        return
    codes = [change for change in changes if change.spec.dtype in _CODES and not _SCALES.fullmatch(change.name)]
    for change, base in scales:
        of_it = [each for each in codes if each.name.startswith((f"{base}.", f"{base}_")) or each.name == base]
        if of_it and not any(map(is_moved, of_it)):
            yield Look(change.name, f"changed without its codes ({of_it[0].name})", "warning", 1)


def _percent(share: float) -> str:
    from diffai.analyses.finding import share_text

    return share_text(share) if share >= 0.1 else f"{100 * share:.2g}%"


def find(diff: ModelDiff, _context: Context) -> Finding | None:
    """The lines as one finding."""
    from diffai.analyses.finding import Finding

    found = look_first(diff)
    if not found:
        return None
    lines = tuple({"name": look.name, "text": look.text, "severity": look.severity} for look in found)
    text = "; ".join(f"{look.name}: {look.text}" for look in found)
    return Finding(NAME, found[0].severity, "fact", {"lines": lines}, tuple(look.name for look in found), text)
