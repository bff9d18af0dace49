"""What is missing of the versions that a walk through history would look at, for ``--fetch``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from diffai.cache.store import Store
from diffai.errors import SourceError
from diffai.history.entries import LogOptions
from diffai.history.log import find_steps
from diffai.history.model_path import ModelPath
from diffai.history.renames import find_candidates
from diffai.history.versions import Versions
from diffai.model import State
from diffai.models.reference import File
from diffai.repository.runner import Repository
from diffai.repository.trees import CommitTree
from diffai.snapshots.snapshot import Snapshot
from diffai.stores.fetching import fetch_missing

_MOST_CANDIDATES = 4  # models that may be an earlier one of another name; more are not brought only to find out


def fetch_models(repository: Repository, models: Sequence[ModelPath], options: LogOptions) -> None:
    """Download the objects of all versions in a range that are not here.

    Raises:
        DiffaiError: a program that is needed is not installed.
        SourceError: no such revision.
    """
    for model in models:  # a header that comes may show a rename
        fetch_missing(lambda model=model: _states(repository, model, options), repository.directory)  # type: ignore[misc]


def _states(repository: Repository, model: ModelPath, options: LogOptions) -> Iterator[State]:
    versions = Versions(repository, options.limits, Store("", 0))
    try:
        steps, _ = find_steps(repository, versions, model, options)
        # Each version at the commit that brought it, and for the oldest one the one that it is compared with.
        sides = [version for step in steps for version in (step.new, step.old) if version is not None]
        if options.follow and steps and steps[-1].old is None:
            perhaps = find_candidates(repository, versions, steps[-1])
            sides += perhaps if len(perhaps) <= _MOST_CANDIDATES else []
    finally:
        versions.close()
    finder = versions.finder
    for version in {version.key: version for version in reversed(sides)}.values():
        snapshot = Snapshot(CommitTree(repository, _full(repository, version.commit), version.commit[:10]))
        for file in version.parts:
            if file.entry is None or finder.held(file) != "git" or finder.blob(file.entry.oid).size < 0:
                with suppress(SourceError):
                    yield from _state_of(file, snapshot)


def _full(repository: Repository, commit: str) -> str:
    return repository.commit(commit) if "^" in commit else commit


def _state_of(file: File, snapshot: Snapshot) -> Iterator[State]:
    """The state of one file of a version; none where its bytes are here."""
    found = file.open(snapshot)
    if isinstance(found, State):
        yield found
    else:
        found.close()
