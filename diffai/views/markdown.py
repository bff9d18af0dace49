"""A comparison as GitHub-flavoured Markdown: a summary table, then one row a tensor, folded away when many.

Names come out of files that others wrote: they stand in code spans, so that none can mention people, link or draw.
"""

from __future__ import annotations

import re

from diffai.analyses import nonfinite
from diffai.analyses.change_kind import change_kind
from diffai.analyses.look_first import look_first
from diffai.analyses.structure import structure
from diffai.analyses.training import training_state
from diffai.analyses.update import update_size
from diffai.comparison.result import DirectoryDiff, FileChange, ModelDiff, Side, TensorChange
from diffai.model import Absent
from diffai.views.findings import asked, details, said
from diffai.views.fold import fold, fold_line
from diffai.views.graph import graph_lines
from diffai.views.lines import describe_events, product_line, structure_line, symbol, tensor_line, value_line
from diffai.views.overview import Overview, brief, overview
from diffai.views.state import describe_state, dtypes_text
from diffai.views.style import change_percent, escape, percent, plural, ratio, size
from diffai.views.text import hidden_lines, no_other_differences

_UNFOLDED = 40
_MOST_ROWS = 200
_FEW = 3


def render_markdown(diff: ModelDiff | DirectoryDiff) -> list[str]:
    """The whole document."""
    if isinstance(diff, DirectoryDiff):
        return _directory(diff)
    title = f"## {code(diff.old.label)} → {code(diff.new.label)}"
    return [title, "", *model_lines(diff), *finding_lines(diff)]


def finding_lines(diff: ModelDiff) -> list[str]:
    """The findings that were asked for, as a section; what each rests on is folded away."""
    findings = asked(diff)
    lines = ["### Findings", ""] if findings else []
    for found in findings:
        mark = "⚠️ " if found.serious else ""
        lines.append(f"- {mark}**{found.name}:** {plain(said(found))}")
        lines += [f"  - **{plain(note)}**" for note in found.notes]
    rests = [(found.name, text) for found in findings for text in details(found)]
    if rests:
        lines += ["", "<details><summary>What the findings rest on</summary>", ""]
        for number, (name, text) in enumerate(rests):
            head = [f"    {name}"] if not number or rests[number - 1][0] != name else []
            lines += [*head, f"      {escape(text, longest=600)}"]  # indented: nothing in it is markup
        lines += ["", "</details>"]
    return [*lines, ""] if lines else []


def code(text: str, *, cell: bool = False) -> str:
    """Text as a code span, whatever it holds; in a table cell a bar must be escaped too."""
    clean = escape(text, longest=300)
    fence = "`" * (max((len(run) for run in re.findall("`+", clean)), default=0) + 1)
    pad = " " if clean.startswith("`") or clean.endswith("`") or not clean else ""
    span = f"{fence}{pad}{clean}{pad}{fence}"
    return span.replace("|", "\\|") if cell else span


def plain(text: str) -> str:
    """A sentence outside of a code span: what would be markup is escaped, and nobody is mentioned."""
    return re.sub(r"([\\`*_\[\]<>|#!~])", r"\\\1", escape(text, longest=600)).replace("@", "@\u200b")


def model_lines(diff: ModelDiff, *, most: int = 0) -> list[str]:
    """Summary, tensors and notes of one model, without a title.

    Args:
        diff: the comparison.
        most: rows at most of tensors and of values, folded by pattern where that saves some; 0 = every tensor.
    """
    states = [(which, side) for which, side in (("old", diff.old), ("new", diff.new))
              if side.state is not None and not isinstance(side.state, Absent)]  # fmt: skip
    if states and diff.equal:
        return ["No differences found (the same bytes, though not readable).", ""]
    if states:
        return [*(f"- **{which} side not compared:** {plain(_reason(side))}" for which, side in states), ""]
    lines = [f"- **Unsafe ({which}):** {plain(problem.message)} ({problem.code})"
             for which, side in (("old", diff.old), ("new", diff.new)) for problem in side.problems
             if problem.severity == "error"]  # fmt: skip
    lines += [""] if lines else []
    hidden = hidden_lines(diff.hidden)
    lines += [f"> **{plain(line)}**" for line in hidden] + ([""] if hidden else [])
    if not diff.differs:
        return [*lines, _no_differences(diff), "", *_notes(diff)]
    rows = _brief(diff, most) if most else _tensors(diff)
    return [*lines, *_summary(diff), "", *rows, *_values(diff, most or _UNFOLDED), *_notes(diff)]


def _reason(side: Side) -> str:
    return describe_state(side.state) if side.state is not None else ""


def _no_differences(diff: ModelDiff) -> str:
    totals = diff.totals
    if diff.hidden:
        return f"{no_other_differences(diff)}."
    if totals.uncompared or totals.training.uncompared:
        return "No differences found in names, shapes and dtypes (values were not compared)."
    if totals.tolerated:
        return "No differences found (within epsilon tolerance)."
    return f"No differences found{' (bytes differ, values equal)' if totals.equal_by_value else ''}."


def _summary(diff: ModelDiff) -> list[str]:
    old, new, totals = diff.old, diff.new, diff.totals
    rows = [
        ("Tensors", f"{old.tensors:,}", f"{new.tensors:,}", f"{new.tensors - old.tensors:+,}"),
        ("Parameters", f"{old.parameters:,}", f"{new.parameters:,}", change_percent(old.parameters, new.parameters)),
        ("Dtypes", dtypes_text(old), dtypes_text(new), f"{totals.cast:,} cast" if totals.cast else ""),
        ("Size", *(size(side.size) if side.size >= 0 else "" for side in (old, new)), ""),
        ("Format", old.format, new.format, ""),
    ]
    lines = ["| | Old | New | Change |", "|---|---:|---:|---:|"]
    for what, before, after, change in rows:
        if before or after:
            change = "" if before == after else change
            lines.append(f"| {what} | {before or '–'} | {after or '–'} | {change} |")
    changed = structure(diff)
    lines += ["", f"**Structure:** {changed.text}" if changed.any else "No structural changes"]
    if totals.comparable and (totals.changed or not changed.any):
        lines += _updates(diff)
    state = training_state(diff)
    if state is not None and (state.tensors or state.kind != "changed"):
        lines += ["", f"**Training state:** {state.text}"]
    for kind, group in nonfinite.groups(nonfinite.events(diff)):
        what, _, names = describe_events(kind, group, code).partition(": ")
        lines += ["", f"**{what}:** {names}" if group[0].worse else f"{what}: {names}"]
    found = change_kind(diff)
    lines += ["", f"**Kind:** {plain(found.phrase)}"] if found is not None else []
    looks = look_first(diff)
    lines += [""] if looks else []
    lines += [f"- Look at {code(look.name)}: {plain(look.text)}" for look in looks]
    return lines


def _updates(diff: ModelDiff) -> list[str]:
    """How many parameters moved, and how far."""
    totals = diff.totals
    text = f"**Weight updates:** {percent(totals.modified, totals.comparable)} of parameters modified"
    if totals.changed:
        text += f" ({totals.changed:,} of {plural(totals.pairs, 'tensor')}, "
        text += f"relative L2 of the changed tensors {ratio(totals.changed_relative_l2)})"
    lines = ["", text]
    if diff.options.update_size:
        size = update_size(diff)
        shown = f"not known ({size.reason})" if size.reason else ratio(size.relative_l2)
        lines += ["", f"**Update size:** {shown}"]
    return lines


def _tensors(diff: ModelDiff) -> list[str]:
    """One row a tensor; above a screenful one row a pattern, and every tensor in a closed section."""
    changes = tuple(change for change in diff.changes if change.role != "training")
    if not changes:
        return []
    one_by_one = tensor_table(changes[:_MOST_ROWS])
    if len(changes) > _MOST_ROWS:
        one_by_one += [f"… and {plural(len(changes) - _MOST_ROWS, 'more tensor')}.", ""]
    if len(changes) <= _UNFOLDED:
        return one_by_one
    summary = f"<summary>{plural(len(changes), 'changed tensor')}</summary>"
    return [*_patterns(changes, _UNFOLDED), "<details>", summary, "", *one_by_one, "</details>", ""]


def _brief(diff: ModelDiff, most: int) -> list[str]:
    """At most so many rows of tensors, one a pattern where there are more tensors than that."""
    changes = tuple(change for change in diff.changes if change.role != "training")
    if len(changes) <= most:
        return tensor_table(changes) if changes else []
    return _patterns(changes, most)


def _patterns(changes: tuple[TensorChange, ...], most: int) -> list[str]:
    folds = [(f.kind[0], tensor_line(f.changes[0]) if len(f.changes) == 1 else fold_line(f)) for f in fold(changes)]
    table = ["| | Tensors |", "|:-:|---|"]
    shown = folds if len(folds) <= most else folds[: most - 1]
    table += [f"| {mark} | {code(line[2:], cell=True)} |" for mark, line in shown]
    if len(folds) > len(shown):
        table.append(f"| … | {len(folds) - len(shown):,} more patterns |")
    return [*table, ""]


def tensor_table(changes: tuple[TensorChange, ...]) -> list[str]:
    """``| ~ | `fc1.bias` | mean=0.0018->0.0017 |`` for each change, and an empty line."""
    lines = ["| | Tensor | Change |", "|:-:|---|---|"]
    for change in changes:
        name = f"{change.old.name} -> {change.name}" if change.status[0] == "renamed" and change.old else change.name
        rest = _after_name(change)
        lines.append(f"| {symbol(change)} | {code(name, cell=True)} | {code(rest, cell=True) if rest else ''} |")
    return [*lines, ""]


def _after_name(change: TensorChange) -> str:
    """The figures of a tensor's line; names are left out, since they may hold anything."""
    line = tensor_line(change)[2:]
    name = escape(change.name)
    if change.status[0] == "renamed" and change.old:
        name = f"{escape(change.old.name)} -> {name}"
    return line.removeprefix(name).removeprefix(":").strip()


def _values(diff: ModelDiff, most: int) -> list[str]:
    rows = [structure_line(v, "class ") for v in diff.classes] + graph_lines(diff.graph)
    rows += [product_line(p) for p in diff.products]
    rows += [value_line(v, "__metadata__.") for v in diff.metadata]
    if _lists_training(diff):
        rows += [value_line(v) for v in diff.training]
    if not rows:
        return []
    shown = [f"- {code(row)}" for row in rows[:most]]
    if len(rows) > most:
        shown.append(f"- … and {len(rows) - most:,} more")
    return [f"**{_headline(diff)}:**", "", *shown, ""]


def _lists_training(diff: ModelDiff) -> bool:
    """Whether plain values of training state are listed: what came or went as a whole has a line that counts it."""
    return (diff.old.training and diff.new.training) or len(diff.training) <= _FEW


def _headline(diff: ModelDiff) -> str:
    parts = [word for word, values in (("adapters", diff.products), ("classes", diff.classes), ("graph", diff.graph),
                                       ("metadata", diff.metadata),
                                       ("training values", diff.training and _lists_training(diff)),
                                       ) if values]  # fmt: skip
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1]))).capitalize()


def _notes(diff: ModelDiff) -> list[str]:
    """What was left out or tolerated: always said."""
    notes = [f"{left.count:,} {left.what}: {left.reason}" for left in diff.left_out if not left.origin]
    if diff.totals.tolerated and not any(left.what == "values" for left in diff.hidden):
        notes.append(f"{plural(diff.totals.tolerated, 'value')} differ within the tolerance (epsilon, rtol)")
    return [*(f"> {plain(note)}" for note in notes), ""] if notes else []


def _directory(diff: DirectoryDiff) -> list[str]:
    lines = [f"## {code(diff.old)} → {code(diff.new)}", "", f"| model |{OVERVIEW_TITLES}", f"|---|{OVERVIEW_RULE}"]
    sections: list[str] = []
    for file in diff.files:
        lines.append(f"| {code(file.path, cell=True)} |{_file_cells(file)}")
        if file.diff is not None and file.status == "compared" and file.diff.differs:
            sections += [f"### {code(file.path)}", "", *model_lines(file.diff), *finding_lines(file.diff)]
    equal, different, gone, come = diff.other_files
    if equal or different or gone or come:
        words = f"{different:,} different, {equal:,} equal, {gone:,} removed, {come:,} added"
        sections.append(f"Other files: {words}")
    sections += [f"> {left.count:,} {left.what}: {plain(left.reason)}" for left in diff.left_out]
    return [*lines, "", *sections]


def _file_cells(file: FileChange) -> str:
    if file.status == "unreadable":
        return overview_cells(Overview("", "", "", None, f"not compared: {file.reason}"))
    if file.status != "compared" or file.diff is None:
        return overview_cells(Overview("", "", "", None, file.status))
    return overview_cells(overview(file.diff) if file.diff.differs else Overview("=", "=", "0", None, "no differences"))


OVERVIEW_TITLES = " structure | Δ params | update size | kind | look at |"
OVERVIEW_RULE = "---|--:|--:|---|---|"
_WIDEST = 60


def overview_cells(found: Overview) -> str:
    """One model's cells under ``OVERVIEW_TITLES``."""
    cells = (found.structure, found.parameters, found.update, brief(found.kind, _WIDEST), brief(found.look, _WIDEST))
    return "".join(f" {plain(cell)} |" for cell in cells)
