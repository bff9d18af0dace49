"""What a history is asked and what it answers, as frozen data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from diffai.comparison.result import ModelDiff
from diffai.formats.base import Limits
from diffai.frozen import frozen
from diffai.history.figures import CommitFigures
from diffai.history.version import Version
from diffai.history.walk import Commit, Range
from diffai.model import State

Level = Literal["header", "digest", "values"]
Kind = Literal["added", "changed", "same", "removed", "unreadable"]
Progress = Callable[[int, int], None]
"""Called with (versions done, versions in all)."""


@dataclass(frozen=True, slots=True)
class LogOptions:
    """What ``diffai log`` is asked; fields have the meaning of the options of the same names.

    Attributes:
        compare_to: ``previous``, ``first``, or a revision.
        detail: keep every comparison whole (``-p``).
        limit: commits shown at most; 0 = all.
        findings: analyses that are run on each change; of what the versions themselves hold.
    """

    range: Range = field(default_factory=Range)
    level: Level = "values"
    tensor: str = ""
    compare_to: str = "previous"
    only_structure: bool = False
    follow: bool = False
    detail: bool = False
    limit: int = 0
    threads: int = 0
    limits: Limits = Limits()
    findings: tuple[str, ...] = ()


@frozen
class LogEntry:
    """One commit and what it did.

    Attributes:
        version: the model after the commit; None when it was removed.
        compared_with: what it is compared with, when that is not simply the version before: ``first``, a revision, or
            the last readable version.
        figures: None where the version is unreadable or not here, for the reason ``state``.
        renamed_from: its path before this commit, where that was another.
        renamed_exactly: the content was the same, else it was known by names and shapes of its tensors.
        moved_from: what held its bytes before, where that was something else: ``git``, ``git-lfs``, ``dvc``.
        cut: older history is not here (a shallow clone), so "added" is not known to be true.
        diff: the comparison itself, where it was asked for.
    """

    commit: Commit
    kind: Kind
    version: Version | None
    figures: CommitFigures | None = None
    state: State | None = None
    compared_with: str = ""
    renamed_from: str = ""
    moved_from: str = ""
    cut: bool = False
    diff: ModelDiff | None = None
    renamed_exactly: bool = True


@frozen
class ModelLog:
    """The history of one model, newest first.

    Attributes:
        path: where it lies now.
        level: how far the versions were looked into.
        entries: those that are shown.
        versions: in the whole range, shown or not.
        left_out: commits that touched the model but nothing that was asked for.
        earlier_path: it was created by a rename of this path, which was not followed; "" otherwise.
        earlier_exactly: as ``renamed_exactly``.
    """

    path: str
    level: Level
    entries: tuple[LogEntry, ...]
    versions: int
    left_out: int = 0
    earlier_path: str = ""
    compare_to: str = "previous"
    earlier_exactly: bool = True
