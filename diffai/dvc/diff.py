"""``diffai dvc diff``: what ``dvc diff`` prints, and under each model what changed in its tensors."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator
from typing import Any

from diffai.comparison.tracked import OutChange, TrackedOptions, compare_items, compare_refs
from diffai.dvc.changes import STATES, Changes, Entry
from diffai.errors import DiffaiError
from diffai.frozen import frozen, replace
from diffai.model import Absent
from diffai.stores.dvc.items import open_item
from diffai.views.lines import beside_text
from diffai.views.records import change_list
from diffai.views.state import describe_side, describe_state
from diffai.views.style import escape, paint
from diffai.views.text import TextOptions, presented
from diffai.views.tracked import body_view

_COLORS = {"added": "+", "deleted": "-", "renamed": "+", "modified": "~", "not in cache": "~"}
_INDENT = " " * 8


@frozen
class Look:
    """How the output looks; the first three are options of ``dvc diff`` itself."""

    show_hash: bool = False
    hide_missing: bool = False
    text: TextOptions = TextOptions()


def render(changes: Changes, options: TrackedOptions, look: Look) -> Iterator[str]:
    """The lines of ``dvc diff``, each model followed by its summary, as they become known."""
    color, models, text = look.text.color, _Models(changes, options), look.text
    if text.screen is not None:
        text = replace(text, screen=text.screen.narrower(len(_INDENT)))
    counts: dict[str, int] = {}
    for state in _states(changes, look):
        entries = changes.lists.get(state, ())
        counts[state] = sum(1 for entry in entries if not entry.path.endswith("/"))
        if not entries:
            continue
        yield paint(state.capitalize(), _COLORS[state], color) + ":"
        for entry in entries:
            yield _line(state, entry, look)
            yield from (f"{_INDENT}{line}" if line else "" for line in models.lines(state, entry, text))
        yield ""
    if any(counts.values()):
        yield "files summary: " + ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    yield from notes(changes, color)


def notes(changes: Changes, color: bool) -> Iterator[str]:
    """What could not be said, and what to do about it."""
    if not changes.hashed:
        yield paint("! models are not compared: dvc gave no hashes; run dvc diff --json --show-hash", "!", color)
    for problem in changes.problems:
        yield paint(f"! {escape(problem, longest=500)}", "!", color)


def _states(changes: Changes, look: Look) -> list[str]:
    return [state for state in STATES if not (state == "not in cache" and look.hide_missing)]


def _line(state: str, entry: Entry, look: Look) -> str:
    """One line exactly as DVC prints it."""
    path = f"{entry.old_path} -> {entry.path}" if state == "renamed" else entry.path
    digest = f"{_digest(state, entry)}  " if look.show_hash and any(entry.hashes) else ""
    return f"    {digest}{escape(path, longest=0)}"


def _digest(state: str, entry: Entry) -> str:
    old, new = entry.hashes
    return f"{old[:8]}..{new[:8]}" if state == "modified" else (new or old)[:8]


class _Models:
    """The comparison of each model, told once: a sharded one at the first of its files.

    Args:
        changes: what ``dvc diff`` says.
        options: how models are opened and compared.
    """

    def __init__(self, changes: Changes, options: TrackedOptions) -> None:
        self._changes, self._options = changes, options
        self._told = set[str]()

    def compare(self, state: str, entry: Entry) -> OutChange | None:
        """None for a folder, a file that only moved, a model that was told, and where nothing is known."""
        name = self._name(entry)
        if not self._changes.hashed or name in self._told or not entry.comparable(state):
            return None
        if not name:
            return compare_items(entry.old, entry.new, self._options)
        self._told.add(name)
        old, new = self._changes.models
        return compare_refs(old.refs.get(name), new.refs.get(name), self._options)

    def _name(self, entry: Entry) -> str:
        """The model of several files that an entry is part of; "" for a model or another file by itself."""
        return next((models.parts[entry.path] for models in self._changes.models if entry.path in models.parts), "")

    def lines(self, state: str, entry: Entry, look: TextOptions) -> list[str]:
        """The summary of one model; nothing for files that are none."""
        change = self.compare(state, entry)
        if change is None or change.kind:
            return _beside(state, entry, self._options)
        name = self._name(entry)
        heading = [f"{escape(posixpath.basename(name))}, all of its files:"] if name else []
        return [*heading, *_summary(change, look)]


def _beside(state: str, entry: Entry, options: TrackedOptions) -> list[str]:
    """What changed in a configuration or a record that lies beside a model; nothing of any other file."""
    from diffai.comparison.documents import beside

    name = posixpath.basename(entry.path)
    if state != "modified" or entry.old is None or entry.new is None or name not in beside.NAMES:
        return []
    try:
        found = beside.between(name, open_item(entry.old).opened, open_item(entry.new).opened, options.limits)
    except DiffaiError:  # what is wrong with a model is said; that of another file is not asked for here
        return []
    return [beside_text(found)] if found is not None else []


def _summary(change: OutChange, look: TextOptions) -> list[str]:
    diff = change.diff
    if diff is not None and diff.comparable:
        for side, other in ((diff.old, diff.new), (diff.new, diff.old)):
            if isinstance(side.state, Absent):
                return [describe_side(other)]
    if diff is not None and (isinstance(diff.old.state, Absent) or isinstance(diff.new.state, Absent)):
        side = diff.old if diff.old.state and not isinstance(diff.old.state, Absent) else diff.new
        return [paint(f"! {describe_state(side.state)}", "!", look.color)] if side.state else []
    return presented(body_view(change, look, workspace=False), look)  # the workspace is what dvc diff is about


# ---------------------------------------------------------------- machine outputs


def as_json(changes: Changes, options: TrackedOptions, look: Look, *, tensors: bool) -> str:
    """DVC's own JSON; with ``tensors`` the (first) entry of a model also has ``diffai``: its change list, or state."""
    data = changes.as_json(show_hash=look.show_hash)
    if look.hide_missing:
        data.pop("not in cache", None)
    models = _Models(changes, options)
    if tensors:
        for state, records in data.items():
            for record, entry in zip(records, changes.lists[state], strict=True):
                found = _records(models.compare(state, entry))
                if found is not None:
                    record["diffai"] = found
    return json.dumps(data)


def _records(change: OutChange | None) -> Any:
    if change is None or change.kind:
        return None
    if change.diff is None:
        return [{"FileUnreadable": [change.label, describe_state(s)]} for s in change.state if s is not None]
    return change_list(change.diff)


def as_markdown(changes: Changes, options: TrackedOptions, look: Look) -> Iterator[str]:
    """DVC's own table, then a section for each model."""
    headers = ["Status", "Hash", "Path"] if look.show_hash else ["Status", "Path"]
    rows, sections, models = list[list[str]](), list[str](), _Models(changes, options)
    for state in _states(changes, look):
        for entry in changes.lists.get(state, ()):
            path = f"{entry.old_path} -> {entry.path}" if state == "renamed" else entry.path
            rows.append([state, *([_digest(state, entry)] if look.show_hash else []), path])
            lines = models.lines(state, entry, look.text)
            if lines:
                sections += ["", f"### {escape(entry.path)}", "", "```text", *lines, "```"]
    yield from _table(headers, rows)
    yield ""
    yield from sections[1:] if sections else ()
    yield from notes(changes, False)


def _table(headers: list[str], rows: list[list[str]]) -> Iterator[str]:
    """A GitHub table with padded columns, as DVC's own."""
    widths = [max(len(row[at]) for row in [headers, *rows]) for at in range(len(headers))]
    yield "| " + " | ".join(word.ljust(width) for word, width in zip(headers, widths, strict=True)) + " |"
    yield "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    for row in rows:
        yield "| " + " | ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)) + " |"
