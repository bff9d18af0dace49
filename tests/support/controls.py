"""Planted controls: a small model, one known change made to it, and beside it the facts that are true of that change.

Every analysis is run over every control: it says what is written here, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

Arrays = dict[str, np.ndarray[Any, Any]]
LAYERS = 6


def base() -> Arrays:
    """27 tensors: an embedding, six layers of attention, feed-forward and norm, a buffer and a head."""
    rng = np.random.default_rng(0)
    arrays: Arrays = {"embed.weight": rng.normal(0, 0.02, (50, 16)).astype("f4")}
    for layer in range(LAYERS):
        prefix = f"layers.{layer}"
        arrays[f"{prefix}.attn.weight"] = rng.normal(0, 0.1, (16, 16)).astype("f4")
        arrays[f"{prefix}.mlp.weight"] = rng.normal(0, 0.1, (32, 16)).astype("f4")
        arrays[f"{prefix}.mlp.bias"] = rng.normal(0, 0.1, 32).astype("f4")
        arrays[f"{prefix}.norm.weight"] = (1 + rng.normal(0, 0.01, 16)).astype("f4")
    arrays["bn.running_var"] = np.ones(16, "f4")
    arrays["head.weight"] = rng.normal(0, 0.1, (10, 16)).astype("f4")
    return arrays


def noise(arrays: Arrays, scale: float = 0.001, only: str = "") -> Arrays:
    """Every tensor whose name starts with ``only`` moved by normal noise."""
    rng = np.random.default_rng(1)
    return {
        name: (array + rng.normal(0, scale, array.shape)).astype(array.dtype) if name.startswith(only) else array
        for name, array in arrays.items()
    }


def fresh(arrays: Arrays) -> Arrays:
    """All but the norms drawn anew."""
    rng = np.random.default_rng(2)
    return {
        name: array if "norm" in name or "bn" in name else rng.normal(0, 0.1, array.shape).astype("f4")
        for name, array in arrays.items()
    }


def pruned(arrays: Arrays) -> Arrays:
    """The smallest two fifths of every matrix zeroed."""
    made = {}
    for name, array in arrays.items():
        made[name] = array.copy()
        if array.ndim == 2:
            made[name][np.abs(array) < np.quantile(np.abs(array), 0.4)] = 0
    return made


def put(name: str, value: float, at: int = 3) -> Callable[[Arrays], Arrays]:
    """One value overwritten."""

    def apply(arrays: Arrays) -> Arrays:
        made = {key: array.copy() for key, array in arrays.items()}
        made[name].reshape(-1)[at] = value
        return made

    return apply


def zeroed(arrays: Arrays) -> Arrays:
    """A training step that leaves nothing of one tensor."""
    return {**noise(arrays), "layers.2.mlp.weight": np.zeros((32, 16), "f4")}


def taller(arrays: Arrays) -> Arrays:
    """Seven more rows of the vocabulary."""
    extra = np.random.default_rng(3).normal(0, 0.02, (7, 16)).astype("f4")
    return {**arrays, "embed.weight": np.concatenate((arrays["embed.weight"], extra))}


def without_layers(arrays: Arrays) -> Arrays:
    """The last two layers dropped."""
    return {name: array for name, array in arrays.items() if not name.startswith(("layers.5.", "layers.4."))}


def adapter(arrays: Arrays, scale: float = 1.0) -> Arrays:
    """Low-rank factors of rank two beside every attention matrix."""
    made = dict(arrays)
    for layer in range(LAYERS):
        for half, shape in (("lora_A", (2, 16)), ("lora_B", (16, 2))):
            rng = np.random.default_rng(layer)
            made[f"layers.{layer}.attn.{half}.weight"] = (scale * rng.normal(size=shape)).astype("f4")
    return made


def merged(arrays: Arrays) -> Arrays:
    """The same factors added to their matrices, as merging an adapter does."""
    with_factors, made = adapter(arrays, 0.1), dict(arrays)
    for layer in range(LAYERS):
        a, b = (with_factors[f"layers.{layer}.attn.lora_{half}.weight"] for half in "AB")
        made[f"layers.{layer}.attn.weight"] = arrays[f"layers.{layer}.attn.weight"] + b @ a
    return made


def truncated(arrays: Arrays) -> Arrays:
    """Cast to BF16 by cutting the lower bits off, as fast converters do: within one step, but not the nearest."""
    return {
        name: ((array.view("u4") >> 16).astype("u2")).view(ml_dtypes.bfloat16) for name, array in arrays.items()
    }


def quantized(arrays: Arrays) -> Any:
    """Every matrix as eight-bit codes of torch, which have a scale of their own."""
    import torch

    made = {}
    for name, array in arrays.items():
        tensor = torch.from_numpy(array.copy())
        step = float(np.abs(array).max()) / 127
        made[name] = torch.quantize_per_tensor(tensor, step, 0, torch.qint8) if array.ndim == 2 else tensor
    return made


@dataclass(frozen=True)
class Control:
    """A pair of models and what is true of it.

    Attributes:
        change: makes the new side of :func:`base`.
        kinds: words of the change kind, the leading one last.
        start: makes the old side, where that is not the base itself.
    """

    change: Callable[[Arrays], Any]
    kinds: tuple[str, ...]
    start: Callable[[Arrays], Arrays] = dict

    def sides(self, folder: Path) -> tuple[Any, Any]:
        """Both sides as :func:`diffai.compare` takes them; what only a file can hold is written to ``folder``."""
        sides = []
        for number, value in enumerate((self.start(base()), self.change(base()))):
            if all(isinstance(item, np.ndarray) for item in value.values()):
                sides.append(value)
                continue
            import torch

            path = folder / f"side{number}.pt"
            torch.save(value, path)
            sides.append(str(path))
        return sides[0], sides[1]


CONTROLS: dict[str, Control] = {
    "identity": Control(dict, ("identical",)),
    "noise": Control(noise, ("training step",)),
    "scaling": Control(lambda a: {n: v * np.float32(0.7) for n, v in a.items()}, ("scaled",)),
    "negation": Control(lambda a: {n: -v for n, v in a.items()}, ("scaled",)),
    "zeroing": Control(zeroed, ("training step",)),
    "pruning": Control(pruned, ("pruned",)),
    "pruning and training": Control(lambda a: pruned(noise(a)), ("pruned",)),
    "freezing": Control(lambda a: noise(a, only="head"), ("fine-tune",)),
    "cast": Control(lambda a: {n: v.astype(ml_dtypes.bfloat16) for n, v in a.items()}, ("cast",)),
    "lossless cast": Control(lambda a: {n: v.astype("f8") for n, v in a.items()}, ("cast",)),
    "cast by truncation": Control(truncated, ("cast with loss",)),
    "quantizing": Control(quantized, ("quantized",)),
    "NaN appeared": Control(put("head.weight", np.nan), ("diverged", "fine-tune")),
    "NaN in training": Control(lambda a: put("head.weight", np.nan)(noise(a)), ("diverged", "training step")),
    "NaN healed": Control(dict, ("fine-tune",), put("head.weight", np.nan)),
    "rows permuted": Control(lambda a: {n: v[::-1].copy() for n, v in a.items()}, ("other weights",)),
    "re-initialised": Control(fresh, ("other weights",)),
    "head resized": Control(
        lambda a: {**a, "head.weight": np.random.default_rng(4).normal(0, 0.1, (12, 16)).astype("f4")}, ("resized",)
    ),
    "vocabulary extended": Control(taller, ("resized",)),
    "layers dropped": Control(without_layers, ("resized",)),
    "adapter": Control(adapter, ("adapter",)),
    "LoRA merged": Control(merged, ("fine-tune",)),
    "LoRA merged, factors gone": Control(merged, ("adapter", "fine-tune"), lambda a: adapter(a, 0.1)),
    "prefix": Control(lambda a: {f"model.{n}": v for n, v in a.items()}, ("renamed",)),
    "prefix and training": Control(
        lambda a: {f"model.{n}": v for n, v in noise(a).items()}, ("renamed", "training step")
    ),
    "prefix and freezing": Control(
        lambda a: {f"model.{n}": v for n, v in noise(a, only="head").items()}, ("renamed", "fine-tune")
    ),
    "cast and training": Control(lambda a: {n: v.astype("f2") for n, v in noise(a).items()}, ("cast", "training step")),
    "cast and freezing": Control(
        lambda a: {n: v.astype("f2") for n, v in noise(a, only="head").items()}, ("cast", "fine-tune")
    ),
    "quantizing and training": Control(lambda a: quantized(noise(a, 0.5)), ("quantized", "other weights")),
    "cast and longer vocabulary": Control(
        lambda a: {n: v.astype("f2") for n, v in taller(a).items()}, ("resized", "cast")
    ),
    "far": Control(lambda a: noise(a, 0.09), ("changed",)),
}
