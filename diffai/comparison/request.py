"""What the words of a command line mean: two models, two directories, or changed files between revisions."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

from diffai.comparison.directories import compare_directories, compare_files, list_models
from diffai.comparison.models import Input, Progress, compare_models
from diffai.comparison.names import natural_key
from diffai.comparison.result import CompareOptions, DirectoryDiff, FileChange, LeftOut, ModelDiff
from diffai.comparison.tracked_paths import ChangedFile, changed_files
from diffai.errors import FormatError, SourceError
from diffai.formats.base import Limits
from diffai.model import Absent, NotAModel
from diffai.models.inputs import as_input, open_input, unreadable
from diffai.models.names import is_model_name, is_shard, model_key
from diffai.repository.disk import top_of_work_tree
from diffai.repository.revisions import INDEX, WORK_TREE, split_revisions
from diffai.repository.runner import Repository
from diffai.stores.dvc import is_pointer_name


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
) -> ModelDiff | DirectoryDiff:
    """Compare what two words name: paths or ``REV:path``; two directories pairwise, unless each is one sharded model.

    Raises:
        SourceError: a word names nothing that can be read.

    """
    if os.path.isdir(old) and os.path.isdir(new) and not (_is_one_model(old) and _is_one_model(new)):
        return compare_directories(
            old, new, options, limits=limits, include=include, exclude=exclude, progress=progress
        )
    if not (is_model_name(old) or is_model_name(new)):
        from diffai.comparison.tracked_paths import compare_named_folders

        folders = compare_named_folders(old, new, options, limits)
        if folders is not None:
            return folders
    left = open_input(old, limits, input_format)
    try:
        right = open_input(new, limits, input_format)
        try:
            return compare_models(left, right, options, progress)
        finally:
            _close(right)
    finally:
        _close(left)


def _is_one_model(folder: str) -> bool:
    """Whether a folder holds the shards of one model and no other model."""
    models = list_models(folder).models
    return len(models) == 1 and all(is_shard(path) or path.endswith(".index.json") for path in models.values())


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
) -> ModelDiff | DirectoryDiff:
    """Compare models between two revisions, or a revision and the work tree (``staged``: and the index).

    One path that is one file gives a model diff, anything else a directory diff over the changed files.

    Raises:
        SourceError: not in a repository, no such revision, or a path that neither side has.

    """
    repository = Repository()
    old, new = split_revisions(words, repository)
    if staged:
        if new != WORK_TREE:
            raise SourceError(f"--staged compares one revision with the index, not {' '.join(words)}")
        new = INDEX
    if new in (WORK_TREE, INDEX) and not top_of_work_tree(repository):
        raise SourceError("there is no work tree here (a bare repository?); name two revisions: A B -- PATH")
    names = _spoken(words, old, new)
    view = _Revisions(repository, old, new, limits, names)
    for path in paths:
        on_disk = os.path.lexists(path) if new == WORK_TREE else view.has(new, path)
        if not on_disk and not view.has(old, path) and not view.tracks(path):
            raise SourceError(f"{path}: neither revision has this path")
    pairs = view.models(changed_files(repository, old, new, paths), include, exclude)
    if len(paths) == 1 and not pairs:
        from diffai.comparison.tracked_paths import compare_tracked_folder

        folder = compare_tracked_folder(repository.directory, (old, new), view.relative(paths[0]), options, limits)
        if folder is not None:
            return replace(folder, old=names[old], new=names[new])
        if not os.path.isdir(paths[0]):
            return _unchanged(view, paths[0], options, progress)
    files = []
    for name, change in pairs.items():
        files += view.compare(name, change, options, progress)
    if new == WORK_TREE:
        files += view.behind_unchanged_pointers(pairs, paths, options)
    for path in paths if len(paths) > 1 else ():
        files += view.behind_path(path, options, progress)
    files = view.rejoined([file for file in files if view.wants(file.path, include, exclude)], options, progress)
    if len(paths) == 1 and len(files) == 1 and files[0].diff is not None and view.is_named(files[0], paths[0]):
        return files[0].diff
    left_out = [LeftOut("files", view.excluded, "left out by --include/--exclude")] if view.excluded else []
    return DirectoryDiff(names[old], names[new], tuple(files), tuple(left_out), (0, view.not_models, 0, 0))


def _unchanged(
    view: _Revisions, path: str, options: CompareOptions, progress: Progress | None
) -> ModelDiff | DirectoryDiff:
    """A path that git calls unchanged: the diff of the file with itself says so, and that it is readable."""
    relative = view.relative(path)
    files = view.compare(path, ChangedFile(relative, relative), options, progress)
    if not files or files[0].diff is None:
        raise SourceError(f"{path}: {files[0].reason if files else 'is not a model'}")
    return files[0].diff


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


class _Revisions:
    """Both sides of a comparison of revisions: opens what stands at a path on either."""

    def __init__(self, repository: Repository, old: str, new: str, limits: Limits, names: Mapping[str, str]) -> None:
        self._names = names
        self._repository, self._old, self._new, self._limits = repository, old, new, limits
        self._top = top_of_work_tree(repository)
        self.excluded = 0
        self.not_models = 0

    def relative(self, path: str) -> str:
        """A path of the user as one from the top of the work tree."""
        return os.path.relpath(os.path.abspath(path), self._top) if self._top else path

    def has(self, commit: str, path: str) -> bool:
        """Whether a commit, or the index, has a path of the user as a file or a folder."""
        from diffai.snapshots.snapshot import snapshot_of

        return snapshot_of(self._repository, commit).tree.entry(self.relative(path).replace(os.sep, "/")) is not None

    def is_named(self, file: FileChange, path: str) -> bool:
        """Whether a path of the user is that of this one model, and not of a directory or pointer that holds others."""
        name = self.relative(path).replace(os.sep, "/")
        return not os.path.isdir(path) and not (is_pointer_name(name) and file.path != name.removesuffix(".dvc"))

    def tracks(self, path: str) -> bool:
        """Whether a path that git does not have is known on either side all the same (to DVC)."""
        sides = [self._open(commit, self.relative(path)) for commit in (self._old, self._new)]
        for side in sides:
            _close(side)
        return not all(isinstance(side.state, Absent) for side in sides)

    def models(
        self, changed: Sequence[ChangedFile], include: Sequence[str], exclude: Sequence[str]
    ) -> dict[str, ChangedFile]:
        """Changed models by name; the shards and the index of one model are one entry."""
        pairs: dict[str, ChangedFile] = {}
        for change in changed:
            path = change.new_path or change.old_path
            if not is_pointer_name(path) and not self.wants(path, include, exclude):
                continue
            key_old, key_new = (model_key(p) if p else "" for p in (change.old_path, change.new_path))
            name = key_new or key_old
            if name in (change.old_path, change.new_path):
                pairs[name] = change
            else:  # a shard or an index: its model stands under one name on both sides
                pairs[name] = ChangedFile(name, name)
        return dict(sorted(pairs.items(), key=lambda item: natural_key(item[0])))

    def wants(self, path: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
        """Whether globs let a path pass; what they leave out is counted."""
        from diffai.comparison.directories import wanted

        passes = wanted(path, include, exclude)
        self.excluded += not passes
        return passes

    def behind_path(self, path: str, options: CompareOptions, progress: Progress | None) -> list[FileChange]:
        """The changes of a path that git does not have and DVC does: of one model, or of a directory."""
        sides = (self._old, self._new or INDEX)
        if any(self.has(side, path) for side in sides):
            return []
        from diffai.comparison.tracked_paths import compare_tracked_folder

        name, revisions = self.relative(path), (self._old, self._new)
        folder = compare_tracked_folder(self._repository.directory, revisions, name, options, self._limits)
        if folder is None:
            return self.compare(name, ChangedFile(name, name), options, progress)
        return [replace(file, path=f"{name}/{file.path}") for file in folder.files]

    def behind_unchanged_pointers(
        self, changed: Mapping[str, object], paths: Sequence[str], options: CompareOptions
    ) -> list[FileChange]:
        """Models on disk that differ from their DVC pointer, which is as it was: ``dvc add`` was not run yet."""
        from diffai.comparison.tracked_paths import pointers_of_work_tree

        found: list[FileChange] = []
        for pointer in pointers_of_work_tree(self._repository, paths):
            if pointer not in changed:
                found += self._behind_pointer(ChangedFile(pointer, pointer), options) or ()
        return found

    def rejoined(self, files: list[FileChange], options: CompareOptions, progress: Progress | None) -> list[FileChange]:
        """A model that went from git to DVC, or from one pointer to another, is one change and not two."""
        gone = {file.path for file in files if file.status == "removed"}
        moved = [file.path for file in files if file.status == "added" and file.path in gone]
        found = [file for file in files if file.path not in moved]
        for path in moved:
            found += self.compare(path, ChangedFile(path, path), options, progress)
        return sorted(found, key=lambda file: natural_key(file.path)) if moved else found

    def compare(
        self, name: str, change: ChangedFile, options: CompareOptions, progress: Progress | None
    ) -> list[FileChange]:
        """The change of one model, or those of the models behind a DVC pointer; empty when there is no model."""
        if any(is_pointer_name(path) for path in (change.old_path, change.new_path)):
            behind = self._behind_pointer(change, options)
            if behind is not None:
                self.not_models += not behind
                return behind
        sides = self._open(self._old, change.old_path), self._open(self._new, change.new_path)
        try:
            if all(isinstance(side.state, (Absent, NotAModel)) for side in sides):
                self.not_models += 1
                return []
            renamed = change.old_path and change.new_path and change.old_path != change.new_path
            shown = f"{change.old_path} -> {change.new_path}" if renamed else name
            return [compare_files(shown, *sides, options, progress)]
        finally:
            for side in sides:
                _close(side)

    def _behind_pointer(self, change: ChangedFile, options: CompareOptions) -> list[FileChange] | None:
        from diffai.comparison.tracked_paths import compare_pointers

        return compare_pointers(self._repository.directory, (self._old, self._new), change, options, self._limits)

    def _open(self, commit: str, path: str) -> Input:
        if not path:
            return Input("", state=Absent())
        label = path if commit == WORK_TREE else f":{path}" if commit == INDEX else f"{self._names[commit]}:{path}"
        try:
            for candidate in (path, f"{path}.index.json"):
                side = self._open_exact(commit, candidate, label)
                if not isinstance(side.state, Absent):
                    return side
            return side
        except (SourceError, FormatError) as error:
            return Input(label, state=unreadable(error))

    def _open_exact(self, commit: str, path: str, label: str) -> Input:
        from diffai.snapshots.resolve import resolve_at

        if commit == WORK_TREE:
            full = os.path.join(self._top, path)
            if not os.path.lexists(full):
                return Input(label, state=Absent())
            return open_input(full, self._limits, label=label)
        if commit == INDEX:
            from diffai.snapshots.revision import open_staged

            return as_input(open_staged("", path), self._limits, label=label)
        found = resolve_at("", commit, path)
        return as_input(found, self._limits, label=label)


def _close(side: Input) -> None:
    if side.checkpoint is not None:
        side.checkpoint.close()
