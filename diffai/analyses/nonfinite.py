"""Values that became NaN or infinite, or finite again: judged by counts of each kind in each tensor.

A non-finite value that merely moved to another element of its tensor is no event.
"""

from __future__ import annotations

from collections.abc import Iterable

from diffai.comparison.result import ModelDiff, TensorChange
from diffai.frozen import frozen
from diffai.model import NonFinite, TensorSummary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from diffai.analyses.context import Context
    from diffai.analyses.finding import Fields, Finding, Severity, Value

    EventKind = Literal["appeared", "changed kind", "more", "fewer", "healed"]
else:
    EventKind = str

NAME = "non_finite"
WORDS: dict[EventKind, str] = {
    "appeared": "NaN or Inf appeared",
    "changed kind": "NaN or Inf changed kind",
    "more": "more NaN or Inf",
    "fewer": "fewer NaN or Inf",
    "healed": "NaN or Inf healed",
}
"""What each kind of event is called, the worst first."""

BETTER: tuple[EventKind, ...] = ("fewer", "healed")
"""Kinds after which nothing non-finite is there that was not there before."""

_NONE = NonFinite()


@frozen
class Event:
    """What happened to the non-finite values of one tensor.

    Attributes:
        change: the tensor.
        kind: ``appeared`` (there were none), ``changed kind`` (NaN became infinite, or the reverse, or the sign of an
            infinity), ``more``, ``fewer``, ``healed`` (there are none left).
        old, new: counts of both sides; none for a tensor that was not there.
    """

    change: TensorChange
    kind: EventKind
    old: NonFinite
    new: NonFinite

    @property
    def worse(self) -> bool:
        """Whether something non-finite is there that was not there before."""
        return self.kind not in BETTER

    @property
    def parameter(self) -> bool:
        """Whether it happened to a parameter, not to a buffer or to training state."""
        return self.change.is_parameter


def counts(change: TensorChange) -> tuple[NonFinite, NonFinite] | None:
    """Non-finite elements of both sides; None where values were not looked at.

    A side without the tensor has none. Where the bytes are equal, so are the counts, and both are given as none.
    """
    figures = change.figures
    if figures is not None and not (change.old is None or change.new is None):
        return figures.nonfinite or (_NONE, _NONE)
    old = _NONE if change.old is None else _of_summary(change.old_summary)
    new = _NONE if change.new is None else _of_summary(change.new_summary)
    return None if old is None or new is None else (old, new)


def event(change: TensorChange) -> Event | None:
    """What happened in one tensor; None where nothing did, or where values were not looked at.

    An added attention mask, of zeros and -Inf, is made so, and added training state is no part of the model. Of a
    removed tensor nothing is left that could be told.
    """
    both = counts(change)
    if both is None or both[0] == both[1] or change.new is None:
        return None
    if change.old is None and (change.role == "training" or _is_mask(change.new_summary)):
        return None
    return Event(change, _kind(*both), *both)


def events(diff: ModelDiff) -> tuple[Event, ...]:
    """All events of a comparison, in the order of its tensors."""
    return tuple(
        found
        for change in diff.tensors
        # Of most pairs the pass over the values says at once that both sides are finite.
        if (change.figures is None or change.figures.nonfinite is not None)
        and change.differs
        and (found := event(change)) is not None
    )


def worse(diff: ModelDiff) -> tuple[Event, ...]:
    """Those events after which something non-finite is there that was not there before."""
    return tuple(found for found in events(diff) if found.worse)


def groups(found: Iterable[Event]) -> list[tuple[EventKind, list[Event]]]:
    """Events by kind, the worst kind first."""
    listed = list(found)
    by_kind = [(kind, [each for each in listed if each.kind == kind]) for kind in WORDS]
    return [(kind, some) for kind, some in by_kind if some]


def find(diff: ModelDiff, _context: Context) -> Finding | None:
    """The events of a comparison as one finding."""
    from diffai.analyses.finding import Finding

    found = events(diff)
    if not found:
        return None
    bad = [each for each in found if each.worse]
    severity: Severity = "critical" if any(each.parameter for each in bad) else "warning" if bad else "notice"
    fields: Fields = {
        "tensors_worse": len(bad),
        "tensors_better": len(found) - len(bad),
        "events": tuple(map(_fields, found)),
    }
    names = tuple(each.change.name for each in found)
    text = "; ".join(
        f"{WORDS[kind]} in {len(some):,} tensor{'' if len(some) == 1 else 's'}" for kind, some in groups(found)
    )
    return Finding(NAME, severity, "fact", fields, names, text)


def _fields(found: Event) -> Fields:
    fields: dict[str, Value] = {"tensor": found.change.name, "event": found.kind, "parameter": found.parameter}
    for side, count in (("old", found.old), ("new", found.new)):
        fields[side] = {"nan": count.nan, "pos_inf": count.pos_inf, "neg_inf": count.neg_inf}
    return fields


def _kind(old: NonFinite, new: NonFinite) -> EventKind:
    """The one word for two different counts."""
    before, after = ((side.nan, side.pos_inf, side.neg_inf) for side in (old, new))
    if not any(before):
        return "appeared"
    if not any(after):
        return "healed"
    pairs = list(zip(before, after, strict=True))
    if any(a == 0 < b for a, b in pairs) and any(b < a for a, b in pairs):
        return "changed kind"
    return "more" if any(a < b for a, b in pairs) else "fewer"


def _of_summary(summary: TensorSummary | None) -> NonFinite | None:
    statistics = summary.statistics if summary is not None else None
    if statistics is None:
        return None
    return NonFinite(statistics.nan_count, statistics.pos_inf_count, statistics.neg_inf_count)


def _is_mask(summary: TensorSummary | None) -> bool:
    """Whether it holds nothing but -Inf and zeros, as an attention mask does."""
    s = summary.statistics if summary is not None else None
    return s is not None and s.neg_inf_count > 0 and s.neg_inf_count + s.zero_count == s.element_count
