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
from collections.abc import Sequence

from diffai.comparison.directories import compare_directories
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
from diffai.formats.base import Limits
from diffai.model import Checkpoint, Delta, Statistics, TensorSpec
from diffai.models.inputs import Model, open_input
from diffai.views.directories import render_directory
from diffai.views.records import change_list
from diffai.views.report import report
from diffai.views.state import describe_state
from diffai.views.text import TextOptions, render_text

__all__ = [
    "Checkpoint",
    "CompareOptions",
    "Delta",
    "DiffaiError",
    "DirectoryDiff",
    "FileChange",
    "FormatError",
    "LeftOut",
    "Limits",
    "Model",
    "ModelDiff",
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
    "compare_trees",
    "open_checkpoint",
    "render_directory",
    "render_text",
    "report",
]


def compare(
    old: Model,
    new: Model,
    options: CompareOptions | None = None,
    *,
    limits: Limits | None = None,
    input_format: str = "",
    progress: Progress | None = None,
) -> ModelDiff:
    """Compare two models element by element.

    Args:
        old, new: each a path, ``REV:path`` inside a git repository, the bytes of a model file, a dictionary of numpy
            arrays or torch tensors (nested ones are flattened with dots), an object with ``state_dict()`` (a live
            model), or an opened checkpoint. A directory of shards is one model.
        options: tolerance, filters, what to compute; everything exactly by default.
        limits: safety limits of reading.
        input_format: read both as this format instead of recognising them by content.
        progress: called with (bytes done, bytes in all).

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
    left = open_input(old, limits, input_format)
    try:
        right = open_input(new, limits, input_format)
        try:
            for side in (left, right):
                if side.state is not None:
                    raise DiffaiError(f"{side.label}: {describe_state(side.state)}")
            diff = compare_models(left, right, options or CompareOptions(), progress)
            require_selection(diff)
            return diff
        finally:
            _close(right.checkpoint, new)
    finally:
        _close(left.checkpoint, old)


def compare_trees(
    old: str | os.PathLike[str],
    new: str | os.PathLike[str],
    options: CompareOptions | None = None,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    limits: Limits | None = None,
) -> DirectoryDiff:
    """Compare all models of two directories, paired by relative path; unreadable pairs are reported in place.

    Raises:
        SourceError: one of the directories cannot be listed.

    """
    return compare_directories(
        os.fspath(old), os.fspath(new), options or CompareOptions(),
        limits=limits or Limits(), include=include, exclude=exclude,
    )  # fmt: skip


def open_checkpoint(model: Model, *, limits: Limits | None = None, input_format: str = "") -> Checkpoint:
    """Open one model: names, dtypes and shapes at once, values in blocks through ``read_into``.

    Raises:
        SourceError, FormatError, DiffaiError: as :func:`compare`.

    >>> import numpy as np
    >>> checkpoint = open_checkpoint({"w": np.zeros((2, 3), "float16")})
    >>> checkpoint.tensors["w"].dtype, checkpoint.tensors["w"].shape
    ('F16', (2, 3))

    """
    side = open_input(model, limits or Limits(), input_format)
    if side.checkpoint is None:
        assert side.state is not None
        raise DiffaiError(f"{side.label}: {describe_state(side.state)}")
    return side.checkpoint


def _close(checkpoint: Checkpoint | None, given: object) -> None:
    """Close what was opened here; a checkpoint that the caller gave stays open."""
    if checkpoint is not None and checkpoint is not given:
        checkpoint.close()
