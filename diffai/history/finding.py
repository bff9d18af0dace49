"""What holds a model at many commits: asked of git for all of them at once, and decided as for a single one."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence

from diffai.frozen import replace
from diffai.history.blobs import Blob, look_at, read_objects
from diffai.history.model_path import ModelPath
from diffai.history.version import Holder, Step, Version, same, short, touches
from diffai.history.walk import Logged, Touch
from diffai.models.at import folders_below, may_have_companions, model_at
from diffai.models.names import model_key
from diffai.models.reference import File, identity_of, is_sharded
from diffai.repository.runner import Repository
from diffai.repository.trees import CommitTree, Entry
from diffai.snapshots.outputs import Outputs
from diffai.snapshots.snapshot import Snapshot
from diffai.stores.annex import AnnexText
from diffai.stores.dvc import DvcText
from diffai.stores.dvc.tracked import DvcHistory, pointer_paths
from diffai.stores.lfs import LfsText
from diffai.stores.table import recognise

_TREES = 256  # commits whose folders are in memory at once


class Finder:
    """Finds the versions of models.

    Args:
        repository: where.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._blobs: dict[str, Blob] = {}
        self._dvc = DvcHistory(repository.directory)

    def steps(self, model: ModelPath, logged: Sequence[Logged], *, first_parent: bool = False) -> list[Step]:
        """Both sides of every commit, in the order given.

        Left out are commits that touched something else, and, unless only first parents count, merges that hold
        what one of their parents holds (seen from the first parent git lists them).
        """
        steps = [step for step in self.sides(model, logged) if touches(step)]
        merges = [] if first_parent else [step for step in steps if len(step.logged.commit.parents) > 1]
        others = [parent for step in merges for parent in step.logged.commit.parents[1:]]
        held = dict(zip(others, self.at(model, others), strict=True)) if others else {}
        taken_over = {
            step.logged.commit.hash
            for step in merges
            if any(same(held[parent], step.new) for parent in step.logged.commit.parents[1:])
        }
        return [step for step in steps if step.logged.commit.hash not in taken_over]

    def sides(self, model: ModelPath, logged: Sequence[Logged]) -> list[Step]:
        """Both sides of every commit, one step for each."""
        commits = [f"{each.commit.hash}{up}" for each in logged for up in ("^1", "")]
        if not may_have_companions(model.path) and all(t.path == model.path for each in logged for t in each.touches):
            refs = [_touched(each.touches, model.path, new=new) for each in logged for new in (False, True)]
            found = self._versions(model, commits, refs)
        else:
            found = self.at(model, commits)
        return [Step(each, *pair) for each, pair in zip(logged, zip(found[::2], found[1::2], strict=True), strict=True)]

    def at(self, model: ModelPath, commits: Sequence[str]) -> list[Version | None]:
        """What some commits (or trees) hold."""
        refs: list[Files] = []
        for start in range(0, len(commits), _TREES):
            for tree in self._trees(model, commits[start : start + _TREES]):
                snapshot = Snapshot(tree)
                ref = model_at(snapshot, model.path, model.named, Outputs(snapshot, _is_none, self._dvc))
                refs.append((ref.files, ref.companions) if ref is not None else None)
        return self._versions(model, commits, refs)

    def _trees(self, model: ModelPath, commits: Sequence[str]) -> list[CommitTree]:
        """The trees of some commits, with what is asked of them known already."""
        trees = [CommitTree(self._repository, commit, short(commit)) for commit in commits]
        below = (posixpath.join(model.folder, folder) for folder in folders_below(model.path))
        folders = list(dict.fromkeys([model.folder, *below, *map(posixpath.dirname, model.named)]))
        listed = iter(read_objects(self._repository, [f"{tree.oid}:{folder}" for tree in trees for folder in folders]))
        for tree in trees:
            for folder in folders:
                tree.know(folder, next(listed))
        elsewhere = [tree for tree in trees if not _is_listed(tree, model)]
        pointers = pointer_paths(model.path)
        locks = [posixpath.dirname(pointer) for pointer in pointers if pointer.endswith("dvc.lock")]
        pointers += [posixpath.join(folder, "dvc.yaml") for folder in locks]
        texts = iter(read_objects(self._repository, [f"{tree.oid}:{name}" for tree in elsewhere for name in pointers]))
        for tree in elsewhere:
            for name in pointers:
                tree.know_text(name, next(texts))
        return trees

    # ------------------------------------------------------------ naming

    def _versions(self, model: ModelPath, commits: Sequence[str], refs: Sequence[Files]) -> list[Version | None]:
        files = [file for ref in refs if ref is not None for some in ref for file in some]
        self._look_at(files)
        return [
            self._version(model, commit, *ref) if ref is not None else None
            for commit, ref in zip(commits, refs, strict=True)
        ]

    def _look_at(self, files: Iterable[File]) -> None:
        oids = {file.entry.oid for file in files if file.entry is not None and file.item is None}
        self._blobs |= look_at(self._repository, oids - self._blobs.keys())

    def _version(
        self, model: ModelPath, commit: str, files: tuple[File, ...], companions: tuple[File, ...]
    ) -> Version:
        """What some files of a tree are together."""
        known = [self._content(file) for file in files]
        beside = tuple(self._content(file)[0] for file in companions)
        files = tuple(file for file, _, _ in known)
        sizes = [size for _, _, size in known]
        holder: Holder = "sharded" if known[0][1] != "dvc" and is_sharded(files) else known[0][1]
        path = files[0].path if holder == "sharded" else model.path
        size = sum(sizes) if all(size >= 0 for size in sizes) else -1
        return Version(commit, path, holder, identity_of(files, beside), size, files, beside, model)

    def _content(self, file: File) -> tuple[File, Holder, int]:
        """One file of a tree with what names its content, its holder and its size."""
        if file.item is not None:
            return file, "dvc", file.item.size if not file.is_folder else -1
        assert file.entry is not None
        blob = self._blobs[file.entry.oid]
        pointer = recognise(blob.text, blob.size, posixpath.basename(file.path)) if blob.text else None
        if isinstance(pointer, LfsText):
            return replace(file, content=f"sha256:{pointer.oid}"), "git-lfs", pointer.size
        if isinstance(pointer, AnnexText):
            # Only keys that are made of the content name it.
            named = pointer.key.startswith(("SHA", "MD5", "BLAKE", "SKEIN"))
            return replace(file, content=f"annex:{pointer.key}" if named else ""), "git-annex", pointer.size
        if isinstance(pointer, DvcText):  # one that makes no sense
            return file, "dvc", -1
        if file.entry.is_link:
            return replace(file, content=""), "link", -1
        return file, "git", blob.size

    def blob(self, oid: str) -> Blob:
        """What is known of an object that a version was found in."""
        return self._blobs[oid]

    def held(self, file: File) -> Holder:
        """What keeps the bytes of a file of a version."""
        return self._content(file)[1]


Files = tuple[tuple[File, ...], tuple[File, ...]] | None
"""The files of a model and its companions."""


def _is_none(_: str) -> bool:
    return False


def _is_listed(tree: CommitTree, model: ModelPath) -> bool:
    """Whether a tree itself has the model, so that no pointer need be asked."""
    names = tree.children(model.folder)
    return any(model_key(posixpath.join(model.folder, name)) == model.path for name in names)


def _touched(touched: Sequence[Touch], path: str, *, new: bool) -> Files:
    """A side out of ``git log --raw`` alone, for a model that is one file of git's at all commits."""
    for touch in touched:
        mode, oid = (touch.new_mode, touch.new_oid) if new else (touch.old_mode, touch.old_oid)
        if oid:
            return (File(path, Entry(path, mode, oid)),), ()
    return None
