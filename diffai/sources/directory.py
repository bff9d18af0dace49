"""Directories of files, on disk or in a git tree: where the shards of one model lie together."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable

from diffai.errors import SourceError
from diffai.model import State
from diffai.sources.base import Source


class UnresolvedError(SourceError):
    """A file is there, but only as a pointer to bytes that are not (an LFS object that was not pulled).

    Attributes:
        state: what stands in its place.

    """

    def __init__(self, message: str, state: State) -> None:
        super().__init__(message)
        self.state = state


class Directory(ABC):
    """The files of one directory, without those below it.

    Attributes:
        label: how the user names it; for messages.
        path: path of a real directory, "" when there is none.
        size, identity: nothing is known of them, as a directory has no bytes of its own.
        requests: none is a listing of another machine.

    """

    label: str
    path: str
    size = -1
    identity = ""
    requests = False

    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Names of the files, sorted; SourceError when they cannot be listed."""

    @abstractmethod
    def open(self, name: str) -> Source:
        """Open one file, pointers resolved; SourceError when missing, UnresolvedError when not pulled."""

    def close(self) -> None:  # noqa: B027 - so that callers can close whatever they were given
        """Nothing is held open."""


class LocalDirectory(Directory):
    """A directory on disk.

    Args:
        path: the directory.
        open_file: how a file in it is opened, given its path (resolves pointers).
        label: how messages name it; the path by default.

    """

    def __init__(self, path: str, open_file: Callable[[str], Source], *, label: str = "") -> None:
        self.path = path
        self.label = label or path
        self._open_file = open_file

    def names(self) -> tuple[str, ...]:
        """Regular files and links to such, sorted."""
        try:
            with os.scandir(self.path) as entries:
                return tuple(sorted(entry.name for entry in entries if entry.is_file()))
        except OSError as error:
            raise SourceError(f"{self.label}: {(error.strerror or str(error)).lower()}") from error

    def open(self, name: str) -> Source:
        """The file ``name``; names that lead elsewhere are refused."""
        return self._open_file(os.path.join(self.path, checked_name(self.label, name)))


def checked_name(label: str, name: str) -> str:
    """``name`` itself when it is a plain file name; else SourceError (it could lead out of the directory)."""
    if not name or "/" in name or "\\" in name or "\0" in name or name in (".", ".."):
        raise SourceError(f"{label}: names a file outside its own directory: {name!r}")
    return name
