"""What holds the model of a path at one moment: all files of a snapshot that are it, kept by git, the disk or DVC."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache

from diffai.formats.base import Limits
from diffai.formats.table import FORMATS
from diffai.models.names import is_index, is_model_name, model_key, owners
from diffai.models.reference import File, ModelRef, companions
from diffai.repository.trees import Tree
from diffai.snapshots.outputs import Outputs
from diffai.snapshots.snapshot import Snapshot
from diffai.stores.dvc import is_pointer_name
from diffai.stores.dvc.items import DvcItem, entries_of, entry_item
from diffai.stores.dvc.pointers import DvcTextError
from diffai.stores.dvc.tracked import pointer_paths
from diffai.stores.store import Opened

_LIMITS = Limits(allow_torch=False)


@lru_cache(maxsize=64)
def may_have_companions(path: str) -> bool:
    """Whether, by its name, a model of this path can hold values in files beside it."""
    name = posixpath.basename(path)
    for row in FORMATS:
        for _, owner in row.companions:
            globs = row.globs if owner == "{0}" else (owner.format("*/"), owner.format(""), owner.format("*"))
            if any(fnmatchcase(path, glob) or fnmatchcase(name, glob) for glob in globs):
                return True
    return False


@lru_cache(maxsize=64)
def folders_below(path: str) -> tuple[str, ...]:
    """Folders below that of a model in which files of it may lie, relative to it."""
    rows = [row for row in FORMATS if row.below and any(fnmatchcase(posixpath.basename(path), g) for g in row.globs)]
    return tuple(dict.fromkeys(folder for row in rows for folder in row.below))


@lru_cache(maxsize=64)
def names_files(path: str) -> bool:
    """Whether a file of this name may name files that hold values of it, whatever these are called."""
    name = posixpath.basename(path)
    return any(row.names_files and any(fnmatchcase(name, glob) for glob in row.globs) for row in FORMATS)


@lru_cache(maxsize=1 << 14)
def belongs(file: str, path: str) -> bool:
    """Whether by its name a file is the model of a path: itself, its index, a shard, or a companion."""
    if model_key(file) == path:
        return True
    return any(glob.count("/") == path.count("/") and fnmatchcase(path, glob) for glob in owners(file))


def model_at(
    snapshot: Snapshot, path: str, named: Collection[str] = (), outputs: Outputs | None = None
) -> ModelRef | None:
    """The model that a snapshot holds at a path; None when there is none.

    A file of this name comes before shards of the name, and what the tree itself has before what a pointer speaks of.

    Args:
        snapshot: the moment.
        path: from the top; of a sharded model the name that its single file would have.
        named: more files (from the top) that the model is known to name.
        outputs: what its DVC pointers speak of, where that is shared with other snapshots.

    Raises:
        SourceError: git fails.
    """

    def wanted(file: str) -> bool:
        return belongs(file, path) or file in named

    found: dict[str, File] = {}
    pointers = [*_listed(snapshot, path, named, wanted, found)]
    if not any(model_key(file) == path for file in found):
        pointers += pointer_paths(path)
    folder: File | None = None
    for pointer in pointers:
        try:
            for item in _items(outputs or Outputs(snapshot, wanted), pointer, path, wanted):
                if item.is_directory:
                    folder = folder or File(item.label, None, item)
                else:
                    found.setdefault(item.label, File(item.label, None, item))
        except DvcTextError:
            if pointer == f"{path}.dvc":  # opening it says why
                found.setdefault(path, File(pointer, snapshot.tree.entry(pointer)))
    return _as_model(snapshot, path, found, folder)


def _as_model(snapshot: Snapshot, path: str, found: Mapping[str, File], folder: File | None) -> ModelRef | None:
    parts = sorted((file for name, file in found.items() if model_key(name) == path), key=_index_first)
    files = (found[path],) if path in found else tuple(parts)
    if not files:
        return ModelRef(snapshot, path, (folder,)) if folder is not None else None
    beside = tuple(found[name] for name in sorted(found) if model_key(name) != path)
    return ModelRef(snapshot, path, files, beside)


def _index_first(file: File) -> tuple[bool, str]:
    return (not is_index(file.path), file.path)


def _listed(
    snapshot: Snapshot, path: str, named: Collection[str], wanted: Callable[[str], bool], found: dict[str, File]
) -> Iterator[str]:
    """Put what the tree itself has of a model into ``found``; the pointers that may speak of the rest."""
    top = posixpath.dirname(path)
    beside = [posixpath.dirname(name) for name in named]
    folders = dict.fromkeys([top, *(posixpath.join(top, folder) for folder in folders_below(path)), *beside])
    for folder in folders:
        for name, entry in snapshot.tree.children(folder).items():
            file = posixpath.join(folder, name)
            if entry.is_directory:
                continue
            if wanted(file):
                found[file] = File(file, entry)
            elif name.endswith(".dvc") and is_pointer_name(name) and wanted(file.removesuffix(".dvc")):
                yield file


def _items(outputs: Outputs, pointer: str, path: str, wanted: Callable[[str], bool]) -> Iterator[DvcItem]:
    """What a pointer says of a model; a folder that holds it stands for itself where its list is not here."""
    for item in outputs.roots(pointer):
        if not item.is_directory:
            if wanted(item.label):
                yield item
        elif path.startswith(f"{item.label}/"):
            entries = entries_of(item)
            if entries is None:
                yield item
            for entry in entries or ():
                if wanted(posixpath.join(item.label, entry.relpath)):
                    yield entry_item(item, entry)


class Watched(Snapshot):
    """A moment that knows which of its files were asked for by name."""

    def __init__(self, tree: Tree, label: str = "") -> None:
        super().__init__(tree, label)
        self.asked = set[str]()

    def open(self, path: str, label: str = "") -> Opened:
        """See :class:`Snapshot`."""
        self.asked.add(path)
        return super().open(path, label)

    def others(self, path: str, named: Collection[str] = ()) -> set[str]:
        """What was asked for beyond the files that are known to be the model of a path."""
        return {file for file in self.asked if file not in named and not belongs(file, path)}


def named_by(snapshot: Snapshot, path: str) -> set[str]:
    """The files, from the top, that the model of a path names and that their own names do not give away."""
    watched = Watched(snapshot.tree, snapshot.label)
    model = model_at(watched, path)
    if model is None:
        return set()
    side = model.open(_LIMITS)
    if side.checkpoint is not None:
        side.checkpoint.close()
    return watched.others(path)


def owner_of(snapshot: Snapshot, path: str) -> str:
    """The model that a path means: that of which it is a shard or an index, or to which a file beside it belongs."""
    for glob in owners(path):
        folder = posixpath.dirname(path) if any(sign in glob for sign in "*?[") else posixpath.dirname(glob)
        for name in snapshot.tree.children(folder):
            other = posixpath.join(folder, name.removesuffix(".dvc"))
            if other != path and belongs(path, other):
                return other
    return model_key(path)


def models_of(snapshot: Snapshot) -> list[str]:
    """Every model of a snapshot by its name, those behind DVC pointers too, each once, in order; nothing is opened."""
    outputs, found = Outputs(snapshot, is_model_name), set[str]()
    for path in snapshot.tree.list():
        if not is_pointer_name(path):
            found.add(path)
            continue
        try:
            found |= {item.label for item in outputs.of(path)}
        except DvcTextError:
            found.add(path.removesuffix(".dvc"))
    beside = companions(found)
    return sorted({model_key(path) for path in found if is_model_name(path) and path not in beside})
