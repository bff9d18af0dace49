"""A directory that DVC tracks, between two revisions by its path: the files of the manifests on both sides."""

from __future__ import annotations

import os

from diffai.comparison.result import CompareOptions, DirectoryDiff
from diffai.comparison.tracked import Pairs, TrackedOptions, compare_outs
from diffai.errors import SourceError
from diffai.formats.base import Limits
from diffai.sources.changed import WORK_TREE
from diffai.sources.dvc_open import DvcItem
from diffai.sources.dvc_tracked import DvcHistory, Tracked, find_in_work_tree


def compare_tracked_folder(
    directory: str, revisions: tuple[str, str], path: str, options: CompareOptions, limits: Limits
) -> DirectoryDiff | None:
    """Compare what DVC keeps at ``path``; None when it is no directory output of DVC's on either side.

    Args:
        directory: any directory of the repository; "" is the working directory.
        revisions: commit names; :data:`WORK_TREE` for the pointers as they are on disk, ``:`` for the index.
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
    return history.find("" if revision == ":" else revision, path.replace(os.sep, "/"))
