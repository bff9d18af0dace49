"""torch files older than 1.6: five pickles in a row, then the storages; and plain pickles.

Layout (``torch.serialization._legacy_save``): magic number, protocol 1001, system facts, the object, the list of
storage keys, then for each key an int64 element count and the raw little-endian values. Concatenated files and
other trailing bytes are ignored by ``torch.load``; here they are a problem that is said.
"""

from __future__ import annotations

import contextlib

from diffai.errors import FormatError, LimitError, SourceError
from diffai.formats.base import Budget
from diffai.formats.layout import DType
from diffai.formats.regions import FileRegion, LazyRegion, PartOf, Region, Spool, read
from diffai.formats.torch.calls import WRAPPERS
from diffai.formats.torch.constructors import CONSTRUCTORS, Args, dtype_of
from diffai.formats.torch.document import Document
from diffai.formats.torch.joblib_arrays import UNWRAPPED
from diffai.formats.torch.numpy_pickles import region_of
from diffai.formats.torch.objects import Storage, shown
from diffai.formats.torch.unpickler import WINDOW, GlobalUse, Machine
from diffai.formats.zip_ends import ambiguous, ends_as_zip
from diffai.model import Problem
from diffai.sources.base import Source

MAGIC = 0x1950A86A20F9469CFC6C
MAGIC_BYTES = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # behind the protocol byte pair
MAGIC_TEXT = b"L119547037146038801333356L\n."
PROTOCOL = 1001
NAME = "torch legacy"
_NEAR_WINDOW = 64 << 10
_SMALL_WINDOW = 4096
MAX_FOLLOWING = 1000


def is_legacy(head: bytes) -> bool:
    """Whether a file starts with torch's magic number, in any pickle protocol."""
    start = 2 if head[:1] == b"\x80" else 0
    if head[start : start + 1] == b"\x95":
        start += 9
    return head.startswith((MAGIC_BYTES, MAGIC_TEXT), start)


def open_legacy(source: Source, budget: Budget, spool: Spool, document: Document) -> None:
    """Read a legacy file's pickles and place its storages."""
    region = FileRegion(source, 0, source.size)
    document.format = NAME
    if budget.limits.values and ends_as_zip(source):
        raise ambiguous("a torch legacy file that ends as a zip", 0, NAME)
    reader = LegacyReader(region, budget, spool, document)
    document.value = reader.read(values=budget.limits.values)
    if budget.limits.values:
        judge_rest(region, reader.end, budget, spool, document, what="the last storage")


def open_pickle(source: Source, budget: Budget, spool: Spool, document: Document, start: int) -> None:
    """Read a bare pickle that was not written by torch.save; others that follow it are judged, not compared.

    Raises:
        FormatError: damaged, and nothing unsafe was met before; else the damage is one of the problems.

    """
    region = FileRegion(source, 0, source.size)
    document.format = "pickle"
    if ends_as_zip(source):
        raise ambiguous("a pickle that ends as a zip", start, document.format)
    machine = Machine(region, start, budget, _PLAIN, spool)
    machine.sibling = source.sibling
    try:
        document.value = run(machine, document)
    except LimitError:
        raise
    except FormatError as error:
        if not document.unsafe:
            raise
        document.problems.append(Problem(error.code, "error", error.reason, offset=error.offset))
        return
    document.siblings = tuple(machine.siblings)
    if any(machine.has_named(*name) for name in _JOBLIB):
        document.format = "joblib"
        if machine.unpadded >= 0:
            _refuse_two_readings(machine, start)
    judge_rest(region, machine.end, budget, spool, document, what="the pickle")


def _refuse_two_readings(machine: Machine, start: int) -> None:
    """A plain loader takes the values of joblib's first array for opcodes: they must do nothing there."""
    plain = Machine(machine.region, start, machine.budget, ALLOWED, machine.spool, lambda identifier: None)
    plain.window = _SMALL_WINDOW
    with contextlib.suppress(FormatError):
        plain.run()
    for key, use in plain.uses.items():
        if use.verdict == "unsafe" and use.use != "import" and (key not in machine.uses):
            name = shown(".".join(key))
            raise ambiguous(f"a joblib dump whose array is a pickle that calls {name}", use.offset, "joblib")


def judge_rest(region: Region, end: int, budget: Budget, spool: Spool, document: Document, *, what: str) -> None:
    """Judge the pickles that lie one behind another after ``end``, as a program may load them.

    What follows ``what`` (a pickle, a storage) is said; "" = ``end`` is where the first of them starts.
    """
    left, found = region.size - end, 0
    while end < region.size and found < MAX_FOLLOWING:
        machine = Machine(region, end, budget, ALLOWED, spool, lambda identifier: None)
        machine.window = _SMALL_WINDOW
        try:
            run(machine, document)
        except LimitError:
            raise
        except FormatError:
            break
        end, found = machine.end, found + 1
    if not left or not what:
        return
    text = f"{left:,} bytes follow {what}"
    if found:
        text += f": {found:,} more pickles, judged but not compared"
    if found == MAX_FOLLOWING:
        reason = f"more than {MAX_FOLLOWING:,} pickles follow one another; those after them are not judged"
        document.problems.append(Problem("PT20", "error", reason, offset=max(region.file_offset, 0) + end, use="walk"))
    at = max(region.file_offset, 0) + region.size - left
    document.problems.append(Problem("PT22", "warning", text, offset=at))


def run(machine: Machine, document: Document) -> object:
    """Run one pickle; what it names reaches the document even when it fails."""
    try:
        return machine.run()
    except FormatError as error:
        error.format = error.format or document.format
        document.note_danger(error, machine)
        raise
    finally:
        document.note_globals(machine)


def _load_from_bytes(outer: Machine, args: Args) -> object:
    """A whole legacy torch file inside the pickle: how plain pickle writes a storage.

    Raises:
        FormatError: the same inside it again, or no legacy file.

    """
    data = region_of(args[0])
    if data is None:
        raise ValueError
    if outer.nested:
        raise FormatError("pickle in a pickle in a pickle", code="PT11")
    document = Document(NAME)
    reader = LegacyReader(data, outer.budget, outer.spool, document, nested=True)
    try:
        return reader.read()
    finally:
        outer.uses.update(reader.uses)


ALLOWED = {**CONSTRUCTORS, "torch.storage._load_from_bytes": _load_from_bytes}
"""The allow-list of every pickle, with the one entry that reads a file."""

_PLAIN = {**ALLOWED, **UNWRAPPED}
_JOBLIB = tuple(
    (module, name) for module in ("joblib.numpy_pickle", "joblib.numpy_pickle_compat") for name in sorted(WRAPPERS)
)


class LegacyReader:
    """Reads one legacy file that fills a region; ``end`` is the offset behind its last storage."""

    def __init__(
        self, region: Region, budget: Budget, spool: Spool, document: Document, *, nested: bool = False
    ) -> None:
        self._region = region
        self._budget = budget
        self._spool = spool
        self._document = document
        self._nested = nested
        self._window = WINDOW
        self._storages: dict[str, Storage] = {}
        self.uses: dict[tuple[str, str], GlobalUse] = {}
        self.end = 0

    def read(self, *, values: bool = True) -> object:
        """The object, its storages placed; without ``values`` what comes behind the object is left alone."""
        self._window = WINDOW if values else _NEAR_WINDOW
        if self._next() != MAGIC:
            raise FormatError("does not start with torch's magic number", code="PT01", offset=0, format=NAME)
        version = self._next()
        if version != PROTOCOL:
            number = version if isinstance(version, int) else "of no number"
            raise FormatError(f"torch protocol {number} is unknown", code="PT13", offset=self.end, format=NAME)
        self._next()
        value = self._next()
        if not values:
            for storage in self._storages.values():
                storage.region = LazyRegion(storage.size, _no_values)
            return value
        keys = self._next()
        if not isinstance(keys, (list, tuple)):
            raise FormatError("list of storage keys is damaged", code="PT13", offset=self.end, format=NAME)
        for key in keys:
            self._place(key)
        self._finish()
        return value

    def _next(self) -> object:
        machine = Machine(self._region, self.end, self._budget, ALLOWED, self._spool, self._persistent)
        machine.nested, machine.window = self._nested, self._window
        try:
            value = run(machine, self._document)
        finally:
            self.uses.update(machine.uses)
        self.end = machine.end
        return value

    # -------------------------------------------------------------- storages

    def _persistent(self, identifier: object) -> object:
        if not isinstance(identifier, tuple) or not identifier:
            raise FormatError("pickle refers to something that is no storage", code="PT20", format=NAME)
        if identifier[0] == "module" and len(identifier) >= 2:
            return identifier[1]
        if identifier[0] != "storage" or len(identifier) < 5:
            raise FormatError("pickle refers to something that is no storage", code="PT20", format=NAME)
        _, kind, key, _, elements = identifier[:5]
        storage = self._storage(str(key) if isinstance(key, (str, int)) else "", kind, elements)
        view = identifier[5] if len(identifier) > 5 else None
        if not isinstance(view, tuple):
            return storage
        return _view(storage, view)

    def _storage(self, key: str, kind: object, elements: object) -> Storage:
        if not key or type(elements) is not int or elements < 0:
            raise FormatError("pickle refers to a storage without key or size", code="PT06", format=NAME)
        found = self._storages.get(key)
        if found is None:
            dtype: DType = dtype_of(kind)
            found = self._storages[key] = Storage(key, dtype, elements * dtype.size)
        return found

    def _place(self, key: object) -> None:
        """Find one storage's bytes: int64 count, then the values."""
        storage = self._storages.get(str(key)) if isinstance(key, (str, int)) else None
        if storage is None:
            raise FormatError("a storage follows that no tensor refers to, so its size is unknown", code="PT13",
                              offset=self.end, format=NAME)  # fmt: skip
        if self._region.size - self.end < 8:
            reason = f"file ends before storage {storage.key[:80]!r}"
            raise FormatError(reason, code="PT08", offset=self.end, format=NAME)
        count = int.from_bytes(read(self._region, self.end, 8), "little", signed=True)
        start, size = self.end + 8, count * storage.dtype.size
        if count < 0 or size < storage.size:
            needed = storage.size // storage.dtype.size
            reason = f"storage {storage.key[:80]!r} has {count:,} elements, {needed:,} are needed"
            raise FormatError(reason, code="PT08", offset=self.end, format=NAME)
        if start + size > self._region.size:
            raise FormatError(
                f"storage {storage.key[:80]!r} of {size:,} bytes is cut off after {self._region.size - start:,}",
                code="PT08", offset=start, format=NAME,
            )  # fmt: skip
        storage.region = PartOf(self._region, start, size)
        self.end = start + size

    def _finish(self) -> None:
        for storage in self._storages.values():
            if storage.region is None:
                storage.trouble = FormatError(f"storage {storage.key[:80]!r} is missing", code="PT07", format=NAME)


def _no_values() -> Region:
    raise SourceError("opened for its header alone, so its values cannot be read")


def _view(base: Storage, view: tuple[object, ...]) -> Storage:
    """A storage that is a window of another: ``(key, offset, elements)``."""
    if len(view) != 3 or type(view[1]) is not int or type(view[2]) is not int or view[1] < 0 or view[2] < 0:
        raise FormatError("view of a storage is damaged", code="PT06", format=NAME)
    item = base.dtype.size
    window = Storage(f"{base.key}[{view[1]}:]", base.dtype, view[2] * item)
    window.base, window.start = base, view[1] * item
    return window
