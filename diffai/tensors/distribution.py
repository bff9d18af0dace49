"""How the values of a tensor, or of a column, are distributed, and how far two distributions lie apart.

A distribution is kept as its distinct values with their counts. That is exact for dtypes of at most 16 bits, whose
codes are counted, and for up to :data:`EXACT` elements of others. More are counted by the upper 20 bits of their code
(sign, exponent, and 11 bits of mantissa of F32, 8 of the float64 that others become), so that a value is known to
0.05 % or 0.4 %, whatever its scale; memory is then 8 MiB a side for any number of elements, and the Kolmogorov-Smirnov
statistic has an upper bound beside it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from diffai.frozen import frozen, slotted
from diffai.model import Checkpoint, TensorSpec
from diffai.tensors.blocks import span
from diffai.tensors.dtypes import Array, decode64
from diffai.tensors.reading import BLOCK, blocks

EXACT = 1 << 17
"""Elements up to which values of more than 16 bits are kept as they are."""

BINS = 32
"""Bars of a histogram."""

TAIL = 0.005
"""Share of all values at either end that lies in, or beyond, the outermost bars."""

DECILES = 10
FEWEST_SHARE = 1e-4
"""Share that an empty class counts as in the population stability index, which knows no zero."""

_BITS = 20
_CODED = {"BOOL": 1, "I8": 1, "U8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "F8_E4M3FNUZ": 1,
          "F8_E5M2FNUZ": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2}  # fmt: skip


@slotted
class Distribution:
    """Distinct finite values, ascending, with their counts.

    Attributes:
        values: float64. Where not ``exact``, each stands for all that share its first 20 bits: it is the one of them
            that is nearest to zero.
        counts: int64.
        exact: whether the values are exactly those counted.
        nonfinite: elements that are NaN or infinite; they are in no count.
    """

    values: Array
    counts: Array
    exact: bool
    nonfinite: int

    @property
    def total(self) -> int:
        """Finite elements."""
        return int(self.counts.sum())

    def below(self, edges: Array) -> Array:
        """How many elements are less than each of ``edges``."""
        before = np.concatenate((np.zeros(1, np.int64), np.cumsum(self.counts)))
        found: Array = before[np.searchsorted(self.values, edges, "left")]
        return found

    def quantile(self, share: float) -> float:
        """The least value that at least ``share`` of the elements do not exceed (inverse of the distribution)."""
        reached = np.cumsum(self.counts)
        place = int(np.searchsorted(reached, share * reached[-1] * (1 - 1e-12), "left"))
        return float(self.values[min(place, len(self.values) - 1)])


class Tally:
    """Counts values that come in blocks: the source of a :class:`Distribution`.

    Args:
        exact: elements up to which the values themselves are kept; no more than ``EXACT`` bounds the memory.
    """

    def __init__(self, exact: int = EXACT) -> None:
        self._most = exact
        self._kept: list[Array] = []
        self._size = 0
        self._nonfinite = 0
        self._coarse: Array | None = None

    def add(self, block: Array) -> None:
        """Count the elements of a float64 array of one dimension."""
        finite = np.isfinite(block)
        if not finite.all():
            self._nonfinite += len(block) - int(np.count_nonzero(finite))
            block = block[finite]
        self._size += len(block)
        if self._coarse is None and self._size <= self._most:
            self._kept.append(block + 0.0)  # a copy, and no minus zero
            return
        if self._coarse is None:
            self._coarse = np.zeros(1 << _BITS, np.int64)
            for before in self._kept:
                self._coarse += _coarse(before)
            self._kept = []
        self._coarse += _coarse(block + 0.0)

    def distribution(self) -> Distribution:
        """All that was counted."""
        if self._coarse is not None:
            return _of_beginnings(self._coarse, "<u8", self._nonfinite)
        everything = np.concatenate(self._kept) if self._kept else np.empty(0)
        values, counts = np.unique(everything, return_counts=True)
        return Distribution(values, counts.astype(np.int64), True, self._nonfinite)


def _coarse(block: Array) -> Array:
    """How many float64 values have each of the 2**20 beginnings of a code."""
    return np.bincount(block.view(np.uint64) >> np.uint64(64 - _BITS), minlength=1 << _BITS)


def _of_beginnings(counts: Array, code: str, nonfinite: int) -> Distribution:
    """The distribution of values counted by the first 20 bits of their codes, unsigned integers of type ``code``.

    Each class stands as the one of its values that is nearest to zero.
    """
    there = np.flatnonzero(counts).astype(code)
    size = there.dtype.itemsize
    values = (there << there.dtype.type(8 * size - _BITS)).view(f"<f{size}").astype(np.float64)
    finite = np.isfinite(values)
    held = counts[there.astype(np.int64)]
    found = _merged(values[finite], held[finite])
    return Distribution(*found, False, nonfinite + int(held[~finite].sum()))


def _merged(values: Array, counts: Array) -> tuple[Array, Array]:
    """Values in ascending order, equal ones (both zeros) once."""
    distinct, inverse = np.unique(values + 0.0, return_inverse=True)
    merged = np.zeros(len(distinct), np.int64)
    np.add.at(merged, inverse, counts)
    return distinct, merged


def distribution(checkpoint: Checkpoint, spec: TensorSpec) -> Distribution:
    """The distribution of a tensor's values, read once in blocks; of the moduli of complex ones.

    Raises:
        SourceError: bytes are gone.
    """
    size = _CODED.get(spec.values_dtype)
    if size is not None:
        return _of_codes(checkpoint, spec, size)
    if spec.values_dtype == "F32" and spec.elements > EXACT:
        counts = np.zeros(1 << _BITS, np.int64)
        for raw in _raw_blocks(checkpoint, spec, 4):
            counts += np.bincount(raw.view("<u4") >> np.uint32(32 - _BITS), minlength=1 << _BITS)
        return _of_beginnings(counts, "<u4", 0)
    tally = Tally()
    for block in blocks(checkpoint, spec):
        tally.add(block)
    return tally.distribution()


def _of_codes(checkpoint: Checkpoint, spec: TensorSpec, size: int) -> Distribution:
    """The same by counting codes of one or two bytes."""
    number = 256**size
    counts = np.zeros(number, np.int64)
    for raw in _raw_blocks(checkpoint, spec, size):
        counts += np.bincount(raw.view(f"<u{size}"), minlength=number)
    codes = np.arange(number, dtype=f"<u{size}").view(np.uint8)
    with np.errstate(all="ignore"):
        meant = decode64(spec.values_dtype, codes, number).high
    there = (counts > 0) & np.isfinite(meant)
    values, merged = _merged(meant[there], counts[there])
    return Distribution(values, merged, True, int(counts.sum() - merged.sum()))


def _raw_blocks(checkpoint: Checkpoint, spec: TensorSpec, size: int) -> Iterator[Array]:
    """The bytes of elements of ``size`` bytes, some at a time."""
    for start in range(0, spec.elements, 4 * BLOCK):
        offset, length = span(8 * size, start, min(start + 4 * BLOCK, spec.elements))
        raw = np.empty(length, np.uint8)
        checkpoint.read_into(spec, offset, raw.data)
        yield raw


# ---------------------------------------------------------------- two of them


@frozen
class Shift:
    """How far a new distribution lies from an old one.

    Attributes:
        edges: of the bars, one more than there are; the outermost bars also hold what lies beyond them.
        old, new: counts of the bars.
        beyond: of both sides together, elements below the first edge and from the last one on.
        ks: Kolmogorov-Smirnov statistic, the greatest distance of the two cumulative distributions; where not
            ``exact`` a lower bound.
        ks_most: its upper bound; the same where ``exact``.
        psi: population stability index over the deciles of the old side (Siddiqi 2006), natural logarithm.
        js: Jensen-Shannon distance over the bars, the square root of the divergence in bits: 0 to 1 (Lin 1991).
        exact: whether both sides' values were counted exactly.
        nonfinite: elements of both sides that are not counted.
    """

    edges: tuple[float, ...]
    old: tuple[int, ...]
    new: tuple[int, ...]
    beyond: tuple[int, int]
    ks: float
    ks_most: float
    psi: float
    js: float
    exact: bool
    nonfinite: tuple[int, int]


def shift(old: Distribution, new: Distribution, bins: int = BINS) -> Shift | None:
    """How far two distributions lie apart; None where a side has no finite value."""
    if not len(old.values) or not len(new.values):
        return None
    edges = common_edges(old, new, bins)
    bars = [_bars(side, edges) for side in (old, new)]
    below = sum(int(side.below(edges[:1])[0]) for side in (old, new))
    above = sum(side.total - int(side.below(edges[-1:])[0]) for side in (old, new))
    least, most = kolmogorov_smirnov(old, new)
    return Shift(
        tuple(edges.tolist()), tuple(bars[0].tolist()), tuple(bars[1].tolist()), (below, above), least, most,
        stability(old, new), jensen_shannon(bars[0], bars[1]), old.exact and new.exact,
        (old.nonfinite, new.nonfinite),
    )  # fmt: skip


def common_edges(old: Distribution, new: Distribution, bins: int = BINS) -> Array:
    """Edges of equal bars for both sides: from the least to the greatest of their quantiles at either tail.

    Where that is no range (most elements are equal), from the least to the greatest value; where all are equal, one
    around that.
    """
    low = min(old.quantile(TAIL), new.quantile(TAIL))
    high = max(old.quantile(1 - TAIL), new.quantile(1 - TAIL))
    if not low < high:
        low = min(float(old.values[0]), float(new.values[0]))
        high = max(float(old.values[-1]), float(new.values[-1]))
    if not low < high:
        room = max(abs(low), 1e-300) * 0.5
        low, high = low - room, high + room
    scale = 2.0 if max(abs(low), abs(high)) > 1e300 else 1.0  # the range of float64's extremes is no float64
    edges = np.linspace(low / scale, high / scale, bins + 1) * scale
    edges[0], edges[-1] = low, high
    return np.maximum.accumulate(edges)


def _bars(side: Distribution, edges: Array) -> Array:
    """Counts between the edges; the first and last bar are open."""
    inner = side.below(edges[1:-1])
    return np.diff(np.concatenate((np.zeros(1, np.int64), inner, np.array([side.total]))))


def kolmogorov_smirnov(old: Distribution, new: Distribution) -> tuple[float, float]:
    """Lower and upper bound of the greatest distance between two cumulative distributions; equal where exact."""
    points = np.union1d(old.values, new.values)
    upto = [np.concatenate((np.zeros(1), _cumulative(side, points))) for side in (old, new)]
    least = float(np.abs(upto[0] - upto[1]).max())
    if old.exact and new.exact:
        return least, least
    # Within one class the order of the two sides' values is not known.
    apart = np.maximum(upto[0][1:] - upto[1][:-1], upto[1][1:] - upto[0][:-1])
    return least, min(1.0, float(apart.max()))


def _cumulative(side: Distribution, points: Array) -> Array:
    """Share of the elements that do not exceed each point."""
    before = np.concatenate((np.zeros(1, np.int64), np.cumsum(side.counts)))
    found: Array = before[np.searchsorted(side.values, points, "right")] / side.total
    return found


def stability(old: Distribution, new: Distribution) -> float:
    """Population stability index: sum of (q - p) ln(q / p) over classes between the deciles of the old side.

    A value at which deciles coincide is a class of its own. Shares below :data:`FEWEST_SHARE` count as that.
    """
    deciles, times = np.unique([old.quantile(place / DECILES) for place in range(1, DECILES)], return_counts=True)
    cuts = np.union1d(deciles, np.nextafter(deciles[times > 1], -np.inf))
    shares = []
    for side in (old, new):
        upto = np.concatenate((np.zeros(1), _cumulative(side, cuts), np.ones(1)))
        shares.append(np.maximum(np.diff(upto), FEWEST_SHARE))
    p, q = shares
    return float(np.sum((q - p) * np.log(q / p)))


def jensen_shannon(old: Array, new: Array) -> float:
    """Jensen-Shannon distance of two histograms over the same bars, with logarithms to base 2: 0 to 1."""
    p, q = old / old.sum(), new / new.sum()
    middle = (p + q) / 2
    divergence = 0.0
    for side in (p, q):
        there = side > 0
        divergence += float(np.sum(side[there] * np.log2(side[there] / middle[there]))) / 2
    return float(np.sqrt(min(max(divergence, 0.0), 1.0)))
