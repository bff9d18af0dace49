"""From what a caller names (a path, REV:path, bytes, a dictionary of tensors) to an opened side or its state."""

from __future__ import annotations

import os
from collections.abc import Mapping

from diffai.errors import DiffaiError, FormatError, LimitError, SourceError, UnsupportedFormatError
from diffai.formats.base import Limits
from diffai.frozen import frozen, replace
from diffai.model import Checkpoint, NotAModel, NotRead, State, Unreadable
from diffai.sources.base import Source
from diffai.stores.store import Opened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from diffai.sources.directory import Directory
    from diffai.stores.dvc.items import Where

_BESIDE_CODES = (".qweight", ".weight_packed", ".absmax", ".SCB", "_blocks", "_scale", "_scale_inv")
"""Ends of names that only quantized models have; what they mean is looked at where there is one."""

Model = str | os.PathLike[str] | bytes | bytearray | memoryview | Mapping[str, object] | Checkpoint
"""What :func:`open_input` accepts; an object with ``state_dict()`` is taken as a live model."""


@frozen
class Input:
    """One side as it was opened: exactly one of ``checkpoint`` and ``state`` is set.

    ``identity``: equal identities mean equal bytes; "" = unknown. ``path``: a real file that holds exactly the bytes of
    a side that could not be read; "" = there is none. ``found``: where it was read, for the files beside it, as long as
    the checkpoint is open. ``where``: in which place of DVC's the bytes were found, "" = not looked for there;
    ``header_only``: values may not be read, because they are far away.
    """

    label: str
    checkpoint: Checkpoint | None = None
    state: State | None = None
    size: int = -1
    identity: str = ""
    path: str = ""
    found: Source | Directory | None = None
    where: Where = ""
    header_only: bool = False


def open_input(model: Any, limits: Limits = Limits(), input_format: str = "", *, label: str = "") -> Input:
    """Open one side. What cannot be opened becomes a state; what does not exist raises.

    Raises:
        SourceError: the path does not exist or cannot be read.
        UsageError: the word is neither a path nor REV:path.

    """
    if isinstance(model, (str, os.PathLike)):
        return _open_word(os.fspath(model), limits, input_format, label)
    if isinstance(model, (bytes, bytearray, memoryview)):
        from diffai.sources.local import MemoryBytes

        return open_source_input(MemoryBytes(model, label=label or "<bytes>"), limits, input_format)
    if isinstance(model, Mapping) or hasattr(model, "state_dict"):
        from diffai.formats.arrays import ArrayCheckpoint

        values = model if isinstance(model, Mapping) else model.state_dict()
        return Input(label or "<tensors>", ArrayCheckpoint(values))
    if hasattr(model, "read_into") and hasattr(model, "tensors"):
        return Input(label or "<checkpoint>", model)
    raise DiffaiError(
        f"cannot open a {type(model).__name__}: expected a path, bytes, a dictionary of tensors, or a checkpoint"
    )


def _open_word(word: str, limits: Limits, input_format: str, label: str) -> Input:
    from diffai.snapshots.resolve import open_source

    return as_input(open_source(word), limits, input_format, label=label or word)


def as_input(found: Opened, limits: Limits, input_format: str = "", *, label: str) -> Input:
    """An input out of what a resolver found: bytes, a directory (of shards), or a state."""
    from diffai.sources.directory import Directory, UnresolvedError

    if isinstance(found, State):
        return Input(label, state=found)
    if not isinstance(found, Directory):
        return open_source_input(found, limits, input_format, label=label)
    try:
        checkpoint = _opened(found, limits, input_format)
        return Input(label, checkpoint, identity=checkpoint.identity or "", found=found)
    except UnresolvedError as error:
        return Input(label, state=error.state)
    except FormatError as error:
        return Input(label, state=unreadable(error))


def open_source_input(source: Source, limits: Limits, input_format: str = "", *, label: str = "") -> Input:
    """Open bytes as a checkpoint; content that is no readable model becomes a state."""
    from diffai.sources.directory import UnresolvedError

    label = label or source.label
    try:
        checkpoint = _opened(source, limits, input_format)
    except UnresolvedError as error:  # an index whose shard is a pointer to bytes that are not here
        source.close()
        return Input(label, state=error.state, size=source.size)
    except FormatError as error:
        state = _with_digest(unreadable(error), source, limits)
        source.close()
        return Input(label, state=state, size=source.size, identity=source.identity, path=source.path)
    identity = source.identity if checkpoint.identity is None else checkpoint.identity
    return Input(label, checkpoint, size=source.size, identity=identity, found=source)


def _opened(found: Source | Directory, limits: Limits, input_format: str) -> Checkpoint:
    """A checkpoint with its quantized tensors as the logical ones; see :mod:`diffai.formats.quantized`."""
    from diffai.formats.registry import open_checkpoint

    checkpoint = open_checkpoint(found, limits, input_format)
    codes = _has_codes(checkpoint)
    factors = any(".lora_" in name for name in checkpoint.tensors)
    if not (codes or factors):
        return checkpoint
    from diffai.models.beside import adapted, logical

    try:
        if factors:
            adapted(checkpoint, found)
        return logical(checkpoint, found) if codes else checkpoint
    except BaseException:
        checkpoint.close()
        raise


def open_alone(source: Source, limits: Limits) -> Checkpoint:
    """A file as a checkpoint with its quantized tensors as the logical ones, as far as itself says what codes mean.

    What lies beside it is not looked at, so that the same bytes give the same checkpoint wherever they are.

    Raises:
        FormatError, SourceError: as :func:`diffai.formats.registry.open_checkpoint`.

    """
    from diffai.formats.registry import open_checkpoint

    checkpoint = open_checkpoint(source, limits)
    if not _has_codes(checkpoint):
        return checkpoint
    from diffai.formats.quantized import quantized
    from diffai.formats.quantized.configuration import NO_CONFIGURATION

    try:
        return quantized(checkpoint, NO_CONFIGURATION)
    except BaseException:
        checkpoint.close()
        raise


def _has_codes(checkpoint: Checkpoint) -> bool:
    return bool(checkpoint.scaled) or any(name.endswith(_BESIDE_CODES) for name in checkpoint.tensors)


def unreadable(error: FormatError | SourceError) -> State:
    """The state that an error at opening is."""
    from diffai.formats.registry import NotAModelError
    from diffai.sources.directory import UnresolvedError

    if isinstance(error, UnresolvedError):
        return error.state
    if isinstance(error, NotAModelError):
        return NotAModel(error.reason)
    if isinstance(error, FormatError):
        reason = error.reason
        kind = "" if isinstance(error, LimitError) else error.format
        if isinstance(error, UnsupportedFormatError):
            return NotRead(reason, code=error.code)
        return Unreadable(reason, kind, error.code, error.tensor, error.offset)
    return Unreadable(str(error))


def _with_digest(state: State, source: Source, limits: Limits) -> State:
    """Of what is not read, what its bytes tell: size and digest, where they are at hand and may be read."""
    if not isinstance(state, NotRead):
        return state
    if source.requests or not limits.values:
        return replace(state, size=source.size)
    from diffai.cache.places import digest_of

    try:
        return replace(state, size=source.size, digest=digest_of(source))
    except SourceError as error:
        return Unreadable(str(error))
