"""What torch loads and what diffai reads of one file, side by side."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from loaders import Loader
from torch_files import opened, values

from diffai.errors import DiffaiError
from diffai.model import TensorSpec

_TORCH_NAMES = {
    "F32": "float32", "F64": "float64", "F16": "float16", "BF16": "bfloat16", "I8": "int8", "U8": "uint8", "I16": "int16",
    "I32": "int32", "I64": "int64", "BOOL": "bool", "C64": "complex64", "C128": "complex128", "U16": "uint16",
    "U32": "uint32", "U64": "uint64", "C32": "complex32",
}  # fmt: skip


def ours(data: bytes) -> dict[str, list[Any]] | None:
    """Dtype, shape and digest of each tensor that diffai reads; None when it refuses."""
    try:
        checkpoint = opened(data)
    except DiffaiError:
        return None
    try:
        return {name: _facts(spec, values(checkpoint, name)) for name, spec in checkpoint.tensors.items()}
    except DiffaiError:
        return None
    finally:
        checkpoint.close()


def _facts(spec: TensorSpec, data: bytes) -> list[Any]:
    return [_TORCH_NAMES.get(spec.dtype, spec.dtype), list(spec.shape), hashlib.sha256(data).hexdigest()]


def verdict(torch: Loader, data: bytes) -> str:
    """``refused`` (by us), ``torch refuses``, ``equal``, or ``wrong: ...``."""
    read = ours(data)
    if read is None:
        return "refused"
    loaded = torch(data)
    if "error" in loaded:
        return "torch refuses"
    return _compared(read, loaded)


def _compared(read: Mapping[str, list[Any]], loaded: Mapping[str, Any]) -> str:
    if loaded["flat"] is not None:
        for name, facts in loaded["flat"].items():
            if read.get(name) != facts and facts not in read.values():
                return f"wrong: torch has {name}: {facts[:2]}, diffai {read.get(name, ['none', ''])[:2]}"
    seen = {str(facts) for facts in loaded["tensors"]}
    mine = {str(facts) for facts in read.values()}
    if not seen <= mine:
        return "wrong: torch has a tensor that diffai does not show"
    return "equal"
