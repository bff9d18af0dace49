"""Unbiased linear CKA is that of its definition, and 1 for what a rotation of features or a scale explains."""

from __future__ import annotations

import numpy as np
import pytest
from memory_checkpoint import MemoryCheckpoint

from diffai.tensors import similarity
from diffai.tensors.reading import spread
from diffai.tensors.similarity import EXAMPLES, alignments, products

RNG = np.random.default_rng(3)


def layer(matrix: np.ndarray, size: int) -> np.ndarray:
    checkpoint = MemoryCheckpoint({"w": ("F64", matrix.shape, matrix.tobytes())})
    found = products(checkpoint, checkpoint.tensors["w"], size)
    assert found is not None
    return found


def reference(x: np.ndarray, y: np.ndarray) -> float:
    """HSIC_1 by its definition, with matrices of ones; examples are rows."""

    def hsic(k: np.ndarray, other: np.ndarray) -> float:
        n, one = len(k), np.ones(len(k))
        k, other = k - np.diag(np.diag(k)), other - np.diag(np.diag(other))
        total = np.trace(k @ other) + (one @ k @ one) * (one @ other @ one) / ((n - 1) * (n - 2))
        return float(total - 2 / (n - 2) * (one @ k @ other @ one))

    k, other = x @ x.T, y @ y.T
    return hsic(k, other) / float(np.sqrt(hsic(k, k) * hsic(other, other)))


@pytest.mark.parametrize("features", [(20, 20), (5, 300), (100, 7)])
def test_it_is_that_of_its_definition(features: tuple[int, int]) -> None:
    x = RNG.normal(size=(40, features[0]))
    y = x[:, :3] @ RNG.normal(size=(3, features[1])) + RNG.normal(size=(40, features[1]))
    found = alignments([layer(x.T.copy(), 40)], [layer(y, 40)])  # as columns and as rows
    assert found[0, 0] == pytest.approx(reference(x, y), rel=1e-9)


def test_of_many_examples_the_same_are_taken_on_both_sides() -> None:
    x, y = RNG.normal(size=(3 * EXAMPLES, 30)), RNG.normal(size=(3 * EXAMPLES, 20))
    y[:, :10] = x[:, :10] * 2
    places = spread(3 * EXAMPLES, EXAMPLES)
    found = alignments([layer(x.T.copy(), len(x))], [layer(y, len(y))])
    assert found[0, 0] == pytest.approx(reference(x[places], y[places]), rel=1e-9)


def test_rotation_permutation_and_scale_of_features_are_no_difference() -> None:
    x = RNG.normal(size=(50, 16))
    others = [x, x @ np.linalg.qr(RNG.normal(size=(16, 16)))[0], x[:, ::-1] * 1e-3]
    found = alignments([layer(x, 50)], [layer(np.ascontiguousarray(y), 50) for y in others])
    assert found[0].tolist() == pytest.approx([1.0, 1.0, 1.0])


def test_strangers_are_near_zero_however_many_features_they_have() -> None:
    found = alignments([layer(RNG.normal(size=(30, 2000)), 30)], [layer(RNG.normal(size=(30, 2000)), 30)])
    assert abs(found[0, 0]) < 0.2  # the biased estimator says 0.98


def test_filters_are_the_examples_of_a_convolution_whether_first_or_last() -> None:
    kernels = RNG.normal(size=(20, 3, 4, 4))  # filters first
    flat = kernels.reshape(20, -1)
    last = np.ascontiguousarray(kernels.transpose(2, 3, 1, 0))
    assert alignments([layer(kernels, 20)], [layer(last, 20)])[0, 0] == pytest.approx(1.0)
    assert np.allclose(layer(kernels, 20), layer(flat, 20))


def test_long_rows_are_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    x = RNG.normal(size=(12, 100))
    whole = layer(x, 12)
    monkeypatch.setattr(similarity, "_HELD", 12 * 7)
    assert np.allclose(layer(x, 12), whole)


@pytest.mark.parametrize("scale", [1e-140, 1e140])
def test_any_scale_will_do(scale: float) -> None:
    x = RNG.normal(size=(20, 6))
    assert alignments([layer(x, 20)], [layer(x * scale, 20)])[0, 0] == pytest.approx(1.0)


@pytest.mark.parametrize("bad", [np.zeros((9, 4)), np.full((9, 4), np.nan), np.full((9, 4), np.inf), np.full((9, 4), 1e300)])
def test_what_has_no_products_is_left_out(bad: np.ndarray) -> None:
    for matrix in (bad, np.ascontiguousarray(bad.T)):
        checkpoint = MemoryCheckpoint({"w": ("F64", matrix.shape, matrix.tobytes())})
        assert products(checkpoint, checkpoint.tensors["w"], 9) is None


def test_a_constant_layer_is_not_defined() -> None:
    found = alignments([layer(np.ones((9, 4)), 9)], [layer(RNG.normal(size=(9, 4)), 9)])
    assert np.isnan(found[0, 0])
