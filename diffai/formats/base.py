"""What a format is: a name, how it is recognised, how it is opened, how it is checked."""

from __future__ import annotations

from diffai.frozen import frozen
from diffai.model import Checkpoint, Problem
from diffai.sources.base import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from diffai.snapshots.directory import Directory
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

    """

    max_header: int = 100_000_000
    max_spool: int = 64 << 30
    allow_torch: bool = True
    values: bool = True


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


class FolderFormat(Format, Protocol):
    """A format whose model can be a whole folder; its row says so."""

    @staticmethod
    def open_directory(directory: Directory, limits: Limits) -> Checkpoint:
        """Open the one model of a folder. Raises as :meth:`Format.open_checkpoint`."""

    @staticmethod
    def check_directory(directory: Directory, limits: Limits) -> tuple[Problem, ...]:
        """As :meth:`Format.check`."""
