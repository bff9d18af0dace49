"""Models of many formats, written by the formats' own libraries (the extra ``test``); called by ``data.py``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
SIGMA, STEP = 0.02, 1e-4
WIDTH = 1024


def weights(size: int, *, new: bool) -> Iterator[tuple[str, Floats]]:
    """``size`` bytes of F32 in 50 tensors, every one changed on the new side."""
    rows = max(1, size // 4 // WIDTH // 50)
    for number in range(50):
        generator = np.random.default_rng(number)
        array = generator.standard_normal((rows, WIDTH), dtype=np.float32) * np.float32(SIGMA)
        if new:
            array = array + generator.standard_normal((rows, WIDTH), dtype=np.float32) * np.float32(STEP)
        yield f"model.layers.{number}.weight", array


def _paths(directory: str, kind: str, size: int, suffix: str) -> dict[str, str]:
    return {side: os.path.join(directory, f"{kind}-{size}-{side}{suffix}") for side in ("old", "new")}


def _present(paths: dict[str, str]) -> bool:
    return all(os.path.exists(path) for path in paths.values())


def onnx_weights(directory: str, _dtype: str, size: int) -> dict[str, str]:
    """An ONNX model of matrix products."""
    from onnx import TensorProto, helper, numpy_helper

    paths = _paths(directory, "onnx", size, ".onnx")
    for side, path in paths.items():
        if os.path.exists(path):
            continue
        held = [numpy_helper.from_array(array, name) for name, array in weights(size, new=side == "new")]
        nodes = [helper.make_node("MatMul", ["x", part.name], [f"y{n}"]) for n, part in enumerate(held)]
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y0")]
        graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], held)
        with open(path, "wb") as stream:
            stream.write(helper.make_model(graph).SerializeToString())
    return paths


def hdf5_weights(directory: str, _dtype: str, size: int) -> dict[str, str]:
    """Contiguous datasets."""
    import h5py

    paths = _paths(directory, "hdf5", size, ".h5")
    for side, path in paths.items():
        if not os.path.exists(path):
            with h5py.File(path, "w") as file:
                for name, array in weights(size, new=side == "new"):
                    file[name.replace(".", "/")] = array
    return paths


def npz_weights(directory: str, _dtype: str, size: int) -> dict[str, str]:
    """Arrays in an archive that is not compressed."""
    paths = _paths(directory, "npz", size, ".npz")
    for side, path in paths.items():
        if not os.path.exists(path):
            arrays: dict[str, Any] = dict(weights(size, new=side == "new"))
            np.savez(path, **arrays)
    return paths


def joblib_weights(directory: str, _dtype: str, size: int) -> dict[str, str]:
    """A dictionary of arrays, not compressed."""
    import joblib

    paths = _paths(directory, "joblib", size, ".joblib")
    for side, path in paths.items():
        if not os.path.exists(path):
            joblib.dump(dict(weights(size, new=side == "new")), path)
    return paths


def gguf_weights(directory: str, _dtype: str, size: int) -> dict[str, str]:
    """F32, under names of its own."""
    import gguf

    paths = _paths(directory, "gguf", size, ".gguf")
    for side, path in paths.items():
        if os.path.exists(path):
            continue
        writer = gguf.GGUFWriter(path, "llama")
        for name, array in weights(size, new=side == "new"):
            writer.add_tensor(name, array)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return paths


def onnx_graph(directory: str, _dtype: str, size: int) -> dict[str, str]:
    """``size`` nodes of a transformer's kinds: a tenth have a weight with a numbered name, a fifth are constants."""
    from onnx import TensorProto, helper, numpy_helper

    path = os.path.join(directory, f"graph-{size}.onnx")
    if not os.path.exists(path):
        nodes, held, value = [], [], "x"
        for number in range(size):
            name, made = f"/model/layers.{number // 100}/block/n{number}", f"/v{number}_output_0"
            kind = number % 10
            if kind in (1, 6):
                shape = numpy_helper.from_array(np.array([1, -1, 64], np.int64))
                nodes.append(helper.make_node("Constant", [], [made], name=name, value=shape))
                continue
            if kind == 0:
                array = np.full((8, 8), number, np.float32)
                held.append(numpy_helper.from_array(array, f"onnx::MatMul_{number + 5000}"))
                node = helper.make_node("MatMul", [value, held[-1].name], [made], name=name)
            elif kind == 2:
                node = helper.make_node("Transpose", [value], [made], name=name, perm=[0, 2, 1, 3])
            elif kind in (3, 7):
                node = helper.make_node("Reshape", [value, nodes[-1].output[0]], [made], name=name)
            else:
                node = helper.make_node(("Add", "Mul", "Softmax", "Relu")[kind % 4], [value, value], [made], name=name)
            nodes.append(node)
            value = made
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", value)]
        with open(path, "wb") as stream:
            stream.write(helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], held)).SerializeToString())
    return {"model": path}


def forest(directory: str, _dtype: str, size: int) -> dict[str, str]:
    """Two random forests of about ``size`` bytes, dumped by joblib with ``compress=3``."""
    paths = _paths(directory, "forest", size, ".joblib")
    if _present(paths):
        return paths
    import joblib
    from sklearn.ensemble import RandomForestClassifier

    generator = np.random.default_rng(0)
    table, classes = generator.standard_normal((12_000, 10), dtype=np.float32), generator.integers(0, 4, 12_000)
    trees = max(1, size // 700_000)  # of so many bytes each
    for side, path in paths.items():
        model = RandomForestClassifier(trees, random_state=1 + (side == "new")).fit(table, classes)
        joblib.dump(model, path, compress=3)
    return paths


def matlab(directory: str, _dtype: str, size: int) -> dict[str, str]:
    """One matrix of ``size`` bytes in MATLAB 5, column by column."""
    import scipy.io

    paths = _paths(directory, "matlab", size, ".mat")
    for side, path in paths.items():
        if not os.path.exists(path):
            array = np.random.default_rng(0).standard_normal((size // 8 // 2500, 2500))
            scipy.io.savemat(path, {"w": array + (STEP if side == "new" else 0)})
    return paths


def xgboost_json(directory: str, _dtype: str, size: int) -> dict[str, str]:
    """Trees of 511 nodes in JSON, about ``size`` bytes."""
    paths = _paths(directory, "xgboost", size, ".json")
    for seed, path in enumerate(paths.values()):
        if not os.path.exists(path):
            with open(path, "w", encoding="ascii") as stream:
                json.dump(_boosted(np.random.default_rng(seed), max(1, size // 28_000)), stream, separators=(",", ":"))
    return paths


def _boosted(generator: np.random.Generator, count: int) -> dict[str, object]:
    nodes = 511
    left = [2 * node + 1 if 2 * node + 1 < nodes else -1 for node in range(nodes)]
    right = [2 * node + 2 if 2 * node + 2 < nodes else -1 for node in range(nodes)]
    trees = []
    for number in range(count):
        drawn = [generator.standard_normal(nodes).astype("f4").round(6).astype(float).tolist() for _ in range(4)]
        trees.append({
            "base_weights": drawn[0], "categories": [], "categories_nodes": [], "categories_segments": [],
            "categories_sizes": [], "default_left": [1] * nodes, "id": number, "left_children": left,
            "loss_changes": drawn[1], "parents": [(node - 1) // 2 for node in range(nodes)], "right_children": right,
            "split_conditions": drawn[2], "split_indices": generator.integers(0, 30, nodes).tolist(),
            "split_type": [0] * nodes, "sum_hessian": drawn[3],
            "tree_param": {"num_deleted": "0", "num_feature": "30", "num_nodes": str(nodes), "size_leaf_vector": "1"},
        })  # fmt: skip
    model = {
        "gbtree_model_param": {"num_parallel_tree": "1", "num_trees": str(count)},
        "iteration_indptr": list(range(count + 1)), "tree_info": [0] * count, "trees": trees,
    }  # fmt: skip
    learner = {
        "attributes": {}, "feature_names": [], "feature_types": [],
        "gradient_booster": {"model": model, "name": "gbtree"},
        "learner_model_param": {"base_score": "5E-1", "num_class": "0", "num_feature": "30", "num_target": "1"},
        "objective": {"name": "reg:squarederror"},
    }  # fmt: skip
    return {"learner": learner, "version": [2, 1, 0]}


KINDS = {
    "onnx_weights": onnx_weights, "hdf5_weights": hdf5_weights, "npz_weights": npz_weights,
    "joblib_weights": joblib_weights, "gguf_weights": gguf_weights, "onnx_graph": onnx_graph, "forest": forest,
    "matlab": matlab, "xgboost_json": xgboost_json,
}  # fmt: skip
