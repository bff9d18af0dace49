"""The alarm: a recorded metric became worse than allowed, values became NaN or infinite, or readiness was lost."""

from __future__ import annotations

from diffai.analyses import nonfinite
from diffai.analyses.finding import Finding, counted, not_computed
from diffai.analyses.metrics import MetricChange, metric_changes
from diffai.analyses.training_run import NOT_RECORDED, runs
from diffai.comparison.result import ModelDiff
from diffai.policy.readiness import readiness

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from diffai.analyses.context import Context
    from diffai.finding import Fields

NAME = "alert_on_degradation"


def dropped(metrics: Sequence[MetricChange], max_drop: float) -> tuple[MetricChange, ...]:
    """The metrics that became worse by more than a share of their old value, the worst first."""
    worse = [metric for metric in metrics if metric.worse_by > max_drop]
    return tuple(sorted(worse, key=lambda metric: -metric.worse_by))


def described(metric: MetricChange) -> str:
    """``val_acc 0.91 -> 0.85 (6.6% worse)``."""
    share = f"{metric.worse_by:.1%} worse" if metric.worse_by != float("inf") else "worse"
    return f"{metric.name} {metric.old:.4g} -> {metric.new:.4g} ({share})"


def find(diff: ModelDiff, context: Context) -> Finding | None:
    """The alarm as a finding; none where it does not ring, unless it was asked for."""
    if diff.old.state is not None or diff.new.state is not None:
        return None
    changes = metric_changes(*runs(diff, context))
    reasons = [described(metric) for metric in dropped(changes, context.number("max_drop"))]
    reasons += [f"NaN or Inf in {event.change.name}" for event in nonfinite.worse(diff) if event.parameter]
    list_ = readiness(diff)
    blocking = [c for c in list_.checks if c.blocks and c.name != "finite"] if list_ is not None else []
    old_problems = set(diff.old.problems)
    lost = [c for c in blocking if c.name == "interface" or not old_problems.issuperset(diff.new.problems)]
    reasons += [f"no longer ready: {check.name} ({check.detail})" for check in lost]
    if not reasons and not context.asked:
        return None
    unread = sum(change.status == ("uncompared",) for change in diff.tensors)
    if unread and not reasons:
        return not_computed(NAME, f"the values of {counted(unread, 'tensor')} were not compared")
    lacking: tuple[str, ...] = () if changes else ("no metric is recorded on both sides",)
    lacking += (f"the values of {counted(unread, 'tensor')} were not compared",) if unread else ()
    fields: Fields = {"fires": bool(reasons), "reasons": tuple(reasons), "metrics": len(changes)}
    quiet = "quiet" + (f" (metrics {NOT_RECORDED})" if not changes else "")
    text = "; ".join(reasons[:4]) if reasons else quiet
    return Finding(NAME, "critical" if reasons else "info", "fact", fields, (*reasons, *lacking), text)
