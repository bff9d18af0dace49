"""What the gate says at a terminal and in a hook: per model what was violated, by which rule, and how to proceed."""

from __future__ import annotations

import posixpath
from shlex import quote

from diffai.comparison.result import ValueChange
from diffai.policy.verdicts import GateReport, Verdict, Violation
from diffai.views.blocks import Block, Gap, Line, View, Word, line, said
from diffai.views.fold import fold, fold_line
from diffai.views.lines import METADATA, beside_line, structure_line, tensor_line, value_line
from diffai.views.screen import Screen
from diffai.views.style import escape, plural
from diffai.views.terminal import present, present_plain

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


def gate_lines(
    report: GateReport, *, color: bool = False, verbose: bool = False, screen: Screen | None = None
) -> list[str]:
    """All lines; none when no model changed and there is nothing to note."""
    view = gate_view(report, verbose=verbose, figures=screen is not None)
    return present(view, screen) if screen is not None else present_plain(view, color=color)


def gate_view(report: GateReport, *, verbose: bool = False, figures: bool = False) -> View:
    """The same as blocks; with ``figures`` each refused model says what kind of change it is, and how large."""
    if report.failure:
        return (said(f"diffai gate: {headline(report)}", "!"),)
    if not report.verdicts:
        return tuple(said(f"diffai gate: {escape(note, longest=500)}") for note in report.notes)
    blocks: list[Block] = [said(f"diffai gate: {headline(report)}", "!" if report.exit_code else "#")]
    blocks += [said(f"({escape(note, longest=500)})", "…", indent=1) for note in report.notes]
    quiet: list[Verdict] = []
    loud: list[Verdict] = []
    for verdict in report.verdicts:
        (quiet if verdict.outcome in ("pass", "approved") and not verdict.note else loud).append(verdict)
    for verdict in loud[:_MOST_MODELS]:
        blocks += [Gap(), *_model(verdict, figures)]
    if len(loud) > _MOST_MODELS:
        blocks += [Gap(), said(f"... and {plural(len(loud) - _MOST_MODELS, 'more model')} (--format json lists all)")]
    for verdict in quiet if verbose else [v for v in quiet if v.outcome == "approved"]:
        why = f" ({escape(verdict.approval, longest=300)})" if verdict.approval else ""
        blocks.append(said(f"{escape(verdict.shown)}: {_WORDS[verdict.outcome]}{why}", indent=1))
    advice = _advice(report)
    return (*blocks, Gap(), *advice) if advice else tuple(blocks)


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


def _model(verdict: Verdict, figures: bool) -> list[Block]:
    words = _WORDS[verdict.outcome]
    loud = verdict.outcome in ("refused", "not judged")
    blocks: list[Block] = [said(f"{escape(verdict.shown)}: {words}", "!" if loud else "#")]
    if figures and verdict.diff is not None and verdict.diff.comparable:
        from diffai.views.overview import described, overview

        blocks.append(said(described(overview(verdict.diff)), indent=1))
    if verdict.not_judged:
        blocks.append(said(f"! NOT JUDGED: {escape(verdict.not_judged, longest=600)}", "!", indent=1))
    for violation in verdict.violations:
        blocks += _violation(violation)
    if verdict.diff is not None:
        blocks += [said(beside_line(one), "~", indent=1) for one in verdict.diff.beside]
    if verdict.approval:
        blocks.append(said(f"({escape(verdict.approval, longest=300)})", indent=1))
    if verdict.note:
        blocks.append(said(f"({escape(verdict.note, longest=300)})", indent=1))
    return blocks


def _violation(violation: Violation) -> list[Block]:
    kind = "!" if violation.level == "forbid" else "~"
    done = " - approved" if violation.approved else ""
    text = f"{kind} {violation.rule}: {escape(violation.message, longest=600)}{done}  [{origin_text(violation)}]"
    blocks: list[Block] = [said(text, "…" if violation.approved else kind, indent=1)]
    if violation.approved:
        return blocks
    lines = [*violation_tensors(violation), *(violation_value(violation, value) for value in violation.values)]
    blocks += [said(text, text[0] if violation.changes else "", indent=3) for text in lines[:_MOST_TENSORS]]
    if len(lines) > _MOST_TENSORS:
        blocks.append(line(f"... and {len(lines) - _MOST_TENSORS:,} more", indent=3))
    return blocks


def violation_tensors(violation: Violation) -> list[str]:
    """The lines of the tensors that a rule refuses; of many one a pattern of names."""
    if len(violation.changes) <= _MOST_TENSORS:
        return [tensor_line(change) for change in violation.changes]
    return [tensor_line(f.changes[0]) if len(f.changes) == 1 else fold_line(f) for f in fold(violation.changes)]


def violation_value(violation: Violation, value: ValueChange) -> str:
    """The line of a class, a part of the graph, or a metadata key that a rule refuses."""
    prefix = PREFIXES.get(violation.rule)
    return value_line(value, METADATA) if prefix is None else structure_line(value, prefix)


def origin_text(violation: Violation) -> str:
    """``forbidden by .diffai.toml:7``, ``warned of by default``."""
    word = "forbidden" if violation.level == "forbid" else "warned of"
    return f"{word} by {'default' if violation.origin == 'default' else escape(violation.origin)}"


def _advice(report: GateReport) -> list[Block]:
    """How to proceed with each refused model: let exactly this change pass, look at it, or pass the gate once."""
    refused = [v for v in report.verdicts if v.outcome == "refused"]
    if not refused or report.asked == "yes":
        return []
    several = len(refused) > 1
    blocks: list[Block] = [line("How to proceed:")]
    for verdict in refused[:_MOST_ADVISED]:
        rules = ", ".join(dict.fromkeys(v.rule for v in verdict.refusing))
        blocks += [line(f"{escape(verdict.shown)}  ({rules})", indent=1)] if several else []
        blocks += [_command(what, command, 2 if several else 1) for what, command in _own(verdict, report)]
    if len(refused) > _MOST_ADVISED:
        rest = plural(len(refused) - _MOST_ADVISED, "more refused model")
        blocks.append(line(f"... and {rest} (--format json lists all)", indent=1))
    policy = report.commands.get("policy", ".diffai.toml")
    none = "" if report.policy else " (there is none yet: these are the defaults)"
    table = [("allowed?", f"edit {escape(policy)}{none}")]
    if any(verdict.pending for verdict in refused):
        table.insert(0, ("stage it", report.commands.get("stage", "")))
    if "skip" in report.commands:
        table.append(("skip once", report.commands["skip"]))
    return [*blocks, *(_command(what, command, 1) for what, command in table)]


def _command(what: str, command: str, indent: int) -> Line:
    return Line((Word(f"{what:<{_WIDE}}"), Word(command)), indent, whole=True)


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
