"""Noise has no rank that is low, a merged LoRA has its own, and singular values are those of numpy."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import ml_dtypes
import numpy as np
import pytest

from diffai.tensors import spectrum as spectrum_module
from diffai.tensors.spectrum import (
    Rounding,
    Spectrum,
    effective_rank,
    gram,
    intruders,
    noise_values,
    spectral_norm,
    spectrum_of,
)

ROUNDOFF = {"f4": 2.0**-24, "f2": 2.0**-11, "bfloat16": 2.0**-8}


@pytest.fixture(autouse=True)
def no_warning() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def blocks(matrix: np.ndarray, step: int = 50) -> Iterator[tuple[int, np.ndarray]]:
    for first in range(0, len(matrix), step):
        yield first, matrix[first : first + step]


def spectrum(matrix: np.ndarray, rounding: float = 0.0) -> Spectrum:
    found = spectrum_of(*matrix.shape, blocks(matrix), Rounding(rounding, rounding))
    assert found is not None
    return found


def noises(rng: np.random.Generator, shape: tuple[int, int]) -> dict[str, np.ndarray]:
    normal = rng.normal(size=shape)
    found = {
        "normal": normal,
        "other rows": normal * np.exp(2 * rng.normal(size=(shape[0], 1))),
        "other rows and columns": normal * np.exp(rng.normal(size=(shape[0], 1))) * np.exp(rng.normal(size=shape[1])),
        "few elements": normal * (rng.random(shape) < 0.01),
        "hardly any element": normal * (rng.random(shape) < 0.001),
        "heavy tails": rng.standard_t(2, size=shape),
        "heaviest tails": rng.standard_cauchy(size=shape),
        "of one size": np.sign(normal),
    }
    return {kind: matrix for kind, matrix in found.items() if matrix.any()}


@pytest.mark.parametrize("shape", [(16, 16), (40, 40), (50, 160), (160, 50), (100, 100), (1100, 40)])
def test_noise_is_never_a_low_rank(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(shape[0])
    for kind, matrix in noises(rng, shape).items():
        assert not spectrum(matrix, rounding=1e9).low_rank, kind  # and much less where the rest must be small


@pytest.mark.parametrize("dtype", ROUNDOFF)
@pytest.mark.parametrize("rank", [1, 2, 4, 8, 16, 32, 64])
def test_a_merged_adapter_has_its_rank(dtype: str, rank: int) -> None:
    rng = np.random.default_rng(rank)
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    rows, columns = (150, 140) if rank <= 32 else (300, 260)
    weight = rng.normal(0, 0.02, (rows, columns)).astype(kind)
    product = rng.normal(size=(rows, rank)) @ rng.normal(size=(rank, columns))
    product *= 0.05 * np.linalg.norm(weight.astype("f8")) / np.linalg.norm(product)
    merged = (weight.astype("f8") + product).astype(kind)
    rounding = 0.5 * ROUNDOFF[dtype] * float(np.sqrt((merged.astype("f8") ** 2).mean()))
    found = spectrum(merged.astype("f8") - weight.astype("f8"), rounding)
    assert (found.rank, found.low_rank, found.folded) == (rank, True, False)
    assert found.effective_rank < found.noise_effective_rank


@pytest.mark.parametrize("rank", [1, 24])
def test_a_matrix_that_is_folded_has_its_rank(rank: int) -> None:
    rng = np.random.default_rng(rank)
    product = rng.normal(size=(1030, rank)) @ rng.normal(size=(rank, 530))
    found = spectrum(product + 1e-3 * rng.normal(size=product.shape))
    assert (found.rank, found.low_rank, found.folded, found.full_rank) == (rank, True, True, 530)


def test_half_of_the_full_rank_is_not_low() -> None:
    rng = np.random.default_rng(3)
    found = spectrum(rng.normal(size=(64, 32)) @ rng.normal(size=(32, 64)))
    assert found.rank > 16
    assert not found.low_rank


def test_few_rows_that_moved_prove_nothing() -> None:
    matrix = np.zeros((100, 80))
    matrix[[3, 50, 99]] = np.random.default_rng(4).normal(size=(3, 80))
    found = spectrum(matrix)
    assert (found.moved, found.low_rank) == ((3, 80), False)


def test_figures_are_those_of_the_singular_values() -> None:
    matrix = np.random.default_rng(5).normal(size=(70, 40))
    found = spectrum(matrix)
    values = np.linalg.svd(matrix, compute_uv=False)
    shares = values / values.sum()
    assert found.stable_rank == pytest.approx((values**2).sum() / values[0] ** 2)
    assert found.effective_rank == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
    assert effective_rank(np.ones(7)) == pytest.approx(7)


def test_the_law_of_noise_has_the_known_median() -> None:
    # Gavish, Donoho 2014, table IV: omega(beta) / lambda*(beta) = 1 / sqrt(median), for square matrices 0.6528
    assert np.median(noise_values(1001, 1001)) ** 2 / 1001 == pytest.approx(0.6528, abs=1e-3)
    values = np.linalg.svd(np.random.default_rng(6).normal(size=(300, 600)), compute_uv=False)
    assert np.abs(values / noise_values(300, 600) - 1).max() < 0.03


def test_what_is_zero_or_not_finite_has_no_spectrum() -> None:
    assert spectrum_of(20, 20, blocks(np.zeros((20, 20)))) is None
    assert spectrum_of(20, 20, blocks(np.full((20, 20), np.nan))) is None
    assert spectrum_of(20, 20, blocks(np.full((20, 20), np.inf))) is None


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 3)])
def test_the_smallest_have_figures(shape: tuple[int, int]) -> None:
    found = spectrum(np.random.default_rng(7).normal(size=shape))
    assert not found.low_rank
    assert found.stable_rank >= 1


@pytest.mark.parametrize("shape", [(30, 12), (12, 30), (20, 20)])
def test_products_give_the_greatest_singular_value(shape: tuple[int, int]) -> None:
    matrix = np.random.default_rng(8).normal(size=shape)
    found = gram(*shape, lambda first, last: matrix[first:last])
    assert found is not None and len(found) == min(shape)
    assert spectral_norm(found) == pytest.approx(np.linalg.norm(matrix, 2))
    assert gram(*shape, lambda first, last: matrix[first:last] * np.nan) is None


@pytest.mark.parametrize("shape", [(50, 7), (7, 50), (9, 10)])
def test_products_are_made_of_pieces(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = np.random.default_rng(10).normal(size=shape)
    monkeypatch.setattr(spectrum_module, "_PIECE", 25)
    found = gram(*shape, lambda first, last: matrix[first:last])
    assert found is not None
    expected = matrix.T @ matrix if shape[0] >= shape[1] else matrix @ matrix.T
    assert np.allclose(found, expected)


def test_a_strong_direction_of_its_own_is_an_intruder() -> None:
    rng = np.random.default_rng(9)
    weight = np.diag(np.linspace(4, 1, 40)) @ np.linalg.qr(rng.normal(size=(40, 40)))[0]
    same = gram(40, 40, lambda first, last: weight[first:last])
    assert same is not None and intruders(same, same) == 0
    across = np.linalg.svd(weight)[2].sum(axis=0)
    across /= np.linalg.norm(across)
    other = weight + 20 * np.outer(rng.normal(size=40) / 40**0.5, across)
    intruding = gram(40, 40, lambda first, last: other[first:last])
    assert intruding is not None and intruders(same, intruding) == 1
