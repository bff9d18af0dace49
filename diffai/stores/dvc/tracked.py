"""Which DVC pointer holds a path at a commit: ``P.dvc``, the pointer of a folder above it, or a stage's output.

One reader of git's objects answers for all commits, and a pointer that did not change is parsed once, so
a walk over hundreds of revisions costs well under a millisecond each. DVC itself is never started.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterator
from functools import lru_cache

from diffai.errors import SourceError
from diffai.frozen import frozen, replace
from diffai.model import DvcPointer, Unreadable
from diffai.repository.objects import reader_of
from diffai.repository.place import GitPlace, find_repository
from diffai.repository.runner import Repository
from diffai.repository.trees import CommitTree, IndexTree, Tree
from diffai.sources.local import LocalFile
from diffai.stores.dvc import MAX_POINTER_BYTES, DvcText, is_pointer_name
from diffai.stores.dvc.cache import DvcPlace, find_dvc
from diffai.stores.dvc.items import DvcDirectory, DvcItem, Found, entries_of, entry_item, items_of, open_item
from diffai.stores.dvc.pointers import DvcEntry, DvcOut, DvcTextError, parse_dvc_file
from diffai.stores.store import Opened, PointerAt, ReadText


@frozen
class Tracked:
    """What holds a path at one revision.

    Attributes:
        pointer: path of the pointer, from the top.
        path: of the output that it names; the path asked for, or a folder above it.
        out: what it says.
        inside: path inside a directory that is tracked as a whole; "" when the output itself was asked for.
    """

    pointer: str
    path: str
    out: DvcOut
    inside: str = ""


def pointer_paths(path: str) -> list[str]:
    """The pointers that can hold ``path``, likeliest first: also what to give to ``git log --`` to follow it."""
    folders = list(_above(path))
    pointers = [f"{path}.dvc", *(f"{folder}.dvc" for folder in folders if folder)]
    return pointers + [posixpath.join(folder, "dvc.lock") for folder in folders]


def find_tracked(path: str, read: ReadText, names: Callable[[str], list[str]] | None = None) -> Tracked | None:
    """The pointer that holds ``path`` at the revision that ``read`` reads; None when DVC does not track it there.

    Args:
        path: from the top of the repository, with ``/``.
        read: gives the text of a pointer.
        names: lists the file names of a folder, for pointers that are not called after their output; not asked when
            the usual names lead somewhere.

    Pointers that make no sense are passed over: they hold nothing.
    """
    if path.startswith("/"):
        return None
    for pointer in pointer_paths(path):
        found = _in_pointer(path, pointer, read)
        if found is not None:
            return found
    for folder in _above(path) if names is not None else ():
        assert names is not None
        for name in names(folder):
            pointer = posixpath.join(folder, name)
            if name != "dvc.lock" and is_pointer_name(name):
                found = _in_pointer(path, pointer, read)
                if found is not None:
                    return found
    return None


def _in_pointer(path: str, pointer: str, read: ReadText) -> Tracked | None:
    data = read(pointer)
    if data is None:
        return None
    try:
        file = parse_dvc_file(data, pointer)
        yaml = read(posixpath.join(posixpath.dirname(pointer), "dvc.yaml")) if file.lock else None
        items = items_of(file, pointer, None, yaml=yaml or b"")
    except DvcTextError:
        return None
    for item in items:
        if item.path == path:
            return Tracked(pointer, path, item.out)
        if item.out.is_directory and path.startswith(item.path + "/"):
            return Tracked(pointer, item.path, item.out, path[len(item.path) + 1 :])
    return None


def _above(path: str) -> Iterator[str]:
    """The folders above a path, the nearest first; the last is "", the top."""
    while path:
        above = posixpath.dirname(path)
        if above == path:  # "/", which has nothing above it
            return
        path = above
        yield path


def open_tracked(tracked: Tracked, place: DvcPlace | None, read: ReadText, *, label: str = "") -> Found | None:
    """What a tracked path holds; None when its directory has no such file.

    Args:
        tracked: what holds it.
        place: the DVC repository of the pointer.
        read: reads files of the revision.
        label: how the user names it.

    Raises:
        DvcTextError: the directory's manifest makes no sense.
    """
    elsewhere = not _says(place.git if place is not None else None, tracked.pointer, tracked.out)
    item = as_configured(DvcItem(tracked.out, tracked.path, tracked.pointer, place, elsewhere=elsewhere), read)
    if not tracked.inside:
        return open_item(item, label=label)
    entries = entries_of(item)
    if entries is None:
        return open_item(item, label=label or item.label)  # the state that says the list is missing
    entry = _by_path(entries).get(tracked.inside)
    if entry is not None:
        return open_item(entry_item(item, entry), label=label)
    below = tuple(e for e in entries if e.relpath.startswith(tracked.inside + "/"))
    if not below:
        return None
    name = label or posixpath.join(item.label, tracked.inside)
    return Found(DvcDirectory(item, entries, tracked.inside, label=name), "cache")


@lru_cache(maxsize=8)
def _work_tree_pointer(path: str, _now: tuple[int, int]) -> bytes:
    return _text_at(path) or b""


def _says(git: GitPlace | None, pointer: str, out: DvcOut) -> bool:
    """Whether the pointer of the work tree names this very content, so that DVC finds it without looking at history."""
    if git is None or not git.top or not out.value:
        return git is None
    path = os.path.join(git.top, pointer)
    try:
        status = os.stat(path)
    except OSError:
        return False
    return out.value.encode() in _work_tree_pointer(path, (status.st_mtime_ns, status.st_size))


def _by_path(entries: tuple[DvcEntry, ...]) -> dict[str, DvcEntry]:
    return {entry.relpath: entry for entry in entries}


def open_pointer(_: DvcText, at: PointerAt) -> Opened:
    """What a pointer stands for: the one output that it has, else a state. See :class:`diffai.stores.table.Store`."""
    git, path = at.place, at.path
    start = os.path.join(git.top, posixpath.dirname(path)) if git is not None and git.top else os.path.dirname(at.label)
    place = find_dvc(start, git)
    if git is None and place is not None:
        path = os.path.relpath(os.path.realpath(at.label), place.root).replace(os.sep, "/")
    read = at.read or (lambda _: None)
    try:
        file = parse_dvc_file(at.data, path)
        yaml = read(posixpath.join(posixpath.dirname(path), "dvc.yaml")) if file.lock else None
        items = items_of(file, path, place, yaml=yaml or b"", elsewhere=at.data != _text_of(git, path))
        if len(items) != 1:
            return DvcPointer(path, tuple(item.path for item in items))
        return open_item(as_configured(items[0], read)).opened
    except DvcTextError as error:
        return Unreadable(f"DVC pointer {error}")


def as_configured(item: DvcItem, read: ReadText) -> DvcItem:
    """The item of an older commit with whether that commit knows its remote.

    Args:
        read: reads the commit's files.
    """
    if not item.elsewhere or item.place is None:
        return item
    remote = item.out.remote or item.place.default_remote
    committed = read(posixpath.join(item.place.folder, ".dvc", "config")) if remote else None
    return replace(item, unconfigured=item.place.lacks_remote(remote, committed))


def open_in_work_tree(path: str) -> Opened | None:
    """What the pointers of the work tree say of a path that is not on disk; None when none speaks of it."""
    git = find_repository(_nearest(path))
    place = find_dvc(_nearest(path), git)
    if place is None or not place.top:
        return None
    inside = os.path.relpath(os.path.realpath(path), os.path.realpath(place.top)).replace(os.sep, "/")
    if inside.startswith("../"):
        return None
    tracked = find_tracked(inside, lambda name: _text_at(os.path.join(place.top, name)))
    found = open_tracked(tracked, place, lambda _: None, label=path) if tracked is not None else None
    return found.opened if found is not None else None


def work_tree_text(path: str, git: GitPlace | None) -> bytes | None:
    """A file of a repository's work tree, by its path from the top; None without one."""
    return _text_of(git, path)


def _nearest(path: str) -> str:
    """The nearest folder above a path that is on disk."""
    folder = os.path.dirname(os.path.realpath(path))
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return folder


def _text_of(git: GitPlace | None, path: str) -> bytes | None:
    return _text_at(os.path.join(git.top, path)) if git is not None and git.top else None


def _text_at(path: str) -> bytes | None:
    """A pointer of the work tree; None when there is none."""
    if not os.path.isfile(path):
        return None
    try:
        source = LocalFile(path)
    except SourceError:
        return None
    try:
        return source.read(0, min(source.size, MAX_POINTER_BYTES))
    finally:
        source.close()


def behind(path: str, label: str, tree: Tree, repository: Repository) -> Opened | None:
    """What DVC keeps at a path that a tree does not have itself; None where no pointer of the tree speaks of it.

    Args:
        path: from the top of the tree.
        label: how the user names it.
        tree: whose pointers are asked; of a commit, the index, or the work tree.
        repository: that of the tree.

    Raises:
        DvcTextError: a directory's manifest makes no sense.
    """
    tracked = find_tracked(path, tree.read, tree.names)
    if tracked is None:
        return None
    place = _place_of(tracked.pointer, repository, lambda: tree.read(".dvc/config"))
    found = open_tracked(tracked, place, tree.read, label=label)
    return found.opened if found is not None else None


def _place_of(pointer: str, repository: Repository, committed: Callable[[], bytes | None]) -> DvcPlace | None:
    """The DVC repository of a pointer, as the work tree has it now."""
    git, folder = repository.place(), posixpath.dirname(pointer)
    start = os.path.join(git.top, folder) if git is not None and git.top else repository.directory
    return find_dvc(start, git, committed=lambda: _text(committed()))


def _text(data: bytes | None) -> str | None:
    return data.decode("utf-8", "replace") if data is not None else None


class DvcHistory:
    """What DVC says of paths at any commit of one repository, each commit asked for a few paths only.

    Args:
        directory: any directory of the repository; "" is the working directory.

    Use as a context manager, or call :meth:`close`.
    """

    def __init__(self, directory: str = "") -> None:
        self._repository = Repository(directory)
        self._places: dict[str, DvcPlace | None] = {}

    def find(self, commit: str, path: str) -> Tracked | None:
        """The pointer that holds ``path`` (from the top) at ``commit``; None when DVC does not track it there.

        Raises:
            SourceError: git cannot be run.
        """
        tree = CommitTree(self._repository, commit, commit) if commit else IndexTree(self._repository)
        return find_tracked(path, lambda inside: self.read(commit, inside), tree.names)

    def read(self, commit: str, path: str) -> bytes | None:
        """The content of a file at a commit ("" = the index); None when it has none."""
        return reader_of(self._repository).read(f"{commit}:{path}")

    def open(self, tracked: Tracked, commit: str, *, label: str = "") -> Found | None:
        """The bytes of what was found at a commit, or its state; None when its directory has no such file."""
        return open_tracked(
            tracked, self.place(tracked.pointer), lambda path: self.read(commit, path), label=label
        )

    def place(self, pointer: str) -> DvcPlace | None:
        """The DVC repository of a pointer, as the work tree has it now."""
        folder = posixpath.dirname(pointer)
        if folder not in self._places:
            self._places[folder] = _place_of(pointer, self._repository, lambda: self.read("HEAD", ".dvc/config"))
        return self._places[folder]

    def close(self) -> None:
        """Nothing is held: git's objects have one reader for the whole command."""

    def __enter__(self) -> DvcHistory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
