"""A torch zip or TorchScript archive: which members it has and what its pickles say."""

from __future__ import annotations

from diffai.errors import FormatError, LimitError
from diffai.formats.base import Budget
from diffai.formats.regions import LazyRegion, Region, Spool
from diffai.formats.regions import read as read_region
from diffai.formats.torch.attachments import describe_attachments
from diffai.formats.torch.constructors import dtype_of
from diffai.formats.torch.document import Document
from diffai.formats.torch.legacy import ALLOWED, judge_rest
from diffai.formats.torch.objects import Storage, shown
from diffai.formats.torch.recognition import HEAD, pickle_start
from diffai.formats.torch.unpickler import Machine
from diffai.formats.zip import Archive
from diffai.formats.zip_ends import ambiguous
from diffai.formats.zip_members import Codes
from diffai.model import Problem
from diffai.sources.base import Source

NAME = "torch zip"
CODES = Codes("PT02", "PT03", "PT04", "PT14")


def open_archive(source: Source, budget: Budget, spool: Spool, document: Document) -> None:
    """Parse the pickles of a torch zip into the document; no tensor bytes are read.

    Raises:
        FormatError: damaged, ambiguous, or a zip of another kind (PT15).

    """
    archive = Archive(source, budget, spool, format=NAME, codes=CODES)
    top = _top(archive)
    if budget.limits.values:
        archive.verify()
    reader = _Reader(archive, top, budget, spool)
    document.format = "torchscript" if f"{top}constants.pkl" in archive.members else NAME
    document.value = reader.pickle("data.pkl", "data", document)
    if document.format == "torchscript":
        document.constants = reader.pickle("constants.pkl", "constants", document)
    describe_attachments(archive, top, document, budget.limits.max_header)
    if budget.limits.values:
        reader.judge_others(document)
    elif archive.unchecked:
        text = f"{archive.unchecked:,} of {len(archive.members):,} members were not checked for a second meaning"
        document.problems.append(Problem("AMB02", "warning", text))


def _top(archive: Archive) -> str:
    """The folder that everything lies in, with its slash; "" when the archive was re-packed without one."""
    tops = [name[: -len("data.pkl")] for name in archive.members if name == "data.pkl" or name.endswith("/data.pkl")]
    tops = [top for top in tops if top.count("/") <= 1]
    if len(tops) == 1:
        top, first = tops[0], next(iter(archive.members)).partition("/")[0]
        if top and top != f"{first}/":
            raise ambiguous(f"the zip has its data.pkl in {top[:80]!r}, but begins with {first[:80]!r}", 0, NAME)
        return top
    if tops:
        raise ambiguous("the zip has several data.pkl", 0, NAME)
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

    def __init__(self, archive: Archive, top: str, budget: Budget, spool: Spool) -> None:
        self._archive = archive
        self._top = top
        self._budget = budget
        self._spool = spool
        self._storages: dict[tuple[str, str], Storage] = {}
        self._swap = self._byteorder() == b"big"

    def _byteorder(self) -> bytes:
        member = self._archive.find(f"{self._top}byteorder")
        if member is None:
            return b"little"
        region = self._archive.open(member)
        order = read_region(region, 0, min(region.size, 16))
        if order not in (b"little", b"big"):
            reason = f"byte order {shown(order.decode('latin-1'))} is unknown"
            raise FormatError(reason, code="PT06", offset=member.header, format=NAME)
        return order

    def pickle(self, name: str, folder: str, document: Document) -> object:
        """The object of one pickle; what it named is added to the document even when it fails."""
        region = self._pickle_region(name)
        machine = Machine(
            region, 0, self._budget, ALLOWED, self._spool, lambda ident: self._storage(ident, folder)
        )
        machine.script = document.format == "torchscript"
        try:
            value = machine.run()
        except FormatError as error:
            error.format = error.format or document.format
            document.note_danger(error, machine)
            raise
        finally:
            document.note_globals(machine)
        judge_rest(region, machine.end, self._budget, self._spool, document, what=f"the pickle in {name}")
        return value

    def judge_others(self, document: Document) -> None:
        """Judge every other member that a pickle loader would accept: whoever unpacks the archive may load it."""
        read = {f"{self._top}data.pkl", f"{self._top}constants.pkl"}
        read.update(f"{self._top}{storage.key}" for storage in self._storages.values())
        for name, member in self._archive.members.items():
            if name in read or name.startswith(f"{self._top}code/") or not member.size:
                continue
            region = self._archive.open(member)
            if isinstance(region, LazyRegion):
                self._budget.make(region.size)
            head = read_region(region, 0, min(region.size, HEAD))
            start = pickle_start(head, region.size, named=False)
            if start >= 0:
                judge_rest(region, start, self._budget, self._spool, document, what="")

    def _pickle_region(self, name: str) -> Region:
        member = self._archive.find(self._top + name)
        if member is None:
            raise FormatError(f"zip file without {name}", code="PT01", format=NAME)
        region = self._archive.open(member)
        if isinstance(region, LazyRegion) and region.size > self._budget.limits.max_header:
            raise LimitError(
                f"{name} unpacks to {region.size:,} bytes (limit diffai.maxHeader)", code="PT12", format=NAME
            )
        return region

    def _storage(self, identifier: object, folder: str) -> object:
        """``('storage', type, key, location, elements)``."""
        if not isinstance(identifier, tuple) or len(identifier) < 5 or identifier[0] != "storage":
            raise FormatError("pickle refers to something that is no storage", code="PT20", format=NAME)
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
        member = self._archive.find(self._top + storage.key)
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
            later = not self._budget.limits.values
            storage.region = self._archive.open_later(member) if later else self._archive.open(member)
        except FormatError as error:
            storage.trouble = error
