"""What two checkpoints say beside the values of their tensors, compared facet by facet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from diffai.comparison.result import LeftOut, PartsChange, TensorChange, ValueChange
from diffai.frozen import frozen
from diffai.model import Checkpoint, Scalar, TensorSpec, natural_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Facet = Literal["metadata", "training", "classes", "graph", "facts"]

Select = Callable[[Mapping[str, Scalar] | Mapping[str, str]], Mapping[str, Scalar]]
"""Keeps the keys that are to be compared."""

NOT_TIED = "not tied"


@frozen
class FacetChanges:
    """Differences by facet; the fields are those of the same names of :class:`diffai.comparison.result.ModelDiff`."""

    metadata: tuple[ValueChange, ...]
    training: tuple[ValueChange, ...]
    classes: tuple[ValueChange, ...]
    graph: tuple[ValueChange, ...]
    facts: tuple[ValueChange, ...]
    parts: tuple[PartsChange, ...]
    not_expressible: tuple[str, ...]
    left_out: tuple[LeftOut, ...]


def compare_facets(old: Checkpoint, new: Checkpoint, tensors: Sequence[TensorChange], select: Select) -> FacetChanges:
    """All facets of two checkpoints.

    Args:
        old, new: both sides; one that is absent is an empty checkpoint.
        tensors: what happened to the tensors, which says which tensor is which.
        select: which keys are compared.

    """
    facets = _Facets(old, new, tensors, select)
    ties, marks = facets.ties(), facets.requires_grad()
    metadata, classes = facets.changes("metadata"), facets.changes("classes")
    more = (*facets.beside(), *marks)
    graph = (*facets.changes("graph"), *facets.uses())
    return FacetChanges(
        _sorted((*metadata, *more)), facets.changes("training"), (*classes, *ties),
        graph, facets.changes("facts"), facets.parts(), tuple(facets.not_expressible),
        facets.asides(),
    )  # fmt: skip


class _Facets:
    """One comparison; collects what a side cannot express."""

    def __init__(self, old: Checkpoint, new: Checkpoint, tensors: Sequence[TensorChange], select: Select) -> None:
        self._old, self._new, self._tensors, self._select = old, new, tensors, select
        self._inexpressible = old.not_expressible | new.not_expressible
        self.not_expressible: list[str] = []

    def _is_expressible(self, facet: str) -> bool:
        """Whether both formats can hold a facet; it is noted where one of them cannot."""
        if facet in self._inexpressible:
            self.not_expressible.append(facet)
            return False
        return True

    def changes(self, facet: Facet) -> tuple[ValueChange, ...]:
        """Keys whose value differs; none where one side's format cannot hold the facet, which is then noted."""
        old, new = (_FACETS[facet](side) for side in (self._old, self._new))
        if not (old or new) or not ((old and new) or self._is_expressible(facet)):
            return ()
        old, new = self._select(old), self._select(new)
        changes = _value_changes(old, _under_root_of(old, new) if facet == "classes" else new)
        return changes + self._retyped(old, new) if facet == "metadata" else changes

    def _retyped(self, old: Mapping[str, Scalar], new: Mapping[str, Scalar]) -> tuple[ValueChange, ...]:
        """Metadata of one value that both files store, each as another type: shown with the types."""
        before, now = self._old.metadata_types, self._new.metadata_types
        return tuple(
            ValueChange(key, "changed", f"{value} ({before[key]})", f"{new[key]} ({now[key]})")
            for key, value in old.items()
            if key in new and key in before and key in now and before[key] != now[key] and _same(value, new[key])
        )

    def _pairs(self) -> Iterator[tuple[TensorSpec, TensorSpec]]:
        """The tensors of both sides; made anew each time, because there may be 100,000."""
        return ((change.old, change.new) for change in self._tensors if change.old and change.new)

    def ties(self) -> tuple[ValueChange, ...]:
        """Tensors of both sides that share their storage with another on one side only."""
        if not any(before.alias_of or after.alias_of for before, after in self._pairs()):
            return ()
        if not self._is_expressible("ties"):
            return ()
        old: dict[str, str] = {}
        new: dict[str, str] = {}
        changes = []
        for before, after in self._pairs():
            then = old.setdefault(before.alias_of or before.name, after.name)
            now = new.setdefault(after.alias_of or after.name, after.name)
            if then != now:
                changes.append(ValueChange(after.name, "changed", _tied(then, after.name), _tied(now, after.name)))
        return _sorted(changes)

    def requires_grad(self) -> tuple[ValueChange, ...]:
        """Tensors of both sides of which one side says that they require a gradient, and the other does not."""
        old, new = self._old.requires_grad, self._new.requires_grad
        if not (old or new) or not self._is_expressible("requires_grad"):
            return ()
        pairs = ((before.name, now.name) for before, now in self._pairs())
        marks = {f"{now}.requires_grad": before in old for before, now in pairs if (before in old) != (now in new)}
        return tuple(ValueChange(key, "changed", mark, not mark) for key, mark in self._select(marks).items())

    def uses(self) -> tuple[ValueChange, ...]:
        """Constants of numbered names that do another work, in graphs that are alike but for such names."""
        if not (self._old.uses and self._new.uses) or self._old.graph.get("wiring") != self._new.graph.get("wiring"):
            return ()
        changes = []
        for before, now in self._pairs():
            old, new = self._old.uses.get(before.name), self._new.uses.get(now.name)
            if old and new and old[0] != new[0]:
                changes.append(ValueChange(f"use {now.name}", "changed", old[0][:16], new[0][:16]))
        return _sorted(changes)

    def beside(self) -> tuple[ValueChange, ...]:
        """What the configurations beside both files say differently; nothing where one side has none."""
        old, new = self._select(self._old.beside), self._select(self._new.beside)
        return _value_changes(old, new) if old and new else ()

    def parts(self) -> tuple[PartsChange, ...]:
        """Repeating parts that are not all the same; identical ones are counted as often as both sides have them."""
        changes = []
        for kind in {**self._old.parts, **self._new.parts}:
            old, new = self._old.parts.get(kind, ()), self._new.parts.get(kind, ())
            if old == new:
                continue
            left = Counter(old)
            changes.append(PartsChange(kind, len(old), len(new), sum((left & Counter(new)).values())))
        return tuple(changes)

    def asides(self) -> tuple[LeftOut, ...]:
        """What both files say, differently, and is deliberately not compared."""
        old, new = self._old.asides, self._new.asides
        found = [
            LeftOut(what, 1, "differ and are not compared") for what in old if what in new and old[what] != new[what]
        ]
        if bool(self._old.beside) != bool(self._new.beside) and self._old.tensors and self._new.tensors:
            found.append(LeftOut("configuration", 1, "is beside one side only (or not at hand), and is not compared"))
        return tuple(found)


_FACETS: dict[Facet, Callable[[Checkpoint], Mapping[str, Scalar]]] = {
    "metadata": lambda side: side.metadata,
    "training": lambda side: side.training,
    "classes": lambda side: side.classes,
    "graph": lambda side: side.graph,
    "facts": lambda side: side.facts,
}


def _tied(first: str, name: str) -> str:
    return NOT_TIED if first == name else f"tied to {first}"


def _under_root_of(old: Mapping[str, Scalar], new: Mapping[str, Scalar]) -> Mapping[str, Scalar]:
    """The new side's classes under the old side's root, where both are one object of another class."""
    before, now = _root(old), _root(new)
    if not before or not now or before == now:
        return new
    return {before + key[len(now) :]: value for key, value in new.items()}


def _root(classes: Mapping[str, Scalar]) -> str:
    """The key that all others stand below; "" where there is none."""
    first = min(classes, key=len, default="")
    return first if all(key == first or key.startswith(f"{first}.") for key in classes) else ""


def _value_changes(old: Mapping[str, Scalar], new: Mapping[str, Scalar]) -> tuple[ValueChange, ...]:
    """Keys whose value differs, in natural order; True and 1 are different, NaN equals NaN."""
    changes = []
    for key in {**old, **new}:
        if key not in new:
            changes.append(ValueChange(key, "removed", old=old[key]))
        elif key not in old:
            changes.append(ValueChange(key, "added", new=new[key]))
        elif not _same(old[key], new[key]):
            changes.append(ValueChange(key, "changed", old[key], new[key]))
    return _sorted(changes)


def _sorted(changes: Iterable[ValueChange]) -> tuple[ValueChange, ...]:
    return tuple(sorted(changes, key=lambda change: natural_key(change.key)))


def _same(a: Scalar, b: Scalar) -> bool:
    if type(a) is not type(b):
        return False
    return a == b or (a != a and b != b)
