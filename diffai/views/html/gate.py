"""The gate's report as a page: verdicts first, then every comparison as on the page of one."""

from __future__ import annotations

from diffai.policy.verdicts import GateReport, Verdict
from diffai.views.blocks import Tone, said
from diffai.views.gate_text import headline
from diffai.views.html.page import PageOptions, Part, page

_TONES: dict[str, Tone] = {
    "refused": "problem", "not judged": "problem", "warn": "changed", "approved": "added", "pass": "added",
}  # fmt: skip
_WORDS = {"pass": "passes", "warn": "warning"}


def gate_page(report: GateReport) -> str:
    """The whole document; the result and what concerns all models stand before them."""
    parts = tuple(_part(verdict) for verdict in _ordered(report))
    nothing = not report.verdicts and not report.failure
    first = f"No model changed between {report.old} and {report.new}" if nothing else headline(report)
    notes = tuple(map(said, (first, *report.notes)))
    return page(f"Model changes: {report.old} → {report.new}", parts, notes, PageOptions())


def _ordered(report: GateReport) -> list[Verdict]:
    """The refused ones first."""
    order = ("refused", "not judged", "warn", "approved", "pass")
    return sorted(report.verdicts, key=lambda verdict: order.index(verdict.outcome))


def _part(verdict: Verdict) -> Part:
    lines = [f"{found.rule}: {found.message}" for found in verdict.violations if not found.approved]
    lines += [f"not judged: {verdict.not_judged}"] if verdict.not_judged else []
    word = _WORDS.get(verdict.outcome, verdict.outcome)
    return Part(verdict.shown, verdict.diff, word, _TONES[verdict.outcome], tuple(lines))
