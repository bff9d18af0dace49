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
    """A pair of models and what is true of it, analysis by analysis.

    Attributes:
        change: makes the new side of :func:`base`.
        kinds: words of the change kind, the leading one last.
        start: makes the old side, where that is not the base itself.
        looks: what is to be looked at first.
        anomalies: (type, tensor) of each.
        status: where training stands; None = this is no step of training.
        risk: its level.
        ready: whether the new side is fit to be deployed.
        broken: rules of the built-in policy.
        alert: whether the alarm rings.
        quantized: tensors that became codes.
        tuned: what moved while the rest was left alone; () = nothing was.
    """

    change: Callable[[Arrays], Any]
    kinds: tuple[str, ...]
    start: Callable[[Arrays], Arrays] = dict
    looks: tuple[str, ...] = ()
    anomalies: tuple[tuple[str, str], ...] = ()
    status: str | None = None
    risk: str = "low"
    ready: bool = True
    broken: tuple[str, ...] = ()
    alert: bool = False
    quantized: int = 0
    tuned: tuple[str, ...] = ()

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


def _factor(value: float) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {name: array * np.float32(value) for name, array in arrays.items()}


def _half(arrays: Arrays) -> Arrays:
    return {name: array.astype("f2") for name, array in arrays.items()}


def _prefixed(arrays: Arrays) -> Arrays:
    return {f"model.{name}": array for name, array in arrays.items()}


def _wider_head(arrays: Arrays) -> Arrays:
    return {**arrays, "head.weight": np.random.default_rng(4).normal(0, 0.1, (12, 16)).astype("f4")}


_NAN = {"risk": "high", "ready": False, "broken": ("forbid_nan",), "alert": True, "status": "diverging",
        "looks": ("head.weight",), "anomalies": (("non-finite", "head.weight"),)}  # fmt: skip
_NO_LONGER = {"risk": "high", "ready": False, "alert": True}  # the interface is another one
_RESHAPED = {**_NO_LONGER, "broken": ("structure.reshaped",)}
_RENAMED = {**_NO_LONGER, "broken": ("structure.renamed",)}
_MATRICES = ("embed.weight", "head.weight", *(f"layers.{n}.{part}.weight" for n in range(LAYERS) for part in ("attn", "mlp")))

CONTROLS: dict[str, Control] = {
    "identity": Control(dict, ("identical",)),
    "noise": Control(noise, ("training step",), status="stable"),
    "scaling": Control(_factor(0.7), ("scaled",)),
    "negation": Control(_factor(-1), ("scaled",)),
    "zeroing": Control(
        zeroed, ("training step",), status="stable", risk="medium", looks=("layers.2.mlp.weight",),
        anomalies=(("distribution shift", "layers.2.mlp.weight"), ("dead units", "layers.2.mlp.weight")),
    ),
    "pruning": Control(pruned, ("pruned",)),
    "pruning and training": Control(lambda a: pruned(noise(a)), ("pruned",)),
    "freezing": Control(lambda a: noise(a, only="head"), ("fine-tune",), status="stable", tuned=("head",)),
    "cast": Control(lambda a: {n: v.astype(ml_dtypes.bfloat16) for n, v in a.items()}, ("cast",)),
    "lossless cast": Control(lambda a: {n: v.astype("f8") for n, v in a.items()}, ("cast",)),
    "cast by truncation": Control(truncated, ("cast with loss",)),
    "quantizing": Control(quantized, ("quantized",), quantized=14),
    "NaN appeared": Control(put("head.weight", np.nan), ("diverged", "fine-tune"), tuned=("head",), **_NAN),
    "NaN in training": Control(lambda a: put("head.weight", np.nan)(noise(a)), ("diverged", "training step"), **_NAN),
    "NaN healed": Control(
        dict, ("fine-tune",), put("head.weight", np.nan), status="small step", tuned=("head",)
    ),
    "rows permuted": Control(
        lambda a: {n: v[::-1].copy() for n, v in a.items()}, ("other weights",), risk="medium"
    ),
    "re-initialised": Control(
        fresh, ("other weights",), risk="medium", anomalies=(("distribution shift", "embed.weight"),)
    ),
    "head resized": Control(_wider_head, ("resized",), **_RESHAPED),
    "vocabulary extended": Control(taller, ("resized",), **_RESHAPED),
    "layers dropped": Control(without_layers, ("resized",), risk="medium", broken=("structure.removed",)),
    "adapter": Control(adapter, ("adapter",), risk="medium", broken=("structure.added",)),
    "LoRA merged": Control(merged, ("fine-tune",), status="stable", tuned=("layers.[0-5].attn",)),
    "LoRA merged, factors gone": Control(
        merged, ("adapter", "fine-tune"), lambda a: adapter(a, 0.1), status="stable", risk="medium",
        broken=("structure.removed",), tuned=("layers.[0-5].attn",),
    ),
    "prefix": Control(_prefixed, ("renamed",), **_RENAMED),
    "prefix and training": Control(
        lambda a: _prefixed(noise(a)), ("renamed", "training step"), status="stable", **_RENAMED
    ),
    "prefix and freezing": Control(
        lambda a: _prefixed(noise(a, only="head")), ("renamed", "fine-tune"), status="stable",
        tuned=("model.head",), **_RENAMED,
    ),
    "cast and training": Control(lambda a: _half(noise(a)), ("cast", "training step"), status="stable"),
    "cast and freezing": Control(
        lambda a: _half(noise(a, only="head")), ("cast", "fine-tune"), status="stable", tuned=("head",)
    ),
    "quantizing and training": Control(
        lambda a: quantized(noise(a, 0.5)), ("quantized", "other weights"), quantized=14, risk="medium",
        looks=("embed.weight",),
        anomalies=(("explosion", "embed.weight"), *(("distribution shift", name) for name in _MATRICES)),
    ),
    "cast and longer vocabulary": Control(lambda a: _half(taller(a)), ("resized", "cast"), **_RESHAPED),
    "far": Control(
        lambda a: noise(a, 0.09), ("changed",), status="stable", risk="medium",
        anomalies=(("distribution shift", "embed.weight"),),
    ),
}  # fmt: skip
