"""Where a model goes: sums over its weights as they move from version to version, each tensor in one pass.

For versions f (first), q (before the previous one), p (previous) and c (current), over each tensor's elements that
are finite in all versions at hand, in float64: |c-p|^2, |p|^2, |c|^2, p.c, |c-f|^2, |f|^2, (c-p).(p-q), |p-q|^2,
then |c-p|^2 again where there is a q, and |c|^2 again where there is a p.
Loads numpy; figures are made of the sums elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from diffai.model import Checkpoint, TensorSpec
from diffai.tensors.blocks import span, unit_bits
from diffai.tensors.dtypes import Array, decode64, has_values
from diffai.tensors.workers import run, thread_count

_BLOCK = 1 << 17  # elements; four sides of float64 are 4 MB a thread
_CHUNK = 1 << 24
SUMS = 10
"""Sums a tensor, in the order of the module's description; a count of non-finite elements of c follows."""


@dataclass(frozen=True, slots=True)
class Row:
    """One tensor of the current version and what it was; None where it was not there, or had another shape."""

    name: str
    current: TensorSpec
    previous: TensorSpec | None = None
    before: TensorSpec | None = None
    first: TensorSpec | None = None


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The versions themselves; None where there is none."""

    current: Checkpoint
    previous: Checkpoint | None = None
    before: Checkpoint | None = None
    first: Checkpoint | None = None

    def all(self) -> tuple[Checkpoint | None, ...]:
        """In the order of a row's specs."""
        return (self.current, self.previous, self.before, self.first)


@dataclass(frozen=True, slots=True)
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

    def work(piece: _Piece, _space: None) -> list[float]:
        total = [0.0] * (SUMS + 1)
        with np.errstate(all="ignore"):
            for start in range(piece.start, piece.stop, _BLOCK):
                stop = min(start + _BLOCK, piece.stop)
                values = [
                    _read(side, spec, start, stop) if side is not None and spec is not None else None
                    for side, spec in zip(sides, specs[piece.row], strict=True)
                ]
                total = [a + b for a, b in zip(total, _sums(values), strict=True)]
        return total

    def report(piece: _Piece) -> None:
        if progress is not None:
            progress(sum(spec.nbytes // max(1, spec.elements) * (piece.stop - piece.start)
                         for spec in specs[piece.row] if spec is not None))  # fmt: skip

    everywhere = all(side is None or side.random_access for side in sides)
    size = sum(spec.nbytes for row in specs for spec in row if spec is not None)
    done = run(pieces, work, lambda: None, thread_count(threads, size) if everywhere else 1, report)
    result = [[0.0] * (SUMS + 1) for _ in rows]
    for piece, sums in zip(pieces, done, strict=True):
        result[piece.row] = [a + b for a, b in zip(result[piece.row], sums, strict=True)]
    return result


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
    current, previous, before, first = values
    assert current is not None
    strange = 0
    # A sum is finite unless a value is not, or it overflows: one pass instead of a mask.
    if not all(value is None or np.isfinite(np.add.reduce(value)) for value in values):
        strange = int(np.count_nonzero(~np.isfinite(current)))
        good = np.isfinite(current)
        for value in (previous, before, first):
            if value is not None:
                good &= np.isfinite(value)
        current, previous, before, first = (None if v is None else np.where(good, v, 0.0) for v in values)
        assert current is not None
    result = [0.0] * (SUMS + 1)
    result[2], result[SUMS] = float(current @ current), float(strange)
    if previous is not None:
        update = current - previous
        result[0], result[1], result[3] = float(update @ update), float(previous @ previous), float(previous @ current)
        result[9] = result[2]
        if before is not None:
            earlier = previous - before
            result[6], result[7] = float(update @ earlier), float(earlier @ earlier)
            result[8] = result[0]
    if first is not None:
        drift = current - first
        result[4], result[5] = float(drift @ drift), float(first @ first)
    return result
