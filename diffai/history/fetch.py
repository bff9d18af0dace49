"""Bring what is missing, when asked to: git-lfs, git-annex, DVC and git do it themselves, as the user would.

This is the only place of the history that uses the network. Nothing but the versions of the models that are asked for
is brought: not the other files of a commit.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Literal

from diffai.cache.store import Store
from diffai.errors import DiffaiError, SourceError
from diffai.frozen import frozen
from diffai.history.blobs import look_at
from diffai.history.entries import LogOptions
from diffai.history.log import find_steps
from diffai.history.model_path import ModelPath
from diffai.history.renames import find_candidates
from diffai.history.version import Part, Version
from diffai.history.versions import Versions
from diffai.model import NotPulled
from diffai.repository.runner import GitError, Repository
from diffai.snapshots.resolve import resolve_at
from diffai.stores.annex import find_key
from diffai.stores.lfs import find_object
from diffai.stores.pointers import AnnexText, LfsText, parse_pointer

_MOST_WORDS = 200
_MOST_CANDIDATES = 4  # models that may be an earlier one of another name; more are not brought only to find out


@frozen
class _Missing:
    """One object that is not here: a blob's name, an LFS path, an annex key, a command of DVC's."""

    kind: Literal["git", "git-lfs", "git-annex", "dvc"]
    name: str
    commit: str = ""


def fetch_models(repository: Repository, models: Sequence[ModelPath], options: LogOptions) -> None:
    """Download the objects of all versions in a range that are not here.

    Raises:
        DiffaiError: a program that is needed is not installed.
        SourceError: no such revision.
    """
    for model in models:
        tried: set[_Missing] = set()
        while True:  # a blob that comes may be a pointer, and a header may show a rename
            missing = dict.fromkeys(m for m in _missing(repository, model, options) if m not in tried)
            if not missing:
                break
            _bring(repository, list(missing))
            tried.update(missing)


def _missing(repository: Repository, model: ModelPath, options: LogOptions) -> Iterator[_Missing]:
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
            yield from _missing_in_dvc(version)
            continue
        for part in version.parts:
            blob = blobs[part.oid]
            if blob.size < 0:
                yield _Missing("git", part.oid)
            elif blob.text:
                yield from _missing_behind(repository, version, part, blob.text)


def _missing_behind(repository: Repository, version: Version, part: Part, text: bytes) -> Iterator[_Missing]:
    """The object of a pointer."""
    pointer, place = parse_pointer(text, len(text), os.path.basename(part.path)), repository.place()
    if isinstance(pointer, LfsText) and not find_object(pointer.oid, pointer.size, place):
        yield _Missing("git-lfs", part.path, version.commit)
    if isinstance(pointer, AnnexText) and not find_key(pointer.key, pointer.size, place):
        yield _Missing("git-annex", pointer.key)


def _missing_in_dvc(version: Version) -> Iterator[_Missing]:
    """The command that DVC's state of a version names."""
    with suppress(SourceError):
        found = resolve_at("", version.commit, version.path)
        if isinstance(found, NotPulled) and found.command.startswith("dvc "):
            yield _Missing("dvc", found.command)
        elif hasattr(found, "close"):
            found.close()


def _bring(repository: Repository, missing: Sequence[_Missing]) -> None:
    place = repository.place()
    top = place.top if place is not None and place.top else None

    def of(kind: str) -> list[_Missing]:
        return [each for each in missing if each.kind == kind]

    blobs, lfs, keys, commands = of("git"), of("git-lfs"), of("git-annex"), of("dvc")
    if blobs:
        names = "".join(f"{each.name}\n" for each in blobs).encode("ascii")
        for remote in _promisors(repository):
            # What git itself runs for the objects of a partial clone, for all of them at once.
            _run(["git", "-c", "fetch.negotiationAlgorithm=noop", "fetch", "--no-tags", "--no-write-fetch-head",
                  "--recurse-submodules=no", "--filter=blob:none", "--stdin", remote], top, names)  # fmt: skip
    if lfs:
        _needs("git-lfs")
        include = f"--include={','.join(dict.fromkeys(_pattern(each.name) for each in lfs))}"
        commits = _commits(repository, {each.commit for each in lfs})
        for start in range(0, len(commits), _MOST_WORDS):
            some = commits[start : start + _MOST_WORDS]
            _run(["git", "lfs", "fetch", include, "--exclude=", *_lfs_remote(repository), *some], top)
    if keys:
        _needs("git-annex")
        for each in keys:
            _run(["git", "annex", "get", f"--key={each.name}"], top)
    if commands:
        program = _needs("dvc")
        for each in commands:
            _run([program, *shlex.split(each.name)[1:]], top)


def _promisors(repository: Repository) -> list[str]:
    """The remotes that a partial clone may ask for what it lacks."""
    with suppress(GitError):
        listed = repository.ask("config", "--get-regexp", r"^remote\..*\.promisor$", "true").decode("utf-8", "replace")
        return [line.split(" ")[0][len("remote.") : -len(".promisor")] for line in listed.splitlines()]
    return []


def _commits(repository: Repository, names: Iterable[str]) -> list[str]:
    """``COMMIT`` and ``COMMIT^1`` as full names."""
    return sorted({name if "^" not in name else repository.commit(name) for name in names})


def _pattern(path: str) -> str:
    """A path for git-lfs: a comma would end a pattern, and ``?`` stands for any character."""
    return "/" + re.sub(r"[\\*?\[\],!]", "?", path)


def _lfs_remote(repository: Repository) -> list[str]:
    """The remote that git-lfs would take by itself: it has to be named before commits."""
    for key in ("remote.lfsdefault", f"branch.{_branch(repository)}.remote"):
        with suppress(GitError):
            return [os.fsdecode(repository.ask("config", "--get", key)).rstrip("\n")]
    names = os.fsdecode(repository.ask("remote")).split()
    return ["origin"] if "origin" in names else names[:1]


def _branch(repository: Repository) -> str:
    with suppress(GitError):
        return os.fsdecode(repository.ask("symbolic-ref", "--short", "-q", "HEAD")).rstrip("\n")
    return ""


def _needs(program: str) -> str:
    """A program's path: on PATH, or of this Python's environment, which need not be activated."""
    beside = os.path.join(os.path.dirname(sys.executable), program)
    found = shutil.which(program) or (beside if os.access(beside, os.X_OK) else "")
    if not found:
        raise DiffaiError(f"--fetch needs {program}, which is not installed or not on PATH")
    return found


def _run(command: list[str], cwd: str | None, data: bytes = b"") -> None:
    """Run a program in the open: its words go to stderr. A failure is a warning, the walk then says what is missing."""
    try:
        done = subprocess.run(command, cwd=cwd, input=data, stdout=2, check=False)
    except OSError as error:
        raise DiffaiError(f"{command[0]}: {(error.strerror or str(error)).lower()}") from error
    if done.returncode:
        name = shlex.join([os.path.basename(command[0]), *command[1:3]])
        sys.stderr.write(f"diffai: {name} failed ({done.returncode})\n")
