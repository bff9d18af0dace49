"""Compare the models of two trees that stand side by side: folders on disk, commits, the index, the work tree."""

from __future__ import annotations

import os
from collections.abc import Sequence

from diffai.comparison.result import CompareOptions, DirectoryDiff, FileChange, LeftOut, ModelDiff
from diffai.errors import SourceError
from diffai.formats.base import Limits
from diffai.model import Absent, NotAModel
from diffai.models.inputs import Input
from diffai.snapshots.files import sentence

TYPE_CHECKING = False
if TYPE_CHECKING:  # what pairs two trees is not loaded for a driver's two files, nor what compares for none
    from diffai.comparison.models import Progress
    from diffai.models.pairs import ModelPair, Pairs
    from diffai.models.reference import File

    Others = list[tuple[File | None, File | None]]


def compare_directories(
    old: str,
    new: str,
    options: CompareOptions = CompareOptions(),
    *,
    limits: Limits = Limits(),
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    progress: Progress | None = None,
) -> DirectoryDiff:
    """Compare all models of two directories.

    Raises:
        SourceError: one of the directories cannot be listed. Anything below is reported in place.

    """
    from diffai.models.pairs import pairs
    from diffai.models.rule import ModelRule
    from diffai.snapshots.snapshot import folder_snapshot

    left, right = folder_snapshot(old), folder_snapshot(new)
    found = pairs(left, right, ModelRule(include, exclude), moves=False)
    files, others = compare_pairs(found, options, limits, progress)
    for label, snapshot in ((old, left), (new, right)):
        files += [FileChange(path, "unreadable", reason=f"{label}: {why}") for path, why in snapshot.tree.problems]
    left_out = []
    if found.excluded:
        what = " ".join([*(f"--include {g}" for g in include), *(f"--exclude {g}" for g in exclude)])
        left_out.append(LeftOut("files", found.excluded, f"left out by {what}"))
    return DirectoryDiff(old, new, tuple(files), tuple(left_out), _other_files(old, new, others))


def compare_pairs(
    found: Pairs, options: CompareOptions, limits: Limits, progress: Progress | None = None
) -> tuple[list[FileChange], Others]:
    """The change of each model that may differ, and the files that are no models after all."""
    files, others = [], list(found.others)
    found.announce()
    for pair in found.changed:
        file = compare_pair(pair, options, limits, progress)
        if file is not None:
            files.append(file)
        else:
            others.append(tuple(side.files[0] if side is not None else None for side in (pair.old, pair.new)))  # type: ignore[arg-type]
    return files, others


def compare_pair(
    pair: ModelPair, options: CompareOptions, limits: Limits, progress: Progress | None = None
) -> FileChange | None:
    """The change of one model; None when it is a model on neither side (text named ``.pt``)."""
    from diffai.models.reference import open_ref

    sides = open_ref(pair.old, limits), open_ref(pair.new, limits)
    try:
        if all(isinstance(side.state, (Absent, NotAModel)) for side in sides):
            return None
        return compare_files(pair.title, *sides, options, progress)
    finally:
        for side in sides:
            if side.checkpoint is not None:
                side.checkpoint.close()


def compare_files(
    name: str, old: Input, new: Input, options: CompareOptions, progress: Progress | None = None
) -> FileChange:
    """The change of one path out of its two opened sides."""
    from diffai.comparison.models import compare_models

    try:
        diff = compare_models(old, new, options, progress)
    except SourceError as error:
        return FileChange(name, "unreadable", reason=str(error))
    if isinstance(old.state, Absent):
        return FileChange(name, "added", diff)
    if isinstance(new.state, Absent):
        return FileChange(name, "removed", diff)
    if not diff.comparable:
        return FileChange(name, "unreadable", diff, why_not_comparable(diff))
    return FileChange(name, "compared", diff)


def why_not_comparable(diff: ModelDiff) -> str:
    """Why a side of a comparison could not be opened."""
    sides = (("old", diff.old.state), ("new", diff.new.state))
    return "; ".join(f"{which}: {sentence(s)}" for which, s in sides if s is not None and not isinstance(s, Absent))


def _other_files(old: str, new: str, others: Others) -> tuple[int, int, int, int]:
    """(equal, different, only old, only new) over files that are no models."""
    both = [before.path for before, after in others if before is not None and after is not None]
    equal = sum(_same_bytes(os.path.join(old, path), os.path.join(new, path)) for path in both)
    only_old = sum(after is None for _, after in others)
    return equal, len(both) - equal, only_old, len(others) - len(both) - only_old


def _same_bytes(a: str, b: str) -> bool:
    import filecmp

    try:
        return filecmp.cmp(a, b, shallow=False)
    except OSError:
        return False
