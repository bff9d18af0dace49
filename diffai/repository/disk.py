"""Trees on disk: a plain folder, and the work tree of a repository, which git and a sparse checkout know more of."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence

from diffai.errors import SourceError
from diffai.model import natural_key
from diffai.repository.runner import GitError, Repository
from diffai.repository.trees import MOST_TEXT, Changed, Changes, Entry, IndexTree, Paths, Tree, chosen


class FolderTree(Tree):
    """A folder on disk.

    Args:
        top: the folder.
        label: how the user names it.

    """

    revision = ""
    whole = True

    def __init__(self, top: str, label: str = "") -> None:
        self.top = top
        self.label = label or top
        self._problems: list[tuple[str, str]] = []

    def entry(self, path: str) -> Entry | None:
        """See :class:`Tree`; a symbolic link counts as what it leads to."""
        try:
            mode = os.stat(os.path.join(self.top, path)).st_mode
        except OSError:
            return Entry(path, "120000", "") if os.path.islink(os.path.join(self.top, path)) else None
        if stat.S_ISDIR(mode):
            return Entry(path, "040000", "")
        return Entry(path, "100644", "") if stat.S_ISREG(mode) else None

    def children(self, path: str) -> dict[str, Entry]:
        """See :class:`Tree`."""
        try:
            with os.scandir(os.path.join(self.top, path)) as listed:
                return {
                    found.name: Entry(found.name, "040000" if found.is_dir() else "100644", "")
                    for found in listed
                    if found.is_dir() or found.is_file()
                }
        except OSError:
            return {}

    def list(self, globs: Sequence[str] = ()) -> Paths:
        """See :class:`Tree`; ``.git`` and ``.dvc`` are passed over, a link to a folder is followed once.

        Raises:
            SourceError: the folder cannot be listed.

        """
        self._problems.clear()
        return chosen([*self._walk(self.top, "", [])], globs)

    @property
    def problems(self) -> Sequence[tuple[str, str]]:  # type: ignore[override]
        """What the last listing could not look at."""
        return tuple(self._problems)

    def _walk(self, folder: str, prefix: str, above: Sequence[tuple[int, int]]) -> Iterator[str]:
        """Every file; a link back to a folder that it lies in is a problem and not followed."""
        try:
            status = os.stat(folder)
            here = (status.st_dev, status.st_ino)
            if here in above:
                reason = "symbolic link to a folder that contains it: not followed"
                self._problems.append((prefix.rstrip("/"), reason))
                return
            entries = sorted(os.scandir(folder), key=lambda entry: natural_key(entry.name))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            if not prefix:
                raise SourceError(f"{folder}: {reason}") from error
            self._problems.append((prefix.rstrip("/"), reason))
            return
        for entry in entries:
            relative = prefix + entry.name
            try:
                if entry.is_dir():
                    if entry.name not in (".git", ".dvc"):
                        yield from self._walk(entry.path, relative + "/", [*above, here])
                elif entry.is_file():
                    yield relative
                elif entry.is_symlink():
                    self._problems.append((relative, "symbolic link to nothing"))
            except OSError as error:  # a link that leads in a circle
                self._problems.append((relative, (error.strerror or str(error)).lower()))

    def read(self, path: str) -> bytes | None:
        """See :class:`Tree`."""
        file = os.path.join(self.top, path)
        try:
            if not os.path.isfile(file) or os.path.getsize(file) > MOST_TEXT:
                return None
            with open(file, "rb") as opened:
                return opened.read()
        except OSError:
            return None

    def head(self, entry: Entry, count: int) -> tuple[bytes, int] | None:
        """See :class:`Tree`."""
        file = os.path.join(self.top, entry.name)
        try:
            if not os.path.isfile(file):
                return None
            with open(file, "rb", buffering=0) as opened:
                return opened.read(count), os.fstat(opened.fileno()).st_size
        except OSError:
            return None

    def changed(self, other: Tree) -> Changes:
        """All files of either: nothing says that two files on disk are equal but their content."""
        old, new = set(self.list()), set(other.list())
        every = {path: Entry(path, "100644", "") for path in sorted(old | new)}
        return [
            Changed(entry if path in old else None, entry if path in new else None) for path, entry in every.items()
        ]


class WorkTree(FolderTree):
    """The files on disk of a repository; what a sparse checkout leaves out is as the index has it."""

    def __init__(self, repository: Repository, label: str = "work tree") -> None:
        top = top_of_work_tree(repository)
        if not top:
            raise SourceError("there is no work tree here (a bare repository?)")
        super().__init__(top, label)
        self.whole = False
        self.repository: Repository = repository
        self.index = IndexTree(repository)

    def entry(self, path: str) -> Entry | None:
        """See :class:`Tree`; an entry with an object name is not checked out."""
        found = super().entry(path)
        if found is None and self.index.revision and self.skips(path):
            return self.index.entry(path)
        return found

    def skips(self, path: str) -> bool:
        """Whether a sparse checkout leaves the file out (skip-worktree)."""
        self.index.children("")
        return path in self.index.skipped

    def read(self, path: str) -> bytes | None:
        """See :class:`Tree`."""
        found = super().read(path)
        return self.index.read(path) if found is None and self.skips(path) else found

    def head(self, entry: Entry, count: int) -> tuple[bytes, int] | None:
        """See :class:`Tree`."""
        found = super().head(entry, count)
        return self.index.head(entry, count) if found is None and entry.oid else found

    def list(self, globs: Sequence[str] = ()) -> Paths:
        """Files that git knows."""
        return self.index.list(globs)


def top_of_work_tree(repository: Repository) -> str:
    """Absolute path of the work tree's top; "" in a bare repository."""
    try:
        return os.fsdecode(repository.ask("rev-parse", "--show-toplevel").removesuffix(b"\n"))
    except GitError:
        return ""
