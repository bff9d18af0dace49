"""From pairs and their figures to tensor changes with statuses, and to totals."""

from __future__ import annotations

import math
from collections.abc import Iterable

from diffai.comparison.result import RenameEvidence, TensorChange, TensorStatus, Totals
from diffai.model import PairFigures, TensorSpec, TensorSummary

SIGNIFICANT_RELATIVE_L2 = 1e-3
"""A tensor whose relative L2 is above this counts as a significant change (report field of that name)."""

_STATUSES: dict[tuple[TensorStatus, ...], tuple[TensorStatus, ...]] = {}
"""The few status tuples there are, so that 100,000 tensors share them."""


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
    status: list[TensorStatus] = []
    if old.name != new.name:
        status.append("renamed")
    if old.shape != new.shape:
        status.append("reshaped")
    if old.dtype != new.dtype:
        status.append("cast")
    if figures is not None and values_changed(figures):
        status.append("changed")
    if not status:
        if figures is None:
            status.append("uncompared")
        else:
            status.append("identical" if figures.identical else "equal")
    kept = tuple(status)
    kept = _STATUSES.setdefault(kept, kept)
    return TensorChange(new.name, kept, old, new, figures, old_summary, new_summary, evidence, reason)


def values_changed(figures: PairFigures) -> bool:
    """Whether values differ beyond the tolerance, and beyond what rounding to a new dtype explains."""
    if figures.identical or figures.delta is None:
        return False
    if figures.cast is not None and figures.cast.rounded:
        return False
    return figures.delta.changed_count > 0


def count(changes: Iterable[TensorChange]) -> Totals:
    """Totals over all tensors of a model diff."""
    counts: dict[str, int] = dict.fromkeys(
        ("added", "removed", "renamed", "reshaped", "cast", "changed", "uncompared", "equal", "identical"), 0
    )
    significant = modified = comparable = tolerated = nonfinite = 0
    update = base = 0.0  # L2 so far; hypot neither overflows nor keeps a list of 100,000 norms
    for change in changes:
        for status in change.status:
            counts[status] += 1
        figures = change.figures
        if figures is None:
            continue
        spec = change.spec
        parameter = spec.is_parameter
        if parameter:
            comparable += spec.elements
        delta = figures.delta
        if delta is None:
            continue
        tolerated += delta.tolerated_count
        if "changed" not in change.status:
            continue
        nonfinite += delta.nonfinite_count
        significant += change.relative_l2 > SIGNIFICANT_RELATIVE_L2
        if parameter and not figures.as_bytes:
            modified += delta.changed_count
        if parameter and delta.l2 > 0:
            update = math.hypot(update, delta.l2)
            if delta.relative_l2:  # None: old is all zero
                base = math.hypot(base, delta.l2 / delta.relative_l2)
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
