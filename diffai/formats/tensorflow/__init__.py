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

from diffai.errors import FormatError, LimitError
from diffai.formats.base import Budget, Limits
from diffai.formats.tensorflow.bundle import BundleCheckpoint, read_bundle
from diffai.model import Checkpoint, Problem
from diffai.sources.base import Source
from diffai.sources.spool import spool

NAME = "tf-checkpoint"


def recognise(head: bytes, size: int, name: str) -> bool:
    """Whether content is an index: the first entry has no key, and a ``BundleHeaderProto`` as its value."""
    if len(head) < 48 or head[:2] != b"\0\0" or head[2] >= 64 or head[3] != 0x08:
        return False
    return b"\x1a" in head[4 : 3 + head[2]]  # the version, which every writer gives


def open_checkpoint(source: Source, limits: Limits) -> Checkpoint:
    """Open an index; values are not read.

    Raises:
        FormatError: with code, tensor and offset (table above); LimitError: the index is too long.

    """
    given = source
    source = spool(source, limits.max_spool)
    try:
        return _opened(source, limits)
    except BaseException:
        if source is not given:
            source.close()
        raise


def check(source: Source, limits: Limits) -> tuple[Problem, ...]:
    """The first structural problem, and each file of values that is not here.

    Raises:
        LimitError: the index is too long to be looked at.

    """
    try:
        checkpoint = _opened(spool(source, limits.max_spool), limits)
    except LimitError:
        raise
    except FormatError as error:
        return (Problem(error.code or "TF01", "error", error.reason, error.tensor, error.offset),)
    checkpoint.release()
    missing = [(shards.name(number), why) for shards in checkpoint.shards for number, why in shards.missing.items()]
    return tuple(Problem("TF06", "error", f"values {name!r} cannot be opened: {why}") for name, why in missing)


def _opened(source: Source, limits: Limits) -> BundleCheckpoint:
    checkpoint = BundleCheckpoint(source, NAME, limits.max_spool)
    place = source.label.rpartition("/")[2].rpartition(":")[2].removesuffix(".index")
    try:
        read_bundle(checkpoint, source, place, Budget(limits, "TF05"), limits.max_spool)
    except FormatError as error:
        checkpoint.release()
        error.format, error.code = error.format or NAME, error.code or "TF01"
        raise
    except BaseException:
        checkpoint.release()
        raise
    rest = checkpoint.shards[0].identity()
    checkpoint.identity = f"{source.identity} {rest}" if source.identity and rest else ""
    return checkpoint
