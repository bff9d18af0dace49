"""Call the ``git`` program: argument lists, names resolved before use, never the network, never an option by accident.

Every call here only reads. A user's word reaches git either behind ``--end-of-options`` or ``--``, or as an object
name that git itself printed before.
"""

from __future__ import annotations

import os

from diffai.errors import SourceError
from diffai.frozen import frozen
from diffai.repository.place import GitPlace, find_repository

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# What another git process left for its children and what would change the output of ours.
_DROPPED = (
    "GIT_EXTERNAL_DIFF", "GIT_DIFF_OPTS", "GIT_ICASE_PATHSPECS", "GIT_GLOB_PATHSPECS", "GIT_NOGLOB_PATHSPECS",
    "GIT_LITERAL_PATHSPECS", "GIT_TRACE", "GIT_TRACE_SETUP", "GIT_TRACE_PERFORMANCE", "GIT_TRACE_PACKET",
    "GIT_TRACE2", "GIT_TRACE2_EVENT", "GIT_TRACE2_PERF", "GIT_FLUSH",
)  # fmt: skip

# What ties git to one repository.
_REPOSITORY = (
    "GIT_DIR", "GIT_COMMON_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES",
)  # fmt: skip

# Older versions of git know no GIT_NO_LAZY_FETCH; an empty list of protocols stops their downloads all the same.
_SET = {
    "LC_ALL": "C",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "",
}

SAFE_OPTIONS = ("-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")
"""Stand between ``git`` and its command: whatever a clone's configuration names, no program of it is started."""

_HEXADECIMAL = frozenset("0123456789abcdef")


class GitError(SourceError):
    """git refused; the text is git's own reason.

    Attributes:
        status: git's exit status; -1 when it could not be started.

    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def git_environment(*, elsewhere: bool = False) -> dict[str, str]:
    """The environment for a git that only reads.

    Args:
        elsewhere: forget the repository that the environment names, because another one is asked.

    """
    environment = {name: value for name, value in os.environ.items() if name not in _DROPPED}
    if elsewhere:
        for name in _REPOSITORY:
            environment.pop(name, None)
    return environment | _SET


def start_error(error: OSError, directory: str) -> GitError:
    """Why git could not be started, as a sentence."""
    if isinstance(error, FileNotFoundError) and (not directory or os.path.isdir(directory)):
        return GitError("git is not installed, or not on PATH", -1)
    return GitError(f"git cannot be run in {directory or '.'}: {(error.strerror or str(error)).lower()}", -1)


def git_config(key: str, *, git_dir: str) -> str:
    """A path-like value of git's configuration for the repository ``git_dir``; "" when it is not set."""
    import subprocess

    command = ["git", *SAFE_OPTIONS, "--git-dir", git_dir, "config", "--type=path", "--get", key]
    try:
        done = subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, env=git_environment(), check=False
        )
    except OSError:
        return ""
    return os.fsdecode(done.stdout.removesuffix(b"\n")) if done.returncode == 0 else ""


@frozen
class Repository:
    """The repository of a directory.

    Attributes:
        directory: any directory in it; "" is the working directory, for which ``GIT_DIR`` and the like count.

    """

    directory: str = ""

    def environment(self) -> Mapping[str, str]:
        """The environment for git in this repository."""
        return git_environment(elsewhere=bool(self.directory))

    def place(self) -> GitPlace | None:
        """Where its git directory is; None when this is no repository."""
        return find_repository(self.directory)

    def ask(self, *arguments: str, data: bytes = b"") -> bytes:
        """What git prints.

        Raises:
            GitError: git failed, or is not installed; with git's own words.

        """
        import subprocess

        try:
            done = subprocess.run(
                ["git", *SAFE_OPTIONS, *arguments], cwd=self.directory or None, env=dict(self.environment()),
                input=data, capture_output=True, check=False,
            )  # fmt: skip
        except OSError as error:
            raise start_error(error, self.directory) from error
        if done.returncode:
            raise GitError(words_of(done.stderr), done.returncode)
        return done.stdout

    def commit(self, rev: str) -> str:
        """Full object name of the commit that the user's word ``rev`` means; SourceError when there is none."""
        return self._oid(rev, "commit")

    def tree(self, rev: str) -> str:
        """Full object name of the tree of the commit, tag or tree ``rev``; SourceError when there is none."""
        return self._oid(rev, "tree")

    def _oid(self, rev: str, kind: str) -> str:
        if "\0" in rev or "\n" in rev:
            raise SourceError(f"{rev!r}: no such revision")
        try:
            answer = self.ask("rev-parse", "--verify", "--end-of-options", f"{rev}^{{{kind}}}")
        except GitError as error:
            if self.place() is None:
                raise SourceError(f"{rev}: not in a git repository, so this names no revision") from error
            if "dubious ownership" in str(error) or error.status < 0:
                raise
            raise SourceError(f"{rev}: no such revision") from error
        oid = answer.decode("ascii", "replace").split()[-1] if answer.strip() else ""
        if len(oid) not in (40, 64) or not _HEXADECIMAL.issuperset(oid):
            raise SourceError(f"{rev}: no such revision")
        return oid


def words_of(stderr: bytes) -> str:
    """The first line that git said went wrong, without ``fatal:``."""
    lines = [line for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    chosen = next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[0] if lines else "")
    return f"git: {chosen.partition(': ')[2] if chosen.startswith(('fatal:', 'error:')) else chosen or 'failed'}"
