"""A float matrix stored in fewer bits, in the ways of several libraries, each written out in numpy with what it decodes to."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

Array = np.ndarray[Any, Any]
GROUP = 16
NF4 = np.array([-1.0, -0.6962, -0.5251, -0.3949, -0.2844, -0.1848, -0.0911, 0.0, 0.0796, 0.1609, 0.2461, 0.3379, 0.4407,
                0.5626, 0.7230, 1.0], np.float32)  # fmt: skip


@dataclass(frozen=True)
class Stored:
    """The tensors of one layer, what the configuration says, the logical values, and their dtype in the output."""

    tensors: dict[str, Array]
    decoded: Array
    dtype: str
    config: dict[str, Any] | None = None

    @property
    def bits(self) -> float:
        """Stored bits an element, of what the values are decoded from."""
        parts = [array.nbytes for name, array in self.tensors.items() if not name.endswith(("_shape", "nf4", "_format"))]
        return 8 * sum(parts) / self.decoded.size

    def save(self, folder: Path) -> Path:
        """As a model with its configuration beside it."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({k: np.ascontiguousarray(v) for k, v in self.tensors.items()}, folder / "model.safetensors")
        if self.config is not None:
            (folder / "config.json").write_text(json.dumps({"quantization_config": self.config}))
        return folder / "model.safetensors"


def words(codes: Array, bits: int, axis: int) -> Array:
    """Codes along an axis as 32-bit words, lowest bits first."""
    moved = np.moveaxis(codes, axis, -1).astype(np.uint32)
    moved = moved.reshape(*moved.shape[:-1], -1, 32 // bits)
    packed = (moved << (bits * np.arange(32 // bits, dtype=np.uint32))).sum(axis=-1, dtype=np.uint32)
    return np.moveaxis(packed, -1, axis).view(np.int32)


def int8(weight: Array, reach: float = 1.0) -> Stored:
    """bitsandbytes: a scale a row; ``reach`` below 1 clips."""
    largest = (np.abs(weight).max(axis=1) * reach).astype(np.float32)
    codes = np.clip(np.rint(weight / largest[:, None] * 127), -127, 127).astype(np.int8)
    decoded = codes.astype(np.float32) * (largest / np.float32(127))[:, None]
    return Stored({"l.weight": codes, "l.SCB": largest}, decoded, "I8 scaled")


def fp8(weight: Array) -> Stored:
    """compressed-tensors: E4M3 with a scale a row."""
    scale = (np.abs(weight).max(axis=1, keepdims=True) / 448).astype(np.float32)
    codes = (weight / scale).astype(ml_dtypes.float8_e4m3fn)
    return Stored({"l.weight": codes, "l.weight_scale": scale}, codes.astype(np.float32) * scale, "F8_E4M3 scaled")


def _asymmetric(weight: Array) -> tuple[Array, Array, Array, Array]:
    """Codes of four bits (inputs, outputs), zero points and scales of groups of inputs, and the values."""
    inputs = weight.T.reshape(-1, GROUP, len(weight))
    low, high = np.minimum(inputs.min(axis=1), 0), np.maximum(inputs.max(axis=1), 0)
    scales = ((high - low) / 14).astype(np.float16)  # a step to spare: zero points are whole
    wide = scales.astype(np.float32)[:, None]
    zeros = np.clip(np.rint(-low / scales.astype(np.float32)), 1, 15)
    codes = np.clip(np.rint(inputs / wide) + zeros[:, None], 0, 15)
    decoded = ((codes - zeros[:, None]).astype(np.float32) * wide).reshape(weight.T.shape).T
    return codes.reshape(weight.T.shape), zeros, scales, decoded


def gptq(weight: Array) -> Stored:
    """GPTQ, four bits: packed along the inputs, zero points stored one too low."""
    codes, zeros, scales, decoded = _asymmetric(weight)
    tensors = {"l.qweight": words(codes, 4, 0), "l.qzeros": words(zeros - 1, 4, 1), "l.scales": scales}
    return Stored(tensors, decoded, "GPTQ-4", {"quant_method": "gptq", "bits": 4, "checkpoint_format": "gptq"})


def awq(weight: Array) -> Stored:
    """AWQ, four bits: packed along the outputs, eight in an order of its own."""
    codes, zeros, scales, decoded = _asymmetric(weight)
    order = [0, 2, 4, 6, 1, 3, 5, 7]

    def pack(table: Array) -> Array:
        return words(table.reshape(len(table), -1, 8)[:, :, order].reshape(table.shape), 4, 1)

    tensors = {"l.qweight": pack(codes), "l.qzeros": pack(zeros), "l.scales": scales}
    return Stored(tensors, decoded, "AWQ-4", {"quant_method": "awq", "bits": 4, "version": "gemm"})


def packed4(weight: Array) -> Stored:
    """compressed-tensors, four bits in words, a scale a group."""
    groups = weight.reshape(len(weight), -1, GROUP)
    scales = (np.abs(groups).max(axis=2) / 7).astype(ml_dtypes.bfloat16)
    wide = scales.astype(np.float32)[..., None]
    codes = np.clip(np.rint(groups / wide), -8, 7)
    tensors = {
        "l.weight_packed": words(codes.reshape(weight.shape) + 8, 4, 1), "l.weight_scale": scales,
        "l.weight_shape": np.array(weight.shape, np.int64),
    }  # fmt: skip
    return Stored(tensors, (codes.astype(np.float32) * wide).reshape(weight.shape), "I4 packed")


def nf4(weight: Array) -> Stored:
    """bitsandbytes: the nearest of sixteen values, times the greatest magnitude of a block of 64."""
    blocks = weight.reshape(-1, 64)
    largest = np.abs(blocks).max(axis=1).astype(np.float32)
    codes = np.abs(blocks[..., None] / largest[:, None, None] - NF4).argmin(axis=-1).astype(np.uint8).reshape(-1)
    state = {"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": list(weight.shape)}
    tensors = {
        "l.weight": (codes[::2] << 4 | codes[1::2]).reshape(-1, 1), "l.weight.absmax": largest,
        "l.weight.quant_map": NF4,
        "l.weight.quant_state.bitsandbytes__nf4": np.frombuffer(json.dumps(state).encode(), np.uint8),
    }  # fmt: skip
    return Stored(tensors, (NF4[codes] * np.repeat(largest, 64)).reshape(weight.shape), "NF4")


KINDS: dict[str, Callable[[Array], Stored]] = {
    "int8": int8, "fp8": fp8, "GPTQ": gptq, "AWQ": awq, "compressed-tensors": packed4, "NF4": nf4,
}  # fmt: skip


def gguf_of(tensors: dict[str, Array], kind: str, path: Path) -> dict[str, Array]:
    """A GGUF written by the reference library, its matrices quantized by it; the values it decodes to."""
    from gguf import GGMLQuantizationType, GGUFWriter, quants

    writer = GGUFWriter(path, "llama")
    decoded = {}
    for name, array in tensors.items():
        if array.ndim == 2:
            packed = quants.quantize(array, GGMLQuantizationType[kind])
            writer.add_tensor(name, packed, raw_dtype=GGMLQuantizationType[kind])
            decoded[name] = quants.dequantize(packed, GGMLQuantizationType[kind])
        else:
            writer.add_tensor(name, array)
            decoded[name] = array
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return decoded
