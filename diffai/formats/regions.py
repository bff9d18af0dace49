"""Byte ranges that tensors and pickles lie in: part of the file, bytes in memory, or a private temporary file."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Sequence
from threading import Lock

from diffai.errors import LimitError, SourceError
from diffai.sources.base import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO, Protocol
else:
    Protocol = object

COPY_BLOCK = 1 << 20


class Region(Protocol):
    """``size`` bytes that can be read in any order and from several threads."""

    size: int

    @property
    def file_offset(self) -> int:
        """Absolute offset in the file where the bytes lie as they are, else -1."""

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill the whole buffer from ``offset``; SourceError when the bytes are not there."""


def read(region: Region, offset: int, count: int) -> bytes:
    """Exactly ``count`` bytes; the caller has bounded ``count``."""
    data = bytearray(count)
    region.read_into(offset, memoryview(data))
    return bytes(data)


class FileRegion:
    """Bytes that lie in the source as they are."""

    __slots__ = ("_source", "_start", "size")

    def __init__(self, source: Source, start: int, size: int) -> None:
        self._source = source
        self._start = start
        self.size = size

    @property
    def file_offset(self) -> int:
        """Where the region starts in the file."""
        return self._start

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Read through the source."""
        self._source.read_into(self._start + offset, buffer)


class BytesRegion:
    """Bytes in memory."""

    __slots__ = ("_data", "size")

    file_offset = -1

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self.size = len(data)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Copy out of memory."""
        part = self._data[offset : offset + len(buffer)]
        if len(part) != len(buffer):
            raise SourceError(f"{len(buffer) - len(part)} bytes are missing at the end of a value held in memory")
        buffer[:] = part


class PartOf:
    """A part of another region."""

    __slots__ = ("_region", "_start", "size")

    def __init__(self, region: Region, start: int, size: int) -> None:
        self._region = region
        self._start = start
        self.size = size

    @property
    def file_offset(self) -> int:
        """Where the part starts in the file, when the whole lies there as it is."""
        whole = self._region.file_offset
        return -1 if whole < 0 else whole + self._start

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Read through the whole."""
        self._region.read_into(self._start + offset, buffer)


class JoinedRegion:
    """Several regions one after another."""

    __slots__ = ("_parts", "_starts", "size")

    file_offset = -1

    def __init__(self, parts: Sequence[Region]) -> None:
        self._parts = [part for part in parts if part.size]
        self._starts, self.size = list[int](), 0
        for part in self._parts:
            self._starts.append(self.size)
            self.size += part.size

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Read from each region that holds some of it."""
        from bisect import bisect_right

        number, done = bisect_right(self._starts, offset) - 1, 0
        while done < len(buffer):
            if not 0 <= number < len(self._parts):
                raise SourceError(f"{len(buffer) - done} bytes are missing at the end of a value in pieces")
            part, skip = self._parts[number], offset + done - self._starts[number]
            count = min(part.size - skip, len(buffer) - done)
            part.read_into(skip, buffer[done : done + count])
            done, number = done + count, number + 1


class Spool:
    """A private temporary file, made when first written, removed with the process, bounded in size."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._fd = -1
        self.size = 0
        self._lock = Lock()

    def append(self, chunks: Iterable[bytes]) -> PartOf:
        """Write the chunks one after another and return them as a region.

        Raises:
            LimitError: the file would grow beyond ``diffai.maxSpool``.
            SourceError: the disk is full.

        """
        with self._lock:
            start = self.size
            for chunk in chunks:
                if self.size + len(chunk) > self._limit:
                    raise LimitError(
                        f"needs more than {self._limit:,} bytes of temporary files (limit diffai.maxSpool)",
                        code="PT12",
                    )
                self._write(chunk)
            return PartOf(self, start, self.size - start)

    def _write(self, chunk: bytes) -> None:
        if self._fd < 0:
            import tempfile

            with tempfile.TemporaryFile(prefix="diffai-") as file:
                self._fd = os.dup(file.fileno())
        view = memoryview(chunk)
        while view:
            try:
                done = os.pwrite(self._fd, view, self.size)
            except OSError as error:
                raise SourceError(f"cannot write a temporary file: {error.strerror}") from error
            self.size += done
            view = view[done:]

    @property
    def file_offset(self) -> int:
        """Never the file itself."""
        return -1

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Read back."""
        done = 0
        while done < len(buffer):
            got = os.preadv(self._fd, (buffer[done:],), offset + done) if self._fd >= 0 else 0
            if got == 0:
                raise SourceError("a temporary file is shorter than what was written to it")
            done += got

    def close(self) -> None:
        """Remove the file; may be called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        """Nobody has it any more."""
        self.close()


class RegionSource:
    """A region as a source of its own: a file inside a file."""

    random_access = True
    requests = False
    path = ""
    identity = ""

    def __init__(self, region: Region, label: str) -> None:
        self._region = region
        self.label, self.size = label, region.size

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill the buffer or raise SourceError."""
        if offset < 0 or offset + len(buffer) > self.size:
            raise SourceError(f"{self.label}: ends at offset {self.size} of a part")
        self._region.read_into(offset, buffer)

    def read(self, offset: int, count: int) -> bytes:
        """Up to ``count`` bytes."""
        return read(self._region, offset, max(0, min(count, self.size - offset)))

    def open_stream(self) -> BinaryIO:
        """A stream over a copy in memory; for small parts."""
        return io.BytesIO(read(self._region, 0, self.size))

    def sibling(self, name: str) -> Source:
        """There is nothing beside a part of a file."""
        raise SourceError(f"{self.label}: a part of a file has no file {name!r} beside it")

    def verify_unchanged(self) -> None:
        """The file that it is a part of is verified by itself."""

    def close(self) -> None:
        """Nothing to release."""


class LazyRegion:
    """Bytes that are made (decompressed) when first read, into the spool."""

    __slots__ = ("_lock", "_made", "_make", "size")

    file_offset = -1

    def __init__(self, size: int, make: Callable[[], Region]) -> None:
        self.size = size
        self._make = make
        self._made: Region | None = None
        self._lock = Lock()

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Make the bytes once, then read them."""
        if self._made is None:
            with self._lock:
                if self._made is None:
                    self._made = self._make()
        self._made.read_into(offset, buffer)
