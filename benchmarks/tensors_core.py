"""The numeric core alone, as multiples of `cmp` on two equal files of the same size, in one run on one machine.

    python benchmarks/tensors_core.py [--megabytes 256] [--threads 0] [--rounds 3] [DTYPE ...]

Each figure is the best of a few rounds of a fresh process, so the start of Python and numpy is part of it. Files of
random weights are made in a temporary directory (three at a time) and removed. `equal` compares two equal F32 files,
`epsilon` is F32 with a tolerance, `small` is 10,000 tensors of 16 x 16 in seconds.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time

import ml_dtypes
import numpy as np

KINDS = {
    "F32": np.float32, "BF16": ml_dtypes.bfloat16, "F16": np.float16, "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2, "I8": np.int8, "F64": np.float64, "I64": np.int64,
}  # fmt: skip

CHILD = """
import os, sys
os.environ["OPENBLAS_NUM_THREADS"] = "1"
from diffai.model import DTYPE_BITS, TensorSpec
from diffai.sources.local import LocalFile
from diffai.tensors.engine import NumericOptions, compare_pairs
class Raw:
    random_access = True
    def __init__(self, path, dtype, tensors):
        self.file = LocalFile(path)
        size = self.file.size // tensors // 8 * 8
        shape = (size * 8 // DTYPE_BITS[dtype],)
        self.tensors = {f"t{n}": TensorSpec(f"t{n}", dtype, shape, size, n * size) for n in range(tensors)}
    def read_into(self, spec, offset, buffer):
        self.file.read_into(spec.offset + offset, buffer)
    def read_file_into(self, file, offset, buffer):
        self.file.read_into(offset, buffer)
dtype, threads, epsilon, tensors = sys.argv[3], int(sys.argv[4]), float(sys.argv[5]), int(sys.argv[6])
a, b = Raw(sys.argv[1], dtype, tensors), Raw(sys.argv[2], dtype, tensors)
pairs = list(zip(a.tensors.values(), b.tensors.values()))
compare_pairs(a, b, pairs, NumericOptions(threads=threads, epsilon=epsilon))
"""


def write(path: str, dtype: str, size: int, seed: int, shift: float) -> None:
    """Weights of deviation 0.02 (integers: 30), each moved by a small normal amount times ``shift``."""
    kind = np.dtype(KINDS[dtype])
    rng, noise = np.random.default_rng(seed), np.random.default_rng(seed + 1)
    scale = 30.0 if kind.kind == "i" else 0.5 if "float8" in kind.name else 0.02
    with open(path, "wb") as file:
        for _ in range(16):
            count = size // 16 // kind.itemsize
            values = rng.standard_normal(count, np.float32) * np.float32(scale)
            values += noise.standard_normal(count, np.float32) * np.float32(scale * shift)
            file.write(np.clip(values, -120, 120).astype(kind).view(np.uint8))


def best(command: list[str], rounds: int) -> float:
    """Least wall time in seconds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        subprocess.run(command, check=True)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("dtypes", nargs="*", default=["equal", *KINDS, "epsilon", "small"])
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        old, new, copy = (os.path.join(folder, name) for name in ("old", "new", "copy"))
        for name in options.dtypes:
            dtype = name if name in KINDS else "F32"
            size = 10_240_000 if name == "small" else options.megabytes * 1_000_000 // 1024 * 1024
            write(old, dtype, size, 1, 0.0)
            write(copy, dtype, size, 1, 0.0)
            write(new, dtype, size, 1, 0.0 if name == "equal" else 0.01)
            unit = best(["cmp", old, copy], options.rounds)
            arguments = [
                dtype,
                str(options.threads),
                "1e-6" if name == "epsilon" else "0",
                "10000" if name == "small" else "50",
            ]
            wall = best([sys.executable, "-c", CHILD, old, new, *arguments], options.rounds)
            print(f"{name:8s} {wall:6.2f} s   cmp {unit:5.2f} s   ratio {wall / unit:5.2f}", flush=True)


if __name__ == "__main__":
    main()
