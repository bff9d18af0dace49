"""Rules about findings: which are forbidden or warned of, how far a metric may drop, how noisy a cast may be."""

from __future__ import annotations

from collections.abc import Iterable

from diffai.analyses.metric_directions import direction
from diffai.analyses.metrics import NAME, MetricChange, metric_changes, of_finding
from diffai.analyses.quantized_pairs import noises
from diffai.analyses.table import find
from diffai.analyses.training_run import run_of
from diffai.comparison.result import ModelDiff
from diffai.finding import SEVERITIES, Finding
from diffai.frozen import frozen
from diffai.policy.degradation import described, dropped
from diffai.policy.rules import Effective

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

@frozen
class Broken:
    """One rule that is broken: its key, its level, what happened, and names of the tensors that it is about."""

    rule: str
    level: Literal["forbid", "warn"]
    message: str
    tensors: tuple[str, ...] = ()


def broken_findings(diff: ModelDiff, policy: Effective) -> Iterable[Broken]:
    """Findings that the policy forbids or warns of; what is forbidden is not warned of as well."""
    names = policy.analyses(pair=False)
    found = {each.name: each for each in find(diff, names)} if names else {}
    said = set[str]()
    for key, level in _LEVELS:
        for word in policy.values[key]:
            name, _, severity = word.partition(":")
            each = found.get(name)
            if each is None or each.status != "found" or name in said or not _reaches(each, severity):
                continue
            said.add(name)
            every = {change.name for change in diff.tensors}
            tensors = tuple(text for text in each.evidence if text in every)
            yield Broken(key, level, f"{name} ({each.severity}): {each.text}", tensors)


_LEVELS: tuple[tuple[str, Literal["forbid", "warn"]], ...] = (("forbid_findings", "forbid"), ("warn_findings", "warn"))


def _reaches(found: Finding, severity: str) -> bool:
    return SEVERITIES.index(found.severity) >= [*SEVERITIES].index(severity or "warning")  # type: ignore[arg-type]


def broken_figures(diff: ModelDiff, policy: Effective) -> Iterable[Broken]:
    """Metrics that dropped too far, and casts that are too noisy."""
    limit = policy.values["max_metric_drop"]
    if limit is not None:
        for metric in dropped(_metrics(diff)[0], limit):
            yield Broken("max_metric_drop", "forbid", f"{described(metric)}: more than max_metric_drop = {limit:g}")
    least = policy.values["min_sqnr_db"]
    noisy = [] if least is None else [n for n in noises(diff) if n.sqnr is not None and n.sqnr < least]
    if noisy:
        more = f", and {len(noisy) - 1:,} more" if noisy[1:] else ""
        text = f"SQNR of {noisy[0].tensor} is {noisy[0].sqnr:.1f} dB{more}: less than min_sqnr_db = {least:g}"
        yield Broken("min_sqnr_db", "forbid", text, tuple(noise.tensor for noise in noisy))


def open_findings(diff: ModelDiff, policy: Effective, *, pair: bool) -> Iterable[str]:
    """What these rules leave open, and why.

    Args:
        diff: the comparison.
        policy: what holds for the model.
        pair: whether there are two sides.
    """
    for each in diff.findings:
        if each.name in policy.analyses(pair=False) and each.status == "not computed":
            yield f"{each.name}: {each.text}"
    limit = policy.values["max_metric_drop"]
    if limit is not None and pair:
        yield from _open_metrics(diff, f"max_metric_drop = {limit:g}")
    if policy.values["min_sqnr_db"] is not None and pair:
        cast = [change for change in diff.tensors if "cast" in change.status and change.role == "weight"]
        codes = [change.name for change in cast if change.figures is None or change.figures.as_bytes]
        if codes:
            more = f" and {len(codes) - 1:,} more" if codes[1:] else ""
            yield f"min_sqnr_db = {policy.values['min_sqnr_db']:g}: no values of {codes[0]}{more} to judge by"


def _metrics(diff: ModelDiff) -> tuple[tuple[MetricChange, ...], tuple[str, ...]]:
    """Metrics of both sides, and those of the old side that the new one does not record."""
    for each in diff.findings:
        if each.name == NAME:
            return of_finding(each)
    old, new = run_of(diff.old), run_of(diff.new)
    return metric_changes(old, new), tuple(name for name in old.metrics if name not in new.metrics)


def _open_metrics(diff: ModelDiff, rule: str) -> Iterable[str]:
    changes, gone = _metrics(diff)
    if not changes:
        yield f"{rule}: no metric is recorded on both sides"
        return
    lost = [name for name in gone if direction(name)]
    if lost:
        more = f" and {len(lost) - 1:,} more" if lost[1:] else ""
        yield f"{rule}: {lost[0]}{more} is not recorded on the new side"
    if all(change.verdict == "unknown" for change in changes):
        yield f"{rule}: whether {changes[0].name} is better when it is higher is not known"
