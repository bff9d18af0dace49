"""Where a model goes: sums over its weights as they move from version to version, each tensor in one pass.

For versions f (first), q (before the previous one), p (previous) and c (current), over each tensor's elements that
are finite in all versions at hand: |c-p|^2, |p|^2, |c|^2, p.c, |c-f|^2, |f|^2, (c-p).(p-q), |p-q|^2,
then |c-p|^2 again where there is a q, and |c|^2 again where there is a p.
Loads numpy; figures are made of the sums elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from diffai.comparison.result import ModelDiff
from diffai.frozen import frozen
from diffai.model import Checkpoint, TensorSpec
from diffai.tensors.abreast import Part, key_of
from diffai.tensors.blocks import span, unit_bits
from diffai.tensors.dtypes import FAST_LIMITS, Array, decode32, decode64, has_values
from diffai.tensors.workers import run, thread_count

_BLOCK = 1 << 17  # elements; the seven rows of a thread are 3.7 MB
_CHUNK = 1 << 22  # elements of a piece of work
_LARGE = 1 << 14  # below this many elements float64 costs nothing that could be felt
_ROW, _PIECE = 256, 4096
_FAST = ("F32", "BF16", "F16")
_SMALLEST = 2.0**-50  # squares of smaller values lose digits in float32
SUMS = 10
"""Sums a tensor, in the order of the module's description; a count of non-finite elements of c follows."""


@frozen
class Row:
    """One tensor of the current version and what it was; None where it was not there, or had another shape."""

    name: str
    current: TensorSpec
    previous: TensorSpec | None = None
    before: TensorSpec | None = None
    first: TensorSpec | None = None


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


@frozen
class _Piece:
    row: int
    start: int
    stop: int


def measure(
    rows: Sequence[Row], checkpoints: Checkpoints, *, threads: int = 0, progress: Callable[[int], None] | None = None
) -> list[list[float]]:
    """The sums of each row, and the count of non-finite elements of its current version.

    Raises:
        SourceError: bytes are gone.
    """
    sides = checkpoints.all()
    specs = [(row.current, row.previous, row.before, row.first) for row in rows]
    order = sorted(range(len(rows)), key=lambda i: (rows[i].current.file, rows[i].current.offset))
    pieces = [
        _Piece(index, start, min(start + _CHUNK, rows[index].current.elements))
        for index in order
        if has_values(rows[index].current.values_dtype)
        for start in range(0, rows[index].current.elements, _CHUNK)
    ]

    def work(piece: _Piece, room: _Room) -> list[float]:
        return _sums_between(sides, specs[piece.row], piece.start, piece.stop, room)

    def report(piece: _Piece) -> None:
        if progress is not None:
            progress(sum(spec.nbytes // max(1, spec.elements) * (piece.stop - piece.start)
                         for spec in specs[piece.row] if spec is not None))  # fmt: skip

    everywhere = all(side is None or side.random_access for side in sides)
    size = sum(spec.nbytes for row in specs for spec in row if spec is not None)
    done = run(pieces, work, _Room, thread_count(threads, size) if everywhere else 1, report)
    result = [[0.0] * (SUMS + 1) for _ in rows]
    for piece, sums in zip(pieces, done, strict=True):
        result[piece.row] = [a + b for a, b in zip(result[piece.row], sums, strict=True)]
    return result


class RowWork:
    """The same for versions that are read abreast (see :mod:`diffai.tensors.abreast`)."""

    def __init__(self, rows: Sequence[Row], checkpoints: Checkpoints) -> None:
        self._sides = checkpoints.all()
        self._specs = [(row.current, row.previous, row.before, row.first) for row in rows]
        self._index = {key_of(row.current): i for i, row in enumerate(rows) if has_values(row.current.values_dtype)}
        self._sums = [[0.0] * (SUMS + 1) for _ in rows]

    def space(self) -> _Room:
        """Buffers of one thread."""
        return _Room()

    def on(self, window: Sequence[Part], room: _Room) -> list[tuple[int, list[float]]]:
        """The sums of what the window holds of each row."""
        return [
            (self._index[part.key], _sums_between(self._sides, self._specs[self._index[part.key]], part.start,
                                                  part.stop, room))
            for part in window
            if part.key in self._index
        ]  # fmt: skip

    def take(self, found: list[tuple[int, list[float]]]) -> None:
        """Add them up."""
        for index, sums in found:
            self._sums[index] = [a + b for a, b in zip(self._sums[index], sums, strict=True)]

    def result(self) -> list[list[float]]:
        """As :func:`measure`."""
        return self._sums


class _Room:
    """Memory of one thread: the four versions and their three differences, as float32 rows, and raw bytes."""

    def __init__(self) -> None:
        """Allocate once; fresh arrays for every block would cost more than the sums."""
        self.rows = np.zeros((7, _BLOCK), np.float32)
        self.raw = np.empty(4 * _BLOCK, np.uint8)


def _sums_between(sides: Sequence[Checkpoint | None], specs: Sequence[TensorSpec | None], first: int, last: int,
                  room: _Room) -> list[float]:  # fmt: skip
    """Sums over elements ``first`` to ``last``, block by block."""
    total = [0.0] * (SUMS + 1)
    with np.errstate(all="ignore"):
        for start in range(first, last, _BLOCK):
            sums = _block(sides, specs, start, min(start + _BLOCK, last), room)
            total = [a + b for a, b in zip(total, sums, strict=True)]
    return total


def _block(sides: Sequence[Checkpoint | None], specs: Sequence[TensorSpec | None], start: int, stop: int,
           room: _Room) -> list[float]:  # fmt: skip
    """Sums over some elements: large blocks of common dtypes in float32, everything else in float64."""
    given = [(side, spec) for side, spec in zip(sides, specs, strict=True) if side is not None and spec is not None]
    if stop - start >= _LARGE and all(spec.values_dtype in _FAST for _, spec in given):
        sums = _fast(sides, specs, start, stop, room)
        if sums is not None:
            return sums
    values = [
        _read(side, spec, start, stop) if side is not None and spec is not None else None
        for side, spec in zip(sides, specs, strict=True)
    ]
    return _sums(values)


def _fast(sides: Sequence[Checkpoint | None], specs: Sequence[TensorSpec | None], start: int, stop: int,
          room: _Room) -> list[float] | None:  # fmt: skip
    """Sums in float32 rows of 256, added in float64; None where values are strange, very great or very small.

    Differences of float32 are rounded by at most 2**-24 of themselves, rows by less than 1e-6 and, averaged, near 1e-8
    (see :mod:`diffai.tensors.fast`).
    """
    count = stop - start
    width = -(-count // _ROW) * _ROW
    rows: list[Array | None] = []
    for place, (side, spec) in enumerate(zip(sides, specs, strict=True)):
        if side is None or spec is None:
            rows.append(None)
            continue
        row = room.rows[place]
        row[count:width] = 0
        offset, size = span(unit_bits(spec), start, stop)
        if spec.values_dtype == "F32":
            side.read_into(spec, offset, row[:count].view(np.uint8).data)
        else:
            side.read_into(spec, offset, room.raw[:size].data)
            decode32(spec.values_dtype, room.raw[:size], row[:count])
        low, high = float(np.minimum.reduce(row[:count])), float(np.maximum.reduce(row[:count]))
        limit = FAST_LIMITS[spec.values_dtype]
        if not (-limit <= low and high <= limit and max(-low, high) >= _SMALLEST):  # NaN fails all of these
            return None
        rows.append(row[:width])
    return _products(rows, [room.rows[4 + place][:width] for place in range(3)], _dot32)


def _dot32(a: Array, b: Array) -> float:
    """Dot product of rows of a whole number of pieces, without the threads that BLAS would start."""
    parts = np.matmul(a.reshape(-1, 1, _ROW), b.reshape(-1, _ROW, 1))
    return float(np.add.reduce(parts, axis=None, dtype=np.float64))


def _dot64(a: Array, b: Array) -> float:
    """Dot product in float64, in pieces below those for which BLAS starts threads."""
    whole = len(a) // _PIECE * _PIECE
    total = float(a[whole:] @ b[whole:])
    if whole:
        total += float(np.matmul(a[:whole].reshape(-1, 1, _PIECE), b[:whole].reshape(-1, _PIECE, 1)).sum())
    return total


def _read(side: Checkpoint, spec: TensorSpec, start: int, stop: int) -> Array | None:
    """Elements as float64; complex ones as twice as many real ones. None when the bytes are no numbers."""
    if not has_values(spec.values_dtype):
        return None
    offset, size = span(unit_bits(spec), start, stop)
    raw = np.empty(size, np.uint8)
    side.read_into(spec, offset, raw.data)
    values = decode64(spec.values_dtype, raw, stop - start)
    return values.high if values.imag is None else np.concatenate((values.high, values.imag))


def _sums(values: list[Array | None]) -> list[float]:
    """Sums in float64 over the elements that are finite on all sides."""
    current = values[0]
    assert current is not None
    values = [v if v is not None and len(v) == len(current) else None for v in values]
    strange = 0
    # A sum is finite unless a value is not, or it overflows: one pass instead of a mask.
    if not all(value is None or np.isfinite(np.add.reduce(value)) for value in values):
        good = np.isfinite(current)
        strange = len(current) - int(np.count_nonzero(good))
        for value in values[1:]:
            if value is not None:
                good &= np.isfinite(value)
        values = [None if v is None else np.where(good, v, 0.0) for v in values]
    result = _products(values, [np.empty_like(current) for _ in range(3)], _dot64)
    result[SUMS] = float(strange)
    return result


def _products(
    values: Sequence[Array | None], scratch: Sequence[Array], dot: Callable[[Array, Array], float]
) -> list[float]:
    """The sums of the module's description; ``scratch`` takes the differences."""
    current, previous, before, first = values
    assert current is not None
    result = [0.0] * (SUMS + 1)
    result[2] = dot(current, current)
    if previous is not None:
        update = np.subtract(current, previous, out=scratch[0])
        result[0], result[1] = dot(update, update), dot(previous, previous)
        result[3], result[9] = dot(previous, current), result[2]
        if before is not None:
            earlier = np.subtract(previous, before, out=scratch[1])
            result[6], result[7], result[8] = dot(update, earlier), dot(earlier, earlier), result[0]
    if first is not None:
        drift = np.subtract(current, first, out=scratch[2])
        result[4], result[5] = dot(drift, drift), dot(first, first)
    return result
