"""Repositories, commits, trees and blobs of GitPython, pygit2 and dulwich as models; none is imported.

An object is known by the library and the name of its class (or of one that it derives from). What it stands for is
read through git itself. GitPython's objects know their repository; those of pygit2 and dulwich do not: it is named, or
is that of the working directory.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from diffai.errors import FormatError, SourceError, UsageError
from diffai.formats.base import Limits
from diffai.frozen import frozen, replace
from diffai.model import Absent
from diffai.models.at import model_at, models_of
from diffai.models.inputs import Input, as_input, open_input, unreadable
from diffai.repository.runner import Repository
from diffai.snapshots.resolve import open_blob
from diffai.snapshots.snapshot import Snapshot, folder_snapshot, snapshot_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal, Protocol

    class Identified(Protocol):
        """An object of pygit2 or dulwich."""

        @property
        def id(self) -> Any:
            """Its object name."""

else:
    Identified = object

_MOST_NAMED = 5  # models in a message
_POINTER = 4096  # bytes up to which a blob may be a pointer, which only its repository can follow


@frozen
class GitObject:
    """One object of another library.

    Attributes:
        kind: a repository (its work tree; HEAD where it has none), a tree (also that of a commit), or a blob.
        directory: of the repository; "" = not known.
        oid: hexadecimal object name; "" for a repository.
        path: of a blob in its tree; "" = not known.
        data: content of a blob, where the object has it.

    """

    kind: Literal["repository", "tree", "blob"]
    directory: str = ""
    oid: str = ""
    path: str = ""
    data: bytes | None = None


def git_object(value: object) -> GitObject | None:
    """What an object of GitPython, pygit2 or dulwich stands for; None when it is none."""
    for kind in type(value).__mro__:
        make = _KINDS.get((kind.__module__.partition(".")[0].lstrip("_"), kind.__name__))
        if make is not None:
            return make(value)
    return None


def _gitpython_folder(repo: Any) -> str:
    folder: str = os.fspath(repo.working_tree_dir or repo.git_dir)
    return folder


def _gitpython_blob(blob: Any) -> GitObject:
    return GitObject("blob", _gitpython_folder(blob.repo), blob.hexsha, os.fspath(blob.path))


_KINDS: dict[tuple[str, str], Callable[[Any], GitObject]] = {
    ("git", "Repo"): lambda repo: GitObject("repository", _gitpython_folder(repo)),
    ("git", "Commit"): lambda it: GitObject("tree", _gitpython_folder(it.repo), it.hexsha),
    ("git", "Tree"): lambda it: GitObject("tree", _gitpython_folder(it.repo), it.hexsha),
    ("git", "Reference"): lambda it: GitObject("tree", _gitpython_folder(it.repo), it.commit.hexsha),
    ("git", "Blob"): _gitpython_blob,
    ("pygit2", "Repository"): lambda repo: GitObject("repository", repo.workdir or repo.path),
    ("pygit2", "Commit"): lambda it: GitObject("tree", oid=str(it.id)),
    ("pygit2", "Tree"): lambda it: GitObject("tree", oid=str(it.id)),
    ("pygit2", "Blob"): lambda it: GitObject("blob", oid=str(it.id), path=it.name or "", data=it.data),
    ("dulwich", "Repo"): lambda repo: GitObject("repository", os.fspath(repo.path)),
    ("dulwich", "Commit"): lambda it: GitObject("tree", oid=it.id.decode()),
    ("dulwich", "Tree"): lambda it: GitObject("tree", oid=it.id.decode()),
    ("dulwich", "Blob"): lambda it: GitObject("blob", oid=it.id.decode(), data=it.data),
}


def repository_folder(repository: object) -> str:
    """The folder of a repository that is given as a path or as an object; "" (the working directory) for None.

    Raises:
        UsageError: it is neither.

    """
    if repository is None:
        return ""
    if isinstance(repository, (str, os.PathLike)):
        return os.fspath(repository)
    known = git_object(repository)
    if known is None or not known.directory:
        raise UsageError(f"a {type(repository).__name__} is no repository")
    return known.directory


def open_model(model: Any, path: str, repository: object, limits: Limits, input_format: str = "") -> Input:
    """Open one side of a comparison: all that :func:`diffai.models.inputs.open_input` takes, and git objects.

    Args:
        model: the model, or a repository, commit or tree that holds it.
        path: the model in that repository, commit or tree, or in a folder.
        repository: where a commit, tree or blob lies that does not know it.
        limits: safety limits of reading.
        input_format: read it as this format.

    Raises:
        SourceError: there is no such thing.
        UsageError: several models could be meant.

    """
    thing = git_object(model)
    if thing is None:
        inside = path and isinstance(model, (str, os.PathLike)) and os.path.isdir(model)
        return open_input(os.path.join(model, path) if inside else model, limits, input_format)
    if thing.kind == "blob":
        placed = replace(thing, directory=thing.directory or repository_folder(repository))
        return _open_blob(placed, limits, input_format)
    tree = tree_of(model, repository)
    found = open_in(tree, path or _only_model(tree), limits, input_format)
    if isinstance(found.state, Absent):
        raise SourceError(f"{found.label}: there is no such file")
    return found


def _open_blob(blob: GitObject, limits: Limits, input_format: str) -> Input:
    label = blob.path or blob.oid[:12]
    if blob.data is not None and len(blob.data) > _POINTER:
        return open_input(blob.data, limits, input_format, label=label)
    return as_input(open_blob(blob.directory, blob.oid, blob.path, label=label), limits, input_format, label=label)


def tree_of(value: object, repository: object = None) -> Snapshot:
    """The snapshot that a folder, repository, commit or tree stands for.

    Raises:
        SourceError: the repository does not have it.
        UsageError: it is something else.

    """
    if isinstance(value, (str, os.PathLike)):
        return folder_snapshot(os.fspath(value))
    thing = git_object(value)
    if thing is None or thing.kind == "blob":
        raise UsageError(f"a {type(value).__name__} is no tree, commit or repository")
    git = Repository(thing.directory or repository_folder(repository))
    if thing.kind == "tree":
        return snapshot_of(git, git.tree(thing.oid), thing.oid[:10])
    place = git.place()
    bare = place is not None and not place.top
    return snapshot_of(git, git.tree("HEAD") if bare else "", "HEAD" if bare else "work tree")


def open_in(tree: Snapshot, path: str, limits: Limits, input_format: str = "") -> Input:
    """The model at a path of a tree, in one file or in shards; its state where there is none, or none that is here."""
    label = tree.name(path)
    try:
        found = as_input(tree.open(path, label), limits, input_format, label=label)
    except (SourceError, FormatError) as error:
        return Input(label, state=unreadable(error))
    if not isinstance(found.state, Absent):
        return found
    model = model_at(tree, path)
    return model.open(limits) if model is not None else found


def _only_model(tree: Snapshot) -> str:
    models = models_of(tree)
    if len(models) == 1:
        return models[0]
    named = ", ".join(models[:_MOST_NAMED]) + (", ..." if len(models) > _MOST_NAMED else "")
    reason = f"path= has to say which model: {named}" if models else "holds no model"
    raise UsageError(f"{tree.label}: {reason}")
