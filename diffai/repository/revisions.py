"""What the words before ``--`` mean: two commits, or a commit against the index or the work tree."""

from __future__ import annotations

import os
from collections.abc import Sequence

from diffai.errors import SourceError
from diffai.repository.runner import GitError, Repository

WORK_TREE = ""
"""In place of a revision: the files as they are on disk."""

INDEX = ":"
"""In place of a revision: what would be committed."""


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
