"""ONNX models: initializers and every other constant of the graph, and what the graph computes.

Read from the protobuf wire; nothing of a model is executed and the ``onnx`` library is not needed. Specification:
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3 (IR version 13).

==== ======================================================================================================
code reason
==== ======================================================================================================
ON01 the file is no protobuf message, or is cut off
ON02 the file holds no graph
ON03 a tensor has no element type, or one that is not known
ON04 a tensor's values are in no field, in several, or are of another number than its shape needs
ON05 a tensor's name stands twice
ON06 external data: the place leads out of the model's folder, or the file is not here (``check`` only)
ON07 external data: offset or length lie outside the file
ON08 graphs are nested too deeply
ON09 the graph (without tensors) is longer than ``diffai.maxHeader``
==== ======================================================================================================
"""

from __future__ import annotations

from diffai.errors import FormatError, LimitError
from diffai.formats.base import Limits
from diffai.formats.onnx.model import OnnxCheckpoint, read_model
from diffai.model import Checkpoint, Problem
from diffai.sources.base import Source
from diffai.sources.spool import spool

NAME = "onnx"


def recognise(head: bytes, size: int, name: str) -> bool:
    """Whether content is ONNX: a small IR version first, then fields of a ``ModelProto``.

    Core ML and TensorFlow's SavedModel also begin with a version in field 1; their field 2 is a message, where ONNX
    has the producer's name, and they have no graph in field 7.
    """
    if len(head) < 4 or head[0] != 0x08 or not 1 <= head[1] <= 30:
        return False
    if name.lower().endswith(".onnx") or head[2] == 0x3A:
        return True
    if head[2] != 0x12 or len(head) < 6:
        return False
    first = 3
    while first < 12 and head[first] & 0x80:
        first += 1
    producer = head[first + 1 : first + 1 + min(head[first], 16)]
    return producer.isascii() and producer[:1].isalpha()


def open_checkpoint(source: Source, limits: Limits) -> Checkpoint:
    """Open a model; the graph is read, tensors are not.

    Raises:
        FormatError: with code, tensor and offset (table above); LimitError: the graph is too long.

    """
    given = source
    source = spool(source, limits.max_spool)
    try:
        checkpoint = OnnxCheckpoint(source, limits)
        try:
            read_model(checkpoint, limits)
        except BaseException:
            checkpoint.release()
            raise
        return checkpoint
    except FormatError as error:
        error.format = error.format or NAME
        error.code = error.code or "ON01"
        if source is not given:
            source.close()
        raise


def check(source: Source, limits: Limits) -> tuple[Problem, ...]:
    """The first structural problem, and what is odd about external data.

    Raises:
        LimitError: the graph is too long to be looked at.

    """
    try:
        checkpoint = OnnxCheckpoint(spool(source, limits.max_spool), limits)
        try:
            read_model(checkpoint, limits)
        finally:
            checkpoint.release()
    except LimitError:
        raise
    except FormatError as error:
        return (Problem(error.code or "ON01", "error", error.reason, error.tensor, error.offset),)
    missing = checkpoint.external.missing.items()
    return tuple(Problem("ON06", "error", f"external data {name!r} cannot be opened: {why}") for name, why in missing)
