"""A model as the index and the work tree have it, where that is not what HEAD has."""

from __future__ import annotations

import os
from collections.abc import Iterator

from diffai.comparison.models import Input
from diffai.errors import FormatError, SourceError
from diffai.formats.base import Limits
from diffai.history.model_path import ModelPath, entries_at
from diffai.history.walk import Commit
from diffai.model import Absent
from diffai.models.inputs import as_input, open_input
from diffai.repository.disk import top_of_work_tree
from diffai.repository.runner import GitError, Repository
from diffai.snapshots.resolve import open_staged
from diffai.sources.directory import Directory
from diffai.stores.store import Opened

WORK_TREE = Commit("0" * 40, (), "not committed (work tree)", "", "", "")
STAGED = Commit("0" * 40, (), "not committed (staged)", "", "", "")
"""In place of a commit; what a commit would be called is who changed it last."""


def uncommitted(repository: Repository, model: ModelPath, limits: Limits) -> Iterator[tuple[Commit, Input]]:
    """:data:`WORK_TREE` and :data:`STAGED`, each where it may differ from what lies below it, newest first.

    The caller closes each side before it asks for the next. "May": a file that was only touched is read, too.

    Raises:
        SourceError: git fails.
    """
    top = top_of_work_tree(repository)
    if not top:
        return
    if _differs(repository, "diff-files", model) or not _is_in_index(repository, model):
        side = _in_work_tree(top, model, limits)
        if side is not None:
            yield WORK_TREE, side
    if _differs(repository, "diff-index", model):
        side = _in_index(model, limits)
        if side is not None:
            yield STAGED, side


def _differs(repository: Repository, command: str, model: ModelPath) -> bool:
    """Whether the work tree differs from the index (``diff-files``), or the index from HEAD (``diff-index``)."""
    against = ("--cached", "HEAD") if command == "diff-index" else ()
    try:
        return bool(repository.ask(command, "--name-only", "-z", *against, "--", *model.pathspecs()))
    except GitError:  # no commit yet: everything that is staged is new
        return True


def _is_in_index(repository: Repository, model: ModelPath) -> bool:
    """Whether git keeps the model's own files, and not only a DVC pointer to it."""
    listed = repository.ask("ls-files", "-z", "--full-name", "--", *model.pathspecs()).decode(
        "utf-8", "surrogateescape"
    )
    names = [name for name in listed.split("\0") if name]
    return any(name in (model.path, model.index) or _is_shard(model, name) for name in names)


def _is_shard(model: ModelPath, path: str) -> bool:
    return model.shard is not None and model.shard.fullmatch(path) is not None


def _in_work_tree(top: str, model: ModelPath, limits: Limits) -> Input | None:
    """The files on disk; None when there are none."""
    for path in (model.path, model.index):
        full = os.path.join(top, path)
        if path and os.path.isfile(full):
            return open_input(full, limits, label=path)
    folder = os.path.join(top, model.folder)
    if os.path.isdir(folder) and entries_at(os.listdir(folder), model):
        return open_input(folder, limits, label=model.folder)
    return None


def _in_index(model: ModelPath, limits: Limits) -> Input | None:
    """What is staged; None when that is nothing, or in conflict."""
    try:
        for path in (model.path, model.index):
            found: Opened = open_staged("", path) if path else Absent()
            if not isinstance(found, Absent | Directory):
                return as_input(found, limits, label=f":{path}")
        folder = open_staged("", model.folder) if model.shard is not None else Absent()
        if isinstance(folder, Directory) and entries_at(folder.names(), model):
            return as_input(folder, limits, label=f":{model.folder}")
    except (SourceError, FormatError):
        return None
    return None
