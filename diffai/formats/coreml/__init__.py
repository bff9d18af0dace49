"""Core ML models: ``.mlmodel``, and the one model of an ``.mlpackage`` with its file of weights.

Neural networks, ML programs, tree ensembles, linear models and all others of the specification, and pipelines of them.
Quantized, palettized and sparse weights are compared decoded. Specification: https://apple.github.io/coremltools/mlmodel.

==== ======================================================================================================
code reason
==== ======================================================================================================
CM01 the file is no protobuf message of a model, or is cut off
CM02 the file holds no model of a kind that is known
CM03 weights whose bytes, shape and quantization do not fit one another
CM04 a tree whose nodes do not exist, or lead in a circle
CM05 a place in the file of weights where there are none
CM06 the file of weights leads out of the model's folder, or is not here (``check`` only)
CM07 the model (without weights) costs more to read than the limits allow
==== ======================================================================================================
"""

from __future__ import annotations

from diffai.formats.base import Limits
from diffai.model import Checkpoint, Problem
from diffai.sources.base import Source

NAME = "coreml"
_NEWEST = 30


def recognise(head: bytes, size: int, name: str) -> bool:
    """Whether content is a model: a version, then a description that begins with the name of an input."""
    if len(head) < 8 or head[0] != 0x08 or not 1 <= head[1] <= _NEWEST or head[2] != 0x12:
        return False
    if name.lower().endswith(".mlmodel"):
        return True
    at = _behind(head, 3)
    if head[at : at + 1] != b"\x0a":
        return False
    at = _behind(head, at + 1)
    length = head[at + 1] if at + 1 < len(head) else 0
    label, after = head[at + 2 : at + 2 + length], head[at + 2 + length : at + 3 + length]
    return head[at : at + 1] == b"\x0a" and label.decode("latin-1").isprintable() and after in (b"\x12", b"\x1a")


def _behind(head: bytes, at: int) -> int:
    """Where a base-128 number that begins at a byte ends."""
    stop = min(at + 10, len(head))
    while at < stop and head[at] & 0x80:
        at += 1
    return at + 1


def open_checkpoint(source: Source, limits: Limits) -> Checkpoint:
    """Open; raises as all readers. The reader is loaded only now: every ONNX file is asked about first."""
    from diffai.formats.coreml import model

    return model.open_checkpoint(source, limits)


def check(source: Source, limits: Limits) -> tuple[Problem, ...]:
    """All structural problems; raises as all readers."""
    from diffai.formats.coreml import model

    return model.check(source, limits)
