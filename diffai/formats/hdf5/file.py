"""The lowest level of an HDF5 file: superblock, object headers, heaps and B-trees, bounded and never past the file.

Specification: HDF5 File Format Specification Version 3.0, The HDF Group.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from diffai.errors import FormatError
from diffai.formats.base import Budget
from diffai.frozen import frozen
from diffai.sources.base import Source

FORMAT = "hdf5"
SIGNATURE = b"\x89HDF\r\n\x1a\n"
_USER_BLOCKS = (0, 512, 1024, 2048, 4096)
_MOST_CONTINUATIONS = 256
_MOST_BYTES = 16 << 20  # of one block of metadata

DATASPACE, LINK_INFO, DATATYPE, LINK, EXTERNAL, LAYOUT, FILTERS, ATTRIBUTE = 1, 2, 3, 6, 7, 8, 11, 12
CONTINUATION, SYMBOL_TABLE, ATTRIBUTE_INFO = 16, 17, 21


def wrong(reason: str, code: str, offset: int = -1, name: str = "") -> FormatError:
    """A refusal with its number."""
    return FormatError(reason, code=code, tensor=name, offset=offset, format=FORMAT)


@frozen
class Message:
    """One message of an object header: its type, its data and whether that stands in another place."""

    kind: int
    data: bytes
    shared: bool
    offset: int


class File:
    """Blocks of metadata by address."""

    def __init__(self, source: Source, budget: Budget) -> None:
        self.source, self.budget = source, budget
        self.base = next((at for at in _USER_BLOCKS if source.read(at, 8) == SIGNATURE), -1)
        if self.base < 0:
            raise wrong("has no HDF5 signature", "HD01", 0)
        self.offset_size = self.length_size = 8
        self._passed = 0
        self._collection: tuple[int, bytes, dict[int, tuple[int, int]]] = (-1, b"", {})  # the last one
        self.root = self._superblock()

    def read(self, address: int, count: int) -> bytes:
        """Exactly ``count`` bytes at an address (relative to the base, as all addresses in the file)."""
        start = self.base + address
        if not 0 <= count <= _MOST_BYTES or address < 0 or start + count > self.source.size:
            raise wrong(f"refers to {count:,} bytes outside the file", "HD02", max(start, 0))
        self.budget.step(1 + count // 4096)
        data = self.source.read(start, count)
        if len(data) != count:
            raise wrong("ends inside its metadata", "HD02", start + len(data))
        return data

    def address(self, data: bytes, at: int) -> int:
        """An address field; -1 for "undefined"."""
        value = int.from_bytes(self._part(data, at, self.offset_size), "little")
        return -1 if value == (1 << 8 * self.offset_size) - 1 else value

    def length(self, data: bytes, at: int) -> int:
        """A length field."""
        return int.from_bytes(self._part(data, at, self.length_size), "little")

    @staticmethod
    def _part(data: bytes, at: int, count: int) -> bytes:
        part = data[at : at + count]
        if len(part) != count:
            raise wrong("has a message that is cut off", "HD03")
        return part

    def _superblock(self) -> int:
        """Sizes of fields, and the address of the root group's header."""
        head = self.read(0, 16)
        version = head[8]
        if version in (0, 1):
            self.offset_size, self.length_size = head[13], head[14]
            fixed = 24 if version == 0 else 28
            self._check_sizes()
            entry = fixed + 4 * self.offset_size
            data = self.read(0, entry + 2 * self.offset_size)
            return self.address(data, entry + self.offset_size)
        if version in (2, 3):
            self.offset_size, self.length_size = head[9], head[10]
            self._check_sizes()
            data = self.read(0, 12 + 4 * self.offset_size)
            return self.address(data, 12 + 3 * self.offset_size)
        raise wrong(f"has a superblock of version {version}, which is not known", "HD01", self.base + 8)

    def _check_sizes(self) -> None:
        if self.offset_size not in (4, 8) or self.length_size not in (4, 8):
            raise wrong(f"has addresses of {self.offset_size} and lengths of {self.length_size} bytes", "HD01", 13)

    def passed_over(self, count: int) -> None:
        """Bytes that are digested and not kept; all together no more than the file has, as none stands twice."""
        self._passed += count
        if self._passed > self.source.size:
            raise wrong("refers to the same texts or lists again and again", "HD03")

    # -------------------------------------------------------------- object headers

    def messages(self, address: int) -> list[Message]:
        """All messages of the object at an address."""
        if self.read(address, 4) == b"OHDR":
            return list(self._modern(address))
        return list(self._classic(address))

    def _classic(self, address: int) -> Iterator[Message]:
        head = self.read(address, 16)
        version, count, size = head[0], *struct.unpack_from("<H4xI", head, 2)
        if version != 1:
            raise wrong(f"has an object header of version {version}", "HD03", self.base + address)
        blocks = [(address + 16, size)]
        for number, (start, length) in enumerate(blocks):
            if number > _MOST_CONTINUATIONS:
                raise wrong("has an object header in too many pieces", "HD03", self.base + address)
            data, at = self.read(start, length), 0
            while at + 8 <= length and count > 0:
                kind, held, flags = struct.unpack_from("<HHB", data, at)
                content = data[at + 8 : at + 8 + held]
                count -= 1
                if kind == CONTINUATION:
                    blocks.append((self.address(content, 0), self.length(content, self.offset_size)))
                elif kind:
                    yield Message(kind, content, bool(flags & 2), self.base + start + at)
                at += 8 + held

    def _modern(self, address: int) -> Iterator[Message]:
        head = self.read(address, 6)
        flags, at = head[5], 6 + (16 if head[5] & 0x20 else 0) + (4 if head[5] & 0x10 else 0)
        if head[4] != 2:
            raise wrong(f"has an object header of version {head[4]}", "HD03", self.base + address)
        width = 1 << (flags & 3)
        size = int.from_bytes(self.read(address + at, width), "little")
        blocks = [(address + at + width, size)]
        extra = 2 if flags & 4 else 0
        for number, (start, length) in enumerate(blocks):
            if number > _MOST_CONTINUATIONS:
                raise wrong("has an object header in too many pieces", "HD03", self.base + address)
            data, at = self.read(start, length), 0
            if number:  # a continuation begins with its signature and ends with a checksum
                data, start, length = data[4:-4], start + 4, length - 8
            while at + 4 + extra <= length:
                kind, held, mark = struct.unpack_from("<BHB", data, at)
                content = data[at + 4 + extra : at + 4 + extra + held]
                if kind == CONTINUATION:
                    blocks.append((self.address(content, 0), self.length(content, self.offset_size)))
                elif kind:
                    yield Message(kind, content, bool(mark & 2), self.base + start + at)
                at += 4 + extra + held

    def resolved(self, message: Message) -> bytes:
        """A message's data, looked up where it is shared (a committed datatype)."""
        if not message.shared:
            return message.data
        data = message.data
        if len(data) < 2 or data[0] not in (1, 2, 3) or (data[0] == 3 and data[1] != 2):
            raise wrong("has a shared message of a kind that is not read", "HD04", message.offset)
        target = self.address(data, 8 if data[0] == 1 else 2)
        for other in self.messages(target):
            if other.kind == message.kind and not other.shared:
                return other.data
        raise wrong("has a shared message that leads nowhere", "HD03", message.offset)

    # -------------------------------------------------------------- B-trees

    def tree(self, address: int, kind: int, key_size: int) -> Iterator[tuple[bytes, int]]:
        """Keys and children of all leaves of a version 1 B-tree."""
        pending, seen = [(address, 64)], set()
        while pending:
            at, level_above = pending.pop()
            if at in seen:
                raise wrong("has a B-tree that leads in a circle", "HD03", self.base + at)
            seen.add(at)
            head = self.read(at, 8 + 2 * self.offset_size)
            if head[:4] != b"TREE" or head[4] != kind or head[5] >= level_above:
                raise wrong("has a damaged B-tree", "HD03", self.base + at)
            level, used = head[5], int.from_bytes(head[6:8], "little")
            step = key_size + self.offset_size
            data = self.read(at + len(head), used * step)
            rows = [(data[n : n + key_size], self.address(data, n + key_size)) for n in range(0, used * step, step)]
            if level:
                pending += [(child, level) for _, child in reversed(rows)]
            else:
                yield from rows

    def records(self, address: int) -> Iterator[bytes]:
        """All records of a version 2 B-tree."""
        head = self.read(address, 22 + self.offset_size + self.length_size)
        if head[:4] != b"BTHD" or head[4]:
            raise wrong("has a damaged B-tree", "HD03", self.base + address)
        node_size, record, depth = struct.unpack_from("<IHH", head, 6)
        root, after = self.address(head, 16), 16 + self.offset_size
        count = int.from_bytes(head[after : after + 2], "little")
        if not record or node_size < 16 or depth > 32:
            raise wrong("has a damaged B-tree", "HD03", self.base + address)
        if root >= 0 and count:
            yield from self._node(root, count, depth, (node_size, record))

    def _node(self, address: int, count: int, depth: int, sizes: tuple[int, int]) -> Iterator[bytes]:
        node_size, record = sizes
        sign = b"BTIN" if depth else b"BTLF"
        data = self.read(address, node_size)
        if data[:4] != sign or 6 + count * record > node_size:
            raise wrong("has a damaged B-tree", "HD03", self.base + address)
        rows = [data[6 + n * record : 6 + (n + 1) * record] for n in range(count)]
        if not depth:
            yield from rows
            return
        widths = self._counts(node_size, record, depth)
        at = 6 + count * record
        for number in range(count + 1):
            child = self.address(data, at)
            at += self.offset_size
            held = int.from_bytes(data[at : at + widths[0]], "little")
            at += widths[0] + widths[1]
            yield from self._node(child, held, depth - 1, sizes)
            if number < count:
                yield rows[number]

    def _counts(self, node_size: int, record: int, depth: int) -> tuple[int, int]:
        """Bytes of a child's number of records, and of the number below it (0 for children that are leaves)."""
        most = (node_size - 10) // record
        width = _bytes_for(most)
        total, below = most, 0
        for level in range(1, depth):
            pointer = self.offset_size + width + below
            fan = (node_size - 10 - pointer) // (record + pointer)
            total = (fan + 1) * total + fan
            below = _bytes_for(total)
            if level == depth - 1:
                return width, below
        return width, 0

    # -------------------------------------------------------------- heaps

    def local_heap(self, address: int) -> bytes:
        """The data of a local heap: names of the members of a group."""
        head = self.read(address, 8 + 2 * self.length_size + self.offset_size)
        if head[:4] != b"HEAP":
            raise wrong("has a damaged heap of names", "HD03", self.base + address)
        return self.read(self.address(head, 8 + 2 * self.length_size), self.length(head, 8))

    def global_object(self, address: int, index: int) -> bytes:
        """One object of a global heap collection: a string of variable length."""
        if self._collection[0] != address:
            self._collection = address, *self._objects(address)
        _, data, places = self._collection
        if index not in places:
            raise wrong(f"refers to string {index} of a heap that has none", "HD03", self.base + address)
        return self._part(data, *places[index])

    def _objects(self, address: int) -> tuple[bytes, dict[int, tuple[int, int]]]:
        """A global heap collection, and begin and length of its objects by number (of 16 bits)."""
        head = self.read(address, 8 + self.length_size)
        if head[:4] != b"GCOL":
            raise wrong("has a damaged heap of strings", "HD03", self.base + address)
        data, at = self.read(address, self.length(head, 8)), 8 + self.length_size
        places: dict[int, tuple[int, int]] = {}
        seen = 0
        while at + 8 + self.length_size <= len(data):
            number = int.from_bytes(data[at : at + 2], "little")
            if not number:
                break
            start, held = at + 8 + self.length_size, self.length(data, at + 8)
            places.setdefault(number, (start, held))
            at, seen = start + (held + 7) // 8 * 8, seen + 1
        self.budget.step(seen // 4)
        return data, places


def _bytes_for(value: int) -> int:
    return max(1, (value.bit_length() + 7) // 8)


class FractalHeap:
    """Messages of groups and objects with many links or attributes."""

    def __init__(self, file: File, address: int) -> None:
        self._file = file
        o, size = file.offset_size, file.length_size
        head = file.read(address, 22 + 12 * size + 3 * o)
        if head[:4] != b"FRHP" or head[7] or head[8]:
            raise wrong("has a heap that is damaged or filtered", "HD04", file.base + address)
        most_managed = int.from_bytes(head[10:14], "little")
        at = 14 + size + o + size + o + 8 * size
        self._width = int.from_bytes(head[at : at + 2], "little")
        self._start = file.length(head, at + 2)
        self._largest = file.length(head, at + 2 + size)
        at += 2 + 2 * size
        bits = int.from_bytes(head[at : at + 2], "little")
        self._root = file.address(head, at + 4)
        self._rows = int.from_bytes(head[at + 4 + o : at + 6 + o], "little")
        self._offset_bytes = (bits + 7) // 8
        self._length_bytes = _bytes_for(min(self._largest, most_managed))
        if not (0 < self._width <= 4096 and 0 < self._start <= self._largest <= 1 << 32 and bits <= 64):
            raise wrong("has a damaged heap", "HD03", file.base + address)

    def object(self, identifier: bytes) -> bytes:
        """The bytes of an object."""
        kind = identifier[0] >> 4 & 3
        if kind == 2:  # tiny: the identifier holds it
            return identifier[1 : 2 + (identifier[0] & 15)]
        if kind != 0:
            raise wrong("has a huge object in a heap, which is not read", "HD04")
        at = 1 + self._offset_bytes
        offset = int.from_bytes(identifier[1:at], "little")
        length = int.from_bytes(identifier[at : at + self._length_bytes], "little")
        if not self._rows:
            return self._file.read(self._root + offset, length)
        return self._file.read(self._locate(self._root, self._rows, 0, offset, 0), length)

    def _size(self, row: int) -> int:
        return self._start << max(0, row - 1)

    def _locate(self, address: int, rows: int, first: int, offset: int, depth: int) -> int:
        """The address of a heap offset below an indirect block whose space begins at ``first``."""
        file = self._file
        if depth > 16 or rows > 64:
            raise wrong("has a heap that is nested too deeply", "HD03", file.base + address)
        head = 5 + file.offset_size + self._offset_bytes
        if file.read(address, 4) != b"FHIB":
            raise wrong("has a damaged heap", "HD03", file.base + address)
        start = first
        for row in range(rows):
            size = self._size(row)
            for column in range(self._width):
                if start <= offset < start + size:
                    slot = head + (row * self._width + column) * file.offset_size
                    child = file.address(file.read(address + slot, file.offset_size), 0)
                    if size <= self._largest:
                        return child + offset - start
                    below = (size // (self._start * self._width)).bit_length()
                    return self._locate(child, below, start, offset, depth + 1)
                start += size
        raise wrong("refers to nothing in a heap", "HD03", file.base + address)
