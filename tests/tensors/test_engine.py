"""Planted pairs, threads, failures and memory."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from memory_checkpoint import MemoryCheckpoint

from diffai.errors import SourceError
from diffai.model import PairFigures, TensorSpec
from diffai.tensors import blocks
from diffai.tensors.engine import NumericOptions, compare_pairs, summarise

NAMES = {np.dtype("f4"): "F32", np.dtype("f8"): "F64", np.dtype("i8"): "I64", np.dtype("u8"): "U64",
         np.dtype("f2"): "F16", np.dtype("i1"): "I8", np.dtype(ml_dtypes.bfloat16): "BF16",
         np.dtype(ml_dtypes.float8_e4m3fn): "F8_E4M3"}  # fmt: skip


def checkpoint(**arrays: np.ndarray) -> MemoryCheckpoint:
    return MemoryCheckpoint({name: (NAMES[a.dtype], a.shape, a.tobytes()) for name, a in arrays.items()})


def compare(old: np.ndarray, new: np.ndarray, **options: float) -> PairFigures:
    a, b = checkpoint(x=old), checkpoint(x=new)
    (figures,) = compare_pairs(a, b, [(a.tensors["x"], b.tensors["x"])], NumericOptions(**options))  # type: ignore[arg-type]
    return figures


def changed(old: np.ndarray, new: np.ndarray, **options: float) -> int:
    figures = compare(old, new, **options)
    assert figures.delta is not None
    return figures.delta.changed_count


@pytest.fixture(params=[100, 20_000, 700_000], ids=["small", "one block", "several blocks"])
def weights(request: pytest.FixtureRequest) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(request.param, dtype=np.float32) * np.float32(0.02)


class TestPlanted:
    def test_one_ulp(self, weights: np.ndarray) -> None:
        new = weights.copy()
        new[7] = np.nextafter(new[7], np.float32(1))
        assert changed(weights, new) == 1

    def test_permuted(self, weights: np.ndarray) -> None:
        figures = compare(weights, weights[::-1].copy())
        assert figures.delta and figures.delta.changed_count >= len(weights) - 2
        assert figures.old_statistics and figures.new_statistics
        assert figures.old_statistics.std == pytest.approx(figures.new_statistics.std, rel=1e-6)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_one_special_value(self, weights: np.ndarray, value: float) -> None:
        new = weights.copy()
        new[-1] = value
        figures = compare(weights, new)
        assert figures.delta and (figures.delta.changed_count, figures.delta.nonfinite_count) == (1, 1)
        assert figures.delta.l2 == 0.0 and figures.delta.relative_l2 == 0.0
        assert figures.new_statistics
        counts = figures.new_statistics
        assert counts.nan_count + counts.pos_inf_count + counts.neg_inf_count == 1

    def test_all_nan(self, weights: np.ndarray) -> None:
        figures = compare(weights, np.full_like(weights, np.nan))
        assert figures.delta and figures.delta.changed_count == len(weights)
        assert figures.delta.relative_l2 is None and figures.delta.cosine is None
        assert figures.new_statistics and figures.new_statistics.mean is None

    def test_nan_with_another_payload_is_no_change(self, weights: np.ndarray) -> None:
        old, new = weights.copy(), weights.copy()
        old[3], new[3] = np.nan, np.array([0xFFC00001], np.uint32).view(np.float32)[0]
        assert changed(old, new) == 0
        assert not compare(old, new).identical

    def test_minus_zero_is_no_change(self, weights: np.ndarray) -> None:
        old, new = weights.copy(), weights.copy()
        old[5], new[5] = 0.0, -0.0
        figures = compare(old, new)
        assert figures.delta and not figures.identical
        assert figures.delta.changed_count == 0 and figures.delta.max_abs == 0.0

    def test_identical_computes_nothing(self, weights: np.ndarray) -> None:
        assert compare(weights, weights.copy()) == PairFigures(identical=True)

    def test_low_rank_update(self, weights: np.ndarray) -> None:
        figures = compare(weights, weights + np.float32(1e-5) * np.sin(np.arange(len(weights), dtype=np.float32)))
        assert figures.delta and figures.delta.relative_l2 == pytest.approx(1e-5 / 0.02 / 2**0.5, rel=0.1)

    def test_cast_to_bf16(self, weights: np.ndarray) -> None:
        figures = compare(weights, weights.astype(ml_dtypes.bfloat16))
        assert figures.cast and figures.cast.rounded and not figures.cast.exact
        assert figures.cast.sqnr_db == pytest.approx(55, abs=3)

    def test_fp8_minus_zero(self, weights: np.ndarray) -> None:
        old = (weights * 50).astype(ml_dtypes.float8_e4m3fn)
        old[:4] = [0.0, -0.0, 0.0, 1.0]
        new = old.copy()
        new[:4] = [-0.0, 0.0, 1.0, -0.0]
        figures = compare(old, new)
        assert figures.delta and figures.delta.changed_count == 2
        assert figures.old_statistics and figures.new_statistics
        assert figures.old_statistics.zero_count == figures.new_statistics.zero_count

    def test_f64_tiny_shift(self) -> None:
        old = np.random.default_rng(2).standard_normal(200_000)
        figures = compare(old, old + 1e-12)
        assert figures.delta and figures.delta.changed_count == len(old)
        assert figures.delta.max_abs == pytest.approx(1e-12, rel=1e-3)

    def test_zero_size(self) -> None:
        empty = np.zeros((0, 3), np.float32)
        assert compare(empty, empty).identical
        figures = compare(empty, empty.astype(np.float64))
        assert figures.cast and figures.cast.exact and not figures.identical
        assert figures.delta and figures.delta.element_count == 0

    def test_scalar(self) -> None:
        assert changed(np.array(1.0, np.float32), np.array(2.0, np.float32)) == 1


class TestIntegers:
    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (np.array([2**40 + 1]), np.array([2**40 + 2])),
            (np.array([2**53 + 1]), np.array([2.0**53])),
            (np.array([2.0**53]), np.array([2**53 + 1])),
            (np.array([2**63], np.uint64), np.array([2**63 - 1])),
            (np.array([-1]), np.array([2**64 - 1], np.uint64)),
            (np.array([2**63 - 1]), np.array([2.0**63])),
            (np.array([2**64 - 1], np.uint64), np.array([2**64 - 2], np.uint64)),
        ],
    )
    def test_one_apart_is_seen(self, old: np.ndarray, new: np.ndarray) -> None:
        figures = compare(old, new)
        assert figures.delta and figures.delta.changed_count == 1
        assert figures.delta.max_abs == abs(int(new[0]) - int(old[0]))

    def test_no_overflow_across_the_whole_range(self) -> None:
        figures = compare(np.array([-(2**63), 2**63 - 1]), np.array([2**63 - 1, -(2**63)]))
        assert figures.delta and figures.delta.max_abs == float(2**64 - 1)
        assert figures.old_statistics and figures.old_statistics.min == -(2**63)
        assert figures.old_statistics.max == 2**63 - 1

    def test_deviation_of_great_integers(self) -> None:
        old = np.arange(2**60, 2**60 + 1000)
        figures = compare(old, old + 1)
        assert figures.old_statistics and figures.old_statistics.std == pytest.approx(np.arange(1000).std(), rel=1e-12)
        assert figures.delta and figures.delta.mean_abs == 1.0


class TestTolerance:
    def test_infinity_is_within_no_tolerance(self) -> None:
        old = np.array([1.0, np.inf, np.inf, -1.0], np.float32)
        new = np.array([np.inf, 1.0, np.inf, np.nan], np.float32)
        assert changed(old, new, rtol=1e9, epsilon=1e9) == 3

    def test_the_limit_itself_is_tolerated(self) -> None:
        old, new = np.array([1.0, 1.0, 1.0]), np.array([1.5, 1.5 + 2**-52, 0.5])
        figures = compare(old, new, epsilon=0.25, rtol=0.25)
        assert figures.delta and (figures.delta.changed_count, figures.delta.tolerated_count) == (1, 2)

    def test_integers(self) -> None:
        assert changed(np.array([2**62, 5]), np.array([2**62 + 2, 6]), epsilon=1.0) == 1


class TestAccuracy:
    @pytest.mark.parametrize("mean", [1.0, 1e4, 1e6])
    @pytest.mark.parametrize("size", [2000, 600_000])
    def test_mean_far_larger_than_deviation(self, mean: float, size: int) -> None:
        rng = np.random.default_rng(8)
        old, new = ((rng.standard_normal(size) + mean).astype(np.float32) for _ in range(2))
        figures = compare(old, new)
        assert figures.new_statistics and figures.delta
        assert figures.new_statistics.std == pytest.approx(new.astype(np.float64).std(), rel=1e-6)
        assert figures.new_statistics.mean == pytest.approx(new.astype(np.float64).mean(), rel=1e-9)
        assert figures.delta.l2 == pytest.approx(np.linalg.norm(new.astype(np.float64) - old), rel=1e-6)

    @pytest.mark.parametrize("scale", [1e-42, 1e-30, 1e-12, 1.0, 1e18, 1e30, 1e38])
    def test_every_magnitude_of_float32(self, scale: float) -> None:
        rng = np.random.default_rng(9)
        old, new = ((rng.uniform(-3, 3, 300_000) * scale).astype(np.float32) for _ in range(2))
        figures = compare(old, new)
        a, b = old.astype(np.float64), new.astype(np.float64)
        assert figures.delta and figures.old_statistics
        assert figures.delta.rms == pytest.approx(np.sqrt(np.mean((b - a) ** 2)), rel=1e-6, abs=0)
        assert figures.delta.mean_abs == pytest.approx(np.abs(b - a).mean(), rel=1e-6, abs=0)
        assert figures.delta.cosine == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-8)
        assert figures.old_statistics.std == pytest.approx(a.std(), rel=1e-6, abs=0)
        assert figures.old_statistics.mean == pytest.approx(a.mean(), abs=1e-6 * a.std())

    def test_constant_difference(self) -> None:
        # Equal terms round the same way in every lane: the worst case of a float32 sum.
        old = np.zeros(500_000, np.float32)
        new = np.full(500_000, 0.1, np.float32)
        figures = compare(old, new)
        assert figures.delta and figures.new_statistics
        assert figures.delta.mean_abs == pytest.approx(float(np.float32(0.1)), rel=1e-6)
        assert figures.delta.rms == pytest.approx(float(np.float32(0.1)), rel=1e-6)
        assert (figures.new_statistics.mean, figures.new_statistics.std) == (float(np.float32(0.1)), 0.0)

    def test_vast_float64(self) -> None:
        old, new = np.array([1e300, -1e300, 1.7e308]), np.array([1e300, 1e300, -1.7e308])
        figures = compare(old, new)
        assert figures.delta and figures.delta.relative_l2 == pytest.approx(2.0, rel=1e-6)
        assert figures.delta.max_abs == np.inf  # beyond what a float can say
        assert figures.old_statistics and figures.old_statistics.std == pytest.approx(8.014e307, rel=1e-3)


class TestBytes:
    def test_six_bit_values_are_compared_as_bytes(self) -> None:
        a = MemoryCheckpoint({"x": ("F6_E2M3", (4,), b"abc")})
        b = MemoryCheckpoint({"x": ("F6_E2M3", (4,), b"abd")})
        (figures,) = compare_pairs(a, b, [(a.tensors["x"], b.tensors["x"])], NumericOptions())
        assert figures.as_bytes and figures.delta and figures.delta.changed_count == 1
        assert figures.old_statistics and figures.old_statistics.mean is None
        (same,) = compare_pairs(a, a, [(a.tensors["x"], a.tensors["x"])], NumericOptions())
        assert same == PairFigures(identical=True)

    def test_unknown_against_known(self) -> None:
        a = MemoryCheckpoint({"x": ("X3", (2,), b"\0\0")})
        b = MemoryCheckpoint({"x": ("I16", (2,), b"\0\0\1\0")})
        (figures,) = compare_pairs(a, b, [(a.tensors["x"], b.tensors["x"])], NumericOptions())
        assert figures.as_bytes and not figures.identical

    def test_quantized_values_are_compared_decoded(self) -> None:
        values = np.array([1.0, 2.0], np.float32).tobytes()
        a = MemoryCheckpoint({"x": ("QI8", (2,), values)}, values={"x": "F32"})
        b = MemoryCheckpoint({"x": ("F32", (2,), values)})
        (figures,) = compare_pairs(a, b, [(a.tensors["x"], b.tensors["x"])], NumericOptions())
        assert figures.cast and figures.cast.exact and not figures.identical


class TestThreads:
    def test_the_number_of_threads_changes_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(blocks, "SIZES", blocks.Sizes(block=4096, exact_block=2048, chunk=8192))
        rng = np.random.default_rng(4)
        old = checkpoint(a=rng.standard_normal(100_000, dtype=np.float32), b=rng.standard_normal(50_000),
                         c=rng.standard_normal((5, 5)), d=rng.integers(-(2**62), 2**62, 30_000))  # fmt: skip
        new = checkpoint(a=rng.standard_normal(100_000, dtype=np.float32), b=rng.standard_normal(50_000),
                         c=rng.standard_normal((5, 5)), d=rng.integers(-(2**62), 2**62, 30_000))  # fmt: skip
        pairs = [(old.tensors[name], new.tensors[name]) for name in old.tensors]
        results = [compare_pairs(old, new, pairs, NumericOptions(threads=n)) for n in (1, 2, 3, 7)]
        assert all(result == results[0] for result in results)
        specs = list(old.tensors.values())
        summaries = [summarise(old, specs, statistics=True, digest=True, threads=n) for n in (1, 3)]
        assert summaries[0] == summaries[1]

    @pytest.mark.parametrize("threads", [1, 3])
    def test_a_failing_read_ends_all_threads_and_is_told(self, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(blocks, "SIZES", blocks.Sizes(block=1024, exact_block=512, chunk=2048))
        old = checkpoint(a=np.zeros(100_000, np.float32))
        new = checkpoint(a=np.zeros(100_000, np.float32))
        new.fail_at = 200_000
        before = set(threading.enumerate())
        with pytest.raises(SourceError, match="ends at offset 200000"):
            compare_pairs(old, new, [(old.tensors["a"], new.tensors["a"])], NumericOptions(threads=threads))
        assert set(threading.enumerate()) <= before

    def test_an_interrupt_ends_all_threads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(blocks, "SIZES", blocks.Sizes(block=1024, exact_block=512, chunk=1024))

        class Slow(MemoryCheckpoint):
            def read_into(self, spec: TensorSpec, offset: int, buffer: memoryview) -> None:
                time.sleep(0.01)
                super().read_into(spec, offset, buffer)

        def interrupt(_: int) -> None:
            raise KeyboardInterrupt

        content = np.zeros(10_000_000, np.float32)
        old = Slow({"a": ("F32", content.shape, content.tobytes())})
        before = set(threading.enumerate())
        with pytest.raises(KeyboardInterrupt):
            compare_pairs(old, old, [(old.tensors["a"], old.tensors["a"])], NumericOptions(threads=3), interrupt)
        assert set(threading.enumerate()) <= before

    def test_progress_adds_up(self) -> None:
        old = checkpoint(a=np.zeros(3_000_000, np.float32), b=np.zeros(4, np.float32))
        done: list[int] = []
        pairs = [(spec, spec) for spec in old.tensors.values()]
        compare_pairs(old, old, pairs, NumericOptions(threads=2), done.append)
        assert sum(done) == 2 * (12_000_000 + 16)


class TestStreams:
    def test_streams_are_read_once_in_order(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(blocks, "SIZES", blocks.Sizes(block=64, exact_block=32, chunk=128, small=16, batch=48))
        rng = np.random.default_rng(6)
        arrays = {f"t{n}": rng.standard_normal(size) for n, size in enumerate((5, 400, 7, 3, 90, 8))}
        other = {name: value.copy() for name, value in arrays.items()}
        other["t1"][399] += 1  # differs in its last block only
        sides = [
            MemoryCheckpoint({n: ("F64", v.shape, v.tobytes()) for n, v in side.items()}, random_access=False)
            for side in (arrays, other)
        ]
        pairs = [(sides[0].tensors[n], sides[1].tensors[n]) for n in reversed(arrays)]
        figures = dict(zip(reversed(arrays), compare_pairs(sides[0], sides[1], pairs, NumericOptions()), strict=True))
        assert [name for name, each in figures.items() if not each.identical] == ["t1"]
        delta = figures["t1"].delta
        assert delta is not None and delta.changed_count == 1
        assert delta.relative_l2 == pytest.approx(1 / np.linalg.norm(arrays["t1"]), rel=1e-9)
        for side in sides:
            assert sum(size for _, size in side.reads) == sum(spec.nbytes for spec in side.tensors.values())


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads VmHWM")
def test_memory_does_not_grow_with_the_tensor(tmp_path: Path) -> None:
    size = 600_000_000
    for name in ("a", "b"):
        with open(tmp_path / name, "wb") as file:
            file.truncate(size)  # sparse: reads as zeros
    with open(tmp_path / "b", "r+b") as file:
        for place in range(0, size, 1 << 20):
            file.seek(place)
            file.write(b"\0\0\x80\x3f")
    program = textwrap.dedent("""
        import sys
        from diffai.model import TensorSpec
        from diffai.sources.local import LocalFile
        from diffai.tensors.engine import NumericOptions, compare_pairs, summarise

        class Raw:
            random_access = True
            def __init__(self, path):
                self.file = LocalFile(path)
                self.tensors = {"t": TensorSpec("t", DTYPE, (self.file.size // WIDTH,), self.file.size, 0)}
            def read_into(self, spec, offset, buffer):
                self.file.read_into(spec.offset + offset, buffer)

        a, b = Raw(sys.argv[1]), Raw(sys.argv[2])
        figures = compare_pairs(a, b, [(a.tensors["t"], b.tensors["t"])], NumericOptions(threads=2))
        assert not figures[0].identical
        summarise(a, [a.tensors["t"]], statistics=True, digest=True)
        print([line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")][0])
    """)
    for dtype, width in (("F32", 4), ("F8_E4M3", 1)):
        code = program.replace("DTYPE", repr(dtype)).replace("WIDTH", str(width))
        command = [sys.executable, "-c", code, str(tmp_path / "a"), str(tmp_path / "b")]
        peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        assert peak < 150_000, f"{dtype}: {peak} kB"
