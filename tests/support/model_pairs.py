"""Pairs of a small transformer of which it is known what was done, for tests of every analysis (and see ``controls``).

The model has names and proportions of the LLaMA family: 3 layers, hidden size 32, 4 query heads of 8 with 2 key and
value heads (grouped-query), an MLP of 64, 80 words. Values are small random numbers, norms near 1. All is deterministic.

``PAIRS`` holds (old, new) by what was done; training state is among the plain values (``epoch``, ``lr``, ``val_loss``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import save

Arrays = dict[str, np.ndarray[Any, Any]]
Model = dict[str, Any]
"""Arrays, and plain values of training state."""

HIDDEN, HEADS, KV_HEADS, HEAD, MLP, WORDS, LAYERS = 32, 4, 2, 8, 64, 80, 3
EMBEDDING = "model.embed_tokens.weight"
Q0, K0, V0, O0 = (f"model.layers.0.self_attn.{part}_proj.weight" for part in "qkvo")
UP1 = "model.layers.1.mlp.up_proj.weight"
CONFIGURATION = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN, "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS, "intermediate_size": MLP, "vocab_size": WORDS, "num_hidden_layers": LAYERS,
}  # fmt: skip
"""What ``config.json`` beside it would say."""


def transformer(seed: int = 0) -> Arrays:
    """The model."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray[Any, Any]:
        return rng.normal(0, 0.1, shape).astype("f4")

    arrays: Arrays = {EMBEDDING: normal(WORDS, HIDDEN)}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}"
        arrays[f"{prefix}.self_attn.q_proj.weight"] = normal(HEADS * HEAD, HIDDEN)
        arrays[f"{prefix}.self_attn.k_proj.weight"] = normal(KV_HEADS * HEAD, HIDDEN)
        arrays[f"{prefix}.self_attn.v_proj.weight"] = normal(KV_HEADS * HEAD, HIDDEN)
        arrays[f"{prefix}.self_attn.o_proj.weight"] = normal(HIDDEN, HEADS * HEAD)
        arrays[f"{prefix}.mlp.gate_proj.weight"] = normal(MLP, HIDDEN)
        arrays[f"{prefix}.mlp.up_proj.weight"] = normal(MLP, HIDDEN)
        arrays[f"{prefix}.mlp.down_proj.weight"] = normal(HIDDEN, MLP)
        arrays[f"{prefix}.input_layernorm.weight"] = (1 + rng.normal(0, 0.01, HIDDEN)).astype("f4")
    arrays["model.norm.weight"] = (1 + rng.normal(0, 0.01, HIDDEN)).astype("f4")
    arrays["lm_head.weight"] = normal(WORDS, HIDDEN)
    return arrays


def changed(change: Callable[[Arrays], Arrays | None], arrays: Arrays | None = None) -> Arrays:
    """A deep copy with one change made to it in place, or replaced by what the change returns."""
    copy = {name: value.copy() for name, value in (transformer() if arrays is None else arrays).items()}
    return change(copy) or copy


def noised(arrays: Arrays, scale: float = 0.001, only: str = "", seed: int = 1) -> Arrays:
    """Every tensor whose name holds ``only`` with noise: a training step."""
    rng = np.random.default_rng(seed)
    return {
        name: (array + rng.normal(0, scale, array.shape)).astype(array.dtype) if only in name else array
        for name, array in arrays.items()
    }


def cast(arrays: Arrays, dtype: Any = ml_dtypes.bfloat16) -> Arrays:
    """Rounded to another dtype."""
    return {name: array.astype(dtype) for name, array in arrays.items()}


def quantized(arrays: Arrays) -> Arrays:
    """Matrices as int8 codes with one scale a row, under the names that bitsandbytes gives them."""
    made: Arrays = {}
    for name, array in arrays.items():
        if array.ndim != 2 or name == EMBEDDING:
            made[name] = array
            continue
        largest = np.abs(array).max(axis=1, keepdims=True)
        made[name] = np.round(array / largest * 127).astype("i1")
        made[f"{name.removesuffix('.weight')}.SCB"] = largest[:, 0].astype("f4")
    return made


def permuted_heads(arrays: Arrays, order: tuple[int, ...] = (2, 3, 0, 1)) -> None:
    """Heads of layer 0 in another order, with their keys and values: the same function."""
    groups = tuple(dict.fromkeys(head // (HEADS // KV_HEADS) for head in order))
    for name, heads in ((Q0, order), (K0, groups), (V0, groups)):
        arrays[name] = arrays[name].reshape(-1, HEAD, HIDDEN)[list(heads)].reshape(-1, HIDDEN)
    arrays[O0] = arrays[O0].reshape(HIDDEN, HEADS, HEAD)[:, list(order)].reshape(HIDDEN, -1)


def rotated_embedding(arrays: Arrays) -> None:
    """The embedding turned by one orthogonal matrix: all angles between words are as they were."""
    turn, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(HIDDEN, HIDDEN)))
    arrays[EMBEDDING] = (arrays[EMBEDDING] @ turn).astype("f4")


def merged_lora(arrays: Arrays, rank: int = 2) -> None:
    """A low-rank update in the query and value matrices of every layer."""
    rng = np.random.default_rng(6)
    for name in arrays:
        if name.endswith(("q_proj.weight", "v_proj.weight")):
            rows, columns = arrays[name].shape
            update = rng.normal(0, 0.05, (rows, rank)) @ rng.normal(0, 0.2, (rank, columns))
            arrays[name] += update.astype("f4")


def adapter(seed: int = 7, rank: int = 2) -> Arrays:
    """The factors of an adapter alone, as PEFT names them."""
    rng = np.random.default_rng(seed)
    made: Arrays = {}
    for layer in range(LAYERS):
        prefix = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        made[f"{prefix}.lora_A.weight"] = rng.normal(0, 0.1, (rank, HIDDEN)).astype("f4")
        made[f"{prefix}.lora_B.weight"] = rng.normal(0, 0.1, (HIDDEN, rank)).astype("f4")
    return made


def pruned(arrays: Arrays, share: float = 0.5) -> None:
    """The smallest elements of every matrix set to zero."""
    for array in arrays.values():
        if array.ndim == 2:
            array[np.abs(array) < np.quantile(np.abs(array), share)] = 0


def taller(arrays: Arrays, rows: int = 5) -> None:
    """More words, in the embedding and in the head."""
    rng = np.random.default_rng(8)
    for name in (EMBEDDING, "lm_head.weight"):
        arrays[name] = np.concatenate((arrays[name], rng.normal(0, 0.1, (rows, HIDDEN)).astype("f4")))


def trained(arrays: Arrays, **state: Any) -> Model:
    """A model with training state: plain values by name."""
    return {**arrays, **state}


def _put(name: str, value: float) -> Callable[[Arrays], None]:
    def apply(arrays: Arrays) -> None:
        arrays[name].reshape(-1)[3] = value

    return apply


def _tied(arrays: Arrays) -> None:
    """The head made a copy of the embedding."""
    arrays["lm_head.weight"] = arrays[EMBEDDING].copy()


def _zeroed(arrays: Arrays) -> Arrays:
    made = noised(arrays)
    made[UP1] = np.zeros_like(made[UP1])
    return made


def _head(arrays: Arrays) -> None:
    arrays["lm_head.weight"] = arrays["lm_head.weight"][:60]


def _without_last_layer(arrays: Arrays) -> Arrays:
    return {name: array for name, array in arrays.items() if f"layers.{LAYERS - 1}." not in name}


def _pairs() -> dict[str, tuple[Any, Any]]:
    old = transformer()
    before = {"epoch": 3, "lr": 0.001, "val_loss": 1.0, "val_accuracy": 0.8}
    after = {**before, "epoch": 4, "val_loss": 0.8, "val_accuracy": 0.85}
    step = noised(old)
    made: dict[str, Any] = {
        "identity": old,
        "noise": step,
        "scaling": {name: array * np.float32(0.7) for name, array in old.items()},
        "zeroing": changed(_zeroed),
        "pruning": changed(pruned),
        "freezing": noised(old, only="lm_head"),
        "cast": cast(old),
        "quantizing": save(quantized(old)),  # as a file: codes of arrays in memory are only codes
        "NaN appeared": changed(_put(UP1, np.nan), step),
        "permutation": {name: array[::-1].copy() for name, array in old.items()},
        "re-initialised": transformer(seed=9),
        "head resized": changed(_head),
        "vocabulary extended": changed(taller),
        "layers dropped": changed(_without_last_layer),
        "LoRA merged": changed(merged_lora),
        "heads permuted": changed(permuted_heads),
        "embedding rotated": changed(rotated_embedding),
        "head tied": changed(_tied),
    }
    pairs: dict[str, tuple[Any, Any]] = {name: (old, new) for name, new in made.items()}
    pairs["NaN healed"] = (changed(_put(UP1, np.nan)), old)
    pairs["adapter trained"] = (adapter(), noised(adapter()))
    pairs["adapter added"] = (old, {**old, **adapter()})
    pairs["better metric"] = (trained(old, **before), trained(step, **after))
    pairs["learning rate doubled"] = (trained(old, **before), trained(step, **{**after, "lr": 0.002}))
    recorded = {"hyper_parameters": {"num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS}}
    attention = noised(old, 0.02, "layers.1.self_attn.q_proj")
    pairs["attention trained"] = ({**old, **recorded}, {**attention, **recorded})
    pairs["heads permuted, recorded"] = ({**old, **recorded}, {**changed(permuted_heads), **recorded})
    pairs["worse metric"] = (trained(old, **before), trained(step, **{**after, "val_loss": 1.5, "val_accuracy": 0.6}))
    return pairs


PAIRS = _pairs()
"""What was done -> (old, new), as :func:`diffai.compare` takes them. Nothing may change them."""


def _bad() -> dict[str, tuple[Model, Model]]:
    old, nan = transformer(), {name: np.full_like(array, np.nan) for name, array in transformer().items()}
    one = {"w": np.arange(12, dtype="f4").reshape(3, 4)}
    odd: Model = {
        "scalar": np.float32(1.5) * np.ones((), "f4"), "empty.weight": np.zeros((0, 4), "f4"),
        "flags": np.array([True, False]), "ids": np.array([2**62, -5], "i8"), "z": np.array([1 + 2j], "c8"),
        "constant.weight": np.ones((8, 8), "f4"), "zero.weight": np.zeros((8, 8), "f4"),
        "huge.weight": np.full((4, 4), 3e38, "f4"), "line.weight": np.ones((1, 70), "f4"),
        "thin.weight": np.ones((70, 1), "f4"), "conv.weight": np.ones((4, 3, 3, 3), "f4"),
    }  # fmt: skip
    turned: Model = {name: value + 1 if value.dtype.kind == "f" else value for name, value in odd.items()}
    trees: Model = {"trees.threshold": np.linspace(0, 1, 7), "trees.feature": np.arange(7)}
    return {
        "NaN everywhere": (nan, nan),
        "all became NaN": (old, nan),
        "all were NaN": (nan, old),
        "one tensor": (one, {"w": one["w"] + 1}),
        "one equal tensor": (one, one),
        "zero tensors": ({}, {}),
        "from nothing": ({}, old),
        "to nothing": (old, {}),
        "incompatible": (old, {"conv1.weight": np.ones((4, 3, 3, 3), "f4"), "fc.bias": np.zeros(5, "f4")}),
        "odd tensors": (odd, turned),
        "infinities": (one, {"w": np.full((3, 4), np.inf, "f4")}),
        "trees": (trees, {**trees, "trees.threshold": np.linspace(0, 2, 7)}),
        "training state only": ({"epoch": 1, "lr": 0.1}, {"epoch": 2, "lr": 0.1}),
        "strange values": ({**one, "lr": float("nan"), "epoch": "three"}, {**one, "lr": float("inf"), "epoch": None}),
    }


BAD = _bad()
"""Pairs in which an analysis finds little or nothing to work on: none may end in a traceback."""
