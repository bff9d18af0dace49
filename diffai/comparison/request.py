"""What the words of a command line mean: two models, two directories, or changed files between revisions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from diffai.comparison.directories import (
    chosen_documents,
    compare_directories,
    compare_files,
    compare_pairs,
)
from diffai.comparison.models import Progress, compare_models
from diffai.comparison.result import CompareOptions, DirectoryDiff, LeftOut, ModelDiff
from diffai.errors import FormatError, SourceError
from diffai.formats.base import Limits
from diffai.model import Absent, NotAModel, State
from diffai.models.at import model_at, owner_of
from diffai.models.inputs import Input, as_input, open_input, unreadable
from diffai.models.names import is_model_name, model_key
from diffai.models.pairs import ModelPair, Pairs, models_in, pairs
from diffai.models.rule import ModelRule
from diffai.repository.disk import top_of_work_tree
from diffai.repository.revisions import INDEX, WORK_TREE, split_revisions
from diffai.repository.runner import Repository
from diffai.snapshots.resolve import open_source
from diffai.snapshots.snapshot import Snapshot, folder_snapshot, snapshot_of
from diffai.sources.directory import Directory
from diffai.stores.dvc import is_pointer_name
from diffai.stores.dvc.items import DvcDirectory, DvcItem, entries_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.comparison.documents.result import DocumentOptions


def compare_words(
    old: str,
    new: str,
    options: CompareOptions,
    limits: Limits,
    progress: Progress | None = None,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    input_format: str = "",
    documents: DocumentOptions | None = None,
) -> ModelDiff | DirectoryDiff:
    """Compare what two words name: paths or ``REV:path``; two directories pairwise, unless each is one sharded model.

    Raises:
        SourceError: a word names nothing that can be read.

    """
    on_disk = os.path.isdir(old) and os.path.isdir(new)
    if on_disk and (include or not (_is_one_model(old) and _is_one_model(new))):
        return compare_directories(
            old, new, options, limits=limits, include=include, exclude=exclude, progress=progress, documents=documents
        )
    if not (is_model_name(old) or is_model_name(new)):
        folders = _compare_named_folders(old, new, options, limits)
        if folders is not None:
            return folders
    left = open_input(old, limits, input_format)
    try:
        right = open_input(new, limits, input_format)
        try:
            return _with_folders(compare_models(left, right, options, progress), left, right, limits, exclude)
        finally:
            _close(right)
    finally:
        _close(left)


def _is_one_model(folder: str) -> bool:
    """Whether a folder holds the shards of one model and no other model, or one adapter with its configuration."""
    models, _ = models_in(folder_snapshot(folder))
    adapter = os.path.isfile(os.path.join(folder, "adapter_config.json"))
    return len(models) == 1 and (models[0].sharded or adapter)


def _with_folders(diff: ModelDiff, left: Input, right: Input, limits: Limits, exclude: Sequence[str]) -> ModelDiff:
    """The comparison of two folders that are one model each, with what differs in the other files of theirs."""
    if not (isinstance(left.found, Directory) and isinstance(right.found, Directory) and diff.comparable):
        return diff
    if not diff.differs:
        return diff
    from diffai.comparison.documents.beside import beside_in

    rule = ModelRule((), exclude)
    found = beside_in(left.found, right.found, limits)
    return replace(diff, beside=tuple(one for one in found if rule.wants(one.name)))


def compare_revisions(
    words: Sequence[str],
    paths: Sequence[str],
    options: CompareOptions,
    limits: Limits,
    progress: Progress | None = None,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    staged: bool = False,
    documents: DocumentOptions | None = None,
) -> ModelDiff | DirectoryDiff:
    """Compare models between two revisions, or a revision and the work tree (``staged``: and the index).

    One path that is one file gives a model diff, anything else a directory diff over the changed files.

    Raises:
        SourceError: not in a repository, no such revision, or a path that neither side has.

    """
    old, new, wanted = moments(words, paths, staged=staged)
    found = pairs(old, new, ModelRule(include, exclude), wanted)
    for path, name in zip(paths, wanted, strict=True):
        if not any(pair.touches(name) for pair in found.changed) and not (_has(old, name) or _has(new, name)):
            raise SourceError(f"{path}: neither revision has this path")
    one = wanted[0] if len(wanted) == 1 else ""
    if one and not found.changed and not found.others and not any(_is_folder(side, one) for side in (old, new)):
        return _unchanged((old, new), one, options, limits, progress)
    files, others = compare_pairs(found, options, limits, progress)
    if one and len(files) == 1 and files[0].diff is not None and _names(one, found):
        return files[0].diff
    left_out = [LeftOut("files", found.excluded, "left out by --include/--exclude")] if found.excluded else []
    found_documents, others = chosen_documents(
        others, old, new, lambda path: bool(include) or path in wanted, documents
    )
    only_old = sum(after is None for _, after in others)
    only_new = sum(before is None for before, _ in others)
    counts = (0, len(others) - only_old - only_new, only_old, only_new)
    labels = (old.label, new.label)
    return DirectoryDiff(*labels, tuple(files), tuple(left_out), counts, found.unchanged, found_documents)


def moments(words: Sequence[str], paths: Sequence[str], *, staged: bool) -> tuple[Snapshot, Snapshot, list[str]]:
    """Both sides of a comparison of revisions, and the paths of the user from the top of the work tree.

    Raises:
        SourceError: not in a repository, or no such revision.
    """
    repository = Repository()
    commits = split_revisions(words, repository)
    if staged:
        if commits[1] != WORK_TREE:
            raise SourceError(f"--staged compares one revision with the index, not {' '.join(words)}")
        commits = (commits[0], INDEX)
    top = top_of_work_tree(repository)
    if commits[1] in (WORK_TREE, INDEX) and not top:
        raise SourceError("there is no work tree here (a bare repository?); name two revisions: A B -- PATH")
    names = _spoken(words, *commits)
    old, new = (snapshot_of(repository, commit, names[commit]) for commit in commits)
    return old, new, [_from_top(path, top) for path in paths]


def _from_top(path: str, top: str) -> str:
    """A path of the user as one from the top of the work tree; "." is the top."""
    return (os.path.relpath(os.path.abspath(path), top) if top else os.path.normpath(path)).replace(os.sep, "/")


def _has(side: Snapshot, path: str) -> bool:
    """Whether a side has a path: as a file, a folder, or behind a pointer."""
    if path == "." or side.tree.entry(path) is not None or model_at(side, path) is not None:
        return True
    return not isinstance(side.open(path), Absent)


def _is_folder(side: Snapshot, path: str) -> bool:
    """Whether a path is a folder of the tree, or a pointer or a folder of DVC's, so that models are in it."""
    entry = side.tree.entry(path)
    if path == "." or is_pointer_name(path) or (entry is not None and entry.is_directory):
        return True
    if entry is not None:
        return False
    found = side.open(path)
    if isinstance(found, Directory):
        return True
    if not isinstance(found, State):
        found.close()
    return False


def _names(path: str, found: Pairs) -> bool:
    """Whether a path of the user is that of the one model that changed, and not of something that holds others."""
    pair: ModelPair = found.changed[0]
    files = [file.path for side in (pair.old, pair.new) if side is not None for file in side.files]
    own = {pair.old_path, pair.new_path, *files}
    return len(found.changed) == 1 and (path in own or model_key(path) in own or path.removesuffix(".dvc") in own)


def _unchanged(
    sides: tuple[Snapshot, Snapshot], path: str, options: CompareOptions, limits: Limits, progress: Progress | None
) -> ModelDiff:
    """A path that nobody calls changed: the diff of the file with itself says so, and that it is readable."""
    old, new = (_input(side, path, limits) for side in sides)
    try:
        if all(isinstance(side.state, (Absent, NotAModel)) for side in (old, new)):
            raise SourceError(f"{path}: is not a model")
        file = compare_files(path, old, new, options, progress)
    finally:
        _close(old)
        _close(new)
    if file.diff is None:
        raise SourceError(f"{path}: {file.reason}")
    return file.diff


def _input(side: Snapshot, path: str, limits: Limits) -> Input:
    """What a side has at a path: the model that it means, whole."""
    model = model_at(side, owner_of(side, path))
    if model is not None:
        return model.open(limits)
    label = side.name(path)
    try:
        return as_input(side.open(path), limits, label=label)
    except (SourceError, FormatError) as error:
        return Input(label, state=unreadable(error))


def _spoken(words: Sequence[str], old: str, new: str) -> dict[str, str]:
    """What the user called the two revisions, by what they are; never a bare object name where there was a word."""
    names = {old: old[:12], new: new[:12], WORK_TREE: "work tree", INDEX: "index"}
    if not words:
        names[old] = "HEAD"
    elif len(words) == 1 and ".." not in words[0]:
        names[old] = words[0]
    elif len(words) == 2:
        names[old], names[new] = words
    elif len(words) == 1 and "..." not in words[0]:
        left, _, right = words[0].partition("..")
        names[old], names[new] = left or "HEAD", right or "HEAD"
    return names


def _close(side: Input) -> None:
    if side.checkpoint is not None:
        side.checkpoint.close()


# ---------------------------------------------------------------- words that name directories of DVC's


def _compare_named_folders(old: str, new: str, options: CompareOptions, limits: Limits) -> DirectoryDiff | None:
    """Compare two words that name directories of DVC's with several models (``v1:ckpt``, ``ckpt.dvc``, ``ckpt`` on
    disk); None when one of them names anything else, and when each is one sharded model.
    """
    from diffai.comparison.tracked import Outs, TrackedOptions, compare_outs

    items = [_named_folder(word) for word in (old, new)]
    if any(item is None for item in items) or all(_is_one_tracked(item) for item in items if item is not None):
        return None
    change = next(compare_outs(Outs(((items[0], items[1]),), 0), TrackedOptions(options, limits)))
    return replace(change.files, old=old, new=new) if change.files is not None else None


def _named_folder(word: str) -> DvcItem | None:
    if is_model_name(word) or (os.path.isfile(word) and not is_pointer_name(word)):
        return None
    from diffai.stores.dvc.tracked import open_in_work_tree
    from diffai.stores.dvc.workspace import as_on_disk

    on_disk = os.path.isdir(word)
    try:
        found = open_in_work_tree(word) if on_disk else open_source(word)
    except SourceError:
        return None
    if not isinstance(found, DvcDirectory) or found.folder:
        if found is not None and not isinstance(found, State):
            found.close()
        return None
    return as_on_disk(found.item, is_model_name) if on_disk else found.item


def _is_one_tracked(item: DvcItem) -> bool:
    return len({model_key(e.relpath) for e in entries_of(item) or () if is_model_name(e.relpath)}) < 2
