"""Write safetensors files by hand: valid ones, and every kind of wrong one."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

_BITS = {
    "BOOL": 8, "I8": 8, "U8": 8, "I16": 16, "U16": 16, "I32": 32, "U32": 32, "I64": 64, "U64": 64,
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4, "C64": 64,
}  # fmt: skip

DTYPES = tuple(_BITS)


def nbytes(dtype: str, shape: Sequence[int]) -> int:
    """Bytes of a tensor, as the specification has it."""
    count = 1
    for size in shape:
        count *= size
    return count * _BITS[dtype] // 8


def raw(header: bytes | Mapping[str, Any], data: bytes = b"", *, length: int | None = None) -> bytes:
    """A file of exactly this header and data; ``length`` lies about the header's length."""
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype: str, shape: Sequence[int], begin: int, end: int) -> dict[str, Any]:
    """One tensor's header entry."""
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def build(
    tensors: Mapping[str, tuple[str, Sequence[int], bytes]],
    metadata: Mapping[str, str] | None = None,
    *,
    pad: int = 8,
) -> bytes:
    """A valid file: ``{name: (dtype, shape, bytes)}`` in the given order, header padded to ``pad`` bytes."""
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    chunks, at = [], 0
    for name, (dtype, shape, values) in tensors.items():
        assert len(values) == nbytes(dtype, shape), name
        header[name] = entry(dtype, shape, at, at + len(values))
        chunks.append(values)
        at += len(values)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
    return raw(text + b" " * (-len(text) % pad), b"".join(chunks))


def simple(seed: int = 0, names: Sequence[str] = ("a.weight", "a.bias")) -> bytes:
    """A small valid F32 model whose values depend on ``seed``."""
    tensors = {}
    for i, name in enumerate(names):
        values = struct.pack("<6f", *(seed + i + k / 8 for k in range(6)))
        tensors[name] = ("F32", (2, 3), values)
    return build(tensors)
