"""The zip around a torch file: directory, members in place, members that were compressed.

A reader of its own, since importing ``zipfile`` takes longer than reading a whole header. It is stricter: members
must not overlap, and local headers must agree with the directory. Specification: PKWARE APPNOTE 6.3.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from diffai.errors import FormatError, LimitError
from diffai.formats.regions import COPY_BLOCK, BytesRegion, FileRegion, LazyRegion, Region, Spool
from diffai.sources.base import Source

LOCAL = b"PK\x03\x04"
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_END = struct.Struct("<4s4H2IH")
_END64_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQ2H2I4Q")
_MAX_INFLATION = 1032  # deflate cannot expand more than this (zlib technical details)
_IN_MEMORY = 1 << 20
_WINDOW = 16384
STORED, DEFLATED = 0, 8
NAME = "torch zip"


class Member:
    """One file of the archive as the directory states it; ``start`` is the data's offset once looked up."""

    __slots__ = ("compressed", "crc", "flags", "header", "method", "name", "size", "start")

    def __init__(self, name: str, fields: tuple[int, int, int, int, int, int]) -> None:
        self.name = name
        self.flags, self.method, self.crc, self.compressed, self.size, self.header = fields
        self.start = -1


class Archive:
    """The members of a zip file by name.

    Args:
        source: the file, with random access.
        max_directory: bytes of directory that are parsed at all.
        spool: where compressed members are unpacked to, when read.

    Raises:
        FormatError: damaged (PT02, PT03).

    """

    def __init__(self, source: Source, max_directory: int, spool: Spool) -> None:
        self._source = source
        self._spool = spool
        self.members: dict[str, Member] = {}
        self._window_bytes = b""
        self._window_start = 0
        start, size, count = self._end_of_directory()
        if size > max_directory:
            raise LimitError(
                f"zip directory of {size:,} bytes (limit diffai.maxHeader)", code="PT12", offset=start, format=NAME
            )
        self._directory_start = start
        self._read_directory(source.read(start, size), start, count)
        self._check_overlap()

    # -------------------------------------------------------------- directory

    def _end_of_directory(self) -> tuple[int, int, int]:
        """Offset and size of the directory, and its number of entries."""
        size = self._source.size
        tail, at = b"", -1
        for longest in (_WINDOW, 65535 + _END.size):  # a comment can stand behind the record; torch writes none
            tail_start = max(0, size - longest)
            tail = self._source.read(tail_start, size - tail_start)
            at = _end_record(tail)
            if at >= 0:
                break
        else:
            reason = "zip file has no directory at its end (truncated?)"
            raise FormatError(reason, code="PT02", offset=size, format=NAME)
        end = tail_start + at
        _, _, _, _, count, length, start, _ = _END.unpack_from(tail, at)
        if end >= _END64_LOCATOR.size and (count == 0xFFFF or 0xFFFFFFFF in (length, start)):
            locator = self._source.read(end - _END64_LOCATOR.size, _END64_LOCATOR.size)
            if locator[:4] == b"PK\x06\x07":
                return self._end64(_END64_LOCATOR.unpack(locator)[2], end)
        if start + length != end:
            self._check_end64_absent(start, length, end)
        return start, length, count

    def _end64(self, at: int, end: int) -> tuple[int, int, int]:
        record = self._source.read(at, _END64.size) if at < end else b""
        if len(record) < _END64.size or record[:4] != b"PK\x06\x06":
            raise FormatError("zip64 end record is not where it is said to be", code="PT02", offset=end, format=NAME)
        _, _, _, _, _, _, _, count, length, start = _END64.unpack(record)
        if start + length > at:
            raise FormatError("zip directory lies outside the file", code="PT02", offset=at, format=NAME)
        return start, length, count

    def _check_end64_absent(self, start: int, length: int, end: int) -> None:
        """A directory that does not touch the end record is fine only before a zip64 record (torch writes one)."""
        tail = end - _END64_LOCATOR.size - _END64.size
        if start + length == tail and self._source.read(tail, 4) == b"PK\x06\x06":
            return
        raise FormatError("zip directory is not where it is said to be", code="PT02", offset=end, format=NAME)

    def _read_directory(self, data: bytes, start: int, count: int) -> None:
        at = 0
        for _ in range(count):
            if at + _CENTRAL.size > len(data) or data[at : at + 4] != b"PK\x01\x02":
                raise FormatError("zip directory is damaged", code="PT02", offset=start + at, format=NAME)
            (_, _, _, flags, method, _, _, crc, compressed, size, name_size, extra_size, comment_size, disk, _, _,
             header) = _CENTRAL.unpack_from(data, at)  # fmt: skip
            name_at = at + _CENTRAL.size
            extra_at = name_at + name_size
            end = extra_at + extra_size + comment_size
            if end > len(data) or disk not in (0, 0xFFFF):
                raise FormatError("zip directory is damaged", code="PT02", offset=start + at, format=NAME)
            name = data[name_at:extra_at].decode("utf-8", "surrogateescape")
            extra = data[extra_at : extra_at + extra_size]
            size, compressed, header = _zip64(extra, (size, compressed, header), start + at)
            if name in self.members:
                raise FormatError(
                    f"zip file has two members {name[:200]!r}", code="PT03", offset=start + at, format=NAME
                )
            self.members[name] = Member(name, (flags, method, crc, compressed, size, header))
            at = end
        if at != len(data):
            reason = "zip directory has more entries than it says"
            raise FormatError(reason, code="PT02", offset=start + at, format=NAME)

    def _check_overlap(self) -> None:
        end, previous = 0, ""
        for member in sorted(self.members.values(), key=lambda member: member.header):
            if member.header < end:
                raise FormatError(
                    f"zip members {previous[:200]!r} and {member.name[:200]!r} overlap", code="PT03",
                    offset=member.header, format=NAME,
                )  # fmt: skip
            end = member.header + _LOCAL.size + len(member.name.encode("utf-8", "surrogateescape")) + member.compressed
            previous = member.name
        if end > self._directory_start:
            raise FormatError(
                f"zip member {previous[:200]!r} ends behind the members' area", code="PT03", offset=end, format=NAME
            )

    # -------------------------------------------------------------- members

    def open(self, member: Member) -> Region:
        """The member's bytes: in place where stored, unpacked when first read where deflated."""
        start = self._data_start(member)
        if member.method == STORED:
            if member.size != member.compressed:
                raise self._bad(member, "has two different sizes", "PT03")
            return FileRegion(self._source, start, member.size)
        if member.method != DEFLATED:
            raise self._bad(member, f"is compressed by method {member.method}, which is not read", "PT04")
        if member.size > member.compressed * _MAX_INFLATION + 64:
            raise self._bad(member, f"claims {member.size:,} bytes, more than deflate can hold", "PT03")
        return LazyRegion(member.size, lambda: self._unpack(member))

    def open_later(self, member: Member) -> Region:
        """The same, but its header is looked at only when the bytes are read."""
        if member.method != STORED or member.size != member.compressed:
            return self.open(member)
        return LazyRegion(member.size, lambda: self.open(member))

    def _data_start(self, member: Member) -> int:
        if member.start >= 0:
            return member.start
        if member.flags & 1:
            raise self._bad(member, "is encrypted", "PT04")
        window, at = self._window(member.header, _LOCAL.size + len(member.name) * 4)
        header = window[at : at + _LOCAL.size]
        if len(header) < _LOCAL.size or header[:4] != LOCAL:
            raise self._bad(member, "has no header where the directory says", "PT03")
        _, _, _, method, _, _, _, _, _, name_size, extra_size = _LOCAL.unpack(header)
        name_at = at + _LOCAL.size
        name = window[name_at : name_at + name_size]
        start = int(member.header + _LOCAL.size + name_size + extra_size)
        if name.decode("utf-8", "surrogateescape") != member.name or method != member.method:
            raise self._bad(member, "has a header that disagrees with the directory", "PT03")
        if start + member.compressed > self._directory_start:
            raise self._bad(member, "ends behind the members' area", "PT03")
        member.start = start
        return start

    def _window(self, start: int, count: int) -> tuple[bytes, int]:
        """Bytes that hold ``count`` from ``start`` on (fewer at the end), and where in them that is.

        Headers of small members lie close together, so one read serves many.
        """
        at = start - self._window_start
        if at < 0 or at + count > len(self._window_bytes):
            self._window_bytes = self._source.read(start, max(count, _WINDOW))
            self._window_start, at = start, 0
        return self._window_bytes, at

    def _unpack(self, member: Member) -> Region:
        chunks = self._inflate(member)
        return BytesRegion(b"".join(chunks)) if member.size <= _IN_MEMORY else self._spool.append(chunks)

    def _inflate(self, member: Member) -> Iterator[bytes]:
        """Decompressed pieces, never more than the declared size."""
        import zlib

        unpacker, done, at = zlib.decompressobj(-15), 0, member.start
        end = member.start + member.compressed
        pending = b""
        while not unpacker.eof:
            if not pending:
                pending = self._source.read(at, min(COPY_BLOCK, end - at))
                at += len(pending)
                if not pending:
                    raise self._bad(member, "has compressed data that ends early", "PT14")
            try:
                piece = unpacker.decompress(pending, COPY_BLOCK)
            except zlib.error as error:
                raise self._bad(member, "has damaged compressed data", "PT14") from error
            pending = unpacker.unconsumed_tail
            done += len(piece)
            if done > member.size:
                raise self._bad(member, f"unpacks to more than the {member.size:,} bytes it claims", "PT14")
            yield piece
        if done != member.size:
            raise self._bad(member, f"unpacks to {done:,} bytes, not the {member.size:,} it claims", "PT14")

    def _bad(self, member: Member, what: str, code: str) -> FormatError:
        return FormatError(f"zip member {member.name[:200]!r} {what}", code=code, offset=member.header, format=NAME)


def _end_record(tail: bytes) -> int:
    """Where the end record stands in the last bytes of a file; -1 when it does not."""
    at = tail.rfind(b"PK\x05\x06")
    while at >= 0:
        if at + _END.size <= len(tail) and at + _END.size + _END.unpack_from(tail, at)[7] == len(tail):
            return at
        at = tail.rfind(b"PK\x05\x06", 0, at)
    return -1


def _zip64(extra: bytes, values: tuple[int, int, int], offset: int) -> tuple[int, int, int]:
    """Replace the fields that are all ones by those of the zip64 extra field, in its fixed order."""
    if 0xFFFFFFFF not in values:
        return values
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            wide = [extra[i : i + 8] for i in range(at + 4, min(at + 4 + size, len(extra)), 8)]
            fields = []
            for value in values:
                if value == 0xFFFFFFFF:
                    if not wide or len(wide[0]) != 8:
                        raise FormatError("zip64 field is too short", code="PT02", offset=offset, format=NAME)
                    value = int.from_bytes(wide.pop(0), "little")
                fields.append(value)
            return fields[0], fields[1], fields[2]
        at += 4 + size
    return values
