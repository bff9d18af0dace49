"""What stands behind DVC pointers as text: one heading an output, its model diff or its state indented below."""

from __future__ import annotations

from collections.abc import Sequence

from diffai.comparison.tracked import DvcImport, OutChange, Where
from diffai.frozen import replace
from diffai.views.directories import render_directory
from diffai.views.state import describe_state
from diffai.views.style import escape, paint, plural, size
from diffai.views.text import TextOptions, render_text

INDENT = "  "


def render_out(change: OutChange, options: TextOptions = TextOptions(), *, heading: bool = True) -> list[str]:
    """The lines of one output, each indented, so that ``git apply`` and readers tell them from a diff."""
    lines = [INDENT + paint(_heading(change), "#", options.color)] if heading else []
    if options.screen is not None:
        options = replace(options, screen=options.screen.narrower(2 * len(INDENT)))
    lines += [INDENT * 2 + line if line else "" for line in body_lines(change, options)]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _heading(change: OutChange) -> str:
    """``train: model.safetensors (in DVC, 1.2 MB -> 1.3 MB)``."""
    name = escape(change.label) + ("/" if change.item.is_directory else "")
    old, new = change.old, change.new
    if old is None or new is None:
        word = "added to DVC" if old is None else "removed from DVC"
        return f"{name} ({word}{_facts(change)})"
    if old.label != new.label:
        return f"{escape(old.label)} -> {name} (in DVC{_facts(change)})"
    return f"{name} (in DVC{_facts(change)})"


def _facts(change: OutChange) -> str:
    """Files and bytes of both sides, as far as the pointers know them."""
    sides = [item.out for item in (change.old, change.new) if item is not None]
    parts = []
    counts = [len(out.files) if out.files is not None else out.nfiles for out in sides]
    if all(count >= 0 for count in counts):
        words = f"{counts[0]:,} -> {plural(counts[-1], 'file')}" if len(set(counts)) > 1 else plural(counts[-1], "file")
        parts.append(words)
    sizes = [out.size for out in sides]
    if all(count >= 0 for count in sizes):
        parts.append(" -> ".join(dict.fromkeys(size(count) for count in sizes)))
    return "".join(f", {part}" for part in parts)


def body_lines(change: OutChange, options: TextOptions, *, workspace: bool = True) -> list[str]:
    """What is said of one output below its name; ``workspace``: also that a file of the workspace was read."""
    lines: list[str] = []
    if change.files is not None:
        lines += render_directory(change.files, options)
    elif any(change.state):
        lines += _states(change, options)
    elif change.kind:
        lines.append(f"not compared: {escape(change.kind)}")
    elif change.diff is not None:
        lines += render_text(change.diff, options)
    return lines + _notes(change, options, workspace)


def _states(change: OutChange, options: TextOptions) -> list[str]:
    """A directory whose files are not known on a side: said, and never taken for "no change"."""
    lines = []
    for which, state in zip(("old", "new"), change.state, strict=True):
        if state is not None:
            lines.append(paint(f"! {which}: {describe_state(state)}", "!", options.color))
    what = "which files changed is not known" if change.item.is_directory else "not compared"
    return [*lines, paint(f"! {what}", "!", options.color)]


def _notes(change: OutChange, options: TextOptions, workspace: bool) -> list[str]:
    notes = []
    if change.header_only:
        notes.append("header read from the DVC remote: shapes and dtypes compared, values not")
    for which, where in zip(("old", "new"), change.where, strict=True):
        note = _WHERE.get(where, "")
        if note and not change.header_only and (workspace or where != "workspace"):
            notes.append(f"{which} side: {note}")
    return [paint(f"({note})", "…", options.color) for note in notes]


_WHERE: dict[Where, str] = {
    "workspace": "file of the workspace, which is not in the DVC cache; dvc commit puts it there",
    "remote": "downloaded from the DVC remote for this comparison",
}


def render_imports(old: Sequence[DvcImport], new: Sequence[DvcImport]) -> list[str]:
    """Where an import was moved to: ``imported from URL: commit 1a2b3c4 -> 5d6e7f8 (rev v1 -> v2)``."""
    before = {(source.url, source.path): source for source in old}
    lines = []
    for source in new:
        other = before.get((source.url, source.path))
        if other is None or other == source:
            continue
        parts = []
        if other.commit != source.commit:
            parts.append(f"commit {escape(other.commit[:7])} -> {escape(source.commit[:7])}")
        if other.rev != source.rev:
            parts.append(f"rev {escape(other.rev or 'default')} -> {escape(source.rev or 'default')}")
        if other.version != source.version:
            parts.append(f"version {escape(other.version[:40])} -> {escape(source.version[:40])}")
        lines.append(f"{INDENT}imported from {escape(source.url)}: {', '.join(parts)}")
    return lines

