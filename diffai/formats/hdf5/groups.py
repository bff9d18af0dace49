"""Groups: links to objects, in whichever of three ways a file keeps them, and attributes."""

from __future__ import annotations

from collections.abc import Iterator

from diffai.formats.hdf5.datatypes import Datatype, parse_dataspace, parse_datatype
from diffai.formats.hdf5.file import (
    ATTRIBUTE,
    ATTRIBUTE_INFO,
    LINK,
    LINK_INFO,
    SYMBOL_TABLE,
    File,
    FractalHeap,
    Message,
    wrong,
)
from diffai.frozen import frozen

_HARD, _SOFT, _EXTERNAL = 0, 1, 64
_LONGEST_VALUE = 64 << 20


@frozen
class Link:
    """A member of a group: the address of its header, or the words of a link that is not followed."""

    name: str
    address: int
    elsewhere: str = ""


def links(file: File, messages: list[Message]) -> Iterator[Link]:
    """All links of a group, in file order."""
    for message in messages:
        if message.kind == SYMBOL_TABLE:
            yield from _symbols(file, message.data)
        elif message.kind == LINK:
            yield _link(file, message.data)
        elif message.kind == LINK_INFO:
            at = 2 + (8 if message.data[1] & 1 else 0)
            heap, index = file.address(message.data, at), file.address(message.data, at + file.offset_size)
            if heap >= 0 and index >= 0:
                objects = FractalHeap(file, heap)
                for record in file.records(index):
                    yield _link(file, objects.object(record[4:]))


def is_group(messages: list[Message]) -> bool:
    """Whether an object can have members."""
    return any(message.kind in (SYMBOL_TABLE, LINK, LINK_INFO) for message in messages)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def _symbols(file: File, data: bytes) -> Iterator[Link]:
    tree, heap = file.address(data, 0), file.address(data, file.offset_size)
    names = file.local_heap(heap)

    def name_at(offset: int) -> str:
        end = names.find(b"\0", offset)
        if not 0 <= offset < len(names) or end < 0:
            raise wrong("has a name outside its heap", "HD03", file.base + heap)
        return _text(names[offset:end])

    size = 2 * file.offset_size + 24
    for _, node in file.tree(tree, 0, file.length_size):
        head = file.read(node, 8)
        if head[:4] != b"SNOD":
            raise wrong("has a damaged table of symbols", "HD03", file.base + node)
        count = int.from_bytes(head[6:8], "little")
        rows = file.read(node + 8, count * size)
        for at in range(0, count * size, size):
            name = name_at(file.address(rows, at))
            address = file.address(rows, at + file.offset_size)
            cached = int.from_bytes(rows[at + 2 * file.offset_size : at + 2 * file.offset_size + 4], "little")
            if cached == 2:
                scratch = at + 2 * file.offset_size + 8
                target = name_at(int.from_bytes(rows[scratch : scratch + 4], "little"))
                yield Link(name, -1, f"soft link to {target}")
            else:
                yield Link(name, address)


def _link(file: File, data: bytes) -> Link:
    if len(data) < 4 or data[0] != 1:
        raise wrong("has a damaged link", "HD03")
    flags, at, kind = data[1], 2, _HARD
    if flags & 8:
        kind, at = data[at], at + 1
    at += (8 if flags & 4 else 0) + (1 if flags & 16 else 0)
    width = 1 << (flags & 3)
    length = int.from_bytes(data[at : at + width], "little")
    at += width
    name = _text(data[at : at + length])
    at += length
    if kind == _HARD:
        return Link(name, file.address(data, at))
    value = data[at + 2 : at + 2 + int.from_bytes(data[at : at + 2], "little")]
    if kind == _SOFT:
        return Link(name, -1, f"soft link to {_text(value)}")
    if kind == _EXTERNAL:
        path, _, inside = value[1:].partition(b"\0")
        return Link(name, -1, f"external link to {_text(path)}:{_text(inside.rstrip(bytes(1)))}")
    return Link(name, -1, f"link of type {kind}")


# ---------------------------------------------------------------- attributes

Plain = str | int | float
Value = Plain | tuple[Plain, ...]


def attributes(file: File, messages: list[Message]) -> dict[str, Value]:
    """Attributes of an object whose values are numbers or text; others are left out."""
    found: dict[str, Value] = {}
    for data in _attribute_messages(file, messages):
        name, value = _attribute(file, data)
        if value is not None:
            found[name] = value
    return found


def _attribute_messages(file: File, messages: list[Message]) -> Iterator[bytes]:
    for message in messages:
        if message.kind == ATTRIBUTE:
            yield file.resolved(message)
        elif message.kind == ATTRIBUTE_INFO:
            data = message.data
            at = 2 + (2 if data[1] & 1 else 0)
            heap, index = file.address(data, at), file.address(data, at + file.offset_size)
            if heap >= 0 and index >= 0:
                objects = FractalHeap(file, heap)
                for record in file.records(index):
                    yield objects.object(record[:8])


def _attribute(file: File, data: bytes) -> tuple[str, Value | None]:
    version = data[0]
    if version not in (1, 2, 3) or len(data) < 8:
        raise wrong("has a damaged attribute", "HD03")
    sizes = [int.from_bytes(data[at : at + 2], "little") for at in (2, 4, 6)]
    at = 9 if version == 3 else 8
    padded = [(size + 7) // 8 * 8 if version == 1 else size for size in sizes]
    name = _text(data[at : at + sizes[0]].split(b"\0")[0])
    kind_at, space_at = at + padded[0], at + padded[0] + padded[1]
    kind_data = data[kind_at : kind_at + sizes[1]]
    if version > 1 and data[1] & 1:  # a committed datatype
        kind_data = file.resolved(Message(3, kind_data, True, -1))
    kind = parse_datatype(kind_data)
    shape = parse_dataspace(file, data[space_at : space_at + sizes[2]])
    if shape is None:
        return name, None
    count = 1
    for size in shape:
        count *= size
    payload = data[space_at + padded[2] :]
    if count * kind.size > len(payload):
        raise wrong(f"has an attribute {name[:100]!r} that is cut off", "HD03")
    values = plain_values(file, kind, payload, count)
    if values is None:
        return name, None
    return name, values[0] if shape == () and values else tuple(values)


def plain_values(file: File, kind: Datatype, payload: bytes, count: int) -> list[Plain] | None:
    """Numbers or texts of a small value; None where it is neither."""
    import struct

    file.budget.value(count)
    file.budget.make(count * kind.size)
    pieces = [payload[n * kind.size : (n + 1) * kind.size] for n in range(count)]
    if kind.text == "fixed":
        return [_text(piece.rstrip(b"\0 ") if piece.endswith(b" ") else piece.split(b"\0")[0]) for piece in pieces]
    if kind.text == "variable":
        return [_variable(file, piece) for piece in pieces]
    codes = {"F64": "d", "F32": "f", "F16": "e", "I8": "b", "I16": "h", "I32": "i", "I64": "q", "U8": "B", "U16": "H",
             "U32": "I", "U64": "Q", "BOOL": "?"}  # fmt: skip
    if kind.dtype not in codes:
        return None
    order = ">" if kind.swap else "<"
    return [struct.unpack(order + codes[kind.dtype], piece)[0] for piece in pieces]


def lists_of(file: File, kind: Datatype, payload: bytes) -> Iterator[bytes]:
    """What elements of variable length hold, each as its length and its bytes; for digests, nothing of it is kept."""
    for at in range(0, len(payload) // kind.size * kind.size, kind.size):
        piece = payload[at : at + kind.size]
        length = int.from_bytes(piece[:4], "little")
        address = file.address(piece, 4)
        index = int.from_bytes(piece[4 + file.offset_size : 8 + file.offset_size], "little")
        size = length * (kind.held or 1)
        file.passed_over(size)
        data = file.global_object(address, index)[:size] if length and address > 0 else b""
        yield length.to_bytes(4, "little") + data


def _variable(file: File, piece: bytes) -> str:
    """A string of variable length: its length, the collection's address and the number of the object."""
    length = int.from_bytes(piece[:4], "little")
    address = file.address(piece, 4)
    index = int.from_bytes(piece[4 + file.offset_size : 8 + file.offset_size], "little")
    if not length or address <= 0:
        return ""
    if length > _LONGEST_VALUE:
        raise wrong(f"has a text of {length:,} bytes", "HD03", file.base + address)
    file.budget.make(length)
    return _text(file.global_object(address, index)[:length])
