"""Turns of rows and their neighbours are those of scipy and scikit-learn, at any scale."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.spatial.distance import cosine
from sklearn.neighbors import NearestNeighbors

from diffai.tensors.neighbours import nearest, overlap, turned

RNG = np.random.default_rng(2)


@pytest.fixture(autouse=True)
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("scale", [1.0, 1e-200, 1e200])
def test_the_turn_is_one_less_the_cosine(scale: float) -> None:
    old, new = RNG.normal(size=(20, 8)), RNG.normal(size=(20, 8))
    found = turned(old * scale, new)
    assert found.drift.tolist() == pytest.approx([cosine(a, b) for a, b in zip(old, new, strict=True)])
    assert found.old.tolist() == pytest.approx((np.linalg.norm(old, axis=1) * scale).tolist())


def test_a_turn_smaller_than_rounding_of_a_product_is_seen() -> None:
    old = np.array([[1.0, 0.0]])
    assert turned(old, np.array([[1.0, 1e-9]])).drift[0] == pytest.approx(5e-19, rel=1e-6)
    assert turned(old, old).drift[0] == 0.0


def test_rows_without_a_direction_have_no_turn() -> None:
    old = np.array([[0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0], [1.0, 2.0]])
    found = turned(old, np.ones((4, 2)))
    assert np.isnan(found.drift[:3]).all() and np.isfinite(found.drift[3])
    assert found.old[0] == 0.0 and np.isnan(found.old[1:3]).all()


def test_neighbours_are_those_of_scikit_learn() -> None:
    rows = RNG.normal(size=(600, 12))
    expected = NearestNeighbors(n_neighbors=11, metric="cosine", algorithm="brute").fit(rows)
    theirs = expected.kneighbors(return_distance=False)[:, :10]
    assert nearest(rows, 10).tolist() == np.sort(theirs, axis=1).tolist()


def test_a_rotation_keeps_all_neighbours_and_noise_keeps_few() -> None:
    rows = RNG.normal(size=(300, 16))
    rotated = rows @ np.linalg.qr(RNG.normal(size=(16, 16)))[0]
    assert overlap(nearest(rows, 10), nearest(rotated, 10)) == 1.0
    assert overlap(nearest(rows, 10), nearest(RNG.normal(size=rows.shape), 10)) < 0.15
