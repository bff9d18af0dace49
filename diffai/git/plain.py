"""What git itself would print for a file that is no model: its own text diff, or "Binary files differ".

Runs ``git diff --no-index`` without any driver, so that it cannot recurse.
"""

from __future__ import annotations

import os

from diffai.config.quick_git import Question
from diffai.git.environment import Change, GitEnvironment, quote_path


def plain_diff(change: Change, environment: GitEnvironment, asked: Question | None = None) -> list[str]:
    """The lines below the header; ``asked`` where :func:`ask_plain` was called before."""
    a, b = ("", "") if environment.no_prefix else ("a/", "b/")
    old = os.devnull if change.old_absent else quote_path(a, change.old_path, quote_high=environment.quote_path)
    new = os.devnull if change.new_absent else quote_path(b, change.new_path, quote_high=environment.quote_path)
    hunks = _hunks(asked or ask_plain(change, environment), environment.color)
    if hunks is None:
        return [f"Binary files {old} and {new} differ"]
    if not hunks:
        return []
    return [environment.meta(f"--- {old}"), environment.meta(f"+++ {new}"), *hunks]


def ask_plain(change: Change, environment: GitEnvironment) -> Question:
    """Have git make its text diff, while the caller does something else."""
    arguments = [
        "--no-pager", "diff", "--no-index", "--no-ext-diff", "--no-textconv", "--no-renames",
        f"--color={'always' if environment.color else 'never'}", "--",
        os.devnull if change.old_absent else _safe(change.old_file),
        os.devnull if change.new_absent else _safe(change.new_file),
    ]  # fmt: skip
    return Question(arguments, "")


def _hunks(asked: Question, color: bool) -> list[str] | None:
    """Everything from the first ``@@`` on; None for binary content."""
    lines = asked.answer()[1].decode("utf-8", "replace").split("\n")
    if lines and not lines[-1]:
        lines.pop()
    for position, line in enumerate(lines):
        bare = line.lstrip("\x1b[0123456789;m") if color else line
        if bare.startswith("@@"):
            return lines[position:]
        if bare.startswith("Binary files "):
            return None
    return []


def _safe(path: str) -> str:
    """``--no-index`` reads "-" as standard input."""
    return path if os.path.isabs(path) else os.path.join(".", path)
