"""What DVC tracks, between two revisions: a directory by its path, and the outputs of a pointer that changed."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import replace

from diffai.comparison.directories import why_not_comparable
from diffai.comparison.result import CompareOptions, DirectoryDiff, FileChange
from diffai.comparison.tracked import OutChange, Pairs, TrackedOptions, compare_outs, pair_outs
from diffai.errors import SourceError
from diffai.formats.base import Limits
from diffai.frozen import frozen
from diffai.models.names import is_model_name, model_key
from diffai.repository.revisions import INDEX, WORK_TREE
from diffai.repository.runner import Repository
from diffai.repository.trees import changed_paths
from diffai.snapshots.resolve import open_source, sentence
from diffai.sources.directory import UnresolvedError
from diffai.stores.dvc import is_pointer_name
from diffai.stores.dvc.items import DvcDirectory, DvcItem, entries_of, items_of
from diffai.stores.dvc.pointers import DvcTextError, parse_dvc_file
from diffai.stores.dvc.tracked import DvcHistory, Tracked, find_in_work_tree, open_in_work_tree, work_tree_text
from diffai.stores.dvc.workspace import as_on_disk


@frozen
class ChangedFile:
    """One changed path, relative to the top of the work tree; "" on the side where there is no file."""

    old_path: str
    new_path: str


def changed_files(repository: Repository, old: str, new: str, paths: Sequence[str]) -> list[ChangedFile]:
    """See :func:`diffai.repository.trees.changed_paths`."""
    found = changed_paths(repository, old, new, paths)
    return [ChangedFile(c.old.name if c.old else "", c.new.name if c.new else "") for c in found]


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
    if revisions[1] == WORK_TREE and items[1] is not None:
        items[1] = as_on_disk(items[1], is_model_name)
    if items[0] is not None and items[1] is not None and items[0].out.same_as == items[1].out.same_as:
        return DirectoryDiff("", "")
    change = next(compare_outs(Pairs(((items[0], items[1]),), 0), TrackedOptions(options, limits)))
    if change.files is None:
        from diffai.model import NotPulled

        missing = next((state for state in change.state if isinstance(state, NotPulled)), None)
        if missing is not None:
            raise UnresolvedError(f"{path}: {sentence(missing)}", missing)
        raise SourceError(f"{path}: cannot be compared")
    return change.files


def _tracked(history: DvcHistory, revision: str, path: str) -> Tracked | None:
    if revision == WORK_TREE:
        return find_in_work_tree(path)
    return history.find("" if revision == INDEX else revision, path.replace(os.sep, "/"))


def compare_named_folders(old: str, new: str, options: CompareOptions, limits: Limits) -> DirectoryDiff | None:
    """Compare two words that name directories of DVC's with several models (``v1:ckpt``, ``ckpt.dvc``, ``ckpt`` on
    disk); None when one of them names anything else, and when each is one sharded model.
    """
    items = [_named_folder(word) for word in (old, new)]
    if any(item is None for item in items) or all(_is_one_model(item) for item in items if item is not None):
        return None
    change = next(compare_outs(Pairs(((items[0], items[1]),), 0), TrackedOptions(options, limits)))
    return replace(change.files, old=old, new=new) if change.files is not None else None


def _named_folder(word: str) -> DvcItem | None:
    if is_model_name(word) or (os.path.isfile(word) and not is_pointer_name(word)):
        return None
    on_disk = os.path.isdir(word)
    try:
        found = open_in_work_tree(word) if on_disk else open_source(word)
    except SourceError:
        return None
    if not isinstance(found, DvcDirectory) or found.folder:
        close = getattr(found, "close", None)
        if close is not None:
            close()
        return None
    return as_on_disk(found.item, is_model_name) if on_disk else found.item


def _is_one_model(item: DvcItem) -> bool:
    return len({model_key(e.relpath) for e in entries_of(item) or () if is_model_name(e.relpath)}) < 2


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


def pointers_of_work_tree(repository: Repository, paths: Sequence[str]) -> list[str]:
    """The pointers that git keeps at some paths (empty = everywhere), from the top of the work tree."""
    literal = ("--literal-pathspecs",) if paths else ()
    listed = repository.ask(*literal, "ls-files", "-z", "--full-name", "--", *(paths or (":(top)",)))
    return [name for name in os.fsdecode(listed).split("\0") if is_pointer_name(name)]


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
    items = items_of(file, pointer, history.place(pointer), yaml=yaml, elsewhere=True)
    return [as_on_disk(item, is_model_name) for item in items] if revision == WORK_TREE else items


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
