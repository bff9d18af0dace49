"""Running git: arguments as lists, bytes out, the user's own environment."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from diffai.errors import DiffaiError
from diffai.frozen import frozen

# What ties git to one repository; removed when it is to be asked about something else.
_REPOSITORY_VARIABLES = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX", "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES",
)  # fmt: skip

# A folder of a clone that looks like a repository may name a program here. core.hooksPath stays: install asks for it.
_SAFE = ("-c", "core.fsmonitor=false")


class GitMissingError(DiffaiError):
    """There is no git program on PATH."""


class GitError(DiffaiError):
    """git refused; the text is git's own."""


@frozen
class Answer:
    """What a git call printed, and its status."""

    status: int
    output: bytes
    error: str

    @property
    def line(self) -> str:
        """Standard output without its last newline, as a path or name."""
        return os.fsdecode(self.output.removesuffix(b"\n"))


def ask(
    *arguments: str,
    cwd: str | None = None,
    stdin: bytes = b"",
    outside: bool = False,
    without: Sequence[str] = (),
    **variables: str,
) -> Answer:
    """Run git and return what it answered, whatever the status.

    Args:
        arguments: after ``git``.
        cwd: where to run; the current folder by default.
        stdin: what to feed it.
        outside: forget a repository that the environment names (``GIT_DIR`` and the like).
        without: further environment variables to remove.
        variables: environment variables to add.

    Raises:
        GitMissingError: git is not installed.
        GitError: git cannot be run at all.

    """
    environment = dict(os.environ, LC_ALL="C", GIT_OPTIONAL_LOCKS="0")
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR"):
        if cwd is not None and environment.get(name):  # relative to where the user is, not to cwd
            environment[name] = os.path.abspath(environment[name])
    for name in (*without, *(_REPOSITORY_VARIABLES if outside else ())):
        environment.pop(name, None)
    environment.update(variables)
    try:
        done = subprocess.run(
            ["git", *_SAFE, *arguments], cwd=cwd, input=stdin, capture_output=True, env=environment, check=False
        )
    except FileNotFoundError as error:
        if cwd is not None and not os.path.isdir(cwd):
            raise GitError(f"{cwd}: no such folder") from error
        raise GitMissingError("git is not installed, or not on PATH; diffai install needs it") from error
    except OSError as error:
        raise GitError(f"git cannot be run: {error.strerror}") from error
    return Answer(done.returncode, done.stdout, done.stderr.decode("utf-8", "replace").strip())


def demand(*arguments: str, cwd: str | None = None, stdin: bytes = b"") -> Answer:
    """As :func:`ask`, but a failing git is an error that carries git's own words.

    Raises:
        GitMissingError: git is not installed.
        GitError: git exited with another status than 0.

    """
    answer = ask(*arguments, cwd=cwd, stdin=stdin)
    if answer.status != 0:
        reason = answer.error.splitlines()[0] if answer.error else f"exit {answer.status}"
        raise GitError(f"git {arguments[0]}: {reason.removeprefix('fatal: ')}")
    return answer


def split(output: bytes) -> list[str]:
    """The NUL-terminated names of a ``-z`` output."""
    return [os.fsdecode(part) for part in output.split(b"\0")[:-1]]
