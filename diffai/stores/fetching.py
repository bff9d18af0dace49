"""Bring what is missing, when the user asked for it: git, git-lfs, git-annex and DVC do it themselves, in the open.

This is the only place that lets another program use the network. Nothing but the objects of the models that are asked
for is brought: not the other files of a commit.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from diffai.errors import DiffaiError
from diffai.frozen import replace
from diffai.model import FetchCommand, LfsPointer, NotPulled, State
from diffai.repository.runner import GitError, Repository
from diffai.stores.store import merged

_MOST_WORDS = 200


def fetch_missing(look: Callable[[], Iterable[State | None]], directory: str = "") -> None:
    """Look, bring what is missing, and look again, because a blob that comes may be a pointer.

    Args:
        look: gives the states of the models that are asked for; called until it names nothing new.
        directory: any directory of the repository; "" is the working directory.

    Raises:
        DiffaiError: a program that is needed is not installed.
    """
    tried: set[FetchCommand] = set()
    while True:
        wanted = [command for command in commands_of(look()) if command not in tried]
        if not wanted:
            return
        fetch(wanted, directory)
        tried.update(wanted)


def commands_of(states: Iterable[State | None]) -> list[FetchCommand]:
    """What would bring the objects that these states miss, each command once."""
    missing = [state for state in states if isinstance(state, LfsPointer | NotPulled)]
    return list(dict.fromkeys(command for state in missing for command in state.fetch))


def fetch(commands: Sequence[FetchCommand], directory: str = "") -> None:
    """Run commands, like ones together.

    Raises:
        DiffaiError: a program that is needed is not installed.
    """
    repository = Repository(directory)
    place = repository.place()
    top = place.top or place.git_dir if place is not None else None
    blobs = dict.fromkeys(oid for command in commands if command.store == "git" for oid in command.targets)
    if blobs:
        _fetch_blobs(repository, list(blobs), top)
    for command in _together([command for command in commands if command.store != "git"]):
        program = _needs(command.store)
        for words in command.runs:
            first = program if command.store == "dvc" else words[0]
            _run([first, *words[1:]], top, environment=dict(command.environment))


def _together(commands: Sequence[FetchCommand]) -> list[FetchCommand]:
    """Commands of several revisions as few: of each revision all the targets, as git-lfs takes them."""
    groups: dict[FetchCommand, list[FetchCommand]] = {}
    for command in merged(commands):
        groups.setdefault(replace(command, targets=(), revisions=()), []).append(command)
    found = []
    for members in groups.values():
        revisions = list(dict.fromkeys(revision for member in members for revision in member.revisions))
        targets = tuple(dict.fromkeys(target for member in members for target in member.targets))
        for start in range(0, max(len(revisions), 1), _MOST_WORDS):
            some = tuple(revisions[start : start + _MOST_WORDS])
            found.append(replace(members[0], revisions=some, targets=targets))
    return found


def _fetch_blobs(repository: Repository, oids: Sequence[str], top: str | None) -> None:
    """What git itself runs for the objects of a partial clone, for all of them at once."""
    names = "".join(f"{oid}\n" for oid in oids).encode("ascii")
    for remote in _promisors(repository):
        _run(["git", "-c", "fetch.negotiationAlgorithm=noop", "fetch", "--no-tags", "--no-write-fetch-head",
              "--recurse-submodules=no", "--filter=blob:none", "--stdin", remote], top, names)  # fmt: skip


def _promisors(repository: Repository) -> list[str]:
    """The remotes that a partial clone may ask for what it lacks."""
    with suppress(GitError):
        listed = repository.ask("config", "--get-regexp", r"^remote\..*\.promisor$", "true").decode("utf-8", "replace")
        return [line.split(" ")[0][len("remote.") : -len(".promisor")] for line in listed.splitlines()]
    return []


def _needs(program: str) -> str:
    """A program's path: on PATH, or of this Python's environment, which need not be activated."""
    beside = os.path.join(os.path.dirname(sys.executable), program)
    found = shutil.which(program) or (beside if os.access(beside, os.X_OK) else "")
    if not found:
        raise DiffaiError(f"--fetch needs {program}, which is not installed or not on PATH")
    return found


def _run(
    words: list[str], cwd: str | None, data: bytes = b"", *, environment: dict[str, str] | None = None
) -> None:
    """Run a program in the open: its words go to stderr. A failure is a warning, since what is missing then is said."""
    try:
        done = subprocess.run(
            words, cwd=cwd, input=data, stdout=2, check=False, env={**os.environ, **(environment or {})}
        )
    except OSError as error:
        raise DiffaiError(f"{words[0]}: {(error.strerror or str(error)).lower()}") from error
    if done.returncode:
        name = shlex.join([os.path.basename(words[0]), *words[1:3]])
        sys.stderr.write(f"diffai: {name} failed ({done.returncode})\n")
