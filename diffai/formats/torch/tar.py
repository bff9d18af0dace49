"""The first container of torch (0.1.0 to 0.1.9): a tar with ``storages``, ``tensors`` and ``pickle``.

Layout as ``torch.serialization._legacy_load`` reads it.
"""

from __future__ import annotations

import struct

from diffai.errors import FormatError
from diffai.formats.base import Budget
from diffai.formats.regions import FileRegion, PartOf, Region, Spool, read
from diffai.formats.torch.constructors import dtype_of
from diffai.formats.torch.document import Document
from diffai.formats.torch.legacy import ALLOWED, run
from diffai.formats.torch.members import hashable
from diffai.formats.torch.objects import Storage, Tensor
from diffai.formats.torch.unpickler import Machine
from diffai.formats.zip_ends import ambiguous, ends_as_zip
from diffai.sources.base import Source

NAME = "torch tar"
_BLOCK = 512
_MEMBERS = ("storages", "tensors", "pickle")
_FIRST = ("sys_info", "pickle", "storages", "tensors")
MAX_MEMBERS = 64  # torch wrote four


def is_tar(head: bytes) -> bool:
    """Whether a tar starts here whose first member is one of torch's."""
    name = head[:100].rstrip(b"\0").removeprefix(b"./").decode("ascii", "replace")
    return len(head) >= _BLOCK and head[257:262] == b"ustar" and name in _FIRST


def open_tar(source: Source, budget: Budget, spool: Spool, document: Document) -> None:
    """Read the three pickled members."""
    document.format = NAME
    if ends_as_zip(source):
        raise ambiguous("a tar that ends as a zip", 0, NAME)
    members = _members(source)
    missing = [name for name in _MEMBERS if name not in members]
    if missing:
        raise FormatError(f"torch tar without member {missing[0]!r}", code="PT13", format=NAME)
    reader = _Reader(budget, spool, document)
    reader.storages(members["storages"])
    reader.tensors(members["tensors"])
    document.value = reader.value(members["pickle"])


def has_checksum(head: bytes) -> bool:
    """Whether a reader of tar, with or without its magic word, would take this for a tar's first header."""
    stated = _octal(head[148:156])
    return len(head) >= _BLOCK and stated > 0 and stated == sum(head[:148]) + 8 * 32 + sum(head[156:_BLOCK])


def _octal(field: bytes) -> int:
    digits = field.strip(b"\0 ")
    return int(digits, 8) if digits.isdigit() and not set(digits) & set(b"89") else -1


def _members(source: Source) -> dict[str, Region]:
    """All members by name, which must be plain files of plain names, each once, up to the blocks of zeros.

    Raises:
        FormatError: damaged, or of two meanings: readers differ in which of two equal names holds, in long names of
            later kinds of tar, and in names that begin with ``./``.

    """
    found: dict[str, Region] = {}
    at = 0
    while at + _BLOCK <= source.size:
        header = source.read(at, _BLOCK)
        if not header.strip(b"\0"):
            break
        name, size = header[:100].rstrip(b"\0").decode("ascii", "replace"), _octal(header[124:136])
        if size < 0 or at + _BLOCK + size > source.size or not has_checksum(header):
            raise FormatError(f"tar member {name[:100]!r} is cut off or damaged", code="PT13", offset=at, format=NAME)
        _check_meaning(name, header, at, found)
        found[name] = FileRegion(source, at + _BLOCK, size)
        at += _BLOCK + (size + _BLOCK - 1) // _BLOCK * _BLOCK
    return found


def _check_meaning(name: str, header: bytes, at: int, found: dict[str, Region]) -> None:
    kind, prefix = header[156:157], header[345:500].strip(b"\0")
    if kind not in (b"0", b"\0") or (prefix and header[257:262] == b"ustar"):
        what = f"a tar member {name[:100]!r} that is no plain file of a plain name"
    elif name in found:
        what = f"the tar has two members {name[:100]!r}"
    elif name not in _FIRST and name.rpartition("/")[2] in _MEMBERS:
        what = f"a tar member {name[:100]!r}, which unpacks to another's place"
    elif len(found) >= MAX_MEMBERS:
        what = f"the tar has more than {MAX_MEMBERS} members"
    else:
        return
    raise ambiguous(what, at, NAME)


class _Reader:
    """Objects by the number that the writer gave them."""

    def __init__(self, budget: Budget, spool: Spool, document: Document) -> None:
        self._budget = budget
        self._spool = spool
        self._document = document
        self._objects: dict[object, object] = {}

    def _next(self, region: Region, at: int) -> tuple[object, int]:
        machine = Machine(region, at, self._budget, ALLOWED, self._spool, self._persistent)
        return run(machine, self._document), machine.end

    def _count(self, region: Region) -> tuple[int, int]:
        count, at = self._next(region, 0)
        if type(count) is not int or not 0 <= count <= region.size:
            raise self._damage(region, at)
        return count, at

    def storages(self, region: Region) -> None:
        """Each: a pickle (key, location, type), int64 count, values; then a pickle of views."""
        count, at = self._count(region)
        for _ in range(count):
            facts, at = self._next(region, at)
            if not isinstance(facts, tuple) or len(facts) != 3 or region.size - at < 8:
                raise self._damage(region, at)
            dtype = dtype_of(facts[2])
            size = int.from_bytes(read(region, at, 8), "little", signed=True) * dtype.size
            if size < 0 or at + 8 + size > region.size:
                raise self._damage(region, at)
            storage = Storage(str(facts[0])[:40] if isinstance(facts[0], (int, str)) else "?", dtype, size)
            storage.region = PartOf(region, at + 8, size)
            self._objects[hashable(facts[0])] = storage
            at += 8 + size
        views, at = self._next(region, at)
        for view in views if isinstance(views, (list, tuple)) else ():
            self._view(region, at, view)

    def _view(self, region: Region, at: int, view: object) -> None:
        if not isinstance(view, tuple) or len(view) != 4:
            raise self._damage(region, at)
        target, root, offset, elements = view
        base = self._objects.get(hashable(root))
        if not isinstance(base, Storage) or type(offset) is not int or type(elements) is not int:
            raise self._damage(region, at)
        if min(offset, elements) < 0:
            raise self._damage(region, at)
        window = Storage(f"{base.key}[{offset}:]", base.dtype, elements * base.dtype.size)
        window.base, window.start = base, offset * base.dtype.size
        self._objects[hashable(target)] = window

    def tensors(self, region: Region) -> None:
        """Each: a pickle (key, storage key, type), dimensions, shape, strides, offset."""
        count, at = self._count(region)
        for _ in range(count):
            facts, at = self._next(region, at)
            if not isinstance(facts, tuple) or len(facts) != 3 or region.size - at < 8:
                raise self._damage(region, at)
            (dimensions,) = struct.unpack("<i", read(region, at, 4))
            at += 8
            if not 0 <= dimensions <= 64 or region.size - at < 16 * dimensions + 8:
                raise self._damage(region, at)
            numbers = struct.unpack(f"<{2 * dimensions + 1}q", read(region, at, 16 * dimensions + 8))
            at += 16 * dimensions + 8
            storage = self._objects.get(hashable(facts[1]))
            self._objects[hashable(facts[0])] = Tensor(
                storage, numbers[-1], numbers[:dimensions], numbers[dimensions:-1]
            )

    def value(self, region: Region) -> object:
        """The object itself."""
        return self._next(region, 0)[0]

    def _persistent(self, identifier: object) -> object:
        if isinstance(identifier, tuple):
            return identifier[0] if identifier else None
        try:
            key = int(identifier) if isinstance(identifier, (str, int)) else -1
            return self._objects[key]
        except (ValueError, KeyError) as error:
            raise FormatError("pickle refers to an object that is not in the file", code="PT07", format=NAME) from error

    def _damage(self, region: Region, at: int) -> FormatError:
        return FormatError("torch tar is damaged", code="PT13", offset=max(region.file_offset, 0) + at, format=NAME)
