"""HDF5 datatypes and dataspaces, as far as models use them."""

from __future__ import annotations

from diffai.formats.hdf5.file import File, wrong
from diffai.frozen import frozen

_FIXED, _FLOAT, _STRING, _BITFIELD, _OPAQUE, _COMPOUND, _REFERENCE, _ENUM, _VLEN = 0, 1, 3, 4, 5, 6, 7, 8, 9
_NAMES = ("integer", "float", "time", "string", "bit field", "opaque", "compound", "reference", "enumeration",
          "variable length", "array")  # fmt: skip
_FLOATS = {(8, 11): "F64", (4, 8): "F32", (2, 5): "F16", (2, 8): "BF16", (1, 4): "F8_E4M3", (1, 5): "F8_E5M2"}
_COMPLEX = {"F16": "C32", "F32": "C64", "F64": "C128"}


@frozen
class Datatype:
    """An element type.

    Attributes:
        kind: number of the class.
        size: bytes an element takes in the file.
        dtype: diffai's name; "" where the values are no numbers.
        swap: big-endian.
        text: ``fixed`` or ``variable`` for strings, else "".
        title: for people.
        held: bytes of one of the numbers that an element of variable length is a list of; 0 = it is of something else.

    """

    kind: int
    size: int
    dtype: str = ""
    swap: bool = False
    text: str = ""
    title: str = ""
    held: int = 0


def parse_datatype(data: bytes, depth: int = 0) -> Datatype:
    """A datatype message; HD03 when it is cut off, HD04 when its numbers are of a kind that is not read."""
    if len(data) < 8 or depth > 8:
        raise wrong("has a damaged datatype", "HD03")
    kind, bits = data[0] & 15, int.from_bytes(data[1:4], "little")
    size = int.from_bytes(data[4:8], "little")
    if not 0 < size <= 1 << 20:
        raise wrong(f"has elements of {size:,} bytes", "HD03")
    title = _NAMES[kind] if kind < len(_NAMES) else f"class {kind}"
    if kind == _FIXED and size in (1, 2, 4, 8):
        return Datatype(kind, size, f"{'I' if bits & 8 else 'U'}{8 * size}", bool(bits & 1), title=title)
    if kind == _FLOAT and len(data) >= 20:
        swap = bool(bits & 1)
        dtype = _FLOATS.get((size, data[13]), "")
        if bits & 0x40 or not dtype:
            raise wrong(f"has floats of {size} bytes with an exponent of {data[13]} bits, which are not read", "HD04")
        return Datatype(kind, size, dtype, swap, title=title)
    if kind == _STRING:
        return Datatype(kind, size, text="fixed", title=title)
    if kind == _VLEN:
        base = parse_datatype(data[8:], depth + 1)
        held = base.size if base.dtype and not bits & 15 else 0
        return Datatype(kind, size, text="variable" if bits & 15 == 1 else "", title=title, held=held)
    if kind == _BITFIELD and size in (1, 2, 4, 8):
        return Datatype(kind, size, f"U{8 * size}", bool(bits & 1), title=title)
    if kind == _ENUM:
        return _enumeration(data, bits & 0xFFFF, depth)
    if kind == _COMPOUND:
        return _compound(data, bits & 0xFFFF, size, depth)
    return Datatype(kind, size, title=title)


def _enumeration(data: bytes, count: int, depth: int) -> Datatype:
    """An enumeration; h5py writes booleans as one of FALSE and TRUE."""
    base = parse_datatype(data[8:], depth + 1)
    names = data[8 + 12 :].split(b"\0")
    is_bool = count == 2 and base.size == 1 and {b"FALSE", b"TRUE"} <= set(names)
    return Datatype(_ENUM, base.size, "BOOL" if is_bool else base.dtype, base.swap, title="enumeration")


def _compound(data: bytes, count: int, size: int, depth: int) -> Datatype:
    """A record; one of two equal floats called r and i, or real and imag, is a complex number."""
    found = Datatype(_COMPOUND, size, title="compound")
    version, at, members = data[0] >> 4, 8, []
    if count != 2:
        return found
    for _ in range(count):
        end = data.find(b"\0", at)
        if end < 0:
            raise wrong("has a damaged datatype", "HD03")
        name = data[at:end]
        at = end + 1 if version >= 3 else at + (end - at + 8) // 8 * 8
        width = max(1, ((size - 1).bit_length() + 7) // 8) if version >= 3 else 4
        at += width + (28 if version == 1 else 0)
        member = parse_datatype(data[at:], depth + 1)
        members.append((name, member))
        at += 8 + (12 if member.kind == _FLOAT else 4)
    (first, one), (second, other) = members
    is_complex = (first, second) in ((b"r", b"i"), (b"real", b"imag"))
    if is_complex and one == other and one.dtype in _COMPLEX and size == 2 * one.size:
        return Datatype(_COMPOUND, size, _COMPLEX[one.dtype], one.swap, title="complex")
    return found


def parse_dataspace(file: File, data: bytes) -> tuple[int, ...] | None:
    """Sizes of a dataspace message; () for a scalar, None for a null space."""
    if len(data) < 4 or data[0] not in (1, 2):
        raise wrong("has a damaged dataspace", "HD03")
    rank, at = data[1], 8 if data[0] == 1 else 4
    if data[0] == 2 and data[3] == 2:
        return None
    if rank > 32:
        raise wrong(f"has {rank} dimensions", "HD03")
    return tuple(file.length(data, at + n * file.length_size) for n in range(rank))
