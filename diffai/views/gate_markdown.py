"""The gate's report as Markdown, and as a document of limited size: sections stay whole or are left out, aloud."""

from __future__ import annotations

import html
from collections.abc import Sequence

from diffai.frozen import replace
from diffai.policy.verdicts import GateReport, Verdict, Violation
from diffai.views.gate_text import approval_command, headline, origin_text, violation_tensors, violation_value
from diffai.views.markdown import OVERVIEW_RULE, OVERVIEW_TITLES, code, lines_of, model_lines, overview_cells, plain
from diffai.views.overview import Overview, overview
from diffai.views.style import escape, plural

_SIGNS = {"pass": "✅", "approved": "✅", "warn": "⚠️", "refused": "❌", "not judged": "❓"}
_WORDS = {"pass": "passes", "approved": "approved", "warn": "warning", "refused": "refused", "not judged": "not judged"}
_MOST_TENSORS = 5
_MOST_ROWS = 15
_MOST_MODELS = 100


def gate_markdown(report: GateReport, *, title: str = "diffai gate", comparisons: bool = False) -> list[str]:
    """The whole report; with ``comparisons`` each model's comparison follows its verdict."""
    lines = document_head(report, title)
    for verdict in report.verdicts:
        lines += section(verdict, comparison=comparisons, approve=approval_command(verdict, report))
    return lines


def limited(report: GateReport, most: int, *, title: str, marker: str = "") -> str:
    """The document with comparisons, at most ``most`` bytes of UTF-8 (and so at most as many characters).

    First every verdict, the refused ones first, then comparisons as long as there is room. Sections are whole or
    left out, and how many were left out is said.
    """
    head = ([marker] if marker else []) + document_head(report, title)
    order = _loudest_first(report.verdicts)
    room = most - _length(head) - 200  # for the last line
    kept: list[list[str]] = []
    full = True
    briefs = [section(v, comparison=False, approve=approval_command(v, report)) for v in order]
    lengths = [_length(brief) for brief in briefs]
    for at, verdict in enumerate(order):
        if lengths[at] > room:
            full = False
            continue
        room -= lengths[at]
        kept.append(briefs[at])
        if verdict.diff is None:
            continue
        # Room is kept for the verdicts still to come, each of which matters more than a comparison in full.
        spare = room - sum(lengths[at + 1 : at + 1 + _MOST_MODELS])
        whole = section(verdict, comparison=True, approve=approval_command(verdict, report)) if spare > 0 else []
        if whole and _length(whole) - lengths[at] <= spare:
            room -= _length(whole) - lengths[at]
            kept[-1] = whole
        else:
            full = False
    lines = [line for part in kept for line in part]
    if not full:
        left = len(order) - len(kept)
        what = f"{plural(left, 'model')} and some comparisons" if left else "Some comparisons"
        lines += ["", f"_{what} left out to keep this under {most:,} bytes; all of it: `diffai ci --json FILE`._"]
    return "\n".join([*head, *lines]).rstrip() + "\n"


def document_head(report: GateReport, title: str) -> list[str]:
    """Title, result, notes and a table of all models."""
    sign = "❌" if report.exit_code == 1 else "❓" if report.exit_code else "✅"
    if report.failure:
        return [f"## {title}", "", f"{sign} **{plain(headline(report))}**", "",
                "No model was judged: this is no statement about any of them.", ""]  # fmt: skip
    if not report.verdicts:
        return [f"## {title}", "", f"{sign} No model changed between {code(report.old)} and {code(report.new)}.", "",
                *_notes(report)]  # fmt: skip
    lines = [f"## {title}", "", f"{sign} **{plain(headline(report))}**", "", *_notes(report)]
    lines += [f"| verdict | model |{OVERVIEW_TITLES}", f"|---|---|{OVERVIEW_RULE}"]
    lines += [_row(verdict) for verdict in _loudest_first(report.verdicts)[:_MOST_MODELS]]
    if len(report.verdicts) > _MOST_MODELS:
        lines.append(f"| … {len(report.verdicts) - _MOST_MODELS:,} more | | | | | | |")
    return [*lines, ""]


def _notes(report: GateReport) -> list[str]:
    return [*(f"> {plain(note)}" for note in report.notes), ""] if report.notes else []


def _loudest_first(verdicts: Sequence[Verdict]) -> list[Verdict]:
    order = list(_SIGNS)[::-1]
    return sorted(verdicts, key=lambda verdict: order.index(verdict.outcome))


def _row(verdict: Verdict) -> str:
    """Verdict with the rules, model, structure, change of parameters, update size, kind, what to look at first."""
    rules = sorted({v.rule for v in verdict.violations if not v.approved})
    words = f"{_SIGNS[verdict.outcome]} {_WORDS[verdict.outcome]}"
    words += f": {', '.join(f'`{rule}`' for rule in rules)}" if rules else ""
    if verdict.diff is None:
        found = Overview("", "", "", None, "file renamed" if verdict.status == "renamed" else verdict.status)
    else:
        found = overview(verdict.diff)
        if verdict.status == "renamed":
            found = replace(found, kind=f"file renamed, {found.kind}")
    return f"| {words} | {code(verdict.shown, cell=True)} |{overview_cells(found)}"


def section(verdict: Verdict, *, comparison: bool, approve: str = "") -> list[str]:
    """One model, folded away: what it violates and by which rule, and how to proceed; nothing for one that passes.

    Args:
        verdict: of the model.
        comparison: add the comparison, in few rows.
        approve: the command that approves it; "" = there is none.
    """
    lines: list[str] = []
    if verdict.not_judged:
        lines += [f"- **NOT JUDGED:** {plain(verdict.not_judged)}"]
    for violation in verdict.violations:
        lines += _violation(violation)
    if verdict.approval:
        lines.append(f"- {code(verdict.approval)}")
    if verdict.note:
        lines.append(f"- {plain(verdict.note)}")
    if approve and any(v.approvable for v in verdict.refusing):
        what = "exactly this change" if all(v.approvable for v in verdict.refusing) else "the change of structure"
        lines.append(f"- To approve {what}: {code(approve)}")
    lines += [""] if lines else []
    if comparison and verdict.diff is not None:
        lines += model_lines(verdict.diff, rows=_MOST_ROWS)
    if not lines:
        return []
    name = html.escape(escape(verdict.shown, longest=300))
    summary = f"{_SIGNS[verdict.outcome]} <code>{name}</code>: {_WORDS[verdict.outcome]}"
    return ["<details>", f"<summary>{summary}</summary>", "", *lines, "</details>", ""]


def _violation(violation: Violation) -> list[str]:
    done = "approved" if violation.approved else origin_text(violation)
    lines = [f"- `{violation.rule}`: {plain(violation.message)} ({plain(done)})"]
    if violation.approved:
        return lines
    lines += lines_of([violation_value(violation, value) for value in violation.values], _MOST_TENSORS)
    return lines + lines_of(violation_tensors(violation), _MOST_TENSORS)


def _length(lines: Sequence[str]) -> int:
    return sum(len(line.encode("utf-8", "replace")) + 1 for line in lines)
