"""A torch zip or TorchScript archive: which members it has and what its pickles say."""

from __future__ import annotations

from diffai.errors import FormatError, LimitError
from diffai.formats.base import Limits
from diffai.formats.regions import LazyRegion, Region, Spool, read
from diffai.formats.torch.constructors import CONSTRUCTORS, dtype_of
from diffai.formats.torch.document import Document
from diffai.formats.torch.objects import Storage
from diffai.formats.torch.unpickler import Machine
from diffai.formats.torch.zip_container import NAME, Archive
from diffai.model import Problem
from diffai.sources.base import Source

_SMALL = 4096


def open_archive(source: Source, limits: Limits, spool: Spool, document: Document) -> None:
    """Parse the pickles of a torch zip into the document; no tensor bytes are read.

    Raises:
        FormatError: damaged, or a zip of another kind (PT15).

    """
    archive = Archive(source, limits.max_header, spool)
    top = _top(archive)
    reader = _Reader(archive, top, limits, spool)
    document.format = "torchscript" if f"{top}constants.pkl" in archive.members else NAME
    document.value = reader.pickle("data.pkl", "data", document)
    if document.format == "torchscript":
        document.constants = reader.pickle("constants.pkl", "constants", document)
        document.metadata.update(_code(archive, top))


def _top(archive: Archive) -> str:
    """The folder that everything lies in, with its slash; "" when the archive was re-packed without one."""
    tops = [name[: -len("data.pkl")] for name in archive.members if name == "data.pkl" or name.endswith("/data.pkl")]
    tops = [top for top in tops if top.count("/") <= 1]
    if len(tops) == 1:
        return tops[0]
    if tops:
        raise FormatError("zip file has several data.pkl", code="PT03", format=NAME)
    names = {name.partition("/")[2] for name in archive.members}
    for member, what in (
        ("model.json", "TorchScript archive of torch 1.0 to 1.3"),
        ("serialized_exported_program.json", "torch.export archive"),
        ("models/model.json", "torch.export archive"),
        (".data/extern_modules", "torch.package archive"),
    ):
        if member in names or member in archive.members:
            raise FormatError(f"{what}, which is not read", code="PT15", format=NAME)
    raise FormatError("zip file without data.pkl: no torch file", code="PT01", format=NAME)


class _Reader:
    """Runs pickles of one archive and gives them their storages."""

    def __init__(self, archive: Archive, top: str, limits: Limits, spool: Spool) -> None:
        self._archive = archive
        self._top = top
        self._limits = limits
        self._spool = spool
        self._storages: dict[tuple[str, str], Storage] = {}
        self._swap = self._small("byteorder") == b"big"

    def _small(self, name: str) -> bytes:
        member = self._archive.members.get(self._top + name)
        if member is None or member.size > _SMALL:
            return b""
        region = self._archive.open(member)
        return read(region, 0, region.size).strip()

    def pickle(self, name: str, folder: str, document: Document) -> object:
        """The object of one pickle; what it named is added to the document even when it fails."""
        region = self._pickle_region(name)
        machine = Machine(
            region, 0, self._limits.max_header, CONSTRUCTORS, self._spool, lambda ident: self._storage(ident, folder)
        )
        try:
            value = machine.run()
        except FormatError as error:
            error.format = error.format or document.format
            document.note_danger(error, machine)
            raise
        finally:
            document.note_globals(machine)
        if machine.end != region.size:
            document.problems.append(
                Problem(
                    "PT22", "warning", f"{region.size - machine.end:,} bytes follow the pickle in {name}",
                    offset=max(region.file_offset, 0) + machine.end,
                )
            )  # fmt: skip
        return value

    def _pickle_region(self, name: str) -> Region:
        region = self._archive.open(self._archive.members[self._top + name])
        if isinstance(region, LazyRegion) and region.size > self._limits.max_header:
            raise LimitError(
                f"{name} unpacks to {region.size:,} bytes (limit diffai.maxHeader)", code="PT12", format=NAME
            )
        return region

    def _storage(self, identifier: object, folder: str) -> object:
        """``('storage', type, key, location, elements)``."""
        if not isinstance(identifier, tuple) or len(identifier) < 5 or identifier[0] != "storage":
            raise FormatError("pickle refers to something that is no storage", code="PT06", format=NAME)
        _, kind, key, _, elements = identifier[:5]
        if not isinstance(key, str) or type(elements) is not int or elements < 0:
            raise FormatError("pickle refers to a storage without key or size", code="PT06", format=NAME)
        found = self._storages.get((folder, key))
        if found is None:
            dtype = dtype_of(kind)
            found = self._storages[folder, key] = Storage(f"{folder}/{key}", dtype, elements * dtype.size)
            self._bind(found)
        return found

    def _bind(self, storage: Storage) -> None:
        storage.swap = self._swap
        member = self._archive.members.get(self._top + storage.key)
        if member is None:
            storage.trouble = FormatError(f"storage {storage.key[:200]!r} is missing", code="PT07", format=NAME)
            return
        if member.size < storage.size:
            storage.trouble = FormatError(
                f"storage {storage.key[:200]!r} has {member.size:,} bytes, {storage.size:,} are needed",
                code="PT08", offset=member.header, format=NAME,
            )  # fmt: skip
            return
        try:
            storage.region = self._archive.open(member) if self._limits.values else self._archive.open_later(member)
        except FormatError as error:
            storage.trouble = error


def _code(archive: Archive, top: str) -> dict[str, str]:
    """One metadata entry that changes when the code of a TorchScript archive does."""
    import zlib

    prefix = f"{top}code/"
    names = sorted(n for n in archive.members if n.startswith(prefix) and not n.endswith(".debug_pkl"))
    crc = 0
    for name in names:
        member = archive.members[name]
        crc = zlib.crc32(f"{name[len(prefix) :]} {member.crc:08x} {member.size}\n".encode("utf-8", "replace"), crc)
    return {"code": f"{len(names)} files, crc32 {crc:08x}"} if names else {}
