"""Trees: what a commit, the index, the work tree or a plain folder holds, raw bytes by path, pointers not followed."""

from __future__ import annotations

import os
import posixpath
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache

from diffai.errors import SourceError
from diffai.frozen import frozen
from diffai.globs import name_matches
from diffai.repository.objects import reader_of
from diffai.repository.runner import Repository

MOST_LINKS = 16
MOST_TEXT = 64 << 20
"""Bytes above which :meth:`Tree.read` reads nothing: it is for pointers and settings, not for models."""


@frozen
class Entry:
    """One entry of a tree: git's mode (``100644``, ``120000``, ``040000``, ``160000``) and object name.

    ``oid`` is "" for what is on disk, and for a folder of the index. ``name`` is the path that was asked for, or the
    last name in :meth:`Tree.children`.
    """

    name: str
    mode: str
    oid: str

    @property
    def is_file(self) -> bool:
        """A regular file."""
        return self.mode.startswith("100")

    @property
    def is_link(self) -> bool:
        """A symbolic link, whose blob holds its target."""
        return self.mode == "120000"

    @property
    def is_directory(self) -> bool:
        """A tree."""
        return self.mode == "040000"


@frozen
class Changed:
    """One path that differs between two trees, or an exact rename; None on the side that has no file."""

    old: Entry | None
    new: Entry | None
    unmerged: bool = False

    @property
    def path(self) -> str:
        """The new path, or the old one of a file that is gone."""
        entry = self.new or self.old
        assert entry is not None
        return entry.name


Paths = list[str]
Changes = list[Changed]


class Tree(ABC):
    """All paths of one moment, from its top, with ``/`` between names.

    Attributes:
        label: how people name it: ``HEAD``, ``index``, ``work tree``, a folder's path.
        revision: what names it to git: a commit or tree, ":" for the index, "" for what is on disk.
        top: the folder of the disk that its paths start at; "" for what is in git alone.
        repository: the repository; None for a plain folder.
        whole: whether :meth:`changed` names every file, because nothing tells which of them differ.
        problems: (path, reason) of what could not be listed.

    """

    label: str
    revision: str
    top: str = ""
    repository: Repository | None = None
    whole: bool = False
    problems: Sequence[tuple[str, str]] = ()

    @abstractmethod
    def entry(self, path: str) -> Entry | None:
        """The entry at ``path``; None when there is none."""

    @abstractmethod
    def children(self, path: str) -> dict[str, Entry]:
        """The entries of the directory at ``path`` by their last name; empty when it is none."""

    @abstractmethod
    def list(self, globs: Sequence[str] = ()) -> Paths:
        """Paths of all files and links; only those whose path or last name matches a glob where there are globs."""

    @abstractmethod
    def read(self, path: str) -> bytes | None:
        """The content of a file, up to 64 MB; None where there is none."""

    @abstractmethod
    def head(self, entry: Entry, count: int) -> tuple[bytes, int] | None:
        """The first bytes of a file and its size; None when it is not here."""

    @abstractmethod
    def changed(self, other: Tree) -> Changes:
        """What differs in ``other``, exact renames paired, submodules left out; no content is read."""

    def names(self, path: str) -> Paths:
        """The last names of all entries of a directory."""
        return [*self.children(path)]


def chosen(paths: Sequence[str], globs: Sequence[str]) -> Paths:
    """The paths that match a glob as a whole or by their last name; all without globs."""
    return [p for p in paths if not globs or name_matches(p, globs) or name_matches(posixpath.basename(p), globs)]


class _GitTree(Tree):
    """What git keeps as objects."""

    repository: Repository

    def read(self, path: str) -> bytes | None:
        """See :class:`Tree`; links are not followed."""
        entry = self.entry(path)
        if entry is None or not entry.is_file:
            return None
        return reader_of(self.repository).read(entry.oid, most=MOST_TEXT)

    def head(self, entry: Entry, count: int) -> tuple[bytes, int] | None:
        """See :class:`Tree`."""
        return reader_of(self.repository).head(entry.oid, count)


class CommitTree(_GitTree):
    """A commit, or a bare tree.

    Args:
        repository: where it lies.
        oid: full object name of a commit or tree, as git printed it.
        label: how the user names it (``HEAD``).

    """

    def __init__(self, repository: Repository, oid: str, label: str) -> None:
        self.repository = repository
        self.revision = self.oid = oid
        self.label = label
        self._listed: dict[str, dict[str, Entry]] = {}
        self._texts: dict[str, bytes | None] = {}

    def know(self, path: str, data: bytes | None) -> None:
        """Take in the raw tree object of a folder that somebody has asked git for already; None = there is none."""
        width = len(self.oid.partition("^")[0]) // 2
        self._listed[path] = _parsed(data, width) if data is not None else {}

    def know_text(self, path: str, data: bytes | None) -> None:
        """Take in the content of a file, as :meth:`know`."""
        self._texts[path] = data

    def read(self, path: str) -> bytes | None:
        """See :class:`Tree`; links are not followed."""
        return self._texts[path] if path in self._texts else super().read(path)

    def entry(self, path: str) -> Entry | None:
        """See :class:`Tree`."""
        path = "" if path == "." else path
        if not path:
            return Entry("", "040000", f"{self.oid}^{{tree}}")
        if path.startswith("/"):
            return None
        found = self.children(posixpath.dirname(path)).get(posixpath.basename(path))
        return Entry(path, found.mode, found.oid) if found is not None else None

    def children(self, path: str) -> dict[str, Entry]:
        """See :class:`Tree`."""
        path = "" if path == "." else path
        known = self._listed.get(path)
        if known is None:
            entry, known = self.entry(path), {}
            if entry is not None and entry.is_directory:
                found = reader_of(self.repository).find(entry.oid, kind="tree", most=1 << 30)
                if found is None:
                    raise SourceError(f"{self.label}: tree {path or '.'} is not in this repository (a partial clone?)")
                known = _parsed(found[1], len(found[0].oid) // 2)
            self._listed[path] = known
        return known

    def list(self, globs: Sequence[str] = ()) -> Paths:
        """See :class:`Tree`."""
        answer = self.repository.ask("ls-tree", "-r", "-z", "--name-only", "--full-tree", self.oid)
        return chosen([os.fsdecode(name) for name in answer.split(b"\0") if name], globs)

    def changed(self, other: Tree) -> Changes:
        """See :class:`Tree`; ``other`` is a commit, the index or the work tree of the same repository."""
        return changed_paths(self.repository, self.oid, other.revision)


@lru_cache(maxsize=4)
def _parsed(data: bytes, oid_bytes: int) -> dict[str, Entry]:
    """A tree object: ``<mode> SP <name> NUL <object name>``, again and again."""
    found, at = {}, 0
    while at < len(data):
        space, end = data.index(b" ", at), data.index(b"\0", at)
        name = os.fsdecode(data[space + 1 : end])
        found[name] = Entry(name, data[at:space].decode("ascii").zfill(6), data[end + 1 : end + 1 + oid_bytes].hex())
        at = end + 1 + oid_bytes
    return found


class IndexTree(_GitTree):
    """The index at one stage (0: to be committed; 1 to 3: base, ours and theirs of a conflict)."""

    revision = ":"

    def __init__(self, repository: Repository, stage: int = 0) -> None:
        self.repository = repository
        self.stage = stage
        self.label = f":{stage}" if stage else ""
        self._stages: dict[str, dict[int, Entry]] | None = None
        self._folders: dict[str, dict[str, Entry]] = {}
        self.skipped: set[str] = set()

    def _load(self) -> dict[str, dict[int, Entry]]:
        """Every file by path and stage, and the folders above; asked of git once."""
        if self._stages is not None:
            return self._stages
        self._stages = {}
        for record in self.repository.ask("ls-files", "-z", "-s", "-t", "--full-name", "--", ":/").split(b"\0"):
            facts, _, name = record.partition(b"\t")
            if not name:
                continue
            tag, mode, oid, stage = facts.decode("ascii").split()
            path = os.fsdecode(name)
            self._stages.setdefault(path, {})[int(stage)] = Entry(path, mode, oid)
            if tag == "S":
                self.skipped.add(path)
            if int(stage) == self.stage:
                self._place(path, mode, oid)
        return self._stages

    def _place(self, path: str, mode: str, oid: str) -> None:
        folder, name = posixpath.split(path)
        self._folders.setdefault(folder, {})[name] = Entry(name, mode, oid)
        while folder:
            above, name = posixpath.split(folder)
            siblings = self._folders.setdefault(above, {})
            if name in siblings:
                return
            siblings[name] = Entry(name, "040000", "")
            folder = above

    def entry(self, path: str) -> Entry | None:
        """See :class:`Tree`.

        Raises:
            SourceError: the path is in conflict and has no stage 0.

        """
        stages = self._load().get(path, {})
        if self.stage in stages:
            return stages[self.stage]
        if stages and not self.stage:
            raise SourceError(f":{path}: is in conflict; name a side of it: :2:{path} (ours) or :3:{path} (theirs)")
        path = "" if path == "." else path
        return Entry(path, "040000", "") if path in self._folders or not path else None

    def children(self, path: str) -> dict[str, Entry]:
        """See :class:`Tree`."""
        self._load()
        return self._folders.get("" if path == "." else path, {})

    def list(self, globs: Sequence[str] = ()) -> Paths:
        """See :class:`Tree`."""
        return chosen([path for path, stages in self._load().items() if self.stage in stages], globs)

    def changed(self, other: Tree) -> Changes:
        """The index against the work tree."""
        return changed_paths(self.repository, ":", other.revision)


class NoTree(_GitTree):
    """A tree of which nothing is known but the repository: for a blob whose commit nobody named."""

    label = revision = ""
    whole = True

    def __init__(self, repository: Repository) -> None:
        self.repository = repository

    def entry(self, path: str) -> Entry | None:
        """A file beside the blob cannot be looked up."""
        raise SourceError(f"{path}: what is beside it is not known without a revision")

    def children(self, path: str) -> dict[str, Entry]:
        """As :meth:`entry`."""
        raise SourceError(f"{path or '.'}: what is in it is not known without a revision")

    def list(self, globs: Sequence[str] = ()) -> Paths:
        """Nothing."""
        return []

    def changed(self, other: Tree) -> Changes:
        """Nothing."""
        return []


def changed_paths(repository: Repository, old: str, new: str, paths: Sequence[str] = ()) -> list[Changed]:
    """What differs between two trees, in one call of git.

    Args:
        old: a commit or tree; ":" is the index.
        new: another; ":" is the index, "" the work tree.
        paths: limit to these, relative to the working directory, taken literally.

    Raises:
        SourceError: not in a repository, or git fails.

    """
    # Exact renames only: anything else would make git read every model to measure similarity.
    common = ("--raw", "-z", "--no-abbrev", "--find-renames=100%", "--no-ext-diff", "--no-textconv")
    command: tuple[str, ...]
    if old == ":":
        command = ("diff-files", *common)
    elif new in (":", ""):
        command = ("diff-index", *(("--cached",) if new else ()), *common, old)
    else:
        command = ("diff-tree", "-r", *common, old, new)
    fields = os.fsdecode(repository.ask("--literal-pathspecs", *command, "--", *paths)).split("\0")
    found, at = [], 0
    while at + 1 < len(fields) and fields[at].startswith(":"):
        old_mode, new_mode, old_oid, new_oid, kind = fields[at][1:].split(" ")
        renamed = kind[0] in "RC"
        before, after = fields[at + 1], fields[at + 2] if renamed else fields[at + 1]
        at += 3 if renamed else 2
        if "160000" in (old_mode, new_mode):
            continue
        found.append(
            Changed(
                Entry(before, old_mode, _known(old_oid)) if kind[0] not in "A" else None,
                Entry(after, new_mode, _known(new_oid)) if kind[0] not in "D" else None,
                unmerged=kind[0] == "U",
            )
        )
    return found


def _known(oid: str) -> str:
    """Git writes zeros where it did not hash a file."""
    return oid if oid.strip("0") else ""
