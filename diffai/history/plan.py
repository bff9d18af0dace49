"""What the figures of one commit depend on, and which tensors of which versions belong together for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from diffai.comparison.result import ModelDiff
from diffai.frozen import frozen
from diffai.history.version import Version
from diffai.model import Checkpoint, TensorSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.history.turn import Triple
    from diffai.tensors.blocks import Pair


@frozen
class Need:
    """One commit of a walk: the versions its figures depend on, and the names that two of them have otherwise.

    Attributes:
        old, new: what is compared; None where the model was not there.
        before: the version before ``old``; first: the first one of the walk. None where there is none.
        names_before: name in ``before`` by name in ``old``, where they differ; names_first: the same for ``first``.
    """

    old: Version | None
    new: Version | None
    before: Version | None = None
    first: Version | None = None
    names_before: tuple[tuple[str, str], ...] = ()
    names_first: tuple[tuple[str, str], ...] = ()

    @property
    def versions(self) -> tuple[Version | None, ...]:
        """In the order current, previous, before, first."""
        return (self.new, self.old, self.before, self.first)


Coming = Callable[[], Iterable[Need]]
"""The commit at hand and those that follow it in the walk, as far as they are asked for."""


@frozen
class Headers:
    """What the versions say of themselves; None where there is none."""

    current: Checkpoint
    previous: Checkpoint | None = None
    before: Checkpoint | None = None
    first: Checkpoint | None = None


@frozen
class Plan:
    """The tensors whose values are read for one commit; every list in the order of the current version.

    Attributes:
        weights: of the current version, buffers included, tied ones once.
        pairs: previous and current, of equal shape, of everything that is compared.
        drift: first and current, of equal shape: parameters.
        turns: before, previous and current, of equal shape: parameters.
    """

    weights: tuple[TensorSpec, ...]
    pairs: tuple[Pair, ...]
    drift: tuple[Pair, ...]
    turns: tuple[Triple, ...]

    def entries(self, need: Need) -> Iterator[tuple[Version, TensorSpec, TensorSpec]]:
        """Every tensor that is read: the version it is in, where it lies, and what it is in the current version."""
        new, old, before, first = need.versions
        assert new is not None
        for spec in self.weights:
            yield new, spec, spec
        for version, pairs in ((old, self.pairs), (first, self.drift)):
            if version is not None:
                for was, now in pairs:
                    yield version, was, now
                    yield new, now, now
        if old is not None and before is not None:
            for earliest, was, now in self.turns:
                yield before, earliest, now
                yield old, was, now


def plan_of(diff: ModelDiff, headers: Headers, need: Need) -> Plan:
    """The tensors of a commit, out of a comparison of headers."""
    names_before, names_first = dict(need.names_before), dict(need.names_first)
    weights: list[TensorSpec] = []
    pairs: list[Pair] = []
    drift: list[Pair] = []
    turns: list[Triple] = []
    # A new tensor may have taken the name that another one had.
    moved = (set(names_before.values()) - set(names_before), set(names_first.values()) - set(names_first))
    for change in diff.tensors:
        new = change.new
        if new is None:
            continue
        old = change.old if change.old is not None and change.old.shape == new.shape else None
        if old is not None:
            pairs.append((old, new))
        if change.role == "training" or new.alias_of:
            continue
        weights.append(new)
        if not change.is_parameter:
            continue
        name = change.old.name if change.old is not None else change.name
        first = _alike(headers.first, names_first.get(name, name), new) if name not in moved[1] else None
        if first is not None:
            drift.append((first, new))
        before = _alike(headers.before, names_before.get(name, name), new) if name not in moved[0] else None
        if old is not None and before is not None:
            turns.append((before, old, new))
    return Plan(tuple(weights), tuple(pairs), tuple(drift), tuple(turns))


def _alike(checkpoint: Checkpoint | None, name: str, spec: TensorSpec) -> TensorSpec | None:
    """The tensor of that name, where it has the same shape."""
    found = checkpoint.tensors.get(name) if checkpoint is not None else None
    return found if found is not None and found.shape == spec.shape else None


def elements(specs: Sequence[TensorSpec] | Sequence[Pair] | Sequence[Triple]) -> int:
    """Elements of the tensors of a list, each once."""
    return sum((item if isinstance(item, TensorSpec) else item[-1]).elements for item in specs)
