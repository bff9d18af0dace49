"""Revisions before ``--`` and paths behind it, for commands that look at single models."""

from __future__ import annotations

import os

import click

from diffai.errors import UsageError


def model_words(ctx: click.Context, words: tuple[str, ...], *, staged: bool = False) -> list[str]:
    """What is to be opened: the words themselves, or each path behind ``--`` at each revision before it.

    ``A..B`` stands for both its ends. ``staged`` means the index.

    Raises:
        UsageError: revisions without a path, or together with ``staged``.
    """
    from diffai.cli.main import Words

    split = ctx.obj if isinstance(ctx.obj, Words) else Words()
    if staged:
        if split.split and words:
            raise UsageError(f"--staged looks at the index, so {' '.join(words)} makes no sense before --")
        return [f":{_from_here(path)}" for path in (*words, *split.after)]
    if not split.split or not words:
        return [*words, *split.after]
    if not split.after:
        raise UsageError("no path behind --")
    revisions = []
    for word in words:
        left, dots, right = word.partition("..")
        if dots:
            revisions += [left or "HEAD", right.removeprefix(".") or "HEAD"]
        else:
            revisions.append(word)
    return [f"{revision}:{_from_here(path)}" for path in split.after for revision in revisions]


def _from_here(path: str) -> str:
    """A path in the form that ``REV:path`` takes as relative to the working directory."""
    path = os.path.normpath(os.path.relpath(path)).replace(os.sep, "/")
    return path if path.startswith("../") else f"./{path}"
