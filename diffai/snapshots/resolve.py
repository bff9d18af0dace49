"""What holds the bytes of a path, in the work tree or at a commit: plain files and blobs, or the object of a pointer.

A pointer whose object is not here is a state, never a download. Another kind of pointer joins by one function in
``_FOLLOW`` below.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Callable

from diffai.errors import SourceError
from diffai.frozen import frozen
from diffai.model import Absent, DvcPointer, LfsPointer, NotPulled, State
from diffai.snapshots.directory import Directory, LocalDirectory, UnresolvedError, checked_name
from diffai.sources.base import Source
from diffai.sources.local import LocalFile
from diffai.stores.dvc.names import MAX_POINTER_BYTES, is_pointer_name
from diffai.stores.lfs import GitPlace, find_object, find_repository
from diffai.stores.pointers import HEAD_BYTES, AnnexText, DvcText, LfsText, PointerText, parse_annex, parse_pointer

_URL = r"[A-Za-z][A-Za-z0-9+.-]*://"
_POINTER_MAX_BYTES = 32 * 1024

Opened = Source | Directory | State


def open_source(word: str) -> Opened:
    """What a word of the command line names: an existing path, else ``REV:path``, else a URL.

    ``:path`` and ``:0:path`` to ``:3:path`` name the index, ``REV:./path`` is relative to the working directory.

    Returns:
        A source; a directory; or a state when the path is a pointer to bytes that are not here.

    Raises:
        SourceError: there is nothing of that name, or it cannot be read.

    """
    if word == "-":
        raise SourceError("-: standard input is not read; name a file, or REV:path")
    if os.path.lexists(word):
        return open_path(word)
    if re.match(_URL, word):
        raise SourceError(f"{word}: URLs are not supported yet; download the file first")
    if ":" in word:
        from diffai.snapshots.revision import open_word

        return open_word(word)
    tracked = _behind_dvc(word)
    if tracked is not None:
        return tracked
    raise SourceError(f"{word}: no such file or directory{near_names(word)}")


def _behind_dvc(path: str) -> Opened | None:
    """What a DVC pointer of the work tree says of a file that is not checked out; None when none speaks of it."""
    from diffai.stores.dvc.tracked import open_in_work_tree

    return open_in_work_tree(path)


def open_path(path: str) -> Opened:
    """A path of the file system: a directory, a file, or what a pointer file stands for.

    Raises:
        SourceError: missing, not permitted, or neither a file nor a directory.

    """
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        state = _broken_link(path)
        if state is not None:
            return state
        raise SourceError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    if stat.S_ISDIR(mode):
        return local_directory(path)
    if path == os.devnull:
        return Absent()
    return _open_local(path, lambda: find_repository(os.path.dirname(path) or os.curdir), "")


def local_directory(path: str) -> Directory:
    """A directory on disk whose files are opened with pointers followed."""
    return LocalDirectory(path, lambda inside: expect_source(open_path(inside), inside))


def open_file(file: str, *, path: str = "") -> Opened:
    """A file that git handed over, pointers followed in the repository of the working directory.

    Args:
        file: a work-tree file, or the temporary copy of a blob.
        path: its path in the repository, to name in hints.

    Raises:
        SourceError: it cannot be read.

    """
    return _open_local(file, find_repository, path)


def resolve_at(directory: str, rev: str, path: str) -> Opened:
    """What holds ``path`` at ``rev``.

    Args:
        directory: any directory of the repository; "" is the working directory.
        rev: a revision as the user wrote it, or an object name.
        path: relative to the top of the tree, with ``/``; "" is the tree itself.

    Returns:
        Absent when the tree has no such path.

    Raises:
        SourceError: there is no such revision or no repository; the path is a submodule, or a link that leads out.

    """
    from diffai.snapshots.revision import open_at

    return open_at(directory, rev, path)


def expect_source(found: Opened, label: str) -> Source:
    """The source; what is none is an error.

    Raises:
        UnresolvedError: a pointer to bytes that are not here.
        SourceError: a directory, or nothing.

    """
    if isinstance(found, Directory):
        raise SourceError(f"{label}: is a directory")
    if isinstance(found, Absent):
        raise SourceError(f"{label}: no such file")
    if isinstance(found, State):
        raise UnresolvedError(f"{label}: {sentence(found)}", found)
    return found


def near_names(path: str) -> str:
    """A hint with names in the same directory that look alike; "" when there are none."""
    import difflib

    folder, name = os.path.split(path)
    try:
        names = os.listdir(folder or os.curdir)
    except OSError:
        return ""
    near = difflib.get_close_matches(name, names, 2, 0.75)
    return f"; did you mean {' or '.join(os.path.join(folder, other) for other in near)}?" if near else ""


# ---------------------------------------------------------------- local files


class WorkFile(LocalFile):
    """A file of the work tree; the files beside it are opened with pointers followed."""

    def sibling(self, name: str) -> LocalFile:
        """A shard beside this file; UnresolvedError when it is a pointer to bytes that are not here."""
        beside = os.path.join(os.path.dirname(self.path), checked_name(self.label, name))
        found: LocalFile = expect_source(open_path(beside), beside)  # type: ignore[assignment]
        return found


class StoredObject(LocalFile):
    """A file of an object store (git-LFS, git-annex) that stands for a path.

    Args:
        path: the object's own file.
        oid: its sha256.
        label: how the user names what it stands for.
        sibling: opens the files beside what it stands for.

    """

    def __init__(self, path: str, oid: str, *, label: str, sibling: Callable[[str], Source]) -> None:
        super().__init__(path, label=label)
        self._sibling = sibling
        self._oid = oid

    @property
    def identity(self) -> str:
        """The content's own name."""
        return f"sha256:{self._oid}"

    def sibling(self, name: str) -> LocalFile:
        """As the path it stands for."""
        found: LocalFile = self._sibling(name)  # type: ignore[assignment]
        return found


class AnnexObject(StoredObject):
    """An object of git-annex's store; ``oid`` is "" where its key does not name its content for certain."""

    @property
    def identity(self) -> str:
        """The content's own name, else that of the file as it is now."""
        return StoredObject.identity.fget(self) if self._oid else LocalFile.identity.fget(self)  # type: ignore[attr-defined, no-any-return]


def _open_local(file: str, place: Callable[[], GitPlace | None], path: str) -> Opened:
    """A local file; a pointer text is followed."""
    source = WorkFile(file)
    if source.size > pointer_limit(file):
        return source
    try:
        pointer = parse_pointer(source.read(0, HEAD_BYTES), source.size, os.path.basename(file))
    except BaseException:
        source.close()
        raise
    if pointer is None:
        return source
    data = source.read(0, source.size)
    source.close()
    found = place()
    return follow(pointer, PointerAt(path or _inside(file, found), file, found, source.sibling, data))


def pointer_limit(name: str) -> int:
    """Bytes above which a file of this name is not looked at as a pointer; a ``dvc.lock`` can be long."""
    return MAX_POINTER_BYTES if is_pointer_name(name) else _POINTER_MAX_BYTES


def _inside(file: str, place: GitPlace | None) -> str:
    """A file's path relative to the top of its work tree; its name where there is none."""
    if place is None or not place.top:
        return os.path.basename(file)
    inside = os.path.relpath(os.path.realpath(file), os.path.realpath(place.top))
    return os.path.basename(file) if inside.startswith(os.pardir) else inside.replace(os.sep, "/")


def _broken_link(path: str) -> State | None:
    """A symbolic link into git-annex whose object is not here."""
    try:
        target = os.fsencode(os.readlink(path))
    except OSError:
        return None
    annex = parse_annex(target)
    return _annex_state(annex, path) if annex else None


# ---------------------------------------------------------------- pointers


@frozen
class PointerAt:
    """Where a pointer was met.

    Attributes:
        path: in the repository, for the command of a hint.
        label: how the user names it.
        place: the repository whose stores are searched.
        sibling: opens the files beside it.
        data: its whole text.

    """

    path: str
    label: str
    place: GitPlace | None
    sibling: Callable[[str], Source]
    data: bytes = b""


def follow(pointer: PointerText, at: PointerAt) -> Opened:
    """The bytes that a pointer stands for, or the state that says why they are not here."""
    return _FOLLOW[type(pointer)](pointer, at)


def _follow_lfs(pointer: PointerText, at: PointerAt) -> Source | State:
    assert isinstance(pointer, LfsText)
    stored = find_object(pointer.oid, pointer.size, at.place)
    if not stored:
        return LfsPointer(pointer.oid, pointer.size, at.path)
    return StoredObject(stored, pointer.oid, label=at.label, sibling=at.sibling)


def _follow_annex(pointer: PointerText, at: PointerAt) -> Source | State:
    assert isinstance(pointer, AnnexText)
    from diffai.stores.annex import find_key, sha256_of

    stored = find_key(pointer.key, pointer.size, at.place)
    if not stored:
        return _annex_state(pointer, at.path)
    return AnnexObject(stored, sha256_of(pointer.key, stored), label=at.label, sibling=at.sibling)


def _annex_state(pointer: AnnexText, path: str) -> State:
    return NotPulled(f"git-annex object {pointer.key}", pointer.size, f"git annex get -- {_quoted(path)}")


def _follow_dvc(pointer: PointerText, at: PointerAt) -> Opened:
    from diffai.stores.dvc.tracked import follow_pointer

    return follow_pointer(at.data, at.path, at.place, at.label)


#: How each kind of pointer is followed: (pointer, where it was met) -> a source, or a state.
_FOLLOW: dict[type[PointerText], Callable[[PointerText, PointerAt], Opened]] = {
    LfsText: _follow_lfs,
    AnnexText: _follow_annex,
    DvcText: _follow_dvc,
}


def _quoted(path: str) -> str:
    import shlex

    return shlex.quote(path)


def sentence(state: State) -> str:
    """A state as the end of an error message."""
    if isinstance(state, LfsPointer):
        return (f"is a git-LFS pointer; its object ({state.size:,} bytes) is not here"
                f" (git lfs pull --include {_quoted(state.path)})")  # fmt: skip
    if isinstance(state, NotPulled):
        return f"{state.what} is not here" + (f" ({state.command})" if state.command else "")
    if isinstance(state, DvcPointer):
        return "is a DVC pointer with several outputs; name one of them"
    return getattr(state, "reason", "") or getattr(state, "kind", "") or "has no bytes to read"


def joined(folder: str, target: str) -> str:
    """A relative path inside a tree, normalised; SourceError when it leads out of it."""
    path = posixpath.normpath(posixpath.join(folder, target))
    if path.startswith(("../", "/")) or path == "..":
        raise SourceError(f"{target}: leads out of the repository")
    return "" if path == "." else path
