"""A small language-model-shaped checkpoint and the planted changes that comparison tools get wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

Arrays = dict[str, np.ndarray[Any, Any]]
Q0 = "model.layers.0.self_attn.q_proj.weight"
UP0 = "model.layers.0.mlp.up_proj.weight"


def base() -> Arrays:
    """21 tensors: q, v, up, down and norm of four layers, and an embedding."""
    rng = np.random.default_rng(1)
    arrays: Arrays = {}
    for layer in range(4):
        prefix = f"model.layers.{layer}"
        for name, shape in (
            ("self_attn.q_proj", (32, 32)), ("self_attn.v_proj", (32, 32)),
            ("mlp.up_proj", (64, 32)), ("mlp.down_proj", (32, 64)),
        ):  # fmt: skip
            arrays[f"{prefix}.{name}.weight"] = rng.normal(0, 0.02, shape).astype("f4")
        arrays[f"{prefix}.norm.weight"] = np.ones(32, "f4")
    arrays["model.embed_tokens.weight"] = rng.normal(0, 0.02, (100, 32)).astype("f4")
    return arrays


def changed(change: Callable[[Arrays], Arrays | None], arrays: Arrays | None = None) -> Arrays:
    """A deep copy with one change made to it in place, or replaced by what the change returns."""
    copy = {name: value.copy() for name, value in (arrays or base()).items()}
    return change(copy) or copy


def cast_to(dtype: Any) -> Callable[[Arrays], Arrays]:
    """All tensors rounded to another dtype."""
    return lambda arrays: {name: value.astype(dtype) for name, value in arrays.items()}


def noise(scale: float) -> Callable[[Arrays], Arrays]:
    """A full fine-tune, in whatever dtype the tensors have."""
    rng = np.random.default_rng(2)

    def apply(arrays: Arrays) -> Arrays:
        return {
            name: (value.astype("f8") + rng.normal(0, scale, value.shape)).astype(value.dtype)
            for name, value in arrays.items()
        }

    return apply


def flip_one_bit(arrays: Arrays) -> None:
    """One unit in the last place of one of 27,904 values."""
    arrays[Q0].view("u4")[0, 0] ^= 1


def put(value: float) -> Callable[[Arrays], None]:
    """One value overwritten."""

    def apply(arrays: Arrays) -> None:
        arrays[Q0][0, 0] = value

    return apply


BF16, F16, F8 = ml_dtypes.bfloat16, np.float16, ml_dtypes.float8_e4m3fn
