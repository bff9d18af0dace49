"""``diffai check``: findings of one file, each with its number, tensor and byte offset."""

from __future__ import annotations

from diffai.comparison.checking import CheckResult
from diffai.views import values
from diffai.views.blocks import Block, View, Word, line, said
from diffai.views.screen import Screen
from diffai.views.state import describe_state
from diffai.views.style import escape, plural, size
from diffai.views.terminal import present, present_plain
from diffai.views.values import Json

SCHEMA = "diffai.check/1"

# What each verdict on pickles proves, in one sentence.
_PROVED = {
    "safe": "its pickles name only the constructors that torch.load(weights_only=True) and numpy need",
    "builds classes": "loading it imports and builds the classes below, enumerated or permitted by name, and no others",
    "unsafe": "loading it, except by torch.load(weights_only=True), may run whatever its author chose",
}


def check_text(
    result: CheckResult, *, color: bool = False, verbose: bool = False, screen: Screen | None = None
) -> list[str]:
    """One line when all is well, else a heading and one line a problem."""
    view = check_view(result, verbose=verbose)
    return present(view, screen) if screen is not None else present_plain(view, color=color)


def check_view(result: CheckResult, *, verbose: bool = False) -> View:
    """The same as blocks."""
    label = escape(result.label)
    if result.state is not None:
        return (said(f"! {label}: {describe_state(result.state)}", "!"),)
    what = ", ".join(part for part in (result.format, plural(result.tensors, "tensor")) if part)
    if result.size >= 0:
        what += f", {size(result.size)}"
    proof = [said(f"{result.safety}: {_PROVED[result.safety]}", indent=1)] if result.safety else []
    if not result.problems:
        scope = "structure, pickle safety, NaN/Inf" if result.valued else "structure and pickle safety; values not read"
        return (line(Word(f"{label}: ok", "added"), f" ({what}; checked {scope})", wraps=True), *proof)
    verdict = plural(result.errors, "error") if result.errors else "ok"
    warnings = len(result.problems) - result.errors
    if warnings:
        verdict += f", {plural(warnings, 'warning')}"
    head = Word(f"{label}: {verdict}", "problem" if result.errors else "strong")
    blocks: list[Block] = [line(head, f" ({what})", wraps=True)]
    blocks += proof
    for problem in result.problems:
        where = f" at offset {problem.offset}" if problem.offset >= 0 else ""
        tensor = f"{escape(problem.tensor)}: " if problem.tensor else ""
        text = f"{problem.code or '-':6} {problem.severity:8}{tensor}{escape(problem.message, longest=500)}{where}"
        blocks.append(said(text, "!" if problem.severity == "error" else "~", indent=1))
    return tuple(blocks)


def check_report(results: list[CheckResult]) -> dict[str, Json]:
    """All files as one object."""
    return {
        "schema": SCHEMA,
        "ok": all(r.state is None and not r.errors for r in results),
        "files": [
            {
                "label": values.text(r.label),
                "format": r.format,
                "size": r.size if r.size >= 0 else None,
                "tensors": r.tensors,
                "state": "checked" if r.state is None else type(r.state).__name__,
                "reason": "" if r.state is None else describe_state(r.state),
                "values_checked": r.valued,
                "safety": r.safety,
                "problems": [values.problem(p) for p in r.problems],
            }
            for r in results
        ],
    }
