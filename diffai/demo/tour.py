"""Runs git and diffai in the demo repository as a user would type it, and says what to try next."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable

from diffai.demo.history import MODEL
from diffai.errors import DiffaiError

Say = Callable[[str], None]

# What is typed, and why. Their output goes straight to where ours goes, so that git decides on colour itself.
_STOPS: tuple[tuple[str, str], ...] = (
    ("A real training history:", "git log --oneline"),
    ("What happened to the model since the last commit? Something did:", "git diff"),
    ("What did the fine-tune change? The head; the stem was frozen:", f"git diff epoch-5 fine-tuned -- {MODEL}"),
    ("And the commit that added a layer:", f"diffai fine-tuned deeper -- {MODEL}"),
    ("The last commit as git log -p shows it, line by line:", f"git log -p -1 -- {MODEL}"),
    ("Casts and renames are told from changes:", f"diffai HEAD~2 HEAD -- {MODEL}"),
)
_READER_GONE = (-13, 141)  # SIGPIPE, as the system and as a shell report it
_NEXT: tuple[tuple[str, str], ...] = (
    (f"git restore {MODEL}", "undo the failed epoch"),
    (f"git diff epoch-1 epoch-5 -- {MODEL}", "any two commits, branches or tags"),
    (f"diffai log -- {MODEL}", "the whole history: how far each commit moved the model"),
    (f"diffai blame HEAD -- {MODEL}", "which commit last changed each tensor; also: git blame"),
    (f"diffai show {MODEL}", "one model: tensors, dtypes, statistics"),
    (f"diffai check {MODEL}", "is it sound? (not now: NaN)"),
    (f"diffai epoch-2 epoch-5 --format json -- {MODEL}", "the same for programs"),
    ("diffai doctor", "how git is set up here"),
    ("diffai install", "in a repository of your own"),
)


def run(directory: str, program: str, say: Say) -> None:
    """Show every stop: the prompt line as typed, then what git or diffai really prints.

    Args:
        directory: the demo repository.
        program: the diffai to run.
        say: prints one line.

    Raises:
        DiffaiError: one of them failed, after saying why by itself.

    """
    environment = _environment()
    for why, typed in _STOPS:
        say("")
        say(why)
        say(f"$ {typed}")
        words = shlex.split(typed)
        argv = [program, *words[1:]] if words[0] == "diffai" else ["git", "--no-pager", *words[1:]]
        code = subprocess.run(argv, cwd=directory, env=environment, stdin=subprocess.DEVNULL, check=False).returncode
        if code not in (0, *_READER_GONE):
            raise DiffaiError(f"the demo repository is complete, but `{typed}` ended with exit code {code}")


def next_steps(directory: str, say: Say) -> None:
    """What to try now."""
    say("")
    say("Try next:")
    say(f"  cd {shlex.quote(directory)}")
    width = max(len(typed) for typed, _ in _NEXT)
    for typed, why in _NEXT:
        say(f"  {typed:<{width}}   # {why}")


def _environment() -> dict[str, str]:
    """The user's own, except what ties git to another repository or to a pager."""
    tied = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX", "GIT_NAMESPACE",
            "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_PAGER_IN_USE",
            "GIT_EXTERNAL_DIFF", "GIT_DIFF_OPTS")  # fmt: skip
    return {name: value for name, value in os.environ.items() if name not in tied}
