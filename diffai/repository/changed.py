"""Which files changed between two revisions, or between a revision and the work tree: names only, no content."""

from __future__ import annotations

import os
from collections.abc import Sequence

from diffai.errors import SourceError
from diffai.frozen import frozen
from diffai.repository.runner import GitError, Repository

WORK_TREE = ""
"""In place of a revision: the files as they are on disk."""

INDEX = ":"
"""In place of a revision: what would be committed."""


@frozen
class ChangedFile:
    """One changed path, relative to the top of the work tree; "" on the side where there is no file."""

    old_path: str
    new_path: str


def split_revisions(words: Sequence[str], repository: Repository) -> tuple[str, str]:
    """The two revisions that the words before ``--`` mean, as commit names; the second may be :data:`WORK_TREE`.

    ``A`` is A against the work tree, ``A B`` and ``A..B`` are two commits (an empty end is HEAD), ``A...B`` is the
    merge base of both against B. No word at all is HEAD against the work tree; on a branch without commits the empty
    tree stands for HEAD, as in git.

    Raises:
        SourceError: a word names no commit, or there are more than two.

    """
    if len(words) > 2:
        raise SourceError(f"{len(words)} revisions given, at most two make sense: A, A B or A..B")
    if len(words) == 1 and ".." in words[0]:
        symmetric = "..." in words[0]
        left, _, right = words[0].partition("..." if symmetric else "..")
        old, new = repository.commit(left or "HEAD"), repository.commit(right or "HEAD")
        return (_merge_base(repository, old, new) if symmetric else old), new
    commits = [repository.commit(word) for word in words] or [_head(repository)]
    return commits[0], commits[1] if len(commits) == 2 else WORK_TREE


def _head(repository: Repository) -> str:
    """HEAD, or the empty tree on a branch without commits."""
    try:
        return repository.commit("HEAD")
    except SourceError as error:
        if not _is_unborn(repository):
            raise error
        return repository.ask("hash-object", "-t", "tree", "--stdin").decode("ascii").strip()


def _is_unborn(repository: Repository) -> bool:
    try:
        branch = os.fsdecode(repository.ask("symbolic-ref", "-q", "HEAD").removesuffix(b"\n"))
    except GitError:
        return False
    try:
        repository.ask("rev-parse", "--verify", "-q", "--end-of-options", branch)  # a commit that is gone has a name
    except GitError:
        return True
    return False


def _merge_base(repository: Repository, a: str, b: str) -> str:
    try:
        return repository.ask("merge-base", a, b).decode("ascii").split()[0]
    except (GitError, IndexError) as error:
        raise SourceError(f"{a[:12]} and {b[:12]} have no common ancestor (a shallow clone?)") from error


def changed_files(repository: Repository, old: str, new: str, paths: Sequence[str]) -> list[ChangedFile]:
    """Files that differ, exact renames paired, submodules left out.

    Args:
        old: a commit's object name.
        new: another, :data:`WORK_TREE` or :data:`INDEX`.
        paths: files or folders relative to the working directory, taken literally; empty = everything.

    Raises:
        SourceError: not in a repository, or git fails.

    """
    # Exact renames only: anything else would make git read every model to measure similarity.
    common = ["--raw", "-z", "--no-abbrev", "--find-renames=100%", "--no-ext-diff", "--no-textconv"]
    command = ["diff-tree", "-r", *common, old, new]
    if new in (WORK_TREE, INDEX):
        command = ["diff-index", *(["--cached"] if new == INDEX else []), *common, old]
    output = repository.ask("--literal-pathspecs", *command, "--", *paths)
    fields = os.fsdecode(output).split("\0")
    found: list[ChangedFile] = []
    position = 0
    while position < len(fields) and fields[position].startswith(":"):
        modes, kind = fields[position].split(" "), fields[position].split(" ")[4]
        path = fields[position + 1]
        if kind[0] in "RC":
            found.append(ChangedFile(path, fields[position + 2]))
            position += 3
            continue
        position += 2
        if "160000" in (modes[0].lstrip(":"), modes[1]):
            continue
        found.append(ChangedFile("" if kind == "A" else path, "" if kind == "D" else path))
    return found


def exists_at(repository: Repository, commit: str, path: str) -> bool:
    """Whether the commit, or the index, has ``path`` (relative to the working directory) as a file or a folder."""
    try:
        if commit == INDEX:
            return bool(repository.ask("--literal-pathspecs", "ls-files", "-z", "--", path.rstrip("/") or "."))
        return bool(repository.ask("--literal-pathspecs", "ls-tree", "-z", commit, "--", path.rstrip("/") or "."))
    except GitError:
        return False


def top_of_work_tree(repository: Repository) -> str:
    """Absolute path of the work tree's top; "" in a bare repository."""
    try:
        return os.fsdecode(repository.ask("rev-parse", "--show-toplevel").removesuffix(b"\n"))
    except GitError:
        return ""
