"""What the files beside a model say of it: the configuration of its quantization."""

from __future__ import annotations

from diffai.errors import SourceError
from diffai.formats.quantized import configuration_of, quantized
from diffai.model import Checkpoint
from diffai.sources.base import Source
from diffai.sources.directory import Directory

_MOST = 1 << 20  # bytes of a configuration


def read_beside(found: Source | Directory, name: str) -> bytes | None:
    """A small file in the folder of a model; None where it is not there, not readable from here, or large."""
    try:
        source = found.open(name) if isinstance(found, Directory) else found.sibling(name)
    except SourceError:
        return None
    try:
        return source.read(0, source.size) if source.size <= _MOST else None
    except SourceError:
        return None
    finally:
        source.close()


def logical(checkpoint: Checkpoint, found: Source | Directory) -> Checkpoint:
    """The checkpoint with its quantized tensors as the logical ones, by the configuration beside it.

    Where a configuration decided, it is part of the identity: other zero points are other values.

    Raises:
        SourceError: what describes a tensor cannot be read.

    """
    configuration = configuration_of(lambda name: read_beside(found, name))
    made = quantized(checkpoint, configuration)
    if made is not checkpoint and configuration.method:
        identity = found.identity if checkpoint.identity is None else checkpoint.identity
        made.identity = f"{identity} {configuration.text}" if identity else ""
    return made
