"""Files of the disk, pointers followed, and what is said of those that are not here.

A pointer whose object is not here is a state, never a download.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Callable

from diffai.errors import SourceError
from diffai.model import Absent, DvcPointer, LfsPointer, NotAModel, NotPulled, NotRead, State, Unreadable
from diffai.repository.place import GitPlace, find_repository
from diffai.sources.base import Source
from diffai.sources.directory import Directory, LocalDirectory, UnresolvedError
from diffai.sources.local import LocalFile
from diffai.stores.annex import not_here, parse_annex
from diffai.stores.store import Opened, PointerAt, command_line
from diffai.stores.table import HEAD_BYTES, follow, pointer_limit, recognise


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
    return _open_local(file, find_repository, path, is_copy=_is_outside(file, find_repository()))


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
    """A file of the work tree, or the copy that git made of a blob, whose place, new each time, is never told; the
    files beside it are opened with pointers followed.
    """

    def __init__(self, path: str, *, is_copy: bool = False) -> None:
        super().__init__(path)
        self._is_copy = is_copy

    def sibling(self, name: str) -> LocalFile:
        """A file beside this one or below; UnresolvedError when it is a pointer to bytes that are not here."""
        beside = self.beside(name)
        try:
            found: LocalFile = expect_source(open_path(beside), beside)  # type: ignore[assignment]
        except UnresolvedError:
            raise
        except SourceError:
            if self._is_copy:
                raise SourceError(f"{name}: is not beside the copy of this file that git gave") from None
            raise
        return found

    def _roots(self) -> tuple[str, ...]:
        place = find_repository(os.path.dirname(self.path) or os.curdir)
        return () if place is None else tuple(map(os.path.realpath, filter(None, (place.top, place.common_dir))))


def _open_local(file: str, place: Callable[[], GitPlace | None], path: str, *, is_copy: bool = False) -> Opened:
    """A local file; a pointer text is followed."""
    source = WorkFile(file, is_copy=is_copy)
    if source.size > pointer_limit(file):
        return source
    try:
        pointer = recognise(source.read(0, HEAD_BYTES), source.size, os.path.basename(file))
    except BaseException:
        source.close()
        raise
    if pointer is None:
        return source
    data = source.read(0, source.size)
    source.close()
    found = place()
    inside = path or _inside(file, found)
    known = bool(path) or not _is_outside(file, found)
    return follow(pointer, PointerAt(inside, file, found, source.sibling, data, is_known=known))


def _is_outside(file: str, place: GitPlace | None) -> bool:
    """Whether a file lies outside the work tree, as the copies of blobs do that git makes."""
    if place is None or not place.top:
        return True
    return os.path.relpath(os.path.realpath(file), os.path.realpath(place.top)).startswith(os.pardir)


def _inside(file: str, place: GitPlace | None) -> str:
    """A file's path relative to the top of its work tree; its name where there is none."""
    if place is None or not place.top:
        return os.path.basename(file)
    inside = os.path.relpath(os.path.realpath(file), os.path.realpath(place.top))
    if inside == os.curdir:
        return ""
    return os.path.basename(file) if inside.startswith(os.pardir) else inside.replace(os.sep, "/")


def _broken_link(path: str) -> State | None:
    """A symbolic link into git-annex whose object is not here."""
    try:
        target = os.fsencode(os.readlink(path))
    except OSError:
        return None
    annex = parse_annex(target)
    if annex is None:
        return None
    folder, name = os.path.split(path)
    place = find_repository(folder or os.curdir)
    return not_here(annex, posixpath.join(_inside(folder or os.curdir, place), name) if place is not None else name)


def sentence(state: State) -> str:
    """A state as the end of an error message."""
    if isinstance(state, LfsPointer):
        return f"is a git-LFS pointer; its object ({state.size:,} bytes) is not here{_hint(state)}"
    if isinstance(state, NotPulled):
        return f"{state.what} is not here{_hint(state)}"
    if isinstance(state, DvcPointer):
        return "is a DVC pointer with several outputs; name one of them"
    if isinstance(state, NotRead):
        return state.said
    if isinstance(state, Unreadable):
        return state.reason
    return state.kind if isinstance(state, NotAModel) else "has no bytes to read"


def _hint(state: LfsPointer | NotPulled) -> str:
    line = command_line(state.fetch)
    return f" ({line})" if line else ""


def joined(folder: str, target: str) -> str:
    """A relative path inside a tree, normalised; SourceError when it leads out of it."""
    path = posixpath.normpath(posixpath.join(folder, target))
    if path.startswith(("../", "/")) or path == "..":
        raise SourceError(f"{target}: leads out of the repository")
    return "" if path == "." else path
