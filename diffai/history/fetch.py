"""What is missing of the versions that a walk through history would look at, for ``--fetch``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress

from diffai.cache.store import Store
from diffai.errors import SourceError
from diffai.history.blobs import Blob, look_at
from diffai.history.entries import LogOptions
from diffai.history.log import find_steps
from diffai.history.model_path import ModelPath
from diffai.history.renames import find_candidates
from diffai.history.version import Part, Version
from diffai.history.versions import Versions
from diffai.model import State
from diffai.repository.runner import Repository
from diffai.snapshots.resolve import resolve_at
from diffai.snapshots.snapshot import not_here
from diffai.sources.base import Source
from diffai.stores.fetching import fetch_missing
from diffai.stores.store import PointerAt
from diffai.stores.table import follow, recognise

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
        sides = dict.fromkeys(version for step in steps for version in (step.new, step.old) if version is not None)
        if options.follow and steps and steps[-1].old is None:
            perhaps = find_candidates(repository, versions, steps[-1])
            sides |= dict.fromkeys(perhaps if len(perhaps) <= _MOST_CANDIDATES else [])
    finally:
        versions.close()
    blobs = look_at(repository, [part.oid for version in sides for part in version.parts])
    for version in sides:
        if version.holder == "dvc":
            yield from _tracked(repository, version)
            continue
        for part in version.parts:
            yield from _state_of(repository, version, part, blobs[part.oid])


def _tracked(repository: Repository, version: Version) -> Iterator[State]:
    """The state of a version that DVC keeps; none where its bytes are here."""
    with suppress(SourceError):
        found = resolve_at(repository.directory, version.commit, version.path)
        if isinstance(found, State):
            yield found
        else:
            found.close()


def _state_of(repository: Repository, version: Version, part: Part, blob: Blob) -> Iterator[State]:
    """The state of one file of a version; none where its bytes are here. Nothing of it is read again."""
    if blob.size < 0:
        yield not_here(part.oid, part.path)
    pointer = recognise(blob.text, len(blob.text), os.path.basename(part.path)) if blob.text else None
    if pointer is None:
        return
    commit = repository.commit(version.commit) if "^" in version.commit else version.commit
    at = PointerAt(part.path, part.path, repository.place(), _nothing_beside, blob.text, commit)
    found = follow(pointer, at)
    if isinstance(found, State):
        yield found
    else:
        found.close()


def _nothing_beside(name: str) -> Source:
    raise SourceError(f"{name}: is not looked for")
