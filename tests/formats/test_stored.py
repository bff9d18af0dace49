"""What every reader does around reading: the copy of a stream, closing, and errors."""

from __future__ import annotations

import struct

import pytest
from stream_source import StreamSource

from diffai.errors import FormatError, LimitError, SourceError
from diffai.formats.base import Limits
from diffai.formats.regions import FileRegion
from diffai.formats.stored import StoredCheckpoint, reader
from diffai.model import Problem
from diffai.sources.base import Source
from diffai.sources.local import MemoryBytes
from diffai.sources.spool import SpooledFile

LIMITS = Limits()


MADE: list[Opened] = []


class Opened(StoredCheckpoint):
    def __init__(self, source: Source, limits: Limits) -> None:
        super().__init__(source, "test", limits.max_spool)
        self.released = 0
        MADE.append(self)

    def release(self) -> None:
        self.released += 1
        super().release()


def read(checkpoint: Opened, limits: Limits) -> None:
    """The first byte says what happens."""
    what = checkpoint.source.read(0, 1)
    if what == b"f":
        checkpoint.faults += [FormatError("is wrong", code="T2", tensor="a"), FormatError("is bad", code="T3")]
    elif what == b"s":
        struct.unpack("<I", b"")
    elif what == b"c":
        raise FormatError("is coded", code="T9", tensor="b", offset=3)
    elif what == b"n":
        raise FormatError("has no number")
    elif what == b"l":
        raise LimitError("is too long")
    elif what == b"k":
        raise KeyError("a mistake of ours")
    checkpoint.problems = (Problem("T7", "warning", "is odd"),)
    checkpoint.place("w", "U8", (1,), FileRegion(checkpoint.source, 0, 1))


open_checkpoint, check = reader(Opened, read, "T1")  # type: ignore[arg-type]


def closed(source: Source) -> bool:
    assert isinstance(source, SpooledFile)
    try:
        source.read(0, 1)
    except SourceError:
        return True
    return False


def test_a_stream_is_copied_and_the_copy_goes_with_the_checkpoint() -> None:
    checkpoint = open_checkpoint(StreamSource(b"x"), LIMITS)
    assert isinstance(checkpoint, Opened) and not closed(checkpoint.source)
    buffer = bytearray(1)
    checkpoint.read_into(checkpoint.tensors["w"], 0, memoryview(buffer))
    assert buffer == b"x"
    checkpoint.close()
    checkpoint.close()
    assert closed(checkpoint.source)


@pytest.mark.parametrize(
    ("content", "code", "reason"),
    [
        (b"f", "T2", "is wrong"),
        (b"s", "T1", "is damaged"),
        (b"c", "T9", "is coded"),
        (b"n", "T1", "has no number"),
        (b"l", "T1", "is too long"),
    ],
)
def test_after_an_error_the_copy_is_gone_and_the_given_source_is_open(content: bytes, code: str, reason: str) -> None:
    with pytest.raises(FormatError) as error:
        open_checkpoint(StreamSource(content), LIMITS)
    assert (error.value.code, error.value.reason) == (code, reason)
    assert error.value.format in ("test", "")
    assert MADE[-1].released == 1 and closed(MADE[-1].source)
    given = MemoryBytes(content)
    with pytest.raises(FormatError):
        open_checkpoint(given, LIMITS)
    assert given.read(0, 1) == content


def test_a_check_lists_all_faults_and_problems_and_closes_only_what_is_its_own() -> None:
    given = MemoryBytes(b"f")
    assert [problem.code for problem in check(given, LIMITS)] == ["T2", "T3", "T7"]
    assert given.read(0, 1) == b"f"
    assert check(StreamSource(b"c"), LIMITS) == (Problem("T9", "error", "is coded", "b", 3),)
    assert closed(MADE[-1].source)


def test_over_a_limit_nothing_was_checked() -> None:
    with pytest.raises(LimitError):
        check(MemoryBytes(b"l"), LIMITS)


def test_a_mistake_of_ours_is_not_called_a_damaged_file() -> None:
    with pytest.raises(KeyError):
        open_checkpoint(MemoryBytes(b"k"), LIMITS)
    with pytest.raises(KeyError):
        check(MemoryBytes(b"k"), LIMITS)
