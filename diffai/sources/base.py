"""The one Protocol of a source, and the two simplest: a local file and bytes in memory.

A source knows bytes and nothing of what they mean.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO, Protocol
else:
    Protocol = object


class Source(Protocol):
    """Bytes of known size that can be read in blocks."""

    @property
    def label(self) -> str:
        """How the user names it; for messages."""

    @property
    def path(self) -> str:
        """Path of a real file that holds exactly these bytes, "" when there is none."""

    @property
    def size(self) -> int:
        """Number of bytes."""

    @property
    def identity(self) -> str:
        """Equal identities mean equal bytes (same inode, git oid, sha256); "" when nothing is known."""

    @property
    def random_access(self) -> bool:
        """Whether ``read_into`` is cheap and thread-safe in any order (else ascending, one thread)."""

    @property
    def requests(self) -> bool:
        """Whether each read is a request to another machine, so that few and long ones are wanted."""

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill the whole of ``buffer`` (format 'B') from ``offset``; SourceError when the bytes are not there."""

    def read(self, offset: int, count: int) -> bytes:
        """Up to ``count`` bytes from ``offset``; fewer only at the end."""

    def open_stream(self) -> BinaryIO:
        """A new binary stream over all bytes from the start."""

    def sibling(self, name: str) -> Source:
        """The file ``name`` in the same directory (a shard); SourceError when missing or outside it."""

    def verify_unchanged(self) -> None:
        """Raise SourceError when the bytes are no longer those that were opened."""

    def close(self) -> None:
        """Release what is held; may be called twice."""
