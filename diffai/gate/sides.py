"""Open both sides of a model: out of a commit or the index, pointers resolved, shards found; never a download."""

from __future__ import annotations

import posixpath

from diffai.comparison.models import Input
from diffai.errors import FormatError, SourceError
from diffai.formats.base import Limits
from diffai.gate.changes import Entry, Point
from diffai.gate.units import Unit
from diffai.model import Absent, DvcPointer, LfsPointer, NotAModel, NotPulled, State, Unreadable
from diffai.models.inputs import as_input, unreadable
from diffai.repository.runner import Repository
from diffai.stores.dvc.items import DvcItem, open_item
from diffai.stores.store import Opened


class Opener:
    """Opens the sides of units. One for each point and repository.

    Args:
        repository: that of the working directory.
        limits: of reading; torch is never the fallback, because a gate reads what others wrote.
    """

    def __init__(self, repository: Repository, limits: Limits) -> None:
        self._repository, self._limits = repository, limits

    def old(self, unit: Unit, point: Point) -> Input:
        """The side before the change."""
        if unit.items is not None:
            return self._tracked(unit.items[0])
        return self._open(unit.old_path, unit.old, point, unit.sharded)

    def new(self, unit: Unit, point: Point) -> Input:
        """The side after the change."""
        if unit.items is not None:
            return self._tracked(unit.items[1])
        return self._open(unit.new_path, unit.new, point, unit.sharded)

    def _tracked(self, item: DvcItem | None) -> Input:
        """A model that DVC tracks: from its cache, or the work tree."""
        if item is None:
            return Input("", state=Absent())
        try:
            return as_input(open_item(item).opened, self._limits, label=item.label)
        except (SourceError, FormatError) as error:
            return Input(item.label, state=unreadable(error))

    def _open(self, path: str, entry: Entry, point: Point, sharded: bool) -> Input:
        if not path:
            return Input("", state=Absent())
        label = f"{point.label}:{path}" if point.tree else path
        try:
            if sharded:
                return self._first(self._places(path), point, label)
            if entry.mode == "120000":
                return as_input(self._resolve(path, point), self._limits, label=label)
            from diffai.snapshots.revision import open_blob

            found = open_blob(self._repository.directory, entry.oid, path, label=label)
            return as_input(found, self._limits, label=label)
        except (SourceError, FormatError) as error:
            return Input(label, state=unreadable(error))

    def _first(self, places: list[str], point: Point, label: str) -> Input:
        """The first place where something is; a folder without the model is nothing."""
        for place in places:
            side = as_input(self._resolve(place, point), self._limits, label=label)
            if not isinstance(side.state, Absent | NotAModel):
                return side
        return Input(label, state=Absent())

    @staticmethod
    def _places(path: str) -> list[str]:
        """Where the model of a name can lie: one file, an index, or shards in a folder without index."""
        return [path, f"{path}.index.json", *([posixpath.dirname(path)] if "/" in path else [])]

    def _resolve(self, path: str, point: Point) -> Opened:
        if point.tree:
            from diffai.snapshots.resolve import resolve_at

            return resolve_at(self._repository.directory, point.tree, path)
        from diffai.snapshots.revision import open_staged

        return open_staged(self._repository.directory, path)


def is_missing(state: State | None) -> bool:
    """Whether bytes are known but not here, so that somebody who has them could judge."""
    return isinstance(state, LfsPointer | DvcPointer | NotPulled)


def is_foreign(state: State | None) -> bool:
    """Whether this is a model of a format that is not read."""
    return isinstance(state, Unreadable) and not state.code and "does not read" in state.reason


def is_nothing(state: State | None) -> bool:
    """Whether there is no model on this side: no file, or a text of such a name."""
    return isinstance(state, Absent | NotAModel)


def closing(*sides: Input) -> None:
    """Close what was opened."""
    for side in sides:
        if side.checkpoint is not None:
            side.checkpoint.close()

