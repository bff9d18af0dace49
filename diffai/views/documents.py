"""A comparison of two documents, for people: blocks of text lines, or blocks with a table of what changed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence

from diffai.comparison.documents.paths import path_text
from diffai.comparison.documents.result import (
    Change,
    DocumentChange,
    DocumentDiff,
    Special,
    Value,
    type_of,
)
from diffai.finding import Finding
from diffai.frozen import frozen
from diffai.views.blocks import MARKS, Block, Gap, Line, View, Word, indented, said
from diffai.views.blocks import Column as BlockColumn
from diffai.views.blocks import Table as BlockTable
from diffai.views.document_columns import columns_blocks
from diffai.views.lines import left_text
from diffai.views.style import escape, plural

_FEW = 40
_FEWEST_FOLDED = 6
_LONGEST = 120
_SIGNS = {"Added": "+", "Removed": "-", "Modified": "~", "TypeChanged": "~"}


@frozen
class DocumentLook:
    """What of a comparison is shown.

    Attributes:
        verbose: every change, and figures of all columns of tables.
        stats: lines of changes and columns only, without heading and counts.
        most: changes shown at most; 0 = all.
        heading: whether the kind of document is said first.
    """

    verbose: bool = False
    stats: bool = False
    most: int = _FEW
    heading: bool = True


@frozen
class _Row:
    """One line: its sign, the path, and what became of it on both sides."""

    sign: str
    path: str
    old: str = ""
    new: str = ""
    note: str = ""
    count: int = 1


def document_text(diff: DocumentDiff, look: DocumentLook = DocumentLook()) -> View:
    """Blocks of lines: ``~ learning_rate: 0.001 -> 0.0005``."""
    return tuple(_blocks(diff, look, table=False))


def document_view(diff: DocumentDiff, look: DocumentLook = DocumentLook()) -> View:
    """The same with the changes as a table."""
    return tuple(_blocks(diff, look, table=True))


def counts(diff: DocumentDiff) -> str:
    """``3 modified, 1 of another type, 1 added``; "" where nothing differs."""
    words = {"Modified": "modified", "TypeChanged": "of another type", "Added": "added", "Removed": "removed"}
    found = {kind: sum(change.kind == kind for change in diff.changes) for kind in words}
    parts = [f"{count:,} {words[kind]}" for kind, count in found.items() if count]
    return ", ".join([*parts, f"{diff.uncounted:,} more"] if diff.uncounted else parts)


def no_differences(diff: DocumentDiff) -> str:
    """What is said where nothing differs."""
    left = sum(one.count for one in diff.left_out)
    if diff.tolerated and not left:
        return "No differences found (within epsilon tolerance)"
    if left:
        return "No other differences found"
    return "No differences found" + ("" if diff.same_bytes else " (bytes differ, values equal)")


def _blocks(diff: DocumentDiff, look: DocumentLook, *, table: bool) -> Iterable[Block]:
    for side in (diff.old, diff.new):
        yield from (said(f"! {side.label}: {note}", "!") for note in side.notes)
    yield from (said(f"! {left_text(left)}", "!") for left in diff.hidden)
    if not diff.differs:
        yield said(no_differences(diff))
    else:
        yield from _changes(diff, look, table=table)
    if diff.table is not None:
        yield from columns_blocks(diff.table, figures=look.stats or look.verbose, table=table)
    if not look.stats:
        yield from (said(f"({note})", "…", indent=1) for note in _notes(diff))


def _changes(diff: DocumentDiff, look: DocumentLook, *, table: bool) -> Iterable[Block]:
    if look.heading and not look.stats:
        kinds = diff.old.kind if diff.old.kind == diff.new.kind else f"{diff.old.kind} -> {diff.new.kind}"
        yield Line((Word("Document Changes:", "strong"), Word(f" {kinds}, {counts(diff)}")))
        yield from (said(line, indent=1) for line in _rows_line(diff))
    rows = _rows(diff.changes, fold=not look.verbose)
    most = 0 if look.verbose else look.most
    shown = rows[:most] if most else rows
    if table and shown:
        yield _table(shown)
    else:
        yield from (Line((Word(_line_text(row), MARKS[row.sign]),), 1) for row in shown)
    hidden = sum(row.count for row in rows[len(shown) :])
    if hidden:
        yield said(f"… {plural(hidden, 'more change')} hidden (-v shows all)", "…", indent=1)
    if diff.uncounted:
        yield said(f"… {plural(diff.uncounted, 'more change')} counted, and not listed", "…", indent=1)


def _table(rows: Sequence[_Row]) -> BlockTable:
    columns = (
        BlockColumn("", rank=0),
        BlockColumn("path", shrinks=True, literal=True),
        BlockColumn("old", sentence=True, literal=True),
        BlockColumn("new", sentence=True, literal=True),
        BlockColumn("", rank=1, sentence=True),
    )
    lines = [
        (Word(row.sign, MARKS[row.sign]), Word(row.path), Word(row.old), Word(row.new), Word(row.note, "faint"))
        for row in rows
    ]
    return BlockTable(columns, tuple(lines))


def _line_text(row: _Row) -> str:
    value = f"{row.old} -> {row.new}" if row.old and row.new else row.old or row.new
    return f"{row.sign} {row.path}{': ' if value else ''}{value}{f' ({row.note})' if row.note else ''}"


def _rows_line(diff: DocumentDiff) -> list[str]:
    """What became of the rows of two tables, in one line."""
    table = diff.table
    if table is None:
        return []
    parts = [
        f"{count:,} {word}"
        for count, word in ((table.added, "added"), (table.removed, "removed"), (table.changed, "changed"))
        if count
    ]
    cells = f" in {plural(table.cells, 'cell')}" if table.changed else ""
    how = f" (matched {table.how})" if parts else ""
    return [f"Rows: {table.rows[0]:,} -> {table.rows[1]:,}: {', '.join(parts) or 'all equal'}{cells}{how}"]


# ---------------------------------------------------------------- rows of changes


def _rows(changes: Sequence[Change], *, fold: bool) -> list[_Row]:
    """One row a change; elements that moved within a list are one, and so are many numbers of one list."""
    moved = _moves(changes)
    gone = {id(before) for before, _ in moved.values()}
    rows: list[_Row] = []
    at = 0
    while at < len(changes):
        change = changes[at]
        run = _run(changes, at) if fold else 1
        if run >= _FEWEST_FOLDED:
            rows.append(_folded(changes[at : at + run]))
            at += run
            continue
        at += 1
        if id(change) in gone:
            continue
        if id(change) in moved:
            before, after = moved[id(change)]
            rows.append(_Row(">", path_text(before.path), "", path_text(after.path), "moved"))
        else:
            rows.append(_row(change))
    return rows


def _row(change: Change) -> _Row:
    path = path_text(change.path)
    if change.kind == "Added":
        return _Row("+", path, "", value_text(change.new) or '""')
    if change.kind == "Removed":
        return _Row("-", path, value_text(change.old) or '""')
    note = f"{type_of(change.old)} -> {type_of(change.new)}" if change.kind == "TypeChanged" else ""
    quoted = change.kind == "TypeChanged" and "text" in (type_of(change.old), type_of(change.new))
    old, new = (value_text(value, quoted=quoted) for value in (change.old, change.new))
    return _Row("~", path, old, new, note)


def _moves(changes: Sequence[Change]) -> dict[int, tuple[Change, Change]]:
    """Elements that a list lost at one place and got at another, by the change that added them."""
    lost: dict[tuple[object, str], list[Change]] = {}
    for change in changes:
        if change.kind == "Removed" and change.path and isinstance(change.path[-1], int):
            lost.setdefault((change.path[:-1], _exact(change.old)), []).append(change)
    found = {}
    for change in changes if lost else ():
        if change.kind == "Added" and change.path and isinstance(change.path[-1], int):
            same = lost.get((change.path[:-1], _exact(change.new)))
            if same:
                found[id(change)] = (same.pop(0), change)
    return found


def _exact(value: Value) -> str:
    return json.dumps(value, default=repr, skipkeys=False) if not isinstance(value, dict) else repr(value)


def _run(changes: Sequence[Change], at: int) -> int:
    """How many changes from one on are of numbers of the same list."""
    first = changes[at]
    end = at
    while end < len(changes) and changes[end].kind == "Modified" and _in_list(changes[end], first):
        end += 1
    return end - at


def _in_list(change: Change, first: Change) -> bool:
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (change.old, change.new))
    return numbers and bool(change.path) and isinstance(change.path[-1], int) and change.path[:-1] == first.path[:-1]


def _folded(changes: Sequence[Change]) -> _Row:
    first, last = changes[0].path[-1], changes[-1].path[-1]
    try:
        most = max(abs(float(change.new) - float(change.old)) for change in changes)
        said_most = f", max |d| {most:.4g}" if math.isfinite(most) else ""
    except OverflowError:
        said_most = ""
    path = f"{path_text(changes[0].path[:-1])}[{first}-{last}]"
    return _Row("~", path, "", f"{plural(len(changes), 'number')}{said_most}", "", len(changes))


def value_text(value: Value, *, quoted: bool = False) -> str:
    """A value in one short line; text stands in quotes where it could be taken for something else."""
    if isinstance(value, dict | list):
        text = json.dumps(_plain(value), ensure_ascii=False)
        if len(text) <= _LONGEST:
            return text
        what = plural(len(value), "key" if isinstance(value, dict) else "element")
        return f"{text[: _LONGEST // 2]}… ({what})"
    if isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False) if quoted or _needs_quotes(value) else value
        return text if len(text) <= 2 * _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"
    if isinstance(value, Special):
        return value.text if len(value.text) <= _LONGEST else f"{value.text[:40]}… ({len(value.text):,} characters)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        digits = str(value)
        return digits if len(digits) <= _LONGEST else f"{digits[:20]}… ({len(digits):,} digits)"
    return "null" if value is None else repr(value)


def _needs_quotes(value: str) -> bool:
    return not value or value != value.strip() or " -> " in value or "\n" in value


def _plain(value: Value) -> Value:
    """A container with keys and scalars that JSON has words for."""
    if isinstance(value, dict):
        return {key if isinstance(key, str) else key.text: _plain(inside) for key, inside in value.items()}
    if isinstance(value, list):
        return [_plain(inside) for inside in value]
    return value.text if isinstance(value, Special) else value


def _notes(diff: DocumentDiff) -> list[str]:
    left = [left_text(one) for one in diff.left_out if not one.origin]
    tolerated = [f"{plural(diff.tolerated, 'number')} differ within the tolerance (epsilon, rtol)"]
    encodings = {side.encoding for side in (diff.old, diff.new)}
    written = [f"encodings: {diff.old.encoding} -> {diff.new.encoding}"] if len(encodings - {""}) > 1 else []
    return [*left, *(tolerated if diff.tolerated and diff.differs else []), *diff.notes, *written]


def findings_blocks(findings: Sequence[Finding]) -> View:
    """What was asked for beside the changes: a line each, and its evidence."""
    blocks: list[Block] = []
    for found in findings:
        sign = "!" if found.serious else "+"
        blocks.append(said(f"{sign} {found.name}: {found.text}", sign, indent=1))
        blocks += [said(line, indent=2) for line in (*found.evidence, *found.notes)]
    return tuple(blocks)


def stat_line(diff: DocumentDiff) -> str:
    """One line for the whole comparison."""
    return f"{diff.new.label}: {counts(diff) if diff.differs else no_differences(diff)}"


def documents_view(documents: Sequence[DocumentChange], look: DocumentLook, *, table: bool) -> View:
    """The documents of two directories: those that differ in full, then counts."""
    blocks: list[Block] = []
    for one in documents:
        name = escape(one.path)
        if one.status == "unreadable":
            blocks.append(said(f"! {name}: {escape(one.reason, longest=500)}", "!"))
        elif one.diff is None:
            sign = "+" if one.status == "added" else "-"
            blocks.append(said(f"{sign} {name}", sign))
        elif one.differs or look.verbose or one.diff.hidden:
            inside = document_view(one.diff, look) if table else document_text(one.diff, look)
            blocks += [said(name, "#"), *indented(inside, not table), Gap()]
    return (*blocks, said(_documents_count(documents))) if documents else ()


def _documents_count(documents: Sequence[DocumentChange]) -> str:
    compared = [one for one in documents if one.status == "compared"]
    changed = sum(one.differs for one in compared)
    counts = [(changed, "changed"), (len(compared) - changed, "unchanged")]
    counts += [(sum(one.status == word for one in documents), word) for word in ("added", "removed")]
    counts.append((sum(one.status == "unreadable" for one in documents), "not readable"))
    parts = [f"{count:,} {word}" for count, word in counts if count]
    return f"{plural(len(documents), 'document')}: {', '.join(parts)}"
