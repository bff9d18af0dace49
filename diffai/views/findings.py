"""Findings of analyses that were asked for, as blocks and as lines: the same words on every output."""

from __future__ import annotations

from diffai.analyses.finding import brief
from diffai.comparison.result import ModelDiff
from diffai.views.blocks import Block, Gap, Labelled, Line, View, Word, line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from diffai.finding import Finding, Value
    from diffai.views.blocks import Tone

_MOST_ROWS = 12
_DEEPEST = 2


def findings_view(diff: ModelDiff, *, verbose: bool = False) -> View:
    """The findings that were asked for, one row each; with ``verbose`` what each rests on."""
    findings = asked(diff)
    if not findings:
        return ()
    blocks: list[Block] = [Gap()]
    if not verbose:
        rows = tuple((Word(f"{found.name}: {said(found)}", _tone(found)),) for found in findings)
        blocks.append(Labelled("FINDINGS", rows, _worst(findings), wraps=True))
    else:
        for found in findings:
            blocks.append(line(Word(found.name, _tone(found)), Word(f"  {said(found)}"), indent=1, wraps=True))
            blocks += [line(Word(text), indent=3, wraps=True) for text in details(found)]
    blocks += [Line((Word(f"! {found.name}: {note}", "problem"),), 1, wraps=True)
               for found in findings for note in found.notes]  # fmt: skip
    return tuple(blocks)


def asked(diff: ModelDiff) -> tuple[Finding, ...]:
    """The findings whose flag was given."""
    return tuple(found for found in diff.findings if found.asked)


def finding_lines(diff: ModelDiff, *, verbose: bool = False) -> list[tuple[str, str]]:
    """Sign and text of the plain lines: ``+ learning_progress: trend=improving, magnitude=0.0543``."""
    lines = []
    for found in asked(diff):
        sign = "!" if found.serious else "+"
        lines.append((sign, f"{sign} {found.name}: {said(found)}"))
        lines += [("!", f"  ! {note}") for note in found.notes]
        lines += [("", f"    {text}") for text in details(found)] if verbose else []
    return lines


def said(found: Finding) -> str:
    """The finding's line, with the word that tells an estimate from a fact."""
    return f"{found.text} (estimate)" if found.basis == "estimate" and found.status == "found" else found.text


def details(found: Finding) -> list[str]:
    """What a finding rests on, and its figures: one line each, long lists cut and counted."""
    return [*_fields(found.fields.items(), 0), *found.evidence]


def _fields(items: Iterable[tuple[str, Value]], depth: int) -> list[str]:
    lines = []
    for name, value in items:
        if isinstance(value, tuple):
            lines += _rows(name, value, depth)
        elif value is None or isinstance(value, (str, int, float)):
            lines.append("  " * depth + brief({name: value}))
        elif depth < _DEEPEST:
            lines += [f"{'  ' * depth}{name}:", *_fields(value.items(), depth + 1)]
    return lines


def _rows(name: str, rows: tuple[Value, ...], depth: int) -> list[str]:
    pad = "  " * depth
    if not rows:
        return []
    if all(row is None or isinstance(row, (str, int, float)) for row in rows):
        shown = [brief({"": row})[1:] for row in rows[:_MOST_ROWS]]
        return [f"{pad}{name}: {', '.join(shown)}{_more(len(rows))}"]
    lines = [f"{pad}{name}:"]
    for row in rows[:_MOST_ROWS]:
        if isinstance(row, tuple):
            lines.append(f"{pad}  {', '.join(brief({'': item})[1:] for item in row[:_MOST_ROWS])}{_more(len(row))}")
        elif row is None or isinstance(row, (str, int, float)):
            lines.append(f"{pad}  {brief({'': row})[1:]}")
        else:
            lines.append(f"{pad}  {brief(row)}")
    return [*lines, f"{pad} {_more(len(rows))[4:]}"] if len(rows) > _MOST_ROWS else lines


def _more(count: int) -> str:
    return f" and {count - _MOST_ROWS:,} more (--format json has all)" if count > _MOST_ROWS else ""


def _tone(found: Finding) -> Tone:
    return "problem" if found.serious else "plain"


def _worst(findings: Iterable[Finding]) -> Tone:
    return "problem" if any(found.serious for found in findings) else "strong"
