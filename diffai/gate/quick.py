"""The gate's first question: does this change touch a model at all? Mostly it does not, and then nothing else loads.

``diffai gate`` comes here before the command line's libraries are imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from diffai.errors import DiffaiError

OFF = "diffai gate: switched off by DIFFAI_GATE=off; nothing was judged"
_ALLOWED = {"--hook": ("", "pre-commit", "pre-push"), "--on-missing": ("", "warn", "fail")}
_VALUED = ("--base", "--head", "--hook", "--remote", "--on-missing")


def main(argv: Sequence[str]) -> int | None:
    """0 when nothing is to be judged; None when the whole gate is needed (or its help, or its error messages).

    Args:
        argv: the words after ``gate``.
    """
    if is_off() and argv[:1] != ["approve"]:
        sys.stderr.write(f"{OFF}\n")
        return 0
    parsed = _parse(argv)
    if parsed is None:
        return None
    options, paths = parsed
    try:
        if not _nothing_to_judge(options, paths):
            return None
    except DiffaiError:
        return None  # the whole gate meets it again, and says it as every error is said
    if sys.stdout.isatty() and not options.get("--hook") and "-q" not in argv and "--quiet" not in argv:
        where = "" if options.get("--base") else "; only what is staged (git add) is judged"
        sys.stdout.write(f"diffai gate: no model changed{where}\n")
    return 0


def is_off() -> bool:
    """Whether the environment switches the gate off."""
    return os.environ.get("DIFFAI_GATE", "").lower() in ("off", "0", "false", "no")


def _parse(argv: Sequence[str]) -> tuple[dict[str, str], list[str]] | None:
    """Options and paths of the plain forms that hooks use; None for any other."""
    if argv[:1] == ["approve"]:
        return None
    options: dict[str, str] = {}
    paths: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--":
            paths.extend(words)
        elif word in _VALUED:
            options[word] = next(words, "")
        elif word.startswith(tuple(f"{name}=" for name in _VALUED)):
            name, _, options[name] = word.partition("=")
        elif word.startswith("-") and word not in ("-q", "--quiet"):
            return None
        elif not word.startswith("-"):
            paths.append(word)
    wrong = options.get("--base") == "" or ("--head" in options and not options.get("--base")) or any(
        options.get(name, "") not in allowed for name, allowed in _ALLOWED.items()
    )
    return None if wrong else (options, paths)


def _nothing_to_judge(options: dict[str, str], paths: list[str]) -> bool:
    from diffai.gate.changes import POLICY_FILES, may_be_model
    from diffai.gate.policies import load_policy
    from diffai.gate.ranges import Words, find_range, from_framework
    from diffai.repository.runner import Repository

    words = Words(**{name.lstrip("-"): options[name] for name in _VALUED[:4] if name in options})
    repository = Repository()
    found = find_range(repository, from_framework(words))
    names = [entry.name for change in found.changes for entry in (change.old, change.new) if entry is not None]
    if any(name in POLICY_FILES or may_be_model(name) for name in names):
        return False  # a changed policy is checked and reported, also without a model
    if not all(os.path.lexists(path) for path in paths):
        return False
    policy = load_policy(repository, found.policy)
    if not names or any(may_be_model(name, policy.include) for name in names):
        return not names
    from diffai.models.pairs import pairs
    from diffai.models.rule import ModelRule

    old, new = found.old.snapshot(repository), found.new.snapshot(repository)
    return not pairs(old, new, ModelRule(policy.include, only=False), moves=False).changed
