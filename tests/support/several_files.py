"""Models of several files, each before and after a change of one of its files that is not the one it is called by."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import numpy as np
from onnx_models import data, with_external_data
from safetensors.numpy import save

Files = Mapping[str, bytes]


def onnx(name: str) -> tuple[str, Files, Files]:
    """An ONNX model and the file of its weight: (the model's path, its files, what changes)."""
    return "m.onnx", {"m.onnx": with_external_data(name), name: data()}, {name: data(1)}


def indexed(names: tuple[str, str], suffix: str = "safetensors") -> tuple[str, Files, Files]:
    """Two shards and the index that names them; the second one is trained."""
    first, second = ({name: np.arange(4, dtype="f4") + 1} for name in ("a", "b"))
    index = json.dumps({"metadata": {}, "weight_map": {"a": names[0], "b": names[1]}}).encode()
    files = {f"model.{suffix}.index.json": index, names[0]: save(first), names[1]: save(second)}
    return f"model.{suffix}.index.json", files, {names[1]: save({"b": second["b"] * np.float32(2)})}


def unindexed() -> tuple[str, Files, Files]:
    """Two shards without an index; the first is trained."""
    path, files, _ = indexed(("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"))
    rest = {name: content for name, content in files.items() if name != path}
    first = "model-00001-of-00002.safetensors"
    return "model.safetensors", rest, {first: save({"a": np.arange(4, dtype="f4") + 2})}


def adapter() -> tuple[str, Files, Files]:
    """A LoRA adapter whose alpha is doubled: its weights are as they were."""
    r = np.random.default_rng(1)
    weights = {
        f"base_model.model.q.lora_{letter}.weight": r.standard_normal(shape).astype("f4")
        for letter, shape in (("A", (2, 8)), ("B", (8, 2)))
    }
    configs = [
        json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": alpha, "target_modules": ["q"]}).encode()
        for alpha in (2, 4)
    ]
    path = "adapter_model.safetensors"
    return path, {path: save(weights), "adapter_config.json": configs[0]}, {"adapter_config.json": configs[1]}


def openvino() -> tuple[str, Files, Files]:
    """A network and its weights."""
    weights = np.arange(12, dtype="<f4") + 1
    network = b"""<?xml version="1.0"?><net name="m" version="11"><layers>
<layer id="0" name="w" type="Const" version="opset1"><data element_type="f32" shape="3, 4" offset="0" size="48"/>
<output><port id="0" precision="FP32"><dim>3</dim><dim>4</dim></port></output></layer>
<layer id="1" name="y" type="Result" version="opset1"/></layers>
<edges><edge from-layer="0" from-port="0" to-layer="1" to-port="0"/></edges></net>"""
    path = "openvino_model.xml"
    return path, {path: network, "openvino_model.bin": weights.tobytes()}, {"openvino_model.bin": (2 * weights).tobytes()}


def _bundle(scale: float, name: str) -> dict[str, bytes]:
    from tensorflow_files import bundle

    index, parts = bundle({"w/.ATTRIBUTES/VARIABLE_VALUE": np.arange(6, dtype="f4") + np.float32(scale)})
    return {f"{name}.index": index} | {f"{name}.data-{n:05}-of-{len(parts):05}": p for n, p in enumerate(parts)}


def tensorflow() -> tuple[str, Files, Files]:
    """A TensorFlow checkpoint, whose index is as it was."""
    old, new = _bundle(1, "model.ckpt"), _bundle(2, "model.ckpt")
    return "model.ckpt.index", old, {name: part for name, part in new.items() if "data" in name}


def saved_model_folder() -> tuple[str, Files, Files]:
    """A SavedModel, whose graph is as it was."""
    from tensorflow_files import graph, node, saved_model

    old, new = _bundle(1, "variables/variables"), _bundle(2, "variables/variables")
    return "saved_model.pb", {"saved_model.pb": saved_model(graph(node("w", "VarHandleOp"))), **old}, new


def distributed() -> tuple[str, Files, Files]:
    """What ``torch.distributed.checkpoint`` writes for one process; its list of tensors is as it was."""
    import tempfile
    import warnings
    from pathlib import Path

    import torch
    import torch.distributed.checkpoint as dcp

    files = []
    for scale in (1, 2):
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dcp.save({"w": torch.arange(1, 9).float() * scale}, checkpoint_id=folder, no_dist=True)
            files.append({path.name: path.read_bytes() for path in Path(folder).iterdir()})
    changed = {name: content for name, content in files[1].items() if name != ".metadata"}
    return ".metadata", files[0], changed


def gguf_shards() -> tuple[str, Files, Files]:
    """A GGUF model in two files; the second is trained."""
    import gguf

    def shard(number: int, scale: float) -> bytes:
        import tempfile
        from pathlib import Path

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "x.gguf"
            writer = gguf.GGUFWriter(path, "llama")
            writer.add_uint16("split.no", number)
            writer.add_uint16("split.count", 2)
            writer.add_int32("split.tensors.count", 2)
            writer.add_tensor(f"blk.{number}.w", (np.arange(32, dtype="f4") + 1) * np.float32(scale))
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()
            return path.read_bytes()

    names = [f"m-0000{n}-of-00002.gguf" for n in (1, 2)]
    return "m.gguf", {names[0]: shard(0, 1), names[1]: shard(1, 1)}, {names[1]: shard(1, 2)}


MODELS: Mapping[str, Callable[[], tuple[str, Files, Files]]] = {
    "onnx, data called after it": lambda: onnx("m.onnx.data"),
    "onnx, data called otherwise": lambda: onnx("weights.raw"),
    "onnx, data in a folder below": lambda: onnx("parts/w0"),
    "shards with an index": lambda: indexed(("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")),
    "shards called otherwise": lambda: indexed(("first.part", "second.part")),
    "shards without an index": unindexed,
    "an adapter's configuration": adapter,
    "OpenVINO": openvino,
    "TensorFlow checkpoint": tensorflow,
    "SavedModel": saved_model_folder,
    "distributed checkpoint": distributed,
    "GGUF shards": gguf_shards,
}
