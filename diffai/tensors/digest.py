"""Summaries of single tensors: statistics, digest, and whether all elements are the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xxhash

from diffai.frozen import slotted
from diffai.model import Checkpoint, Statistics, TensorSpec, TensorSummary
from diffai.tensors.blocks import Batch, Chunk, Piece, Workspace, read_joined, span, unit_bits
from diffai.tensors.dtypes import Array, decode64, has_values
from diffai.tensors.pairs import summarise_block
from diffai.tensors.statistics import Moments, Segments, Side


@slotted
class Summary:
    """What one piece of a tensor gave.

    Attributes:
        moments: None where not asked for or the dtype has no values.
        digest: of the whole tensor; "" where not asked for.
        first: bytes of its first element.
        constant: all its elements have these bytes.
    """

    moments: Moments | None
    digest: str
    first: bytes
    constant: bool

    def add(self, other: Summary) -> None:
        """Merge that of the elements that follow."""
        if self.moments is not None and other.moments is not None:
            self.moments.add(other.moments)
        self.constant = self.constant and other.constant and self.first == other.first

    def summary(self, spec: TensorSpec, *, statistics: bool) -> TensorSummary:
        """The result for the whole tensor."""
        figures: Statistics | None = None
        if statistics:
            figures = (self.moments or Moments()).statistics(spec.values_dtype, spec.elements)
        return TensorSummary(figures, self.digest, self.constant)


class Summariser:
    """Summarises pieces of tensors. Holds no state that changes: used by all threads at once."""

    def __init__(self, checkpoint: Checkpoint, specs: Sequence[TensorSpec], *, statistics: bool, digest: bool) -> None:
        self._checkpoint, self._specs = checkpoint, specs
        self._statistics, self._digest = statistics, digest

    def summarise(self, piece: Piece, space: Workspace) -> list[Summary]:
        """Of a chunk (one; the whole tensor when a digest is wanted) or of a batch (one a tensor)."""
        with np.errstate(all="ignore"):
            if isinstance(piece, Batch):
                return self._batch(piece, space)
            return [self._chunk(piece, space)]

    def _chunk(self, chunk: Chunk, space: Workspace) -> Summary:
        spec = self._specs[chunk.index]
        dtype, bits = spec.values_dtype, unit_bits(spec)
        wanted = self._statistics and has_values(dtype)
        result = Summary(Moments() if wanted else None, "", b"", True)
        digest = xxhash.xxh3_128() if self._digest else None
        for start in range(chunk.start, chunk.stop, space.sizes.block):
            stop = min(start + space.sizes.block, chunk.stop)
            offset, size = span(bits, start, stop)
            raw = space.raw(0, size)
            self._checkpoint.read_into(spec, offset, raw.data)
            if digest is not None:
                digest.update(raw.data)
            if start == chunk.start:
                result.first = raw[: max(bits // 8, 1)].tobytes()
            result.constant = result.constant and _all_equal(raw, result.first)
            if result.moments is not None:
                result.moments.add(summarise_block(dtype, raw, stop - start, space))
        result.digest = digest.hexdigest() if digest is not None else ""
        return result

    def _batch(self, batch: Batch, space: Workspace) -> list[Summary]:
        specs = [self._specs[index] for index in batch.indices]
        dtype, size = specs[0].values_dtype, unit_bits(specs[0]) // 8
        counts = np.array([spec.elements for spec in specs], np.int64)
        segments = Segments(np.cumsum(counts) - counts, counts)
        total = int(counts.sum())
        raw = space.raw(0, total * size)
        read_joined(self._checkpoint, specs, raw)
        moments: Sequence[Moments | None] = [None] * len(specs)
        if self._statistics:
            moments = Side(decode64(dtype, raw, total), segments).moments()
        constant = _constant_segments(raw, size, segments)
        digests = [""] * len(specs)
        if self._digest:
            edges = zip((segments.starts * size).tolist(), (counts * size).tolist(), strict=True)
            digests = [xxhash.xxh3_128_hexdigest(raw[start : start + length].data) for start, length in edges]
        return [Summary(m, d, b"", c) for m, d, c in zip(moments, digests, constant, strict=True)]


def empty_summary(spec: TensorSpec, *, statistics: bool, digest: bool) -> TensorSummary:
    """Of a tensor without elements."""
    figures = Moments().statistics(spec.values_dtype, spec.elements) if statistics else None
    return TensorSummary(figures, xxhash.xxh3_128_hexdigest(b"") if digest else "", True)


def _all_equal(raw: Array, first: bytes) -> bool:
    """Whether ``raw`` is a repetition of ``first``."""
    size = len(first)
    if bytes(raw[-size:]) != first:  # nearly every tensor is found out here
        return False
    rows = raw.reshape(-1, size)
    return bool((rows == np.frombuffer(first, np.uint8)).all())


def _constant_segments(raw: Array, size: int, segments: Segments) -> list[bool]:
    """For each tensor of a batch whether all its elements have the same bytes."""
    words = raw.view(np.dtype(f"u{min(size, 8)}"))
    if size == 16:  # C128
        halves = words.reshape(-1, 2)
        return [
            a and b
            for a, b in zip(
                _constant_segments(halves[:, 0].copy().view(np.uint8), 8, segments),
                _constant_segments(halves[:, 1].copy().view(np.uint8), 8, segments),
                strict=True,
            )
        ]
    constant: list[bool] = (segments.min(words) == segments.max(words)).tolist()
    return constant
