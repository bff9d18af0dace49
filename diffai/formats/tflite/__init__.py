"""TensorFlow Lite models: the constants of every subgraph, decoded where they are quantized, and the graph.

Read from the FlatBuffer; nothing of a model is executed and TensorFlow is not needed. Converters give tensors new names
each time, so that a comparison mostly pairs them by their values.

==== ======================================================================================================
code reason
==== ======================================================================================================
TL01 the file is no FlatBuffer of a model, or is cut off
TL02 a number in it names a buffer, tensor or operator that is not there
TL03 a tensor's values do not fit its shape, or lie outside the file
TL04 the graph costs more to read than the limits allow
==== ======================================================================================================
"""

from __future__ import annotations

from diffai.formats.stored import reader
from diffai.formats.tflite.model import TfliteCheckpoint, read_model

NAME = "tflite"


def recognise(head: bytes, size: int, name: str) -> bool:
    """Whether content is a TensorFlow Lite model: the file identifier decides."""
    return head[4:8] == b"TFL3"


open_checkpoint, check = reader(TfliteCheckpoint, read_model, "TL01")
