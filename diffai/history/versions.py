"""What holds a model at a commit, from there to an opened checkpoint: every version read once, the open ones few."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

from diffai.cache.store import Store
from diffai.comparison.codec import RecordedCheckpoint, decode_checkpoint, encode_checkpoint, record
from diffai.comparison.models import Input
from diffai.errors import FormatError, SourceError
from diffai.formats.base import Limits
from diffai.history.blobs import Blob, deltas, look_at, parse_tree, read_objects
from diffai.history.model_path import ModelPath, entries_at
from diffai.history.version import Holder, Part, Step, Version, from_touches, is_dvc, is_sharded, same, touches
from diffai.history.walk import Logged
from diffai.history.work_files import WorkFiles
from diffai.model import Checkpoint, NotPulled, State
from diffai.models.inputs import as_input, unreadable
from diffai.repository import objects
from diffai.repository.runner import Repository
from diffai.sources.directory import Directory
from diffai.stores.annex import AnnexText
from diffai.stores.lfs import LfsText
from diffai.stores.table import recognise

if TYPE_CHECKING:
    from diffai.sources.base import Source
    from diffai.stores.dvc.tracked import DvcHistory
    from diffai.stores.store import Opened

_LINK = "120000"
_MOST_HELD = 64.0  # megabytes of small versions
_MOST_HEADERS = 20_000  # tensors of all headers that are kept; a version is asked for when it is new and when it is old


class Versions:
    """Finds and opens versions of models.

    Args:
        repository: where.
        limits: of reading.
        store: where headers are remembered.
    """

    def __init__(self, repository: Repository, limits: Limits, store: Store) -> None:
        self._repository, self._store = repository, store
        self.limits = limits
        self._open: dict[str, Input] = {}
        self._blobs: dict[str, Blob] = {}
        self._work_files = WorkFiles(repository)
        self._headers: dict[str, Input] = {}
        self._kept_tensors = 0
        self._unasked: set[str] = set()
        self._known_deltas: frozenset[str] = frozenset()
        self._rooms: dict[str, float] = {}
        self._dvc: DvcHistory | None = None

    # ------------------------------------------------------------ finding

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
        if any(is_sharded(model, touch) for each in logged for touch in each.touches):
            pairs = self._from_trees(model, logged)
        else:
            pairs = [from_touches(model, each.touches) for each in logged]
        self._look_at(part for pair in pairs for side in pair for part in side)
        return [
            Step(
                each,
                self._version(model, f"{each.commit.hash}^1", old),
                self._version(model, each.commit.hash, new),
            )
            for each, (old, new) in zip(logged, pairs, strict=True)
        ]

    def at(self, model: ModelPath, commits: Sequence[str]) -> list[Version | None]:
        """What some commits (or trees) hold."""
        sides = self._trees(model, [f"{commit}:" for commit in commits])
        self._look_at(part for side in sides for part in side)
        return [self._version(model, commit, parts) for commit, parts in zip(commits, sides, strict=True)]

    def _from_trees(
        self, model: ModelPath, logged: Sequence[Logged]
    ) -> list[tuple[tuple[Part, ...], tuple[Part, ...]]]:
        """Sides out of whole folders, because a commit tells only which shards it touched."""
        names = [f"{each.commit.hash}{up}:" for each in logged for up in ("^1", "")]
        found = self._trees(model, names)
        return list(zip(found[::2], found[1::2], strict=True))

    def _trees(self, model: ModelPath, names: Sequence[str]) -> list[tuple[Part, ...]]:
        """The model's parts in each tree (``COMMIT:``); none where the commit or the folder is not there."""
        raw = read_objects(self._repository, [name + model.folder for name in names])
        sides = []
        for name, data in zip(names, raw, strict=True):
            width = len(name.partition("^")[0].rstrip(":")) // 2
            entries = parse_tree(data, width) if data is not None else {}

            def part(path: str, entries=entries) -> list[Part]:  # type: ignore[no-untyped-def]
                entry = entries.get(posixpath.basename(path)) if path else None
                return [Part(path, entry.mode, entry.oid)] if entry is not None and entry.mode != "040000" else []

            shards = [p for n in entries_at(entries, model) for p in part(posixpath.join(model.folder, n))]
            index = part(model.index)
            lock = part(posixpath.join(model.folder, "dvc.lock"))
            sides.append(tuple(part(model.path) or (index + shards) or part(model.dvc) or lock))
        return sides

    def _look_at(self, parts: Iterable[Part]) -> None:
        parts = [part for part in parts if part.oid not in self._blobs]
        texts = [part.oid for part in parts if is_dvc(part.path)]
        found = look_at(self._repository, [part.oid for part in parts], texts)
        self._blobs |= found
        self._unasked |= {oid for oid, blob in found.items() if blob.size > objects.SMALL}

    # ------------------------------------------------------------ naming

    def _version(self, model: ModelPath, commit: str, parts: tuple[Part, ...]) -> Version | None:
        """What some files of a tree are together; None when they do not hold the model."""
        commit = commit.rstrip(":")
        if not parts:
            return None
        if is_dvc(parts[0].path):
            return self._dvc_version(model, commit, parts)
        if len(parts) == 1 and parts[0].path == model.path:
            part = parts[0]
            holder, content, size = self._content(part)
            return Version(commit, part.path, holder, content, size, parts, model)
        known = [self._content(part) for part in parts]
        digest = blake2b(digest_size=20)
        for part, (_, content, _) in zip(parts, known, strict=True):
            digest.update(f"{posixpath.basename(part.path)}\0{content}\0".encode("utf-8", "surrogateescape"))
        size = sum(size for _, _, size in known) if all(size >= 0 for _, _, size in known) else -1
        content = f"shards:{digest.hexdigest()}" if all(content for _, content, _ in known) else ""
        return Version(commit, parts[0].path, "sharded", content, size, parts, model)

    def _content(self, part: Part) -> tuple[Holder, str, int]:
        """Holder, content name and size of one file of a tree."""
        blob = self._blobs[part.oid]
        pointer = recognise(blob.text, blob.size, posixpath.basename(part.path)) if blob.text else None
        if isinstance(pointer, LfsText):
            return "git-lfs", f"sha256:{pointer.oid}", pointer.size
        if isinstance(pointer, AnnexText):
            # Only keys that are made of the content name it.
            named = pointer.key.startswith(("SHA", "MD5", "BLAKE", "SKEIN"))
            return "git-annex", f"annex:{pointer.key}" if named else "", pointer.size
        if part.mode == _LINK:
            return "link", "", -1
        return "git", f"git:{part.oid}", blob.size

    def _dvc_version(self, model: ModelPath, commit: str, parts: tuple[Part, ...]) -> Version | None:
        """The output of a DVC pointer that is this model, or a folder around it."""
        from diffai.stores.dvc.pointers import DvcTextError, inside, parse_dvc_file

        for part in parts:
            try:
                parsed = parse_dvc_file(self._blobs[part.oid].text, posixpath.basename(part.path))
            except DvcTextError:
                if part.path == model.dvc:
                    return Version(commit, model.path, "dvc", "", -1, (part,), model)
                continue
            folder = posixpath.join(posixpath.dirname(part.path), parsed.wdir)
            for out in parsed.outs:
                try:
                    path = inside(folder, out.path)
                except DvcTextError:
                    continue
                below = model.path.removeprefix(path + "/") if out.is_directory else ""
                if path == model.path or (below and below != model.path):
                    content = f"dvc:{out.key}:{out.value}:{below}" if out.value else ""
                    size = -1 if below else out.size
                    return Version(commit, model.path, "dvc", content, size, (part,), model)
        return None

    # ------------------------------------------------------------ opening

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
        key = self._key(version)
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
        key = self._key(version)
        if key and not known.lacking:  # what is not here may come
            self._store.put("side", "header", *key, value=encode_checkpoint(known))
        return Input(opened.label, known, size=size, identity=_identity(version, known))

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
            0 <= self._blobs[part.oid].size <= objects.SMALL and self._content(part)[0] == "git"
            for part in version.parts
        )

    def room(self, version: Version) -> float:
        """What it takes while it is open: files and git processes, or megabytes of memory."""
        if version.key not in self._rooms:
            small = self.is_small(version)
            megabytes = sum(self._blobs[part.oid].size for part in version.parts) / 1e6 if small else 0.0
            self._rooms[version.key] = megabytes if small else max(1, len(version.parts))
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
        return not blobs or (header.format.startswith("safetensors") and not self._deltas().intersection(blobs))

    def streams(self, version: Version) -> bool:
        """Whether its values come out of git as a stream, and not out of a file or of memory."""
        return bool(self._in_git(version)) and not self.is_small(version)

    def _in_git(self, version: Version) -> list[str]:
        """The blobs that hold its bytes themselves."""
        if version.holder not in ("git", "sharded"):
            return []
        return [part.oid for part in version.parts if self._content(part)[0] == "git"]

    def _deltas(self) -> frozenset[str]:
        """The large blobs seen so far that git keeps as deltas."""
        if self._unasked:
            self._known_deltas |= deltas(self._repository, self._unasked)
            self._unasked = set()
        return self._known_deltas

    def keep_only(self, versions: Iterable[Version | None]) -> None:
        """Close every open version but these."""
        kept = {version.key for version in versions if version is not None}
        for name in [name for name in self._open if name not in kept]:
            self._close(name)

    def close(self) -> None:
        """Close all."""
        self.keep_only(())
        if self._dvc is not None:
            self._dvc.close()

    def _key(self, version: Version) -> tuple[str, ...]:
        return version.named_content

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
        return Input(label, opened.checkpoint, opened.state, size, identity)

    def _bytes(self, version: Version, label: str, *, whole: bool) -> Opened:
        if version.holder == "dvc":
            return self._tracked(version, label)
        from diffai.snapshots.resolve import open_blob, resolve_at

        part = version.parts[0]
        if version.holder == "sharded":
            folder = resolve_at(self._repository.directory, version.commit, version.model.folder)
            assert isinstance(folder, Directory)
            return _Shards(folder, tuple(posixpath.basename(p.path) for p in version.parts))
        if part.mode == _LINK:
            return resolve_at(self._repository.directory, version.commit, version.path)
        if version.holder == "git" and whole:  # a header is read from the blob before a file of that size is hashed
            local = self._work_files.same(part, version.size)
            if local is not None:
                return local
        return open_blob(self._repository.directory, part.oid, part.path, label=label, revision=version.commit)

    def _tracked(self, version: Version, label: str) -> Opened:
        """The object behind a DVC pointer; one git process answers for all versions."""
        from diffai.stores.dvc.tracked import DvcHistory

        self._dvc = self._dvc or DvcHistory(self._repository.directory)
        tracked = self._dvc.find(version.commit, version.path)
        found = self._dvc.open(tracked, version.commit, label=label) if tracked is not None else None
        return found.opened if found is not None else NotPulled(f"{version.path} (tracked by DVC)", version.size)


class _Shards(Directory):
    """The files of one sharded model in a folder that may hold more."""

    def __init__(self, folder: Directory, names: tuple[str, ...]) -> None:
        self._folder, self._names = folder, names
        self.label, self.path = folder.label, ""

    def names(self) -> tuple[str, ...]:
        """The index and the shards."""
        return self._names

    def open(self, name: str) -> Source:
        """One of them, or what the index asks for beside it."""
        return self._folder.open(name)


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
