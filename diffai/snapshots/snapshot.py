"""A tree with its stores: what a path holds at one moment, pointers followed, and the files beside it."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable

from diffai.errors import SourceError
from diffai.frozen import replace
from diffai.model import Absent, FetchCommand, NotPulled
from diffai.repository.blobs import GitBlob
from diffai.repository.disk import FolderTree, WorkTree
from diffai.repository.objects import MissingObjectError
from diffai.repository.runner import Repository
from diffai.repository.trees import MOST_LINKS, CommitTree, Entry, IndexTree, Tree
from diffai.snapshots.files import expect_source, joined, open_path
from diffai.sources.base import Source
from diffai.sources.directory import Directory
from diffai.sources.local import checked_place
from diffai.stores.store import Opened, PointerAt, StoredObject
from diffai.stores.table import HEAD_BYTES, follow, pointer_limit, recognise


class Snapshot:
    """One tree with its stores.

    Args:
        tree: whose paths are meant.
        label: how messages name it; the tree's own label by default.

    """

    def __init__(self, tree: Tree, label: str = "") -> None:
        self.tree = tree
        self.label = label or tree.label

    @property
    def repository(self) -> Repository:
        """The repository of the tree, that of its folder where it is none's."""
        return self.tree.repository or Repository(self.tree.top)

    def name(self, path: str) -> str:
        """How messages name a path: ``HEAD:models/a.pt``, ``:a.pt``, or the path on disk."""
        if self.tree.revision == ":":
            return f"{self.tree.label or ':'}{'' if not self.tree.label else ':'}{path}"
        if self.tree.revision:
            return f"{self.label}:{path}"
        return path if self.tree.repository is not None else os.path.join(self.label, path)

    def open(self, path: str, label: str = "") -> Opened:
        """What holds ``path``: bytes, a directory, or the state in which it is; Absent where there is nothing.

        Args:
            path: from the top of the tree, with ``/``; "" is the tree itself.
            label: how messages name it.

        Raises:
            SourceError: it is a submodule, in conflict, or a link that leads out of the tree.

        """
        if path.startswith("/"):  # no path of a tree
            return Absent()
        path, label = joined("", path), label or self.name(path)
        entry = self.tree.entry(path)
        if entry is None:
            return self.behind(path, label)
        if self.tree.top and not entry.oid:
            return open_path(os.path.join(self.tree.top, path))
        return self._open_entry(entry, path, label)

    def sibling(self, path: str, name: str) -> Source:
        """The file ``name`` in the folder of ``path`` or below it, at the same moment.

        Raises:
            UnresolvedError: a pointer to bytes that are not here.
            SourceError: there is none, or the name leads elsewhere.

        """
        beside = posixpath.join(posixpath.dirname(path), checked_place(path, name))
        return expect_source(self.open(beside), self.name(beside))

    def read(self, path: str) -> bytes | None:
        """The content of a small file as the tree has it; None where there is none."""
        return self.tree.read(path)

    def behind(self, path: str, label: str) -> Opened:
        """What a path holds that the tree does not have, but a DVC pointer in it speaks of."""
        from diffai.stores.dvc.tracked import behind

        found = behind(path, label, self.tree, self.repository)
        if isinstance(found, StoredObject):
            found.lies_beside(lambda name: self.sibling(path, name))
        return found if found is not None else Absent()

    def _open_entry(self, entry: Entry, path: str, label: str) -> Opened:
        """What an entry of git's holds; links are followed inside the tree."""
        links = 0
        while entry.is_link:
            target = self._link_target(entry, path, label)
            if not isinstance(target, str):
                return target
            links += 1
            path = joined(posixpath.dirname(path), target)
            found = self.tree.entry(path) if links < MOST_LINKS else None
            if found is None:
                raise SourceError(f"{label}: is a symbolic link to {path!r}, which is not there")
            entry = found
        if entry.is_directory:
            return TreeDirectory(self, path, label)
        if not entry.is_file:
            raise SourceError(f"{label}: is a submodule, not a file")
        return self.open_blob(entry.oid, path, label)

    def _link_target(self, entry: Entry, path: str, label: str) -> str | Opened:
        """Where a link points; a link into git-annex is a pointer."""
        try:
            blob = GitBlob(self.repository, entry.oid, label=label)
        except MissingObjectError:
            return not_here(entry.oid, path)
        try:
            target = blob.read(0, HEAD_BYTES)
        finally:
            blob.close()
        pointer = recognise(target, len(target))
        if pointer is not None:
            return follow(pointer, self._pointer_at(path, label, blob.sibling))
        return os.fsdecode(target)

    def _pointer_at(self, path: str, label: str, sibling: Callable[[str], Source]) -> PointerAt:
        """What a store is given of a pointer that was met at a path."""
        read = self.tree.read if self.tree.revision or self.tree.top else None  # of a lone blob nothing is known
        return PointerAt(path, label, self.repository.place(), sibling, revision=self.tree.revision, read=read)

    def open_blob(self, oid: str, path: str, label: str, revision: str = "") -> Opened:
        """The blob ``oid``, known to stand at ``path``, or what the pointer in it stands for.

        ``revision`` is a commit that has it there, where that is not the tree's.
        """
        folder = posixpath.dirname(path)
        beside = TreeDirectory(self, folder, label[: len(label) - len(posixpath.basename(path))] or folder)
        try:
            blob = GitBlob(self.repository, oid, label=label, sibling=beside.open)
        except MissingObjectError:
            return not_here(oid, path)
        if blob.size > pointer_limit(path):
            return blob
        try:
            pointer = recognise(blob.read(0, HEAD_BYTES), blob.size, posixpath.basename(path))
            data = blob.read(0, blob.size) if pointer is not None else b""
        except BaseException:
            blob.close()
            raise
        if pointer is None:
            return blob
        blob.close()
        at = self._pointer_at(path, label, beside.open)
        return follow(pointer, replace(at, data=data, revision=revision or at.revision))


class TreeDirectory(Directory):
    """A directory of a snapshot; what DVC keeps in it is opened by name, though git lists its pointers alone."""

    path = ""

    def __init__(self, snapshot: Snapshot, inside: str, label: str) -> None:
        self.label = label
        self._snapshot = snapshot
        self._inside = inside

    def names(self) -> tuple[str, ...]:
        """Files and links, sorted."""
        entries = self._snapshot.tree.children(self._inside)
        return tuple(sorted(name for name, entry in entries.items() if entry.is_file or entry.is_link))

    def open(self, name: str) -> Source:
        """The file ``name``; names that lead elsewhere are refused."""
        inside = posixpath.join(self._inside, checked_place(self.label, name))
        label = f"{self.label.rstrip('/')}{'' if self.label.endswith(':') else '/'}{name}"
        return expect_source(self._snapshot.open(inside, label), label)


def not_here(oid: str, path: str) -> NotPulled:
    """A blob that a partial clone left on the server."""
    command = FetchCommand("git", ("git", "cat-file", "-e"), (oid,), joined="each")
    return NotPulled(f"blob {oid[:12]} of {path} (partial clone)", -1, (command,))


def snapshot_of(repository: Repository, revision: str, label: str = "") -> Snapshot:
    """The snapshot of a commit by its object name, of the index (":") or of the work tree ("")."""
    if revision == ":":
        return Snapshot(IndexTree(repository), label)
    if not revision:
        return Snapshot(WorkTree(repository), label)
    return Snapshot(CommitTree(repository, revision, label or revision[:12]), label)


def folder_snapshot(path: str) -> Snapshot:
    """The snapshot of a plain folder."""
    return Snapshot(FolderTree(path), path)
