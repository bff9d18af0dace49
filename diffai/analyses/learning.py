"""How far training got: the size of the step, and whether the recorded metric says that it was a good one."""

from __future__ import annotations

import math

from diffai.analyses import nonfinite
from diffai.analyses.metrics import MetricChange, decisive, metric_changes
from diffai.analyses.training_run import Run, runs
from diffai.analyses.update import is_moved, matched, size_unknown, unmatched, update_size
from diffai.comparison.result import ModelDiff
from diffai.frozen import frozen
from diffai.model import element_count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from diffai.analyses.context import Context
    from diffai.analyses.finding import Finding
    Trend = Literal["improving", "degrading", "stable", "not recorded"]
else:
    Trend = str

NAME = "learning_progress"
STABLE_METRIC = 0.01
"""Relative change of a metric up to which it is stable."""
STABLE_UPDATE = 1e-6
MOVED = 1e-3
"""An element moved when its change is above this share of the root mean square of its tensor before."""


@frozen
class Progress:
    """What a step did.

    Attributes:
        trend: by the recorded metric of both sides; without one ``stable`` where hardly anything moved, no parameter
            came, went or has another shape, and no NaN or infinity appeared.
        magnitude: the update size, at most 1.
        metric: which the trend was read from; None for none.
    """

    trend: Trend
    magnitude: float
    metric: MetricChange | None = None


def progress(
    diff: ModelDiff, old: Run, new: Run, *, chosen: str = "", stable: float = STABLE_METRIC
) -> Progress | None:
    """What a step did; None where the size of the update is not known.

    Args:
        diff: the comparison.
        old, new: what is recorded of both sides.
        chosen: the metric that decides; "" = the first recorded one, validation before training.
        stable: relative change of it up to which it is stable.
    """
    size = update_size(diff)
    if size.relative_l2 is None or not size.comparable:
        return None
    magnitude = min(1.0, size.relative_l2)
    metric = decisive(metric_changes(old, new), chosen)
    if metric is None:
        still = magnitude < STABLE_UPDATE and not any(event.parameter for event in nonfinite.worse(diff))
        still = still and not unmatched(diff)
        return Progress("stable" if still else "not recorded", magnitude)
    return Progress(_trend(metric, stable), magnitude, metric)


def _trend(metric: MetricChange, stable: float) -> Trend:
    if metric.verdict in ("equal", "unknown"):
        return "stable" if metric.verdict == "equal" else "not recorded"
    relative = metric.relative
    if relative is not None and abs(relative) <= stable:
        return "stable"
    return "improving" if metric.verdict == "better" else "degrading"


def speed(diff: ModelDiff, context: Context) -> float | None:
    """Share of the elements that moved by more than :data:`MOVED` of their tensor's root mean square before.

    None where values cannot be read here. Reads the tensors that moved again.
    """
    if context.unread:
        return None
    moved = whole = 0
    for change in diff.tensors:
        if not matched(change) or change.figures is None:
            continue
        count = element_count(change.spec.shape)
        whole += count
        if not is_moved(change) or change.figures.delta is None or not count:
            continue
        least = MOVED * change.figures.delta.old_l2 / math.sqrt(count)
        for old, new in context.blocks(change):
            moved += int((abs(new - old) > least).sum())
    return moved / whole if whole else None


def find(diff: ModelDiff, context: Context) -> Finding | None:
    """The step as one finding; none where nothing moved and no metric is recorded."""
    from diffai.analyses.finding import Finding, not_computed


    asked = context.asked
    old, new = runs(diff, context)
    chosen = context.word("metric")
    found = progress(diff, old, new, chosen=chosen, stable=context.number("stable"))
    if found is None or (not asked and found.metric is None and not found.magnitude):
        return not_computed(NAME, size_unknown(diff)) if asked and found is None else None
    quick = speed(diff, context) if asked else None
    metric = found.metric
    fields = {
        "trend": None if found.trend == "not recorded" else found.trend, "magnitude": found.magnitude, "speed": quick,
        "metric": metric.name if metric else None, "metric_old": metric.old if metric else None,
        "metric_new": metric.new if metric else None, "metric_relative_change": metric.relative if metric else None,
    }  # fmt: skip
    text = f"trend={found.trend}, magnitude={found.magnitude:.4g}"
    text += " of those in one shape" if unmatched(diff) else ""
    text += f", speed={quick:.2f}" if quick is not None else ""
    if metric is not None:
        text += f" ({metric.name} {metric.old:.4g} -> {metric.new:.4g})"
    evidence = [] if metric is not None else [f"no metric {chosen}".rstrip() + " is recorded on both sides"]
    if quick is None:
        evidence.append(f"speed reads values again: {context.unread or 'asked for by --learning-progress'}")
    if metric is not None and metric.relative is None:
        evidence.append(f"{metric.name} was 0: there is no relative change")
    return Finding(NAME, "notice" if found.trend == "degrading" else "info", "fact", fields, tuple(evidence), text)
