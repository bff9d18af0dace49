"""``TensorProto``: where the values of a tensor lie, in which of nine ways."""

from __future__ import annotations

import struct

from diffai.errors import FormatError
from diffai.formats.companions import Companions
from diffai.formats.protobuf import FIXED32, FIXED64, LENGTH, PAYLOAD, VARINT, Message, signed, varint, varints
from diffai.formats.regions import BytesRegion, FileRegion, LazyRegion, Region
from diffai.frozen import slotted
from diffai.model import element_count

#: ``TensorProto.DataType`` by number. STRING (8) has no values of ours; 4-bit kinds are coded, two to a byte.
DTYPES = {
    1: "F32", 2: "U8", 3: "I8", 4: "U16", 5: "I16", 6: "I32", 7: "I64", 9: "BOOL", 10: "F16", 11: "F64", 12: "U32",
    13: "U64", 14: "C64", 15: "C128", 16: "BF16", 17: "F8_E4M3", 18: "F8_E4M3FNUZ", 19: "F8_E5M2",
    20: "F8_E5M2FNUZ", 23: "F4", 24: "F8_E8M0",
}  # fmt: skip
SMALL = {21: ("U4", 4, False), 22: ("I4", 4, True), 25: ("U2", 2, False), 26: ("I2", 2, True)}
"""Kinds below a byte that are coded: name, bits, whether signed."""
STRING = 8

# Which typed field holds which kinds, and how wide one number of it becomes.
_FLOATS, _INT32, _STRINGS, _INT64, _RAW, _DOUBLES, _UINT64 = 4, 5, 6, 7, 9, 10, 11
_VALUE_FIELDS = {4: "float_data", 5: "int32_data", 7: "int64_data", 9: "raw_data", 10: "double_data", 11: "uint64_data"}
_TYPED = {
    "F32": _FLOATS, "C64": _FLOATS, "F64": _DOUBLES, "C128": _DOUBLES, "I64": _INT64, "U32": _UINT64, "U64": _UINT64,
}  # fmt: skip
_MOST_TYPED = 256 << 20


@slotted
class TensorProto:
    """What a tensor's message says: name, element type, dimensions, and the places of its values by field."""

    name: str
    kind: int
    dims: tuple[int, ...]
    places: dict[int, list[tuple[int, int, int]]]
    external: dict[str, str]
    is_external: bool
    offset: int

    @property
    def dtype(self) -> str:
        """Diffai's name of the element type; "" where it has none."""
        return DTYPES.get(self.kind) or SMALL.get(self.kind, ("",))[0] or ("STRING" if self.kind == STRING else "")


def parse(message: Message) -> TensorProto:
    """The parts of a ``TensorProto``; payloads are not read."""
    return (_short(message) if message.stop - message.start <= PAYLOAD else None) or _any(message)


def _short(message: Message) -> TensorProto | None:
    """A tensor whose values are ``raw_data`` and which has nothing else; None where it is any other."""
    data, base = message.held()
    at, stop = message.start - base, message.stop - base
    name, kind, raw = "", 0, (0, 0)
    dims: list[int] = []
    while at + 1 < stop:
        key, size = data[at], data[at + 1]
        first = at + 2
        if key in (0x08, 0x10):  # a dimension, the element type
            if size > 127:
                value, first = varint(data, at + 1, stop, base)
                size = value if value < 1 << 63 else -1
            if key == 0x08:
                dims.append(size)
            else:
                kind = size
            at = first
            continue
        if size > 127 and key in (0x42, 0x4A):
            size, first = varint(data, at + 1, stop, base)
        at = first + size
        if key == 0x0A and size < 128:
            dims += map(signed, varints(data[first:at]))
        elif key == 0x42:
            name = data[first:at].decode("utf-8", "backslashreplace")
        elif key == 0x4A:
            raw = (base + first, base + at)
        else:
            return None
    if at != stop or len(name) > 1000 or raw == (0, 0):
        return None
    return TensorProto(name, kind, tuple(dims), {_RAW: [(LENGTH, *raw)]}, {}, False, message.start)


def _any(message: Message) -> TensorProto:
    tensor = TensorProto("", 0, (), {}, {}, False, message.start)
    dims: list[int] = []
    for number, kind, a, b in message.fields(PAYLOAD):
        if number == 1:
            packed = [a] if kind == VARINT else varints(message.content(a, min(b, a + 4096)))
            dims += [signed(size) for size in packed]
        elif number == 2 and kind == VARINT:
            tensor.kind = a
        elif number == 8 and kind == LENGTH:
            tensor.name = message.text(a, b)
        elif number == 13 and kind == LENGTH:
            key, value = entry(message.within(a, b))
            tensor.external[key] = value
        elif number == 14 and kind == VARINT:
            tensor.is_external = a == 1
        elif number in _VALUE_FIELDS or number == _STRINGS:
            tensor.places.setdefault(number, []).append((kind, a, b))
    tensor.dims = tuple(dims)
    return tensor


def entry(message: Message) -> tuple[str, str]:
    """A ``StringStringEntryProto``."""
    key = value = ""
    for number, kind, a, b in message.fields():
        if kind == LENGTH and number == 1:
            key = message.text(a, b)
        elif kind == LENGTH and number == 2:
            value = message.text(a, b)
    return key, value


def values_of(tensor: TensorProto, message: Message, name: str, wanted: int) -> Region | None:
    """The ``wanted`` bytes of a tensor's values inside the model file; None where it has no elements.

    Raises:
        FormatError: ON04.

    """
    if len(tensor.places) == 1 and _RAW in tensor.places:
        kind, a, b = tensor.places[_RAW][-1]
        if kind == LENGTH and b - a == wanted and wanted:
            return FileRegion(message.source, a, wanted)
    filled = [number for number in tensor.places if number in _VALUE_FIELDS]
    filled = [number for number in filled if any(kind != LENGTH or b > a for kind, a, b in tensor.places[number])]
    if not filled and not wanted:
        return None
    if len(filled) != 1:
        what = "no field" if not filled else " and ".join(_VALUE_FIELDS[number] for number in sorted(filled))
        raise _wrong(f"has its values in {what}", name, tensor)
    number = filled[0]
    places = tensor.places[number]
    if number == _RAW:
        kind, a, b = places[-1]
        if kind != LENGTH or b - a != wanted:
            held = b - a if kind == LENGTH else 0
            raise _wrong(f"has {held:,} bytes of raw_data, its shape needs {wanted:,}", name, tensor)
        return FileRegion(message.source, a, wanted)
    if _TYPED.get(tensor.dtype, _INT32) != number:
        raise _wrong(f"is {tensor.dtype} and has its values in {_VALUE_FIELDS[number]}", name, tensor)
    if number in (_FLOATS, _DOUBLES) and len(places) == 1 and places[0][0] == LENGTH:
        _, a, b = places[0]
        if b - a != wanted:
            raise _wrong(f"has {b - a:,} bytes of {_VALUE_FIELDS[number]}, its shape needs {wanted:,}", name, tensor)
        return FileRegion(message.source, a, wanted)
    stored = sum(b - a if kind == LENGTH else 10 for kind, a, b in places)
    if stored > _MOST_TYPED or wanted > 10 * stored + 16:
        raise _wrong(f"has {stored:,} bytes of {_VALUE_FIELDS[number]}, its shape needs {wanted:,}", name, tensor)
    return LazyRegion(wanted, lambda: BytesRegion(_collected(tensor, message, number, wanted, name)))


def _wrong(what: str, name: str, tensor: TensorProto, code: str = "ON04") -> FormatError:
    return FormatError(what, code=code, tensor=name, offset=tensor.offset)


def _collected(tensor: TensorProto, message: Message, number: int, wanted: int, name: str) -> bytes:
    """Values of typed fields as raw little-endian bytes: packed or one by one, in any number of pieces."""
    if number in (_FLOATS, _DOUBLES):
        data = b"".join(
            message.source.read(a, b - a) for kind, a, b in tensor.places[number] if kind in (LENGTH, FIXED32, FIXED64)
        )
    else:
        numbers: list[int] = []
        for kind, a, b in tensor.places[number]:
            numbers += [a] if kind == VARINT else varints(message.source.read(a, b - a))
        width = 1 if tensor.kind in SMALL or tensor.dtype == "F4" else wanted // max(1, element_count(tensor.dims))
        mask = (1 << 8 * width) - 1
        code = {1: "B", 2: "H", 4: "I", 8: "Q"}[width]
        data = struct.pack(f"<{len(numbers)}{code}", *[value & mask for value in numbers])
    if len(data) != wanted:
        raise _wrong(f"has {len(data):,} bytes of {_VALUE_FIELDS[number]}, its shape needs {wanted:,}", name, tensor)
    return data


def strings_of(tensor: TensorProto, message: Message) -> tuple[int, str]:
    """How many strings a tensor of strings has, and a digest of them."""
    import hashlib

    digest, count = hashlib.blake2b(digest_size=16), 0
    for kind, a, b in tensor.places.get(_STRINGS, ()):
        if kind == LENGTH:
            digest.update((b - a).to_bytes(8, "little"))
            for at in range(a, b, 1 << 20):
                digest.update(message.source.read(at, min(1 << 20, b - at)))
            count += 1
    return count, digest.hexdigest()


class SmallCoder:
    """Integers of 2 or 4 bits, low bits first, as int8 or uint8."""

    def __init__(self, bits: int, signed_: bool) -> None:
        self.kind = f"{'' if signed_ else 'u'}int{bits}"
        self.elements, self.size = 8 // bits, 1
        self._bits, self._signed = bits, signed_

    def decode(self, data: memoryview, out: memoryview) -> None:
        """Spread the bits out."""
        import numpy as np

        codes = np.frombuffer(data, np.uint8)
        mask = (1 << self._bits) - 1
        values = np.stack([codes >> shift & mask for shift in range(0, 8, self._bits)], axis=-1).reshape(-1)
        if self._signed:
            half = 1 << (self._bits - 1)
            values = (values ^ half).astype(np.int8) - np.int8(half)
        out[:] = np.ascontiguousarray(values).view(np.uint8).data


def external_region(tensor: TensorProto, name: str, companions: Companions, wanted: int) -> Region:
    """The values of a tensor that lie in a file beside the model.

    Raises:
        FormatError: ON06, ON07.
        SourceError: the file is not here; its text says which.

    """
    location = tensor.external.get("location", "")
    try:
        offset = int(tensor.external.get("offset") or 0)
        length = int(tensor.external.get("length") or wanted)
    except ValueError as error:
        raise _wrong("has external data at a place that is no number", name, tensor, "ON07") from error
    try:
        source = companions.open(location)
    except FormatError as error:
        error.tensor = name
        raise
    if length != wanted or offset < 0 or offset + wanted > source.size:
        reason = f"has {length:,} bytes of external data at offset {offset:,} of {source.size:,}, needs {wanted:,}"
        raise _wrong(reason, name, tensor, "ON07")
    return FileRegion(source, offset, wanted)
