"""``TensorProto`` of TensorFlow: the values of a constant, as raw bytes or as lists whose last value repeats."""

from __future__ import annotations

import struct
from hashlib import blake2b

from diffai.errors import FormatError
from diffai.formats.base import Budget
from diffai.formats.protobuf import FIXED32, FIXED64, LENGTH, VARINT, Message, varints
from diffai.formats.regions import BytesRegion, FileRegion, Region
from diffai.formats.tensorflow.types import DTYPES, STRING, shape_of
from diffai.frozen import slotted
from diffai.model import byte_count, element_count

_CONTENT = 4
#: The list that holds each kind, how wide its numbers are on the wire (0: varints), and in the tensor.
_FLOATS, _DOUBLES = {5: 4, 9: 4}, {6: 8, 12: 8}
_FIELD = {
    "F32": 5, "F64": 6, "I32": 7, "U8": 7, "I16": 7, "I8": 7, "U16": 7, "C64": 9, "I64": 10, "BOOL": 11, "C128": 12,
    "F16": 13, "BF16": 13, "U32": 16, "U64": 17,
}  # fmt: skip


@slotted
class Constant:
    """A constant: its element type by number, its shape, and where its values lie by field."""

    kind: int
    shape: tuple[int, ...]
    places: dict[int, list[tuple[int, int, int]]]
    message: Message


def parse(message: Message) -> Constant:
    """The parts of a ``TensorProto``; payloads are not read."""
    constant = Constant(0, (), {}, message)
    for number, kind, a, b in message.fields():
        if number == 1 and kind == VARINT:
            constant.kind = a
        elif number == 2 and kind == LENGTH:
            constant.shape = shape_of(message.within(a, b))
        elif number > 3:
            constant.places.setdefault(number, []).append((kind, a, b))
    return constant


def values_of(constant: Constant, dtype: str, budget: Budget) -> Region:
    """The bytes of a constant's values, little-endian.

    Raises:
        FormatError: they are more, or of another kind, than the shape and the type say; LimitError.

    """
    if any(size < 0 for size in constant.shape):
        raise FormatError("has an impossible shape", offset=constant.message.start)
    wanted = byte_count(dtype, element_count(constant.shape))
    content = [(a, b) for kind, a, b in constant.places.get(_CONTENT, ()) if kind == LENGTH and b > a]
    if content:
        a, b = content[-1]
        if b - a != wanted:
            reason = f"has {b - a:,} bytes, its shape needs {wanted:,}"
            raise FormatError(reason, offset=constant.message.start)
        return FileRegion(constant.message.source, a, wanted)
    budget.make(wanted)
    return BytesRegion(_listed(constant, dtype, wanted))


def _listed(constant: Constant, dtype: str, wanted: int) -> bytes:
    """Values of a list; the last one stands for all that are not there, zeros where none is."""
    field = _FIELD.get(dtype, 0)
    places, message = constant.places.get(field, []), constant.message
    width = wanted // max(1, element_count(constant.shape))
    held = sum(b - a if kind == LENGTH else 1 for kind, a, b in places)
    if held > 10 * wanted + 16:
        raise FormatError("has more values than its shape needs", offset=message.start)
    if field in _FLOATS or field in _DOUBLES:
        data = b"".join(message.content(a, b) for kind, a, b in places if kind in (LENGTH, FIXED32, FIXED64))
    else:
        numbers: list[int] = []
        for kind, a, b in places:
            numbers += [a] if kind == VARINT else varints(message.content(a, b))
        mask = (1 << 8 * width) - 1
        code = {1: "B", 2: "H", 4: "I", 8: "Q"}.get(width, "B")
        data = struct.pack(f"<{len(numbers)}{code}", *(number & mask for number in numbers))
    if not width or len(data) > wanted or len(data) % width:
        if not wanted and not data:
            return b""
        raise FormatError(f"has {len(data):,} bytes of values, its shape needs {wanted:,}", offset=message.start)
    last = data[-width:] if data else bytes(width)
    return data + last * ((wanted - len(data)) // width)


def digest(constant: Constant) -> str:
    """A digest of type, shape and all values as they are stored; for text and for small constants."""
    found = blake2b(repr((constant.kind, constant.shape)).encode(), digest_size=8)
    for number in sorted(constant.places):
        for kind, a, b in constant.places[number]:
            found.update(repr((number, kind, a if kind == VARINT else b - a)).encode())
            for at in range(a, b, 1 << 20) if kind != VARINT else ():
                found.update(constant.message.content(at, min(at + (1 << 20), b)))
    return found.hexdigest()


__all__ = ["DTYPES", "STRING", "Constant", "digest", "parse", "values_of"]
