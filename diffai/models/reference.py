"""A model reference: which files of a snapshot are one model, what names their content, and how it is opened."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from types import MappingProxyType

from diffai.errors import FormatError, SourceError
from diffai.formats.base import Limits
from diffai.frozen import frozen, replace
from diffai.model import Absent, State, Unreadable
from diffai.models.inputs import Input, as_input, unreadable
from diffai.models.names import is_index, is_shard, model_key, owners
from diffai.models.rule import HEAD_BYTES
from diffai.repository.trees import Entry
from diffai.snapshots.files import expect_source
from diffai.snapshots.snapshot import Snapshot
from diffai.sources.base import Source
from diffai.sources.directory import Directory, checked_name
from diffai.stores.dvc.items import HERE, DvcItem, Fetch, Found, Reach, Where, open_item
from diffai.stores.store import Opened, StoredObject
from diffai.stores.table import recognise

_OTHER_UNLISTED = "which of its files changed is not known: the other side's list of them is not here"


@frozen
class File:
    """One file of a snapshot, kept by git, by the disk, or by DVC.

    Attributes:
        path: from the top of the tree.
        entry: as the tree has it; None for what a DVC pointer speaks of.
        item: as DVC has it.
        content: what names its content better than git's object does, that of a pointer's text; "" where it is known
            that nothing does; None where nobody looked.

    """

    path: str
    entry: Entry | None = None
    item: DvcItem | None = None
    content: str | None = None

    @property
    def identity(self) -> str:
        """Equal identities mean equal content; "" where nothing names it."""
        if self.content is not None:
            return self.content
        if self.item is None:
            return f"git:{self.entry.oid}" if self.entry is not None and self.entry.oid else ""
        out = self.item.out
        if self.item.entry is not None:
            name = self.item.entry.md5 or self.item.entry.version
            return f"{'dos2unix' if out.legacy else 'md5'}:{name}" if name else ""
        return f"{'dos2unix' if out.legacy else out.key}:{out.value}" if out.value else ""

    @property
    def held_as(self) -> str:
        """What names the way in which it is kept, whether that names its content or not: equal for equal pointers."""
        return self.identity or (self.entry.oid if self.entry is not None else repr(self.item and self.item.out))

    @property
    def held_by(self) -> str:
        """The file that the tree itself has: this one, or the DVC pointer that speaks of it."""
        return self.item.pointer if self.item is not None else self.path

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder of DVC's whose list of files is not here, so that nothing is known of its files."""
        return self.item is not None and self.item.is_directory

    def find(self, snapshot: Snapshot, fetch: Fetch | None = None) -> Found:
        """Its bytes, or the state in which they are, and where DVC has them."""
        if self.item is not None:
            found = open_item(self.item, label=snapshot.name(self.path), fetch=fetch)
            if isinstance(found.opened, StoredObject):
                # A list of files says less than the moment does, and nothing of what git keeps beside it.
                known = fetch is None and not snapshot.tree.whole
                found.opened.lies_beside(lambda name: snapshot.sibling(self.path, name), always=known)
            return found
        if self.entry is not None and self.entry.oid and self.entry.is_file:
            return Found(snapshot.open_blob(self.entry.oid, self.path, snapshot.name(self.path)))
        return Found(snapshot.open(self.path))

    def open(self, snapshot: Snapshot) -> Opened:
        """Its bytes, or the state in which they are; nothing is brought from afar."""
        return self.find(snapshot).opened

    def is_here(self, snapshot: Snapshot) -> bool:
        """Whether its bytes can be read without bringing them."""
        if self.item is None:
            return True
        found = self.open(snapshot)
        found.close() if not isinstance(found, State) else None
        return not isinstance(found, State)

    def head(self, snapshot: Snapshot) -> tuple[bytes, int] | None:
        """The first bytes and the size, of the object behind a pointer; None when it is not here."""
        if self.item is None and self.entry is not None and not self.entry.is_link:
            found = snapshot.tree.head(self.entry, HEAD_BYTES)
            if found is None or recognise(*found, self.path) is None:
                return found
        try:
            opened = self.open(snapshot)
        except SourceError:
            return None
        if isinstance(opened, (State, Directory)):
            return None
        try:
            return opened.read(0, HEAD_BYTES), opened.size
        finally:
            opened.close()


@frozen
class ModelRef:
    """One model of a snapshot.

    Attributes:
        snapshot: the moment.
        path: what to call it; of a sharded model the name that its single file would have.
        files: all its files, in order: one, or an index and shards.
        companions: files beside a single file that hold values of it (external data), by their names; which of them
            it really names, opening it says.

    """

    snapshot: Snapshot
    path: str
    files: tuple[File, ...]
    companions: tuple[File, ...] = ()

    @property
    def sharded(self) -> bool:
        """Whether it is several files, or one that speaks of others."""
        return is_sharded(self.files)

    @property
    def identity(self) -> str:
        """Of all its files: equal identities mean equal content; "" where a file's is not known."""
        return identity_of(self.files, self.companions)

    @property
    def held_by(self) -> tuple[str, ...]:
        """The files of the tree that take part: its own, or the pointers that speak of them."""
        return tuple(dict.fromkeys(file.held_by for file in (*self.files, *self.companions)))

    def found(self, label: str) -> Opened:
        """Its bytes, its files, or the state in which it is, by the name that messages use.

        Raises:
            SourceError: it cannot be opened.
        """
        return Group(self, label) if self.sharded else self.files[0].open(self.snapshot)

    def open(self, limits: Limits = Limits(), reach: Reach = HERE) -> Input:
        """The model, or the state in which it is; never raises for what is wrong with it.

        Args:
            limits: of reading.
            reach: what may be brought that is not here; of what is brought for its header, only that is looked at.
        """
        label = self.snapshot.name(self.path)
        far = reach.fetch is not None and not all(file.is_here(self.snapshot) for file in self.files)
        header_only = far and reach.header_only
        limits = replace(limits, values=False) if header_only else limits
        try:
            folder = Group(self, label, reach.fetch if far else None)
            found = Found(folder) if self.sharded else self.files[0].find(self.snapshot, reach.fetch if far else None)
            if self.files[0].is_folder and isinstance(found.opened, Directory):
                return Input(label, state=Unreadable(_OTHER_UNLISTED))
            side = as_input(found.opened, limits, label=label)
        except (SourceError, FormatError) as error:
            return Input(label, state=unreadable(error))
        size = folder.bytes if self.sharded else side.size
        where: Where = "remote" if far and found.where in ("", "remote") else found.where
        return replace(side, size=size, where=where, header_only=header_only and side.checkpoint is not None)


def is_sharded(files: Sequence[File]) -> bool:
    """Whether the files of a model are several, or one that speaks of others."""
    return len(files) > 1 or model_key(files[0].path) != files[0].path


def identity_of(files: Sequence[File], companions: Sequence[File]) -> str:
    """The identity of the model that some files are; "" where that of one of them is not known."""
    if not companions and not is_sharded(files):
        return files[0].identity
    every = (*files, *companions)
    names = [f"{posixpath.basename(file.path)}={file.identity}" for file in every if file.identity]
    if len(names) < len(every):
        return ""
    from hashlib import blake2b

    return f"files:{blake2b(chr(0).join(names).encode('utf-8', 'surrogateescape'), digest_size=20).hexdigest()}"


class Group(Directory):
    """The files of one sharded model, whatever lies beside them."""

    path = ""

    def __init__(self, model: ModelRef, label: str, fetch: Fetch | None = None) -> None:
        self.label = label
        self._model, self._fetch = model, fetch
        self._files: Mapping[str, File] = {posixpath.basename(file.path): file for file in model.files}
        self._sizes: dict[str, int] = {}

    @property
    def bytes(self) -> int:
        """Bytes of the files that were opened; -1 before any was."""
        return sum(self._sizes.values()) if self._sizes else -1

    def names(self) -> tuple[str, ...]:
        """Names of the model's files, sorted."""
        return tuple(sorted(self._files))

    def open(self, name: str) -> Source:
        """One of them, or, where an index names another file, the one beside it."""
        file = self._files.get(checked_name(self.label, name))
        snapshot = self._model.snapshot
        if file is None:
            return snapshot.sibling(self._model.files[0].path, name)
        source = expect_source(file.find(snapshot, self._fetch).opened, snapshot.name(file.path))
        self._sizes[name] = source.size
        return source


def open_ref(model: ModelRef | None, limits: Limits = Limits(), reach: Reach = HERE) -> Input:
    """A side of a comparison; Absent where there is no model."""
    return Input("", state=Absent()) if model is None else model.open(limits, reach)


def group(
    snapshot: Snapshot, files: Iterable[File], named: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> dict[str, ModelRef]:
    """Files as models, by the name that each is paired by: shards and their index are one model.

    A single file beside shards of the same name is a model of its own, and keeps the name. ``named``: files that models
    name, which their own names do not tell, with these models.
    """
    by_path = {file.path: file for file in files}
    beside = companions(by_path, named)
    together: dict[str, list[File]] = {}
    for path, file in by_path.items():
        if path not in beside:
            together.setdefault(model_key(path), []).append(file)
    found: dict[str, ModelRef] = {}
    for key, members in together.items():
        alone = [file for file in members if file.path == key]
        parts = sorted((file for file in members if file.path != key), key=_index_first)
        if alone:
            held = _held(beside, by_path, alone)
            found[key] = ModelRef(snapshot, key, (alone[0],), held)
        if parts:
            name = parts[0].path if alone else key
            found[name] = ModelRef(snapshot, key if not alone else name, tuple(parts), _held(beside, by_path, parts))
    return found


def _held(beside: Mapping[str, list[str]], files: Mapping[str, File], parts: Sequence[File]) -> tuple[File, ...]:
    """The companions of some files."""
    own = {file.path for file in parts}
    return tuple(files[path] for path in sorted(beside) if not own.isdisjoint(beside[path]))


def companions(
    paths: Collection[str], named: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> dict[str, list[str]]:
    """Files that belong to models beside them, with these models, of which all are among ``paths``.

    They do by their names, or because the models are known to name them (``named``: file -> models).
    """
    found: dict[str, list[str]] = {path: [*models] for path, models in named.items() if path in paths}
    for path in paths:
        for glob in owners(path):
            if not {"*", "?", "["}.intersection(glob):
                models = [glob] if glob in paths else []
            else:
                models = [p for p in paths if p.count("/") == glob.count("/") and fnmatchcase(p, glob)]
            if models:
                found.setdefault(path, []).extend(models)
    return found


def _index_first(file: File) -> tuple[bool, str]:
    return (not is_index(file.path), file.path)


__all__ = ["File", "Group", "ModelRef", "group", "is_shard", "open_ref"]
