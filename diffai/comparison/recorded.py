"""What one side says of its training, whether or not it differs: metrics, learning rates, epochs, curves.

A comparison keeps differences; that a loss stayed what it was is none, and yet an answer. So each side carries the
plain values of its training state and metadata, numbers that are kept as tensors of one element among them.
"""

from __future__ import annotations

import struct
from itertools import islice

from diffai.errors import DiffaiError
from diffai.model import Checkpoint, Scalar, TensorSpec

MOST_RECORDED = 10_000
"""Plain values of one side's training state, and of its metadata, that are kept."""
MOST_NUMBERS = 256
"""Tensors of one element of a side that are read for their number."""

_CODES = {"F64": "<d", "F32": "<f", "F16": "<e", "I64": "<q", "I32": "<i", "I16": "<h", "I8": "<b", "U8": "<B",
          "BOOL": "<?"}  # fmt: skip

Recorded = tuple[tuple[str, Scalar], ...]


def recorded(checkpoint: Checkpoint, *, values: bool) -> Recorded:
    """Plain values of the training state by path, numbers that are tensors among them.

    Args:
        checkpoint: one side.
        values: whether bytes of tensors may be read.
    """
    found = dict(islice(checkpoint.training.items(), MOST_RECORDED))
    if values:
        found |= checkpoint.lone_numbers or numbers(checkpoint)
    return tuple(found.items())


def metadata(checkpoint: Checkpoint) -> Recorded:
    """Plain values of the metadata by key."""
    return tuple(islice(checkpoint.metadata.items(), MOST_RECORDED))


def numbers(checkpoint: Checkpoint) -> dict[str, Scalar]:
    """The numbers of training state that are tensors of one element: a loss, a best score, how many steps were done.

    An optimizer keeps its count of steps once for each parameter; that of the first is enough. Of a stream, which would
    have to be kept in a file to be read out of its order, none are.
    """
    found: dict[str, Scalar] = {}
    if not checkpoint.random_access:
        return found
    for name, spec in checkpoint.tensors.items():
        if spec.role != "training" or spec.elements != 1 or spec.values_dtype not in (*_CODES, "BF16"):
            continue
        if ".state." in f".{name}" and not f".{name}".endswith(".state.0.step"):
            continue
        if len(found) == MOST_NUMBERS:
            break
        number = _number(checkpoint, spec)
        if number is not None:
            found[name] = number
    return found


def _number(checkpoint: Checkpoint, spec: TensorSpec) -> Scalar:
    """The one value of a tensor; None where its bytes are not at hand."""
    data = bytearray(spec.nbytes)
    try:
        checkpoint.read_into(spec, 0, memoryview(data))
    except DiffaiError:
        return None
    if spec.values_dtype == "BF16":
        code, data = "<f", bytearray(2) + data
    else:
        code = _CODES[spec.values_dtype]
    number: float | int | bool = struct.unpack(code, data)[0]
    return number
