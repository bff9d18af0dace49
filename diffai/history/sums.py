"""Sums over the elements of tensors as they move from version to version, each tensor in one pass.

For versions f (first), q (before the previous one), p (previous) and c (current), over each tensor's elements that
are finite in all versions at hand: |c-p|^2, |p|^2, |c|^2, p.c, |c-f|^2, |f|^2, (c-p).(p-q), |p-q|^2,
then |c-p|^2 again where there is a q, and |c|^2 again where there is a p.
Loads numpy; figures are made of the sums elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from diffai.model import Checkpoint, TensorSpec
from diffai.tensors.blocks import read_joined, span, unit_bits
from diffai.tensors.dtypes import FAST_LIMITS, Array, decode32, decode64, has_values

_BLOCK = 1 << 17  # elements; the seven rows of a thread are 3.7 MB
_CHUNK = 1 << 22  # elements of a piece of work
_LARGE = 1 << 14  # below this many elements float64 costs nothing that could be felt
_SMALL = 1 << 13  # up to this many, calling numpy costs more than the sums, and tensors are joined
_BATCH = 1 << 15  # elements that are joined at most
_ROW, _PIECE = 256, 4096
_FAST = ("F32", "BF16", "F16")
_JOINED = frozenset(("", "F64", "F32", "BF16", "F16", "F8_E4M3", "F8_E5M2", "I64", "I32", "I16", "I8", "U8", "BOOL"))
_SMALLEST = 2.0**-50  # squares of smaller values lose digits in float32
SUMS = 10
"""Sums a tensor, in the order of the module's description; a count of non-finite elements of c follows."""

Span = tuple[int, int, int]
"""Number of a row, first element, element after the last."""

S = TypeVar("S")


class Room:
    """Memory of one thread: the four versions and their three differences, as float32 rows, and raw bytes."""

    def __init__(self) -> None:
        """Allocate once; fresh arrays for every block would cost more than the sums."""
        self.rows = np.zeros((7, _BLOCK), np.float32)
        self.raw = np.empty(4 * _BLOCK, np.uint8)


class Sums:
    """Takes the sums of pieces of tensors. Holds no state that changes: used by all threads at once.

    Args:
        sides: current, previous, before, first; None where there is none.
        rows: of each tensor its spec in each of them.
    """

    def __init__(self, sides: Sequence[Checkpoint | None], rows: Sequence[Sequence[TensorSpec | None]]) -> None:
        self._sides, self._rows = sides, rows

    def pieces(self) -> list[list[Span]]:
        """All rows in the order of the current version's bytes, cut and joined into pieces of work."""
        rows = [(row[0], index) for index, row in enumerate(self._rows)]
        pieces: list[list[Span]] = []
        joined = 0
        for spec, index in sorted(rows, key=lambda item: (item[0].file, item[0].offset) if item[0] else (0, 0)):
            if spec is None or not has_numbers(spec):
                continue
            count = spec.elements
            if count > _SMALL:
                pieces += [[(index, at, min(at + _CHUNK, count))] for at in range(0, count, _CHUNK)]
                joined = 0
            elif count:
                if not joined or joined + count > _BLOCK:
                    pieces.append([])
                    joined = 0
                pieces[-1].append((index, 0, count))
                joined += count
        return pieces

    def of(self, spans: Sequence[Span], room: Room) -> list[tuple[int, list[float]]]:
        """Number and sums of each span; small tensors of the same dtypes are taken together."""
        found: list[tuple[int, list[float]]] = []
        alike: dict[tuple[str, ...], list[int]] = {}
        with np.errstate(all="ignore"):
            for index, start, stop in spans:
                row = self._rows[index]
                kind = tuple("" if spec is None else spec.values_dtype for spec in row)
                if stop - start <= _SMALL and stop - start == _current(row).elements and _JOINED.issuperset(kind):
                    alike.setdefault(kind, []).append(index)
                else:
                    found.append((index, self._between(row, start, stop, room)))
            for kind, indices in alike.items():
                for some in self._batches(indices):
                    found += zip(some, self._joined(kind, some), strict=True)
        return found

    def _batches(self, indices: Sequence[int]) -> Iterator[list[int]]:
        """Rows in batches whose arrays stay in the cache."""
        batch: list[int] = []
        joined = 0
        for index in indices:
            count = _current(self._rows[index]).elements
            if batch and joined + count > _BATCH:
                yield batch
                batch, joined = [], 0
            batch.append(index)
            joined += count
        yield batch

    def _between(self, row: Sequence[TensorSpec | None], first: int, last: int, room: Room) -> list[float]:
        total = no_sums()
        for start in range(first, last, _BLOCK):
            sums = _block(self._sides, row, start, min(start + _BLOCK, last), room)
            total = [a + b for a, b in zip(total, sums, strict=True)]
        return total

    def _joined(self, kind: Sequence[str], indices: Sequence[int]) -> list[list[float]]:
        """The sums of small whole tensors, laid one after the other."""
        counts = np.array([_current(self._rows[index]).elements for index in indices], np.int64)
        values: list[Array | None] = []
        for place, (side, dtype) in enumerate(zip(self._sides, kind, strict=True)):
            specs = [spec for spec in (self._rows[index][place] for index in indices) if spec is not None]
            if side is None or not specs:
                values.append(None)
                continue
            raw = np.empty(sum(spec.nbytes for spec in specs), np.uint8)
            read_joined(side, specs, raw)
            values.append(decode64(dtype, raw, int(counts.sum())).high)
        starts = np.cumsum(counts) - counts
        current = values[0]
        assert current is not None
        strange = np.zeros(len(counts))
        if not all(value is None or np.isfinite(np.add.reduce(value)) for value in values):
            strange = np.add.reduceat(~np.isfinite(current), starts, dtype=np.float64)
            values = _where_finite(values)

        def dots(a: Array, b: Array) -> Array:
            return np.add.reduceat(a * b, starts)

        columns = products(values, [np.empty_like(current) for _ in range(3)], dots)
        columns[SUMS] = strange
        table = np.zeros((SUMS + 1, len(counts)))
        for place, column in enumerate(columns):
            table[place] = column
        return table.T.tolist()


def _current(row: Sequence[TensorSpec | None]) -> TensorSpec:
    assert row[0] is not None
    return row[0]


def has_numbers(spec: TensorSpec) -> bool:
    """Whether its elements are numbers that can be summed."""
    return has_values(spec.values_dtype)


def no_sums() -> list[float]:
    """Those of no element."""
    return [0.0] * (SUMS + 1)


def add_sums(total: list[list[float]], found: Sequence[tuple[int, list[float]]]) -> None:
    """Add sums to those of the rows they belong to."""
    for index, sums in found:
        total[index] = [a + b for a, b in zip(total[index], sums, strict=True)]


def _block(sides: Sequence[Checkpoint | None], specs: Sequence[TensorSpec | None], start: int, stop: int,
           room: Room) -> list[float]:  # fmt: skip
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
          room: Room) -> list[float] | None:  # fmt: skip
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
    return products(rows, [room.rows[4 + place][:width] for place in range(3)], _dot32)


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
        strange = len(current) - int(np.count_nonzero(np.isfinite(current)))
        values = _where_finite(values)
    result = products(values, [np.empty_like(current) for _ in range(3)], _dot64)
    result[SUMS] = float(strange)
    return result


def _where_finite(values: Sequence[Array | None]) -> list[Array | None]:
    """The values with zeros wherever one of them is not finite."""
    good = np.logical_and.reduce([np.isfinite(value) for value in values if value is not None])
    return [None if value is None else np.where(good, value, 0.0) for value in values]


def products(values: Sequence[Array | None], scratch: Sequence[Array], dot: Callable[[Array, Array], S]) -> list[S]:
    """The sums of the module's description; ``scratch`` takes the differences."""
    current, previous, before, first = values
    assert current is not None
    result: list[Any] = [0.0] * (SUMS + 1)
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
