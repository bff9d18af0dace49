"""What the singular values of a matrix tell: how many directions it has, and how many of them no noise would have.

A matrix of noise has singular values that follow the law of Marchenko and Pastur (1967), up to an edge of
sigma (sqrt(m) + sqrt(n)); sigma is told by their median (Gavish, Donoho 2014). What lies above that edge may be
structure. It is where it also exceeds the same matrix with its signs thrown at random, which has the same magnitudes
in the same places but no structure (Hong, Sheng, Dobriban 2020), again and again after what was found is taken away
(deflation: Dobriban, Owen 2019). So noise of other rows, other columns, few elements or heavy tails is not taken for
a low rank.

Matrices with a side longer than :data:`SIDE` are folded to that: their rows and columns, in a fixed random order and
with fixed random signs, are added up in groups of equal size (a count sketch: Charikar, Chen, Farach-Colton 2002).
Noise stays noise, and a rank well below the side stays the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cache

import numpy as np

from diffai.frozen import frozen
from diffai.tensors.dtypes import Array

SIDE = 512
"""Rows and columns to which a larger matrix is folded."""

FEWEST = 16
"""Rows and columns that must have moved for a judgement of their rank."""

MOST_SHARE = 0.25
"""A rank above this share of the full one is not called low."""

ENERGY = 0.9
"""Share of the squares that few directions must hold where the rest is more than rounding."""

_NOTHING = 1e-3
_SEED = 20250
_FLIPS = 2
_POINTS = 4096


class Fold:
    """Adds the rows of a matrix, given in blocks, up to one of at most :data:`SIDE` rows and columns.

    Args:
        rows, columns: of the whole matrix.
    """

    def __init__(self, rows: int, columns: int) -> None:
        self.shape = _folded(rows), _folded(columns)
        self.folded = (rows, columns) != self.shape
        self._rows, self._columns = _groups(rows, self.shape[0]), _groups(columns, self.shape[1])
        self.matrix = np.zeros(self.shape)
        self.squares = 0.0

    def add(self, first: int, block: Array) -> None:
        """Add rows from number ``first`` on, float64 of shape (rows, columns); they must be finite."""
        self.squares += float(np.einsum("ij,ij->", block, block))
        order, signs = self._columns
        if self.shape[1] < block.shape[1]:
            turned = np.zeros((len(block), len(order)))
            np.multiply(block, signs, out=turned[:, : block.shape[1]])
            block = turned[:, order].reshape(len(block), -1, self.shape[1]).sum(axis=1)
        place, sign = self._rows
        last = first + len(block)
        if self.shape[0] == len(sign):
            self.matrix[first:last] = block
        else:
            block = block * sign[first:last, None]
            np.add.at(self.matrix, _bucket(place, self.shape[0])[first:last], block)


def _folded(count: int) -> int:
    """Groups of equal size, at most :data:`SIDE`, that ``count`` things make (the last ones may be one short)."""
    return -(-count // -(-count // SIDE)) if count else 0


@cache
def _groups(count: int, groups: int) -> tuple[Array, Array]:
    """A fixed order of ``count`` things, filled up to a multiple of ``groups``, and a fixed sign of each."""
    if count <= groups:
        return np.arange(count), np.ones(count)
    generator = np.random.RandomState(_SEED + count % 100_003)
    padded = -(-count // groups) * groups
    return generator.permutation(padded), generator.randint(0, 2, count) * 2.0 - 1.0


def _bucket(order: Array, groups: int) -> Array:
    """The group of each of the things of an order."""
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order)) % groups
    return place


@frozen
class Spectrum:
    """What the singular values of a matrix tell.

    Attributes:
        full_rank: the greatest that its shape allows.
        rank: directions that noise of this shape would not have; where ``folded`` at most :data:`SIDE`.
        energy: share of the squares that they hold.
        low_rank: whether it is a low-rank matrix: ``rank`` is at least 1 and at most a quarter of the full one, and
            they hold nearly all, or all but what is as small as rounding.
        effective_rank: exp of the entropy of the singular values' shares (Roy, Vetterli 2007).
        noise_effective_rank: the same of noise of this shape.
        stable_rank: sum of the squares over the greatest square.
        moved: rows and columns that are not all zero.
        folded: whether the figures are of the folded matrix.
    """

    full_rank: int
    rank: int
    energy: float
    low_rank: bool
    effective_rank: float
    noise_effective_rank: float
    stable_rank: float
    moved: tuple[int, int]
    folded: bool


@frozen
class Rounding:
    """How large errors of rounding are in a matrix: what is no more than that needs no explanation.

    Attributes:
        whole: their root mean square.
        typical: the same of all but the largest elements: a few columns of large ones decide over ``whole``.
    """

    whole: float = 0.0
    typical: float = 0.0


NO_ROUNDING = Rounding()


def spectrum_of(
    rows: int, columns: int, blocks: Iterable[tuple[int, Array]], rounding: Rounding = NO_ROUNDING
) -> Spectrum | None:
    """The spectrum of a matrix given in blocks of rows; None where it is all zero or not all finite.

    Args:
        rows, columns: of the matrix.
        blocks: (number of the first row, float64 rows), each row once.
        rounding: of what the matrix is the difference.
    """
    fold = Fold(rows, columns)
    for first, block in blocks:
        if not np.isfinite(block).all():
            return None
        fold.add(first, block)
    if not fold.squares or not math.isfinite(fold.squares):
        return None
    return _judged(fold, rows, columns, rounding)


def _judged(fold: Fold, rows: int, columns: int, rounding: Rounding) -> Spectrum:
    there = fold.matrix != 0
    kept = fold.matrix[there.any(axis=1)][:, there.any(axis=0)]
    kept /= np.abs(kept).max()
    values = np.linalg.svd(kept, compute_uv=False)
    squares = values * values
    moved = (kept.shape[0], kept.shape[1])
    rank, energy, low = min(moved), 1.0, False
    if rank >= FEWEST:
        rank = _above_noise(values, moved)
        most = MOST_SHARE * min(fold.shape)
        few = 1 <= rank <= 1.5 * most  # some of them may be no structure
        rests = np.sqrt(np.append(np.cumsum(squares[::-1])[::-1], 0.0) / squares.sum())  # after so many directions
        scale = math.sqrt(rows * columns / fold.squares)
        rounded = 2 * rounding.whole * scale
        if few:
            # No noise leaves next to nothing after a few directions: where rounding is that little, that decides.
            proven = rests[rank] <= rounded <= _NOTHING and rank <= MOST_SHARE * min(moved)
            least = rounded if proven else rounding.typical * scale
            structure = rank if proven else _above_flipped(kept, rank)
            rank = min(structure, max(1, int(np.count_nonzero(rests > least))))
        energy = float(1.0 - rests[rank] ** 2) if rank else 0.0
        low = bool(few and 1 <= rank <= most and (energy >= ENERGY or rests[rank] <= rounded))
    return Spectrum(
        min(rows, columns), rank, energy, low, effective_rank(values), effective_rank(noise_values(*fold.shape)),
        float(squares.sum() / squares[0]), moved, fold.folded,
    )  # fmt: skip


def _above_noise(values: Array, shape: tuple[int, int]) -> int:
    """How many singular values lie above the edge of noise, whose power their median tells."""
    m, n = shape
    sigma = float(np.median(values)) / float(np.median(noise_values(m, n)))
    edge = sigma * (math.sqrt(m) + math.sqrt(n)) * (1 + 3 * min(m, n) ** (-2 / 3) * _slack(m, n))
    least = float(values[0]) * max(m, n) * np.finfo(np.float64).eps
    return int(np.count_nonzero(values > max(edge, least)))


def _above_flipped(matrix: Array, most: int) -> int:
    """How many directions, at most ``most``, the same magnitudes with random signs do not reach."""
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    generator = np.random.RandomState(_SEED)
    margin = 1 + 2 * min(matrix.shape) ** (-2 / 3)
    rank = 0
    while rank < most:
        rest = matrix - (left[:, :rank] * values[:rank]) @ right[:rank]
        reached = 0.0
        for _ in range(_FLIPS):
            signs = generator.randint(0, 2, rest.shape) * 2.0 - 1.0
            reached = max(reached, float(np.linalg.svd(rest * signs, compute_uv=False)[0]))
        found = min(most, int(np.count_nonzero(values > margin * reached)))
        if found <= rank:
            break
        rank = found
    return rank


def _slack(m: int, n: int) -> float:
    """How far beyond the edge the greatest value of noise may come, by the shape (Tracy, Widom; Johnstone 2001)."""
    return math.pow(min(m, n) / max(m, n), 1 / 6)


def effective_rank(values: Array) -> float:
    """Exp of the Shannon entropy of singular values that are not all zero, each as its share of their sum."""
    shares = values[values > 0] / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


@cache
def noise_values(m: int, n: int) -> Array:
    """Singular values that a matrix of noise of variance 1 has, descending: quantiles of Marchenko and Pastur's law."""
    m, n = min(m, n), max(m, n)
    ratio = m / n
    low, high = 1 - math.sqrt(ratio), 1 + math.sqrt(ratio)
    angle = (np.arange(_POINTS) + 0.5) * (math.pi / _POINTS)  # dense at both edges, where the density has a root
    place = (low + high) / 2 - (high - low) / 2 * np.cos(angle)
    with np.errstate(all="ignore"):
        density = np.sqrt(np.maximum((high**2 - place**2) * (place**2 - low**2), 0.0)) / np.maximum(place, 1e-12)
    mass = np.cumsum(density * np.sin(angle))
    share = (np.arange(m) + 0.5) / m
    found: Array = np.interp(share, mass / mass[-1], place)[::-1] * math.sqrt(n)
    return found


# ---------------------------------------------------------------- directions of whole matrices

GRAM_SIDE = 1024
"""The shorter side up to which the products of all pairs of its vectors are kept."""

_PIECE = 1 << 20

Rows = Callable[[int, int], Array]
"""Reads rows of a matrix, from a first to before a last one, as float64."""


def gram(rows: int, columns: int, read: Rows) -> Array | None:
    """Products of all columns, or of all rows where they are fewer, of a matrix.

    Args:
        rows, columns: of the matrix.
        read: its rows from a first to before a last one, float64. Those of a wide matrix are read several times, so
            that never more than two pieces of :data:`_PIECE` elements are held.

    Returns:
        float64 of shape (n, n), n the shorter side; None where values are not all finite, or n exceeds
        :data:`GRAM_SIDE`.
    """
    side = min(rows, columns)
    if side > GRAM_SIDE:
        return None
    found = np.zeros((side, side))
    step = max(1, _PIECE // max(columns, 1))
    for first in range(0, rows, step):
        block = read(first, min(first + step, rows))
        if not np.isfinite(block).all():
            return None
        if rows >= columns:
            found += block.T @ block
            continue
        last = first + len(block)
        found[first:last, first:last] = block @ block.T
        for start in range(0, first, step):
            both = block @ read(start, start + step).T
            found[first:last, start : start + step] = both
            found[start : start + step, first:last] = both.T
    return found


def spectral_norm(products: Array) -> float:
    """The greatest singular value of a matrix, out of its :func:`gram`."""
    return math.sqrt(max(float(np.linalg.eigvalsh(products)[-1]), 0.0))


def intruders(old: Array, new: Array, directions: int = 10, alike: float = 0.5) -> int:
    """Intruder dimensions: of the first singular vectors of a matrix, those like none of the old matrix.

    Args:
        old, new: :func:`gram` of both.
        directions: how many of the new matrix are looked at.
        alike: the cosine with any singular vector of the old one from which on it is no intruder
            (Shuttleworth et al. 2025, "LoRA vs Full Fine-tuning: An Illusion of Equivalence").
    """
    before, after = np.linalg.eigh(old)[1], np.linalg.eigh(new)[1][:, ::-1][:, :directions]
    nearest = np.abs(before.T @ after).max(axis=0)
    return int(np.count_nonzero(nearest < alike))
