"""Compare the models of two trees that stand side by side: folders on disk, commits, the index, the work tree."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence

from diffai.comparison.result import CompareOptions, DirectoryDiff, FileChange, LeftOut, ModelDiff
from diffai.errors import SourceError
from diffai.formats.base import Limits
from diffai.frozen import replace
from diffai.model import Absent, NotAModel
from diffai.models.inputs import Input
from diffai.snapshots.files import sentence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    # what pairs two trees is not loaded for a driver's two files, nor what compares for none
    from diffai.comparison.documents.result import DocumentChange, DocumentOptions
    from diffai.comparison.models import Progress
    from diffai.models.pairs import ModelPair, Pairs
    from diffai.models.reference import File
    from diffai.models.rule import ModelRule
    from diffai.snapshots.snapshot import Snapshot

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
    documents: DocumentOptions | None = None,
) -> DirectoryDiff:
    """Compare all models of two directories, and the documents that ``include`` chooses.

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
    found_documents, others = chosen_documents(others, left, right, lambda path: bool(include), documents)
    counts = _other_files(old, new, others)
    return DirectoryDiff(old, new, tuple(files), tuple(left_out), counts, documents=found_documents)


def chosen_documents(
    others: Others, old: Snapshot, new: Snapshot, chosen: Callable[[str], bool], options: DocumentOptions | None
) -> tuple[tuple[DocumentChange, ...], Others]:
    """The documents among files that are no models, where the user chose their paths, and the rest of them."""
    if options is None:
        return (), others
    mine: Others = []
    rest: Others = []
    for sides in others:
        (mine if any(file is not None and chosen(file.path) for file in sides) else rest).append(sides)
    if not mine:
        return (), others
    from diffai.comparison.documents.among import documents_among

    found, no_documents = documents_among(mine, old, new, options)
    return found, [*rest, *no_documents]


def compare_pairs(
    found: Pairs, options: CompareOptions, limits: Limits, progress: Progress | None = None
) -> tuple[list[FileChange], Others]:
    """The change of each model that may differ, and the files that are no models after all."""
    files, others = [], list(found.others)
    found.announce()
    seen: set[str] = set()
    for pair in found.changed:
        file = compare_pair(pair, options, limits, progress)
        if file is not None:
            diff = file.diff
            if diff is not None:
                file = replace(file, diff=with_beside(diff, pair, limits, found.rule, seen))
            files.append(file)
        else:
            others.append(tuple(side.files[0] if side is not None else None for side in (pair.old, pair.new)))  # type: ignore[arg-type]
    return files, others


def with_beside(diff: ModelDiff, pair: ModelPair, limits: Limits, rule: ModelRule, seen: set[str]) -> ModelDiff:
    """The change of a model with what differs in the files beside it; they are told of once for each folder.

    ``rule``: where globs choose what is looked at, nothing else is. ``seen``: the pairs of folders
    that were looked at.
    """
    folder = posixpath.dirname(pair.path)
    both = f"{posixpath.dirname(pair.old_path)}\n{posixpath.dirname(pair.new_path)}"
    if not (pair.old and pair.new and diff.comparable and diff.differs) or both in seen or (rule.only and rule.include):
        return diff
    seen.add(both)
    from diffai.comparison.documents.beside import beside

    found = tuple(one for one in beside(pair, limits) if rule.wants(posixpath.join(folder, one.name)))
    return replace(diff, beside=found) if found else diff


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
