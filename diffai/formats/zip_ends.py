"""How a zip ends, for readers of other containers too: a file that ends as a zip has several meanings."""

from __future__ import annotations

import struct

from diffai.errors import FormatError
from diffai.sources.base import Source

END = b"PK\x05\x06"
LOCATOR_SIGN = b"PK\x06\x07"
END_RECORD = struct.Struct("<4s4H2IH")
LONGEST_TAIL = 65535 + END_RECORD.size  # a comment can stand behind the end record; torch writes none
AMBIGUOUS = "AMB01"  # the same in every format: two readers could read the file differently


def ambiguous(what: str, offset: int, format: str) -> FormatError:  # noqa: A002
    """The error of a container that two readers could read differently."""
    reason = f"ambiguous container, which readers would read differently: {what}"
    return FormatError(reason, code=AMBIGUOUS, offset=offset, format=format)


def ends_as_zip(source: Source) -> bool:
    """Whether a reader that looks for a zip from the end of the file (Python's) would find one."""
    size = source.size
    tail_start = max(0, size - LONGEST_TAIL)
    tail = source.read(tail_start, size - tail_start)
    at = end_record(tail)
    if at < 0:
        return False
    _, _, _, _, count, length, _, _ = END_RECORD.unpack_from(tail, at)
    if tail[max(0, at - 20) : max(0, at - 16)] == LOCATOR_SIGN:
        return True
    directory = tail_start + at - length  # such readers allow for bytes before the archive
    return count == length == 0 or (directory >= 0 and source.read(directory, 4) == b"PK\x01\x02")


def end_record(tail: bytes) -> int:
    """Where the end record stands in the last bytes of a file; -1 when it does not."""
    at = tail.rfind(END)
    while at >= 0:
        end = at + END_RECORD.size
        if end <= len(tail) and end + END_RECORD.unpack_from(tail, at)[7] == len(tail):
            return at
        at = tail.rfind(END, 0, at)
    return -1
