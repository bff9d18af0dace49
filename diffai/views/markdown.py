"""Blocks as GitHub-flavoured Markdown, and the documents made of them.

Names come out of files that others wrote: they stand in code spans, so that none can mention people, link or draw.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from diffai.comparison.result import DirectoryDiff, FileChange, ModelDiff
from diffai.frozen import replace
from diffai.views.blocks import (
    Bar,
    Cell,
    Column,
    Gap,
    Histogram,
    Labelled,
    Line,
    Spark,
    Table,
    View,
    Word,
    said_columns,
)
from diffai.views.findings import asked, details
from diffai.views.lines import left_text
from diffai.views.model_table import TableOptions, model_view
from diffai.views.overview import Overview, brief, overview
from diffai.views.scale import sparkline
from diffai.views.style import escape, number, plural
from diffai.views.text import document_view

_MOST_ROWS = 200
_MOST_TEXTS = 15
_FEWEST_ROWS = 5
"""Rows that each further table keeps where only some are shown."""
_LONGEST = 600


# ---------------------------------------------------------------- the presenter


def present_markdown(view: View, *, rows: int = 0) -> list[str]:
    """The Markdown of blocks, each followed by an empty line; of drawings the figures alone, without bars.

    Args:
        view: what is shown.
        rows: of all tables together, of which each has some, and of lists a few; the rest is counted. 0 = all.
    """
    lines: list[str] = []
    most = _MOST_TEXTS if rows else 0
    tables = sum(isinstance(block, Table) for block in view)
    for block in view:
        match block:
            case Line():
                text = re.sub(" {3,}", " · ", "".join(_word(word) for word in block.words).strip())
                lines += [f"- {text}" if block.indent > 1 else text, ""] if text else []
            case Labelled():
                lines += _labelled(block, most)
            case Table():
                tables -= 1
                shown = len(block.rows) if not rows else max(1, rows - tables * _FEWEST_ROWS)
                lines += _table(_first(block, shown))
                rows = max(1, rows - shown) if rows else 0
            case Histogram():
                lines += [_histogram(block), ""]
            case Gap():
                pass
            case _:
                lines += [f"_{plain(block.title)}_", ""]
    return lines


def code(text: str, *, cell: bool = False) -> str:
    """Text as a code span, whatever it holds; in a table cell a bar must be escaped too."""
    clean = escape(text, longest=300)
    fence = "`" * (max((len(run) for run in re.findall("`+", clean)), default=0) + 1)
    pad = " " if clean.startswith("`") or clean.endswith("`") or not clean else ""
    span = f"{fence}{pad}{clean}{pad}{fence}"
    return span.replace("|", "\\|") if cell else span


def plain(text: str) -> str:
    """A sentence outside of a code span: what would be markup is escaped, and nobody is mentioned."""
    marked = re.sub(r"([\\`*_\[\]<|#!~]|(?<!-)>)", r"\\\1", escape(text, longest=_LONGEST))
    return marked.replace("@", "@\u200b")


def _word(word: Word) -> str:
    """A piece of a sentence: what is strong, or wrong, in bold."""
    text = plain(word.text)
    if word.tone == "name":
        return f"**{code(word.text)}**"
    bare = text.strip()
    if word.tone not in ("strong", "problem") or not bare:
        return text
    return text.replace(bare, f"**{bare}**", 1)


def _histogram(block: Histogram) -> str:
    """Both sides of a histogram as rows of small bars."""
    sides = [(word, side) for word, side in (("old", block.old), ("new", block.new)) if side]
    rows = [f"{word} `{sparkline([float(count) for count in side], 0)}`" for word, side in sides]
    return f"- {code(block.title)}: {', '.join(rows)}, {number(block.edges[0])} .. {number(block.edges[-1])}"


def _first(block: Table, rows: int) -> Table:
    """The first rows of a table, and how many more there are."""
    rest = len(block.rows) - rows
    if rest <= 0:
        return block
    hidden = ", ".join(part for part in (f"… and {plural(rest, 'more row')}", block.hidden) if part)
    return replace(block, rows=block.rows[:rows], hidden=hidden)


def _labelled(block: Labelled, most: int) -> list[str]:
    """A list under its label: a name and what is said of it, or one line of figures; ``most``: of them, 0 = all."""
    rows = [_row(row) for row in block.rows[: most or None]]
    rest = f"{len(block.rows) - len(rows):,} more" if len(block.rows) > len(rows) else ""
    hidden = ", ".join(part for part in (rest, block.hidden) if part)
    return [f"**{plain(block.label)}**", "", *(f"- {row}" for row in rows), *([f"- … {hidden}"] if hidden else []), ""]


def _row(row: tuple[Word, ...]) -> str:
    """A name, or a line of a change, as it is; sentences as text."""
    first, *rest = row
    name = bool(rest) or first.tone in ("added", "removed", "changed", "renamed")
    return (code(first.text) if name else plain(first.text)) + "".join(f" {plain(word.text)}" for word in rest)


def _table(block: Table) -> list[str]:
    """A table without its bars: their figures stand beside them."""
    block = said_columns(block)
    drawn = [n for n in range(len(block.columns)) if any(_is_drawn(row[n]) for row in block.rows)]
    used = [n for n in range(len(block.columns)) if n not in drawn]
    columns = [block.columns[n] for n in used]
    lines = ["|" + "".join(f" {plain(column.title)} |" for column in columns)]
    lines.append("|" + "".join("--:|" if column.align == "right" else "---|" for column in columns))
    for row in block.rows:
        lines.append("|" + "".join(f" {_cell(row[n], block.columns[n])} |" for n in used))
    return [*lines, "", *([f"_{plain(block.hidden)}_", ""] if block.hidden else [])]


def _is_drawn(cell: Cell) -> bool:
    return isinstance(cell, Bar) or (isinstance(cell, Spark) and len(cell.values) == 1)


def _cell(cell: Cell, column: Column) -> str:
    if isinstance(cell, Spark):
        return sparkline(cell.values)
    assert isinstance(cell, Word)
    if column.literal and cell.text:
        return code(cell.text, cell=True)
    return plain(cell.text)


# ---------------------------------------------------------------- documents


def render_markdown(diff: ModelDiff | DirectoryDiff) -> list[str]:
    """The whole document."""
    if isinstance(diff, DirectoryDiff):
        return _directory(diff)
    title = f"## {code(diff.old.label)} → {code(diff.new.label)}"
    return [title, "", *model_lines(diff), *_every_tensor(diff), *_grounds(diff)]


def model_lines(diff: ModelDiff, *, rows: int = 0) -> list[str]:
    """One model, without a title: kind, what to look at, structure, parts, notes; at most ``rows`` of tables."""
    return present_markdown(document_view(diff), rows=rows)


def _every_tensor(diff: ModelDiff) -> list[str]:
    """The tensors that changed, in a closed section, where the rows of parts do not name each."""
    changes = [change for change in diff.changes if change.role != "training"]
    if not diff.comparable:
        return []
    every, known = (
        [block for block in model_view(diff, TableOptions(details=details)) if isinstance(block, Table)]
        for details in (True, False)
    )
    tables = [block for block, shown in zip(every, known, strict=True) if len(block.rows) > len(shown.rows)]
    if not tables:
        return []
    lines = ["<details>", f"<summary>{plural(len(changes), 'changed tensor')}</summary>", ""]
    for block in tables:
        lines += _table(_first(block, _MOST_ROWS))
    return [*lines, "</details>", ""]


def _grounds(diff: ModelDiff) -> list[str]:
    """What the findings that were asked for rest on, in a closed section."""
    rests = [(found, details(found, indent=2)) for found in asked(diff)]
    if not any(view for _, view in rests):
        return []
    lines = ["<details><summary>What the findings rest on</summary>", ""]
    for found, view in rests:
        lines += [f"**{plain(found.name)}**", "", *present_markdown(view)] if view else []
    return [*lines, "</details>", ""]


def _directory(diff: DirectoryDiff) -> list[str]:
    lines = [f"## {code(diff.old)} → {code(diff.new)}", "", f"| model |{OVERVIEW_TITLES}", f"|---|{OVERVIEW_RULE}"]
    sections: list[str] = []
    for file in diff.files:
        lines.append(f"| {code(file.path, cell=True)} |{_file_cells(file)}")
        if file.diff is not None and file.status == "compared" and file.diff.differs:
            sections += [f"### {code(file.path)}", "", *model_lines(file.diff), *_grounds(file.diff)]
    if diff.documents:
        from diffai.views.documents import DocumentLook, documents_view

        sections += present_markdown(documents_view(diff.documents, DocumentLook(), table=True))
    equal, different, gone, come = diff.other_files
    if equal or different or gone or come:
        words = f"{different:,} different, {equal:,} equal, {gone:,} removed, {come:,} added"
        sections.append(f"Other files: {words}")
    sections += [f"> {plain(left_text(left))}" for left in diff.left_out]
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


def lines_of(texts: Sequence[str], most: int) -> list[str]:
    """The first ones as a list of code spans, and how many more there are."""
    rest = len(texts) - most
    return [*(f"  - {code(text)}" for text in texts[:most]), *([f"  - … and {rest:,} more"] if rest > 0 else [])]
