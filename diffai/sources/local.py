"""Local files, read with pread so that a file truncated under us is an error and not a crash; bytes in memory."""

from __future__ import annotations

import io
import os
import stat

from diffai.errors import SourceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO


_HEXADECIMAL = frozenset("0123456789abcdef")


def _is_address(name: str) -> bool:
    """Whether a file is called like the content address of a store."""
    return 30 <= len(name) <= 64 and _HEXADECIMAL.issuperset(name)


def checked_place(label: str, place: str) -> str:
    """``place`` itself when it is a file of the folder or of one below it, with ``/``; else SourceError."""
    if place.startswith("/") or "\\" in place or "\0" in place or not {"", ".", ".."}.isdisjoint(place.split("/")):
        raise SourceError(f"{label}: names a file outside its own directory: {place!r}")
    return place


class LocalFile:
    """A regular file on disk.

    Args:
        path: the file. Symbolic links are followed; directories, devices, sockets and FIFOs are refused.
        label: how messages name it; the path by default.

    Raises:
        SourceError: missing, not a regular file, or not permitted.

    """

    random_access = True
    requests = False
    _fd = -1

    def __init__(self, path: str | os.PathLike[str], *, label: str = "") -> None:
        self.path = os.fspath(path)
        self.label = label or self.path
        try:
            # O_NONBLOCK: a FIFO named like a model must not hang the open.
            self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise SourceError(f"{self.label}: {_because(error)}") from error
        self._stat = os.fstat(self._fd)
        if not stat.S_ISREG(self._stat.st_mode):
            self.close()
            kind = "a directory" if stat.S_ISDIR(self._stat.st_mode) else "not a regular file"
            raise SourceError(f"{self.label}: is {kind}")
        self.size = self._stat.st_size

    @property
    def identity(self) -> str:
        """Device, inode, size and change times."""
        s = self._stat
        return f"file:{s.st_dev}:{s.st_ino}:{s.st_size}:{s.st_mtime_ns}:{s.st_ctime_ns}"

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill the buffer or raise SourceError."""
        done, wanted = 0, len(buffer)
        while done < wanted:
            try:
                got = os.preadv(self._fd, (buffer[done:],), offset + done)
            except OSError as error:
                raise SourceError(f"{self.label}: cannot read at offset {offset + done}: {_because(error)}") from error
            if got == 0:
                raise SourceError(f"{self.label}: ends at offset {offset + done}, {wanted - done} bytes early"
                                  " (changed while being read?)")  # fmt: skip
            done += got

    def read(self, offset: int, count: int) -> bytes:
        """Up to ``count`` bytes."""
        count = max(0, min(count, self.size - offset))
        data = bytearray(count)
        self.read_into(offset, memoryview(data))
        return bytes(data)

    def open_stream(self) -> BinaryIO:
        """A stream of its own, from the start."""
        try:
            return open(self.path, "rb")
        except OSError as error:
            raise SourceError(f"{self.label}: {_because(error)}") from error

    def sibling(self, name: str) -> LocalFile:
        """A shard or a file of weights beside this file or below its folder; what leads elsewhere is refused."""
        beside = self.beside(name)
        return LocalFile(beside, label=os.path.join(os.path.dirname(self.label), name))

    def beside(self, name: str) -> str:
        """The path of a file beside this one or below its folder, whose name came out of a file's content.

        A link is followed where it ends in the folder, beside what this file is a link to (a hub's cache), in the
        repository, or at the address of a content (``blobs/3fa9...``, ``files/md5/ab/cd12...``).

        Raises:
            SourceError: the name, or the link, leads elsewhere.

        """
        folder = os.path.dirname(self.path)
        path = os.path.join(folder, checked_place(self.label, name))
        real = os.path.realpath(path)
        if real == os.path.join(os.path.realpath(folder), name) or _is_address(os.path.basename(real)):
            return path
        roots = [os.path.realpath(folder), os.path.dirname(os.path.realpath(self.path)), *self._roots()]
        if not any(real.startswith(os.path.join(root, "")) for root in roots if root):
            raise SourceError(f"{path}: is a link out of its folder, to {real}")
        return path

    def _roots(self) -> tuple[str, ...]:
        """Further folders, without links, that files beside this one may be links into."""
        return ()

    def verify_unchanged(self) -> None:
        """Compare size and modification time with those at opening."""
        now = os.fstat(self._fd)
        if (now.st_size, now.st_mtime_ns) != (self._stat.st_size, self._stat.st_mtime_ns):
            raise SourceError(f"{self.label}: changed while being read; run again")

    def close(self) -> None:
        """Close the descriptor."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        """Nobody has it any more: a program that reads many models must not run out of descriptors."""
        self.close()


class MemoryBytes:
    """Bytes that are already in memory."""

    random_access = True
    requests = False
    path = ""

    def __init__(self, data: bytes | bytearray | memoryview, *, label: str = "<bytes>") -> None:
        self._view = memoryview(data).cast("B")
        self.label = label
        self.size = len(self._view)
        self.identity = ""

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Copy out of the buffer."""
        part = self._view[offset : offset + len(buffer)]
        if len(part) != len(buffer):
            raise SourceError(f"{self.label}: ends at offset {self.size}")
        buffer[:] = part

    def read(self, offset: int, count: int) -> bytes:
        """Up to ``count`` bytes."""
        return bytes(self._view[offset : offset + count])

    def open_stream(self) -> BinaryIO:
        """A stream over the bytes."""
        return io.BytesIO(self._view)

    def sibling(self, name: str) -> LocalFile:
        """There is nothing beside bytes in memory."""
        raise SourceError(f"{self.label}: has no file {name!r} beside it")

    def verify_unchanged(self) -> None:
        """Memory is taken to be still."""

    def close(self) -> None:
        """Nothing to release."""


def _because(error: OSError) -> str:
    """The system's own words, lower-cased: ``no such file or directory``."""
    return (error.strerror or str(error)).lower()


def open_url(url: str) -> str:
    """The path that a ``file:`` URL names; see :func:`diffai.sources.schemes.open_url`.

    Raises:
        SourceError: it is on another machine.

    """
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise SourceError(f"{url}: is on another machine ({parts.netloc})")
    return unquote(parts.path)
