"""What stands behind DVC pointers as text: one heading an output, its model diff or its state indented below."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from diffai.comparison.tracked import DvcImport, OutChange, Where
from diffai.views.blocks import Block, View, indented, said
from diffai.views.directories import directory_view
from diffai.views.state import describe_state
from diffai.views.style import escape, plural, size
from diffai.views.text import TextOptions, comparison_view, presented

INDENT = "  "


def render_out(change: OutChange, options: TextOptions = TextOptions(), *, heading: bool = True) -> list[str]:
    """The lines of one output, each indented, so that ``git apply`` and readers tell them from a diff."""
    view: View = (said(_heading(change), "#", indent=1),) if heading else ()
    lines = presented((*view, *indented(body_view(change, options), 2)), options)
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


def body_view(change: OutChange, options: TextOptions, *, workspace: bool = True) -> View:
    """What is said of one output below its name; ``workspace``: also that a file of the workspace was read."""
    view: View = ()
    if change.files is not None:
        view = directory_view(change.files, options)
    elif any(change.state):
        view = tuple(_states(change))
    elif change.kind:
        view = (said(f"not compared: {escape(change.kind)}"),)
    elif change.diff is not None:
        view = comparison_view(change.diff, options)
    return (*view, *_notes(change, workspace))


def _states(change: OutChange) -> Iterator[Block]:
    """A directory whose files are not known on a side: said, and never taken for "no change"."""
    for which, state in zip(("old", "new"), change.state, strict=True):
        if state is not None:
            yield said(f"! {which}: {describe_state(state)}", "!")
    yield said("! which files changed is not known" if change.item.is_directory else "! not compared", "!")


def _notes(change: OutChange, workspace: bool) -> list[Block]:
    notes = []
    if change.header_only:
        notes.append("header read from the DVC remote: shapes and dtypes compared, values not")
    for which, where in zip(("old", "new"), change.where, strict=True):
        note = _WHERE.get(where, "")
        if note and not change.header_only and (workspace or where != "workspace"):
            notes.append(f"{which} side: {note}")
    return [said(f"({note})", "…") for note in notes]


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

