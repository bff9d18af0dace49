"""Clusters of rows: k-means, how many there are, and how far two clusterings of the same rows agree.

All of it is deterministic: the seed is fixed, and the generator is one whose numbers numpy promises never to change.
"""

from __future__ import annotations

import numpy as np

from diffai.tensors.dtypes import Array

_SEED = 20240
_ROUNDS = 30
_STARTS = 3


def k_means(rows: Array, k: int, start: int = 0) -> Array:
    """Cluster of each row: the best of some runs of Lloyd's algorithm from k-means++ (Arthur, Vassilvitskii 2007).

    Args:
        rows: finite float64 of shape (rows, columns).
        k: clusters, at most as many as there are rows; fewer come out where fewer rows differ.
        start: another number gives other first centres.

    Returns:
        int64 numbers from 0 to k - 1.
    """
    generator = np.random.RandomState(_SEED + start)
    best, least = np.zeros(len(rows), np.int64), np.inf
    for _ in range(_STARTS):
        labels, cost = _lloyd(rows, _plus_plus(rows, k, generator))
        if cost < least:
            best, least = labels, cost
    return best


def followed(rows: Array, labels: Array) -> Array:
    """Clusters of rows that began in these: Lloyd's algorithm from the means of the rows of each.

    What hardly moved stays in its cluster, even where clusters are not clear and another start would end elsewhere.

    Args:
        rows: finite float64 of shape (rows, columns).
        labels: the cluster that each row was in.
    """
    centres = np.array([rows[labels == label].mean(axis=0) for label in np.unique(labels)])
    return _lloyd(rows, centres)[0]


def _plus_plus(rows: Array, k: int, generator: np.random.RandomState) -> Array:
    """First centres: each far from those before it, with a probability in proportion to the squared distance."""
    centres = [rows[generator.randint(len(rows))]]
    nearest = squared_distances(rows, centres[0][None])[:, 0]
    while len(centres) < k:
        total = float(nearest.sum())
        if not total > 0:
            break  # all rows are centres already
        place = int(np.searchsorted(np.cumsum(nearest), generator.random_sample() * total, "right"))
        centres.append(rows[min(place, len(rows) - 1)])
        nearest = np.minimum(nearest, squared_distances(rows, centres[-1][None])[:, 0])
    return np.array(centres)


def _lloyd(rows: Array, centres: Array) -> tuple[Array, float]:
    """Labels and the sum of squared distances where neither changes any more."""
    labels = np.full(len(rows), -1)
    for _ in range(_ROUNDS):
        apart = squared_distances(rows, centres)
        found = apart.argmin(axis=1)
        if (found == labels).all():
            break
        labels = found
        member = (labels[:, None] == np.arange(len(centres))).astype(np.float64)
        counts, sums = member.sum(axis=0), member.T @ rows
        held = counts > 0
        centres = np.where(held[:, None], sums / np.maximum(counts, 1)[:, None], centres)
    return labels, float(squared_distances(rows, centres)[np.arange(len(rows)), labels].sum())


def squared_distances(rows: Array, others: Array) -> Array:
    """Squared Euclidean distance of every row to every other one, none below zero."""
    found = -2.0 * (rows @ others.T)
    found += np.einsum("ij,ij->i", rows, rows)[:, None]
    found += np.einsum("ij,ij->i", others, others)
    return np.maximum(found, 0.0, out=found)


def silhouette(distances: Array, labels: Array) -> float:
    """Mean silhouette (Rousseeuw 1987) of a clustering: -1 to 1; 0 where there are not two clusters.

    Args:
        distances: of all pairs of rows, float64 of shape (rows, rows).
        labels: the cluster of each row.
    """
    clusters, inverse = np.unique(labels, return_inverse=True)
    if len(clusters) < 2:
        return 0.0
    member = np.zeros((len(labels), len(clusters)))
    member[np.arange(len(labels)), inverse] = 1.0
    counts = member.sum(axis=0)
    sums = distances @ member
    own = counts[inverse]
    within = sums[np.arange(len(labels)), inverse] / np.maximum(own - 1, 1)
    means = sums / counts
    means[np.arange(len(labels)), inverse] = np.inf
    nearest = means.min(axis=1)
    longest = np.maximum(within, nearest)
    scores = np.where((own > 1) & (longest > 0), (nearest - within) / np.where(longest > 0, longest, 1.0), 0.0)
    return float(scores.mean())


def cluster_number(rows: Array, most: int = 10) -> tuple[int, float]:
    """The number of clusters, from 2 on, with the greatest silhouette, and that; of rows few enough for all pairs."""
    distances = np.sqrt(squared_distances(rows, rows))
    np.fill_diagonal(distances, 0.0)
    found = [(k, silhouette(distances, k_means(rows, k))) for k in range(2, min(most, len(rows) - 1) + 1)]
    return max(found, key=lambda pair: (pair[1], -pair[0]), default=(1, 0.0))


def adjusted_rand(left: Array, right: Array) -> float:
    """Adjusted Rand index of two clusterings of the same rows (Hubert, Arabie 1985): 1 equal, near 0 by chance."""
    _, a = np.unique(left, return_inverse=True)
    _, b = np.unique(right, return_inverse=True)
    table = np.zeros((a.max(initial=0) + 1, b.max(initial=0) + 1), np.int64)
    np.add.at(table, (a, b), 1)
    together, alone, beside = (_pairs(x) for x in (table, table.sum(axis=1), table.sum(axis=0)))
    whole = len(left) * (len(left) - 1) / 2
    expected = alone * beside / whole if whole else 0.0
    most = (alone + beside) / 2
    return 1.0 if most == expected else float((together - expected) / (most - expected))


def _pairs(counts: Array) -> float:
    """Pairs within groups of these sizes."""
    return float((counts * (counts - 1) // 2).sum())
