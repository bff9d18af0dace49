"""Several checkpoints read in lockstep: each once, in the order of its bytes, a window of all in memory at a time.

For streams (git blobs), of which a history has one a version: every comparison that needs a version is fed from the
same reading, so that no version is read twice and none is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from diffai.errors import SourceError
from diffai.frozen import frozen
from diffai.model import Checkpoint, Codes, PairFigures, TensorSpec, TensorSummary
from diffai.tensors.blocks import Batch, Chunk, Pair, Piece, Sizes, Workspace, plan, span, unit_bits
from diffai.tensors.digest import Summariser, Summary, empty_summary
from diffai.tensors.dtypes import has_values
from diffai.tensors.engine import NumericOptions, finish_pair
from diffai.tensors.pairs import Comparer, Figures
from diffai.tensors.workers import run

_WINDOW = 1 << 19  # bytes of one checkpoint; git can have the next one ready in the meantime, as far as a pipe holds
_BLOCK = 1 << 18
_SIZES = Sizes(block=_BLOCK, chunk=1 << 62)  # a tensor that a window holds whole is one piece

Key = tuple[str, tuple[int, ...], int]
"""A tensor in all columns: name, shape, and the bytes of one whose dtype has no values (-1 for all others)."""


def key_of(spec: TensorSpec, name: str = "") -> Key:
    """The key of a tensor, under another ``name`` where it was renamed since."""
    return (name or spec.name, spec.shape, -1 if has_values(spec.values_dtype) else spec.nbytes)


def count_of(spec: TensorSpec) -> int:
    """Elements, or bytes of a tensor without values: what a part's ``start`` and ``stop`` count."""
    return spec.elements if has_values(spec.values_dtype) else spec.nbytes


def same_place(one: TensorSpec, other: TensorSpec) -> bool:
    """Whether two specs of a checkpoint are of the same bytes."""
    return one is other or (one.file, one.offset, one.name) == (other.file, other.offset, other.name)


@frozen
class Part:
    """Elements ``start`` to ``stop`` of a tensor; ``whole``: they are all of it."""

    key: Key
    start: int
    stop: int
    whole: bool


class Column(Checkpoint):
    """One checkpoint and its tensors by key. Those that stream are held in memory a window at a time.

    Serves as a checkpoint to whoever compares what the window holds; it reads values and says nothing beside them.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.format, self.tensors = checkpoint.format, checkpoint.tensors
        self.specs: dict[Key, TensorSpec] = {}
        self.streams = not checkpoint.random_access
        self._memory = np.empty(0, np.uint8)
        self._held: list[tuple[int, int, int, int]] = []  # file, first byte, byte after the last, place in memory

    def add(self, key: Key, spec: TensorSpec) -> bool:
        """Take a tensor in; False when another one has this key."""
        return same_place(self.specs.setdefault(key, spec), spec)

    def load(self, window: Sequence[Part]) -> None:
        """Read what this checkpoint has of a window; ascending where it streams. SourceError when it breaks off."""
        if not self.streams:
            return
        runs: list[list[int]] = []
        for part in window:
            spec = self.specs.get(part.key)
            if spec is None:
                continue
            offset, size = span(unit_bits(spec), part.start, part.stop)
            first = spec.offset + offset
            if runs and runs[-1][0] == spec.file and runs[-1][2] == first:
                runs[-1][2] += size
            else:
                runs.append([spec.file, first, first + size])
        total = sum(last - first for _, first, last in runs)
        if total > len(self._memory):
            self._memory = np.empty(total, np.uint8)
        self._held = []
        place = 0
        for file, first, last in runs:
            self.checkpoint.read_file_into(file, first, self._memory[place : place + last - first].data)
            self._held.append((file, first, last, place))
            place += last - first

    def read_into(self, spec: TensorSpec, offset: int, buffer: memoryview) -> None:
        """Bytes of a tensor that the window holds."""
        if self.streams:
            self.read_file_into(spec.file, spec.offset + offset, buffer)
        else:
            self.checkpoint.read_into(spec, offset, buffer)

    def codes(self, spec: TensorSpec) -> Codes | None:
        """As the checkpoint, where it can be read anywhere."""
        return None if self.streams else self.checkpoint.codes(spec)

    def read_codes_into(self, spec: TensorSpec, offset: int, buffer: memoryview) -> None:
        """As the checkpoint."""
        self.checkpoint.read_codes_into(spec, offset, buffer)

    def decode_codes(self, spec: TensorSpec, codes: memoryview, values: memoryview) -> None:
        """As the checkpoint."""
        self.checkpoint.decode_codes(spec, codes, values)

    def read_file_into(self, file: int, offset: int, buffer: memoryview) -> None:
        """Bytes of a file that the window holds."""
        if not self.streams:
            self.checkpoint.read_file_into(file, offset, buffer)
            return
        for held, first, last, place in self._held:
            if held == file and first <= offset and offset + len(buffer) <= last:
                start = place + offset - first
                buffer[:] = self._memory[start : start + len(buffer)].data
                return
        raise SourceError(f"offset {offset} is not in the window that was read")

    def verify_unchanged(self) -> None:
        """As the checkpoint."""
        self.checkpoint.verify_unchanged()

    def close(self) -> None:
        """As the checkpoint."""
        self.checkpoint.close()


def file_order(specs: Mapping[Key, TensorSpec]) -> tuple[Key, ...]:
    """The keys of a checkpoint in the order of its bytes."""
    return tuple(sorted(specs, key=lambda key: (specs[key].file, specs[key].offset)))


def merged_order(orders: Iterable[Sequence[Key]]) -> list[Key] | None:
    """One order that keeps all of these; None when there is none."""
    from graphlib import CycleError, TopologicalSorter

    different = list(dict.fromkeys(orders))
    if len(different) <= 1:
        return list(*different)
    sorter: TopologicalSorter[Key] = TopologicalSorter()
    for keys in different:
        for key in keys[:1]:
            sorter.add(key)
        for before, after in pairwise(keys):
            sorter.add(after, before)
    try:
        return list(sorter.static_order())
    except CycleError:
        return None


def _common_order(columns: Iterable[Column]) -> list[Key] | None:
    """An order of all keys in which every streaming column can be read forward; None when there is none."""
    orders: list[tuple[Key, ...]] = []
    others: dict[Key, None] = {}
    for column in columns:
        if not column.streams:
            others |= dict.fromkeys(column.specs)
        elif any(spec.offset < 0 for spec in column.specs.values()):
            return None
        else:
            orders.append(file_order(column.specs))
    order = merged_order(orders)
    return None if order is None else list(dict.fromkeys(order) | others)


def windows(columns: Sequence[Column], order: Sequence[Key]) -> Iterator[list[Part]]:
    """Cut all keys into windows of bounded memory."""
    bits: dict[Key, int] = {}
    counts: dict[Key, int] = {}
    for column in columns:
        for key, spec in column.specs.items():
            bits[key] = max(unit_bits(spec), bits.get(key, 0))
            counts[key] = count_of(spec)
    window: list[Part] = []
    used = 0
    for key in order:
        count = counts[key]
        size = (count * bits[key] + 7) // 8
        if used + size > _WINDOW and window:
            yield window
            window, used = [], 0
        if size <= _WINDOW:
            if count:
                window.append(Part(key, 0, count, True))
                used += size
            continue
        step = _WINDOW * 8 // bits[key] // 16 * 16  # whole bytes, of any dtype
        for start in range(0, count, step):
            yield [Part(key, start, min(start + step, count), False)]
    if window:
        yield window


class Work(Protocol):
    """Something that is to be computed from what the columns hold."""

    def on(self, window: Sequence[Part], space: Any) -> Any:
        """What this window gives; called on any thread, with buffers of its own."""

    def take(self, found: Any) -> None:
        """Keep what a window gave; called in the order of the windows."""

    def space(self) -> Any:
        """Buffers for :meth:`on`."""


class PairWork:
    """The comparison of pairs of tensors of two columns.

    Args:
        old, new: the columns.
        pairs: specs of both sides, equal in shape.
        keys: the one key that both specs of each pair have.
        options: as for :func:`diffai.tensors.engine.compare_pairs`.
    """

    def __init__(
        self, old: Column, new: Column, pairs: Sequence[Pair], keys: Sequence[Key], options: NumericOptions
    ) -> None:
        self._pairs, self._options = pairs, options
        self._comparer = Comparer(old, new, pairs, options)
        self._index = {key: index for index, key in enumerate(keys)}
        self._groups = [id(kind) if kind.joinable else None for kind in self._comparer.kinds]
        self._parts: dict[int, list[Figures]] = {}
        self._done: dict[int, PairFigures] = {}

    def space(self) -> Workspace:
        """Buffers of one thread."""
        return Workspace(_SIZES)

    def on(self, window: Sequence[Part], space: Workspace) -> list[tuple[int, bool, Figures]]:
        """Number, whether that was its end, and figures of each pair that has a part in the window."""
        counts = self._comparer.counts
        found = []
        for piece in _pieces(window, self._index, counts, self._groups):
            indices = piece.indices if isinstance(piece, Batch) else (piece.index,)
            for index, figures in zip(indices, self._comparer.compare(piece, space), strict=True):
                ends = isinstance(piece, Batch) or piece.stop == counts[index]
                found.append((index, ends, figures))
        return found

    def take(self, found: list[tuple[int, bool, Figures]]) -> None:
        """Merge figures; those of a tensor that is through are made final, and smaller."""
        for index, ends, figures in found:
            parts = self._parts.pop(index, [])
            if parts and figures.old is not None:
                parts[0].add(figures)
            else:
                parts.append(figures)  # bytes without values have a count and nothing to merge
            if ends:
                self._done[index] = self._finish(index, parts)
            else:
                self._parts[index] = parts

    def result(self) -> list[PairFigures]:
        """One result a pair, in the order of the pairs."""
        return [
            self._done[index] if index in self._done else self._finish(index, []) for index in range(len(self._pairs))
        ]

    def _finish(self, index: int, parts: list[Figures]) -> PairFigures:
        kind = self._comparer.kinds[index]
        return finish_pair(self._pairs[index], kind, parts, self._options)


class SummaryWork:
    """Statistics of some tensors of one column.

    Args:
        column: the column.
        specs: of tensors of it; keys: the key of each.
    """

    def __init__(self, column: Column, specs: Sequence[TensorSpec], keys: Sequence[Key]) -> None:
        self._specs = specs
        self._summariser = Summariser(column, specs, statistics=True, digest=False)
        self._index = {key: index for index, key in enumerate(keys)}
        self._counts = [count_of(spec) for spec in specs]
        self._groups = [
            spec.values_dtype if has_values(spec.values_dtype) and spec.values_dtype != "F4" else None for spec in specs
        ]
        self._found: list[Summary | None] = [None] * len(specs)

    def space(self) -> Workspace:
        """Buffers of one thread."""
        return Workspace(_SIZES)

    def on(self, window: Sequence[Part], space: Workspace) -> list[tuple[int, Summary]]:
        """Number and summary of each tensor that has a part in the window."""
        found: list[tuple[int, Summary]] = []
        for piece in _pieces(window, self._index, self._counts, self._groups):
            indices = piece.indices if isinstance(piece, Batch) else (piece.index,)
            found += zip(indices, self._summariser.summarise(piece, space), strict=True)
        return found

    def take(self, found: list[tuple[int, Summary]]) -> None:
        """Merge them."""
        for index, summary in found:
            before = self._found[index]
            if before is None:
                self._found[index] = summary
            else:
                before.add(summary)

    def result(self) -> list[TensorSummary]:
        """One summary a tensor, in the order of the specs."""
        return [
            found.summary(spec, statistics=True) if found else empty_summary(spec, statistics=True, digest=False)
            for spec, found in zip(self._specs, self._found, strict=True)
        ]


def _pieces(
    window: Sequence[Part], index: Mapping[Key, int], counts: Sequence[int], groups: Sequence[Hashable]
) -> list[Piece]:
    """What a window holds of some tensors, cut and joined as the kernel takes it."""
    whole = [index[part.key] for part in window if part.whole and part.key in index]
    pieces: list[Piece] = plan(counts, groups, whole, _SIZES, join=True)
    pieces += [
        Chunk(index[part.key], part.start, part.stop, once=True)
        for part in window
        if not part.whole and part.key in index
    ]
    return pieces


def read_in_lockstep(
    columns: Sequence[Column],
    work: Sequence[Work],
    threads: int,
    progress: Callable[[float], None] | None = None,
) -> bool:
    """Read all columns once, window by window, and have all the work done on each window.

    Args:
        columns: each with the specs of all its tensors that the work needs.
        work: what is to be computed; it reads the columns.
        threads: at most as many.
        progress: called with the part that is done, 0 to 1.

    Returns:
        False when the streams cannot be read forward together, and nothing was done.

    Raises:
        SourceError: bytes are gone.
    """
    order = _common_order(columns)
    if order is None:
        return False
    cut = list(windows(columns, order))
    # Buffers of each thread by kind of work, kept from window to window.
    spaces: list[dict[type, Any]] = [{} for _ in range(max(1, threads))]
    for done, window in enumerate(cut, 1):
        for column in columns:
            column.load(window)
        for item, found in zip(work, _all_work(work, window, spaces), strict=True):
            item.take(found)
        if progress is not None:
            progress(done / len(cut))
    for column in columns:
        column.verify_unchanged()
    return True


def _all_work(work: Sequence[Work], window: Sequence[Part], spaces: Sequence[dict[type, Any]]) -> list[Any]:
    """What each work gives for one window."""
    free = iter(spaces)

    def on(item: Work, space: dict[type, Any]) -> Any:
        kind = type(item)
        if kind not in space:
            space[kind] = item.space()
        return item.on(window, space[kind])

    return run(work, on, lambda: next(free), len(spaces), lambda _: None)
