"""Zip archives for every format that is one: a strict directory, members in place, members that were compressed.

A reader of its own, since importing ``zipfile`` takes longer than reading a whole header, and since other readers
disagree about archives that contradict themselves: one follows the zip64 record, one the end record, one the local
headers, one takes the last of two equal names. Such an archive has no one meaning and is refused (``AMB01``).
Specification: PKWARE APPNOTE 6.3; miniz 3 is what torch reads with.

Problem codes of any container:

===== ====================================================================================================
AMB01 two readers could read the file differently: records that disagree, equal names, an archive in another
AMB02 members whose own headers were not looked at, since the file is far away
LIM01 a limit of the budget was reached; the message names its key
ZIP01 zip directory damaged, misplaced or cut off
ZIP02 zip member damaged
ZIP03 zip member encrypted or compressed in a way that is not read
ZIP04 compressed data damaged, or of another size or checksum than it claims
===== ====================================================================================================

Use: ``archive = Archive(source, budget, spool, format="npz")``, ``archive.verify()`` where all bytes are near at hand
(else only members that are opened are checked, and ``archive.unchecked`` says how many were not),
``archive.open(archive.members[name])`` for a region of bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from diffai.errors import FormatError, LimitError
from diffai.formats.base import Budget
from diffai.formats.regions import COPY_BLOCK, BytesRegion, FileRegion, LazyRegion, Region, Spool, read
from diffai.formats.zip_ends import END, END_RECORD, LOCATOR_SIGN, LONGEST_TAIL, ambiguous, end_record
from diffai.formats.zip_members import Codes, Member, inflated
from diffai.sources.base import Source

LOCAL = b"PK\x03\x04"
_END64_SIGN, _DESCRIPTOR_SIGN = b"PK\x06\x06", b"PK\x07\x08"
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_END64_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQ2H2I4Q")
_DESCRIPTORS = {12: "<III", 16: "<4xIII", 20: "<IQQ", 24: "<4xIQQ"}  # by their length
_MAX_INFLATION = 1032  # deflate cannot expand more than this (zlib technical details)
_IN_MEMORY = 1 << 20
_ALL_IN_MEMORY = 32 << 20
_WINDOW = 16384
_ALL_ONES = 0xFFFFFFFF
_LEVEL_BITS = 0x0006  # how well it was compressed: a remark
_HAS_DESCRIPTOR = 0x0008
_FOLDER_BIT = 0x10  # of the attributes that MS-DOS gave a file
STORED, DEFLATED = 0, 8


_CODES = Codes()


class Archive:
    """The members of a zip file by name.

    Args:
        source: the file, with random access.
        budget: what reading may cost; the directory counts as header.
        spool: where compressed members are unpacked to, when read.
        format: what errors call the file.
        codes: the numbers of its problems.

    Attributes:
        members: by exact name, in the directory's order.

    Raises:
        FormatError: damaged, or ambiguous.
        LimitError: too many members, or more compressed data than the budget allows.

    """

    def __init__(self, source: Source, budget: Budget, spool: Spool, *, format: str = "zip",  # noqa: A002
                 codes: Codes = _CODES) -> None:  # fmt: skip
        self._source = source
        self._spool = spool
        self.format = format
        self._codes = codes
        self.members: dict[str, Member] = {}
        self._in_order: list[Member] = []
        self._folded: dict[str, Member] = {}
        self._window_bytes = b""
        self._window_start = 0
        self._held = 0
        start, size, count = self._end_of_directory()
        if size > budget.limits.max_header:
            raise LimitError(
                f"zip directory of {size:,} bytes (limit diffai.maxHeader)", code=budget.code, offset=start,
                format=format,
            )
        budget.member(count)
        self._directory_start = start
        self._read_directory(source.read(start, size), start, count)
        self._check_overlap()
        packed = [member for member in self.members.values() if member.method != STORED]
        budget.inflate(sum(member.compressed for member in packed), sum(member.size for member in packed))

    # -------------------------------------------------------------- directory

    def _end_of_directory(self) -> tuple[int, int, int]:
        """Offset and size of the directory, and its number of entries."""
        size = self._source.size
        tail, at = b"", -1
        for longest in (_WINDOW, LONGEST_TAIL):
            tail_start = max(0, size - longest)
            tail = self._source.read(tail_start, size - tail_start)
            at = end_record(tail)
            if at >= 0:
                break
        else:
            raise self._error("zip file has no directory at its end (truncated?)", self._codes.directory, size)
        if tail.find(END, at + 4) >= 0:
            raise self._ambiguous("two records at its end", tail_start + at)
        end = tail_start + at
        _, disk, first_disk, here, count, length, start, _ = END_RECORD.unpack_from(tail, at)
        stated = (count, length, start)
        if disk not in (0, 0xFFFF) or first_disk not in (0, 0xFFFF) or here != count:
            raise self._error("zip file is a part of several", self._codes.directory, end)
        locator_at = end - _END64_LOCATOR.size
        locator = self._source.read(locator_at, _END64_LOCATOR.size) if locator_at >= 0 else b""
        if locator[:4] == LOCATOR_SIGN:
            return self._end64(locator, locator_at, stated)
        if start + length != end:
            raise self._error("zip directory is not where it is said to be", self._codes.directory, end)
        return start, length, count

    def _end64(self, locator: bytes, locator_at: int, stated: tuple[int, int, int]) -> tuple[int, int, int]:
        """The zip64 record, which some readers always follow and some only when asked: it must say the same."""
        at = _END64_LOCATOR.unpack(locator)[2]
        record = self._source.read(at, _END64.size) if at + _END64.size <= locator_at else b""
        if len(record) < _END64.size or record[:4] != _END64_SIGN:
            raise self._ambiguous("its zip64 end record is not where it is said to be", locator_at)
        _, length_of_record, _, _, _, _, here, count, length, start = _END64.unpack(record)
        if at + 12 + length_of_record != locator_at or start + length != at or here != count:
            raise self._ambiguous("its zip64 end record contradicts itself", at)
        for old, new, ones in zip(stated, (count, length, start), (0xFFFF, _ALL_ONES, _ALL_ONES), strict=True):
            if old not in (new, ones):
                raise self._ambiguous("its two end records disagree", at)
        return start, length, count

    def _read_directory(self, data: bytes, start: int, count: int) -> None:
        at, members, unpack = 0, self.members, _CENTRAL.unpack_from
        for _ in range(count):
            if at + 46 > len(data) or data[at : at + 4] != b"PK\x01\x02":
                raise self._error("zip directory is damaged", self._codes.directory, start + at)
            (_, _, _, flags, method, _, _, crc, compressed, size, name_size, extra_size, comment_size, disk, _,
             attributes, header) = unpack(data, at)  # fmt: skip
            extra_at = at + 46 + name_size
            end = extra_at + extra_size + comment_size
            if end > len(data) or disk not in (0, 0xFFFF):
                raise self._error("zip directory is damaged", self._codes.directory, start + at)
            raw = data[at + 46 : extra_at]
            name = raw.decode("utf-8", "surrogateescape")
            if extra_size:
                extra = data[extra_at : extra_at + extra_size]
                self._check_extra(extra, raw, start + at)
                size, compressed, header = self._zip64(extra, (size, compressed, header), start + at)
            if name in members or "\0" in name:
                raise self._ambiguous(f"two members {name[:200]!r}" if name in members else
                                      f"a member's name with a NUL, {name[:200]!r}", start + at)  # fmt: skip
            if compressed and (attributes & _FOLDER_BIT or name.endswith("/")):  # some readers give no bytes of it
                raise self._ambiguous(f"a folder {name[:200]!r} with content", start + at)
            members[name] = Member(name, raw, (flags, method, crc, compressed, size, header))
            at = end
        if at != len(data):
            raise self._error("zip directory has more entries than it says", self._codes.directory, start + at)

    def _check_overlap(self) -> None:
        end, previous = 0, ""
        self._in_order = sorted(self.members.values(), key=lambda member: member.header)
        for member in self._in_order:
            if member.header < end:
                text = f"zip members {previous[:200]!r} and {member.name[:200]!r} overlap"
                raise self._error(text, self._codes.member, member.header)
            end = member.header + 30 + len(member.raw_name) + member.compressed
            previous = member.name
        if end > self._directory_start:
            text = f"zip member {previous[:200]!r} ends behind the members' area"
            raise self._error(text, self._codes.member, end)

    # -------------------------------------------------------------- one meaning

    def verify(self) -> None:
        """Look at every local header, every descriptor and every gap between members.

        Raises:
            FormatError: a reader that goes by them would read something else (``AMB01``).

        """
        end = 0
        for member in self._in_order:
            if member.header != end:
                self._check_gap(end, member.header)
            after = self._data_start(member) + member.compressed
            end = after + (self._descriptor(member, after) if member.flags & _HAS_DESCRIPTOR else 0)
        if end != self._directory_start:
            self._check_gap(end, self._directory_start)

    @property
    def unchecked(self) -> int:
        """How many members' local headers were not looked at."""
        return sum(member.start < 0 for member in self._in_order)

    def find(self, name: str) -> Member | None:
        """The member of that name; None when there is none.

        Raises:
            FormatError: another name equals it but for the case of letters, which torch overlooks (``AMB01``).

        """
        if not self._folded:
            self._folded = self._fold()
        found = self._folded.get(name.lower())
        if found is not None and found.name != name:
            text = f"a member {found.name[:200]!r}, which some readers take for {name[:200]!r}"
            raise self._ambiguous(text, found.header)
        return found

    def _fold(self) -> dict[str, Member]:
        folded: dict[str, Member] = {}
        for name, member in self.members.items():
            other = folded.setdefault(name.lower(), member)
            if other is not member:
                text = f"members {other.name[:200]!r} and {name[:200]!r}, which some readers take for one"
                raise self._ambiguous(text, member.header)
        return folded

    def _check_gap(self, start: int, end: int) -> None:
        """Bytes between members that no member owns must hold no record of a zip."""
        if end < start:
            raise self._error("zip members overlap", self._codes.member, end)
        overlap = b""
        for at in range(start, end, COPY_BLOCK):
            data = overlap + self._source.read(at, min(COPY_BLOCK, end - at))
            if any(sign in data for sign in (LOCAL, b"PK\x01\x02", END, _END64_SIGN)):
                raise self._ambiguous("another archive between its members", start)
            overlap = data[-3:]

    def _descriptor(self, member: Member, at: int) -> int:
        """Length of the data descriptor behind the member's data, which must agree with the directory."""
        data, begin = self._window(at, 24)
        data = data[begin : begin + 24]
        lengths = (16, 24) if data[:4] == _DESCRIPTOR_SIGN else (12, 20)
        for length in lengths:
            if len(data) >= length:
                found = struct.unpack_from(_DESCRIPTORS[length], data)
                if found == (member.crc, member.compressed, member.size):
                    return length
        raise self._differs(member)

    def _check_extra(self, extra: bytes, raw_name: bytes, offset: int) -> None:
        """A Unicode path that is not the name, or two zip64 fields, are two readings."""
        at, wide = 0, 0
        while at + 4 <= len(extra):
            kind, size = struct.unpack_from("<2H", extra, at)
            wide += kind == 1
            if (kind == 0x7075 and extra[at + 9 : at + 4 + size] != raw_name) or wide > 1:
                raise self._ambiguous("a member with two names or sizes", offset)
            at += 4 + size

    # -------------------------------------------------------------- members

    def open(self, member: Member) -> Region:
        """The member's bytes: in place where stored, unpacked when first read where deflated."""
        start = self._data_start(member)
        if member.method == STORED:
            if member.size != member.compressed:
                raise self._bad(member, "has two different sizes", self._codes.member)
            return FileRegion(self._source, start, member.size)
        if member.method != DEFLATED:
            raise self._bad(member, f"is compressed by method {member.method}, which is not read", self._codes.method)
        if member.size > member.compressed * _MAX_INFLATION + 64:
            raise self._bad(member, f"claims {member.size:,} bytes, more than deflate can hold", self._codes.member)
        return LazyRegion(member.size, lambda: self._unpack(member))

    def head(self, member: Member, count: int) -> bytes:
        """The first bytes of a member, up to ``count`` (at most 1 MiB); no more of it is unpacked than that."""
        region = self.open(member)
        if member.method == STORED:
            return read(region, 0, min(count, region.size))
        return next(self._inflate(member), b"")[:count]

    def open_later(self, member: Member) -> Region:
        """The same, but its header is looked at only when the bytes are read."""
        if member.method != STORED or member.size != member.compressed:
            return self.open(member)
        return LazyRegion(member.size, lambda: self.open(member))

    def _data_start(self, member: Member) -> int:
        if member.start >= 0:
            return member.start
        if member.flags & 1:
            raise self._bad(member, "is encrypted", self._codes.method)
        raw = member.raw_name
        window, at = self._window(member.header, 30 + len(raw))
        if len(window) - at < 30 or window[at : at + 4] != LOCAL:
            raise self._bad(member, "has no header where the directory says", self._codes.member)
        _, _, flags, method, _, _, crc, compressed, size, name_size, extra_size = _LOCAL.unpack_from(window, at)
        start: int = member.header + 30 + name_size + extra_size
        if (
            method != member.method or (flags ^ member.flags) & ~_LEVEL_BITS
            or window[at + 30 : at + 30 + name_size] != raw
        ):  # fmt: skip
            raise self._differs(member)
        stated = (crc, compressed, size)
        if stated != (member.crc, member.compressed, member.size) and not (stated == (0, 0, 0) and flags & 8):
            self._check_stated(member, stated, start - extra_size, extra_size)
        if start + member.compressed > self._directory_start:
            raise self._bad(member, "ends behind the members' area", self._codes.member)
        member.start = start
        return start

    def _check_stated(self, member: Member, stated: tuple[int, int, int], extra_at: int, extra_size: int) -> None:
        """Local sizes that are not the directory's: zeros where a descriptor follows, or ones for a zip64 field."""
        crc, compressed, size = stated
        extra = self._source.read(extra_at, extra_size)
        self._check_extra(extra, member.raw_name, extra_at)
        size, compressed, _ = self._zip64(extra, (size, compressed, 0), extra_at)
        later = member.flags & _HAS_DESCRIPTOR
        for found, known in ((crc, member.crc), (compressed, member.compressed), (size, member.size)):
            if found != known and not (later and found == 0):
                raise self._differs(member)

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
        if member.size > min(_IN_MEMORY, _ALL_IN_MEMORY - self._held):
            return self._spool.append(chunks)
        self._held += member.size
        return BytesRegion(b"".join(chunks))

    def _inflate(self, member: Member) -> Iterator[bytes]:
        return inflated(self._source, member, lambda what: self._bad(member, what, self._codes.data))

    # -------------------------------------------------------------- complaints

    def _zip64(self, extra: bytes, values: tuple[int, int, int], offset: int) -> tuple[int, int, int]:
        """Replace the fields that are all ones by those of the zip64 extra field, in its fixed order."""
        if _ALL_ONES not in values:
            return values
        at = 0
        while at + 4 <= len(extra):
            kind, size = struct.unpack_from("<2H", extra, at)
            if kind == 1:
                wide = [extra[i : i + 8] for i in range(at + 4, min(at + 4 + size, len(extra)), 8)]
                fields = []
                for value in values:
                    if value == _ALL_ONES:
                        if not wide or len(wide[0]) != 8:
                            raise self._error("zip64 field is too short", self._codes.directory, offset)
                        value = int.from_bytes(wide.pop(0), "little")
                    fields.append(value)
                return fields[0], fields[1], fields[2]
            at += 4 + size
        return values

    def _error(self, reason: str, code: str, offset: int) -> FormatError:
        return FormatError(reason, code=code, offset=offset, format=self.format)

    def _ambiguous(self, what: str, offset: int) -> FormatError:
        return ambiguous(f"the zip has {what}", offset, self.format)

    def _differs(self, member: Member) -> FormatError:
        text = f"the zip member {member.name[:200]!r} and the directory disagree"
        return ambiguous(text, member.header, self.format)

    def _bad(self, member: Member, what: str, code: str) -> FormatError:
        return self._error(f"zip member {member.name[:200]!r} {what}", code, member.header)
