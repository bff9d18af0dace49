"""Faithful casts are recognised, to every float format and by every library's convention."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import tensor_oracle as oracle
from memory_checkpoint import MemoryCheckpoint

from diffai.model import Cast
from diffai.tensors.engine import NumericOptions, compare_pairs

pytestmark = pytest.mark.filterwarnings("ignore:invalid value")  # signalling NaN

FLOATS = ("F16", "BF16", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ")


def cast_of(old: tuple[str, np.ndarray], new: tuple[str, np.ndarray]) -> Cast:
    sides = [MemoryCheckpoint({"w": (d, (len(v),), v.tobytes())}) for d, v in (old, new)]
    (figures,) = compare_pairs(sides[0], sides[1], [(sides[0].tensors["w"], sides[1].tensors["w"])], NumericOptions())
    assert figures.cast is not None
    return figures.cast


@pytest.mark.parametrize("target", FLOATS)
@pytest.mark.parametrize("count", [1000, 300_000])
def test_what_ml_dtypes_rounds_is_rounded_and_one_step_off_is_not(target: str, count: int) -> None:
    values = np.random.default_rng(3).standard_normal(count, dtype=np.float32)
    new = values.astype(oracle.NUMPY[target])
    assert cast_of(("F32", values), (target, new)).rounded
    codes = new.view(f"u{new.itemsize}")
    codes[count // 2] ^= 1
    cast = cast_of(("F32", values), (target, new))
    assert not cast.rounded and not cast.exact


@pytest.mark.parametrize("target", FLOATS)
def test_ties_and_range_limits(target: str) -> None:
    kind = np.dtype(oracle.NUMPY[target])
    codes = np.arange(256**kind.itemsize, dtype=f"u{kind.itemsize}").view(kind).astype(np.float64)
    finite = np.unique(codes[np.isfinite(codes)])
    middles = (finite[1:] + finite[:-1]) / 2
    if len(middles) > 1000:  # both ends, around zero, and a sample
        centre = len(middles) // 2
        middles = np.concatenate((middles[:50], middles[-50:], middles[centre - 50 : centre + 50], middles[::61]))
    values = np.concatenate((finite, middles, np.nextafter(middles, np.inf), np.nextafter(middles, -np.inf)))
    new = np.concatenate((finite, [_nearest(target, v) for v in values[len(finite) :].tolist()]))
    assert set(new.tolist()) <= set(finite.tolist())
    assert cast_of(("F64", values), (target, new.astype(np.float32).astype(kind))).rounded


def _nearest(target: str, value: float) -> float:
    from fractions import Fraction

    found = oracle._nearest(target, Fraction(value))
    assert found is not None
    return float(found)


@pytest.mark.parametrize("overflowed", [np.inf, 65504.0])
def test_overflow_to_infinity_and_saturation_are_both_faithful(overflowed: float) -> None:
    old = np.array([1.0, 70000.0, 1e-9, 65510.0], np.float32)
    cast = cast_of(("F32", old), ("F16", np.array([1.0, overflowed, 0.0, 65504.0], np.float16)))
    assert cast.rounded and not cast.exact
    # 65510 is beyond the greatest value too, though the nearest to it is that value.
    assert (cast.overflow_count, cast.underflow_count) == (2, 1)


@pytest.mark.parametrize("overflowed", [np.nan, 448.0])
def test_e4m3_without_infinity(overflowed: float) -> None:
    old = np.array([1.0, 1000.0, -1000.0], np.float32)
    new = np.array([1.0, overflowed, -overflowed], np.float32).astype(ml_dtypes.float8_e4m3fn)
    cast = cast_of(("F32", old), ("F8_E4M3", new))
    assert cast.rounded and cast.overflow_count == 2


def test_double_rounding_is_not_direct_rounding() -> None:
    # Half a BF16 step above 1, plus a little that F32 cannot hold: F32 first makes it a tie, which goes to even.
    old = np.array([1 + 2.0**-8 + 2.0**-40])
    twice = old.astype(np.float32).astype(ml_dtypes.bfloat16)
    assert float(twice[0]) == 1.0
    assert not cast_of(("F64", old), ("BF16", twice)).rounded
    assert cast_of(("F64", old), ("BF16", np.array([1 + 2.0**-7], np.float32).astype(ml_dtypes.bfloat16))).rounded


def test_integers_to_float_round_once() -> None:
    old = np.array([2**53 + 1, 2**62 + 2**38 + 1], np.int64)  # the second: just above a float32 tie
    cast = cast_of(("I64", old), ("F64", old.astype(np.float64)))
    assert cast.rounded and not cast.exact
    assert cast_of(("I64", old), ("F32", old.astype(np.float32))).rounded
    assert not cast_of(("I64", old), ("F32", old.astype(np.float64).astype(np.float32))).rounded


def test_lossless_cast_is_exact_and_rounded() -> None:
    old = np.array([1.5, -0.0, np.inf, np.nan], np.float16)
    cast = cast_of(("F16", old), ("F32", old.astype(np.float32)))
    assert cast == Cast(exact=True, rounded=True, relative_l2=0.0, sqnr_db=None, overflow_count=0, underflow_count=0)


@pytest.mark.parametrize(("source", "target"), [("F32", t) for t in FLOATS] + [("BF16", "F16"), ("F64", "F32")])
@pytest.mark.parametrize("count", [1000, 300_000])
def test_elements_beyond_one_ulp_are_counted(source: str, target: str, count: int) -> None:
    old = np.random.default_rng(5).standard_normal(count).astype(oracle.NUMPY[source])
    new = old.astype(oracle.NUMPY[target])
    codes = new.view(f"u{new.itemsize}")
    codes[::2] += 1  # one step away from zero: still within one ulp, or just beyond it where rounding went that way
    codes[:5] += 9
    cast = cast_of((source, old), (target, new))
    exact, moved = old.astype("f8"), new.astype("f8")
    form = ml_dtypes.finfo(oracle.NUMPY[target])
    ulp = 2.0 ** (np.maximum(np.floor(np.log2(np.abs(exact))), float(form.minexp)) - form.nmant)
    assert not cast.rounded and cast.beyond_ulp_count == int((~(np.abs(moved - exact) <= ulp)).sum()) > 4


def test_nothing_is_beyond_an_ulp_of_a_faithful_cast_and_the_ulp_of_integers_is_one() -> None:
    old = np.array([0.2, 1.4, -7.0, 300.0], np.float32)
    assert cast_of(("F32", old), ("I8", np.array([0, 1, -7, 127], np.int8))).beyond_ulp_count == 0
    assert cast_of(("F32", old), ("I8", np.array([1, 2, -9, 127], np.int8))).beyond_ulp_count == 1
