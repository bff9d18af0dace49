"""A member of a zip: what the directory states of it, and its bytes unpacked."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from diffai.errors import FormatError
from diffai.formats.regions import COPY_BLOCK
from diffai.frozen import frozen
from diffai.sources.base import Source


@frozen
class Codes:
    """The numbers under which a format lists what is wrong with its archives."""

    directory: str = "ZIP01"
    member: str = "ZIP02"
    method: str = "ZIP03"
    data: str = "ZIP04"


class Member:
    """One file of the archive as the directory states it; ``start`` is the data's offset once looked up."""

    __slots__ = ("compressed", "crc", "flags", "header", "method", "name", "raw_name", "size", "start")

    def __init__(self, name: str, raw_name: bytes, fields: tuple[int, int, int, int, int, int]) -> None:
        self.name = name
        self.raw_name = raw_name
        self.flags, self.method, self.crc, self.compressed, self.size, self.header = fields
        self.start = -1


def inflated(source: Source, member: Member, wrong: Callable[[str], FormatError]) -> Iterator[bytes]:
    """Decompressed pieces, never more than the declared size; ``wrong`` makes the error of what is amiss."""
    import zlib

    unpacker, done, at = zlib.decompressobj(-15), 0, member.start
    end, crc = member.start + member.compressed, 0
    pending = b""
    while not unpacker.eof:
        if not pending:
            pending = source.read(at, min(COPY_BLOCK, end - at))
            at += len(pending)
            if not pending:
                raise wrong("has compressed data that ends early")
        try:
            piece = unpacker.decompress(pending, COPY_BLOCK)
        except zlib.error as error:
            raise wrong("has damaged compressed data") from error
        pending = unpacker.unconsumed_tail
        done += len(piece)
        crc = zlib.crc32(piece, crc)
        if done > member.size:
            raise wrong(f"unpacks to more than the {member.size:,} bytes it claims")
        yield piece
    if done != member.size or crc != member.crc:
        what = f"{done:,} bytes, not the {member.size:,} it claims" if done != member.size else "other bytes"
        raise wrong(f"unpacks to {what}")
