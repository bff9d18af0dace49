"""Pairs of files of several formats whose answer is known; prints the truth as JSON. Called by ``format_peers.py``.

Usage: python format_cases.py DIRECTORY. Each case is a folder with ``old.*`` and ``new.*``.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

Arrays = dict[str, Any]


def base() -> Arrays:
    """Three float32 arrays of values that float16 holds exactly, and counters beyond 2**53."""
    rng = np.random.default_rng(5)
    arrays: Arrays = {f"block.{n}.weight": rng.integers(-99, 99, (8, 32)).astype(np.float32) for n in range(3)}
    arrays["block.0.weight"][0, 0] = 0.0
    arrays["steps"] = np.array([2**60, 2**60 + 1], np.int64)
    return arrays


def _with(name: str, change: Callable[[Any], Any]) -> Arrays:
    arrays = base()
    arrays[name] = change(arrays[name].copy())
    return arrays


def _put(place: tuple[int, ...], value: float) -> Callable[[Any], Any]:
    def change(array: Any) -> Any:
        array[place] = value
        return array

    return change


NAN = _put((1, 1), float("nan"))
COMMON: dict[str, tuple[Arrays, Arrays, str]] = {
    "equal": (base(), base(), "same"),
    "one element": (base(), _with("block.1.weight", _put((3, 3), 0.5)), "differs"),
    "NaN in the same place on both sides": (_with("block.1.weight", NAN), _with("block.1.weight", NAN), "same"),
    "overwritten with NaN": (base(), _with("block.1.weight", lambda a: a * np.float32("nan")), "differs"),
    "0.0 became -0.0": (base(), _with("block.0.weight", _put((0, 0), -0.0)), "same"),
    "int64 counter 2**60 + 1": (base(), _with("steps", lambda a: a + 1), "differs"),
    "cast to float16, exactly": (base(), _with("block.2.weight", lambda a: a.astype(np.float16)), "differs"),
}


def onnx_file(path: str, arrays: Arrays, *, constant: float = 1.0, operator: str = "Add", author: str = "a") -> None:
    """Initializers, one constant in a node, one operator."""
    from onnx import TensorProto, helper, numpy_helper

    held = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    node = numpy_helper.from_array(np.full(4, constant, np.float32))
    nodes = [helper.make_node("Constant", [], ["c"], name="c", value=node),
             helper.make_node(operator, ["x", "c"], ["y"], name="sum")]  # fmt: skip
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("x", "y")]
    model = helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], held))
    helper.set_model_props(model, {"author": author})
    with open(f"{path}.onnx", "wb") as stream:
        stream.write(model.SerializeToString())


def gguf_file(path: str, arrays: Arrays, *, name: str = "tiny", quantize: str = "") -> None:
    """Tensors as they are, or those of floats quantized."""
    import gguf

    writer = gguf.GGUFWriter(f"{path}.gguf", "llama")
    writer.add_name(name)
    for title, array in arrays.items():
        if quantize and array.dtype == np.float32:
            kind = gguf.GGMLQuantizationType[quantize]
            writer.add_tensor(title, gguf.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(title, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def hdf5_file(path: str, arrays: Arrays, *, note: str = "", external: str = "", **options: Any) -> None:
    """Datasets in groups; ``external``: one of which the values lie in a file elsewhere."""
    import h5py

    with h5py.File(f"{path}.h5", "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name.replace(".", "/"), data=array, **options)
        if note:
            file.attrs["model_config"] = note
        if external:
            file.create_dataset("leak", (16,), "u1", external=[(external, 0, 16)])


def joblib_file(path: str, arrays: Arrays, **options: Any) -> None:
    """A dictionary of arrays."""
    import joblib

    joblib.dump(arrays, f"{path}.joblib", **options)


class _Runs:
    """A pickle that would leave a file behind when it is loaded."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.marker,)


def _sides(folder: str) -> tuple[str, str]:
    os.makedirs(folder, exist_ok=True)
    return os.path.join(folder, "old"), os.path.join(folder, "new")


def main(directory: str) -> dict[str, dict[str, str]]:
    """Write all cases; what is true of each, by format."""
    writers: dict[str, Callable[..., None]] = {
        "onnx": onnx_file, "gguf": gguf_file, "h5py": hdf5_file, "joblib": joblib_file,
    }  # fmt: skip
    truth: dict[str, dict[str, str]] = {}
    for peer, write in writers.items():
        truth[peer] = {}
        for number, (case, (old, new, said)) in enumerate(COMMON.items()):
            a, b = _sides(os.path.join(directory, peer, str(number)))
            write(a, old)
            write(b, new)
            truth[peer][case] = said
    own: list[tuple[str, str, str, dict[str, Any], dict[str, Any]]] = [
        ("onnx", "a Constant's value", "differs", {}, {"constant": 2.0}),
        ("onnx", "another operator, same weights", "differs", {}, {"operator": "Mul"}),
        ("onnx", "metadata only", "differs", {}, {"author": "b"}),
        ("gguf", "metadata only", "differs", {}, {"name": "other"}),
        ("gguf", "Q8_0 of the same weights", "differs", {}, {"quantize": "Q8_0"}),
        ("h5py", "the same, deflated", "same", {}, {"compression": "gzip", "shuffle": True}),
        ("h5py", "an attribute only", "differs", {"note": "{}"}, {"note": '{"layers": 2}'}),
        ("joblib", "the same, compressed", "same", {}, {"compress": 3}),
    ]
    for peer, case, said, before, after in own:
        a, b = _sides(os.path.join(directory, peer, str(len(truth[peer]))))
        writers[peer](a, base(), **before)
        writers[peer](b, base(), **after)
        truth[peer][case] = said
    a, b = _sides(os.path.join(directory, "h5py", str(len(truth["h5py"]))))
    hdf5_file(a, base())
    hdf5_file(b, base(), external=os.path.abspath(__file__))
    truth["h5py"]["values that lie in a file elsewhere on the machine"] = "refuses"
    a, b = _sides(os.path.join(directory, "joblib", str(len(truth["joblib"]))))
    joblib_file(a, base())
    joblib_file(b, {**base(), "x": _Runs(os.path.join(directory, "was-run"))})
    truth["joblib"]["a pickle that runs a program when it is loaded"] = "warns"
    return truth


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
