"""What the gate says at a terminal and in a hook: per model what was violated, by which rule, and how to proceed."""

from __future__ import annotations

import posixpath
from shlex import quote

from diffai.comparison.result import ValueChange
from diffai.policy.verdicts import GateReport, Verdict, Violation
from diffai.views.lines import structure_line, symbol, tensor_line, value_line
from diffai.views.style import escape, paint, plural

_MOST_TENSORS = 5
#: How the values of a rule are called, where they are not metadata.
PREFIXES = {"structure.classes": "class ", "structure.graph": ""}
_MOST_MODELS = 50
_MOST_ADVISED = 20
_WIDE = 11
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
    quiet: list[Verdict] = []
    loud: list[Verdict] = []
    for verdict in report.verdicts:
        (quiet if verdict.outcome in ("pass", "approved") and not verdict.note else loud).append(verdict)
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
    lines += [f"      {violation_value(violation, value)}" for value in violation.values[:_MOST_TENSORS]]
    hidden = max(len(violation.changes), len(violation.values)) - _MOST_TENSORS
    if hidden > 0:
        lines.append(f"      ... and {hidden:,} more")
    return lines


def violation_value(violation: Violation, value: ValueChange) -> str:
    """The line of a class, a part of the graph, or a metadata key that a rule refuses."""
    prefix = PREFIXES.get(violation.rule)
    return value_line(value, "__metadata__.") if prefix is None else structure_line(value, prefix)


def origin_text(violation: Violation) -> str:
    """``forbidden by .diffai.toml:7``, ``warned of by default``."""
    word = "forbidden" if violation.level == "forbid" else "warned of"
    return f"{word} by {'default' if violation.origin == 'default' else escape(violation.origin)}"


def _advice(report: GateReport) -> list[str]:
    """How to proceed with each refused model: let exactly this change pass, look at it, or pass the gate once."""
    refused = [v for v in report.verdicts if v.outcome == "refused"]
    if not refused or report.asked == "yes":
        return []
    several = len(refused) > 1
    lines = ["How to proceed:"]
    for verdict in refused[:_MOST_ADVISED]:
        rules = ", ".join(dict.fromkeys(v.rule for v in verdict.refusing))
        lines += [f"  {escape(verdict.shown)}  ({rules})"] if several else []
        lines += [f"{'    ' if several else '  '}{what:<{_WIDE}}{command}" for what, command in _own(verdict, report)]
    if len(refused) > _MOST_ADVISED:
        rest = plural(len(refused) - _MOST_ADVISED, "more refused model")
        lines.append(f"  ... and {rest} (--format json lists all)")
    policy = report.commands.get("policy", ".diffai.toml")
    none = "" if report.policy else " (there is none yet: these are the defaults)"
    table = [("allowed?", f"edit {escape(policy)}{none}")]
    if any(verdict.pending for verdict in refused):
        table.insert(0, ("stage it", report.commands.get("stage", "")))
    if "skip" in report.commands:
        table.append(("skip once", report.commands["skip"]))
    return [*lines, *(f"  {what:<{_WIDE}}{command}" for what, command in table)]


def _own(verdict: Verdict, report: GateReport) -> list[tuple[str, str]]:
    """What to type about one refused model."""
    found = []
    if "approve" in report.commands and not verdict.pending and any(v.approvable for v in verdict.refusing):
        rest = "" if all(v.approvable for v in verdict.refusing) else "   # the structure; not the rest"
        found.append(("meant?", approval_command(verdict, report) + rest))
    kind = {"added": "new", "deleted": "old"}.get(verdict.status, "compare")
    if verdict.file and verdict.status != "renamed":  # several files, or one that a pointer speaks of
        return [*found, ("look", report.commands.get("model", "").replace("{path}", _word(verdict, report)))]
    command = report.commands.get(kind) or report.commands.get("compare", "")
    old, new = (quote(escape(path, longest=0)) for path in (verdict.old_path or verdict.path, verdict.path))
    return [*found, ("look", command.replace("{old}", old).replace("{new}", new))]


def approval_command(verdict: Verdict, report: GateReport) -> str:
    """The command that approves the change of a model, to be typed where the user is; "" where there is none."""
    return report.commands.get("approve", "").replace("{path}", _word(verdict, report))


def _word(verdict: Verdict, report: GateReport) -> str:
    """Its path from where the user is, as a word of the command line."""
    path = posixpath.relpath(verdict.path, report.folder or ".")
    return quote(escape(f"./{path}" if path.startswith("-") else path, longest=0))
