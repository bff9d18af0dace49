"""What DVC tracks, between two revisions: a directory by its path, and the outputs of a pointer that changed."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from dataclasses import replace

from diffai.comparison.directories import why_not_comparable
from diffai.comparison.result import CompareOptions, DirectoryDiff, FileChange
from diffai.comparison.tracked import OutChange, Pairs, TrackedOptions, compare_outs, pair_outs
from diffai.errors import SourceError
from diffai.formats.base import Limits
from diffai.sources.changed import INDEX, WORK_TREE, ChangedFile
from diffai.sources.dvc_open import DvcItem, items_of
from diffai.sources.dvc_pointers import DvcTextError, parse_dvc_file
from diffai.sources.dvc_tracked import DvcHistory, Tracked, find_in_work_tree, work_tree_text
from diffai.sources.resolve import sentence


def compare_tracked_folder(
    directory: str, revisions: tuple[str, str], path: str, options: CompareOptions, limits: Limits
) -> DirectoryDiff | None:
    """Compare what DVC keeps at ``path``; None when it is no directory output of DVC's on either side.

    Args:
        directory: any directory of the repository; "" is the working directory.
        revisions: commit names; :data:`WORK_TREE` for the pointers as they are on disk, :data:`INDEX` for those staged.
        path: from the top of the repository.

    Raises:
        SourceError: the list of files of a side is missing, so that nothing can be said.
    """
    with DvcHistory(directory) as history:
        found = [_tracked(history, revision, path) for revision in revisions]
        if not any(tracked is not None and not tracked.inside and tracked.out.is_directory for tracked in found):
            return None
        items = [
            DvcItem(tracked.out, tracked.path, tracked.pointer, history.place(tracked.pointer), elsewhere=True)
            if tracked is not None and not tracked.inside
            else None
            for tracked in found
        ]
    if items[0] is not None and items[1] is not None and items[0].out.same_as == items[1].out.same_as:
        return DirectoryDiff("", "")
    change = next(compare_outs(Pairs(((items[0], items[1]),), 0), TrackedOptions(options, limits)))
    if change.files is None:
        from diffai.model import NotPulled

        missing = next((state for state in change.state if isinstance(state, NotPulled)), None)
        reason = f"{missing.what} is not here; bring it with: {missing.command}" if missing else "cannot be compared"
        raise SourceError(f"{path}: {reason}")
    return change.files


def _tracked(history: DvcHistory, revision: str, path: str) -> Tracked | None:
    if revision == WORK_TREE:
        return find_in_work_tree(path)
    return history.find("" if revision == INDEX else revision, path.replace(os.sep, "/"))


def compare_pointers(
    directory: str, revisions: tuple[str, str], change: ChangedFile, options: CompareOptions, limits: Limits
) -> list[FileChange] | None:
    """The models behind a pointer that changed, each under its own path; None when a side is no pointer to read.

    Args:
        directory, revisions: as above.
        change: the pointer on both sides.
    """
    with DvcHistory(directory) as history:
        try:
            old, new = (
                _outs(history, revision, pointer)
                for revision, pointer in zip(revisions, (change.old_path, change.new_path), strict=True)
            )
        except DvcTextError:
            return None
    changes = compare_outs(pair_outs(old, new), TrackedOptions(options, limits))
    return [file for out in changes for file in _files(out)]


def _outs(history: DvcHistory, revision: str, pointer: str) -> list[DvcItem]:
    """The outputs of a pointer at a revision, in the index or the work tree."""

    def text(path: str) -> bytes | None:
        if revision == WORK_TREE:
            return work_tree_text(path)
        return history.read("" if revision == INDEX else revision, path)

    if not pointer:
        return []
    file = parse_dvc_file(text(pointer) or b"", pointer)
    yaml = (text(posixpath.join(posixpath.dirname(pointer), "dvc.yaml")) or b"") if file.lock else b""
    return items_of(file, pointer, history.place(pointer), yaml=yaml, elsewhere=True)


def _files(change: OutChange) -> Iterator[FileChange]:
    """An output as changes of models; none where it holds no model."""
    if change.diff is not None:
        status = "added" if change.old is None else "removed" if change.new is None else "compared"
        reason = ""
        if not change.diff.comparable:
            status, reason = "unreadable", why_not_comparable(change.diff)
        yield FileChange(change.item.label, status, change.diff, reason)  # type: ignore[arg-type]
    elif change.files is not None:
        for file in change.files.files:
            yield replace(file, path=posixpath.join(change.item.label, file.path))
    elif any(change.state):
        sides = zip(("old", "new"), change.state, strict=True)
        reason = "; ".join(f"{which}: {sentence(state)}" for which, state in sides if state is not None)
        yield FileChange(change.item.label, "unreadable", reason=reason)
