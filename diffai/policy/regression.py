"""Did a change break something: the built-in rules of the gate and the recorded metrics, each with its figures."""

from __future__ import annotations

from diffai.analyses.metrics import MetricChange, metric_changes
from diffai.analyses.training_run import runs
from diffai.comparison.result import ModelDiff
from diffai.finding import Finding
from diffai.frozen import frozen
from diffai.policy.judging import Case, judge
from diffai.policy.rules import DEFAULTS, Policy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from diffai.analyses.context import Context
    from diffai.finding import Fields
    from diffai.finding import Status as Answered

NAME = "regression_test"


@frozen
class Rule:
    """One rule, whether it holds (None = that could not be judged), and its figures."""

    name: str
    passed: bool | None
    detail: str = ""


def regression(diff: ModelDiff, metrics: Sequence[MetricChange], max_drop: float) -> tuple[Rule, ...]:
    """Every rule of the built-in policy that forbids something, and one of each metric with a known direction.

    Args:
        diff: of two models.
        metrics: that both sides record.
        max_drop: share of its old value by which a metric may become worse.
    """
    found = judge(Case(diff, "changed", {}), Policy().for_path("model"))
    broken = {violation.rule: violation.message for violation in found.violations if violation.level == "forbid"}
    open_ = found.unjudged[0] if found.unjudged else ""
    rules = []
    for key, default in DEFAULTS.items():
        if default not in ("forbid", True):
            continue
        if key in broken:
            rules.append(Rule(key, False, broken[key]))
        elif key == "forbid_nan" and open_:
            rules.append(Rule(key, None, open_))
        else:
            rules.append(Rule(key, True))
    for metric in metrics:
        if metric.verdict != "unknown":
            detail = f"{metric.old:.4g} -> {metric.new:.4g}"
            rules.append(Rule(f"metric {metric.name}", metric.worse_by <= max_drop, detail))
    return tuple(rules)


def find(diff: ModelDiff, context: Context) -> Finding | None:
    """The rules as one finding."""
    if diff.old.state is not None or diff.new.state is not None or (not context.asked and not diff.differs):
        return None
    changes = metric_changes(*runs(diff, context))
    rules = regression(diff, changes, context.number("max_drop"))
    failed = [rule for rule in rules if rule.passed is False]
    open_ = [rule for rule in rules if rule.passed is None]
    passed = False if failed else None if open_ else True
    rows: tuple[Fields, ...] = tuple({"rule": r.name, "passed": r.passed, "detail": r.detail} for r in rules)
    word = {True: "passed", False: "failed", None: "not judged"}[passed]
    text = f"{word}, {len(rules) - len(failed) - len(open_):,} of {len(rules):,} rules"
    text += "".join(f"; {rule.name}: {rule.detail}" for rule in (failed or open_)[:4])
    evidence = [f"{rule.name}: {rule.detail}" for rule in (*failed, *open_)]
    evidence += ["the built-in rules; diffai gate judges by those of the repository"]
    evidence += ["no metric is recorded on both sides"] if not changes else []
    fields: Fields = {"passed": passed, "rules": rows}
    answered: Answered = "not computed" if passed is None else "found"
    return Finding(NAME, "warning" if failed else "info", "fact", fields, tuple(evidence), text, status=answered)
