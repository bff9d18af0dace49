"""A source that can only be read forwards, as a git blob is before it is spooled."""

from __future__ import annotations

import io
from typing import BinaryIO

from diffai.errors import SourceError
from diffai.sources.base import Source


class StreamSource:
    """Bytes that are read in ascending order; ``ascending`` turns False on the first read that goes back."""

    random_access = False
    path = ""

    def __init__(self, data: bytes, *, label: str = "<stream>", identity: str = "") -> None:
        self.data = data
        self.label = label
        self.size = len(data)
        self.identity = identity
        self.position = 0
        self.ascending = True
        self.closed = False

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill the buffer, noting where the stream would stand."""
        self.ascending = self.ascending and offset >= self.position
        self.position = offset + len(buffer)
        if self.position > self.size:
            raise SourceError(f"{self.label}: ends at offset {self.size}")
        buffer[:] = self.data[offset : self.position]

    def read(self, offset: int, count: int) -> bytes:
        """Up to ``count`` bytes."""
        buffer = bytearray(max(0, min(count, self.size - offset)))
        self.read_into(offset, memoryview(buffer))
        return bytes(buffer)

    def open_stream(self) -> BinaryIO:
        """All bytes, from the start."""
        return io.BytesIO(self.data)

    def sibling(self, name: str) -> Source:
        """There is none."""
        raise SourceError(f"{self.label}: has no file {name!r} beside it")

    def verify_unchanged(self) -> None:
        """Always so."""

    def close(self) -> None:
        """Note it."""
        self.closed = True
