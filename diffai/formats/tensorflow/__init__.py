"""TensorFlow's checkpoints: an ``.index`` (a table of names) and the files ``.data-i-of-n`` beside it, with the values.

Nothing of TensorFlow is needed. Slots of optimizers and counters are training state; names of objects are shown without
``/.ATTRIBUTES/VARIABLE_VALUE``.

==== ======================================================================================================
code reason
==== ======================================================================================================
TF01 the index is no table, is cut off or compressed
TF02 the index names no file of values
TF03 a tensor's shape, place or number of bytes makes no sense
TF04 a tensor is stored in slices of which one is missing
TF05 the index, or a tensor of text, is longer than the limits allow
TF06 a file of values is not here (``check`` only)
==== ======================================================================================================
"""

from __future__ import annotations

from functools import partial

from diffai.formats.base import Budget, Limits
from diffai.formats.stored import reader
from diffai.formats.tensorflow.bundle import BundleCheckpoint, read_bundle

NAME = "tf-checkpoint"


def recognise(head: bytes, size: int, name: str) -> bool:
    """Whether content is an index: the first entry has no key, and a ``BundleHeaderProto`` as its value."""
    if len(head) < 48 or head[:2] != b"\0\0" or head[2] >= 64 or head[3] != 0x08:
        return False
    return b"\x1a" in head[4 : 3 + head[2]]  # the version, which every writer gives


def _read(checkpoint: BundleCheckpoint, limits: Limits) -> None:
    source = checkpoint.source
    place = source.label.rpartition("/")[2].rpartition(":")[2].removesuffix(".index")
    read_bundle(checkpoint, source, place, Budget(limits, "TF05"))


open_checkpoint, check = reader(partial(BundleCheckpoint, NAME), _read, "TF01", missing="TF06")
