"""Promise: memory does not grow with the file, the tensor or the header."""

from __future__ import annotations

from collections.abc import Iterator

from measure import MeasurementError, Row, diffai, make, megabytes, once, remove

LIMIT = 150_000_000


def memory(directory: str, size: int, runs: int, keep: bool) -> Iterator[Row]:
    """Peak resident memory of the whole process, one row a shape of file."""
    cases = {
        f"{megabytes(size)} in one tensor, F32": ("one_tensor", "F32", size),
        f"{megabytes(size)} in one tensor, BF16": ("one_tensor", "BF16", size),
        f"{megabytes(size)} in one tensor, F8_E4M3": ("one_tensor", "F8_E4M3", size),
        f"{megabytes(size)} in 50 tensors, torch zip": ("torch_pair", "F32", size),
        "header of 10 MB, 100,000 tensors": ("long_header", "F32", 10_000_000),
    }
    for name, (kind, dtype, count) in cases.items():
        try:
            paths = make(directory, kind, dtype=dtype, size=count)
        except MeasurementError as error:
            yield Row(f"memory, {name}", f"<= {megabytes(LIMIT)}", f"not measured: {error}", None)
            continue
        sample = once(diffai(paths["old"], paths["new"], expect="Weight updates"))
        yield Row(
            f"memory, {name}",
            f"<= {megabytes(LIMIT)}",
            f"{megabytes(sample.peak)} ({sample.wall:.2f} s)",
            sample.peak <= LIMIT,
            {"peak_bytes": sample.peak, "seconds": sample.wall},
        )
        if not keep:
            remove(paths)
