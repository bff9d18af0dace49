"""The planted arrays of the table of truth in one packaging of each family of formats, as the formats' libraries write."""

from __future__ import annotations

import gzip
import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from truth_pairs import Arrays

Files = dict[str, bytes]


def npz(tensors: Arrays) -> Files:
    """Deflated."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **tensors)  # type: ignore[arg-type]
    return {"model.npz": buffer.getvalue()}


def _graph(tensors: Arrays) -> bytes:
    """A product for each weight, all of names."""
    from onnx import TensorProto, helper, numpy_helper

    held = [numpy_helper.from_array(array, name) for name, array in tensors.items()]
    nodes = [helper.make_node("Mul", ["x", "x"], ["y"], name="square")]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    made = helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], held))
    return bytes(made.SerializeToString())


def onnx_inline(tensors: Arrays) -> Files:
    """Values in the file."""
    return {"model.onnx": _graph(tensors)}


def onnx_external(tensors: Arrays) -> Files:
    """Values in a file beside it."""
    import onnx

    model = onnx.load_from_string(_graph(tensors))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path, save_as_external_data=True, location="model.onnx.data", size_threshold=0)
        return {each.name: each.read_bytes() for each in sorted(Path(folder).iterdir())}


def gguf_file(tensors: Arrays) -> Files:
    """F32 and F16 as they are."""
    import gguf

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        writer = gguf.GGUFWriter(path, "tiny")
        for name, array in tensors.items():
            writer.add_tensor(name, array)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return {"model.gguf": path.read_bytes()}


def hdf5(tensors: Arrays) -> Files:
    """Chunked, deflated and shuffled, in groups."""
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, array in tensors.items():
            file.create_dataset(name.replace(".", "/"), data=array, compression="gzip", shuffle=True)
    return {"model.h5": buffer.getvalue()}


def joblib_dump(tensors: Arrays) -> Files:
    """Compressed."""
    import joblib

    buffer = io.BytesIO()
    joblib.dump(dict(tensors), buffer, compress=3)
    return {"model.joblib": buffer.getvalue()}


def flax(tensors: Arrays) -> Files:
    """Nested dictionaries of arrays in msgpack."""
    import msgpack

    tree: dict[str, object] = {}
    for name, array in tensors.items():
        node, *path = tree, *name.split(".")
        for part in path[:-1]:
            node = node.setdefault(part, {})  # type: ignore[assignment]
        content = msgpack.packb((array.shape, array.dtype.name, array.tobytes()), use_bin_type=True)
        node[path[-1]] = msgpack.ExtType(1, content)  # type: ignore[index]
    return {"model.msgpack": msgpack.packb(tree, use_bin_type=True)}


def zipped(tensors: Arrays) -> Files:
    """A safetensors in gzip."""
    from safetensors.numpy import save

    return {"model.safetensors.gz": gzip.compress(save(tensors), mtime=0)}


def pickled(tensors: Arrays) -> Files:
    """A dictionary of arrays, as plain pickles hold it."""
    import pickle

    return {"model.pkl": pickle.dumps(dict(tensors), protocol=4)}


def paddle(tensors: Arrays) -> Files:
    """What ``paddle.save`` writes of a ``state_dict``: a pickle of arrays and a table of their inner names."""
    import pickle

    inner = {name: f"param_{number}" for number, name in enumerate(tensors)}
    return {"model.pdparams": pickle.dumps({**tensors, "StructuredToParameterName@@": inner}, protocol=2)}


def squeezed(tensors: Arrays) -> Files:
    """A torch file in xz."""
    import lzma

    import torch

    buffer = io.BytesIO()
    torch.save({name: torch.from_numpy(array.copy()) for name, array in tensors.items()}, buffer)
    return {"model.pt.xz": lzma.compress(buffer.getvalue())}


WRITERS: dict[str, Callable[[Arrays], Files]] = {
    "npz": npz, "onnx": onnx_inline, "onnx-data": onnx_external, "gguf": gguf_file, "hdf5": hdf5,
    "joblib": joblib_dump, "flax": flax, "gzip": zipped, "pickle": pickled, "paddle": paddle,
    "xz": squeezed,
}  # fmt: skip


def trees(tensors: Arrays) -> Files:
    """Trees of two splits in XGBoost's JSON; ``trees.N.thresholds`` (2) and ``trees.N.leaf_values`` (3) are given."""
    import json

    def number(value: float) -> float:
        return float(np.float32(value))

    made = []
    for index in range(len(tensors) // 2):
        splits, leaves = (tensors[f"trees.{index}.{part}"] for part in ("thresholds", "leaf_values"))
        conditions = [*map(number, splits), *map(number, leaves)]
        made.append({
            "base_weights": [0.0] * 5, "categories": [], "categories_nodes": [], "categories_segments": [],
            "categories_sizes": [], "default_left": [1, 0, 0, 0, 0], "id": index, "left_children": [1, 2, -1, -1, -1],
            "loss_changes": [1.0] * 5, "parents": [2147483647, 0, 1, 1, 0], "right_children": [4, 3, -1, -1, -1],
            "split_conditions": conditions, "split_indices": [0, 1, 0, 0, 0], "split_type": [0] * 5,
            "sum_hessian": [9.0] * 5,
            "tree_param": {"num_deleted": "0", "num_feature": "2", "num_nodes": "5", "size_leaf_vector": "1"},
        })  # fmt: skip
    model = {"gbtree_model_param": {"num_trees": str(len(made))}, "tree_info": [0] * len(made), "trees": made}
    learner = {
        "attributes": {}, "feature_names": [], "feature_types": [],
        "gradient_booster": {"model": model, "name": "gbtree"}, "objective": {"name": "reg:squarederror"},
    }  # fmt: skip
    return {"model.json": json.dumps({"learner": learner, "version": [2, 1, 0]}).encode()}
