"""``REV:path`` and the index: words split as git splits them, entries turned into sources."""

from __future__ import annotations

import difflib
import os
import posixpath
import re
from collections.abc import Callable

from diffai.errors import SourceError
from diffai.model import Absent, NotPulled
from diffai.repository.blobs import GitBlob, MissingObjectError
from diffai.repository.runner import GitError, Repository
from diffai.repository.trees import MOST_LINKS, Entry, Index, Listing, Tree
from diffai.snapshots.directory import Directory, checked_name
from diffai.snapshots.resolve import Opened, PointerAt, expect_source, follow, joined, pointer_limit
from diffai.sources.base import Source
from diffai.stores.pointers import HEAD_BYTES, parse_pointer

_STAGE = re.compile(r":([0-3]):(.*)", re.DOTALL)


def split_word(word: str) -> tuple[str, str]:
    """``REV:path`` at the first colon outside braces (``HEAD^{/fix: it}:a.pt``); the revision is "" for the index.

    Raises:
        SourceError: there is no such colon.

    """
    depth = 0
    for at, character in enumerate(word):
        depth += (character == "{") - (character == "}")
        if character == ":" and depth <= 0:
            return word[:at], word[at + 1 :]
    raise SourceError(f"{word}: no such file, and not REV:path")


def open_word(word: str) -> Opened:
    """What ``REV:path``, ``:path`` or ``:N:path`` names in the repository of the working directory.

    Raises:
        SourceError: no repository, no such revision, or no such path in it (with a hint).

    """
    repository = Repository()
    staged = _STAGE.fullmatch(word)
    rev, path = ("", staged[2]) if staged else split_word(word)
    if repository.place() is None:
        raise SourceError(f"{word}: no such file (and not in a git repository, so it names no revision either)")
    path = _from_top(repository, path)
    stage = int(staged[1]) if staged else 0
    listing: Listing = Tree(repository, _tree(repository, rev, word), rev) if rev else Index(repository, stage)
    found = _open_entry(listing, path, word)
    if isinstance(found, Absent):
        found = _behind_dvc(listing, path, word)
    if isinstance(found, Absent):
        where = rev or "the index"
        raise SourceError(f"{word}: no path {path!r} in {where}{_hint(repository, listing, path)}")
    return found


def _tree(repository: Repository, rev: str, word: str) -> str:
    try:
        return repository.tree(rev)
    except GitError:
        raise
    except SourceError as error:
        raise SourceError(f"{word}: no such file, and {error}") from error


def open_at(directory: str, rev: str, path: str) -> Opened:
    """See :func:`diffai.snapshots.resolve.resolve_at`."""
    repository = Repository(directory)
    listing = Tree(repository, repository.tree(rev), rev)
    inside, label = joined("", path), f"{rev}:{path}"
    found = _open_entry(listing, inside, label)
    return _behind_dvc(listing, inside, label) if isinstance(found, Absent) else found


def open_staged(directory: str, path: str) -> Opened:
    """What the index holds at ``path``, relative to the top of the tree; Absent when it has none.

    Raises:
        SourceError: no repository; the path is in conflict, a submodule, or a link that leads out.

    """
    listing = Index(Repository(directory))
    inside = joined("", path)
    found = _open_entry(listing, inside, f":{path}")
    return _behind_dvc(listing, inside, f":{path}") if isinstance(found, Absent) else found


def open_blob(directory: str, oid: str, path: str, *, label: str = "") -> Opened:
    """The blob ``oid``, known to be a file at ``path`` (out of ``git log --raw``); pointers are followed.

    Args:
        directory: any directory of the repository; "" is the working directory.
        oid: full object name, as git printed it.
        path: in the repository; for hints and messages.
        label: how messages name it; the path by default.

    Raises:
        SourceError: git fails, or the object is no blob.

    """
    label = label or path

    def alone(name: str) -> Source:
        raise SourceError(f"{label}: the file {name!r} beside it is not known without a revision")

    return _open_blob(Repository(directory), oid, path, label, alone)


def _behind_dvc(listing: Listing, path: str, label: str) -> Opened:
    """What a path holds that git does not keep, but a DVC pointer at the same revision speaks of."""
    from diffai.stores.dvc.tracked import DvcHistory

    if path.startswith("/"):  # no path of a tree, and the walk up from it would have no end
        return Absent()
    with DvcHistory(listing.repository.directory) as history:
        tracked = history.find(listing.oid if isinstance(listing, Tree) else "", path)
        found = history.open(tracked, label=label) if tracked is not None else None
    return found.opened if found is not None else Absent()


class TreeDirectory(Directory):
    """A directory at a revision or in the index."""

    path = ""

    def __init__(self, listing: Listing, inside: str, label: str) -> None:
        self.label = label
        self._listing = listing
        self._inside = inside

    def names(self) -> tuple[str, ...]:
        """Files and links, sorted."""
        entries = self._listing.children(self._inside)
        return tuple(sorted(name for name, entry in entries.items() if entry.is_file or entry.is_link))

    def open(self, name: str) -> Source:
        """The file ``name``; names that lead elsewhere are refused."""
        inside = posixpath.join(self._inside, checked_name(self.label, name))
        label = f"{self.label.rstrip('/')}{'' if self.label.endswith(':') else '/'}{name}"
        return expect_source(_open_entry(self._listing, inside, label), label)


def _open_entry(listing: Listing, path: str, label: str) -> Opened:
    """What an entry holds; links are followed inside the tree."""
    entry, links = listing.entry(path), 0
    while entry is not None and entry.is_link:
        target = _link_target(listing, entry, path, label)
        if not isinstance(target, str):
            return target
        links += 1
        path = joined(posixpath.dirname(path), target)
        entry = listing.entry(path) if links < MOST_LINKS else None
    if entry is None:
        if links:
            raise SourceError(f"{label}: is a symbolic link to {path!r}, which is not there")
        return Absent()
    if entry.is_directory:
        return TreeDirectory(listing, path, label)
    if not entry.is_file:
        raise SourceError(f"{label}: is a submodule, not a file")
    folder = posixpath.dirname(path)
    beside = TreeDirectory(listing, folder, label[: len(label) - len(posixpath.basename(label))] or folder)
    return _open_blob(listing.repository, entry.oid, path, label, beside.open)


def _link_target(listing: Listing, entry: Entry, path: str, label: str) -> str | Opened:
    """Where a link points; a link into git-annex is a pointer."""
    try:
        blob = GitBlob(listing.repository, entry.oid, label=label)
    except MissingObjectError:
        return _not_here(entry.oid, path)
    try:
        target = blob.read(0, HEAD_BYTES)
    finally:
        blob.close()
    pointer = parse_pointer(target, len(target))
    if pointer is not None:
        return follow(pointer, PointerAt(path, label, listing.repository.place(), blob.sibling))
    return os.fsdecode(target)


def _open_blob(
    repository: Repository, oid: str, path: str, label: str, sibling: Callable[[str], Source]
) -> Opened:
    """A blob, or what the pointer in it stands for."""
    try:
        blob = GitBlob(repository, oid, label=label, sibling=sibling)
    except MissingObjectError:
        return _not_here(oid, path)
    if blob.size > pointer_limit(path):
        return blob
    try:
        pointer = parse_pointer(blob.read(0, HEAD_BYTES), blob.size, posixpath.basename(path))
        data = blob.read(0, blob.size) if pointer is not None else b""
    except BaseException:
        blob.close()
        raise
    if pointer is None:
        return blob
    blob.close()
    return follow(pointer, PointerAt(path, label, repository.place(), sibling, data))


def _not_here(oid: str, path: str) -> NotPulled:
    """A blob that a partial clone left on the server."""
    return NotPulled(f"blob {oid[:12]} of {path} (partial clone)", -1, f"git cat-file -e {oid}")


def _from_top(repository: Repository, path: str) -> str:
    """A path as the user wrote it, relative to the top: ``./`` and ``../`` start at the working directory."""
    if path not in (".", "..") and not path.startswith(("./", "../")):
        return path.rstrip("/")
    prefix = os.fsdecode(repository.ask("rev-parse", "--show-prefix").removesuffix(b"\n"))
    return joined(prefix, path)


def _hint(repository: Repository, listing: Listing, path: str) -> str:
    """A path that was probably meant: below the working directory, or a name that looks alike."""
    try:
        prefix = os.fsdecode(repository.ask("rev-parse", "--show-prefix").removesuffix(b"\n"))
        if prefix and listing.entry(prefix + path) is not None:
            return f"; did you mean {listing.label}:./{path}?"
        folder, name = posixpath.split(path)
        near = difflib.get_close_matches(name, listing.children(folder), 2, 0.75)
    except (GitError, SourceError):
        return ""
    return f"; did you mean {' or '.join(posixpath.join(folder, other) for other in near)}?" if near else ""
