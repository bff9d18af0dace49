"""What the gate says at a terminal and in a hook: per model what was violated, by which rule, and how to proceed."""

from __future__ import annotations

from shlex import quote

from diffai.policy.verdicts import GateReport, Verdict, Violation
from diffai.views.lines import symbol, tensor_line, value_line
from diffai.views.style import escape, paint, plural

_MOST_TENSORS = 5
#: How the values of a rule are called, where they are not metadata.
PREFIXES = {"structure.classes": "class ", "structure.graph": ""}
_MOST_MODELS = 50
_WORDS = {
    "pass": "passes", "warn": "passes, with warnings", "approved": "passes, approved",
    "refused": "REFUSED", "not judged": "NOT JUDGED",
}  # fmt: skip


def gate_lines(report: GateReport, *, color: bool = False, verbose: bool = False) -> list[str]:
    """All lines; none when no model changed and there is nothing to note."""
    if report.failure:
        return [paint(f"diffai gate: {headline(report)}", "!", color)]
    if not report.verdicts:
        return [f"diffai gate: {escape(note, longest=500)}" for note in report.notes]
    lines = [paint(f"diffai gate: {headline(report)}", "!" if report.exit_code else "#", color)]
    lines += [paint(f"  ({escape(note, longest=500)})", "…", color) for note in report.notes]
    quiet = [v for v in report.verdicts if v.outcome in ("pass", "approved") and not v.note]
    loud = [v for v in report.verdicts if v not in quiet]
    for verdict in loud[:_MOST_MODELS]:
        lines += ["", *_model(verdict, color)]
    if len(loud) > _MOST_MODELS:
        lines += ["", f"... and {plural(len(loud) - _MOST_MODELS, 'more model')} (--format json lists all)"]
    for verdict in quiet if verbose else [v for v in quiet if v.outcome == "approved"]:
        lines.append(f"  {escape(verdict.shown)}: {_WORDS[verdict.outcome]}"
                     + (f" ({escape(verdict.approval, longest=300)})" if verdict.approval else ""))  # fmt: skip
    advice = _advice(report)
    return [*lines, "", *advice] if advice else lines


def headline(report: GateReport) -> str:
    """One line: the result, and how many models of which sort."""
    if report.failure:
        return f"NOT JUDGED: {escape(report.failure, longest=600)}"
    total = len(report.verdicts)
    refused, unjudged = report.count("refused"), sum(bool(v.not_judged) for v in report.verdicts)
    parts = []
    if refused:
        of_all = f"{refused:,} of " if refused < total else ""
        parts.append(f"{of_all}{plural(total, 'changed model')} refused")
    if unjudged:
        parts.append(f"{plural(unjudged, 'model')} NOT JUDGED")
    if not parts:
        warned, approved = report.count("warn"), report.count("approved")
        parts = [f"{plural(total, 'changed model')} {'keeps' if total == 1 else 'keep'} the policy"]
        parts += [f"{warned:,} with warnings"] if warned else []
        parts += [f"{approved:,} approved"] if approved else []
    text = ", ".join(parts)
    if report.asked == "yes":
        text += "; continued by hand"
    return f"{text} ({escape(report.old)} -> {escape(report.new)})"


def _model(verdict: Verdict, color: bool) -> list[str]:
    words = _WORDS[verdict.outcome]
    loud = verdict.outcome in ("refused", "not judged")
    lines = [paint(f"{escape(verdict.shown)}: {words}", "!" if loud else "#", color)]
    if verdict.not_judged:
        line = f"  ! NOT JUDGED: {escape(verdict.not_judged, longest=600)}"
        lines.append(paint(line, "!", color))
    for violation in verdict.violations:
        lines += _violation(violation, color)
    if verdict.approval:
        lines.append(f"  ({escape(verdict.approval, longest=300)})")
    if verdict.note:
        lines.append(f"  ({escape(verdict.note, longest=300)})")
    return lines


def _violation(violation: Violation, color: bool) -> list[str]:
    mark, kind = ("!", "!") if violation.level == "forbid" else ("~", "~")
    done = " - approved" if violation.approved else ""
    line = f"  {mark} {violation.rule}: {escape(violation.message, longest=600)}{done}  [{origin_text(violation)}]"
    lines = [paint(line, "…" if violation.approved else kind, color)]
    if violation.approved:
        return lines
    lines += [paint(f"      {tensor_line(c)}", symbol(c), color) for c in violation.changes[:_MOST_TENSORS]]
    prefix = PREFIXES.get(violation.rule, "__metadata__.")
    lines += [f"      {value_line(value, prefix)}" for value in violation.values[:_MOST_TENSORS]]
    hidden = max(len(violation.changes), len(violation.values)) - _MOST_TENSORS
    if hidden > 0:
        lines.append(f"      ... and {hidden:,} more")
    return lines


def origin_text(violation: Violation) -> str:
    """``forbidden by .diffai.toml:7``, ``warned of by default``."""
    word = "forbidden" if violation.level == "forbid" else "warned of"
    return f"{word} by {'default' if violation.origin == 'default' else escape(violation.origin)}"


def _advice(report: GateReport) -> list[str]:
    """How to proceed, in the order in which a person would."""
    refused = [v for v in report.verdicts if v.outcome == "refused"]
    if not refused or report.asked == "yes":
        return []
    path = quote(escape(refused[0].path))
    table = [("look at the change", report.compare.replace("{path}", path))]
    if any(verdict.pending for verdict in refused):
        table.append(("stage the approval", report.commands.get("stage", "")))
    elif "approve" in report.commands and any(v.approvable for verdict in refused for v in verdict.refusing):
        blocked = [v for verdict in refused for v in verdict.refusing if not v.approvable]
        first = next(v for v in refused if any(x.approvable for x in v.refusing))
        command = report.commands["approve"].replace("{path}", quote(escape(first.path)))
        table.append(("approve exactly this one" + (" (the structure)" if blocked else ""), command))
    table.append(("change what is allowed", f"edit {report.commands.get('policy', '.diffai.toml')}"
                  + ("" if report.policy else " (there is none yet: these are the defaults)")))  # fmt: skip
    if "skip" in report.commands:
        table.append(("pass the gate once", report.commands["skip"]))
    width = max(len(what) for what, _ in table)
    return ["How to proceed:", *(f"  {what:<{width}}  {command}" for what, command in table)]
