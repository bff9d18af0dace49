"""Where a model goes: which tensors of which versions belong together, and the sums over them as they move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from diffai.comparison.result import ModelDiff
from diffai.frozen import frozen
from diffai.history.sums import Room, Sums, add_sums, has_numbers, no_sums
from diffai.model import Checkpoint, TensorSpec
from diffai.tensors.abreast import Key, Part
from diffai.tensors.workers import run, thread_count


@frozen
class Row:
    """One tensor of the current version and what it was; None where it was not there, or had another shape."""

    name: str
    current: TensorSpec
    previous: TensorSpec | None = None
    before: TensorSpec | None = None
    first: TensorSpec | None = None

    @property
    def specs(self) -> tuple[TensorSpec | None, ...]:
        """In the order of the checkpoints: current, previous, before, first."""
        return (self.current, self.previous, self.before, self.first)


@frozen
class Checkpoints:
    """The versions themselves; None where there is none."""

    current: Checkpoint
    previous: Checkpoint | None = None
    before: Checkpoint | None = None
    first: Checkpoint | None = None

    def all(self) -> tuple[Checkpoint | None, ...]:
        """In the order of a row's specs."""
        return (self.current, self.previous, self.before, self.first)


def rows_of(
    diff: ModelDiff, versions: Checkpoints, names_before: Mapping[str, str], names_first: Mapping[str, str]
) -> list[Row]:
    """The weights of a comparison and what they were in earlier versions.

    Args:
        diff: of the previous version and the current one.
        versions: their headers are enough.
        names_before: name in the version before the previous one by name in that, where they differ.
        names_first: the same for the first version.
    """
    # A new tensor may have taken the name that another one had.
    moved = (set(names_before.values()) - set(names_before), set(names_first.values()) - set(names_first))
    rows = []
    for change in diff.tensors:
        if change.new is None or change.new.role != "weight" or change.new.alias_of:
            continue
        if not change.new.is_parameter:
            rows.append(Row(change.name, change.new))
            continue
        name = change.old.name if change.old is not None else change.name
        rows.append(Row(
            change.name, change.new,
            _alike(versions.previous, name, change.new) if change.old is not None else None,
            _alike(versions.before, names_before.get(name, name), change.new)
            if change.old is not None and name not in moved[0] else None,
            _alike(versions.first, names_first.get(name, name), change.new) if name not in moved[1] else None,
        ))  # fmt: skip
    return rows


def _alike(checkpoint: Checkpoint | None, name: str, spec: TensorSpec) -> TensorSpec | None:
    """The tensor of that name, where it has the same shape."""
    found = checkpoint.tensors.get(name) if checkpoint is not None else None
    return found if found is not None and found.shape == spec.shape else None


def measure(rows: Sequence[Row], checkpoints: Checkpoints, *, threads: int = 0) -> list[list[float]]:
    """The sums of each row (see :mod:`diffai.history.sums`).

    Args:
        rows: of any number of tensors.
        checkpoints: can be read in any order.
        threads: 0 chooses by the processors and the amount of work.

    Raises:
        SourceError: bytes are gone.
    """
    sums = Sums(checkpoints.all(), [row.specs for row in rows])
    size = sum(spec.nbytes for row in rows for spec in row.specs if spec is not None)
    pieces = sums.pieces()
    result = [no_sums() for _ in rows]
    for found in run(pieces, sums.of, Room, thread_count(threads, size), lambda _: None):
        add_sums(result, found)
    return result


class RowWork:
    """The same for versions that are read abreast (see :mod:`diffai.tensors.abreast`)."""

    def __init__(self, rows: Sequence[Row], keys: Sequence[Key], checkpoints: Checkpoints) -> None:
        """Know each row by the key of its tensor."""
        self._work = Sums(checkpoints.all(), [row.specs for row in rows])
        self._index = {key: i for i, (key, row) in enumerate(zip(keys, rows, strict=True)) if has_numbers(row.current)}
        self._sums = [no_sums() for _ in rows]

    def space(self) -> Room:
        """Buffers of one thread."""
        return Room()

    def on(self, window: Sequence[Part], room: Room) -> list[tuple[int, list[float]]]:
        """The sums of what the window holds of each row."""
        index = self._index
        return self._work.of([(index[p.key], p.start, p.stop) for p in window if p.key in index], room)

    def take(self, found: list[tuple[int, list[float]]]) -> None:
        """Add them up."""
        add_sums(self._sums, found)

    def result(self) -> list[list[float]]:
        """As :func:`measure`."""
        return self._sums
