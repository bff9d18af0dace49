"""Promises of single formats: uncompressed ones keep those of safetensors; graphs, forests and text cost little more.

Baselines: ``cmp`` of the two files' copies, bare Python, and reading and inflating the same files in Python.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator

from measure import (
    Command,
    MeasurementError,
    Row,
    diffai,
    interleaved,
    make,
    megabytes,
    once,
    peak,
    python,
    remove,
    wall,
)

LIMIT = 150_000_000
WEIGHTS = {"ONNX": "onnx_weights", "HDF5": "hdf5_weights", ".npz": "npz_weights", "joblib": "joblib_weights",
           "GGUF, F32": "gguf_weights"}  # fmt: skip
_OPEN = (
    "import sys;from diffai.formats.base import Limits;from diffai.formats.registry import open_checkpoint;"
    "from diffai.sources.local import LocalFile;open_checkpoint(LocalFile(sys.argv[1]),Limits())"
)
_INFLATE = "import sys,zlib\nfor path in sys.argv[1:]:\n zlib.decompress(open(path,'rb').read())"


def formats(directory: str, size: int, runs: int, keep: bool) -> Iterator[Row]:
    """Every promise that names a format."""
    for title, kind in WEIGHTS.items():
        yield from _guarded(title, lambda title=title, kind=kind: _weights(directory, title, kind, size, runs, keep))
    yield from _guarded("ONNX graph", lambda: _graph(directory, runs, keep))
    yield from _guarded("joblib forest", lambda: _forest(directory, min(size, 10**8), runs, keep))
    for title, kind, count, limit in (("MATLAB 5, one matrix", "matlab", min(size, 10**8), LIMIT),
                                      ("XGBoost JSON", "xgboost_json", min(size, 4 * 10**7), None)):  # fmt: skip
        yield from _guarded(title, lambda t=title, k=kind, c=count, m=limit: _memory(directory, t, k, c, m, keep))


def _guarded(title: str, rows: object) -> Iterator[Row]:
    """The rows of one format; where its library is not installed, that is the row."""
    try:
        yield from rows()  # type: ignore[operator]
    except MeasurementError as error:
        yield Row(title, "-", f"not measured: {error}".replace("|", "/"), None)


def _weights(directory: str, title: str, kind: str, size: int, runs: int, keep: bool) -> Iterator[Row]:
    """F32 weights, every tensor changed."""
    paths = make(directory, kind, size=size)
    paths["copy"] = f"{paths['old']}.copy"
    shutil.copyfile(paths["old"], paths["copy"])
    samples = interleaved(
        {
            "cmp": Command(["cmp", paths["old"], paths["copy"]]),
            "diffai": diffai(paths["old"], paths["new"], expect="Weight updates"),
        },
        runs,
    )
    ours, base, memory = wall(samples["diffai"]), wall(samples["cmp"]), peak(samples["diffai"])
    yield Row(
        f"{title}, all values of 2 x {megabytes(size)}, every tensor changed",
        f"<= 2 x `cmp`, <= {megabytes(LIMIT)}",
        f"{ours / base:.2f} x ({ours:.2f} s, `cmp` {base:.2f} s, {megabytes(memory)})",
        ours <= 2 * base and memory <= LIMIT,
        {"seconds": ours, "cmp": base, "ratio": ours / base, "peak_bytes": memory},
    )
    if not keep:
        remove(paths)


def _graph(directory: str, runs: int, keep: bool) -> Iterator[Row]:
    """Opening a graph of 10,000 nodes, the process included."""
    paths = make(directory, "onnx_graph", size=10_000)
    opened = Command([sys.executable, "-c", _OPEN, paths["model"]])
    shown = diffai("show", "--shape-only", "--format", "json", paths["model"], expect="wiring")
    samples = interleaved({"pass": python("pass"), "open": opened, "show": shown}, runs * 3)
    bare, ours, seconds = wall(samples["pass"]), wall(samples["open"]), wall(samples["show"])
    yield Row(
        f"ONNX of 10,000 nodes ({os.path.getsize(paths['model']) / 1e6:.1f} MB) opened, with all of Python's start",
        "<= 10 x bare Python",
        f"{ours / bare:.1f} x ({ours * 1000:.0f} ms, bare Python {bare * 1000:.0f} ms); `show` {seconds:.2f} s",
        ours <= 10 * bare,
        {"seconds": ours, "pass": bare, "ratio": ours / bare, "show": seconds},
    )
    if not keep:
        remove(paths)


def _forest(directory: str, size: int, runs: int, keep: bool) -> Iterator[Row]:
    """Two forests compared, beside reading and inflating them."""
    paths = make(directory, "forest", size=size)
    both = [paths["old"], paths["new"]]
    samples = interleaved(
        {"inflate": Command([sys.executable, "-c", _INFLATE, *both]), "diffai": diffai(*both, expect="trees")}, runs
    )
    ours, base = wall(samples["diffai"]), wall(samples["inflate"])
    yield Row(
        f"joblib forests of {megabytes(size)}, compressed, every tree another",
        "<= 3 x reading and inflating them",
        f"{ours / base:.2f} x ({ours:.2f} s, inflating {base:.2f} s, {megabytes(peak(samples['diffai']))})",
        ours <= 3 * base,
        {"seconds": ours, "inflate": base, "ratio": ours / base, "peak_bytes": peak(samples["diffai"])},
    )
    if not keep:
        remove(paths)


def _memory(directory: str, title: str, kind: str, size: int, limit: int | None, keep: bool) -> Iterator[Row]:
    """Peak memory; where there is no promise, only the figure."""
    paths = make(directory, kind, size=size)
    sample = once(diffai(paths["old"], paths["new"]))
    yield Row(
        f"memory, {title}, 2 x {megabytes(os.path.getsize(paths['old']))}",
        f"<= {megabytes(limit)}" if limit else "its tensors are held in memory",
        f"{megabytes(sample.peak)} ({sample.wall:.2f} s)",
        sample.peak <= limit if limit else None,
        {"peak_bytes": sample.peak, "seconds": sample.wall},
    )
    if not keep:
        remove(paths)
