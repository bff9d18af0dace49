"""GitHub workflow commands: at most ten annotations, one a model, errors first."""

from __future__ import annotations

from diffai.policy.verdicts import GateReport, Verdict
from diffai.views.gate_text import headline
from diffai.views.overview import described, overview
from diffai.views.style import escape

MOST = 10


def annotation_lines(report: GateReport) -> list[str]:
    """``::error file=...,title=...::message`` for refused models, ``::warning`` for those not judged or warned of.

    GitHub shows ten of each kind a step; of more models than ten the last line tells how many there are.
    """
    if report.failure:
        return [f"::error title=diffai::{_data(headline(report))}"]
    found = [verdict for verdict in report.verdicts if verdict.outcome not in ("pass", "approved")]
    found.sort(key=lambda verdict: not _is_error(verdict))
    keep = MOST if len(found) <= MOST else MOST - 1
    lines = [_annotation(verdict) for verdict in found[:keep]]
    if len(found) > keep:
        left = found[keep:]
        kind = "error" if any(_is_error(verdict) for verdict in left) else "warning"
        text = f"{headline(report)}; {len(left):,} more models are in the summary"
        lines.append(f"::{kind} title=diffai::{_data(text)}")
    return lines


def _is_error(verdict: Verdict) -> bool:
    return verdict.outcome == "refused" or bool(verdict.not_judged and verdict.must_judge)


def _annotation(verdict: Verdict) -> str:
    parts = [f"{v.rule}: {v.message}" for v in (*verdict.refusing, *verdict.warnings)]
    if verdict.not_judged:
        parts.insert(0, f"NOT JUDGED: {verdict.not_judged}")
    if verdict.diff is not None and verdict.diff.comparable:
        parts.append(described(overview(verdict.diff)))
    kind = "error" if _is_error(verdict) else "warning"
    text = escape("; ".join(parts), longest=1000)
    file = _property(verdict.file or verdict.path)
    return f"::{kind} file={file},title={_property('diffai: ' + verdict.outcome)}::{_data(text)}"


def _data(text: str) -> str:
    """A message, escaped as GitHub's toolkit does."""
    clean = "".join(c if c.isprintable() or c in "\r\n" else escape(c) for c in text)
    clean = clean.replace("##[", "#\\x23[")  # the older commands, which are taken anywhere in a line
    return clean.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """A property value, escaped as GitHub's toolkit does."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")
