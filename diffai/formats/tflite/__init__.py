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

from diffai.errors import FormatError, LimitError
from diffai.formats.base import Limits
from diffai.formats.tflite.model import read_model
from diffai.model import Checkpoint, Problem
from diffai.sources.base import Source
from diffai.sources.spool import spool

NAME = "tflite"


def recognise(head: bytes, size: int, name: str) -> bool:
    """Whether content is a TensorFlow Lite model: the file identifier decides."""
    return head[4:8] == b"TFL3"


def open_checkpoint(source: Source, limits: Limits) -> Checkpoint:
    """Open a model; the graph is read, tensors are not.

    Raises:
        FormatError: with code, tensor and offset (table above); LimitError: the graph is too long.

    """
    given = source
    source = spool(source, limits.max_spool)
    try:
        return read_model(source, limits)
    except BaseException:
        if source is not given:
            source.close()
        raise


def check(source: Source, limits: Limits) -> tuple[Problem, ...]:
    """The first structural problem.

    Raises:
        LimitError: the graph is too long to be looked at.

    """
    source = spool(source, limits.max_spool)
    try:
        read_model(source, limits)
    except LimitError:
        raise
    except FormatError as error:
        return (Problem(error.code or "TL01", "error", error.reason, error.tensor, error.offset),)
    return ()
