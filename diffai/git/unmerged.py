"""What a driver says of a path in conflict: from the base to ours, and from the base to theirs."""

from __future__ import annotations

import os
import posixpath

from diffai.errors import FormatError, SourceError
from diffai.git.environment import GitEnvironment
from diffai.model import Absent, NotAModel
from diffai.models.inputs import Input, as_input, unreadable
from diffai.repository.runner import Repository
from diffai.repository.trees import IndexTree
from diffai.snapshots.snapshot import Snapshot
from diffai.views.blocks import Block, Gap, View, said
from diffai.views.style import escape

_SIDES = ((1, "base"), (2, "ours"), (3, "theirs"))


def unmerged_diff(path: str, environment: GitEnvironment) -> View:
    """The blocks below ``* Unmerged path``; none where no side is a model.

    Args:
        path: as git names it, without the user's folder under ``git diff --relative``.
        environment: of this call.

    """
    stages = {number: Snapshot(IndexTree(Repository(), number)) for number, _ in _SIDES}
    path = _in_index(path, stages)
    blocks: list[Block] = []
    opened = {number: _open(stages[number], path, environment) for number, _ in _SIDES}
    try:
        if all(isinstance(side.state, (Absent, NotAModel)) for side in opened.values()):
            return ()
        base = 2 if isinstance(opened[1].state, Absent) else 1
        for number, name in _SIDES:
            if number > base:
                blocks += [Gap()] if blocks else []
                title = f"{_SIDES[base - 1][1]} -> {name}"
                blocks += _compared(opened[base], opened[number], environment, title)
        return tuple(blocks)
    finally:
        for side in opened.values():
            if side.checkpoint is not None:
                side.checkpoint.close()


def _in_index(path: str, stages: dict[int, Snapshot]) -> str:
    """The path from the top: as it is, or below the user's folder."""
    below = posixpath.join(os.environ.get("GIT_PREFIX", ""), path)
    known = [name for name in (path, below) for side in stages.values() if side.tree.entry(name) is not None]
    return known[0] if known else path


def _open(side: Snapshot, path: str, environment: GitEnvironment) -> Input:
    label = side.name(path)
    try:
        if side.tree.entry(path) is None:  # deleted on this side: no pointer speaks for it
            return Input(label, state=Absent())
        return as_input(side.open(path), environment.limits(), label=label)
    except (SourceError, FormatError) as error:
        return Input(label, state=unreadable(error))


def _compared(old: Input, new: Input, environment: GitEnvironment, title: str) -> View:
    from diffai.comparison.models import compare_models
    from diffai.views.text import comparison_view

    try:
        diff = compare_models(old, new, environment.compare_options())
    except SourceError as error:
        return (said(title, "#"), said(f"diffai: {escape(str(error), longest=500)}", indent=1))
    return comparison_view(diff, environment.text_options(), title)
