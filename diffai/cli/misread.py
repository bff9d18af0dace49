"""What the user probably meant by words that name nothing: a command, a revision, an option, each with what to type."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

import click

from diffai.errors import SourceError
from diffai.repository.runner import Repository

_ELSEWHERE = {
    "--accuracy-tracking": "--metric-comparison", "--brief": "--stat", "--completions": "diffai completion",
    "--hyperparameter-comparison": "--hyperparameter-impact", "--learning-curve-analysis": "--learning-progress",
    "--learning-rate-tracking": "--learning-rate-analysis", "--loss-tracking": "--metric-comparison",
    "--memory-optimization": "--memory-analysis", "--model-format": "--input-format",
    "--model-version-check": "--deployment-readiness", "--optimizer-comparison": "--hyperparameter-impact",
    "--show-layer-impact": "--change-summary", "--show-unchanged": "--tensor-details",
    "--statistical-significance": "--show-distribution", "--tensor-mode": "--shape-only",
    "--weight-threshold": "--epsilon",
}  # fmt: skip
"""Options of older guides, and what does the job here."""


def meant_instead(words: Sequence[str], commands: Iterable[str]) -> str:
    """A sentence about words of ``diffai OLD NEW`` that are no files, with what to type; "" where there is none.

    ``commands``: the names of all commands, one of which may be meant.
    """
    lacking = [word for word in words if not _is_input(word)]
    if not lacking:
        return ""
    repository = Repository()
    revisions = [word for word in lacking if _is_revision(word, repository)]
    if revisions:
        return _revisions_say(words, revisions, repository)
    return _command_meant(words, commands)


def _command_meant(words: Sequence[str], commands: Iterable[str]) -> str:
    """A sentence about a first word that is nearly a command; "" where it is not."""
    first = words[0] if words else ""
    near = [] if first in commands or _is_input(first) else get_close_matches(first, commands, 1, 0.7)
    rest = "".join(f" {shlex.quote(word)}" for word in words[1:])
    return f"no command and no file is called {first}; did you mean: diffai {near[0]}{rest}" if near else ""


def nearest_option(error: click.NoSuchOption, words: Sequence[str], commands: Iterable[str]) -> str:
    """A sentence about an option that does not exist, with the nearest one that does; or about a mistyped command."""
    command = _command_meant(words, commands)
    if command:
        return command
    context = error.ctx
    known = [name for parameter in context.command.params for name in parameter.opts] if context else []
    does = _ELSEWHERE.get(error.option_name, "")
    near = get_close_matches(error.option_name, [name for name in known if name.startswith("-")], 1, 0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    if does in known or " " in does:
        hint = f"; {does} does that here"
    path = context.command_path if context else "diffai"
    return f"no such option: {error.option_name}{hint} ({path} --help lists all)"


def _is_input(word: str) -> bool:
    """Whether a word can name a model: a path, ``REV:path``, or what is none but shows that a path was meant."""
    return os.path.lexists(word) or ":" in word


def _is_revision(word: str, repository: Repository) -> bool:
    ends = word.split("..") if ".." in word and not word.startswith((".", "/")) else [word]
    try:
        for end in ends:
            repository.commit(end.removeprefix(".") or "HEAD")
    except SourceError:
        return False
    return True


def _revisions_say(words: Sequence[str], revisions: Sequence[str], repository: Repository) -> str:
    """Revisions stand before ``--``: the whole command, with the paths that were given or the models that changed."""
    paths = [word for word in words if word not in revisions]
    what = " and ".join(revisions) + (" is a revision" if len(revisions) == 1 else " are revisions")
    gone = next((path for path in paths if not _is_input(path)), "")
    if gone:
        return f"{what}, and {gone} is neither a revision nor a file"
    before = "diffai " + " ".join(map(shlex.quote, revisions))
    if paths:
        return f"{what} and no file; type: {before} -- {' '.join(map(shlex.quote, paths))}"
    models = _changed_models(revisions, repository)
    single = f"{before} -- {shlex.quote(models[0]) if models else 'PATH'}"
    if len(models) > 1:
        return f"{what} and no files; type for one model: {single}, for all {len(models):,} that differ: {before} --"
    return f"{what} and no file{'s' if len(revisions) > 1 else ''}; type: {single}"


def _changed_models(revisions: Sequence[str], repository: Repository) -> list[str]:
    """Models that differ between the revisions (or one and the work tree), as seen from the current folder."""
    from diffai.formats.table import named_like_a_model
    from diffai.repository.disk import top_of_work_tree
    from diffai.repository.revisions import split_revisions
    from diffai.repository.trees import changed_paths

    try:
        old, new = split_revisions(revisions, repository)
        changed = [file.path for file in changed_paths(repository, old, new)]
        top = top_of_work_tree(repository)
    except SourceError:
        return []
    found = [path for path in changed if named_like_a_model(path)]
    return [os.path.relpath(os.path.join(top, path)) if top else path for path in found]
