"""Compressed model files: gzip, zlib, bzip2, xz, lzma, and with an extra zstd and lz4, around any other format.

The content is unpacked once, bounded, into a private temporary file, and opened as what it is; a compressed file in
another one is not. joblib compresses its dumps so.

==== ======================================================================================================
code reason
==== ======================================================================================================
GZ01 the compressed data is damaged, cut off, or of another size than it claims
GZ02 other bytes follow the compressed data
GZ03 an extra is missing
GZ04 what is compressed is no model, or compressed again
==== ======================================================================================================
"""

from __future__ import annotations

import os

from diffai.errors import FormatError, LimitError, SourceError, UnsupportedFormatError
from diffai.formats.base import Budget, Limits
from diffai.formats.table import may_be_named_so
from diffai.formats.unpacking import beginning, kind_of, unpacked
from diffai.model import Checkpoint, Problem
from diffai.sources.base import Source
from diffai.sources.spool import SpooledFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.formats.base import Format

NAME = "compressed"
_SUFFIXES = (".gz", ".gzip", ".z", ".bz2", ".xz", ".lzma", ".zst", ".zstd", ".lz4")


def recognise(head: bytes, size: int, name: str) -> bool:
    """Whether content is compressed and, as far as its first bytes show it, a model inside; else its name decides."""
    kind = kind_of(head)
    if not kind:
        return False
    inner = inner_name(name)
    if may_be_named_so(inner):
        return True
    begins = beginning(head, kind)
    return bool(begins) and not kind_of(begins) and _is_model(begins, max(size, len(begins)), inner)


def inner_name(name: str) -> str:
    """The name of what is compressed: without the suffix that says so."""
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in _SUFFIXES else name


def _is_model(head: bytes, size: int, name: str) -> bool:
    from diffai.formats import registry

    return registry.recognised(head, size, name)


def open_checkpoint(source: Source, limits: Limits) -> Checkpoint:
    """Unpack and open; the checkpoint owns the unpacked copy.

    Raises:
        FormatError: see the table, and those of the format inside; LimitError: over a limit.

    """
    kind, copy = _unpacked(source, limits)
    try:
        checkpoint = _format_of(copy).open_checkpoint(copy, limits)
    except BaseException:
        copy.close()
        raise
    checkpoint.format = f"{checkpoint.format} ({kind})"
    source.close()
    return checkpoint


def check(source: Source, limits: Limits) -> tuple[Problem, ...]:
    """What is wrong with the compressed data, or with what is inside.

    Raises:
        FormatError: what is inside is no model; LimitError: over a limit.

    """
    try:
        _, copy = _unpacked(source, limits)
    except FormatError as error:
        if not error.code.startswith("GZ"):
            raise
        return (Problem(error.code, "error", error.reason, offset=error.offset),)
    try:
        return _format_of(copy).check(copy, limits)
    finally:
        copy.close()


def _unpacked(source: Source, limits: Limits) -> tuple[str, SpooledFile]:
    """The kind of compression, and a private copy of the content."""
    kind = kind_of(source.read(0, 16))
    if not kind:
        raise FormatError("is not compressed in a way that is known", code="GZ01", offset=0, format=NAME)
    import tempfile

    budget, made = Budget(limits), 0
    with tempfile.TemporaryFile(buffering=0, prefix="diffai-") as file:
        for piece in unpacked(source, kind, budget):
            made += len(piece)
            if made > limits.max_spool:
                reason = f"unpacks to more than {limits.max_spool:,} bytes (limit diffai.maxSpool)"
                raise LimitError(reason, code="LIM01", format=NAME)
            _write(file.fileno(), piece)
        copy = SpooledFile(os.dup(file.fileno()), source)
    copy.label = inner_name(source.label)
    return kind, copy


def _write(fd: int, piece: bytes) -> None:
    view = memoryview(piece)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except OSError as error:
        raise SourceError(f"cannot write a temporary file: {error.strerror}") from error


def _format_of(copy: Source) -> Format:
    from diffai.formats import registry

    if kind_of(copy.read(0, 16)):
        raise FormatError("is compressed twice, which is not read", code="GZ04", format=NAME)
    try:
        return registry.recognise(copy)
    except UnsupportedFormatError as error:
        raise FormatError(f"is compressed; what is inside {error.reason}", code="GZ04", format=NAME) from error

