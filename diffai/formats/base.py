"""What a format is: a name, how it is recognised, how it is opened, how it is checked; and what reading may cost."""

from __future__ import annotations

from diffai.errors import FormatError, LimitError
from diffai.frozen import frozen
from diffai.model import Checkpoint, Problem
from diffai.sources.base import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from diffai.config.keys import Settings
    from diffai.sources.directory import Directory
else:
    Protocol = object


@frozen
class Limits:
    """Safety limits of reading; each is named, with the key that lifts it, when reached.

    Attributes:
        max_header: bytes of header or pickle that are parsed at all (``diffai.maxHeader``).
        max_spool: bytes that may be written to private temporary files (``diffai.maxSpool``).
        allow_torch: whether ``torch.load(weights_only=True)`` may be tried for what our reader cannot read.
        values: whether values will be read; without, their places in the file are not looked up where that takes
            reads of their own, each of which is a request when the file is far away.
        max_steps: instructions interpreted: opcodes of pickles, records, nodes of a graph (``diffai.maxSteps``).
        max_values: values that are named or described, each as often as it is reached (``diffai.maxValues``).
        max_made: bytes that are made in memory: decoded, joined, unpacked outside the temporary file
            (``diffai.maxMade``).
        max_names: bytes of all names together (``diffai.maxNames``).
        max_members: members of an archive (``diffai.maxMembers``).
        max_inflation: how many times its packed size compressed data may unpack to, all members together; the first
            64 MiB are free (``diffai.maxInflation``).
        max_depth: how deep objects may be nested (``diffai.maxDepth``).
        allow_globals: exact names of classes and functions (``mypkg.model.Net``) that a pickle may import and
            construct without being called unsafe; from the command line or the base's policy, never from the file.

    """

    max_header: int = 100_000_000
    max_spool: int = 64 << 30
    allow_torch: bool = True
    values: bool = True
    max_steps: int = 3_000_000
    max_values: int = 1_000_000
    max_made: int = 128 << 20
    max_names: int = 64 << 20
    max_members: int = 200_000
    max_inflation: int = 50
    max_depth: int = 200
    allow_globals: frozenset[str] = frozenset()


def limits_of(settings: Settings, *, allow_torch: bool = False) -> Limits:
    """The limits that configuration sets; torch may only be the fallback where people call by hand."""
    return Limits(
        settings.max_header, settings.max_spool, allow_torch, True, settings.max_steps, settings.max_values,
        settings.max_made, settings.max_names, settings.max_members, settings.max_inflation, settings.max_depth,
    )  # fmt: skip


class Budget:
    """What reading one file may still cost: one object from its first byte to the last name.

    Every method raises LimitError (of ``code``), whose text has the number and the key that lifts it.
    """

    __slots__ = ("code", "limits", "made", "members", "names", "steps", "values")

    def __init__(self, limits: Limits, code: str = "LIM01") -> None:
        self.limits = limits
        self.code = code
        self.steps = self.values = self.made = self.names = self.members = 0

    def step(self, count: int = 1) -> None:
        """Instructions that were, or are about to be, interpreted."""
        self.steps += count
        if self.steps > self.limits.max_steps:
            raise self._over("takes more than {:,} instructions to read", self.limits.max_steps, "maxSteps")

    def value(self, count: int = 1) -> None:
        """Values about to be named or described."""
        self.values += count
        if self.values > self.limits.max_values:
            raise self._over("holds more than {:,} values", self.limits.max_values, "maxValues")

    def make(self, count: int) -> None:
        """Bytes about to be made in memory."""
        self.made += count
        if self.made > self.limits.max_made:
            raise self._over("would need more than {:,} bytes of memory", self.limits.max_made, "maxMade")

    def name(self, count: int) -> None:
        """Bytes (or characters) of one more name."""
        self.names += count
        if self.names > self.limits.max_names:
            raise self._over("has more than {:,} bytes of names", self.limits.max_names, "maxNames")

    def member(self, count: int = 1) -> None:
        """Members of an archive."""
        self.members += count
        if self.members > self.limits.max_members:
            raise self._over("has more than {:,} members", self.limits.max_members, "maxMembers")

    def inflate(self, packed: int, unpacked: int) -> None:
        """Compressed data of ``packed`` bytes that unpacks to ``unpacked``; both are totals of the file."""
        if unpacked > max(64 << 20, packed * self.limits.max_inflation):
            reason = f"unpacks to {unpacked:,} bytes, more than {{:,}} times its packed size"
            raise self._over(reason, self.limits.max_inflation, "maxInflation")

    def deep(self, depth: int) -> None:
        """Nesting of ``depth`` objects."""
        if depth > self.limits.max_depth:
            raise self._over("has objects nested more than {:,} deep", self.limits.max_depth, "maxDepth")

    def _over(self, reason: str, number: int, key: str) -> LimitError:
        return LimitError(f"{reason.format(number)} (limit diffai.{key})", code=self.code)


def problem_of(error: FormatError) -> Problem:
    """An error as what ``check`` reports."""
    return Problem(error.code, "error", error.reason, error.tensor, error.offset)


class Format(Protocol):
    """A module of this shape reads one format; its row stands in :mod:`diffai.formats.table`."""

    NAME: str  # the row's name

    @staticmethod
    def recognise(head: bytes, size: int, name: str) -> bool:
        """Whether content is this format's: ``head`` is the first 4 KiB (all, when shorter)."""

    @staticmethod
    def open_checkpoint(source: Source, limits: Limits) -> Checkpoint:
        """Open; reads headers only. Raises FormatError with code, tensor and offset; SourceError."""

    @staticmethod
    def check(source: Source, limits: Limits) -> tuple[Problem, ...]:
        """All structural problems, not only the first. FormatError only when it is not this format at all."""


class ArraysFormat(Format, Protocol):
    """A format of plain arrays, which are data unless their names are those of parameters; its row says so."""

    @staticmethod
    def holds_parameters(head: bytes, size: int) -> bool:
        """Whether ``head``, the first 4 KiB of a file of ``size`` bytes, shows a model: several named parameters."""


class FolderFormat(Format, Protocol):
    """A format whose model can be a whole folder; its row says so."""

    @staticmethod
    def open_directory(directory: Directory, limits: Limits) -> Checkpoint:
        """Open the one model of a folder. Raises as :meth:`Format.open_checkpoint`."""

    @staticmethod
    def check_directory(directory: Directory, limits: Limits) -> tuple[Problem, ...]:
        """As :meth:`Format.check`."""
