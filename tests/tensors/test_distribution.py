"""Distributions and their distances are those of scipy, whatever the dtype, the scale and the size."""

from __future__ import annotations

import warnings

import ml_dtypes
import numpy as np
import pytest
from memory_checkpoint import MemoryCheckpoint
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp

from diffai.tensors.distribution import EXACT, Distribution, Tally, distribution, shift

RNG = np.random.default_rng(5)
DTYPES = {"F64": "f8", "F32": "f4", "F16": "f2", "BF16": ml_dtypes.bfloat16, "F8_E4M3": ml_dtypes.float8_e4m3fn,
          "I8": "i1", "U8": "u1", "I16": "i2", "I32": "i4", "I64": "i8"}  # fmt: skip


@pytest.fixture(autouse=True)
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def of(values: np.ndarray, dtype: str = "F64") -> tuple[Distribution, np.ndarray]:
    stored = values.astype(DTYPES[dtype])
    checkpoint = MemoryCheckpoint({"w": (dtype, stored.shape, stored.tobytes())})
    return distribution(checkpoint, checkpoint.tensors["w"]), stored.astype("f8").reshape(-1)


def tallied(values: np.ndarray, exact: int) -> Distribution:
    tally = Tally(exact)
    for part in np.array_split(values, 7):
        tally.add(part)
    return tally.distribution()


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_and_counts_are_those_of_the_tensor(dtype: str) -> None:
    found, meant = of(RNG.normal(0, 30, (40, 25)), dtype)
    values, counts = np.unique(meant + 0.0, return_counts=True)
    assert found.exact
    assert found.values.tolist() == values.tolist()
    assert found.counts.tolist() == counts.tolist()


@pytest.mark.parametrize("dtype", ["F64", "F32", "BF16", "I8"])
@pytest.mark.parametrize("moved", [0.0, 0.3, 5.0])
def test_kolmogorov_smirnov_and_jensen_shannon_are_those_of_scipy(dtype: str, moved: float) -> None:
    (old, a), (new, b) = of(RNG.normal(0, 3, 4000), dtype), of(RNG.normal(moved, 4, 3000), dtype)
    found = shift(old, new)
    assert found is not None
    assert found.ks == pytest.approx(ks_2samp(a, b, method="asymp").statistic, abs=1e-12)
    assert found.ks_most == found.ks
    assert found.js == pytest.approx(float(jensenshannon(found.old, found.new, base=2)), abs=1e-9)
    inner = list(found.edges[1:-1])
    for counts, values in ((found.old, a), (found.new, b)):
        assert list(counts) == np.histogram(values, [-np.inf, *inner, np.inf])[0].tolist()
    assert sum(found.beyond) == sum(int(((v < found.edges[0]) | (v >= found.edges[-1])).sum()) for v in (a, b))


@pytest.mark.parametrize("values", [RNG.normal(0, 1, 5000), RNG.integers(0, 4, 5000).astype(float)])
def test_the_stability_index_is_that_of_deciles(values: np.ndarray) -> None:
    other = values * 1.4 + 0.2
    found = shift(of(values)[0], of(other)[0])
    deciles = np.quantile(values, np.arange(1, 10) / 10, method="inverted_cdf").tolist()
    below = [np.nextafter(value, -np.inf) for value in deciles if deciles.count(value) > 1]
    cuts = np.unique([*deciles, *below])
    p, q = (
        np.maximum(np.bincount(np.searchsorted(cuts, side, "left"), minlength=len(cuts) + 1) / len(side), 1e-4)
        for side in (values, other)
    )
    assert found is not None
    assert found.psi == pytest.approx(float(((q - p) * np.log(q / p)).sum()), rel=1e-9)


def test_a_constant_that_became_another_is_no_stable_population() -> None:
    found = shift(of(np.ones(50))[0], of(np.full(50, 0.7))[0])
    assert found is not None
    assert (found.ks, found.js) == (1.0, 1.0)
    assert found.psi > 5


def test_equal_sides_lie_nowhere_apart() -> None:
    values = RNG.normal(0, 1, 1000)
    found = shift(of(values)[0], of(values)[0])
    assert found is not None
    assert (found.ks, found.psi, found.js) == (0.0, 0.0, 0.0)


def test_more_elements_than_are_kept_are_bounded() -> None:
    a, b = RNG.normal(0, 1, 20_000), RNG.normal(0.05, 1.1, 20_000)
    old, new = tallied(a, exact=100), tallied(b, exact=100)
    found = shift(old, new)
    assert found is not None
    assert not found.exact
    truth = ks_2samp(a, b, method="asymp").statistic
    assert found.ks <= truth <= found.ks_most
    assert found.ks_most - found.ks < 0.01
    exact = shift(tallied(a, exact=10**6), tallied(b, exact=10**6))
    assert exact is not None
    assert found.psi == pytest.approx(exact.psi, rel=0.05)
    assert found.js == pytest.approx(exact.js, rel=0.05)


def test_coarse_classes_keep_order_sign_and_scale() -> None:
    values = np.array([-1e300, -3.0, -1e-300, -0.0, 0.0, 5e-324, 1e-300, 2.0, 2.0, 1e300])
    found = tallied(values, exact=0)
    assert found.total == len(values)
    assert (np.diff(found.values) > 0).all()
    assert found.values[-1] == pytest.approx(1e300, rel=0.004)
    assert found.values[0] == pytest.approx(-1e300, rel=0.004)
    assert -3.0 in found.values and 2.0 in found.values and 0.0 in found.values


def test_a_tensor_that_is_too_large_is_counted_in_classes() -> None:
    found, meant = of(RNG.normal(0, 1, EXACT + 5), "F32")
    assert not found.exact
    assert found.total == len(meant)
    assert found.quantile(0.5) == pytest.approx(float(np.median(meant)), abs=0.01)


def test_nan_and_infinity_are_counted_apart() -> None:
    values = np.array([1.0, np.nan, 2.0, np.inf, -np.inf, 3.0])
    for dtype in ("F64", "F32", "BF16", "F16"):
        found, _ = of(values, dtype)
        assert found.nonfinite == 3
        assert found.values.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("odd", [np.full(9, np.nan), np.empty(0)])
def test_without_a_finite_value_there_is_nothing_to_say(odd: np.ndarray) -> None:
    assert shift(of(odd)[0], of(np.ones(3))[0]) is None
    assert shift(of(np.ones(3))[0], of(odd)[0]) is None


@pytest.mark.parametrize(
    "values",
    [np.zeros(5), np.ones(1), np.full(8, -7.0), np.array([1.7e308, -1.7e308]), np.array([5e-324, 0.0]),
     np.array([0.0] * 999 + [1.0]), np.array([1.0, np.nextafter(1.0, 2.0)])],
)  # fmt: skip
def test_constants_and_extremes_have_bars(values: np.ndarray) -> None:
    found = shift(of(values)[0], of(values)[0])
    assert found is not None
    assert sum(found.old) == len(values)
    assert found.ks == found.psi == found.js == 0.0
    assert all(np.isfinite(found.edges))


def test_apart_altogether_is_one() -> None:
    found = shift(of(np.arange(100.0))[0], of(np.arange(200.0, 300.0))[0])
    assert found is not None
    assert found.ks == 1.0
    assert found.js == pytest.approx(1.0)
