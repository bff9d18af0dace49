"""Opens versions of models: every version read once, the open ones few."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from diffai.cache.store import Store
from diffai.comparison.codec import RecordedCheckpoint, decode_checkpoint, encode_checkpoint, record
from diffai.comparison.models import Input
from diffai.errors import FormatError, SourceError
from diffai.formats.base import Limits
from diffai.frozen import replace
from diffai.history.blobs import deltas
from diffai.history.finding import Finder
from diffai.history.model_path import ModelPath
from diffai.history.version import Step, Version, short
from diffai.history.walk import Range, list_commits
from diffai.history.work_files import WorkFiles
from diffai.model import Checkpoint, State
from diffai.models.at import Watched, names_files
from diffai.models.inputs import as_input, unreadable
from diffai.models.reference import ModelRef
from diffai.repository import objects
from diffai.repository.objects import reader_of
from diffai.repository.runner import Repository
from diffai.repository.trees import CommitTree
from diffai.sources.directory import Directory
from diffai.stores.store import Opened

_MOST_SNAPSHOTS = 16
_MOST_NAMING = 3  # a file that is named may itself name others
_MOST_HELD = 64.0  # megabytes of small versions
_MOST_HEADERS = 20_000  # tensors of all headers that are kept; a version is asked for when it is new and when it is old


class Versions:
    """Opens versions of models, and remembers their headers.

    Args:
        repository: where.
        limits: of reading.
        store: where headers are remembered.
    """

    def __init__(self, repository: Repository, limits: Limits, store: Store) -> None:
        self._repository, self._store = repository, store
        self.limits = limits
        self.finder = Finder(repository)
        self._open: dict[str, Input] = {}
        self._work_files = WorkFiles(repository)
        self._headers: dict[str, Input] = {}
        self._kept_tensors = 0
        self._asked: set[str] = set()
        self._known_deltas: frozenset[str] = frozenset()
        self._rooms: dict[str, float] = {}
        self._snapshots: dict[str, Watched] = {}
        self._coming: list[Version] = []

    def expect(self, versions: Iterable[Version | None]) -> None:
        """Say which versions will be opened, and in which order; git is asked for the small ones ahead of time.

        Nothing is asked before the first of them is opened: of what is remembered, none is.
        """
        self._coming = [version for version in versions if version is not None]

    def _announce(self) -> None:
        """Have the versions that come read ahead."""
        blobs = (oid for version in self._coming if self.is_small(version) for oid in self._in_git(version))
        sizes = {oid: self.finder.blob(oid).size for oid in blobs}
        self._coming = []
        reader_of(self._repository).announce(sizes, sizes)

    def named_by(self, versions: Iterable[Version | None]) -> frozenset[str]:
        """The files beside a model that some versions (newest first) name, and by whose names alone nobody would know.

        Formats that can give any name to them are asked in every version, others in the newest only.
        """
        found, seen = frozenset[str](), set[str]()
        for version in versions:
            if version is None:
                continue
            main = version.files[0].identity
            if not seen or (main not in seen and names_files(version.files[0].path)):
                found |= self.names_beside(version)
            seen.add(main)
        return found

    def names_beside(self, version: Version) -> frozenset[str]:
        """The files, from the top of the tree, that a version asks for and whose names do not tell that they are its.

        A header that is remembered asked for none.
        """
        self.header(version)
        return self._others(version)

    def header(self, version: Version) -> Input:
        """The version as far as its headers tell; they are remembered."""
        if version.content not in self._headers:
            found = self._header(version)
            if not version.content:
                return found
            tensors = _tensors_of(found)
            while self._headers and self._kept_tensors + tensors > _MOST_HEADERS:
                self._kept_tensors -= _tensors_of(self._headers.pop(next(iter(self._headers))))
            self._headers[version.content] = found
            self._kept_tensors += tensors
        return self._headers[version.content]

    def _header(self, version: Version) -> Input:
        key = version.named_content
        if key:
            kept = self._store.get("side", "header", *key)
            if kept is not None:
                try:
                    known = decode_checkpoint(kept)
                    return Input(version.label, known, size=known.size, identity=_identity(version, known))
                except ValueError:
                    pass
        if version.key in self._open:
            return self._recorded(version, self._open[version.key])
        if self.is_small(version):  # it is in memory whole by now, and its values are mostly wanted next
            self._make_room(self.room(version))
            return self._recorded(version, self.open(version, keep=False))
        opened = self._opened(version, keep=False)
        try:
            return self._recorded(version, opened)
        finally:
            close(opened)

    def _recorded(self, version: Version, opened: Input) -> Input:
        if opened.checkpoint is None:
            return opened
        size = version.size if version.size >= 0 else opened.size
        known: RecordedCheckpoint = record(opened.checkpoint, size)
        key = version.named_content
        if key and opened.identity and not known.lacking:  # what is not here may come
            self._store.put("side", "header", *key, value=encode_checkpoint(known))
        return Input(opened.label, known, size=size, identity=opened.identity)

    def open(self, version: Version, *, keep: bool) -> Input:
        """The version with its values; the caller does not close it.

        Args:
            version: which.
            keep: it will be read more than once: a blob is then copied to a private temporary file as it comes.
        """
        if version.key not in self._open:
            self._open[version.key] = self._opened(version, keep=keep and not self.is_small(version))
        return self._open[version.key]

    def _make_room(self, megabytes: float) -> None:
        """Let go of the small versions that were opened first, where there are many."""
        while self._open and self._held + megabytes > _MOST_HELD:
            self._close(next(iter(self._open)))

    @property
    def _held(self) -> float:
        return sum(self._rooms.get(key, 1.0) for key in self._open)

    def _close(self, key: str) -> None:
        close(self._open.pop(key))

    def is_small(self, version: Version) -> bool:
        """Whether it is read into memory whole, and in any order."""
        return version.holder in ("git", "sharded") and all(
            part.entry is not None
            and self.finder.held(part) == "git"
            and 0 <= self.finder.blob(part.entry.oid).size <= objects.SMALL
            for part in version.parts
        )

    def room(self, version: Version) -> float:
        """What it takes while it is open: files and git processes, or megabytes of memory."""
        if version.key not in self._rooms:
            sizes = [self.finder.blob(part.entry.oid).size for part in version.parts if part.entry is not None]
            self._rooms[version.key] = sum(sizes) / 1e6 if self.is_small(version) else len(version.parts)
        return self._rooms[version.key]

    def reads_forward(self, version: Version) -> bool:
        """Whether its values can be had from its first byte to its last without a copy of it.

        Not those of archives, whose directory stands at the end, nor blobs that git has as a delta of another one:
        these it builds whole in memory, so that they are to be read one at a time.
        """
        header = self.header(version).checkpoint
        if header is None:
            return False
        if version.holder == "link":
            return False
        if self.is_small(version):
            return True
        blobs = self._in_git(version)
        return not blobs or (header.format.startswith("safetensors") and not self._deltas(blobs))

    def streams(self, version: Version) -> bool:
        """Whether its values come out of git as a stream, and not out of a file or of memory."""
        return bool(self._in_git(version)) and not self.is_small(version)

    def _in_git(self, version: Version) -> list[str]:
        """The blobs that hold its bytes themselves."""
        if version.holder not in ("git", "sharded"):
            return []
        return [p.entry.oid for p in version.parts if p.entry is not None and self.finder.held(p) == "git"]

    def _deltas(self, blobs: Sequence[str]) -> frozenset[str]:
        """Those of some large blobs that git keeps as deltas; it is asked for each once."""
        fresh = {oid for oid in blobs if oid not in self._asked and self.finder.blob(oid).size > objects.SMALL}
        if fresh:
            self._asked |= fresh
            self._known_deltas |= deltas(self._repository, fresh)
        return self._known_deltas.intersection(blobs)

    def keep_only(self, versions: Iterable[Version | None]) -> None:
        """Close every open version but these."""
        kept = {version.key for version in versions if version is not None}
        for name in [name for name in self._open if name not in kept]:
            self._close(name)

    def close(self) -> None:
        """Close all."""
        self.keep_only(())

    def _opened(self, version: Version, *, keep: bool) -> Input:
        label = version.label
        try:
            found = self._bytes(version, label, whole=keep)
            if keep and not isinstance(found, (State, Directory)):
                from diffai.sources.spool import spool

                found = spool(found, self.limits.max_spool)
            opened = as_input(found, self.limits, label=label)
        except (SourceError, FormatError) as error:
            return Input(label, state=unreadable(error))
        size = version.size if version.size >= 0 else opened.size
        identity = _identity(version, opened.checkpoint, opened.identity)
        if self._others(version):  # its content does not name what lies in them
            identity = ""
        return Input(label, opened.checkpoint, opened.state, size, identity)

    def _bytes(self, version: Version, label: str, *, whole: bool) -> Opened:
        if self._coming:
            self._announce()
        if version.holder == "git" and whole:  # a header is read from the blob before a file of that size is hashed
            snapshot, path = self._snapshot(version.commit), version.files[0].path
            local = self._work_files.same(version.files[0], version.size, lambda name: snapshot.sibling(path, name))
            if local is not None:
                return local
        return ModelRef(self._snapshot(version.commit), version.path, version.files, version.companions).found(label)

    def _others(self, version: Version) -> frozenset[str]:
        """The files that opening a version asked for and that are not known to be it."""
        return frozenset(self._snapshot(version.commit).others(version.model.path, version.model.named))

    def _snapshot(self, commit: str) -> Watched:
        """The moment of a version. Few are kept, because each remembers the folders that it has listed."""
        found = self._snapshots.pop(commit, None)
        if found is None:
            found = Watched(CommitTree(self._repository, commit, short(commit)))
            if len(self._snapshots) >= _MOST_SNAPSHOTS:
                del self._snapshots[next(iter(self._snapshots))]
        self._snapshots[commit] = found
        return found


def _tensors_of(side: Input) -> int:
    return 1 + (len(side.checkpoint.tensors) if side.checkpoint is not None else 0)


def _identity(version: Version, checkpoint: Checkpoint | None, otherwise: str = "") -> str:
    """What names all of a version: its content, which says nothing of values in files that are not here."""
    if checkpoint is not None and checkpoint.lacking:
        return ""
    return version.content or otherwise


def close(side: Input) -> None:
    """Close the checkpoint of a side that has one."""
    if side.checkpoint is not None:
        side.checkpoint.close()


def steps_of(
    repository: Repository, versions: Versions, model: ModelPath, chosen: Range, *, joined: bool = False
) -> tuple[ModelPath, list[Step]]:
    """The commits that touched a model under one path, newest first, and the model with the files that it names.

    Args:
        repository: where.
        versions: of the model.
        model: which.
        chosen: which commits.
        joined: the commits make one graph (see :func:`diffai.history.walk.list_commits`); else those that changed
            nothing of the model are left out.
    """
    steps: list[Step] = []
    for _ in range(_MOST_NAMING):
        logged = list_commits(repository, chosen, model.pathspecs(), joined=joined)
        if joined:
            steps = versions.finder.sides(model, logged)
        else:
            steps = versions.finder.steps(model, logged, first_parent=chosen.first_parent)
        named = versions.named_by(step.new for step in steps)
        if named <= model.named:
            break
        model = replace(model, named=model.named | named)
    return model, steps
