"""``--metric-comparison`` of two result files: old, new, how far each number moved, and whether that is better."""

from __future__ import annotations

import math

from diffai.analyses.metric_directions import Verdict, better, direction
from diffai.comparison.documents.result import DocumentDiff
from diffai.finding import Finding
from diffai.frozen import frozen

_MOST = 200


@frozen
class Metric:
    """One number of both files.

    ``change`` is new - old, ``relative`` the same over abs(old); None where one side has none, or it is not finite.
    """

    name: str
    old: float | None
    new: float | None
    change: float | None
    relative: float | None
    verdict: Verdict


def metrics_of(diff: DocumentDiff) -> tuple[Metric, ...]:
    """The metrics: numbers whose name says which way they are better, and others that changed (direction unknown)."""
    found = []
    for pair in diff.numbers:
        known = direction(pair.name)
        if not known and pair.old == pair.new:
            continue
        old, new = pair.old, pair.new
        if old is None or new is None:
            if known:
                found.append(Metric(pair.name, old, new, None, None, "unknown"))
            continue
        change = new - old
        relative = change / abs(old) if old and math.isfinite(change) else None
        verdict = better(pair.name, old, new)
        found.append(Metric(pair.name, old, new, change if math.isfinite(change) else None, relative, verdict))
    return tuple(found)


def metric_comparison(diff: DocumentDiff) -> Finding:
    """The finding: a warning where a metric became worse."""
    metrics = metrics_of(diff)
    counts = {word: sum(metric.verdict == word for metric in metrics) for word in ("better", "worse", "equal")}
    unknown = [metric for metric in metrics if metric.verdict == "unknown"]
    one_sided = sum(metric.old is None or metric.new is None for metric in unknown)
    parts = [f"{count:,} {word}" for word, count in counts.items() if count]
    if len(unknown) > one_sided:
        parts.append(f"{len(unknown) - one_sided:,} of unknown direction")
    if one_sided:
        parts.append(f"{one_sided:,} on one side only")
    return Finding(
        "metric_comparison",
        "warning" if counts["worse"] else "info",
        "fact",
        {
            **counts,
            "unknown": len(unknown),
            "metrics": tuple(
                {
                    "name": metric.name, "old": metric.old, "new": metric.new, "change": metric.change,
                    "relative": metric.relative, "direction": direction(metric.name) or None,
                    "verdict": metric.verdict,
                }
                for metric in metrics[:_MOST]
            ),
        },
        tuple(metric_text(metric) for metric in metrics[:_MOST]),
        ", ".join(parts) or "neither file records a metric",
        (f"{len(metrics) - _MOST:,} more metrics are not listed",) if len(metrics) > _MOST else (),
        asked=True,
    )  # fmt: skip


def metric_text(metric: Metric) -> str:
    """``accuracy: 0.91 -> 0.93 (+0.02, +2.2%) better``."""
    if metric.old is None or metric.new is None:
        side, value = ("new", metric.new) if metric.old is None else ("old", metric.old)
        return f"{metric.name}: {value:.6g} only in the {side} one"
    relative = f", {metric.relative:+.1%}" if metric.relative is not None else ""
    change = f" ({metric.change:+.6g}{relative})" if metric.change else ""
    words = {"unknown": "direction unknown", "equal": "equal"}
    verdict = words.get(metric.verdict, metric.verdict)
    return f"{metric.name}: {metric.old:.6g} -> {metric.new:.6g}{change} {verdict}"
