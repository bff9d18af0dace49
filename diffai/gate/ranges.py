"""What two sides a request means: HEAD and the index, or where a branch began and what it is now."""

from __future__ import annotations

import os

from diffai.errors import SourceError
from diffai.frozen import frozen
from diffai.gate.changes import Point, empty_tree, is_zero, staged_entries
from diffai.repository.runner import GitError, Repository
from diffai.repository.trees import Changed, changed_paths

HOOKS = ("pre-commit", "pre-push")


@frozen
class Range:
    """What is judged.

    Attributes:
        old, new: both sides.
        policy: where the policy is read; the same as ``new`` for a commit in the making.
        changes: every changed file.
        staged: whether ``new`` is the index.
        note: a sentence on how the base was found, where that is not plain.
    """

    old: Point
    new: Point
    policy: Point
    changes: list[Changed]
    staged: bool
    note: str = ""


@frozen
class Words:
    """How the caller names what is judged.

    Attributes:
        base: a revision, or zeros for a branch that the remote does not have; "" = judge the index.
        head: a revision; "" = HEAD.
        hook: ``pre-commit`` or ``pre-push`` when a hook asks; "" by hand or in CI.
        remote: the remote that is pushed to, for a first push.
    """

    base: str = ""
    head: str = ""
    hook: str = ""
    remote: str = ""


def from_framework(words: Words) -> Words:
    """The range that the pre-commit framework names in the environment, for a hook that names none itself."""
    environment = os.environ
    if not words.hook or words.base or environment.get("PRE_COMMIT") != "1":
        return words
    if environment.get("PRE_COMMIT_FROM_REF") and environment.get("PRE_COMMIT_TO_REF"):
        return Words(environment["PRE_COMMIT_FROM_REF"], environment["PRE_COMMIT_TO_REF"], "pre-push", words.remote)
    if environment.get("PRE_COMMIT_REMOTE_NAME"):  # the first push of a branch: no base is named
        head = environment.get("PRE_COMMIT_LOCAL_BRANCH", "")
        return Words("0" * 40, head, "pre-push", environment["PRE_COMMIT_REMOTE_NAME"])
    return words


def find_range(repository: Repository, words: Words) -> Range:
    """Both sides and what changed between them.

    A range is judged from where the head left the base (the merge base), so that what happened on the base in the
    meantime is not the head's doing; the policy is that of the base as it is now.

    Raises:
        SourceError: no repository, no such revision, or no history to find the merge base in.
    """
    if not words.base:
        old, changes = staged_entries(repository)
        index = Point("", "the index")
        return Range(old, index, index, changes, staged=True)
    head = repository.commit(words.head or "HEAD")
    new = Point(head, _short(words.head or "HEAD"))
    base = words.base
    if words.hook == "pre-push":
        base = _pushed_base(repository, words, head)
    elif is_zero(base):
        base = _new_branch_base(repository, head)
    if not base:
        nothing = Point(empty_tree(repository), "nothing")
        note = "nothing was pushed before, so every model is new and the policy is the one that is pushed"
        return Range(nothing, new, new, changed_paths(repository, nothing.tree, head), staged=False, note=note)
    tip = _commit(repository, base)
    start, note = _merge_base(repository, tip, head, base)
    policy = Point(tip, _short(base))
    label = policy.label if start == tip else f"{start[:9]} (where {new.label} left {policy.label})"
    return Range(Point(start, label), new, policy, changed_paths(repository, start, head), staged=False, note=note)


def _new_branch_base(repository: Repository, head: str) -> str:
    """The default branch, which a branch that CI sees for the first time must have left.

    No other branch will do: whoever pushes may have pushed that one, too, with a policy of their own.

    Raises:
        SourceError: the default branch is not known, or is the new one itself.
    """
    from diffai.gate.bases import current_branch, default_branch

    ref, name = default_branch(repository)
    if not ref:
        what = f"{name} is not among the remote branches here" if name else "which one that is, is not known"
        raise SourceError(
            f"the base is a new branch's (all zeros), so it must have left the default branch, but {what};"
            " fetch it, or name the base: --base origin/main"
        )
    if repository.commit(ref) == head and current_branch(repository) in ("", name):
        raise SourceError(
            f"the base is a new branch's (all zeros), and the head is the default branch {ref} itself:"
            " what was there before is not known; name the base: --base REV"
        )
    return ref


def _pushed_base(repository: Repository, words: Words, head: str) -> str:
    """What the remote has of the history that is pushed; "" when it has nothing."""
    if not is_zero(words.base):
        try:
            return repository.commit(words.base)
        except SourceError:  # the remote has commits that were not fetched: this push is forced, or will fail
            pass
    for pattern in (f"refs/remotes/{words.remote}/" if words.remote else "", "refs/remotes/"):
        names = repository.ask("for-each-ref", "--format=%(objectname)", pattern).decode("ascii").split()
        if pattern and names:
            try:
                return repository.ask("merge-base", head, *dict.fromkeys(names)).decode("ascii").split()[0]
            except (GitError, IndexError):
                continue
    return ""


def _merge_base(repository: Repository, tip: str, head: str, base: str) -> tuple[str, str]:
    try:
        return repository.ask("merge-base", tip, head).decode("ascii").split()[0], ""
    except (GitError, IndexError) as error:
        if repository.ask("rev-parse", "--is-shallow-repository").strip() == b"true":
            raise SourceError(
                f"this clone is shallow, so where the change left {base} is not known; fetch the history first: "
                "git fetch --unshallow (GitHub: actions/checkout with fetch-depth: 0; GitLab: GIT_DEPTH: 0)"
            ) from error
        return tip, f"{base} and the head have no common history: they are compared as they are"


def _commit(repository: Repository, base: str) -> str:
    try:
        return repository.commit(base)
    except SourceError as error:
        shallow = repository.ask("rev-parse", "--is-shallow-repository").strip() == b"true"
        hint = " (this clone is shallow: GitHub needs actions/checkout with fetch-depth: 0, GitLab GIT_DEPTH: 0)"
        remote, _, branch = base.partition("/")
        fetch = f"; bring it with: git fetch {remote} {branch}" if branch and not shallow else ""
        raise SourceError(f"{error}{hint if shallow else fetch}") from error


def _short(word: str) -> str:
    """A revision for people: full object names are cut."""
    return word[:9] if len(word) >= 40 and all(c in "0123456789abcdef" for c in word) else word
