"""The gate's report as one JSON-ready object (schema ``diffai.gate/1``), and as a GitLab code-quality report."""

from __future__ import annotations

from hashlib import sha256

from diffai.policy.verdicts import GateReport, Verdict, Violation
from diffai.views import values
from diffai.views.lines import symbol, tensor_line
from diffai.views.overview import described, overview
from diffai.views.report import comparison_of
from diffai.views.state import describe_state
from diffai.views.style import escape
from diffai.views.values import Json

SCHEMA = "diffai.gate/1"
_RESULTS = {0: "pass", 1: "refused", 2: "not judged"}


def gate_record(report: GateReport) -> dict[str, Json]:
    """Everything the gate found; described by ``gate.schema.json``."""
    return {
        "schema": SCHEMA,
        "result": _RESULTS[report.exit_code],
        "exit_code": report.exit_code,
        "old": values.text(report.old),
        "new": values.text(report.new),
        "policy": values.text(report.policy) or None,
        "counts": {
            "models": len(report.verdicts),
            "passed": report.count("pass") + report.count("approved") + report.count("warn"),
            "warned": report.count("warn"),
            "approved": report.count("approved"),
            "refused": report.count("refused"),
            "not_judged": sum(bool(verdict.not_judged) for verdict in report.verdicts),
        },
        "models": [_model(verdict) for verdict in report.verdicts],
        "notes": [values.text(note) for note in report.notes],
        "continued_by_hand": report.asked == "yes",
        "failure": values.text(report.failure) or None,
    }


def _model(verdict: Verdict) -> dict[str, Json]:
    return {
        "path": values.text(verdict.path),
        "old_path": values.text(verdict.old_path) or None,
        "file": values.text(verdict.file or verdict.path),
        "status": verdict.status,
        "outcome": verdict.outcome,
        "violations": [_violation(violation) for violation in verdict.violations],
        "allowed": [_violation(violation) for violation in verdict.allowed],
        "not_judged": values.text(verdict.not_judged) or None,
        "state": describe_state(verdict.missing) if verdict.missing is not None else None,
        "approval": values.text(verdict.approval) or None,
        "note": values.text(verdict.note) or None,
        "structure": {"old": verdict.structure.old, "new": verdict.structure.new} if verdict.structure else None,
        "comparison": comparison_of(verdict.diff) if verdict.diff is not None else None,
    }


def _violation(violation: Violation) -> dict[str, Json]:
    return {
        "rule": violation.rule,
        "level": violation.level,
        "message": values.text(violation.message),
        "origin": values.text(violation.origin),
        "approvable": violation.approvable,
        "approved": violation.approved,
        "tensors": [values.text(change.name) for change in violation.changes],
        "metadata": [values.text(value.key) for value in violation.values if violation.rule.startswith("metadata.")],
        "values": [values.text(value.key) for value in violation.values if violation.rule.startswith("structure.")],
    }


def code_quality(report: GateReport) -> list[dict[str, Json]]:
    """GitLab's code-quality report (a subset of the Code Climate format): one entry a broken rule of a model.

    Source: https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format
    """
    entries = []
    for verdict in report.verdicts:
        found = [(v.rule, v.message, "critical" if v.level == "forbid" else "minor", v)
                 for v in verdict.violations if not v.approved]  # fmt: skip
        for rule, message, severity, violation in found:
            first = "; ".join(tensor_line(c).removeprefix(f"{symbol(c)} ") for c in violation.changes[:3])
            text = f"{rule}: {message}" + (f" ({first})" if first else "")
            entries.append(_entry(verdict, rule, text, severity))
        if verdict.not_judged:
            severity = "critical" if verdict.must_judge else "info"
            entries.append(_entry(verdict, "not-judged", f"NOT JUDGED: {verdict.not_judged}", severity))
    if report.failure:
        place = report.policy or ".diffai.toml"  # the format needs a file
        entries.append(_entry(Verdict(place, "changed"), "not-judged", f"NOT JUDGED: {report.failure}", "critical"))
    return entries


def _entry(verdict: Verdict, rule: str, text: str, severity: str) -> dict[str, Json]:
    path = values.text(verdict.file or verdict.path)
    diff = verdict.diff
    whole = f"{text}; {described(overview(diff))}" if diff is not None and diff.comparable else text
    return {
        "description": escape(whole, longest=1000),
        "check_name": f"diffai-{rule}",
        "fingerprint": sha256(f"{path}\n{rule}\n{text}".encode("utf-8", "replace")).hexdigest(),
        "severity": severity,
        "location": {"path": path, "lines": {"begin": 1}},
    }
