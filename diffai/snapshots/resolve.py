"""What words name: a path, ``REV:path``, the index, a URL; and what holds a path at a commit or in the index."""

from __future__ import annotations

import os
import posixpath
import re

from diffai.errors import SourceError
from diffai.model import Absent
from diffai.repository.runner import GitError, Repository
from diffai.repository.trees import CommitTree, IndexTree, NoTree, Tree
from diffai.snapshots.files import joined, near_names, open_path
from diffai.snapshots.snapshot import Snapshot
from diffai.sources.schemes import is_url, open_url
from diffai.stores.store import Opened

_STAGE = re.compile(r":([0-3]):(.*)", re.DOTALL)


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
    if is_url(word):
        found = open_url(word)
        return open_path(found) if isinstance(found, str) else found
    if ":" in word:
        return open_word(word)
    tracked = _behind_dvc(word)
    if tracked is not None:
        return tracked
    raise SourceError(f"{word}: no such file or directory{near_names(word)}")


def _behind_dvc(path: str) -> Opened | None:
    """What a DVC pointer of the work tree says of a file that is not checked out; None when none speaks of it."""
    from diffai.stores.dvc.tracked import open_in_work_tree

    return open_in_work_tree(path)


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
    tree: Tree = CommitTree(repository, _tree(repository, rev, word), rev) if rev else IndexTree(repository, stage)
    found = Snapshot(tree).open(path, word)
    if isinstance(found, Absent):
        where = rev or "the index"
        raise SourceError(f"{word}: no path {path!r} in {where}{_hint(repository, tree, path)}")
    return found


def _tree(repository: Repository, rev: str, word: str) -> str:
    try:
        return repository.tree(rev)
    except GitError:
        raise
    except SourceError as error:
        raise SourceError(f"{word}: no such file, and {error}") from error


def open_blob(directory: str, oid: str, path: str, *, label: str = "", revision: str = "") -> Opened:
    """The blob ``oid``, known to be a file at ``path`` (out of ``git log --raw``); pointers are followed.

    Args:
        directory: any directory of the repository; "" is the working directory.
        oid: full object name, as git printed it.
        path: in the repository; for hints and messages.
        label: how messages name it; the path by default.
        revision: a commit that has it there.

    Raises:
        SourceError: git fails, or the object is no blob.

    """
    return Snapshot(NoTree(Repository(directory))).open_blob(oid, path, label or path, revision)


def _from_top(repository: Repository, path: str) -> str:
    """A path as the user wrote it, relative to the top: ``./`` and ``../`` start at the working directory."""
    if path not in (".", "..") and not path.startswith(("./", "../")):
        return path.rstrip("/")
    prefix = os.fsdecode(repository.ask("rev-parse", "--show-prefix").removesuffix(b"\n"))
    return joined(prefix, path)


def _hint(repository: Repository, tree: Tree, path: str) -> str:
    """A path that was probably meant: below the working directory, or a name that looks alike."""
    try:
        prefix = os.fsdecode(repository.ask("rev-parse", "--show-prefix").removesuffix(b"\n"))
        if prefix and tree.entry(prefix + path) is not None:
            return f"; did you mean {tree.label}:./{path}?"
        folder, name = posixpath.split(path)
        import difflib  # only for the hint: it is slow to load

        near = difflib.get_close_matches(name, tree.children(folder), 2, 0.75)
    except (GitError, SourceError):
        return ""
    return f"; did you mean {' or '.join(posixpath.join(folder, other) for other in near)}?" if near else ""
