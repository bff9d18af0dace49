"""How much can go wrong with a change: high, medium or low, and the evidence that decided."""

from __future__ import annotations

from diffai.analyses import nonfinite
from diffai.analyses.anomalies import anomalies
from diffai.analyses.change_kind import change_kind
from diffai.analyses.finding import counted
from diffai.analyses.look_first import look_first
from diffai.analyses.metrics import MetricChange, metric_changes
from diffai.analyses.structure import structure
from diffai.analyses.training_run import runs
from diffai.comparison.result import ModelDiff
from diffai.finding import Finding
from diffai.formats.safety import unsafe
from diffai.frozen import frozen
from diffai.policy.degradation import described, dropped
from diffai.policy.readiness import interface_changes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal

    from diffai.analyses.context import Context
    from diffai.finding import Severity
    from diffai.finding import Status as Answered

    Level = Literal["high", "medium", "low"]
else:
    Level = Severity = Answered = str

NAME = "risk_assessment"
_SHOWN = 3
_SEVERITY: dict[Level, Severity] = {"high": "critical", "medium": "warning", "low": "info"}


@frozen
class Risk:
    """The level, what decided it, and what could not be judged."""

    level: Level
    evidence: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = ()


def risk(diff: ModelDiff, metrics: Sequence[MetricChange] = (), max_drop: float = 0.0) -> Risk:
    """The risk of a change between two models.

    High: values that became NaN or infinite, content that runs code, another interface. Medium: anything that another
    analysis warns of, other weights, another structure, a metric that dropped. Low: else.

    Args:
        diff: of two models.
        metrics: that both sides record.
        max_drop: share of its old value by which a metric may become worse.
    """
    high = [f"NaN or Inf in {e.change.name}" for e in nonfinite.worse(diff) if e.parameter]
    high += [f"unsafe content: {problem.message}" for problem in unsafe(diff.new.problems)]
    high += [f"interface: {what}" for what in interface_changes(diff)]
    serious = [each for each in anomalies(diff) if each.severity in ("warning", "critical")]
    looks = {look.name: look.text for look in look_first(diff) if look.severity in ("warning", "critical")}
    told = [each for each in serious if each.kind != "explosion" or each.tensor not in looks]  # what grew is in both
    medium = [f"{each.tensor}: {each.text}" for each in told if each.kind != "non-finite"]
    medium += [f"{name}: {text}" for name, text in looks.items()]
    kind, shape = change_kind(diff), structure(diff)
    medium += ["other weights: no step from the old ones"] if kind and "other weights" in kind.kinds else []
    medium += [f"structure: {shape.text}"] if shape.any else []
    medium += [described(metric) for metric in dropped(metrics, max_drop) if metric.name not in looks]
    medium += [problem.message for problem in diff.new.problems if problem.severity == "error"]
    unread = sum(change.status == ("uncompared",) for change in diff.tensors)
    unjudged = (f"the values of {counted(unread, 'tensor')} were not compared",) if unread else ()
    level: Level = "high" if high else "medium" if medium else "low"
    return Risk(level, tuple(dict.fromkeys(high or medium)), unjudged)


def find(diff: ModelDiff, context: Context) -> Finding | None:
    """The risk as one finding; none where nothing differs, unless it was asked for."""
    if diff.old.state is not None or diff.new.state is not None or (not context.asked and not diff.differs):
        return None
    found = risk(diff, metric_changes(*runs(diff, context)), context.number("max_drop"))
    more = f"; and {len(found.evidence) - _SHOWN:,} more" if len(found.evidence) > _SHOWN else ""
    unjudged = "".join(f"; not judged: {what}" for what in found.unjudged)
    text = f"level={found.level}" + (f" ({'; '.join(found.evidence[:_SHOWN])}{more})" if found.evidence else "")
    fields = {"level": found.level, "evidence": found.evidence, "not_judged": found.unjudged}
    evidence = (*found.evidence, *found.unjudged)
    answered: Answered = "not computed" if found.unjudged and found.level != "high" else "found"
    return Finding(NAME, _SEVERITY[found.level], "fact", fields, evidence, text + unjudged, status=answered)
