"""Blobs out of git's object store, streamed: a header is read without inflating the rest."""

from __future__ import annotations

import io
import os
from collections.abc import Callable

from diffai.errors import SourceError
from diffai.repository.objects import CatFile, reader_of
from diffai.repository.runner import Repository
from diffai.sources.base import Source
from diffai.sources.spool import read_descriptor, spool_stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

_KEPT = 1 << 16  # the first bytes are kept, because a format looks at them before its header is read
_SKIP = 1 << 18
_LONG = 1 << 18
_MAX_SPOOL = 64 << 30


class BlobStream(io.RawIOBase):
    """The content of one blob from its start, out of a ``git cat-file`` of its own.

    Args:
        git: about to write the blob; it belongs to the stream from now on.
        size: bytes of the blob.
        label: for messages.

    """

    def __init__(self, git: CatFile, size: int, label: str) -> None:
        super().__init__()
        self._label = label
        self._git = git
        self.size = self._left = size

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read some bytes; 0 at the end of the blob.

        Raises:
            SourceError: git ended early (a damaged object).

        """
        view = memoryview(buffer)[: self._left]
        if not view:
            return 0
        got = self._git.out.readinto1(view)
        if not got:
            reason = self._git.complaint()
            raise SourceError(f"{self._label}: ends {self._left:,} bytes early ({reason})")
        self._left -= got
        return got

    def let_run_ahead(self) -> None:
        """Let git work on while what it gave is used."""
        self._git.let_run_ahead()

    def close(self) -> None:
        """End git quietly, wherever it is."""
        if self.closed:
            return
        super().close()
        self._git.close()


def open_stream(repository: Repository, oid: str, label: str) -> BinaryIO:
    """A blob's bytes from its start, whatever its size.

    Raises:
        MissingObjectError: the object is not here; nothing is fetched.
        SourceError: it is no blob, or git fails.

    """
    facts, found = reader_of(repository).take(oid, label)
    if isinstance(found, bytes):
        return io.BytesIO(found)
    return BlobStream(found, facts.size, label)  # type: ignore[return-value]


class GitBlob:
    """A blob as a source; see :class:`diffai.sources.base.Source`.

    A small one is read whole. Of a large one ascending reads stream; the first read that goes back (beyond the first
    64 KiB, which are kept) copies it to a private temporary file, after which reads in any order are cheap.

    Args:
        repository: whose object store is read.
        oid: full object name, as printed by git.
        label: how messages name it.
        sibling: opens the file of a name in the same directory.
        spool_limit: bytes that may be copied to a temporary file.

    Raises:
        MissingObjectError: the object is not here.
        SourceError: it is no blob, or git fails.

    """

    path = ""
    requests = False

    def __init__(
        self,
        repository: Repository,
        oid: str,
        *,
        label: str,
        sibling: Callable[[str], Source] | None = None,
        spool_limit: int = _MAX_SPOOL,
    ) -> None:
        self._repository = repository
        self._oid = oid
        self._sibling = sibling
        self._spool_limit = spool_limit
        import threading

        self._lock = threading.Lock()
        self._copy = -1
        self._closed = False
        self._whole = b""
        self._stream: BlobStream | None = None
        self.label = label
        self.identity = f"git:{oid}"
        facts, found = reader_of(repository).take(oid, label)
        self.size = facts.size
        if isinstance(found, bytes):
            self._whole = found
        else:
            self._stream = BlobStream(found, facts.size, label)
        self._head = b""
        self._position = 0  # of the stream
        self._runs_ahead = False

    @property
    def random_access(self) -> bool:
        """True for a small blob, and once a large one was copied to a temporary file."""
        return self._stream is None or self._copy >= 0

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill the buffer; SourceError when the bytes are not there."""
        if offset < 0 or offset + len(buffer) > self.size:
            raise SourceError(f"{self.label}: ends at offset {self.size}")
        if self._stream is None:
            buffer[:] = self._whole[offset : offset + len(buffer)]
            return
        if self._copy < 0:
            with self._lock:
                if self._closed:
                    raise SourceError(f"{self.label}: is closed")
                if self._copy < 0 and self._read_stream(self._stream, offset, buffer):
                    return
        read_descriptor(self._copy, self.label, offset, buffer)

    def _read_stream(self, stream: BlobStream, offset: int, buffer: memoryview) -> bool:
        """Serve a read from the kept head and the live stream; False when the blob was copied instead."""
        if not self._head and self.size:
            self._head = self._take(stream, min(_KEPT, self.size))
        if not self._runs_ahead and offset + len(buffer) > _LONG:  # it is for more than a small header
            self._runs_ahead = True
            stream.let_run_ahead()
        kept = self._head[offset : offset + len(buffer)]
        rest = offset + len(kept)
        if len(kept) < len(buffer):
            if rest < self._position:
                self._spool(stream)
                return False
            self._skip(stream, rest)
            self._fill(stream, buffer[len(kept) :])
        buffer[: len(kept)] = kept
        return True

    def _take(self, stream: BlobStream, count: int) -> bytes:
        data = bytearray(count)
        self._fill(stream, memoryview(data))
        return bytes(data)

    def _skip(self, stream: BlobStream, offset: int) -> None:
        """Read on to ``offset``, throwing the bytes away."""
        scratch = memoryview(bytearray(min(_SKIP, max(0, offset - self._position))))
        while self._position < offset:
            self._fill(stream, scratch[: offset - self._position])

    def _fill(self, stream: BlobStream, view: memoryview) -> None:
        """Fill ``view`` from the stream."""
        while view:
            got = stream.readinto(view)
            if not got:
                raise SourceError(f"{self.label}: ends at offset {self._position}")
            self._position += got
            view = view[got:]

    def _spool(self, stream: BlobStream) -> None:
        """Copy the whole blob and let the stream go."""
        stream.close()
        with open_stream(self._repository, self._oid, self.label) as again:
            self._copy = spool_stream(again, self.size, self._spool_limit, self.label)

    def read(self, offset: int, count: int) -> bytes:
        """Up to ``count`` bytes."""
        data = bytearray(max(0, min(count, self.size - offset)))
        self.read_into(offset, memoryview(data))
        return bytes(data)

    def open_stream(self) -> BinaryIO:
        """A stream of its own, from the start."""
        stream = open_stream(self._repository, self._oid, self.label)
        return io.BufferedReader(stream, 1 << 16) if isinstance(stream, BlobStream) else stream

    def sibling(self, name: str) -> Source:
        """The file ``name`` in the same directory at the same revision."""
        if self._sibling is None:
            raise SourceError(f"{self.label}: has no file {name!r} beside it")
        return self._sibling(name)

    def verify_unchanged(self) -> None:
        """A blob never changes."""

    def close(self) -> None:
        """End git and give the temporary copy back; may be called twice."""
        with self._lock:
            self._closed = True
            if self._stream is not None:
                self._stream.close()
            fd, self._copy = self._copy, -1
            if fd >= 0:
                os.close(fd)
