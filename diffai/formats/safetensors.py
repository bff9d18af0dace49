"""safetensors files, read without numpy and without the safetensors library.

Reasons for refusal are numbered, and the numbers stay:

===== ==============================================================================================
code  reason
===== ==============================================================================================
ST01  the file is shorter than the 8 bytes of the header length
ST02  the header length reaches past the end of the file (cut short, a lie, or another kind of file)
ST03  the header is not UTF-8
ST04  the header is not valid JSON: syntax, nested too deeply, NaN, a number out of range, cut off
ST05  the header is JSON, but not an object
ST06  a tensor, a field of its entry, ``__metadata__`` or a key in it stands twice
ST07  ``__metadata__`` is not a map of strings to strings
ST08  a tensor's entry lacks dtype, shape or data_offsets, or one of them has the wrong type
ST09  unknown dtype
ST10  the size that a shape gives overflows 64 bits
ST11  a tensor of a dtype below 8 bits does not end at a whole byte
ST12  data_offsets are reversed
ST13  data_offsets span another number of bytes than dtype and shape need
ST14  two tensors overlap
ST15  there is a hole before a tensor
ST16  bytes follow the last tensor
ST17  the data ends early (truncated file, or offsets out of range)
ST18  this tensor misses bytes for the reason ST17
ST19  a tensor name or ``__metadata__`` holds a lone surrogate, which is no text
ST20  the header is longer than ``diffai.maxHeader`` (default 100,000,000 bytes, the format's own limit)
ST21  warning: an unknown field in a tensor's entry, which readers ignore
ST22  warning: the header does not begin with ``{``, as the specification asks
===== ==============================================================================================

The same files are accepted as by the ``safetensors`` library 0.8, except that duplicate keys are refused (the
specification disallows them, the library lets the last win), and so are entries written as arrays.
"""

from __future__ import annotations

from diffai.errors import FormatError
from diffai.formats.base import Limits
from diffai.formats.safetensors_header import LONG, Header, parse_header, raise_first, read_bytes, read_header
from diffai.formats.safetensors_header import NAME as NAME
from diffai.model import Checkpoint, Problem, TensorSpec
from diffai.sources.base import Source


class SafetensorsCheckpoint(Checkpoint):
    """One open safetensors file; see :class:`diffai.model.Checkpoint`. It owns its source."""

    format = "safetensors"
    not_expressible = frozenset(("classes", "graph", "ties", "requires_grad"))

    def __init__(self, source: Source, header: Header) -> None:
        self.source = source
        self.tensors = header.tensors
        self.metadata = header.metadata

    @property
    def random_access(self) -> bool:
        """As the source: files True, git blobs False until they are spooled."""
        return self.source.random_access

    def read_into(self, spec: TensorSpec, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer`` with the tensor's bytes from byte ``offset`` on; SourceError when they are gone."""
        if offset < 0 or offset + len(buffer) > spec.nbytes:
            raise ValueError(f"bytes {offset}..{offset + len(buffer)} of a tensor of {spec.nbytes} bytes")
        self.source.read_into(spec.offset + offset, buffer)

    def read_file_into(self, file: int, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer`` from absolute ``offset`` of the file."""
        self.source.read_into(offset, buffer)

    def verify_unchanged(self) -> None:
        """Raise SourceError when the file was changed since it was opened."""
        self.source.verify_unchanged()

    def close(self) -> None:
        """Close the source; may be called twice."""
        self.source.close()


def recognise(head: bytes, size: int, name: str) -> bool:
    """Whether the content is safetensors: a plausible header length, then a JSON object.

    A length that reaches past the end still counts, so that a truncated file is called by its name.
    """
    # Text has no zero bytes; a header of 2^40 bytes is no header.
    return len(head) >= 9 and head[5:8] == b"\0\0\0" and head[8:].lstrip(b" \t\r\n")[:1] == b"{"


def open_checkpoint(source: Source, limits: Limits) -> SafetensorsCheckpoint:
    """Open a safetensors file; only the header is read.

    The checkpoint owns ``source`` from then on; after an error it still belongs to the caller.

    Raises:
        FormatError: with the first reason found (table above), the tensor and the byte offset.
        LimitError: the header is longer than ``limits.max_header``.
        SourceError: the bytes cannot be read.

    """
    raw = read_bytes(source, limits, raise_first)
    _check_end(source, limits)
    if len(raw) < LONG:
        return SafetensorsCheckpoint(source, parse_header(raw, source.size, raise_first))
    from diffai.formats.safetensors_long import header_of

    return SafetensorsCheckpoint(source, header_of(raw, source.size))


def check(source: Source, limits: Limits) -> tuple[Problem, ...]:
    """All structural problems of a safetensors file, errors and warnings, headers first, then in data order.

    Raises:
        LimitError: the header is longer than ``limits.max_header``, so nothing was checked.
        SourceError: the bytes cannot be read.

    """
    problems: list[Problem] = []
    try:
        header = read_header(source, limits, problems.append)
    except FormatError:
        if not problems:  # a limit, not a finding
            raise
        return tuple(problems)
    try:
        _check_end(source, limits)
    except FormatError as error:
        problems.append(Problem(error.code, "error", error.reason, offset=error.offset))
    if header.data_start > 8 and source.read(8, 1) != b"{":
        problems.insert(0, Problem("ST22", "warning", "header does not begin with '{'", offset=8))
    return tuple(problems)


def _check_end(source: Source, limits: Limits) -> None:
    """A file that readers of zip, which look from the end, would read as a zip has no one meaning."""
    if not (limits.values and source.random_access):
        return
    start = max(0, source.size - 65557)  # a zip's end record and the longest comment
    if b"PK\x05\x06" not in source.read(start, source.size - start):
        return
    from diffai.formats.zip_ends import ambiguous, ends_as_zip

    if ends_as_zip(source):
        raise ambiguous("a safetensors file that ends as a zip", start, NAME)
