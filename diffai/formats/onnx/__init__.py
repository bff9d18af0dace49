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

from diffai.formats.onnx.model import OnnxCheckpoint, read_model
from diffai.formats.stored import reader

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


open_checkpoint, check = reader(OnnxCheckpoint, read_model, "ON01", missing="ON06")
