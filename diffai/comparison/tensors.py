"""From pairs and their figures to tensor changes with statuses, and to totals."""

from __future__ import annotations

import math
from collections.abc import Iterable

from diffai.comparison.result import RenameEvidence, TensorChange, TensorStatus, Totals
from diffai.model import PairFigures, TensorSpec, TensorSummary, element_count

SIGNIFICANT_RELATIVE_L2 = 1e-3
"""A tensor whose relative L2 is above this counts as a significant change (report field of that name)."""

_Status = tuple[TensorStatus, ...]

# The few statuses there are, so that 100,000 tensors share them.
_CHANGED: _Status = ("changed",)
_UNCOMPARED: _Status = ("uncompared",)
_IDENTICAL: _Status = ("identical",)
_EQUAL: _Status = ("equal",)
_STATUSES: dict[_Status, _Status] = {}


def classify(
    old: TensorSpec,
    new: TensorSpec,
    figures: PairFigures | None,
    *,
    evidence: RenameEvidence = "",
    reason: str = "",
    old_summary: TensorSummary | None = None,
    new_summary: TensorSummary | None = None,
) -> TensorChange:
    """The change record of a pair; ``figures`` is None where the values were not compared."""
    changed = figures is not None and values_changed(figures)
    if old is new or (old.name == new.name and old.shape == new.shape and old.dtype == new.dtype):
        status = _CHANGED if changed else _unchanged(figures)
    else:
        status = _status(old, new, changed) or _unchanged(figures)
    return TensorChange(new.name, status, old, new, figures, old_summary, new_summary, evidence, reason)


def _status(old: TensorSpec, new: TensorSpec, changed: bool) -> _Status:
    """Everything that happened; empty when nothing did."""
    happened: tuple[tuple[TensorStatus, bool], ...] = (
        ("renamed", old.name != new.name), ("reshaped", old.shape != new.shape), ("cast", old.dtype != new.dtype),
        ("changed", changed),
    )  # fmt: skip
    status = tuple(word for word, true in happened if true)
    return _STATUSES.setdefault(status, status)


def _unchanged(figures: PairFigures | None) -> _Status:
    if figures is None:
        return _UNCOMPARED
    return _IDENTICAL if figures.identical else _EQUAL


def values_changed(figures: PairFigures) -> bool:
    """Whether values differ beyond the tolerance, and beyond what rounding to a new dtype explains."""
    if figures.identical or figures.delta is None:
        return False
    if figures.cast is not None and figures.cast.rounded:
        return False
    return figures.delta.changed_count > 0


def count(changes: Iterable[TensorChange]) -> Totals:
    """Totals over all tensors of a model diff."""
    seen: dict[tuple[TensorStatus, ...], int] = {}
    significant = modified = comparable = tolerated = nonfinite = 0
    update = base = 0.0  # L2 so far; hypot neither overflows nor keeps a list of 100,000 norms
    for change in changes:
        status = change.status
        seen[status] = seen.get(status, 0) + 1
        figures = change.figures
        if figures is None:
            continue
        spec = change.spec
        parameter = spec.is_parameter
        if parameter:
            comparable += element_count(spec.shape)
        delta = figures.delta
        if delta is None:
            continue
        tolerated += delta.tolerated_count
        if "changed" not in status:
            continue
        nonfinite += delta.nonfinite_count
        relative = delta.relative_l2
        significant += (change.relative_l2 if relative is None else relative) > SIGNIFICANT_RELATIVE_L2
        if parameter and not figures.as_bytes:
            modified += delta.changed_count
        if parameter and delta.l2 > 0:
            update = math.hypot(update, delta.l2)
            if relative:  # None: old is all zero
                base = math.hypot(base, delta.l2 / relative)
    counts: dict[str, int] = dict.fromkeys(
        ("added", "removed", "renamed", "reshaped", "cast", "changed", "uncompared", "equal", "identical"), 0
    )
    for status, number in seen.items():
        for word in status:
            counts[word] += number
    equal, identical = counts.pop("equal"), counts.pop("identical")
    return Totals(
        **counts,
        unchanged=equal + identical,
        equal_by_value=equal,
        significant=significant,
        modified=modified,
        comparable=comparable,
        tolerated=tolerated,
        new_nonfinite=nonfinite,
        relative_l2=update / base if base else None,
    )
