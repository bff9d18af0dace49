"""A document with changes applied: the old one becomes the new one."""

from __future__ import annotations

from collections.abc import Iterable

from diffai.comparison.documents.result import Change, Children, Identified, Path, Step, Value
from diffai.comparison.documents.structure import identities


def applied(document: Value, changes: Iterable[Change]) -> Value:
    """A copy of a document in which the changes of a comparison that chose everything are made.

    Elements that were matched by a key keep their places, and what was added stands behind them.

    Raises:
        KeyError, IndexError: the changes are those of another document.
    """
    root = _Node()
    for change in changes:
        root.add(change)
    return root.applied(document)


class _Node:
    """Changes at one path and below it."""

    def __init__(self) -> None:
        self._below: dict[Step, _Node] = {}
        self._removed: list[Step] = []
        self._added: list[tuple[Step, Value]] = []
        self._value: tuple[Value] | None = None

    def add(self, change: Change) -> None:
        path: Path = change.path
        node = self
        for step in path if change.kind in ("Modified", "TypeChanged") else path[:-1]:
            node = node._below.setdefault(step, _Node())
        if change.kind == "Removed":
            node._removed.append(path[-1])
        elif change.kind == "Added":
            node._added.append((path[-1], change.new))
        else:
            node._value = (change.new,)

    def applied(self, value: Value) -> Value:
        if isinstance(value, Children) and len(value) == 1 and not self._by_place():
            return Children([self.applied(value[0])])
        if self._value is not None:
            return self._value[0]
        if isinstance(value, dict):
            return self._mapping(value)
        if isinstance(value, list):
            return self._list(value)
        return value

    def _by_place(self) -> bool:
        steps = (*self._removed, *self._below, *(step for step, _ in self._added))
        return any(isinstance(step, int | Identified) for step in steps)

    def _mapping(self, value: dict[Value, Value]) -> dict[Value, Value]:
        made = {key: inside for key, inside in value.items() if key not in self._removed}
        for key, node in self._below.items():
            made[key] = node.applied(made[key])
        made.update(self._added)
        return made

    def _list(self, value: list[Value]) -> list[Value]:
        steps = [*self._removed, *self._below, *(step for step, _ in self._added)]
        key = next((step.key for step in steps if isinstance(step, Identified)), "")
        if key:
            return self._by_id(value, key)
        gone = set(self._removed)
        made = [inside for place, inside in enumerate(value) if place not in gone]
        for place, inside in self._added:  # ascending: each place is one of the new list
            assert isinstance(place, int)
            made.insert(place, inside)
        for place, node in self._below.items():
            assert isinstance(place, int)
            made[place] = node.applied(made[place])
        return made

    def _by_id(self, value: list[Value], key: str) -> list[Value]:
        gone = set(self._removed)
        made = []
        for step, place in (identities(value, key) or {}).items():
            if step not in gone:
                made.append(self._below[step].applied(value[place]) if step in self._below else value[place])
        return [*made, *(inside for _, inside in self._added)]
