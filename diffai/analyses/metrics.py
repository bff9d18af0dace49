"""Recorded metrics of both sides: old, new, by how much, and whether that is better.

Which way a metric is better its name says (:mod:`diffai.analyses.metric_directions`); where it does not, that is said.
"""

from __future__ import annotations

from collections.abc import Mapping

from diffai.analyses.metric_directions import better, direction
from diffai.analyses.training_run import NOT_RECORDED, Run, is_best, runs
from diffai.comparison.result import ModelDiff
from diffai.frozen import frozen, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.analyses.context import Context
    from diffai.analyses.finding import Fields, Finding
    from diffai.analyses.metric_directions import Verdict
else:
    Verdict = str

NAME = "metric_comparison"
_SHOWN = 3


@frozen
class MetricChange:
    """One metric that both sides record.

    Attributes:
        name: as it is recorded.
        old, new: its latest numbers.
        verdict: whether new is better, by the direction that its name has.
    """

    name: str
    old: float
    new: float
    verdict: Verdict

    @property
    def relative(self) -> float | None:
        """(new - old) / abs(old); None from zero."""
        return (self.new - self.old) / abs(self.old) if self.old else None

    @property
    def worse_by(self) -> float:
        """By what share of the old value it became worse; 0 where it did not, infinite from zero and for NaN."""
        if self.verdict != "worse":
            return 0.0
        relative = self.relative
        return float("inf") if relative is None or relative != relative else abs(relative)


def metric_changes(old: Run, new: Run) -> tuple[MetricChange, ...]:
    """Metrics of both, validation first and the best ones so far last."""
    return tuple(
        MetricChange(name, before, new.metrics[name], better(name, before, new.metrics[name]))
        for name, before in old.metrics.items()
        if name in new.metrics
    )


def decisive(changes: tuple[MetricChange, ...], chosen: str = "") -> MetricChange | None:
    """The metric that a trend is read from: the chosen one, else the first with a known direction that is this
    version's own; validation comes first, and of one kind of data the loss.
    """
    if chosen:
        return next((change for change in changes if change.name == chosen), None)
    known = [change for change in changes if direction(change.name)]
    own = [change for change in known if not is_best(change.name)]
    return next(iter(own or known), None)


def find(diff: ModelDiff, context: Context) -> Finding | None:
    """The metrics as one finding; without any on both sides, that, where it was asked for."""
    from diffai.analyses.finding import Finding, nothing

    old, new = runs(diff, context)
    changes = metric_changes(old, new)
    if not changes:
        if not context.asked:
            return None
        alone = {"metrics": (), "only_old": tuple(old.metrics), "only_new": tuple(new.metrics)}
        return replace(nothing(NAME, f"{NOT_RECORDED}: {_lacking(old, new)}"), fields=alone)
    rows: tuple[Fields, ...] = tuple(
        {"name": c.name, "old": c.old, "new": c.new, "change": c.new - c.old, "relative": c.relative,
         "direction": direction(c.name) or None, "verdict": c.verdict}
        for c in changes
    )  # fmt: skip
    worse = [c for c in changes if c.verdict == "worse"]
    shown = [*worse, *(c for c in changes if c not in worse)][:_SHOWN]
    text = ", ".join(f"{c.name} {c.old:.4g} -> {c.new:.4g} ({_judged(c)})" for c in shown)
    more = f", and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
    alone = {"only_old": tuple(k for k in old.metrics if k not in new.metrics),
             "only_new": tuple(k for k in new.metrics if k not in old.metrics)}  # fmt: skip
    return Finding(NAME, "notice" if worse else "info", "fact", {"metrics": rows, "worse": len(worse), **alone},
                   tuple(dict.fromkeys((*old.sources, *new.sources))), text + more)  # fmt: skip


def of_finding(found: Finding) -> tuple[tuple[MetricChange, ...], tuple[str, ...]]:
    """The metrics of a finding of this analysis, and the names of those that only the old side records."""
    rows = found.fields.get("metrics")
    gone = found.fields.get("only_old")
    changes = tuple(
        MetricChange(str(row["name"]), float(row["old"]), float(row["new"]), row["verdict"])  # type: ignore[arg-type]
        for row in (rows if isinstance(rows, tuple) else ())
        if isinstance(row, Mapping)
    )
    return changes, tuple(map(str, gone)) if isinstance(gone, tuple) else ()


def _judged(change: MetricChange) -> str:
    return {"unknown": "direction unknown"}.get(change.verdict, change.verdict)


def _lacking(old: Run, new: Run) -> str:
    sides: Mapping[str, Run] = {"old": old, "new": new}
    lacking = [side for side, run in sides.items() if not run.metrics]
    return f"no metric on {'either' if len(lacking) == 2 else f'the {lacking[0]}'} side" if lacking else (
        "no metric on both sides"
    )
