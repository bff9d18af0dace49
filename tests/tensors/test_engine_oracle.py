"""Every figure against an exact oracle, over random dtypes, sizes, values and tolerances."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import pytest
import tensor_oracle as oracle
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from memory_checkpoint import MemoryCheckpoint

from diffai.model import Cast, Delta, PairFigures, Statistics, byte_count
from diffai.tensors import blocks
from diffai.tensors.engine import NumericOptions, compare_pairs, summarise

TINY = blocks.Sizes(block=64, exact_block=32, chunk=128, small=16, batch=48)


@pytest.fixture(autouse=True)
def tiny_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "SIZES", TINY)


def make(dtype: str, count: int, kind: str, seed: int) -> bytes:
    """Raw bytes of ``count`` elements with a certain character."""
    rng = np.random.default_rng(seed)
    if kind == "bytes" or dtype in ("BOOL", "F4", "F8_E8M0"):
        return rng.bytes(byte_count(dtype, count))
    values = rng.standard_normal(count)
    values = {
        "normal": values, "offset": values + 1e4, "huge": values * 1e38, "tiny": values * 1e-40,
        "small": values * 1e-24,
        "constant": np.full(count, 0.1),
        "sparse": np.where(rng.random(count) < 0.9, 0.0, values), "zeros": values * 0,
        "vast": values * 1e300, "minute": values * 1e-310,
    }[kind]  # fmt: skip
    if dtype in oracle.INTEGER:
        info = np.iinfo(oracle.NUMPY[dtype])
        scaled = np.clip(values * 50, -(2.0**62), 2.0**62).astype(np.int64)
        return np.clip(scaled, max(info.min, -(2**63)), min(info.max, 2**63 - 1)).astype(oracle.NUMPY[dtype]).tobytes()
    with np.errstate(all="ignore"):
        if dtype == "C32":
            return np.stack((values, values[::-1]), 1).astype("<f2").tobytes()
        if dtype in oracle.COMPLEX:
            return (values + 1j * values[::-1]).astype(oracle.NUMPY[dtype]).tobytes()
        return values.astype(np.float64).astype(oracle.NUMPY[dtype]).tobytes()


def disturb(raw: bytes, other: bytes, size: int, share: float, seed: int) -> bytes:
    """``raw`` with a share of its elements (of ``size`` bytes) taken from ``other``."""
    a, b = np.frombuffer(raw, np.uint8).copy(), np.frombuffer(other, np.uint8)
    mask = np.random.default_rng(seed).random(-(-len(a) // size)) < share
    mask = np.repeat(mask, size)[: len(a)]
    a[mask] = b[mask]
    return a.tobytes()


def check_statistics(found: Statistics | None, wanted: dict[str, Any], tolerance: float, floor: float) -> None:
    assert found is not None
    for name in ("element_count", "zero_count", "nan_count", "pos_inf_count", "neg_inf_count"):
        assert getattr(found, name) == wanted[name], name
    for name in ("min", "max"):
        value = getattr(found, name)
        assert type(value) is type(wanted[name])
        assert value == wanted[name] or close(value, wanted[name], 1e-15 if floor else 0.0), name
    if wanted["mean"] is None:
        assert found.mean is None and found.std is None
        return
    assert found.mean is not None and found.std is not None
    assert close(found.mean, wanted["mean"], 0, tolerance * wanted["rms"]), "mean"
    assert close(found.std, wanted["std"], tolerance, floor * wanted["rms"]), "std"


def close(found: float, wanted: float, relative: float, absolute: float = 0.0) -> bool:
    if found == wanted:
        return True
    # Near float64's own subnormals a figure has fewer digits than asked for.
    return abs(found - wanted) <= relative * abs(wanted) + absolute + 5e-324


def check_delta(found: Delta | None, wanted: dict[str, Any], tolerance: float) -> None:
    assert found is not None
    for name in ("element_count", "changed_count", "tolerated_count", "nonfinite_count"):
        assert getattr(found, name) == wanted[name], name
    for name in ("max_abs", "mean_abs", "rms", "l2"):
        assert close(getattr(found, name), wanted[name], tolerance), name
    for name, absolute in (("relative_l2", 0.0), ("cosine", tolerance)):
        value = getattr(found, name)
        assert (value is None) == (wanted[name] is None), name
        assert value is None or close(value, wanted[name], tolerance, absolute), name


def check_cast(found: Cast | None, wanted: dict[str, Any], relative_l2: float | None) -> None:
    assert found is not None
    for name, value in wanted.items():
        assert getattr(found, name) == value, name
    assert found.relative_l2 == relative_l2
    if relative_l2 and math.isfinite(relative_l2):
        assert found.sqnr_db == pytest.approx(-20 * math.log10(relative_l2))
    else:
        assert found.sqnr_db is None


def check_pair(
    figures: PairFigures, dtypes: tuple[str, str], raws: tuple[bytes, bytes], count: int, limits: tuple[float, float]
) -> None:
    """One result against the oracle."""
    if dtypes[0] == dtypes[1] and raws[0] == raws[1]:
        assert figures == PairFigures(identical=True)
        return
    values = [oracle.decode(dtype, raw, count) for dtype, raw in zip(dtypes, raws, strict=True)]
    wide = all(dtype in ("F64", "C128", "I32", "U32", "I64", "U64") for dtype in dtypes)
    tolerance = 1e-12 if wide else 1e-6
    assert not figures.identical and not figures.as_bytes
    check_delta(figures.delta, oracle.delta(values[0], values[1], *limits), tolerance)
    for found, dtype, side in (
        (figures.old_statistics, dtypes[0], values[0]),
        (figures.new_statistics, dtypes[1], values[1]),
    ):
        floor = 1e-14 if dtype in oracle.COMPLEX else 0.0
        check_statistics(found, oracle.statistics(dtype, side), tolerance, floor)
    if dtypes[0] == dtypes[1]:
        assert figures.cast is None
    else:
        assert figures.delta is not None
        check_cast(figures.cast, oracle.cast(dtypes[1], values[0], values[1]), figures.delta.relative_l2)


EXAMPLES = int(os.environ.get("DIFFAI_TEST_EXAMPLES", "300"))
KINDS = ("bytes", "normal", "offset", "huge", "tiny", "small", "constant", "sparse", "zeros", "vast", "minute")
dtypes = st.sampled_from(oracle.DTYPES)
counts = st.sampled_from((0, 1, 2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 150, 256, 300))
seeds = st.integers(0, 2**32 - 1)
kinds = st.sampled_from(KINDS)
tolerances = st.sampled_from(((0.0, 0.0), (0.0, 0.0), (1e-3, 0.0), (0.0, 0.5), (2.0, 1e-2), (1e300, 0.0)))
relaxed = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@relaxed
@given(dtypes, counts, kinds, kinds, st.sampled_from((0.0, 0.02, 0.5, 1.0)), seeds, tolerances)
@example("F32", 300, "offset", "offset", 1.0, 1, (0.0, 0.0))
@example("I64", 300, "bytes", "bytes", 1.0, 1, (0.0, 0.0))
def test_same_dtype(
    dtype: str, count: int, one: str, two: str, share: float, seed: int, limits: tuple[float, float]
) -> None:
    size = max(byte_count(dtype, 2) // 2, 1)
    old = make(dtype, count, one, seed)
    new = disturb(old, make(dtype, count, two, seed + 1), size, share, seed)
    a, b = MemoryCheckpoint({"x": (dtype, (count,), old)}), MemoryCheckpoint({"x": (dtype, (count,), new)})
    options = NumericOptions(*limits)
    (figures,) = compare_pairs(a, b, [(a.tensors["x"], b.tensors["x"])], options)
    check_pair(figures, (dtype, dtype), (old, new), count, limits)


@relaxed
@given(dtypes, dtypes, counts, kinds, seeds, st.booleans(), tolerances)
def test_different_dtypes(
    source: str, target: str, count: int, kind: str, seed: int, converted: bool, limits: tuple[float, float]
) -> None:
    old = make(source, count, kind, seed)
    new = make(target, count, "normal" if kind == "bytes" else kind, seed)
    if converted and target in oracle.NUMPY and source in oracle.NUMPY:
        with np.errstate(all="ignore"):
            values = np.frombuffer(old, np.uint8).view(oracle.NUMPY[source])
            if np.iscomplexobj(values) and target not in oracle.COMPLEX:
                values = values.real
            middle = values if target[:2] != "F8" else values.astype(np.float32)
            new = middle.astype(oracle.NUMPY[target]).tobytes()
    a, b = MemoryCheckpoint({"x": (source, (count,), old)}), MemoryCheckpoint({"x": (target, (count,), new)})
    (figures,) = compare_pairs(a, b, [(a.tensors["x"], b.tensors["x"])], NumericOptions(*limits))
    check_pair(figures, (source, target), (old, new), count, limits)


@relaxed
@given(
    st.lists(st.tuples(dtypes, st.sampled_from((0, 1, 2, 5, 15, 16, 17, 40, 130)), kinds, st.booleans()), max_size=12),
    seeds, st.booleans(), st.sampled_from((0, 8)), st.booleans(), st.booleans(),
)  # fmt: skip
def test_many_tensors_joined_or_not(
    layout: list[tuple[str, int, str, bool]], seed: int, raw: bool, gap: int, old_random: bool, new_random: bool
) -> None:
    tensors: list[dict[str, tuple[str, tuple[int, ...], bytes]]] = [{}, {}]
    for number, (dtype, count, kind, changed) in enumerate(layout):
        old = make(dtype, count, kind, seed + number)
        new = disturb(old, make(dtype, count, "normal", seed), max(byte_count(dtype, 2) // 2, 1), 0.3 * changed, seed)
        for side, content in enumerate((old, new)):
            tensors[side][f"t{number}"] = (dtype, (count, 1), content)
    a = MemoryCheckpoint(tensors[0], raw=raw, gap=gap, random_access=old_random)
    b = MemoryCheckpoint(tensors[1], raw=raw, gap=0, random_access=new_random)
    pairs = [(a.tensors[name], b.tensors[name]) for name in a.tensors]
    done: list[int] = []
    results = compare_pairs(a, b, pairs, NumericOptions(), done.append)
    assert sum(done) == sum(spec.nbytes for pair in pairs for spec in pair)
    for name, figures in zip(a.tensors, results, strict=True):
        dtype, (count, _), content = tensors[0][name]
        check_pair(figures, (dtype, dtype), (content, tensors[1][name][2]), count, (0.0, 0.0))


@relaxed
@given(st.lists(st.tuples(dtypes, counts, kinds), max_size=8), seeds, st.booleans(), st.booleans())
def test_summaries(layout: list[tuple[str, int, str]], seed: int, random_access: bool, digest: bool) -> None:
    import xxhash

    contents = {f"t{n}": (d, (c,), make(d, c, k, seed + n)) for n, (d, c, k) in enumerate(layout)}
    checkpoint = MemoryCheckpoint(contents, random_access=random_access)
    results = summarise(checkpoint, list(checkpoint.tensors.values()), statistics=True, digest=digest)
    for (dtype, (count,), raw), result in zip(contents.values(), results, strict=True):
        tolerance = 1e-12 if dtype in ("F64", "C128", "I32", "U32", "I64", "U64") else 1e-6
        wanted = oracle.statistics(dtype, oracle.decode(dtype, raw, count))
        check_statistics(result.statistics, wanted, tolerance, 1e-14 if dtype in oracle.COMPLEX else 0.0)
        assert result.digest == (xxhash.xxh3_128_hexdigest(raw) if digest else "")
        size = max(byte_count(dtype, 2) // 2, 1)
        assert result.constant == all(raw[i : i + size] == raw[:size] for i in range(0, len(raw), size))
