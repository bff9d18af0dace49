"""Linear centred kernel alignment (CKA) of layers: how alike two layers see the same things.

A layer is a matrix of n examples by any number of features. CKA is the alignment of their matrices of products
(Kornblith, Norouzi, Lee, Hinton 2019, "Similarity of Neural Network Representations Revisited"): 1 for layers that
differ by a rotation, a permutation or a scale of their features. The estimator of Song et al. (2012, HSIC_1; in CKA:
Nguyen, Raghu, Kornblith 2021) is unbiased, so that few examples of many features do not look alike by chance; it is
near 0 for layers that have nothing in common, and may be a little below.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from diffai.model import Checkpoint, TensorSpec
from diffai.tensors.dtypes import Array
from diffai.tensors.reading import filters_last, matrix_shape, row_blocks, some_rows, spread, values

EXAMPLES = 256
"""Examples that are looked at, the same of all layers; those of longer ones are evenly spread."""

FEWEST_EXAMPLES = 8
_HELD = 1 << 20


def example_sizes(spec: TensorSpec) -> tuple[int, ...]:
    """What of a layer can be its examples: columns (what it takes), rows (what it gives); of a convolution its filters.

    Those of a matrix of equal sides are its columns.
    """
    sides = spec.shape if len(spec.shape) == 2 else spec.shape[-1:] if filters_last(spec) else spec.shape[:1]
    return tuple(size for size in dict.fromkeys(sides) if size >= FEWEST_EXAMPLES)


def products(checkpoint: Checkpoint, spec: TensorSpec, size: int) -> Array | None:
    """Products of all pairs of examples of a layer, with nothing on the diagonal, scaled to a mean square of 1.

    Args:
        checkpoint, spec: the layer, a tensor with two dimensions or more.
        size: the number of examples: one of :func:`example_sizes`.

    Returns:
        float64 of shape (n, n) with n = ``size`` or :data:`EXAMPLES`; None where values are not all finite, or all
        products are zero.

    Raises:
        SourceError: bytes are gone.
    """
    columns = matrix_shape(spec)[1]
    places = spread(size, EXAMPLES)
    found = np.zeros((len(places), len(places)))
    if columns == size and (len(spec.shape) == 2 or filters_last(spec)):
        for _, block in row_blocks(checkpoint, spec):
            if not _usable(block):
                return None
            examples = block[:, places] if len(places) < size else block
            found += examples.T @ examples
    else:
        for examples in _features(checkpoint, spec, places):
            if not _usable(examples):
                return None
            found += examples @ examples.T
    np.fill_diagonal(found, 0.0)
    largest = float(np.abs(found).max(initial=0.0))
    if not largest or not np.isfinite(largest):
        return None
    found /= largest
    return np.asarray(found / np.sqrt(np.mean(found * found)))


def _features(checkpoint: Checkpoint, spec: TensorSpec, places: Sequence[int]) -> Iterator[Array]:
    """Rows of these numbers, as many of their elements at a time as can be held."""
    columns = matrix_shape(spec)[1]
    step = max(1, _HELD // len(places))
    if columns <= step:
        yield some_rows(checkpoint, spec, places)
        return
    for start in range(0, columns, step):
        stop = min(start + step, columns)
        yield np.stack([values(checkpoint, spec, row * columns + start, row * columns + stop) for row in places])


def _usable(block: Array) -> bool:
    """Whether products of the values are numbers: finite, and not beyond half of float64's exponents."""
    largest = float(np.abs(block).max(initial=0.0))
    return largest < 1e150  # neither NaN nor infinity is


def alignments(old: Sequence[Array], new: Sequence[Array]) -> Array:
    """Unbiased linear CKA of every layer of one side with every one of the other.

    Args:
        old, new: :func:`products` of both sides' layers, all of one shape (n, n), n at least 4.

    Returns:
        float64 of shape (old layers, new layers); NaN where the figure is not defined: a layer whose examples do not
        differ beyond chance.
    """
    n = len(old[0])
    flat, sums, totals = zip(*((k.reshape(-1), k.sum(axis=0), k.sum()) for k in (*old, *new)), strict=True)
    own = np.array([_hsic(f @ f, s @ s, t * t, n) for f, s, t in zip(flat, sums, totals, strict=True)])
    found = np.full((len(old), len(new)), np.nan)
    for i in range(len(old)):
        for place in range(len(new)):
            j = len(old) + place
            if own[i] > 0 and own[j] > 0:
                both = _hsic(flat[i] @ flat[j], sums[i] @ sums[j], totals[i] * totals[j], n)
                found[i, place] = min(1.0, both / np.sqrt(own[i] * own[j]))
    return found


def _hsic(trace: float, crossed: float, totals: float, n: int) -> float:
    """HSIC_1 (Song et al. 2012, equation 5) out of tr(KL), 1'KL1 and 1'K1 1'L1 of kernels with an empty diagonal."""
    return (trace + totals / ((n - 1) * (n - 2)) - 2 * crossed / (n - 2)) / (n * (n - 3))
