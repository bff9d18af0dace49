"""One piece of a comparison: read both sides, stop at equal bytes, else figures by the fast or the exact route."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diffai.frozen import frozen, slotted
from diffai.model import DTYPE_BITS, Checkpoint, Codes, PairFigures, TensorSpec
from diffai.tensors.blocks import Batch, Chunk, Pair, Piece, Workspace, read_joined, span, unit_bits
from diffai.tensors.delta import Difference, Rule, compare_values
from diffai.tensors.dtypes import FAST_LIMITS, FLOATS, Array, decode32, decode64, has_values
from diffai.tensors.fast import CODED, Known, compare_rows, count_zeros, extremes, in_range, summarise_row
from diffai.tensors.joined import IDENTICAL, finish_joined
from diffai.tensors.rounding import beyond_ulp32, is_lossless, round32
from diffai.tensors.statistics import Moments, Segments, Side


@frozen
class NumericOptions:
    """How to compare.

    Attributes:
        epsilon, rtol: elements with abs(new - old) <= epsilon + rtol * abs(old) count as tolerated, not as changed.
        threads: 0 chooses by the processors and the amount of work.
        statistics: set both sides' Statistics on every pair that is not identical.
        norms: set the norm of every pair that is identical.
        rtol_at_roundoff: rtol counts up to the unit roundoff of a pair's dtype, of two the coarser.
    """

    epsilon: float = 0.0
    rtol: float = 0.0
    threads: int = 0
    statistics: bool = True
    norms: bool = False
    rtol_at_roundoff: bool = False


_PROBE = 4096  # bytes compared first: changed tensors nearly always differ there


@slotted
class Figures:
    """What one piece of a pair gave.

    Attributes:
        same: all bytes (and the dtypes) are equal; then ``old`` is set only where it cost no second reading.
        difference, old, new: figures of the piece; ``difference`` is None while ``same``.
        result: of a small pair that was joined with others, and then is all there is.
    """

    same: bool
    difference: Difference | None = None
    old: Moments | None = None
    new: Moments | None = None
    result: PairFigures | None = None

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


@frozen
class Kind:
    """What all pairs of the same dtypes have in common.

    Attributes:
        old, new: dtypes of the values as read.
        rule: by which they are compared.
        as_bytes: a side's dtype defines no values.
        may_be_same: equal bytes mean equal tensors.
        fast: the float32 route serves them.
    """

    old: str
    new: str
    rule: Rule
    as_bytes: bool
    may_be_same: bool
    fast: bool

    @classmethod
    def of(cls, pair: Pair, epsilon: float, rtol: float) -> Kind:
        """The kind of this pair under this tolerance."""
        old, new = (spec.values_dtype for spec in pair)
        cast = pair[0].dtype != pair[1].dtype
        rule = Rule(epsilon, rtol, pair[1].dtype if cast else "")
        as_bytes = not (has_values(old) and has_values(new))
        fast = rule.exact and old in FAST_LIMITS and new in FAST_LIMITS
        if cast:
            fast = fast and (is_lossless(old, rule.target) or round32(old, rule.target) is not None)
        return cls(old, new, rule, as_bytes, not cast and old == new, fast)

    @property
    def joinable(self) -> bool:
        """Whether values of several such tensors can lie one after the other (F4 may end in half a byte)."""
        return not self.as_bytes and "F4" not in (self.old, self.new)


def unit_roundoff(pair: Pair) -> float:
    """Half the distance from 1 to the next value, of the coarser dtype of two; 0 for integers (Higham 2002, 2.2)."""
    return max((2.0 ** -FLOATS[spec.dtype].precision for spec in pair if spec.dtype in FLOATS), default=0.0)


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
        options: tolerance, and whether results hold statistics.
    """

    def __init__(self, old: Checkpoint, new: Checkpoint, pairs: Sequence[Pair], options: NumericOptions) -> None:
        """Find out the kind and the size of each pair."""
        self._checkpoints = (old, new)
        self._pairs = pairs
        known: dict[tuple[str, str, str, str], Kind] = {}
        self.kinds: list[Kind] = []
        for pair in pairs:
            key = (pair[0].dtype, pair[0].values, pair[1].dtype, pair[1].values)
            if key not in known:
                rtol = min(options.rtol, unit_roundoff(pair)) if options.rtol_at_roundoff else options.rtol
                known[key] = Kind.of(pair, options.epsilon, rtol)
            self.kinds.append(known[key])
        # Elements to compare, or bytes that both sides have where there are no values.
        self.counts = [
            min(pair[0].nbytes, pair[1].nbytes) if kind.as_bytes else pair[0].elements
            for pair, kind in zip(pairs, self.kinds, strict=True)
        ]
        # How both sides of a pair are coded, where that is the same.
        self._codes = [self._common_codes(pair) if kind.may_be_same else None
                       for pair, kind in zip(pairs, self.kinds, strict=True)]  # fmt: skip
        self._statistics, self._norms = options.statistics, options.norms
        # Where a second reading is dear, equal blocks are summarised while they are here.
        self._read_once = not (old.random_access and new.random_access)

    def compare(self, piece: Piece, space: Workspace) -> list[Figures]:
        """Figures of a chunk (one) or of a batch (one a pair)."""
        with np.errstate(all="ignore"):
            if isinstance(piece, Batch):
                return self._batch(piece, space)
            if self.kinds[piece.index].as_bytes:
                return [self._bytes(piece, space)]
            return [self._chunk(piece, space)]

    def summarise_same(self, chunk: Chunk, space: Workspace) -> Figures:
        """Figures of a chunk known to be the same on both sides, from the old one alone."""
        pair = self._pairs[chunk.index]
        side = Moments()
        fast = self.kinds[chunk.index].fast
        step = space.sizes.block if fast else space.sizes.exact_block
        with np.errstate(all="ignore"):
            for start in range(chunk.start, chunk.stop, step):
                stop = min(start + step, chunk.stop)
                raw = self._read(0, pair[0], (start, stop), space, fast=fast)
                side.add(summarise_block(pair[0].values_dtype, raw, stop - start, space))
        return Figures.of_same(side)

    def _common_codes(self, pair: Pair) -> Codes | None:
        if not pair[0].values:
            return None
        codes = self._checkpoints[0].codes(pair[0])
        return codes if codes is not None and codes == self._checkpoints[1].codes(pair[1]) else None

    # ------------------------------------------------------------ chunks

    def _chunk(self, chunk: Chunk, space: Workspace) -> Figures:
        pair, kind = self._pairs[chunk.index], self.kinds[chunk.index]
        step = space.sizes.block if kind.fast else space.sizes.exact_block
        total: Figures | None = None
        for start in range(chunk.start, chunk.stop, step):
            stop = min(start + step, chunk.stop)
            known_same, raws = self._read_both(chunk.index, (start, stop), space)
            if known_same or (kind.may_be_same and same_bytes(raws[0], raws[1])):
                if total is None and not (self._read_once or self._norms or chunk.once):
                    continue
                if not raws:
                    raws = [self._read(0, pair[0], (start, stop), space, fast=kind.fast)]
                side = summarise_block(kind.old, raws[0], stop - start, space)
                figures = Figures.of_same(side)
            else:
                figures = compare_block(kind, raws, stop - start, space)
            if total is None and start > chunk.start:
                # The first difference: what came before is equal, and is read again now that it matters.
                total = self.summarise_same(Chunk(chunk.index, chunk.start, start), space)
            if total is None:
                total = figures
            else:
                total.add(figures)
        return Figures(True) if total is None else total

    def _read_both(self, index: int, elements: tuple[int, int], space: Workspace) -> tuple[bool, list[Array]]:
        """Raw bytes of some elements of both sides; none, and True, where equal codes say that they are the same."""
        pair, fast, codes = self._pairs[index], self.kinds[index].fast, self._codes[index]
        if codes is None or any(place % codes.elements for place in elements):
            return False, [self._read(side, pair[side], elements, space, fast=fast) for side in (0, 1)]
        first, last = (place // codes.elements * codes.size for place in elements)
        stored = [space.codes(side, last - first) for side in (0, 1)]
        for side, row in enumerate(stored):
            self._checkpoints[side].read_codes_into(pair[side], first, row.data)
        if same_bytes(stored[0], stored[1]):
            return True, []
        raws = [self._place(side, pair[side], elements, space, fast=fast) for side in (0, 1)]
        for side, row in enumerate(stored):
            self._checkpoints[side].decode_codes(pair[side], row.data, raws[side].data)
        return False, raws

    def _read(self, side: int, spec: TensorSpec, elements: tuple[int, int], space: Workspace, *, fast: bool) -> Array:
        """Raw bytes of some elements, where the fast route wants them."""
        raw = self._place(side, spec, elements, space, fast=fast)
        self._checkpoints[side].read_into(spec, span(unit_bits(spec), *elements)[0], raw.data)
        return raw

    def _place(self, side: int, spec: TensorSpec, elements: tuple[int, int], space: Workspace, *, fast: bool) -> Array:
        """Room for raw bytes of some elements, where the fast route wants them."""
        size = span(unit_bits(spec), *elements)[1]
        if fast and spec.values_dtype == "F32":
            row: Array = space.lanes().rows(elements[1] - elements[0], 2)[side].view(np.uint8)[:size]
            return row
        return space.raw(side, size)

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
        kind = self.kinds[batch.indices[0]]
        raws = []
        for side in (0, 1):
            specs = [pair[side] for pair in pairs]
            raw = space.raw(side, sum(spec.nbytes for spec in specs))
            read_joined(self._checkpoints[side], specs, raw)
            raws.append(raw)
        if kind.may_be_same and not self._norms and same_bytes(raws[0], raws[1]):
            return [Figures(True, result=IDENTICAL) for _ in pairs]
        counts = np.array([self.counts[index] for index in batch.indices], np.int64)
        segments = Segments(np.cumsum(counts) - counts, counts)
        total = int(counts.sum())
        sides = [Side(decode64(d, raw, total), segments) for d, raw in zip((kind.old, kind.new), raws, strict=True)]
        same = [False] * len(pairs)
        if kind.may_be_same:
            starts = segments.starts * (len(raws[0]) // total)
            same = (~np.logical_or.reduceat(raws[0] != raws[1], starts)).tolist()
        dtypes = (kind.old, kind.new) if self._statistics else None
        results = finish_joined(sides[0], sides[1], kind.rule, same, dtypes, norms=self._norms)
        return [Figures(is_same, result=result) for is_same, result in zip(same, results, strict=True)]


def compare_block(kind: Kind, raws: Sequence[Array], count: int, space: Workspace) -> Figures:
    """Figures of one block of differing bytes."""
    if kind.fast:
        figures = _compare_fast(kind, raws, count, space)
        if figures is not None:
            return figures
    total: Figures | None = None
    for start, stop in _exact_spans(count, space):
        one = Segments.one(stop - start)
        old, new = (
            Side(decode64(dtype, _part(dtype, raw, start, stop), stop - start), one)
            for dtype, raw in zip((kind.old, kind.new), raws, strict=True)
        )
        figures = Figures(False, compare_values(old, new, kind.rule)[0], old.moments()[0], new.moments()[0])
        if total is None:
            total = figures
        else:
            total.add(figures)
    assert total is not None
    return total


def _exact_spans(count: int, space: Workspace) -> list[tuple[int, int]]:
    """Pieces of a block that are small enough for the float64 route."""
    step = space.sizes.exact_block
    return [(start, min(start + step, count)) for start in range(0, count, step)]


def _part(dtype: str, raw: Array, start: int, stop: int) -> Array:
    """The bytes of elements ``start`` to ``stop``."""
    offset, size = span(DTYPE_BITS[dtype], start, stop)
    return raw[offset : offset + size]


def _compare_fast(kind: Kind, raws: Sequence[Array], count: int, space: Workspace) -> Figures | None:
    """The same by float32, or None where that cannot be trusted."""
    target = kind.rule.target
    limit = min(FAST_LIMITS[kind.old], FAST_LIMITS[kind.new])
    lanes = space.lanes()
    rows, masks = lanes.rows(count, 2), lanes.masks(count)
    sides = []
    for dtype, raw, row in zip((kind.old, kind.new), raws, rows, strict=False):
        known = _decode_row(dtype, raw, row[:count], limit, masks)
        if known is None:
            return None
        sides.append(known)
    unrounded = underflows = beyond = 0
    if target:
        unrounded, beyond = _unrounded(kind, rows[:, :count])
    if target and sides[1].zeros:
        np.equal(rows[:2, :count], 0, out=masks)
        underflows = int(np.count_nonzero(masks[1] > masks[0]))
    # What was read where it is needed must outlast a refusal.
    result = compare_rows(rows, sides, keep=kind.new == "F32")
    if result is None:
        return None
    difference = result[0]
    if target:
        # Within both sides' limits nothing overflows.
        difference.unrounded, difference.underflows, difference.beyond_ulp = unrounded, underflows, beyond
    return Figures(False, *result)


def _unrounded(kind: Kind, rows: Array) -> tuple[int, int]:
    """Elements that are not the old ones rounded, and how many of them are beyond an ulp of the new dtype."""
    target = kind.rule.target
    rounding = round32(kind.old, target)
    # A value exact in the new dtype is rounded to itself.
    count = int(np.count_nonzero(rows[0] != rows[1])) if rounding is None else rounding(*rows)
    return count, beyond_ulp32(rows[0], rows[1], target) if count else 0


def _decode_row(dtype: str, raw: Array, row: Array, limit: float, masks: Array) -> Known | None:
    """Decode to float32 and tell extremes and zeros; None where a value is not finite or beyond ``limit``."""
    if dtype in CODED:
        low, high = extremes(dtype, raw)
        if not in_range(low, high, limit):
            return None
        decode32(dtype, raw, row)
        return Known(len(row), low, high, count_zeros(dtype, raw, masks.reshape(-1)))
    if not np.may_share_memory(raw, row):  # else it was read where it is needed
        decode32(dtype, raw, row)
    low, high = float(np.minimum.reduce(row)), float(np.maximum.reduce(row))
    if not in_range(low, high, limit):
        return None
    np.equal(row, 0, out=masks[0])
    return Known(len(row), low, high, int(np.count_nonzero(masks[0])))


def summarise_block(dtype: str, raw: Array, count: int, space: Workspace) -> Moments:
    """Moments of one block of one side."""
    if dtype in FAST_LIMITS:
        lanes = space.lanes()
        rows = lanes.rows(count, 1)
        known = _decode_row(dtype, raw, rows[0, :count], FAST_LIMITS[dtype], lanes.masks(count))
        if known is not None:
            return summarise_row(rows, known)
    moments = Moments()
    for start, stop in _exact_spans(count, space):
        values = decode64(dtype, _part(dtype, raw, start, stop), stop - start)
        moments.add(Side(values, Segments.one(stop - start)).moments()[0])
    return moments
