"""One piece of a comparison: read both sides, stop at equal bytes, else figures by the fast or the exact route."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diffai.model import Checkpoint, TensorSpec
from diffai.tensors.blocks import Batch, Chunk, Pair, Piece, Workspace, read_joined, span, unit_bits
from diffai.tensors.delta import Difference, Rule, compare_values
from diffai.tensors.dtypes import FAST_LIMITS, Array, decode32, decode64, has_values
from diffai.tensors.fast import compare_rows, known_from_codes, summarise_row
from diffai.tensors.rounding import is_lossless, round32
from diffai.tensors.statistics import Moments, Segments, Side

_PROBE = 4096  # bytes compared first: changed tensors nearly always differ there


@dataclass(slots=True)
class Figures:
    """What one piece of a pair gave.

    Attributes:
        same: all bytes (and the dtypes) are equal; then ``old`` is set only where it cost no second reading.
        difference, old, new: figures of the piece; ``difference`` is None while ``same``.
    """

    same: bool
    difference: Difference | None = None
    old: Moments | None = None
    new: Moments | None = None

    def add(self, other: Figures) -> None:
        """Merge those of the elements that follow; both must have figures."""
        assert self.difference and self.old and self.new and other.difference and other.old and other.new
        self.same &= other.same
        self.difference.add(other.difference)
        self.old.add(other.old)
        self.new.add(other.new)

    @classmethod
    def of_same(cls, side: Moments) -> Figures:
        """Of equal bytes with these moments."""
        copies = [Moments(), Moments()]
        for copy in copies:
            copy.add(side)
        return cls(True, Difference.of_same(side), copies[0], copies[1])


def compares_bytes(pair: Pair) -> bool:
    """Whether a side's dtype defines no values."""
    return not all(has_values(spec.values_dtype) for spec in pair)


def unit_count(pair: Pair) -> int:
    """Elements to compare, or bytes that both sides have where there are no values."""
    old, new = pair
    return min(old.nbytes, new.nbytes) if compares_bytes(pair) else old.elements


def rule_for(pair: Pair, epsilon: float, rtol: float) -> Rule:
    """The rule by which this pair is compared."""
    old, new = pair
    return Rule(epsilon, rtol, "" if old.dtype == new.dtype else new.dtype)


def same_bytes(left: Array, right: Array) -> bool:
    """Whether two uint8 arrays of equal length are equal; quick to say no."""
    if not np.array_equal(left[:_PROBE], right[:_PROBE]):
        return False
    words = len(left) // 8 * 8
    return bool(
        np.array_equal(left[:words].view(np.uint64), right[:words].view(np.uint64))
        and np.array_equal(left[words:], right[words:])
    )


class Comparer:
    """Compares pieces of pairs. Holds no state that changes: used by all threads at once.

    Args:
        old, new: the checkpoints of the two sides.
        pairs: specs of both sides, equal in shape.
        epsilon, rtol: tolerance.
    """

    def __init__(self, old: Checkpoint, new: Checkpoint, pairs: Sequence[Pair], epsilon: float, rtol: float) -> None:
        self._checkpoints = (old, new)
        self._pairs = pairs
        self._rules = [rule_for(pair, epsilon, rtol) for pair in pairs]
        # Where a second reading is dear, equal blocks are summarised while they are here.
        self._read_once = not (old.random_access and new.random_access)

    def compare(self, piece: Piece, space: Workspace) -> list[Figures]:
        """Figures of a chunk (one) or of a batch (one a pair)."""
        with np.errstate(all="ignore"):
            if isinstance(piece, Batch):
                return self._batch(piece, space)
            if compares_bytes(self._pairs[piece.index]):
                return [self._bytes(piece, space)]
            return [self._chunk(piece, space)]

    def summarise_same(self, chunk: Chunk, space: Workspace) -> Figures:
        """Figures of a chunk known to be the same on both sides, from the old one alone."""
        pair = self._pairs[chunk.index]
        side = Moments()
        fast = _is_fast(pair, self._rules[chunk.index])
        step = space.sizes.block if fast else space.sizes.exact_block
        with np.errstate(all="ignore"):
            for start in range(chunk.start, chunk.stop, step):
                stop = min(start + step, chunk.stop)
                raw = self._read(0, pair[0], (start, stop), space, fast=fast)
                side.add(summarise_block(pair[0].values_dtype, raw, stop - start, space))
        return Figures.of_same(side)

    # ------------------------------------------------------------ chunks

    def _chunk(self, chunk: Chunk, space: Workspace) -> Figures:
        pair, rule = self._pairs[chunk.index], self._rules[chunk.index]
        may_be_same = not rule.target and pair[0].values_dtype == pair[1].values_dtype
        fast = _is_fast(pair, rule)
        step = space.sizes.block if fast else space.sizes.exact_block
        total: Figures | None = None
        for start in range(chunk.start, chunk.stop, step):
            stop = min(start + step, chunk.stop)
            raws = [self._read(side, pair[side], (start, stop), space, fast=fast) for side in (0, 1)]
            if may_be_same and same_bytes(raws[0], raws[1]):
                if total is None and not self._read_once:
                    continue
                side = summarise_block(pair[0].values_dtype, raws[0], stop - start, space)
                figures = Figures.of_same(side)
            else:
                figures = compare_block(pair, raws, stop - start, rule, space)
            if total is None and start > chunk.start:
                # The first difference: what came before is equal, and is read again now that it matters.
                total = self.summarise_same(Chunk(chunk.index, chunk.start, start), space)
            if total is None:
                total = figures
            else:
                total.add(figures)
        return Figures(True) if total is None else total

    def _read(self, side: int, spec: TensorSpec, elements: tuple[int, int], space: Workspace, *, fast: bool) -> Array:
        """Raw bytes of some elements, where the fast route wants them."""
        offset, size = span(unit_bits(spec), *elements)
        if fast and spec.values_dtype == "F32":
            raw: Array = space.lanes().rows(elements[1] - elements[0], 2)[side].view(np.uint8)[:size]
        else:
            raw = space.raw(side, size)
        self._checkpoints[side].read_into(spec, offset, raw.data)
        return raw

    def _bytes(self, chunk: Chunk, space: Workspace) -> Figures:
        """Count differing bytes of a dtype without values."""
        pair = self._pairs[chunk.index]
        changed = 0
        for start in range(chunk.start, chunk.stop, space.sizes.block):
            stop = min(start + space.sizes.block, chunk.stop)
            raws = [space.raw(side, stop - start) for side in (0, 1)]
            for side in (0, 1):
                self._checkpoints[side].read_into(pair[side], start, raws[side].data)
            changed += int(np.count_nonzero(raws[0] != raws[1]))
        return Figures(changed == 0, Difference(changed=changed))

    # ------------------------------------------------------------ batches

    def _batch(self, batch: Batch, space: Workspace) -> list[Figures]:
        pairs = [self._pairs[index] for index in batch.indices]
        rule = self._rules[batch.indices[0]]
        raws = []
        for side in (0, 1):
            specs = [pair[side] for pair in pairs]
            raw = space.raw(side, sum(spec.nbytes for spec in specs))
            read_joined(self._checkpoints[side], specs, raw)
            raws.append(raw)
        may_be_same = not rule.target and pairs[0][0].values_dtype == pairs[0][1].values_dtype
        if may_be_same and same_bytes(raws[0], raws[1]):
            return [Figures(True) for _ in pairs]
        counts = np.array([pair[0].elements for pair in pairs], np.int64)
        segments = Segments(np.cumsum(counts) - counts, counts)
        total = int(counts.sum())
        sides = [Side(decode64(pairs[0][s].values_dtype, raws[s], total), segments) for s in (0, 1)]
        differences = compare_values(sides[0], sides[1], rule)
        same = [False] * len(pairs)
        if may_be_same:
            starts = segments.starts * (len(raws[0]) // total)
            same = (~np.logical_or.reduceat(raws[0] != raws[1], starts)).tolist()
        return [Figures(*row) for row in zip(same, differences, sides[0].moments(), sides[1].moments(), strict=True)]


def _is_fast(pair: Pair, rule: Rule) -> bool:
    """Whether the float32 route can serve this pair."""
    source, target = (spec.values_dtype for spec in pair)
    if not rule.exact or source not in FAST_LIMITS or target not in FAST_LIMITS:
        return False
    return not rule.target or is_lossless(source, rule.target) or round32(source, rule.target) is not None


def compare_block(pair: Pair, raws: Sequence[Array], count: int, rule: Rule, space: Workspace) -> Figures:
    """Figures of one block of differing bytes."""
    if _is_fast(pair, rule):
        figures = _compare_fast(pair, raws, count, rule, space)
        if figures is not None:
            return figures
    one = Segments.one(count)
    sides = [Side(decode64(pair[s].values_dtype, raws[s], count), one) for s in (0, 1)]
    return Figures(False, compare_values(sides[0], sides[1], rule)[0], sides[0].moments()[0], sides[1].moments()[0])


def _compare_fast(pair: Pair, raws: Sequence[Array], count: int, rule: Rule, space: Workspace) -> Figures | None:
    """The same by float32, or None where that cannot be trusted."""
    dtypes = [spec.values_dtype for spec in pair]
    lanes = space.lanes()
    rows = lanes.rows(count, 2)
    if not all([_decode_row(dtypes[side], raws[side], rows[side, :count]) for side in (0, 1)]):
        return None
    unrounded = 0
    rounding = round32(dtypes[0], rule.target) if rule.target else None
    if rounding is not None:
        unrounded = rounding(rows[0, :count], rows[1, :count], rows[2, :count])
    mask = lanes.mask((3, count))
    known = None if rule.target else known_from_codes(dtypes[0], raws, mask)
    limit = min(FAST_LIMITS[dtypes[0]], FAST_LIMITS[dtypes[1]])
    result = compare_rows(rows, count, limit, mask, known)
    if result is None:
        return None
    difference = result[0]
    if rule.target:
        # Within both sides' limits nothing overflows; a value exact in the new dtype is rounded to itself.
        difference.unrounded = difference.changed if rounding is None else unrounded
        difference.underflows = int(np.count_nonzero(mask[1] > mask[0]))
    return Figures(False, *result)


def _decode_row(dtype: str, raw: Array, row: Array) -> bool:
    """Decode to float32; False where that would hide a NaN."""
    if dtype == "F32" and np.may_share_memory(raw, row):
        return True  # it was read where it is needed
    if dtype.endswith("FNUZ") and (raw == 0x80).any():
        return False
    decode32(dtype, raw, row)
    return True


def summarise_block(dtype: str, raw: Array, count: int, space: Workspace) -> Moments:
    """Moments of one block of one side."""
    if dtype in FAST_LIMITS:
        lanes = space.lanes()
        rows = lanes.rows(count, 1)
        if _decode_row(dtype, raw, rows[0, :count]):
            moments = summarise_row(rows, count, FAST_LIMITS[dtype], lanes.mask((1, count)))
            if moments is not None:
                return moments
    return Side(decode64(dtype, raw, count), Segments.one(count)).moments()[0]
