"""What a reviewer should look at first: what the automatic findings say, by severity, in plain sentences."""

from __future__ import annotations

from diffai.analyses import metrics, nonfinite
from diffai.analyses.change_kind import change_kind
from diffai.analyses.finding import Finding
from diffai.analyses.look_first import look_first
from diffai.analyses.update import update_size
from diffai.comparison.result import ModelDiff
from diffai.finding import SEVERITIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.analyses.context import Context
    from diffai.finding import Severity

NAME = "review_friendly"
_INDEPENDENT = ("non_finite", "structure", "quantized_pair", "metric_comparison", "hyperparameter_impact")
"""Findings that say something of their own; the rest judge what these and the points of ``look_first`` say."""


def find(diff: ModelDiff, _context: Context) -> Finding | None:
    """The kind of change, then what to look at, the most severe first."""
    from diffai.analyses.table import find as automatic

    if not diff.comparable:
        return None
    looks = look_first(diff)
    points: list[tuple[Severity, str]] = [(look.severity, f"{look.name}: {look.text}") for look in looks]
    names = {look.name for look in looks}
    points += [
        (found.severity, f"{found.name.replace('_', ' ')}: {found.text}")
        for found in automatic(diff, _INDEPENDENT)
        if found.severity != "info" and found.status == "found"
        and not _is_named(found, sum(look.severity == "critical" for look in looks), names)
    ]
    points.sort(key=lambda point: -SEVERITIES.index(point[0]))
    kind = change_kind(diff)
    sentences = [text for _, text in points]
    what = kind.phrase if kind is not None else _unsaid(diff)
    size = update_size(diff)
    if size.update and size.relative_l2 is not None:
        what += f", update size {size.relative_l2:.3g}"
    fields = {
        "kind": kind.phrase if kind is not None else None,
        "points": tuple({"severity": severity, "text": text} for severity, text in points),
    }
    evidence = () if kind is not None else ("kind of change: not recorded, nothing was compared",)
    most = points[0][0] if points else "info"
    look = f"; look at {len(points):,}: {'; '.join(sentences[:3])}" if points else "; nothing stands out"
    return Finding(NAME, most, "fact", fields, evidence, what + look)


def _is_named(found: Finding, critical: int, names: set[str]) -> bool:
    """Whether ``look_first`` names already all that a finding says: each tensor, or each metric that became worse."""
    if found.name == nonfinite.NAME:
        return found.fields["tensors_worse"] == critical
    if found.name != metrics.NAME:
        return False
    changes, gone = metrics.of_finding(found)
    return not gone and names.issuperset(change.name for change in changes if change.verdict == "worse")


def _unsaid(diff: ModelDiff) -> str:
    """What stands for a kind of change where there is none."""
    if diff.differs:
        return "changed"
    return "values were not compared" if diff.totals.uncompared else "no change"
