"""A private temporary copy of a stream, for readers that have to jump about in it."""

from __future__ import annotations

import io
import os

from diffai.errors import LimitError, SourceError
from diffai.sources.base import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

_BLOCK = 1 << 20


def spool(source: Source, limit: int) -> Source:
    """The bytes of ``source`` with cheap reads in any order: itself, or a private temporary copy.

    The copy has mode 0600 and no name (it is unlinked at once), lies in Python's temporary directory, and goes
    when it is closed. It takes over ``source``'s label, identity and siblings; ``source`` is closed.

    Args:
        source: where the bytes come from; read once, from start to end.
        limit: bytes that may be written (``diffai.maxSpool``).

    Raises:
        LimitError: the source is larger than ``limit``.
        SourceError: the source breaks off, or the temporary directory is full or cannot be written.

    """
    if source.random_access:
        return source
    with source.open_stream() as stream:
        fd = spool_stream(stream, source.size, limit, source.label)
    copy = SpooledFile(fd, source)
    source.close()
    return copy


def spool_stream(stream: BinaryIO, size: int, limit: int, label: str) -> int:
    """Copy ``size`` bytes of ``stream`` to an unlinked file; its descriptor. Raises as :func:`spool`."""
    if size > limit:
        reason = f"{label}: needs a temporary copy of {size:,} bytes, over the limit of {limit:,} bytes"
        raise LimitError(f"{reason} (diffai.maxSpool lifts it)")
    import tempfile  # loads half a dozen modules, which most calls of git never need

    folder, fd = tempfile.gettempdir(), -1
    try:
        with tempfile.TemporaryFile(buffering=0, prefix="diffai-", dir=folder) as file:  # on Linux it never has a name
            fd = os.dup(file.fileno())
        done = 0
        while done < size:
            block = stream.read(min(_BLOCK, size - done))
            if not block:
                raise SourceError(f"{label}: ends at offset {done}, {size - done} bytes early")
            _write(fd, block)
            done += len(block)
    except OSError as error:
        _close(fd)
        reason = (error.strerror or str(error)).lower()
        raise SourceError(
            f"{label}: no temporary copy in {folder}: {reason} ({size:,} bytes needed; set TMPDIR to another place)"
        ) from error
    except BaseException:
        _close(fd)
        raise
    return fd


def _write(fd: int, block: bytes) -> None:
    """Write all of a block."""
    rest = memoryview(block)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _close(fd: int) -> None:
    if fd >= 0:
        os.close(fd)


def read_descriptor(fd: int, label: str, offset: int, buffer: memoryview) -> None:
    """Fill ``buffer`` from ``offset`` of an open file, or raise SourceError."""
    done = 0
    while done < len(buffer):
        try:
            got = os.preadv(fd, (buffer[done:],), offset + done)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise SourceError(f"{label}: cannot read at offset {offset + done}: {reason}") from error
        if not got:
            raise SourceError(f"{label}: ends at offset {offset + done}")
        done += got


class _Reader(io.RawIOBase):
    """A position of its own in a spooled file."""

    def __init__(self, file: SpooledFile) -> None:
        super().__init__()
        self._file = file
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._file.size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        view = memoryview(buffer)[: max(0, self._file.size - self._position)]
        self._file.read_into(self._position, view)
        self._position += len(view)
        return len(view)


class SpooledFile:
    """An unlinked temporary file that stands for ``origin``.

    Args:
        fd: its descriptor, owned by this object from now on.
        origin: whose bytes these are; asked for its siblings only.

    """

    random_access = True
    requests = False
    path = ""

    def __init__(self, fd: int, origin: Source) -> None:
        self._fd = fd
        self._origin = origin
        self.label = origin.label
        self.identity = origin.identity
        self.size = os.fstat(fd).st_size

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill the buffer or raise SourceError."""
        read_descriptor(self._fd, self.label, offset, buffer)

    def read(self, offset: int, count: int) -> bytes:
        """Up to ``count`` bytes."""
        data = bytearray(max(0, min(count, self.size - offset)))
        self.read_into(offset, memoryview(data))
        return bytes(data)

    def open_stream(self) -> BinaryIO:
        """A stream of its own, from the start."""
        return io.BufferedReader(_Reader(self), _BLOCK)

    def sibling(self, name: str) -> Source:
        """As the origin."""
        return self._origin.sibling(name)

    def verify_unchanged(self) -> None:
        """Nobody else can reach the file."""

    def close(self) -> None:
        """Give the space back."""
        fd, self._fd = self._fd, -1
        if fd >= 0:  # not through a function of this module, which is gone when the interpreter ends
            os.close(fd)

    def __del__(self) -> None:
        """Nobody has it any more."""
        self.close()
