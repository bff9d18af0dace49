"""The turn of an update: how it lies to the update before it, over the elements that are finite in all three versions.

For versions q (before), p (previous) and c (current) of each tensor the sums (c-p).(p-q), |c-p|^2 and |p-q|^2. All
other figures of a history come from the comparison's kernel. Loads numpy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from diffai.model import TensorSpec
from diffai.tensors.blocks import read_joined, span, unit_bits
from diffai.tensors.dtypes import FAST_LIMITS, Array, decode32, decode64, has_values
from diffai.tensors.lockstep import Column, Key, Part

_BLOCK = 1 << 17  # elements; the three rows of a thread are 1.5 MB
_LARGE = 1 << 14  # below this many elements float64 costs nothing that could be felt
_SMALL = 1 << 13  # up to this many, calling numpy costs more than the sums, and tensors are joined
_BATCH = 1 << 15  # elements that are joined at most
_ROW, _PIECE = 256, 4096
_FAST = frozenset(("F32", "BF16", "F16"))
_JOINED = frozenset(("F64", "F32", "BF16", "F16", "F8_E4M3", "F8_E5M2", "I64", "I32", "I16", "I8", "U8", "BOOL"))
_SMALLEST = 2.0**-50  # squares of smaller values lose digits in float32

Triple = tuple[TensorSpec, TensorSpec, TensorSpec]
"""One tensor in the versions before, previous and current; equal in shape."""

Sums = tuple[float, float, float]
S = TypeVar("S")


def turn_of(sums: Sequence[Sums]) -> float | None:
    """Cosine of the two updates, near 1 where training goes on, near -1 where it turns back; None where one is zero."""
    dot, later, earlier = (math.fsum(column) for column in zip(*sums, strict=True)) if sums else (0.0, 0.0, 0.0)
    if later <= 0 or earlier <= 0:
        return None
    cosine = dot / math.sqrt(later) / math.sqrt(earlier)
    return max(-1.0, min(1.0, cosine)) if math.isfinite(cosine) else None


class TurnWork:
    """The sums of each tensor, from versions that are read in lockstep.

    Args:
        columns: before, previous, current.
        rows: each tensor in these.
        keys: the one key that all three specs of a row have.
    """

    def __init__(self, columns: Sequence[Column], rows: Sequence[Triple], keys: Sequence[Key]) -> None:
        self._columns, self._rows = columns, rows
        self._index = {
            key: index
            for index, (key, row) in enumerate(zip(keys, rows, strict=True))
            if all(has_values(spec.values_dtype) for spec in row)
        }
        self._sums = [(0.0, 0.0, 0.0) for _ in rows]

    def space(self) -> Array:
        """Rows of one thread: the three versions in float32."""
        return np.zeros((3, _BLOCK), np.float32)

    def on(self, window: Sequence[Part], space: Array) -> list[tuple[int, Sums]]:
        """Number and sums of what the window holds of each row; small tensors of the same dtypes are taken together."""
        found: list[tuple[int, Sums]] = []
        alike: dict[tuple[str, ...], list[int]] = {}
        with np.errstate(all="ignore"):
            for part in window:
                index = self._index.get(part.key)
                if index is None:
                    continue
                kind = tuple(spec.values_dtype for spec in self._rows[index])
                if part.whole and part.stop <= _SMALL and _JOINED.issuperset(kind):
                    alike.setdefault(kind, []).append(index)
                else:
                    found += ((index, sums) for sums in self._blocks(self._rows[index], part.start, part.stop, space))
            for kind, indices in alike.items():
                for some in self._batches(indices):
                    found += zip(some, self._joined(kind, some), strict=True)
        return found

    def take(self, found: list[tuple[int, Sums]]) -> None:
        """Add them up."""
        for index, (dot, later, earlier) in found:
            total = self._sums[index]
            self._sums[index] = (total[0] + dot, total[1] + later, total[2] + earlier)

    def result(self) -> list[Sums]:
        """The sums of each row."""
        return self._sums

    def _batches(self, indices: Sequence[int]) -> Iterator[list[int]]:
        """Rows in batches whose arrays stay in the cache."""
        batch: list[int] = []
        joined = 0
        for index in indices:
            count = self._rows[index][0].elements
            if batch and joined + count > _BATCH:
                yield batch
                batch, joined = [], 0
            batch.append(index)
            joined += count
        yield batch

    def _joined(self, kind: Sequence[str], indices: Sequence[int]) -> list[Sums]:
        """The sums of small whole tensors, laid one after the other."""
        counts = np.array([self._rows[index][0].elements for index in indices], np.int64)
        values: list[Array] = []
        for place, (column, dtype) in enumerate(zip(self._columns, kind, strict=True)):
            specs = [self._rows[index][place] for index in indices]
            raw = np.empty(sum(spec.nbytes for spec in specs), np.uint8)
            read_joined(column, specs, raw)
            values.append(decode64(dtype, raw, int(counts.sum())).high)
        starts = np.cumsum(counts) - counts

        def dots(a: Array, b: Array) -> Array:
            return np.add.reduceat(a * b, starts)

        columns = _products(_where_finite(values), dots)
        return list(zip(*(column.tolist() for column in columns), strict=True))

    def _blocks(self, row: Triple, first: int, last: int, space: Array) -> Iterator[Sums]:
        for start in range(first, last, _BLOCK):
            stop = min(start + _BLOCK, last)
            # Blocks of common dtypes in float32, everything else in float64.
            fast = stop - start >= _LARGE and all(spec.values_dtype in _FAST for spec in row)
            sums = self._fast(row, start, stop, space) if fast else None
            yield self._exact(row, start, stop) if sums is None else sums

    def _fast(self, row: Triple, start: int, stop: int, space: Array) -> Sums | None:
        """Sums in float32 rows of 256, added in float64; None where values are strange, very great or very small.

        Differences of float32 are rounded by at most 2**-24 of themselves, rows by less than 1e-6 and, averaged, near
        1e-8 (see :mod:`diffai.tensors.fast`).
        """
        count = stop - start
        width = -(-count // _ROW) * _ROW
        for column, spec, values in zip(self._columns, row, space, strict=True):
            values[count:width] = 0
            offset, size = span(unit_bits(spec), start, stop)
            raw = values[:count].view(np.uint8) if spec.values_dtype == "F32" else np.empty(size, np.uint8)
            column.read_into(spec, offset, raw.data)
            if spec.values_dtype != "F32":
                decode32(spec.values_dtype, raw, values[:count])
            low, high = float(np.minimum.reduce(values[:count])), float(np.maximum.reduce(values[:count]))
            limit = FAST_LIMITS[spec.values_dtype]
            if not (-limit <= low and high <= limit and max(-low, high) >= _SMALLEST):  # NaN fails all of these
                return None
        return _products(space[:, :width], _dot32)

    def _exact(self, row: Triple, start: int, stop: int) -> Sums:
        """Sums in float64 over the elements that are finite in all three; complex ones are two real ones."""
        read: list[list[Array]] = []
        for column, spec in zip(self._columns, row, strict=True):
            offset, size = span(unit_bits(spec), start, stop)
            raw = np.empty(size, np.uint8)
            column.read_into(spec, offset, raw.data)
            values = decode64(spec.values_dtype, raw, stop - start)
            read.append([values.high] if values.imag is None else [values.high, values.imag])
        parts = max(map(len, read))
        zeros = np.zeros(stop - start)
        whole = [np.concatenate([*each, *[zeros] * (parts - len(each))]) for each in read]
        return _products(_where_finite(whole), _dot64)


def _where_finite(values: Sequence[Array]) -> Sequence[Array]:
    """The values with zeros wherever one of them is not finite."""
    # A sum is finite unless a value is not, or it overflows: one pass instead of a mask.
    if all(np.isfinite(np.add.reduce(value)) for value in values):
        return values
    good = np.logical_and.reduce([np.isfinite(value) for value in values])
    return [np.where(good, value, 0.0) for value in values]


def _products(values: Sequence[Array] | Array, dot: Callable[[Array, Array], S]) -> tuple[S, S, S]:
    """The sums of the module's description, of the versions before, previous and current."""
    before, previous, current = values
    later, earlier = current - previous, previous - before
    return dot(later, earlier), dot(later, later), dot(earlier, earlier)


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
