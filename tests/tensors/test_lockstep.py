"""Reading several checkpoints in lockstep gives what reading them in pairs gives, and reads each byte once and forward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from memory_checkpoint import MemoryCheckpoint

from diffai.errors import SourceError
from diffai.model import PairFigures, Statistics
from diffai.tensors import lockstep
from diffai.tensors.engine import NumericOptions, compare_pairs
from diffai.tensors.lockstep import Column, PairWork, key_of, read_in_lockstep

DTYPES = ("F64", "F32", "BF16", "F16", "F8_E4M3", "I64", "I8", "BOOL", "F4", "F6_E2M3", "C64")
BITS = {"F64": 64, "F32": 32, "BF16": 16, "F16": 16, "F8_E4M3": 8, "I64": 64, "I8": 8, "BOOL": 8, "F4": 4,
        "F6_E2M3": 6, "C64": 64}  # fmt: skip
Tensors = dict[str, tuple[str, tuple[int, ...], bytes]]

relaxed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few hundred bytes a window, so that small tensors span several."""
    monkeypatch.setattr(lockstep, "_WINDOW", 512)
    monkeypatch.setattr(lockstep, "_SIZES", lockstep.Sizes(block=64, exact_block=32, chunk=1 << 62, small=16, batch=48))


def content(dtype: str, count: int, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    if dtype == "BOOL":
        return bytes(rng.integers(0, 2, count, np.uint8))
    if dtype in ("F32", "F64"):
        return rng.standard_normal(count).astype(f"<f{BITS[dtype] // 8}").tobytes()
    return rng.bytes(BITS[dtype] * count // 8)


def run_of(layout: Sequence[tuple[str, int, int]], versions: int, seed: int) -> list[Tensors]:
    """Versions of a model; every tensor changes (a part of it) every so many versions, or never."""
    rng = np.random.default_rng(seed)
    state = {f"t{n}": (dtype, (count,), content(dtype, count, seed + n)) for n, (dtype, count, _) in enumerate(layout)}
    found = [dict(state)]
    for version in range(1, versions):
        for n, (dtype, count, every) in enumerate(layout):
            if every and version % every == 0 and count:
                old, new = state[f"t{n}"][2], content(dtype, count, seed + 100 * version + n)
                cut = int(rng.integers(0, len(old) + 1)) // 8 * 8
                state[f"t{n}"] = (dtype, (count,), old[:cut] + new[cut:])
        found.append(dict(state))
    return found


def lockstep_pairs(
    checkpoints: Sequence[MemoryCheckpoint], options: NumericOptions, threads: int
) -> list[list[PairFigures]] | None:
    columns = [Column(checkpoint) for checkpoint in checkpoints]
    work = []
    for a, b, old, new in zip(checkpoints, checkpoints[1:], columns, columns[1:], strict=False):
        pairs = [(a.tensors[n], b.tensors[n]) for n in a.tensors if n in b.tensors]
        pairs = [(x, y) for x, y in pairs if key_of(x) == key_of(y)]
        for column, side in ((old, 0), (new, 1)):
            assert all(column.add(key_of(pair[side]), pair[side]) for pair in pairs)
        work.append(PairWork(old, new, pairs, [key_of(y) for _, y in pairs], options))
    if not read_in_lockstep(columns, work, threads):
        return None
    return [item.result() for item in work]


def close(a: Any, b: Any) -> bool:
    """Equal but for the order in which sums were made; what rounding leaves of a mean is relative to the values' rms."""
    if isinstance(a, Statistics) and isinstance(b, Statistics):
        if a.mean is not None and a.std is not None and b.mean is not None:
            rms = float(np.hypot(a.mean, a.std))
            if rms < np.inf and not abs(a.mean - b.mean) <= 1e-6 * rms:
                return False
        return all(close(getattr(a, name), getattr(b, name)) for name in type(a).__slots__ if name != "mean")
    if isinstance(a, float) and isinstance(b, float):
        return a == b or abs(a - b) <= 1e-6 * max(abs(a), abs(b)) + 3e-7 or (a != a and b != b)
    if hasattr(a, "__slots__") and type(a) is type(b):
        return all(close(getattr(a, name), getattr(b, name)) for name in type(a).__slots__)
    return bool(a == b)


@relaxed
@example([("F16", 40, 1)], 3, 110, 1, True, 0)  # a mean far below the values: 20 of 10,000
@given(
    st.lists(
        st.tuples(st.sampled_from(DTYPES), st.sampled_from((0, 2, 16, 40, 64, 400, 1000)), st.integers(0, 3)),
        min_size=1, max_size=8,
    ),
    st.integers(2, 6), st.integers(0, 1000), st.sampled_from((1, 2)), st.booleans(), st.sampled_from((0, 8)),
)  # fmt: skip
def test_as_in_pairs(
    layout: list[tuple[str, int, int]], versions: int, seed: int, threads: int, statistics: bool, gap: int
) -> None:
    contents = run_of(layout, versions, seed)
    streams = [
        MemoryCheckpoint(tensors, random_access=number % 3 == 2, gap=gap * (number % 2))
        for number, tensors in enumerate(contents)
    ]
    options = NumericOptions(threads=1, statistics=statistics)
    found = lockstep_pairs(streams, options, threads)
    assert found is not None
    for number, figures in enumerate(found):
        a, b = (MemoryCheckpoint(contents[number + side]) for side in (0, 1))
        wanted = compare_pairs(a, b, [(a.tensors[n], b.tensors[n]) for n in a.tensors], options)
        for name, one, other in zip(a.tensors, figures, wanted, strict=True):
            assert close(one, other), (name, one, other)
    for stream, tensors in zip(streams, contents, strict=True):
        if not stream.random_access:  # MemoryCheckpoint refuses to go back, so no byte was read twice
            assert sum(size for _, size in stream.reads) == sum(len(raw) for _, _, raw in tensors.values())


def test_what_came_and_went_between_versions() -> None:
    one: Tensors = {n: ("F32", (300,), content("F32", 300, i)) for i, n in enumerate("abc")}
    two = {"a": one["a"], "x": one["b"], "c": ("F64", (300,), content("F64", 300, 9))}
    three = {"x": one["b"], "c": two["c"], "d": one["a"]}
    streams = [MemoryCheckpoint(tensors, random_access=False) for tensors in (one, two, three)]
    found = lockstep_pairs(streams, NumericOptions(), 1)
    assert found is not None
    assert [figures.identical for figures in found[0]] == [True, False]
    assert found[0][1].cast is not None
    assert [figures.identical for figures in found[1]] == [True, True]


def test_another_order_cannot_be_read_forward() -> None:
    one: Tensors = {n: ("F32", (10,), content("F32", 10, i)) for i, n in enumerate("ab")}
    other = {n: one[n] for n in "ba"}
    streams = [MemoryCheckpoint(tensors, random_access=False) for tensors in (one, other)]
    assert lockstep_pairs(streams, NumericOptions(), 1) is None
    assert [stream.reads for stream in streams] == [[], []]
    mixed = [MemoryCheckpoint(one, random_access=False), MemoryCheckpoint(other)]
    found = lockstep_pairs(mixed, NumericOptions(), 1)
    assert found is not None and all(figures.identical for figures in found[0])


def test_a_stream_that_breaks_off() -> None:
    one: Tensors = {"a": ("F32", (1000,), content("F32", 1000, 1))}
    streams = [MemoryCheckpoint(one, random_access=False) for _ in range(3)]
    streams[1].fail_at = 2000
    with pytest.raises(SourceError, match="offset 2000"):
        lockstep_pairs(streams, NumericOptions(), 2)


def test_windows_hold_little() -> None:
    tensors: Tensors = {f"t{n}": ("F32", (40 + n,), content("F32", 40 + n, n)) for n in range(30)}
    streams = [MemoryCheckpoint(tensors, random_access=False) for _ in range(3)]
    assert lockstep_pairs(streams, NumericOptions(), 1) is not None
    assert all(size <= 512 for stream in streams for _, size in stream.reads)
