"""Which module of the table of formats reads which content, and what the others are called.

Content decides (magic bytes first); a file name's suffix only helps where content says nothing, so that a
damaged ``model.safetensors`` is judged as one. A module is imported when its turn comes, so a safetensors file
never loads the torch reader.
"""

from __future__ import annotations

import importlib

from diffai.errors import FormatError, UnsupportedFormatError, UsageError
from diffai.formats.base import ArraysFormat, FolderFormat, Format, Limits
from diffai.formats.table import FORMATS, Row, not_read_by_name
from diffai.model import Checkpoint, Problem
from diffai.sources.base import Source
from diffai.sources.directory import Directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HEAD_BYTES = 4096
_LOOSE = Row("zip", "zip archive with pickles", "diffai.formats.torch.loose")


class NotAModelError(UnsupportedFormatError):
    """Content of no model format.

    Attributes:
        kind: what it looks like, with its article: ``an HTML page``; "" for an empty file.

    """

    def __init__(self, reason: str, kind: str) -> None:
        super().__init__(reason)
        self.kind = kind


def input_formats() -> tuple[str, ...]:
    """The words that ``--input-format`` takes."""
    return tuple(row.name for row in FORMATS)


def recognise(source: Source) -> Format:
    """The format of ``source``, from its first bytes and, where they say nothing, its name.

    Raises:
        UnsupportedFormatError: a model of a kind that diffai does not read, or unknown content.
        NotAModelError: no model at all: empty, text, an HTML page, an image, ...
        SourceError: the bytes cannot be read.

    """
    name, size = source.label, source.size
    if size == 0:
        raise NotAModelError("is empty (0 bytes)", "")
    head = source.read(0, HEAD_BYTES)
    for row in FORMATS:
        if row.may_be(head):
            module = _load(row)
            if module.recognise(head, size, name):
                return module
    from diffai.formats import foreign

    known = foreign.identify(head, size)
    if known.kind and not known.model and head[:4] == b"PK\x03\x04" and source.random_access:
        from diffai.formats.torch.loose import holds_pickles  # a pickle in any clothes is judged

        if holds_pickles(source):
            return _load(_LOOSE)
    if known.kind and not known.model:
        raise NotAModelError(f"is {known.kind}, not a model{known.hint}", known.kind)
    if known.kind:
        raise UnsupportedFormatError(f"is {known.kind}, which diffai does not read")
    for row in FORMATS:
        if name.lower().endswith(row.suffixes):
            return _load(row)
    by_name = not_read_by_name(name)
    if by_name:
        raise UnsupportedFormatError(f"is called {by_name}, which diffai does not read")
    raise UnsupportedFormatError("is of no format that diffai knows")


def recognised(head: bytes, size: int, name: str) -> bool:
    """Whether the first bytes of a file are those of a model; plain arrays are, where their names are parameters'.

    Args:
        head: the first 4 KiB (all, when shorter).
        size: bytes of the file.
        name: its name.

    """
    for row in FORMATS:
        if row.may_be(head) and _load(row).recognise(head, size, name):
            return not row.arrays or _arrays_format(row).holds_parameters(head, size)
    from diffai.formats import foreign

    kind = foreign.identify(head, size)
    return bool(kind.kind) and kind.model


def open_checkpoint(source: Source | Directory, limits: Limits, input_format: str = "") -> Checkpoint:
    """Open ``source`` as the model that its content is, or as ``input_format`` says; reads headers only.

    The checkpoint owns ``source`` from then on; after an error it still belongs to the caller.

    Raises:
        FormatError: not the model it should be (with code, tensor and offset), unsupported, or over a limit.
        SourceError: the bytes cannot be read.
        UsageError: there is no such ``input_format``.

    """
    if isinstance(source, Directory):
        return _folder_format().open_directory(source, limits)
    return _format_of(source, input_format).open_checkpoint(source, limits)


def check(source: Source | Directory, limits: Limits, input_format: str = "") -> tuple[Problem, ...]:
    """All structural and safety problems of ``source``; nothing of it is executed, tensor data is not read.

    Raises:
        FormatError: it is no model, or over a limit, so nothing was checked.
        SourceError: the bytes cannot be read.
        UsageError: there is no such ``input_format``.

    """
    if isinstance(source, Directory):
        return _folder_format().check_directory(source, limits)
    return _format_of(source, input_format).check(source, limits)


def _format_of(source: Source, input_format: str) -> Format:
    return _load(_row(input_format)) if input_format else recognise(source)


def _folder_format() -> FolderFormat:
    """What reads a folder: the row that says so."""
    module: Any = _load(next(row for row in FORMATS if row.folder))
    found: FolderFormat = module
    return found


def _arrays_format(row: Row) -> ArraysFormat:
    """What reads a row of plain arrays."""
    module: Any = _load(row)
    found: ArraysFormat = module
    return found


def _row(name: str) -> Row:
    for row in FORMATS:
        if row.name == name:
            return row
    import difflib  # only here: it is slow to load

    near = difflib.get_close_matches(name, input_formats(), 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UsageError(f"unknown input format {name!r}{hint} (known: {', '.join(input_formats())})")


def _load(row: Row) -> Format:
    try:
        module: Any = importlib.import_module(row.module)
    except ModuleNotFoundError as error:
        if error.name != row.module:
            raise
        raise FormatError(f"is {row.title}, whose reader is not part of this installation") from error
    found: Format = module
    return found
