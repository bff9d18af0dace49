"""One object reader: a single ``git cat-file --batch`` answers for a whole command, whatever it asks.

A small object is read whole; a large blob takes the running git along, which then streams it alone, and the next
question starts another. Nothing is fetched: an object that a partial clone left on the server is missing.
"""

from __future__ import annotations

import atexit
import os
from contextlib import suppress

from diffai.errors import SourceError
from diffai.frozen import frozen
from diffai.repository.runner import SAFE_OPTIONS, Repository, start_error, words_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from io import BufferedReader
    from subprocess import Popen
    from typing import BinaryIO

SMALL = 1 << 20
"""Blobs of at most this many bytes are read whole."""

_MOST_TEXT = 64 << 20
_FEW = 8  # blobs that are asked for one by one
_AHEAD = 8 << 20  # bytes
_MOST_AHEAD = 256  # questions, which are a quarter of a pipe
_MOST_READERS = 4
_PIPE = 1 << 20
# How versions of git say that an object is only on the server, and that they were kept from fetching it.
_NOT_HERE = ("fetch", "promisor", "missing", "unable to read", "transport")


class MissingObjectError(SourceError):
    """git knows the object's name, but does not have it (a partial clone)."""


@frozen
class Facts:
    """What an object is: its full name, its kind (``blob``, ``tree``, ``commit``, ``tag``) and its bytes."""

    oid: str
    kind: str
    size: int


class CatFile:
    """A running ``git cat-file --batch``: asked for one object after another, each answer read before the next.

    Packed blobs over 1 MB are streamed as well, because the threshold of big files is lowered for this call.

    Args:
        repository: whose object store is read.

    Raises:
        GitError: git cannot be started.

    """

    def __init__(self, repository: Repository) -> None:
        import subprocess

        command = ["git", *SAFE_OPTIONS, "-c", "core.bigFileThreshold=1m", "cat-file", "--batch"]
        try:
            self.process: Popen[bytes] = subprocess.Popen(
                command, cwd=repository.directory or None, env=dict(repository.environment()),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
        except OSError as error:
            raise start_error(error, repository.directory) from error
        self.out: BufferedReader = self.process.stdout  # type: ignore[assignment]

    def ask(self, name: str, label: str) -> Facts | None:
        """What the object of any name that git knows is; its content follows on ``out``, and a newline.

        Returns:
            None when there is none here.

        Raises:
            MissingObjectError: there is none here, and git ended over it.
            SourceError: git failed, and has ended.

        """
        self.tell([name])
        return self.answer(name, label)

    def tell(self, names: Sequence[str]) -> None:
        """Ask for objects; each must be answered before the next question, and all must fit into a pipe."""
        stdin: BinaryIO = self.process.stdin  # type: ignore[assignment]
        with suppress(OSError):  # git is gone: its words follow
            stdin.write(b"".join(os.fsencode(name) + b"\n" for name in names))
            stdin.flush()

    def answer(self, name: str, label: str) -> Facts | None:
        """The next answer; see :meth:`ask`."""
        line = self.out.readline()
        words = line.split()
        if len(words) == 3 and words[2].isdigit():
            return Facts(words[0].decode("ascii"), words[1].decode("ascii"), int(words[2]))
        if line:
            return None
        reason = self.complaint()
        if any(sign in reason for sign in _NOT_HERE):
            raise MissingObjectError(f"{label}: object {name} is not in this repository")
        raise SourceError(f"{label}: {reason}")

    def let_run_ahead(self) -> None:
        """Let git work on while what it gave is used, as far as a pipe of 1 MB takes it (Linux; else as it is)."""
        with suppress(ImportError, AttributeError, OSError):
            import fcntl

            fcntl.fcntl(self.out.fileno(), fcntl.F_SETPIPE_SZ, _PIPE)

    def complaint(self) -> str:
        """What git said before it ended; only to be asked after it has."""
        stderr: BinaryIO = self.process.stderr  # type: ignore[assignment]
        return words_of(stderr.read())

    def close(self) -> None:
        """End git quietly, wherever it is; may be called twice."""
        process = self.process
        process.kill()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        process.wait()


class ObjectReader:
    """Objects of one repository; safe to use from several threads. See :func:`reader_of`."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._git: CatFile | None = None
        import threading

        self._lock = threading.Lock()
        self._coming: dict[str, int] = {}
        self._asked: list[str] = []
        self._ready: dict[str, tuple[Facts, bytes]] = {}

    def announce(self, oids: Iterable[str], sizes: Mapping[str, int] | None = None) -> None:
        """Say which blobs will be taken soon, and in which order: git is then asked for many small ones at a time.

        A question and its answer for each of thousands of small blobs cost more in switching between two processes
        than the blobs themselves; and while one is used, git works on those that come.

        Args:
            oids: full object names.
            sizes: bytes of each, where they are known.

        Raises:
            SourceError: git failed.

        """
        names = list(dict.fromkeys(oids))
        if len(names) < _FEW:
            return
        if sizes is not None:
            with self._lock:
                self._coming = {name: sizes[name] for name in names if 0 <= sizes[name] <= SMALL}
            return
        asked = "".join(f"{name}\n" for name in names).encode("ascii")
        answer = self._repository.ask("cat-file", "--batch-check=%(objectname) %(objecttype) %(objectsize)", data=asked)
        with self._lock:
            self._coming = {
                words[0]: int(words[2])
                for line in answer.decode("ascii", "replace").splitlines()
                if len(words := line.split()) == 3 and words[1] == "blob" and int(words[2]) <= SMALL
            }

    def read(self, name: str, *, kind: str = "blob", most: int = _MOST_TEXT) -> bytes | None:
        """The whole content of an object.

        Args:
            name: any name that git knows: an object name, ``REV:path``.
            kind: what it has to be.
            most: bytes above which it is not read.

        Returns:
            None when there is none of this name and kind here, or it is longer.

        Raises:
            SourceError: git failed.

        """
        found = self.find(name, kind=kind, most=most)
        return found[1] if found is not None else None

    def find(self, name: str, *, kind: str = "blob", most: int = _MOST_TEXT) -> tuple[Facts, bytes] | None:
        """As :meth:`read`, with what the object is."""
        if "\n" in name or "\0" in name:
            return None
        with self._lock:
            try:
                facts = self._ask(name, name)
            except MissingObjectError:
                return None
            if facts.size > most:
                self._drop()
                return None
            data = self._content(facts, name)
        return (facts, data) if facts.kind == kind else None

    def head(self, oid: str, count: int) -> tuple[bytes, int] | None:
        """The first bytes of a blob, and the size of it; None when it is not here, or no blob."""
        with self._lock:
            try:
                facts = self._ask(oid, oid)
            except MissingObjectError:
                return None
            if facts.size <= SMALL:
                data = self._content(facts, oid)[:count]
            else:
                git = self._git
                assert git is not None
                data = git.out.read(count)
                self._drop()
        return (data, facts.size) if facts.kind == "blob" else None

    def take(self, oid: str, label: str) -> tuple[Facts, bytes | CatFile]:
        """A blob whole, or, when it is large, a git that is about to write it and belongs to the caller from now on.

        Raises:
            MissingObjectError: the object is not here; nothing is fetched.
            SourceError: it is no blob, or git fails.

        """
        with self._lock:
            if oid in self._coming or oid in self._asked:
                self._read_ahead(oid, label)
            known = self._ready.pop(oid, None)
            if known is not None:
                return known
            facts = self._ask(oid, label)
            if facts.size <= SMALL:
                data = self._content(facts, label)
                if facts.kind != "blob":
                    raise SourceError(f"{label}: is a {facts.kind}, not a file")
                return facts, data
            git, self._git = self._git, None
            assert git is not None
        if facts.kind != "blob":
            git.close()
            raise SourceError(f"{label}: is a {facts.kind}, not a file")
        return facts, git

    def _read_ahead(self, oid: str, label: str) -> None:
        """Read the answers up to a blob that was announced, and ask for those that follow it."""
        if oid in self._coming:
            self._settle(label)
            self._ask_for_more(oid)
        while self._asked and oid not in self._ready:
            self._read_next(label)
        if len(self._asked) < _FEW:
            self._ask_for_more()

    def _ask_for_more(self, first: str = "") -> None:
        """Ask for announced blobs, ``first`` before all others, and read no answer yet."""
        if sum(len(data) for _, data in self._ready.values()) > _AHEAD:  # announced, and not taken after all
            self._ready.clear()
        total = self._coming.pop(first, 0)
        batch = [first] if first else []
        for name, size in self._coming.items():
            total += size
            if total > _AHEAD or len(batch) + len(self._asked) >= _MOST_AHEAD:
                break
            batch.append(name)
        for name in batch:
            self._coming.pop(name, None)
        if batch:
            if self._git is None:
                self._git = CatFile(self._repository)
                self._git.let_run_ahead()
            self._git.tell(batch)
            self._asked += batch

    def _read_next(self, label: str) -> None:
        """Read the answer to the oldest question."""
        git = self._git
        assert git is not None
        try:
            name = self._asked.pop(0)
            facts = git.answer(name, label)
            if facts is not None:
                self._ready[name] = facts, self._content(facts, label)
        except SourceError:  # whoever takes the object that git ended over hears of it
            self._drop()

    def _settle(self, label: str) -> None:
        """Read all answers that are outstanding, before another question."""
        while self._asked:
            self._read_next(label)

    def _ask(self, name: str, label: str) -> Facts:
        self._settle(label)
        self._git = self._git or CatFile(self._repository)
        try:
            facts = self._git.ask(name, label)
        except SourceError:
            self._drop()
            raise
        if facts is None:
            raise MissingObjectError(f"{label}: object {name} is not in this repository")
        return facts

    def _content(self, facts: Facts, label: str) -> bytes:
        git = self._git
        assert git is not None
        data = git.out.read(facts.size + 1)
        if len(data) <= facts.size:
            reason = git.complaint()
            self._drop()
            raise SourceError(f"{label}: ends {facts.size - len(data):,} bytes early ({reason})")
        return data[:-1]

    def _drop(self) -> None:
        self._asked.clear()
        git, self._git = self._git, None
        if git is not None:
            git.close()

    def close(self) -> None:
        """End git; the next question starts it again."""
        with self._lock:
            self._drop()


_readers: dict[tuple[str | None, ...], tuple[ObjectReader, str, tuple[int, int]]] = {}


def reader_of(repository: Repository) -> ObjectReader:
    """The one reader of a repository, shared by everything that a command does."""
    variables = (os.environ.get(name) for name in ("GIT_DIR", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY"))
    key = (os.path.abspath(repository.directory), *variables)
    known = _readers.get(key)
    if known is not None:
        reader, folder, inode = known
        if _inode(folder) == inode:
            return reader
        _readers.pop(key)[0].close()  # another repository lies there by now
    if len(_readers) >= _MOST_READERS:
        _readers.pop(next(iter(_readers)))[0].close()
    place = repository.place()
    folder = place.common_dir if place is not None else repository.directory or os.curdir
    folder = os.path.abspath(folder)
    reader = ObjectReader(repository)
    _readers[key] = (reader, folder, _inode(folder))
    return reader


def _inode(folder: str) -> tuple[int, int]:
    try:
        status = os.stat(folder)
    except OSError:
        return (-1, -1)
    return (status.st_dev, status.st_ino)


def close_readers() -> None:
    """End every git that still waits for a question."""
    while _readers:
        _readers.popitem()[1][0].close()


atexit.register(close_readers)
