"""The Python API; the command line is a thin layer over it.

>>> import numpy as np
>>> old = {"fc.weight": np.zeros((2, 3), "float32"), "fc.bias": np.ones(2, "float32")}
>>> new = {"fc.weight": np.zeros((2, 3), "float32"), "fc.bias": np.array([1, 1.5], "float32")}
>>> diff = compare(old, new)
>>> [(change.name, change.status) for change in diff.changes]
[('fc.bias', ('changed',))]
>>> diff.changes[0].figures.delta.changed_count
1
>>> print("\\n".join(render_text(diff)))
Model Changes:
  No structural changes
  Parameters: 8 -> 8 (0% change)
  Weight updates: 12.5% of parameters modified
  ~ fc.bias: mean=1.0000->1.2500, std=0.0000->0.2500
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from diffai.analyses.run import Asked, with_analyses
from diffai.analyses.table import row_of
from diffai.comparison.directories import compare_directories, compare_pairs
from diffai.comparison.models import Progress, compare_models
from diffai.comparison.result import (
    CompareOptions,
    DirectoryDiff,
    FileChange,
    LeftOut,
    ModelDiff,
    Side,
    TensorChange,
    Totals,
    ValueChange,
)
from diffai.comparison.selection import require_selection
from diffai.errors import DiffaiError, FormatError, SourceError, UnsupportedFormatError, UsageError
from diffai.finding import Finding
from diffai.formats.base import Limits
from diffai.frozen import replace
from diffai.history.entries import LogOptions
from diffai.history.python import HistoryEntry, history
from diffai.history.walk import Range
from diffai.model import Checkpoint, Delta, LfsPointer, NotPulled, State, Statistics, TensorSpec
from diffai.models.git_objects import Identified, open_model, tree_of
from diffai.models.inputs import Model
from diffai.models.pairs import pairs
from diffai.models.rule import ModelRule
from diffai.snapshots.files import sentence
from diffai.views.directories import render_directory
from diffai.views.records import change_list
from diffai.views.report import report
from diffai.views.state import describe_state
from diffai.views.text import TextOptions, render_text

if TYPE_CHECKING:
    import git

    from diffai.comparison.documents.result import DocumentDiff, DocumentOptions
    from diffai.sources.base import Source

    GitTree = git.Repo | git.Commit | git.Tree | Identified
    GitModel = Model | GitTree | git.Blob

__all__ = [
    "Checkpoint",
    "CompareOptions",
    "Delta",
    "DiffaiError",
    "DirectoryDiff",
    "FileChange",
    "Finding",
    "FormatError",
    "HistoryEntry",
    "LeftOut",
    "Limits",
    "LogOptions",
    "Model",
    "ModelDiff",
    "Range",
    "Side",
    "SourceError",
    "Statistics",
    "TensorChange",
    "TensorSpec",
    "TextOptions",
    "Totals",
    "UnsupportedFormatError",
    "UsageError",
    "ValueChange",
    "change_list",
    "compare",
    "compare_documents",
    "compare_trees",
    "history",
    "open_checkpoint",
    "render_directory",
    "render_text",
    "report",
]


def compare(
    old: GitModel,
    new: GitModel,
    options: CompareOptions | None = None,
    *,
    path: str = "",
    repository: Any = None,
    limits: Limits | None = None,
    input_format: str = "",
    progress: Progress | None = None,
    analyses: Sequence[str] = (),
    base: GitModel | None = None,
) -> ModelDiff:
    """Compare two models element by element.

    Args:
        old, new: each a path, ``REV:path`` inside a git repository, the bytes of a model file, a dictionary of numpy
            arrays or torch tensors (nested ones are flattened with dots), an object with ``state_dict()`` (a live
            model), or an opened checkpoint; a directory of shards is one model. Also a blob, tree, commit or repository
            (its work tree) of GitPython, pygit2 or dulwich: git-LFS and DVC pointers in them are followed.
        options: tolerance, filters, what to compute; everything exactly by default.
        path: the model in a tree, commit, repository or folder; needed where it holds more than one.
        repository: where commits, trees and blobs of pygit2 and dulwich lie, which do not know it: a folder, or the
            library's object; the working directory by default.
        limits: safety limits of reading.
        input_format: read both as this format instead of recognising them by content.
        progress: called with (bytes done, bytes in all).
        analyses: names of analyses to run while both models are open (``memory_analysis``); what they find is in
            ``findings`` of the result.
        base: a third model, for analyses that can use one.

    Returns:
        All tensors of either side with what happened to each, metadata and training state, totals.

    Raises:
        SourceError: a path does not exist, cannot be read, or changed while being read.
        FormatError: a side is no readable model (with reason, tensor and byte offset).
        UsageError: ``path`` or ``filter`` of the options choose no tensor of either side.
        DiffaiError: an LFS object is not downloaded; the text names the command that brings it.

    >>> import numpy as np
    >>> compare({"w": np.ones(3)}, {"w": np.ones(3)}).differs
    False

    """
    limits = limits or Limits()
    left = open_model(old, path, repository, limits, input_format)
    try:
        right = open_model(new, path, repository, limits, input_format)
        try:
            for side in (left, right):
                if side.state is not None:
                    raise DiffaiError(f"{side.label}: {_reason(side.state)}")
            with _asked(analyses, base, options or CompareOptions(), limits) as used:
                diff = compare_models(left, right, used, progress)
            require_selection(diff)
            return diff
        finally:
            _close(right.checkpoint, new)
    finally:
        _close(left.checkpoint, old)


@contextmanager
def _asked(
    analyses: Sequence[str], base: GitModel | None, options: CompareOptions, limits: Limits
) -> Iterator[CompareOptions]:
    """The options with the analyses that were asked for; the third model is open as long."""
    if not analyses:
        yield options
        return
    asked = Asked(frozenset(row_of(name).name for name in analyses), threads=options.threads)
    if base is None:
        yield with_analyses(options, asked)
        return
    third = open_model(base, "", None, limits, "")
    try:
        if third.state is not None:
            raise DiffaiError(f"{third.label}: {_reason(third.state)}")
        yield with_analyses(options, replace(asked, base=third))
    finally:
        _close(third.checkpoint, base)


def compare_trees(
    old: str | os.PathLike[str] | GitTree,
    new: str | os.PathLike[str] | GitTree,
    options: CompareOptions | None = None,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    repository: Any = None,
    limits: Limits | None = None,
) -> DirectoryDiff:
    """Compare all models of two directories, commits or trees, paired by path; unreadable pairs are reported in place.

    Args:
        old, new: each a folder, or a tree, commit or repository (its work tree) of GitPython, pygit2 or dulwich.
        options: as for :func:`compare`.
        include, exclude: globs of paths.
        repository: as for :func:`compare`.
        limits: safety limits of reading.

    Raises:
        SourceError: one of the directories cannot be listed, or a commit is not in the repository.

    """
    limits, options = limits or Limits(), options or CompareOptions()
    if isinstance(old, (str, os.PathLike)) and isinstance(new, (str, os.PathLike)):
        return compare_directories(
            os.fspath(old), os.fspath(new), options, limits=limits, include=include, exclude=exclude
        )
    before, after = tree_of(old, repository), tree_of(new, repository)
    found = pairs(before, after, ModelRule(include, exclude))
    files, others = compare_pairs(found, options, limits)
    come, gone = (sum(pair[side] is None for pair in others) for side in (0, 1))
    other_files = (0, len(others) - come - gone, gone, come)
    return DirectoryDiff(before.label, after.label, tuple(files), (), other_files, found.unchanged)


def compare_documents(
    old: str | os.PathLike[str] | bytes,
    new: str | os.PathLike[str] | bytes,
    options: DocumentOptions | None = None,
    *,
    kind: str = "",
) -> DocumentDiff:
    """Compare two documents (JSON, YAML, TOML, INI, XML, tables, logs) by what they say.

    Args:
        old, new: each a path, ``REV:path``, or the bytes of a file.
        options: tolerances, choices, the key that identifies elements of lists.
        kind: ``json``, ``yaml``, ...; by name and first bytes where it is not given, which bytes alone seldom tell.

    Raises:
        SourceError: a side cannot be read as what it is; the text names it, with line or offset.
        UsageError: an option chooses nothing.

    >>> diff = compare_documents(b'{"lr": 0.001, "n": 1}', b'{"lr": 0.0005, "n": "1"}')
    >>> [(change.kind, change.path, change.old, change.new) for change in diff.changes]
    [('Modified', ('lr',), 0.001, 0.0005), ('TypeChanged', ('n',), 1, '1')]

    """
    from diffai.comparison.documents.compare import compare_documents as compare_sources
    from diffai.comparison.documents.result import DocumentOptions

    sources: list[Source] = []
    try:
        for side in (old, new):
            sources.append(_document(side))
    except BaseException:
        for source in sources:
            source.close()
        raise
    return compare_sources(sources[0], sources[1], options or DocumentOptions(), kind)


def _document(side: str | os.PathLike[str] | bytes) -> Source:
    from diffai.snapshots.resolve import open_source
    from diffai.sources.directory import Directory
    from diffai.sources.local import MemoryBytes

    if isinstance(side, bytes):
        return MemoryBytes(side, label="<bytes>")
    found = open_source(os.fspath(side))
    if isinstance(found, State):
        raise DiffaiError(f"{os.fspath(side)}: {_reason(found)}")
    if isinstance(found, Directory):
        raise SourceError(f"{os.fspath(side)}: is a directory")
    return found


def open_checkpoint(
    model: GitModel, *, path: str = "", repository: Any = None, limits: Limits | None = None, input_format: str = ""
) -> Checkpoint:
    """Open one model: names, dtypes and shapes at once, values in blocks through ``read_into``.

    ``model``, ``path`` and ``repository`` as for :func:`compare`.

    Raises:
        SourceError, FormatError, DiffaiError: as :func:`compare`.

    >>> import numpy as np
    >>> checkpoint = open_checkpoint({"w": np.zeros((2, 3), "float16")})
    >>> checkpoint.tensors["w"].dtype, checkpoint.tensors["w"].shape
    ('F16', (2, 3))

    """
    side = open_model(model, path, repository, limits or Limits(), input_format)
    if side.checkpoint is None:
        assert side.state is not None
        raise DiffaiError(f"{side.label}: {_reason(side.state)}")
    return side.checkpoint


def _reason(state: State) -> str:
    """Why a side cannot be had, with the command that brings it."""
    return sentence(state) if isinstance(state, (LfsPointer, NotPulled)) else describe_state(state)


def _close(checkpoint: Checkpoint | None, given: object) -> None:
    """Close what was opened here; a checkpoint that the caller gave stays open."""
    if checkpoint is not None and checkpoint is not given:
        checkpoint.close()
