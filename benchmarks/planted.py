"""24 small pairs, each with one thing planted, and whether an honest comparison calls them equal.

Run by peers.py in a process of its own: ``planted.py DIRECTORY`` writes ``CASE/old`` and ``CASE/new`` with a
``model.safetensors`` each and prints ``{case: "same" | "differs" | "either"}`` as JSON.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Model = dict[str, NDArray[Any]]
NAMES = {
    "float32": "F32", "float64": "F64", "float16": "F16", "bfloat16": "BF16", "float8_e4m3fn": "F8_E4M3",
    "int8": "I8", "int64": "I64",
}  # fmt: skip
Q = "model.layers.0.q_proj.weight"
NORM = "model.layers.0.norm.weight"
# Equal numbers in different bits, equal tensors under other names: both answers are fair.
ARGUABLE = ("0.0 to -0.0", "every name prefixed `module.`")
UP = "model.layers.1.up_proj.weight"


def write(path: str, model: Model, metadata: Mapping[str, str] | None = None) -> None:
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    position = 0
    for name, array in model.items():
        span = [position, position + array.nbytes]
        header[name] = {"dtype": NAMES[array.dtype.name], "shape": array.shape, "data_offsets": span}
        position += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for array in model.values():
            stream.write(np.ascontiguousarray(array).tobytes())


def base() -> Model:
    """21 tensors of the shapes of a language model, in miniature."""
    generator = np.random.default_rng(7)

    def weights(*shape: int) -> NDArray[Any]:
        return (generator.standard_normal(shape) * 0.02).astype(np.float32)

    model: Model = {"model.embed_tokens.weight": weights(96, 48)}
    for layer in range(4):
        for name, shape in (("q_proj", (48, 48)), ("v_proj", (48, 24)), ("up_proj", (64, 48)), ("down_proj", (48, 64))):
            model[f"model.layers.{layer}.{name}.weight"] = weights(*shape)
        model[f"model.layers.{layer}.norm.weight"] = weights(48) + np.float32(1)
    return model


def tuned(model: Model) -> Model:
    generator = np.random.default_rng(8)
    return {
        name: (array + generator.standard_normal(array.shape) * 1e-3).astype(np.float32)
        for name, array in model.items()
    }


def cast(model: Model, dtype: Any) -> Model:
    return {name: array.astype(dtype) for name, array in model.items()}


def edited(model: Model, name: str, edit: Callable[[NDArray[Any]], object]) -> Model:
    """A copy in which ``edit`` has changed one tensor in place."""
    copy = {key: array.copy() for key, array in model.items()}
    edit(copy[name])
    return copy


def put(index: Any, value: float) -> Callable[[NDArray[Any]], object]:
    return lambda array: array.__setitem__(index, value)


def flip_lowest_bit(array: NDArray[Any]) -> None:
    array.view(np.uint32).reshape(-1)[5] ^= 1


def lora(model: Model) -> Model:
    generator = np.random.default_rng(9)
    result = dict(model)
    for layer in range(4):
        name = f"model.layers.{layer}.q_proj.weight"
        down, up = generator.standard_normal((4, 48)), generator.standard_normal((48, 4))
        result[name] = (model[name] + up @ down * 1e-3).astype(np.float32)
    return result


def renamed(model: Model, change: Callable[[str], str]) -> Model:
    return {change(name): array for name, array in model.items()}


def changed_cases(a: Model) -> dict[str, tuple[Model, Model]]:
    """Pairs that differ."""
    b = tuned(a)
    shuffled = np.random.default_rng(3).permutation(a[UP].reshape(-1)).reshape(a[UP].shape)
    flat = {**a, UP: a[UP].reshape(48, 64)}
    whole = {**a, UP: np.full_like(a[UP], np.nan)}
    index = np.arange(10, dtype=np.int64) + 2**40
    eights = {name: np.rint(array.astype(np.float64) * 1000).clip(-127, 127) for name, array in a.items()}
    fp8 = ml_dtypes.float8_e4m3fn
    doubles = cast(a, np.float64)
    return {
        "1 bit flipped (1 ulp)": (a, edited(a, Q, flip_lowest_bit)),
        "one tensor permuted": (a, {**a, UP: shuffled}),
        "whole model cast to bf16": (a, cast(a, ml_dtypes.bfloat16)),
        "one NaN in B": (a, edited(a, Q, put((1, 2), np.nan))),
        "a whole tensor NaN": (a, whole),
        "one Inf in B": (a, edited(a, Q, put((1, 2), np.inf))),
        "merged LoRA, rank 4, on q_proj": (a, lora(a)),
        "every name prefixed `module.`": (a, renamed(a, lambda name: "module." + name)),
        "`up_proj` renamed `fc1`": (a, renamed(a, lambda name: name.replace("up_proj", "fc1"))),
        "reshape, same bytes": (a, flat),
        "transpose": (a, {**a, UP: np.ascontiguousarray(a[UP].T)}),
        "full fine-tune, f32": (a, b),
        "the same in bf16": (cast(a, ml_dtypes.bfloat16), cast(b, ml_dtypes.bfloat16)),
        "the same in f16": (cast(a, np.float16), cast(b, np.float16)),
        "the same in fp8 e4m3": (cast(a, fp8), cast(b, fp8)),
        "int8 weights": (cast(eights, np.int8), edited(cast(eights, np.int8), Q, put((0, 0), 77))),
        "int64 2^40+1 to 2^40+2": ({**a, "index": index + 1}, {**a, "index": index + 2}),
        "f64 +1e-12 everywhere": (doubles, {name: array + 1e-12 for name, array in doubles.items()}),
    }


def equal_cases(a: Model) -> dict[str, tuple[Model, Model]]:
    """Pairs that hold the same numbers."""
    hole = edited(a, Q, put((1, 2), np.nan))
    empty = {**a, "empty": np.zeros((0, 4), np.float32)}
    zero = edited(a, NORM, put(0, 0.0))
    return {
        "identical": (a, a),
        "same NaN on both sides": (hole, hole),
        "0.0 to -0.0": (zero, edited(a, NORM, put(0, -0.0))),
        "0-size tensor present": (empty, empty),
    }


def shard(directory: str, model: Model) -> None:
    """Two files and an index."""
    names = list(model)
    weight_map: dict[str, str] = {}
    for number, part in enumerate((names[:10], names[10:]), 1):
        file = f"model-{number:05d}-of-00002.safetensors"
        write(os.path.join(directory, file), {name: model[name] for name in part})
        weight_map.update(dict.fromkeys(part, file))
    with open(os.path.join(directory, "model.safetensors.index.json"), "w", encoding="utf-8") as stream:
        json.dump({"metadata": {}, "weight_map": weight_map}, stream)


def main() -> None:
    directory = sys.argv[1]
    a = base()
    truth: dict[str, str] = {}
    for verdict, cases in (("same", equal_cases(a)), ("differs", changed_cases(a))):
        for name, sides in cases.items():
            truth[name] = "either" if name in ARGUABLE else verdict
            for side, model in zip(("old", "new"), sides, strict=True):
                write(os.path.join(directory, folder(name), side, "model.safetensors"), model)
    metadata, sharded = (os.path.join(directory, name) for name in ("metadata only", "sharded (2 files + index)"))
    truth["metadata only"], truth["sharded (2 files + index)"] = "differs", "same"
    write(os.path.join(metadata, "old", "model.safetensors"), a, {"epoch": "1"})
    write(os.path.join(metadata, "new", "model.safetensors"), a, {"epoch": "2"})
    write(os.path.join(sharded, "old", "model.safetensors"), a)
    shard(os.path.join(sharded, "new"), a)
    print(json.dumps(truth))


def folder(name: str) -> str:
    return name.replace("`", "")


if __name__ == "__main__":
    main()
