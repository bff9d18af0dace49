"""A checkpoint over tensors that are already in memory: numpy arrays and torch tensors of a live model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from diffai.errors import FormatError
from diffai.model import Checkpoint, Scalar, TensorSpec

FORMAT = "arrays in memory"

_BY_NAME = {
    "bool": "BOOL", "int8": "I8", "uint8": "U8", "int16": "I16", "uint16": "U16", "int32": "I32", "uint32": "U32",
    "int64": "I64", "uint64": "U64", "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "float8_e8m0fnu": "F8_E8M0",
    "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "complex32": "C32", "complex64": "C64", "complex128": "C128",
}  # fmt: skip


class ArrayCheckpoint(Checkpoint):
    """Tensors of a mapping, nested mappings flattened with dots.

    Values may be numpy arrays and scalars, torch tensors and parameters; numbers, strings, booleans and None become
    training state. Tensors are read when compared, never copied as a whole unless they are not contiguous.

    Raises:
        FormatError: a value is of another kind, or of a dtype without a name; the text names the key.

    """

    format = FORMAT
    not_expressible = frozenset(("metadata", "classes", "graph", "requires_grad"))

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._arrays: dict[str, Any] = {}
        self._scalars: dict[str, Scalar] = {}
        self._specs: dict[str, TensorSpec] = {}
        self.training, self.tensors = self._scalars, self._specs
        self._seen: dict[object, str] = {}
        pending = [("", values)]
        while pending:
            prefix, mapping = pending.pop()
            for key, value in mapping.items():
                name = f"{prefix}{key}"
                if isinstance(value, Mapping):
                    pending.append((f"{name}.", value))
                else:
                    self._add(name, value)

    def _add(self, name: str, value: Any) -> None:
        if value is None or (isinstance(value, (str, bool, int, float)) and not isinstance(value, np.generic)):
            self._scalars[name] = value
            return
        if isinstance(value, np.generic):
            value = np.asarray(value)
        kind = getattr(value, "dtype", "")  # a numpy dtype's name leaves the byte order out
        dtype = _BY_NAME.get(str(getattr(kind, "name", kind)).removeprefix("torch."))
        if not isinstance(value, np.ndarray) and not hasattr(value, "data_ptr"):
            reason = f"{type(value).__name__} is no tensor (numpy array or torch tensor expected)"
            raise FormatError(reason, tensor=name, format=FORMAT)
        if dtype is None:
            raise FormatError(f"dtype {getattr(value, 'dtype', '?')} is not supported", tensor=name, format=FORMAT)
        shape = tuple(int(n) for n in value.shape)
        array = value if isinstance(value, np.ndarray) else value.detach()
        key = _storage_key(array)
        tied = self._seen.setdefault(key, name) if key else name
        nbytes = array.nbytes if isinstance(array, np.ndarray) else array.numel() * array.element_size()
        self._arrays[name] = array
        self._specs[name] = TensorSpec(name, dtype, shape, int(nbytes), alias_of="" if tied == name else tied)

    def read_into(self, spec: TensorSpec, offset: int, buffer: memoryview) -> None:
        """Copy a block of logical bytes."""
        data = self._bytes(spec.name)
        buffer[:] = memoryview(data[offset : offset + len(buffer)])  # type: ignore[arg-type]

    def _bytes(self, name: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The tensor's row-major little-endian bytes; a tensor that is not so stored is converted once and kept."""
        array = self._arrays[name]
        if not isinstance(array, np.ndarray):
            array = _torch_bytes(array)
        elif not array.flags.c_contiguous or array.dtype.byteorder == ">":
            array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        self._arrays[name] = array
        flat: np.ndarray[Any, np.dtype[np.uint8]] = array.reshape(-1).view(np.uint8)
        return flat

    def read_file_into(self, file: int, offset: int, buffer: memoryview) -> None:
        """There is no file; no spec has an offset."""
        raise AssertionError("tensors in memory have no file")

    def close(self) -> None:
        """Let go of the tensors."""
        self._arrays.clear()


def _storage_key(array: Any) -> object:
    """What two tied tensors have in common; None for empty ones."""
    if isinstance(array, np.ndarray):
        return (array.__array_interface__["data"][0], array.shape, array.strides) if array.size else None
    return (array.data_ptr(), tuple(array.shape), tuple(array.stride())) if array.numel() else None


def _torch_bytes(tensor: Any) -> np.ndarray[Any, Any]:
    import torch

    flat = tensor.cpu().contiguous().reshape(-1)
    if tensor.is_conj() or tensor.is_neg():
        flat = flat.resolve_conj().resolve_neg()
    return flat.view(torch.uint8).numpy()  # type: ignore[no-any-return]
