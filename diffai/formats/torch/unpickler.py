"""A pickle machine that makes only plain data and inert objects; it imports, looks up and calls nothing.

Every opcode of protocols 0 to 5 is interpreted here. A global is a name; calling a name either runs one of
our own constructors (the allow-list in ``constructors``) or makes a :class:`Stub`. Nothing recurses, so depth
costs memory only; bytes, opcodes and text lengths are bounded. Semantics follow CPython's ``pickletools``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from diffai.errors import FormatError, LimitError
from diffai.formats.base import Budget
from diffai.formats.regions import PartOf, Region, Spool, read
from diffai.formats.torch import danger
from diffai.formats.torch.objects import Global, Stub, shown
from diffai.formats.torch.opcodes import TABLE, Stop
from diffai.sources.base import Source

WINDOW = 1 << 20
MARGIN = 16  # the longest opcode of fixed length takes 9 bytes

Constructor = Callable[["Machine", tuple[object, ...]], object]
_DAMAGE = (RecursionError, IndexError, KeyError, ValueError, TypeError, OverflowError, struct.error, AttributeError)


class GlobalUse:
    """Where a global that is not safe was named first, the verdict on it, and the worst that is done with it."""

    __slots__ = ("offset", "use", "verdict")

    def __init__(self, verdict: danger.Verdict, use: danger.Use, offset: int) -> None:
        self.verdict = verdict
        self.use = use
        self.offset = offset


class Machine:
    """Interprets one pickle that starts at ``start`` of ``region``.

    Args:
        region: bytes that hold the pickle, perhaps followed by other things.
        start: where it starts.
        budget: what may be parsed (``max_header``; large byte strings are skipped and do not count), how many opcodes.
        constructors: the allow-list, by full name.
        persistent: gives meaning to persistent ids (torch: storages).
        spool: where decoded byte strings go.

    Attributes:
        end: offset behind the STOP opcode, after :meth:`run`.
        wanted: after a failure, the offset in the region up to which bytes were missing; 0 when none were.
        nested: this pickle lies in a byte string of another one.
        script: this pickle is TorchScript's, whose types below ``__torch__`` are no Python.
        sibling: opens a file beside the one that is read, where old joblib keeps arrays; None = there is none.
        siblings: the names of those that were read.
        unpadded: where the first array stands whose bytes a plain loader would take for opcodes; -1 = none does.
        uses: globals that are not safe, by (module, name), in the order they were met.
        dict_attributes: attributes that were set on dictionaries (``_metadata`` of a state dict).

    """

    def __init__(
        self,
        region: Region,
        start: int,
        budget: Budget,
        constructors: dict[str, Constructor],
        spool: Spool,
        persistent: Callable[[object], object] | None = None,
    ) -> None:
        self.region = region
        self.spool = spool
        self.end = start
        self.uses: dict[tuple[str, str], GlobalUse] = {}
        self.dict_attributes: list[object] = []
        self.budget = budget
        self._max_bytes = budget.limits.max_header
        self.wanted = 0
        self.nested = False
        self.sibling: Callable[[str], Source] | None = None
        self.siblings: list[str] = []
        self.unpadded = -1
        self.script = False
        self.window = WINDOW
        self.constructors = constructors
        self.persistent = persistent
        self.stack: list[object] = []
        self.marks: list[list[object]] = []
        self.memo: dict[int, object] = {}
        self._globals: dict[tuple[str, str], Global] = {}
        self.buf = b""
        self._base = start
        self.pos = 0
        self._low = -1
        self._parsed = 0

    # -------------------------------------------------------------- bytes

    def where(self) -> int:
        """Offset of the next byte: in the file where the pickle lies there raw, else in the pickle."""
        return max(self.region.file_offset, 0) + self._base + self.pos

    def _refill(self) -> None:
        self._base += self.pos
        self._count(self.pos)
        self.pos = 0
        left = self.region.size - self._base
        take = min(self.window, left)
        self.buf = read(self.region, self._base, take) if take > 0 else b""
        self._low = take - MARGIN if left > take else 1 << 62

    def _count(self, more: int) -> None:
        self._parsed += more
        if self._parsed > self._max_bytes:
            reason = f"pickle is longer than {self._max_bytes:,} bytes (limit diffai.maxHeader)"
            raise LimitError(reason, code="PT12", offset=self.where())

    def _jump(self, target: int) -> None:
        """Continue at ``target`` of the region, which lies ahead."""
        self._base, self.pos, self.buf, self._low = target, 0, b"", -1

    def take(self, count: int) -> bytes:
        """The next bytes of the stream; the caller bounds ``count``."""
        end = self.pos + count
        if end <= len(self.buf):
            data = self.buf[self.pos : end]
            self.pos = end
            return data
        start = self._base + self.pos
        self._need(start, count)
        self._count(self.pos + count)
        data = read(self.region, start, count)
        self._jump(start + count)
        return data

    @property
    def at(self) -> int:
        """Offset of the next byte in the region."""
        return self._base + self.pos

    def go_on(self, at: int) -> None:
        """Continue behind something that was read otherwise."""
        self._jump(at)

    def skip(self, count: int) -> PartOf:
        """Leave the next bytes where they lie."""
        start = self._base + self.pos
        self._need(start, count)
        if self.pos + count <= len(self.buf):
            self.pos += count
        else:
            self._count(self.pos)
            self._jump(start + count)
        return PartOf(self.region, start, count)

    def _need(self, start: int, count: int) -> None:
        if start + count > self.region.size:
            self.wanted = start + count
            raise FormatError(
                f"pickle ends early: {count:,} bytes wanted, {self.region.size - start:,} left", code="PT05",
                offset=self.where(),
            )  # fmt: skip

    def line(self) -> bytes:
        """Bytes up to the next newline, which is passed over."""
        end = self.buf.find(b"\n", self.pos)
        if end < 0:
            self._refill()
            end = self.buf.find(b"\n")
            if end < 0:
                self.wanted = self.region.size + 1 if self._base + self.window >= self.region.size else 0
                raise FormatError("pickle has a line of text without an end", code="PT05", offset=self.where())
        line = self.buf[self.pos : end]
        self.pos = end + 1
        return line

    # -------------------------------------------------------------- running

    def run(self) -> object:
        """Interpret up to STOP and return the object.

        Raises:
            FormatError: damaged or truncated (PT05), a constructor that got nonsense (PT06).
            LimitError: too long.

        """
        table, step = TABLE, 0
        try:
            for step in range(self.budget.limits.max_steps - self.budget.steps):  # noqa: B007 - counted in ``finally``
                if self.pos >= self._low:
                    self._refill()
                at = self.pos
                self.pos = at + 1
                table[self.buf[at]](self)
        except Stop:
            self.end = self._base + self.pos
            return self.stack.pop()
        except _DAMAGE as error:
            raise FormatError(self._complaint(error), code="PT05", offset=self.where()) from error
        finally:
            self.budget.steps += step + 1
        self.budget.step()  # which is one too many, and says so
        raise AssertionError

    def _complaint(self, error: Exception) -> str:
        if self._base + self.pos > self.region.size:
            self.wanted = self.region.size + 1
            return "pickle ends before its STOP opcode"
        return f"pickle is damaged ({type(error).__name__} at or before this byte)"

    def call(self, function: object, args: object, how: danger.Operation = "reduce") -> object:
        """What calling ``function`` (or making an instance of it) gives: our constructor's result, or a Stub."""
        if type(args) is not tuple:
            raise FormatError("pickle calls a global with something that is no tuple", code="PT05", offset=self.where())
        if type(function) is Stub:
            self.walk(function.of)
            return Stub(function.of, (function, *args))
        if type(function) is not Global:
            raise FormatError("pickle calls something that is no global", code="PT05", offset=self.where())
        if (function.module, function.name) in self.uses:
            self.judge(function, how, len(args))
        constructor = self.constructors.get(function.full)
        if constructor is None:
            self.budget.value(2)  # an object takes the room of several plain values
            return Stub(function, args)
        try:
            return constructor(self, args)
        except _DAMAGE as error:
            reason = f"{shown(function.full)} has arguments that make no sense"
            raise FormatError(reason, code="PT06", offset=self.where()) from error
        except FormatError as error:
            if error.offset < 0:
                error.offset = self.where()
            raise

    def find(self, module: str, name: str) -> Global:
        """The one Global of that name; unknown and dangerous ones are remembered."""
        found = self._globals.get((module, name))
        if found is None:
            module_now = _RENAMED.get(module, module)
            if module_now.startswith("numpy.core."):
                module_now = "numpy._core." + module_now[11:]
            found = self._globals[module, name] = Global(module_now, name)
            if self.script and module_now.startswith("__torch__"):
                return found  # a type that the archive's own TorchScript code defines; Python never sees it
            verdict = danger.of_name(module_now, name)
            if verdict != "safe" and (module_now, name) not in self.uses:
                use: danger.Use = "walk" if "." in name and verdict == "unsafe" else "import"
                self.uses[module_now, name] = GlobalUse(verdict, use, self.where())
        return found

    def judge(self, function: Global, how: danger.Operation, arguments: int = 0) -> None:
        """Remember that this is done with a global."""
        use = self.uses.get((function.module, function.name))
        if use is None:
            return
        if use.use == "import":
            use.use = "construct"
        if use.verdict == "class":
            use.verdict = danger.of_operation(function.module, function.name, how, arguments)

    def walk(self, function: Global) -> None:
        """Remember that a name is used for more than importing and constructing, which nothing permits."""
        key = function.module, function.name
        use = self.uses.setdefault(key, GlobalUse("unsafe", "walk", self.where()))
        use.verdict, use.use = "unsafe", "walk"

    def has_named(self, module: str, name: str) -> bool:
        """Whether the pickle named this global."""
        return (module, name) in self._globals

    def unsigned(self, size: int) -> int:
        """A little-endian unsigned integer of ``size`` bytes out of the stream."""
        end = self.pos + size
        part = self.buf[self.pos : end]
        if len(part) != size:
            raise IndexError
        self.pos = end
        return int.from_bytes(part, "little")

    def pop_mark(self) -> list[object]:
        """The items since the last MARK."""
        items = self.stack
        self.stack = self.marks.pop()
        return items


# Modules whose Python 2 names are still met.
_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg", "numpy.core": "numpy._core", "UserDict": "collections"}
