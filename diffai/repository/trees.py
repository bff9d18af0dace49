"""What a path is at a revision or in the index: file, link, directory, submodule."""

from __future__ import annotations

import os
import posixpath

from diffai.errors import SourceError
from diffai.frozen import frozen
from diffai.repository.runner import Repository

MOST_LINKS = 16


@frozen
class Entry:
    """One entry of a tree: git's mode (``100644``, ``120000``, ``040000``, ``160000``) and object name."""

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


class Tree:
    """All paths of one tree.

    Args:
        repository: where it lies.
        oid: full object name of the tree.
        label: how the user names it (``HEAD``).

    """

    def __init__(self, repository: Repository, oid: str, label: str) -> None:
        self.repository = repository
        self.oid = oid
        self.label = label
        self._listed: dict[str, dict[str, Entry]] = {}

    def entry(self, path: str) -> Entry | None:
        """The entry at ``path`` (relative to the top, ``/`` between names); None when there is none."""
        if path in ("", "."):
            return Entry("", "040000", self.oid)
        if path.startswith("/"):  # git would take it for a path of the file system
            return None
        known = self._listed.get(posixpath.dirname(path))
        if known is not None:
            return known.get(posixpath.basename(path))
        answer = self.repository.ask("--literal-pathspecs", "ls-tree", "-z", "--full-tree", self.oid, "--", path)
        for entry in _entries(answer):
            if entry.name == path:
                return entry
        return None

    def children(self, path: str) -> dict[str, Entry]:
        """The entries of the directory at ``path`` by their last name; empty when it is none."""
        if path not in self._listed:
            entry = self.entry(path)
            answer = b""
            if entry is not None and entry.is_directory:
                answer = self.repository.ask("ls-tree", "-z", "--full-tree", entry.oid)
            self._listed[path] = {found.name: found for found in _entries(answer)}
        return self._listed[path]


class Index:
    """All paths of the index at one stage (0: to be committed; 1 to 3: the sides of a conflict)."""

    def __init__(self, repository: Repository, stage: int = 0) -> None:
        self.repository = repository
        self.stage = stage
        self.label = f":{stage}" if stage else ""

    def entry(self, path: str) -> Entry | None:
        """The entry at ``path``, a directory (without object name) when files lie below it, or None.

        Raises:
            SourceError: the path is in conflict and has no stage 0.

        """
        if path in ("", "."):
            return Entry("", "040000", "")
        stages, below = set[int](), False
        for name, mode, oid, stage in self._files(path):
            if name == path and stage == self.stage:
                return Entry(path, mode, oid)
            stages |= {stage} if name == path else set()
            below = below or name.startswith(path + "/")
        if stages and not self.stage:
            raise SourceError(f":{path}: is in conflict; name a side of it: :2:{path} (ours) or :3:{path} (theirs)")
        return Entry(path, "040000", "") if below else None

    def children(self, path: str) -> dict[str, Entry]:
        """The files of the directory at ``path`` by their last name."""
        prefix = f"{path}/" if path not in ("", ".") else ""
        return {
            name[len(prefix) :]: Entry(name[len(prefix) :], mode, oid)
            for name, mode, oid, stage in self._files(path)
            if stage == self.stage and name.startswith(prefix) and "/" not in name[len(prefix) :]
        }

    def _files(self, path: str) -> list[tuple[str, str, str, int]]:
        """(path, mode, oid, stage) of ``path`` and all below it."""
        spec = f":(top,literal){'' if path == '.' else path}"
        files = []
        for record in self.repository.ask("ls-files", "-z", "-s", "--full-name", "--", spec).split(b"\0"):
            if record:
                facts, _, name = record.partition(b"\t")
                mode, oid, stage = facts.decode("ascii").split()
                files.append((os.fsdecode(name), mode, oid, int(stage)))
        return files


Listing = Tree | Index


def _entries(answer: bytes) -> list[Entry]:
    """What ``ls-tree -z`` printed."""
    entries = []
    for record in answer.split(b"\0"):
        if record:
            facts, _, name = record.partition(b"\t")
            mode, _, oid = facts.decode("ascii").split()
            entries.append(Entry(os.fsdecode(name), mode, oid))
    return entries
