"""From changed files to models: the shards of one model are one, a moved or converted model is one change."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence

from diffai.comparison.names import natural_key
from diffai.frozen import frozen
from diffai.gate.changes import Change, Entry, is_candidate
from diffai.models.names import model_key
from diffai.policy.verdicts import FileStatus
from diffai.stores.dvc.items import DvcItem

_NOTHING = Entry()


@frozen
class Unit:
    """One model to judge.

    Attributes:
        old_path, new_path: "" on the side where there is none. Of a sharded model, the name its single file would
            have; whether it stands on a side is then known only when it is opened (``sharded``).
        old, new: the entries of a single file, empty for a sharded model.
        items: both sides of a model that DVC tracks, None on a side that has none.
        file: the pointer of such a model, which is the file that git knows.
    """

    old_path: str
    new_path: str
    old: Entry = _NOTHING
    new: Entry = _NOTHING
    unmerged: bool = False
    sharded: bool = False
    items: tuple[DvcItem | None, DvcItem | None] | None = None
    file: str = ""

    @property
    def path(self) -> str:
        """The path that rules and approvals know it by."""
        return self.new_path or self.old_path

    @property
    def status(self) -> FileStatus:
        """What happened to the file, as far as the names tell."""
        if not self.old_path:
            return "added"
        if not self.new_path:
            return "deleted"
        return "renamed" if self.old_path != self.new_path else "changed"


def units_of(changes: Iterable[Change], include: Sequence[str]) -> list[Unit]:
    """The models behind the changes, in natural order."""
    single: list[Unit] = []
    sharded: dict[str, Unit] = {}
    for change in changes:
        if not is_candidate(change, include):
            continue
        before, after = (model_key(path) if path else "" for path in (change.old.path, change.new.path))
        if (before, after) == (change.old.path, change.new.path):
            single.append(Unit(before, after, change.old, change.new, change.unmerged))
        elif before and after and before != after:
            sharded[after] = Unit(before, after, sharded=True)
        else:
            sharded.setdefault(after or before, Unit(after or before, after or before, sharded=True))
    single = [unit for unit in single if unit.path not in sharded]  # a single file that was split, or joined
    return sorted([*_paired(single), *sharded.values()], key=lambda unit: natural_key(unit.path))


def _paired(units: list[Unit]) -> list[Unit]:
    """A deleted and an added file that must be one model: converted beside itself, or moved to another folder.

    git itself pairs identical files only; to compare contents it would read every model.
    """
    for same in (_stem, posixpath.basename):
        gone = _unique((u for u in units if u.status == "deleted" and _weights(u)), same)
        come = _unique((u for u in units if u.status == "added" and _weights(u)), same)
        for key in gone.keys() & come.keys():
            before, after = gone[key], come[key]
            units = [u for u in units if u is not before and u is not after]
            units.append(Unit(before.old_path, after.new_path, before.old, after.new))
    return units


def _stem(path: str) -> str:
    return posixpath.splitext(path)[0]


def _weights(unit: Unit) -> bool:
    return not unit.path.endswith((".dvc", "dvc.lock"))


def _unique(units: Iterable[Unit], key: object) -> dict[str, Unit]:
    """Units by a key of their path, those left out that share it."""
    assert callable(key)
    found: dict[str, list[Unit]] = {}
    for unit in units:
        found.setdefault(key(unit.path), []).append(unit)
    return {name: group[0] for name, group in found.items() if len(group) == 1}
