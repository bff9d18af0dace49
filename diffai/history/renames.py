"""Where a model was before: the file that the commit which created it deleted, if that was the same model.

Same bytes, or the same DVC or git-annex content, are the same model for certain. A model that was renamed and trained
in one commit is known by its header: names, shapes and dtypes of its tensors. No values are read, so that looking for
a rename costs next to nothing, and what was found in this way is said to be so.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping

from diffai.frozen import frozen
from diffai.history.model_path import ModelPath
from diffai.history.version import Step, Version
from diffai.history.versions import Versions
from diffai.model import TensorSpec
from diffai.models.names import is_model_name, model_key
from diffai.repository.runner import GitError, Repository

_ALIKE = 0.5  # as git: from half of it on, a file is taken for the same
_MOST_CANDIDATES = 50


@frozen
class Earlier:
    """The path that a model had before; ``exact`` = the same content, else the same tensors by name and shape."""

    path: str
    exact: bool


def find_earlier(repository: Repository, versions: Versions, step: Step) -> Earlier | None:
    """Where the model of a step that created it was before; None where that cannot be told.

    Raises:
        SourceError: git fails.
    """
    assert step.new is not None
    added, deleted = _added_and_deleted(repository, step.logged.commit.hash)
    own = {file.entry.oid for file in step.new.files if file.entry is not None}
    for path, oid in deleted.items():
        if oid in own and _model_of(path) != step.new.model.path:
            return Earlier(_model_of(path), exact=True)
    known = _candidates(versions, step, added, deleted)
    for name, version in known.items():
        if version.content and version.content == step.new.content:
            return Earlier(name, exact=True)
    name = _likest(step.new, known, versions)
    return Earlier(name, exact=False) if name else None


def find_candidates(repository: Repository, versions: Versions, step: Step) -> list[Version]:
    """The models that the commit deleted and that this one may have been, whether their headers can be read or not."""
    return list(_candidates(versions, step, *_added_and_deleted(repository, step.logged.commit.hash)).values())


def _candidates(
    versions: Versions, step: Step, added: Mapping[str, str], deleted: Mapping[str, str]
) -> dict[str, Version]:
    """By their paths, before the commit."""
    assert step.new is not None
    taken = set(added.values())  # went elsewhere, byte for byte
    paths = dict.fromkeys(_model_of(path) for path, oid in deleted.items() if oid not in taken)
    paths.pop(step.new.model.path, None)
    names = [path for path in paths if is_model_name(path.lower())][:_MOST_CANDIDATES]
    before = [(name, versions.finder.at(ModelPath(name), [f"{step.logged.commit.hash}^1"])[0]) for name in names]
    return {name: version for name, version in before if version is not None}


def _added_and_deleted(repository: Repository, commit: str) -> tuple[dict[str, str], dict[str, str]]:
    """Path -> object of the files that a commit added to its first parent, and of those that it deleted."""
    try:
        output = repository.ask(
            "diff-tree", "-r", "-z", "--raw", "--no-abbrev", "--no-renames", "--no-commit-id", "--no-relative",
            "--diff-filter=AD", f"{commit}^1", commit,
        )  # fmt: skip
    except GitError:
        return {}, {}  # the first commit
    added, deleted = {}, {}
    fields = output.decode("utf-8", "surrogateescape").split("\0")
    for raw, path in zip(fields[::2], fields[1::2], strict=False):
        _, _, old, new, kind = raw.split(" ")
        if kind == "A":
            added[path] = new
        else:
            deleted[path] = old
    return added, deleted


def _model_of(path: str) -> str:
    """The model that a file is: itself, that of a shard or an index, the output beside a ``.dvc`` file."""
    return model_key(path.removesuffix(".dvc"))


def _likest(version: Version, known: Mapping[str, Version], versions: Versions) -> str:
    """The candidate whose header is most like that of ``version``; "" when none is, or several are equally."""
    if not known:
        return ""
    header = versions.header(version).checkpoint
    if header is None:
        return ""
    likeness = {}
    for name, candidate in known.items():
        other = versions.header(candidate).checkpoint
        likeness[name] = likeness_of(other.tensors.values(), header.tensors.values()) if other is not None else 0.0
    best = max(likeness.values())
    if best < _ALIKE:
        return ""
    likest = [name for name, value in likeness.items() if value == best]
    moved = [name for name in likest if posixpath.basename(name) == posixpath.basename(version.model.path)]
    return likest[0] if len(likest) == 1 else moved[0] if len(moved) == 1 else ""


def likeness_of(old: Iterable[TensorSpec], new: Iterable[TensorSpec]) -> float:
    """Share of the tensors of two models that have the same name, shape and dtype in both; 0 where there are none."""
    before, after = ({(spec.name, spec.shape, spec.dtype) for spec in each} for each in (old, new))
    return 2 * len(before & after) / (len(before) + len(after)) if before or after else 0.0
