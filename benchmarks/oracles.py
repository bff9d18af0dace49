"""Real files of each format against the format's own library: how many files and tensors, and how many were wrong.

The libraries are those of the extra ``test``; the files are those that they bring, and one model in five exports out of
the wheel of basic-pitch, which is downloaded. Usage: python benchmarks/oracles.py [--page docs/formats.md]
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from diffai.errors import DiffaiError
from diffai.formats.base import Limits
from diffai.formats.registry import open_checkpoint
from diffai.model import Checkpoint
from diffai.sources.local import LocalFile

LIMITS = Limits(allow_torch=False)


@dataclass(slots=True)
class Figures:
    """Files that were opened, tensors that both sides have, those that differ, and files that were refused."""

    files: int = 0
    tensors: int = 0
    wrong: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def content(checkpoint: Checkpoint, name: str) -> bytes:
    """All bytes of a tensor's values."""
    spec = checkpoint.tensors[name]
    data = bytearray(spec.nbytes)
    checkpoint.read_into(spec, 0, memoryview(data))
    return bytes(data)


def judged(paths: Iterable[Path], wanted: Callable[[Path, Checkpoint], Iterator[tuple[str, bytes]]]) -> Figures:
    """Compare what the library says (name, bytes) with what is read."""
    figures = Figures()
    for path in paths:
        try:
            checkpoint = open_checkpoint(LocalFile(str(path)), LIMITS)
        except DiffaiError as error:
            figures.refused.append(f"{path.name}: {error}")
            continue
        figures.files += 1
        for name, data in wanted(path, checkpoint):
            figures.tensors += 1
            if content(checkpoint, name) != data:
                figures.wrong.append(f"{path.name}: {name}")
        checkpoint.close()
    return figures


def onnx_models() -> Figures:
    """The models that onnx bundles: every initializer."""
    import onnx
    from onnx import numpy_helper

    def wanted(path: Path, checkpoint: Checkpoint) -> Iterator[tuple[str, bytes]]:
        for tensor in onnx.load(path).graph.initializer:
            spec = checkpoint.tensors.get(tensor.name)
            if spec is not None and not spec.values and spec.dtype != "F4":
                yield tensor.name, np.ascontiguousarray(numpy_helper.to_array(tensor)).tobytes()

    return judged(sorted(Path(onnx.__file__).parent.rglob("*.onnx")), wanted)


def matlab_files() -> Figures:
    """What scipy bundles: numeric variables at the top."""
    import scipy.io

    def wanted(path: Path, checkpoint: Checkpoint) -> Iterator[tuple[str, bytes]]:
        try:
            found = scipy.io.loadmat(path)
        except Exception:  # files that scipy itself refuses, and 7.3
            return
        for name, array in found.items():
            spec = checkpoint.tensors.get(name)
            plain = isinstance(array, np.ndarray) and array.dtype.kind in "iufc" and spec is not None
            if plain and spec is not None and spec.shape == array.shape and spec.dtype != "BOOL":
                yield name, np.ascontiguousarray(array, _numpy(spec.dtype)).tobytes()

    folder = Path(scipy.io.__file__).parent / "matlab" / "tests" / "data"
    return judged(sorted(folder.glob("*.mat")), wanted)


def _numpy(dtype: str) -> str:
    """Numpy's code of a dtype: ``f4`` of F32."""
    letters, bits = dtype.rstrip("0123456789"), dtype.lstrip("FIUC")
    return f"<{letters.lower()}{int(bits) // 8}"


def joblib_dumps() -> Figures:
    """What joblib bundles, of all its versions: every array of numbers, where the library of today loads the dump."""
    import joblib

    def wanted(path: Path, checkpoint: Checkpoint) -> Iterator[tuple[str, bytes]]:
        try:
            found = joblib.load(path)
        except Exception:  # pickles of Python 2 without their encoding, and the like
            return
        held = {content(checkpoint, name): name for name in checkpoint.tensors}
        for array in found if isinstance(found, list) else [found]:
            if isinstance(array, np.ndarray) and array.dtype.kind in "iufc":
                data = np.ascontiguousarray(array).tobytes()
                yield held.get(data, next(iter(checkpoint.tensors))), data

    folder = Path(joblib.__file__).parent / "test" / "data"
    return judged(sorted(path for path in folder.glob("joblib_*") if ".npy" not in path.name), wanted)


def hdf5_files() -> Figures:
    """What h5py bundles: every dataset of numbers."""
    import h5py

    def wanted(path: Path, checkpoint: Checkpoint) -> Iterator[tuple[str, bytes]]:
        with h5py.File(path) as file:
            found: dict[str, Any] = {}
            file.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
            for name, item in found.items():
                title = name.replace("/", ".")
                if title in checkpoint.tensors and item.dtype.kind in "iuf":
                    yield title, np.ascontiguousarray(item[()]).astype(item.dtype.newbyteorder("<")).tobytes()

    return judged(sorted(Path(h5py.__file__).parent.rglob("*.h5")), wanted)


def gguf_types() -> Figures:
    """Every type that gguf can decode, of random blocks: decoded values."""
    import gguf
    from gguf import quants

    figures = Figures()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for kind, (elements, size) in gguf.GGML_QUANT_SIZES.items():
            raw = rng.integers(0, 256, (4, 2 * size), dtype=np.uint8)
            try:
                with np.errstate(all="ignore"):
                    values = quants.dequantize(raw, kind).astype(np.float32)
            except NotImplementedError:
                continue
            path = Path(folder) / f"{kind.name}.gguf"
            writer = gguf.GGUFWriter(path, "tiny")
            writer.add_tensor("w", raw, raw_dtype=kind)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()
            checkpoint = open_checkpoint(LocalFile(str(path)), LIMITS)
            figures.files += 1
            figures.tensors += 1
            spec = checkpoint.tensors["w"]
            if spec.values_dtype == "F32":
                got = np.frombuffer(content(checkpoint, "w"), "<f4")
                same = np.array_equal(got, values.reshape(-1), equal_nan=True)
            else:
                same = content(checkpoint, "w") == raw.tobytes()
            if not same or spec.elements != 4 * 2 * elements:
                figures.wrong.append(kind.name)
    return figures


def basic_pitch(folder: str) -> tuple[Figures, list[str]]:
    """One model in five exports: weights that agree in each pair, turned round or not."""
    from diffai import compare

    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, "basic-pitch==0.4.0"]
    figures = Figures()
    if subprocess.run(pip, capture_output=True, check=False).returncode != 0:
        return figures, ["basic-pitch could not be downloaded"]
    with zipfile.ZipFile(next(Path(folder).glob("basic_pitch-*.whl"))) as wheel:
        wheel.extractall(folder)
    place = Path(folder) / "basic_pitch" / "saved_models" / "icassp_2022"
    exports = {"ONNX": "nmp.onnx", "TensorFlow Lite": "nmp.tflite", "SavedModel": "nmp", "Core ML": "nmp.mlpackage"}
    lines = []
    for (a, first), (b, second) in itertools.combinations(exports.items(), 2):
        diff = compare(place / first, place / second)
        pairs = [c for c in diff.tensors if c.old and c.new and c.role == "weight" and c.spec.elements > 4]
        equal = [c for c in pairs if c.axes or (c.figures is not None and c.figures.identical)]
        lines.append(f"| {a}, {b} | {len(pairs)} | {len(equal)} | {sum(bool(c.axes) for c in pairs)} |")
    figures.files = len(exports)
    head = "| exports of basic-pitch | paired weights of more than 4 elements | equal | of these with axes permuted |"
    return figures, [head, "|---|---|---|---|", *lines]


ORACLES: dict[str, tuple[str, Callable[[], Figures]]] = {
    "ONNX": ("the models in onnx's wheel", onnx_models), "MATLAB": ("the files in scipy's wheel", matlab_files),
    "joblib": ("the dumps in joblib's wheel, version 0.8 to 0.11, Python 2.7 to 3.6", joblib_dumps),
    "HDF5": ("the files in h5py's wheel", hdf5_files),
    "GGUF": ("every type that gguf decodes, of random blocks", gguf_types),
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", help="put the tables between the marks of this page, such as docs/formats.md")
    page = parser.parse_args().page
    warnings.simplefilter("ignore")
    head = "| format | files | read | refused | tensors compared with the library | wrong |"
    lines = [head, "|---|---|---|---|---|---|"]
    wrong = 0
    for name, (what, oracle) in ORACLES.items():
        found = oracle()
        wrong += len(found.wrong)
        for line in (*found.wrong, *found.refused):
            print(f"{name}: {line}"[:200], file=sys.stderr)
        counts = f"{found.files} | {len(found.refused)} | {found.tensors:,} | {len(found.wrong)}"
        lines.append(f"| {name} | {what} | {counts} |")
    with tempfile.TemporaryDirectory() as folder:
        lines += ["", *basic_pitch(folder)[1]]
    print("\n".join(lines))
    if page:
        begin, end = "<!-- oracles -->", "<!-- end of oracles -->"
        text = Path(page).read_text(encoding="utf-8")
        before, _, rest = text.partition(begin)
        after = rest.partition(end)[2]
        Path(page).write_text(f"{before}{begin}\n" + "\n".join(lines) + f"\n{end}{after}", encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    sys.exit(main())
