"""Long runs of hostile files through every reader: what was tried, refused, hung, crashed or read wrongly, by class.

    python benchmarks/fuzz.py                       # a minute for each class
    python benchmarks/fuzz.py --seconds 3600        # an hour for each
    python benchmarks/fuzz.py --only torch --seed 7

Classes: *mutated* files of each format in the table of formats (a new reader joins by its row: its samples are what
the tests keep under ``tests/data``, what the formats' own libraries write here, and what ``--samples FOLDER`` adds),
*torch* files that torch itself loads as well (differential), *safe* pickles that are loaded under an audit hook, and
*bombs* under the clock. A file that was read wrongly, crashed or hung is kept in ``--keep FOLDER`` (default:
fuzz-found). Needs torch and the formats' libraries, from the development extra.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import random
import signal
import sys
import tempfile
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests" / "hostile")]

import pickle_files  # noqa: E402
from bombs import bombs  # noqa: E402
from ceiling import cost_of  # noqa: E402
from differential import verdict  # noqa: E402
from loaders import Loader  # noqa: E402
from mutations import files, mutated, records_mutated  # noqa: E402
from torch_files import opened, zipped  # noqa: E402

from diffai.errors import DiffaiError, SourceError  # noqa: E402
from diffai.formats import registry  # noqa: E402
from diffai.formats.base import Limits  # noqa: E402
from diffai.formats.table import FORMATS  # noqa: E402
from diffai.sources.local import MemoryBytes  # noqa: E402

HANG = 10  # seconds
LIMITS = Limits(allow_torch=False)


class HangError(BaseException):
    """A file took longer than HANG."""


class Run:
    """Counts, and where what was found is kept."""

    def __init__(self, seconds: float, keep: Path) -> None:
        self.seconds = seconds
        self._keep = keep
        self.counts: dict[str, Counter[str]] = {}

    def tries(self, kind: str, samples: Iterator[tuple[str, bytes]], judge: Callable[[str, bytes], str]) -> None:
        """Judge samples until the time is over; ``judge`` gives a word: ``read``, ``refused``, ``wrong``."""
        counts, until = self.counts.setdefault(kind, Counter()), time.monotonic() + self.seconds
        for label, data in samples:
            if time.monotonic() > until:
                break
            word = self._judged(label, data, judge)
            counts["tried"] += 1
            counts[word] += 1
            if word in ("wrong", "hung", "crashed"):
                self._keep.mkdir(exist_ok=True)
                (self._keep / f"{kind.split()[0]}-{word}-{counts[word]}.bin").write_bytes(data)

    @staticmethod
    def _judged(label: str, data: bytes, judge: Callable[[str, bytes], str]) -> str:
        signal.alarm(HANG)
        try:
            return judge(label, data)
        except HangError:
            return "hung"
        except Exception:  # that is what is looked for
            return "crashed"
        finally:
            signal.alarm(0)

    def report(self) -> str:
        """A table, one class a line."""
        words = ("tried", "read", "refused", "wrong", "hung", "crashed")
        lines = [f"{'class':24}" + "".join(f"{word:>10}" for word in words)]
        for kind, counts in self.counts.items():
            lines.append(f"{kind:24}" + "".join(f"{counts[word]:>10,}" for word in words))
        return "\n".join(lines)


def _write_samples(folder: Path) -> None:
    """One small file of each format whose own library is installed."""
    import json

    import numpy as np

    array = np.arange(12, dtype="<f4").reshape(3, 4)
    entry = {"w": {"dtype": "F32", "shape": [3, 4], "data_offsets": [0, 48]}}
    header = json.dumps(entry).encode()
    (folder / "m.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + array.tobytes())
    np.savez_compressed(folder / "m.npz", w=array, objects=np.array([{"rate": 0.5}, None], object))
    index = {"metadata": {"total_size": 48}, "weight_map": {"w": "m.safetensors"}}
    (folder / "m.safetensors.index.json").write_text(json.dumps(index))
    with contextlib.suppress(ImportError):
        import h5py

        with h5py.File(folder / "m.h5", "w") as file:
            file["layer/w"] = array
            file.create_dataset("layer/packed", data=array, compression="gzip", chunks=(1, 4))
    with contextlib.suppress(ImportError):
        import scipy.io

        net = {"w": array, "name": "net", "layers": np.array([array, 1j * array], dtype=object)}
        scipy.io.savemat(folder / "m.mat", {"net": net}, do_compression=False)
    columns, wanted = np.arange(200.0).reshape(50, 4) % 7, np.arange(50) % 2
    with contextlib.suppress(ImportError):
        import lightgbm

        found = lightgbm.train({"verbose": -1, "min_data_in_leaf": 2}, lightgbm.Dataset(columns, wanted), 2)
        found.save_model(folder / "m.txt")
    with contextlib.suppress(ImportError):
        import xgboost

        boosted = xgboost.train({"max_depth": 2}, xgboost.DMatrix(columns, wanted), 2)
        for name in ("m.json", "m.ubj"):
            boosted.save_model(folder / name)
    with contextlib.suppress(ImportError):
        import msgpack

        inner = msgpack.packb((array.shape, "float32", array.tobytes()), use_bin_type=True)
        (folder / "m.msgpack").write_bytes(msgpack.packb({"params": {"w": msgpack.ExtType(1, inner)}, "step": 1}))
    with contextlib.suppress(ImportError):
        import onnx

        node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
        ends = [onnx.helper.make_tensor_value_info(name, 1, [1, 3]) for name in ("x", "y")]
        graph = onnx.helper.make_graph([node], "g", ends[:1], ends[1:], [onnx.numpy_helper.from_array(array, "w")])
        onnx.save(onnx.helper.make_model(graph), folder / "m.onnx")
    with contextlib.suppress(ImportError):
        (folder / "m.tflite").write_bytes(_tflite(array.tobytes()))
    with contextlib.suppress(ImportError):
        import joblib

        joblib.dump({"w": array, "words": np.array(["a", None], object)}, folder / "m.joblib")
        joblib.dump({"w": array}, folder / "m.pkl.gz", compress=("gzip", 3))
    with contextlib.suppress(ImportError):
        import gguf

        writer = gguf.GGUFWriter(folder / "m.gguf", "llama")
        writer.add_block_count(1)
        writer.add_tensor("w", array)
        for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
            step()
        writer.close()


def _write_folders(folder: Path) -> None:
    """Models of several files, each in a folder of its own, and programs of torch."""
    import numpy as np
    import tensorflow_files as tf
    import torch
    import torch.distributed.checkpoint as dcp

    array = np.arange(12, dtype="<f4").reshape(3, 4)
    for name in ("bundle", "saved/variables", "frozen", "openvino", "pieces"):
        (folder / name).mkdir(parents=True)
    index, shards = tf.bundle({"layer/w": array, "layer/b": array[0], "words": b"some text"}, shards=2)
    for place, stem in (("bundle", "m.ckpt"), ("saved/variables", "variables")):
        (folder / place / f"{stem}.index").write_bytes(index)
        for number, data in enumerate(shards):
            (folder / place / f"{stem}.data-{number:05}-of-00002").write_bytes(data)
    nodes = [tf.node("x", "Placeholder"), tf.const("w", tf.constant(array)), tf.node("y", "MatMul", ("x", "w"))]
    (folder / "frozen" / "m.pb").write_bytes(tf.graph(*nodes))
    (folder / "saved" / "saved_model.pb").write_bytes(tf.saved_model(tf.graph(*nodes, tf.node("v", "VarHandleOp"))))
    constant = '<data element_type="f32" shape="3,4" offset="0" size="48"/>'
    network = (
        '<?xml version="1.0"?><net name="m" version="11"><layers>'
        '<layer id="0" name="x" type="Parameter" version="opset1"><data shape="?,3" element_type="f32"/></layer>'
        f'<layer id="1" name="w" type="Const" version="opset1">{constant}</layer>'
        '<layer id="2" name="y" type="MatMul" version="opset1"/></layers><edges>'
        '<edge from-layer="0" from-port="0" to-layer="2" to-port="0"/>'
        '<edge from-layer="1" from-port="0" to-layer="2" to-port="1"/></edges></net>'
    )
    (folder / "openvino" / "m.xml").write_text(network)
    (folder / "openvino" / "m.bin").write_bytes(array.tobytes())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state = {"w": torch.from_numpy(array.copy()), "epoch": 3}
        dcp.save(state, checkpoint_id=folder / "pieces", no_dist=True)  # type: ignore[attr-defined]
        torch.export.save(torch.export.export(torch.nn.Linear(4, 3), (torch.ones(2, 4),)), folder / "m.pt2")


def _tflite(values: bytes) -> bytes:
    """One subgraph with one constant of 3 by 4."""
    import flatbuffers

    builder = flatbuffers.Builder(256)

    def table(width: int, **fields: int) -> int:
        builder.StartObject(width)
        for number, offset in fields.items():
            builder.PrependUOffsetTRelativeSlot(int(number[1:]), offset, 0)
        return int(builder.EndObject())

    def tables(*offsets: int) -> int:
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())

    buffers = tables(table(3), table(3, f0=builder.CreateByteVector(values)))
    builder.StartVector(4, 2, 4)
    for size in (4, 3):
        builder.PrependInt32(size)
    shape = builder.EndVector()
    name = builder.CreateString("w")
    builder.StartObject(10)
    builder.PrependUOffsetTRelativeSlot(0, shape, 0)
    builder.PrependUint32Slot(2, 1, 0)
    builder.PrependUOffsetTRelativeSlot(3, name, 0)
    subgraph = table(5, f0=tables(builder.EndObject()))
    builder.Finish(table(8, f2=tables(subgraph), f4=buffers), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _samples(folders: list[Path]) -> dict[str, list[tuple[str, bytes]]]:
    """Small files of the folders by the format that recognises them."""
    found: dict[str, list[tuple[str, bytes]]] = {row.name: [] for row in FORMATS}
    modules = {row.module: row.name for row in FORMATS}
    for path in sorted(path for folder in folders for path in folder.rglob("*")):
        if not path.is_file() or path.stat().st_size > 100_000:
            continue
        data = path.read_bytes()
        try:
            module = registry.recognise(MemoryBytes(data, label=str(path)))
        except DiffaiError:
            continue
        found[modules[module.__name__]].append((str(path), data))  # type: ignore[attr-defined]
    return found


def _mutations(samples: list[tuple[str, bytes]], seed: int) -> Iterator[tuple[str, bytes]]:
    rng = random.Random(seed)
    while samples:
        name, data = rng.choice(samples)
        yield name, (records_mutated if data[:2] == b"PK" and rng.random() < 0.5 else mutated)(data, rng)


class _Beside(MemoryBytes):
    """A mutated file where the sample lay: the files beside it are as they were, or, for every fourth, mutated too."""

    def sibling(self, name: str) -> MemoryBytes:  # type: ignore[override]
        """The file of that name."""
        path = Path(self.label).parent / name
        try:
            data = path.read_bytes()
        except (OSError, ValueError) as error:
            raise SourceError(f"{name!r}: {error}") from error
        rng = random.Random(zlib.crc32(self.read(0, self.size)) + len(name))
        return _Beside(mutated(data, rng) if not rng.randrange(4) else data, label=str(path))


def _read(label: str, data: bytes) -> str:
    """Check, open, and read every value."""
    word = "read"
    try:
        registry.check(_Beside(data, label=label), LIMITS)
    except DiffaiError:
        word = "refused"
    try:
        checkpoint = registry.open_checkpoint(_Beside(data, label=label), LIMITS)
    except DiffaiError:
        return "refused"
    try:
        for spec in checkpoint.tensors.values():
            if spec.nbytes < 1 << 26 and not spec.lacking:
                checkpoint.read_into(spec, 0, memoryview(bytearray(spec.nbytes)))
    except DiffaiError:
        return "refused"
    finally:
        checkpoint.close()
    return word


def _differential(torch: Loader) -> Callable[[str, bytes], str]:
    def judge(_: str, data: bytes) -> str:
        answer = verdict(torch, data)
        return "wrong" if answer.startswith("wrong") else "refused" if answer == "refused" else "read"

    return judge


def _proof(watched: Loader) -> Callable[[str, bytes], str]:
    def judge(_: str, data: bytes) -> str:
        try:
            if opened(data).safety != "safe":
                return "refused"
        except DiffaiError:
            return "refused"
        return "wrong" if watched(data).get("events") else "read"

    return judge


def _programs(seed: int) -> Iterator[tuple[str, bytes]]:
    for program in pickle_files.programs(seed):
        yield "m.pkl", program
        yield "m.pt", zipped({"data.pkl": program, "data/0": bytes(64), "version": b"3\n"})


def _disguised(_: str, data: bytes) -> str:
    found = registry.check(MemoryBytes(data, label="new.pkl"), LIMITS)
    return "refused" if any(problem.code == "PT20" for problem in found) else "wrong"


def _all_disguises() -> Iterator[tuple[str, bytes]]:
    for module, name in pickle_files.named():
        for way, opcodes in pickle_files.ways(module, name):
            if way in ("reduce", "inst", "obj", "memo"):  # ways that need no sign of a pickle
                yield from ((label, data) for _, label, data in pickle_files.clothes(opcodes))


def _costly(folder: Path) -> Callable[[str, bytes], str]:
    def judge(_: str, data: bytes) -> str:
        signal.alarm(0)
        (folder / "bomb.pt").write_bytes(data)
        cost = cost_of(["check", "bomb.pt"], folder)
        return "hung" if cost.over else "read" if cost.status == 0 else "refused"

    return judge


def main() -> int:
    """Run the classes asked for; 1 when anything was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", default="", help="a part of the name of a class")
    parser.add_argument("--samples", type=Path, action="append", default=[ROOT / "tests" / "data"])
    parser.add_argument("--keep", type=Path, default=Path("fuzz-found"))
    given = parser.parse_args()
    signal.signal(signal.SIGALRM, _hang)
    run, torch, watched = Run(given.seconds, given.keep), Loader("weights"), Loader("audit")
    for loader in (torch, watched):
        loader(b"N.")  # imports torch, which is not to count
    made = tempfile.TemporaryDirectory()
    _write_samples(Path(made.name))
    _write_folders(Path(made.name))
    given.samples.append(Path(made.name))
    jobs: dict[str, Callable[[str], None]] = {
        f"mutated {name}": lambda kind, found=found: run.tries(kind, _mutations(found, given.seed), _read)  # type: ignore[misc]
        for name, found in _samples(given.samples).items()
    }
    jobs["torch differential"] = lambda kind: run.tries(kind, files(given.seed), _differential(torch))
    jobs["safe pickles"] = lambda kind: run.tries(kind, _programs(given.seed), _proof(watched))
    jobs["disguised pickles"] = lambda kind: run.tries(kind, _all_disguises(), _disguised)
    jobs["bombs"] = lambda kind: _bombs(run, kind)
    for kind, job in jobs.items():
        if given.only in kind:
            job(kind)
            print(run.report().splitlines()[-1], flush=True)
    torch.close()
    watched.close()
    print(f"\nseed {given.seed}\n{run.report()}")
    return int(any(counts[word] for counts in run.counts.values() for word in ("wrong", "hung", "crashed")))


def _bombs(run: Run, kind: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run.tries(kind, itertools.chain(bombs().items()), _costly(Path(folder)))


def _hang(*_: object) -> None:
    raise HangError


if __name__ == "__main__":
    sys.exit(main())
