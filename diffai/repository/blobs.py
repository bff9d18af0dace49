"""Blobs out of git's object store, streamed: a header is read without inflating the rest."""

from __future__ import annotations

import io
import os
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO, cast

from diffai.errors import SourceError
from diffai.repository.runner import Repository, start_error, words_of
from diffai.sources.base import Source
from diffai.sources.spool import read_descriptor, spool_stream

_KEPT = 1 << 16  # the first bytes are kept, because a format looks at them before its header is read
_SKIP = 1 << 18
_PIPE = 1 << 20
_LONG = 1 << 18
_MAX_SPOOL = 64 << 30
# How versions of git say that an object is only on the server, and that they were kept from fetching it.
_NOT_HERE = ("fetch", "promisor", "missing", "unable to read", "transport")


class MissingObjectError(SourceError):
    """git knows the object's name, but does not have it (a partial clone)."""


class BlobStream(io.RawIOBase):
    """The content of one blob from its start, out of a ``git cat-file`` of its own.

    Packed blobs over 1 MB are streamed as well, because the threshold of big files is lowered for this call.

    Args:
        repository: whose object store is read.
        oid: full object name.
        label: for messages.

    Raises:
        MissingObjectError: the object is not here; nothing is fetched.
        SourceError: it is no blob, or git fails.

    """

    def __init__(self, repository: Repository, oid: str, label: str) -> None:
        super().__init__()
        self._label = label
        command = ["git", "-c", "core.bigFileThreshold=1m", "cat-file", "--batch"]
        try:
            self._process = subprocess.Popen(
                command, cwd=repository.directory or None, env=dict(repository.environment()),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
        except OSError as error:
            raise start_error(error, repository.directory) from error
        self._out = cast("io.BufferedReader", self._process.stdout)
        try:
            self.size = self._ask(oid)
        except BaseException:
            self.close()
            raise
        self._left = self.size

    def _ask(self, oid: str) -> int:
        """Send the name; the size out of git's answer ``<oid> blob <size>``."""
        with suppress(BrokenPipeError), cast("BinaryIO", self._process.stdin) as stdin:  # git's words follow
            stdin.write(oid.encode("ascii") + b"\n")
        words = self._out.readline(200).split()
        if len(words) == 3 and words[1] == b"blob":
            return int(words[2])
        if len(words) == 3:
            raise SourceError(f"{self._label}: is a {words[1].decode()}, not a file")
        reason = words_of(cast("BinaryIO", self._process.stderr).read())
        if words[1:] == [b"missing"] or any(sign in reason for sign in _NOT_HERE):
            raise MissingObjectError(f"{self._label}: object {oid} is not in this repository")
        raise SourceError(f"{self._label}: {reason}")

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
        got = self._out.readinto1(view)
        if not got:
            reason = words_of(cast("BinaryIO", self._process.stderr).read())
            raise SourceError(f"{self._label}: ends {self._left:,} bytes early ({reason})")
        self._left -= got
        return got

    def let_run_ahead(self) -> None:
        """Let git work on while what it gave is used, as far as a pipe of 1 MB takes it (Linux; else as it is)."""
        with suppress(ImportError, AttributeError, OSError):
            import fcntl

            fcntl.fcntl(self._out.fileno(), fcntl.F_SETPIPE_SZ, _PIPE)

    def close(self) -> None:
        """End git quietly, wherever it is."""
        if self.closed:
            return
        super().close()
        process = self._process
        process.kill()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        process.wait()


class GitBlob:
    """A blob as a source; see :class:`diffai.sources.base.Source`.

    Ascending reads stream. The first read that goes back (beyond the first 64 KiB, which are kept) copies the whole
    blob to a private temporary file, after which reads in any order are cheap.

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
        self._lock = threading.Lock()
        self._copy = -1
        self._closed = False
        self.label = label
        self.identity = f"git:{oid}"
        self._stream = BlobStream(repository, oid, label)
        self.size = self._stream.size
        self._head = b""
        self._position = 0  # of the stream
        self._runs_ahead = False

    @property
    def random_access(self) -> bool:
        """True once the blob was copied to a temporary file."""
        return self._copy >= 0

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill the buffer; SourceError when the bytes are not there."""
        if offset < 0 or offset + len(buffer) > self.size:
            raise SourceError(f"{self.label}: ends at offset {self.size}")
        if self._copy < 0:
            with self._lock:
                if self._closed:
                    raise SourceError(f"{self.label}: is closed")
                if self._copy < 0 and self._read_stream(offset, buffer):
                    return
        read_descriptor(self._copy, self.label, offset, buffer)

    def _read_stream(self, offset: int, buffer: memoryview) -> bool:
        """Serve a read from the kept head and the live stream; False when the blob was copied instead."""
        if not self._head and self.size:
            self._head = self._take(min(_KEPT, self.size))
        if not self._runs_ahead and offset + len(buffer) > _LONG:  # it is for more than a small header
            self._runs_ahead = True
            self._stream.let_run_ahead()
        kept = self._head[offset : offset + len(buffer)]
        rest = offset + len(kept)
        if len(kept) < len(buffer):
            if rest < self._position:
                self._spool()
                return False
            self._skip(rest)
            self._fill(buffer[len(kept) :])
        buffer[: len(kept)] = kept
        return True

    def _take(self, count: int) -> bytes:
        data = bytearray(count)
        self._fill(memoryview(data))
        return bytes(data)

    def _skip(self, offset: int) -> None:
        """Read on to ``offset``, throwing the bytes away."""
        scratch = memoryview(bytearray(min(_SKIP, max(0, offset - self._position))))
        while self._position < offset:
            self._fill(scratch[: offset - self._position])

    def _fill(self, view: memoryview) -> None:
        """Fill ``view`` from the stream."""
        while view:
            got = self._stream.readinto(view)
            if not got:
                raise SourceError(f"{self.label}: ends at offset {self._position}")
            self._position += got
            view = view[got:]

    def _spool(self) -> None:
        """Copy the whole blob and let the stream go."""
        self._stream.close()
        with BlobStream(self._repository, self._oid, self.label) as stream:
            self._copy = spool_stream(cast("BinaryIO", stream), self.size, self._spool_limit, self.label)

    def read(self, offset: int, count: int) -> bytes:
        """Up to ``count`` bytes."""
        data = bytearray(max(0, min(count, self.size - offset)))
        self.read_into(offset, memoryview(data))
        return bytes(data)

    def open_stream(self) -> BinaryIO:
        """A stream of its own, from the start."""
        return cast("BinaryIO", io.BufferedReader(BlobStream(self._repository, self._oid, self.label), 1 << 16))

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
            self._stream.close()
            fd, self._copy = self._copy, -1
            if fd >= 0:
                os.close(fd)
