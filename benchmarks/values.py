"""Promise: comparing every value of two files costs little more than reading them; equal files cost nothing more.

Baseline: ``cmp`` of two identical copies of the same size, which has to read both to their end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from measure import Command, Row, Sample, cpu, diffai, interleaved, make, megabytes, peak, remove, wall

LIMITS = {"F32": 2.0, "BF16": 3.0, "F16": 4.0, "F8_E4M3": 4.0, "I8": 4.0, "F64": 4.0}


def full_values(directory: str, size: int, runs: int, keep: bool) -> Iterator[Row]:
    """Every tensor changed, one row a dtype."""
    for dtype, limit in LIMITS.items():
        paths = make(directory, "pair", dtype=dtype, size=size)
        samples = interleaved(
            {
                "cmp": Command(["cmp", paths["old"], paths["copy"]]),
                "diffai": diffai(paths["old"], paths["new"], expect="Weight updates"),
            },
            runs,
        )
        ours, base = wall(samples["diffai"]), wall(samples["cmp"])
        yield Row(
            f"all values of 2 x {megabytes(size)}, every tensor changed, {dtype}",
            f"<= {limit:g} x `cmp`",
            f"{ours / base:.2f} x ({ours:.2f} s, `cmp` {base:.2f} s, {megabytes(peak(samples['diffai']))})",
            ours <= limit * base,
            _numbers(samples["diffai"], samples["cmp"]),
        )
        if not keep:
            remove(paths)


def quantized(directory: str, size: int, runs: int, keep: bool) -> Iterator[Row]:
    """GGUF with every block changed, which has to be decoded, and unchanged, which has not."""
    for dtype, limit in {"Q8_0": 16.0, "Q4_K": 40.0}.items():
        paths = make(directory, "gguf_pair", dtype=dtype, size=size)
        samples = interleaved(
            {
                "cmp": Command(["cmp", paths["old"], paths["copy"]]),
                "changed": diffai(paths["old"], paths["new"], expect="Weight updates"),
                "same": diffai(paths["old"], paths["copy"], expect="No differences found"),
            },
            runs,
        )
        base = wall(samples["cmp"])
        for name, most, words in (("changed", limit, "every block changed"), ("same", 1.1, "unchanged")):
            ours = wall(samples[name])
            yield Row(
                f"GGUF of 2 x {megabytes(size)}, {dtype}, {words}",
                f"<= {most:g} x `cmp`",
                f"{ours / base:.2f} x ({ours:.2f} s, `cmp` {base:.2f} s, {megabytes(peak(samples[name]))})",
                ours <= most * base,
                _numbers(samples[name], samples["cmp"]),
            )
        if not keep:
            remove(paths)


def identical(directory: str, size: int, runs: int, keep: bool) -> Iterator[Row]:
    """Two equal files."""
    paths = make(directory, "pair", dtype="F32", size=size)
    samples = interleaved(
        {
            "cmp": Command(["cmp", paths["old"], paths["copy"]]),
            "diffai": diffai(paths["old"], paths["copy"], expect="No differences found"),
        },
        runs,
    )
    ours, base = wall(samples["diffai"]), wall(samples["cmp"])
    yield Row(
        f"identical files, 2 x {megabytes(size)}",
        "<= 1.1 x `cmp`",
        f"{ours / base:.2f} x ({ours:.2f} s, `cmp` {base:.2f} s, {megabytes(peak(samples['diffai']))})",
        ours <= 1.1 * base,
        _numbers(samples["diffai"], samples["cmp"]),
    )
    if not keep:
        remove(paths)


def one_of_many(directory: str, size: int, runs: int, keep: bool) -> Iterator[Row]:
    """One changed tensor among 300, with and without the size of the whole update."""
    paths = make(directory, "one_of_many", dtype="F32", size=size)
    one = (paths["old"], paths["one"])
    samples = interleaved(
        {
            "equal": diffai(paths["old"], paths["copy"], expect="No differences found"),
            "all": diffai(paths["old"], paths["all"], expect="300"),
            "one": diffai(*one, expect="~ model.layers.150.weight"),
            "asked": diffai(*one, "-v", expect="Update size: "),
        },
        runs,
    )
    for name, base, limit, words in (
        ("one", "equal", 1.2, ("", "identical files")),
        ("asked", "all", 1.1, (", and the size of the update", "every tensor changed")),
    ):
        ours, theirs = wall(samples[name]), wall(samples[base])
        yield Row(
            f"one changed tensor of 300, 2 x {megabytes(size)}{words[0]}",
            f"<= {limit:g} x {words[1]}",
            f"{ours / theirs:.2f} x ({ours:.2f} s, {words[1]} {theirs:.2f} s, {megabytes(peak(samples[name]))})",
            ours <= limit * theirs,
            _numbers(samples[name], samples[base]),
        )
    if not keep:
        remove(paths)


def _numbers(ours: Sequence[Sample], base: Sequence[Sample]) -> Mapping[str, float]:
    return {
        "seconds": wall(ours),
        "cmp": wall(base),
        "ratio": wall(ours) / wall(base),
        "best_ratio": min(sample.wall for sample in ours) / min(sample.wall for sample in base),
        "cpu_ratio": cpu(ours) / cpu(base),
        "peak_bytes": peak(ours),
    }
