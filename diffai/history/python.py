"""The history of a model for Python: what ``diffai log`` prints, as objects, with GitPython's commits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from diffai.cache.places import open_store
from diffai.comparison.result import ModelDiff
from diffai.errors import DiffaiError
from diffai.history.entries import Kind, LogEntry, LogOptions
from diffai.history.figures import CommitFigures
from diffai.history.log import log_model
from diffai.history.log_records import entry_record
from diffai.history.model_path import ModelPath, model_path
from diffai.history.walk import Range
from diffai.models.git_objects import GitObject, git_object
from diffai.repository.place import find_repository
from diffai.repository.runner import Repository
from diffai.views.state import describe_state

if TYPE_CHECKING:
    import git


class HistoryEntry:
    """One commit of a model's history.

    Attributes:
        kind: ``added``, ``changed``, ``same``, ``removed`` or ``unreadable``.
        path: where the model lies after the commit; "" when it was removed.
        renamed_from: its path before, where that was another.
        compared_with: what its figures compare it with, where that is not simply the version before.

    """

    def __init__(self, asked: _Asked, entry: LogEntry) -> None:
        self._asked = asked
        self._entry = entry
        self.kind: Kind = entry.kind
        self.path = entry.version.path if entry.version is not None else ""
        self.renamed_from = entry.renamed_from
        self.compared_with = entry.compared_with

    def __repr__(self) -> str:
        return f"<HistoryEntry {self._entry.commit.short} {self.kind} {self.path}>"

    @property
    def hexsha(self) -> str:
        """Full name of the commit."""
        return self._entry.commit.hash

    @cached_property
    def commit(self) -> git.Commit:
        """The commit as GitPython's object."""
        found: git.Commit = self._asked.gitpython.commit(self._entry.commit.hash)
        return found

    @property
    def figures(self) -> CommitFigures | None:
        """The figures of ``diffai log``; None where the version could not be read, for the reason :attr:`problem`."""
        return self._entry.figures

    @property
    def problem(self) -> str:
        """Why there are no figures; "" where there are."""
        return describe_state(self._entry.state) if self._entry.state is not None else ""

    @property
    def update_size(self) -> float | None:
        """L2(new - old) / L2(old) over all parameters; None where it is not known."""
        moved = self._entry.figures.movement if self._entry.figures is not None else None
        return moved.update.value if moved is not None else None

    def as_dict(self) -> dict[str, Any]:
        """The entry as ``diffai log --format json`` writes it."""
        return entry_record(self._entry)

    def diff(self) -> ModelDiff:
        """The whole comparison behind the figures.

        Raises:
            DiffaiError: the version, or the one before, cannot be read.

        """
        if self._entry.diff is not None:
            return self._entry.diff
        if self._entry.state is not None:
            raise DiffaiError(f"{self._entry.commit.short}: {self.problem}")
        return self._asked.diff(self._entry)


class _Asked:
    """One call of :func:`history`: what was asked, and where."""

    def __init__(
        self, repository: Repository, model: ModelPath, options: LogOptions, gitpython: Any, *, cache: bool
    ) -> None:
        self.repository = repository
        self.model = model
        self.options = options
        self.store = open_store(repository.place()) if cache else open_store(repository.place(), 0)
        self._gitpython = gitpython
        self._oldest = ""

    @cached_property
    def gitpython(self) -> Any:
        """The repository as GitPython's object: the caller's own where that is one."""
        if self._gitpython is not None:
            return self._gitpython
        import git

        return git.Repo(self.repository.directory, search_parent_directories=True)

    def entries(self) -> Iterator[HistoryEntry]:
        """Newest first."""
        log = log_model(self.repository, self.model, self.options, self.store)
        self._oldest = log.entries[-1].commit.hash if log.entries else ""
        for entry in log.entries:
            yield HistoryEntry(self, entry)

    def diff(self, entry: LogEntry) -> ModelDiff:
        """The comparison of one entry, read again."""
        commit, options = entry.commit, self.options
        chosen = Range((commit.hash, *(f"^{parent}" for parent in commit.parents)), first_parent=True)
        base = self._oldest if options.compare_to == "first" else options.compare_to
        options = replace(options, range=chosen, compare_to=base, detail=True, only_structure=False, limit=0)
        path = entry.version.path if entry.version is not None else self.model.path
        found = log_model(self.repository, ModelPath(path), options, self.store).entries
        if not found or found[0].diff is None:
            raise DiffaiError(f"{commit.short}: {path} is not compared there")
        return found[0].diff


def history(
    repository: str | os.PathLike[str] | object,
    path: str | os.PathLike[str] = "",
    options: LogOptions | None = None,
    *,
    cache: bool = True,
) -> Iterator[HistoryEntry]:
    """What each commit did to a model, newest first: ``diffai log`` for Python.

    Args:
        repository: a repository (its folder, or an object of GitPython, pygit2 or dulwich); a commit of GitPython, up
            to which the history goes; or the path of the model itself, when there is no second argument.
        path: the model, from the top of the repository: a file, a shard index, a folder of shards, a DVC output. It
            need not exist any more.
        options: which commits, how far to look, what to compare with.
        cache: remember figures in the git directory, as ``diffai log`` does.

    Raises:
        SourceError: no such repository or revision, or no commit has the model.
        UsageError: what is given is none of these.

    >>> import git, tempfile, numpy, safetensors.numpy
    >>> folder = tempfile.mkdtemp()
    >>> repo = git.Repo.init(folder)
    >>> with repo.config_writer() as config:
    ...     _ = config.set_value("user", "name", "A").set_value("user", "email", "a@b.example")
    >>> for epoch in (1, 2, 3):
    ...     weights = {"fc.weight": numpy.full((2, 2), epoch, "float32")}
    ...     safetensors.numpy.save_file(weights, f"{folder}/m.safetensors")
    ...     _ = repo.index.add(["m.safetensors"]), repo.index.commit(f"epoch {epoch}")
    >>> for entry in history(repo, "m.safetensors"):
    ...     print(entry.commit.message, entry.kind, entry.update_size)
    epoch 3 changed 0.5
    epoch 2 changed 1.0
    epoch 1 added None
    >>> latest = next(history(repo.head.commit, "m.safetensors"))
    >>> latest.diff().totals.changed
    1

    """
    options = options or LogOptions()
    thing = git_object(repository)
    if thing is None:
        return _of_path(os.fspath(repository), os.fspath(path), options, cache=cache)  # type: ignore[arg-type]
    return _of_object(repository, thing, os.fspath(path), options, cache=cache)


def _of_path(repository: str, path: str, options: LogOptions, *, cache: bool) -> Iterator[HistoryEntry]:
    """The first word is a repository's folder, or the model's own path."""
    folder = repository
    if not path:
        full = os.path.abspath(repository)
        folder = os.path.dirname(full)
        while not os.path.isdir(folder):  # the model's folder need not exist any more
            folder = os.path.dirname(folder)
        path = os.path.relpath(full, folder)
    asked = Repository(folder)
    return _Asked(asked, model_path(asked, path, options.range), options, None, cache=cache).entries()


def _of_object(given: Any, thing: GitObject, path: str, options: LogOptions, *, cache: bool) -> Iterator[HistoryEntry]:
    if thing.kind == "tree" and not options.range.revisions:
        options = replace(options, range=replace(options.range, revisions=(thing.oid,)))
    blob_path = thing.path if thing.kind == "blob" else ""
    asked = Repository(_top(thing.directory))
    gitpython = given if thing.kind == "repository" else None
    if gitpython is not None and type(given).__module__.partition(".")[0] != "git":
        gitpython = None
    return _Asked(asked, model_path(asked, path or blob_path, options.range), options, gitpython, cache=cache).entries()


def _top(directory: str) -> str:
    """The top of the work tree, from which paths count; the git directory where there is none."""
    place = find_repository(directory)
    return place.top or place.git_dir if place is not None else directory
