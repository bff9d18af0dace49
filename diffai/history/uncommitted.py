"""A model as the index and the work tree have it, where that is not what HEAD has."""

from __future__ import annotations

from collections.abc import Iterator

from diffai.comparison.models import Input
from diffai.errors import SourceError
from diffai.formats.base import Limits
from diffai.history.model_path import ModelPath
from diffai.history.walk import Commit
from diffai.models.at import model_at
from diffai.repository.disk import top_of_work_tree
from diffai.repository.runner import GitError, Repository
from diffai.snapshots.snapshot import Snapshot, snapshot_of

WORK_TREE = Commit("0" * 40, (), "not committed (work tree)", "", "", "")
STAGED = Commit("0" * 40, (), "not committed (staged)", "", "", "")
"""In place of a commit; what a commit would be called is who changed it last."""


def uncommitted(repository: Repository, model: ModelPath, limits: Limits) -> Iterator[tuple[Commit, Input]]:
    """:data:`WORK_TREE` and :data:`STAGED`, each where it may differ from what lies below it, newest first.

    The caller closes each side before it asks for the next. "May": a file that was only touched is read, too.

    Raises:
        SourceError: git fails.
    """
    if not top_of_work_tree(repository):
        return
    index, files = snapshot_of(repository, ":"), snapshot_of(repository, "")
    staged = model_at(index, model.path, model.named)
    kept_by_git = staged is not None and staged.files[0].item is None
    if _differs(repository, "diff-files", model) or not kept_by_git:
        side = _at(files, model, limits)
        if side is not None:
            yield WORK_TREE, side
    if _differs(repository, "diff-index", model):
        side = _at(index, model, limits)
        if side is not None:
            yield STAGED, side


def _differs(repository: Repository, command: str, model: ModelPath) -> bool:
    """Whether the work tree differs from the index (``diff-files``), or the index from HEAD (``diff-index``)."""
    against = ("--cached", "HEAD") if command == "diff-index" else ()
    try:
        return bool(repository.ask(command, "--name-only", "-z", *against, "--", *model.pathspecs()))
    except GitError:  # no commit yet: everything that is staged is new
        return True


def _at(snapshot: Snapshot, model: ModelPath, limits: Limits) -> Input | None:
    """The model at one moment; None where there is none, or it is in conflict."""
    try:
        found = model_at(snapshot, model.path, model.named)
        return found.open(limits) if found is not None else None
    except SourceError:
        return None
