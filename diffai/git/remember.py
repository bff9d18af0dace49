"""What one call of git's printed for the same bytes before: a second ``git log -p`` does no arithmetic.

A call depends on its arguments, the bytes of its files, git's configuration, the configuration files of the clone and
the terminal. All of these are in the key as they are, unread: nothing has to be loaded to look, and nothing can be
forgotten. Keys are made of the bytes that git handed over (or of the object that a pointer among them led to), never
of an object name that may be a pointer's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from diffai.cache.places import content_id, digest_of, open_store
from diffai.config import FILE_NAME, repository_root
from diffai.errors import DiffaiError
from diffai.sources.local import LocalFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.cache.store import Kind
    from diffai.config.quick_git import Question
    from diffai.model import Checkpoint

SCHEMA = 4
"""Raised when a call prints something else for the same input, within one version of the program."""

_LARGEST_POINTER = 32 * 1024
_LARGEST_FILE = 1 << 20
_TERMINAL = ("NO_COLOR", "TERM", "COLUMNS", "GIT_PAGER_IN_USE", "LANG", "LC_ALL", "LC_CTYPE")
_AT_ONCE = 8 << 20
"""Bytes that are read while git is asked whether they may be."""
_UNREAD = (b"diffai.shapeonly\n", b"diffai.maxbytes\n")
"""Settings by which files are not to be read to the end, not even for their names."""


class RememberedCall:
    """The place of one call in the cache.

    Args:
        kind: what it speaks of.
        words: its arguments, without the names of temporary files.
        files: the files that git handed over.
        asked: the question for git's configuration.

    Attributes:
        contents: a name for the bytes behind each file, "" where there are none; empty where none were named.
    """

    def __init__(self, kind: Kind, words: Sequence[str], files: Sequence[str], asked: Question | None) -> None:
        self._kind = kind
        self._files = files
        self._store = open_store()
        self._key: tuple[str, ...] = ()
        self._states: list[str] = []
        self.contents: list[str] = []
        if not self._store.limit:
            return
        sizes = [_size_of(file) for file in files]
        at_once = sum(sizes) <= _AT_ONCE  # git answers in the meantime
        contents = [self._content(file) for file in files] if at_once else []
        configuration = _configuration()
        status, answer = asked.answer() if asked is not None else (0, b"")
        if status not in (0, 1) or any(key in answer for key in _UNREAD) or configuration is None:
            return
        self.contents = contents or [self._content(file) for file in files]
        if all(self.contents):
            settings = answer.decode("utf-8", "surrogateescape")
            self._key = (str(SCHEMA), *words, *self.contents, settings, *configuration, *_terminal())

    def get(self) -> str | None:
        """What it printed; None where that is not known."""
        kept = self._store.get_bytes(self._kind, *self._key) if self._key else None
        return kept.decode("utf-8", "surrogatepass") if kept is not None else None

    def put(self, text: str, limit: int) -> None:
        """Remember what it printed, where it depended on nothing else than these files.

        Args:
            text: all of it.
            limit: bytes that the cache may hold; 0 = it is switched off.
        """
        if self._key and limit and self.unchanged:
            self._store.limit = limit
            self._store.put_bytes(self._kind, *self._key, content=text.encode("utf-8", "surrogatepass"))

    @property
    def unchanged(self) -> bool:
        """Whether the files are still those that were named; else other bytes may have been read since."""
        try:
            return self._states == [_state_of(file) for file in self._files]
        except OSError:
            return False

    def _content(self, file: str) -> str:
        """A name for the bytes behind a file; "" where there are none."""
        if file == os.devnull:
            self._states.append("")
            return "-"
        try:
            self._states.append(_state_of(file))
            if _size_of(file) > _LARGEST_POINTER:
                source = LocalFile(file)
                try:
                    return f"xxh3:{digest_of(source)}:{source.size}"
                finally:
                    source.close()
            return _behind_pointer(file)
        except (DiffaiError, OSError):
            return ""


def is_one_file(checkpoint: Checkpoint) -> bool:
    """Whether all of a model is in the file that git handed over; what lies beside it is named by nothing."""
    return checkpoint.identity is None and not any(spec.file for spec in checkpoint.tensors.values())


def _size_of(file: str) -> int:
    """Bytes of a file; 0 where there is none."""
    try:
        return os.path.getsize(file)
    except OSError:
        return 0


def _state_of(file: str) -> str:
    """Changes when the file does."""
    if file == os.devnull:
        return ""
    status = os.stat(file)
    return f"{status.st_dev} {status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def _behind_pointer(file: str) -> str:
    """A name for the content of a small file, or of the object that it points to; "" where that is not here."""
    from diffai.model import State
    from diffai.snapshots.files import open_file
    from diffai.sources.directory import Directory

    source = open_file(file, path="")
    if isinstance(source, (State, Directory)):
        return ""
    try:
        return content_id(source)
    finally:
        source.close()


def _configuration() -> list[str] | None:
    """The configuration files of the clone that may count here, as they are; None where one is out of proportion."""
    root = repository_root(os.curdir)
    found, folder = [], os.path.abspath(os.curdir)
    while root is not None:
        for name in (FILE_NAME, "pyproject.toml"):
            path = os.path.join(folder, name)
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    data = file.read(_LARGEST_FILE + 1)
                if len(data) > _LARGEST_FILE:
                    return None
                found.append(f"{path} {os.path.islink(path)} {data.decode('utf-8', 'surrogateescape')}")
        if folder in (root, os.path.dirname(folder)):
            break
        folder = os.path.dirname(folder)
    return found


def _terminal() -> list[str]:
    """What decides over colour and width."""
    known = [f"{name}={os.environ[name]}" for name in _TERMINAL if name in os.environ]
    if sys.stdout is not None and sys.stdout.isatty():
        known.append(f"{os.get_terminal_size(sys.stdout.fileno())}")
    return known
