"""Small files changed as a set: planned as bytes first, written atomically, undone together on failure."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence

from diffai.errors import DiffaiError, SourceError
from diffai.frozen import frozen
from diffai.git.abandoned import remove_abandoned, temporary_beside


@frozen
class FileEdit:
    """One file before and after.

    Attributes:
        path: as people know it; a symbolic link is written through.
        before: the content that was read, None when there was no file.
        after: the content to write, None to remove the file.
        folders: how many folders above come with the file: made before it is created, removed after it is

    """

    path: str
    before: bytes | None
    after: bytes | None
    folders: int = 0

    @property
    def changes(self) -> bool:
        """Whether applying it does anything."""
        return self.before != self.after


def read(path: str) -> bytes | None:
    """The content of a file, None when there is none.

    Raises:
        SourceError: it is a folder, a device, or may not be read.

    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise SourceError(f"{path}: not a regular file")
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from error


def missing_folders(path: str) -> int:
    """How many folders above ``path`` do not exist."""
    count = 0
    folder = os.path.dirname(os.path.realpath(path))
    while not os.path.isdir(folder) and os.path.dirname(folder) != folder:
        count += 1
        folder = os.path.dirname(folder)
    return count


def apply(edits: Sequence[FileEdit]) -> None:
    """Write all edits, or, when one fails, none.

    Raises:
        SourceError: a file is read-only, locked by another git, or changed since it was read.

    """
    done: list[FileEdit] = []
    try:
        for edit in edits:
            if edit.changes:
                _apply_one(edit)
                done.append(edit)
    except DiffaiError:
        for edit in reversed(done):
            with contextlib.suppress(DiffaiError):
                _apply_one(FileEdit(edit.path, edit.after, edit.before, edit.folders))
        raise


def _apply_one(edit: FileEdit) -> None:
    target = os.path.realpath(edit.path)
    try:
        _write_or_remove(edit, target)
    except DiffaiError:
        if edit.before is None:
            _remove_empty_folders(os.path.dirname(target), edit.folders)
        raise
    if edit.after is None:
        _remove_empty_folders(os.path.dirname(target), edit.folders)


def _write_or_remove(edit: FileEdit, target: str) -> None:
    try:
        if edit.after is not None:
            os.makedirs(os.path.dirname(target), exist_ok=True)
        _replace(edit, target)
    except FileExistsError as error:
        raise SourceError(
            f"{target}.lock exists: another git is writing {edit.path}; if none is running, remove that file"
        ) from error
    except OSError as error:
        raise SourceError(f"cannot write {edit.path}: {error.strerror}") from error


def _replace(edit: FileEdit, target: str) -> None:
    """Exchange the content under the lock file that git itself uses for its configuration.

    The new content is written first, and the lock is a second name of it: whoever finds a lock after this program was
    killed can tell whose it was (:mod:`diffai.git.abandoned`).
    """
    remove_abandoned(target)
    lock, temporary = f"{target}.lock", temporary_beside(target)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    locked = False
    try:
        with open(descriptor, "wb") as file:
            _keep_owner_and_mode(target, file.fileno(), edit.path)
            file.write(edit.after or b"")
        _take(lock, temporary)
        locked = True
        if read(target) != edit.before:
            raise SourceError(f"{edit.path} changed while it was being edited; run the command again")
        if edit.after is None:
            os.unlink(target)
            os.unlink(lock)
        else:
            os.replace(lock, target)
        locked = False
    finally:
        with contextlib.suppress(OSError):
            if locked or os.path.samefile(lock, temporary):
                os.unlink(lock)
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def _take(lock: str, content: str) -> None:
    """Take the lock, with the content that is to be; FileExistsError where somebody has it."""
    try:
        os.link(content, lock)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        descriptor = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with open(descriptor, "wb") as file, open(content, "rb") as source:
            os.fchmod(descriptor, stat.S_IMODE(os.fstat(source.fileno()).st_mode))
            file.write(source.read())


def _keep_owner_and_mode(target: str, descriptor: int, path: str) -> None:
    try:
        old = os.stat(target)
    except FileNotFoundError:
        return
    if not old.st_mode & 0o222:  # replacing it would succeed, against what its owner asked for
        raise SourceError(f"cannot write {path}: it is read-only")
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))
    with contextlib.suppress(OSError):
        os.fchown(descriptor, old.st_uid, old.st_gid)


def _remove_empty_folders(folder: str, count: int) -> None:
    with contextlib.suppress(OSError):
        for _ in range(count):
            os.rmdir(folder)
            folder = os.path.dirname(folder)
