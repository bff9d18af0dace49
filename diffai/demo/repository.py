"""Makes the demo repository: a real one, the same for everybody, whatever their git is configured to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable

from diffai.demo.history import METRICS, MODEL, Step, steps
from diffai.errors import DiffaiError, SourceError, UsageError

Say = Callable[[str], None]

_README = """\
# A small training history

`model.safetensors` is a classifier of digits of 8 x 8 pixels, trained with numpy by `diffai demo`; `metrics.json`
says how good it is. `git log --oneline` tells what was done to it. Delete this folder when you are done.
"""
# What a user's own configuration could otherwise do to this repository: convert, ignore, sign or filter files.
_LOCAL = {
    "user.name": "diffai demo",
    "user.email": "demo@localhost",
    "commit.gpgSign": "false",
    "core.autocrlf": "false",
    "core.attributesFile": os.devnull,
}
_FIRST_DATE = 1_735_725_600  # 2025-01-01 10:00 UTC; a commit a day from there


def create(directory: str, program: str, say: Say) -> None:
    """Train, commit every step, register diffai in git there, and leave one change uncommitted.

    Args:
        directory: a folder that is empty or does not exist.
        program: the diffai that git is to call there.
        say: called with one line for each step that is done.

    Raises:
        UsageError: there is something at ``directory``; it is left alone.
        DiffaiError: git is missing or refuses, or the folder cannot be written.

    What was made is removed again when it could not be finished, and nothing else is.

    """
    made = _claim(directory)
    try:
        _git(directory, 0, "init", "-q", "--template=")
        _git(directory, 0, "symbolic-ref", "HEAD", "refs/heads/main")
        for key, value in _LOCAL.items():
            _git(directory, 0, "config", key, value)
        _write(directory, "README.md", _README.encode())
        for number, step in enumerate(steps()):
            _write(directory, MODEL, step.model)
            _write(directory, METRICS, step.metrics.encode())
            if step.tag:
                _commit(directory, number, step)
            say(_summary(step))
        _run(directory, 0, [program, "install"])
    except BaseException:
        _remove(directory, made)
        raise


def _claim(directory: str) -> list[str]:
    """Make the folder; returns the folders that were not there before, deepest first."""
    if os.path.lexists(directory):
        if not os.path.isdir(directory):
            raise UsageError(f"{directory}: is no folder; nothing was touched")
        try:
            entries = os.listdir(directory)
        except OSError as error:
            raise SourceError(f"{directory}: {error.strerror}") from error
        if entries:
            raise UsageError(f"{directory}: is not empty; nothing was touched. Give another folder: diffai demo DIR")
        return []
    made = [os.path.abspath(directory)]
    while not os.path.lexists(parent := os.path.dirname(made[-1])):
        made.append(parent)
    try:
        os.makedirs(directory)
    except OSError as error:
        _remove_empty(made)
        raise SourceError(f"{directory}: {error.strerror}") from error
    return made


def _write(directory: str, name: str, content: bytes) -> None:
    try:
        with open(os.path.join(directory, name), "wb") as stream:
            stream.write(content)
    except OSError as error:
        raise SourceError(f"{os.path.join(directory, name)}: {error.strerror}") from error


def _commit(directory: str, number: int, step: Step) -> None:
    # -f: a user's global ignore file may well name *.safetensors
    _git(directory, number, "add", "-f", "README.md", METRICS, MODEL)
    _git(directory, number, "commit", "-q", "--no-verify", "-m", step.message)
    _git(directory, number, "tag", step.tag)


def _git(directory: str, day: int, *words: str) -> None:
    _run(directory, day, ["git", "-c", "core.hooksPath=" + os.devnull, *words])


def _run(directory: str, day: int, argv: list[str]) -> None:
    """Run a program shut off from the user's configuration, as on day ``day`` of the history."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    date = f"{_FIRST_DATE + day * 86_400} +0000"
    environment |= {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_AUTHOR_DATE": date,
        "GIT_COMMITTER_DATE": date,
        "LC_ALL": "C",
    }
    try:
        done = subprocess.run(
            argv,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise DiffaiError("git is not installed, or not on PATH; the demo is a git repository") from error
    except OSError as error:
        raise DiffaiError(f"{argv[0]} cannot be run: {error.strerror}") from error
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise DiffaiError(f"{os.path.basename(argv[0])}: {said[-1]}")


def _summary(step: Step) -> str:
    return f"{step.tag or '(uncommitted)':<13}  {step.message.partition(chr(10))[0]}"


def _remove(directory: str, made: list[str]) -> None:
    """Take away what this module has put there."""
    repository = os.path.join(directory, ".git")
    for _ in range(20):  # a git that was starting when ^C came may still be writing
        shutil.rmtree(repository, ignore_errors=True)
        if not os.path.lexists(repository):
            break
        time.sleep(0.05)
    for name in ("README.md", METRICS, MODEL):
        if os.path.exists(path := os.path.join(directory, name)):
            os.remove(path)
    _remove_empty(made)


def _remove_empty(folders: list[str]) -> None:
    for folder in folders:
        try:
            os.rmdir(folder)
        except OSError:  # not made yet, or somebody put something there
            return
