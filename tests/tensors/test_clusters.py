"""Clusters, their number and their agreement are those of scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, pairwise_distances, silhouette_score

from diffai.tensors.clusters import adjusted_rand, cluster_number, followed, k_means, silhouette

RNG = np.random.default_rng(8)


def blobs(k: int, rows: int = 40, apart: float = 10.0) -> tuple[np.ndarray, np.ndarray]:
    centres = RNG.normal(0, apart, (k, 6))
    return np.concatenate([c + RNG.normal(size=(rows, 6)) for c in centres]), np.repeat(np.arange(k), rows)


@pytest.mark.parametrize("k", [2, 3, 5, 7])
def test_clusters_that_are_there_are_found(k: int) -> None:
    rows, truth = blobs(k)
    assert cluster_number(rows)[0] == k
    assert adjusted_rand(k_means(rows, k), truth) == 1.0


def test_without_clusters_the_cost_is_that_of_scikit_learn() -> None:
    rows = RNG.normal(size=(300, 5))
    labels = k_means(rows, 4)
    cost = sum(((rows[labels == c] - rows[labels == c].mean(axis=0)) ** 2).sum() for c in range(4))
    best = KMeans(4, n_init=10, random_state=0).fit(rows).inertia_
    assert cost <= best * 1.03


@pytest.mark.parametrize("k", [1, 2, 3, 9])
def test_the_adjusted_rand_index_is_that_of_scikit_learn(k: int) -> None:
    left, right = RNG.integers(0, 4, 60), RNG.integers(0, k, 60)
    assert adjusted_rand(left, right) == pytest.approx(adjusted_rand_score(left, right), abs=1e-12)
    assert adjusted_rand(left, left + 5) == 1.0


def test_the_adjusted_rand_index_of_one_row_or_of_loners() -> None:
    for left, right in (([0], [3]), ([0, 1, 2], [2, 1, 0]), ([0, 0], [1, 1]), ([0, 1], [0, 0])):
        expected = adjusted_rand_score(left, right)
        assert adjusted_rand(np.array(left), np.array(right)) == pytest.approx(expected)


@pytest.mark.parametrize("k", [2, 4])
def test_the_silhouette_is_that_of_scikit_learn(k: int) -> None:
    rows, _ = blobs(3, rows=12, apart=1.0)
    labels = RNG.integers(0, k, len(rows))
    labels[0] = 99  # a cluster of one
    assert silhouette(pairwise_distances(rows), labels) == pytest.approx(silhouette_score(rows, labels))


def test_equal_rows_are_one_cluster() -> None:
    labels = k_means(np.ones((5, 3)), 3)
    assert set(labels.tolist()) == {0}
    assert silhouette(np.zeros((5, 5)), labels) == 0.0
    assert cluster_number(np.ones((5, 3)))[1] == 0.0
    assert cluster_number(np.ones((1, 3))) == (1, 0.0)


def test_rows_that_hardly_moved_stay_in_clusters_that_are_not_clear() -> None:
    rows = RNG.normal(size=(300, 20))
    labels = k_means(rows, 3)
    assert adjusted_rand(labels, followed(rows + 1e-6 * RNG.normal(size=rows.shape), labels)) == 1.0
    assert adjusted_rand(labels, followed(RNG.normal(size=rows.shape), labels)) < 0.2


def test_clusters_that_are_clear_are_found_from_others() -> None:
    rows, truth = blobs(3)
    assert adjusted_rand(truth, followed(rows, np.roll(truth, 15))) == 1.0


def test_the_same_rows_give_the_same_clusters_again() -> None:
    rows, _ = blobs(4, apart=1.0)
    assert k_means(rows, 4).tolist() == k_means(rows.copy(), 4).tolist()
