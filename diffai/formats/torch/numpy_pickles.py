"""numpy arrays, dtypes and scalars inside a pickle, rebuilt without numpy.

The forms are those of numpy's ``__reduce__``: ``_reconstruct`` + state, ``_frombuffer`` (protocol 5), ``scalar``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from diffai.formats.layout import DType
from diffai.formats.records import RecordField
from diffai.formats.regions import COPY_BLOCK, BytesRegion, Region, read
from diffai.formats.torch.objects import DTYPES, Array, Global, LongBytes, LongText, NumpyDType, Stub
from diffai.formats.torch.unpickler import Constructor, Machine
from diffai.model import element_count

# numpy type codes, byte order left off; "M8" and the like have values that no dtype name of ours covers.
_CODES = {
    "b1": DTYPES["bool"], "?": DTYPES["bool"], "i1": DTYPES["int8"], "u1": DTYPES["uint8"], "i2": DTYPES["int16"],
    "u2": DTYPES["uint16"], "i4": DTYPES["int32"], "u4": DTYPES["uint32"], "i8": DTYPES["int64"],
    "u8": DTYPES["uint64"], "f2": DTYPES["float16"], "f4": DTYPES["float32"], "f8": DTYPES["float64"],
    "c8": DTYPES["complex64"], "c16": DTYPES["complex128"], "f16": DType("F128", 16), "g": DType("F128", 16),
    "c32": DType("C256", 32), "M8": DType("DATETIME64", 8), "m8": DType("TIMEDELTA64", 8),
    "bfloat16": DTYPES["bfloat16"], "float8_e4m3fn": DTYPES["float8_e4m3fn"], "float8_e5m2": DTYPES["float8_e5m2"],
    "float8_e4m3fnuz": DTYPES["float8_e4m3fnuz"], "float8_e5m2fnuz": DTYPES["float8_e5m2fnuz"],
    "float8_e8m0fnu": DTYPES["float8_e8m0fnu"],
}  # fmt: skip
_NAMES = {
    "bool_": "b1", "bool": "b1", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4",
    "uint32": "u4", "int64": "i8", "uint64": "u8", "float16": "f2", "float32": "f4", "float64": "f8",
    "complex64": "c8", "complex128": "c16", "intc": "i4", "int_": "i8", "float_": "f8", "longlong": "i8",
}  # fmt: skip
_SCALARS = {
    "b1": "?", "i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "i8": "q", "u8": "Q",
    "f2": "e", "f4": "f", "f8": "d",
}  # fmt: skip


def element_type(dtype: object) -> DType | None:
    """The element type of a numpy dtype; None where its values are no numbers (text, records, objects)."""
    return None if not isinstance(dtype, NumpyDType) or dtype.structured else _CODES.get(dtype.code)


def _dtype(machine: Machine, args: tuple[object, ...]) -> object:
    code = args[0]
    if isinstance(code, Global):
        made = NumpyDType(_NAMES.get(code.name, code.name))
    elif isinstance(code, str):
        made = NumpyDType(code)
    else:
        made = NumpyDType("V")
        made.structured = True
    return made


def _dtype_state(machine: Machine, args: tuple[object, ...]) -> object:
    made, state = args
    if isinstance(made, NumpyDType) and isinstance(state, tuple) and len(state) >= 5:
        made.big_endian = state[1] == ">"
        made.structured = made.structured or state[2] is not None or state[3] is not None
        if len(state) > 5 and type(state[5]) is int and state[5] >= 0:
            made.item = state[5]
        made.fields = _fields(state[3], state[4])
        if isinstance(state[2], tuple) and isinstance(state[2][0], NumpyDType) and _is_shape(state[2][1]):
            made.base = state[2][0], state[2][1]
    return None


def _is_shape(value: object) -> bool:
    return isinstance(value, tuple) and len(value) < 32 and all(type(size) is int and size >= 0 for size in value)


def _fields(names: object, fields: object) -> dict[str, tuple[NumpyDType, int]]:
    """Fields of records in their order; {} where that is not what is given."""
    if not isinstance(names, tuple) or not isinstance(fields, dict):
        return {}
    found: dict[str, tuple[NumpyDType, int]] = {}
    for name in names:
        entry = fields.get(name) if isinstance(name, str) else None
        if not isinstance(entry, tuple) or not isinstance(entry[0], NumpyDType) or type(entry[1]) is not int:
            return {}
        found[name] = entry[0], entry[1]
    return found


def item_size(dtype: NumpyDType) -> int:
    """Bytes of one element; 0 where that is not known."""
    known = _CODES.get(dtype.code)
    if known is not None and not dtype.structured:
        return known.size
    if dtype.item:
        return dtype.item
    digits = dtype.code[1:]
    return int(digits) * (4 if dtype.code[0] == "U" else 1) if digits.isdigit() and dtype.code[0] in "USaV" else 0


def holds_objects(dtype: NumpyDType) -> bool:
    """Whether the elements, or a field of them, are Python objects, which lie in a pickle of their own."""
    if dtype.code.startswith("O"):
        return True
    inner = [kind for kind, _ in dtype.fields.values()] + ([dtype.base[0]] if dtype.base else [])
    return any(map(holds_objects, inner))


def columns_of(array: Array) -> list[tuple[str, Array]]:
    """An array of records as one array for each field; [] where it is none, or its bytes are not what it needs."""
    if array.columns is None:
        array.columns = _columns(array)
    return array.columns


def _columns(array: Array) -> list[tuple[str, Array]]:
    dtype, region, shape = array.dtype, region_of(array.data), array.shape
    if not isinstance(dtype, NumpyDType) or not dtype.fields or region is None or not _is_shape(shape):
        return []
    assert isinstance(shape, tuple)
    count, item = element_count(shape), item_size(dtype)
    if not item or region.size != count * item or (array.fortran and len(shape) > 1):
        return []
    found = []
    for name, (kind, offset) in dtype.fields.items():
        base, inner = kind.base or (kind, ())
        width = item_size(base) * element_count(inner)
        if not 0 <= offset <= item - width or not width:
            return []
        column = Array()
        column.dtype, column.shape = base, (*shape, *inner)
        column.data = LongBytes(RecordField(region, 0, count, item, offset, width))
        found.append((name, column))
    return found


def _reconstruct(machine: Machine, args: tuple[object, ...]) -> object:
    return Array()


def _array_state(machine: Machine, args: tuple[object, ...]) -> object:
    array, state = args
    if not isinstance(array, Array) or not isinstance(state, tuple):
        raise ValueError
    array.shape, array.dtype, fortran, data = state[-4:]
    array.fortran = fortran is True or fortran == 1
    array.data = data.encode("latin-1") if isinstance(data, str) else data
    return None


def _frombuffer(machine: Machine, args: tuple[object, ...]) -> object:
    array = Array()
    array.data, array.dtype, array.shape, order = args
    array.fortran = order == "F"
    return array


def _scalar(machine: Machine, args: tuple[object, ...]) -> object:
    dtype, data = (*args, b"")[:2]
    if isinstance(data, str):
        data = data.encode("latin-1")
    code = _SCALARS.get(dtype.code) if isinstance(dtype, NumpyDType) else None
    if code is None or not isinstance(dtype, NumpyDType) or not isinstance(data, bytes):
        return Stub(Global("numpy", "scalar"), args)
    return struct.unpack((">" if dtype.big_endian else "<") + code, data)[0]


def _encode(machine: Machine, args: tuple[object, ...]) -> object:
    """``_codecs.encode(text, "latin1")``: how protocol 2 writes bytes."""
    text, encoding = args if len(args) == 2 else (args[0], "utf-8")
    if not isinstance(encoding, str) or encoding.lower().replace("-", "") not in ("latin1", "utf8", "ascii"):
        raise ValueError
    if isinstance(text, str):
        machine.budget.make(len(text))
        return text.encode(encoding)
    if not isinstance(text, LongText):
        raise ValueError
    return LongBytes(machine.spool.append(_encoded(text.region, encoding)))


def _encoded(region: Region, encoding: str) -> Iterator[bytes]:
    import codecs

    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, region.size, COPY_BLOCK):
        part = read(region, start, min(COPY_BLOCK, region.size - start))
        yield decoder.decode(part, start + len(part) == region.size).encode(encoding)


def _bytearray(machine: Machine, args: tuple[object, ...]) -> object:
    if not args:
        return b""
    if isinstance(args[0], str):
        return _encode(machine, args)
    if not isinstance(args[0], (bytes, LongBytes)):
        raise ValueError
    return args[0]


_BIT_GENERATORS = frozenset(("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"))


def _bit_generator(machine: Machine, args: tuple[object, ...]) -> object:
    """A bit generator of numpy by its class or name; given anything else, what is done with it stays unsafe."""
    kind = args[0] if len(args) == 1 else "MT19937" if not args else None
    name = kind.name if isinstance(kind, Global) and kind.module.startswith("numpy.random._") else kind
    if isinstance(name, str) and name in _BIT_GENERATORS:
        return Stub(Global("numpy.random", name), ())
    return Stub(Global(_RANDOM, "__bit_generator_ctor"), args)


_RANDOM = "numpy.random._pickle"


def _of_bits(name: str, made: str) -> Constructor:
    """``__randomstate_ctor`` or ``__generator_ctor``: of a bit generator made as above, or of its name."""

    def build(machine: Machine, args: tuple[object, ...]) -> object:
        bits, maker = (*args, None, None)[:2]
        known = bits is None or (isinstance(bits, str) and bits in _BIT_GENERATORS)
        known = known or (isinstance(bits, Stub) and bits.of.module == "numpy.random")
        plain = maker is None or (isinstance(maker, Global) and maker.full == f"{_RANDOM}.__bit_generator_ctor")
        if known and plain and len(args) <= 2:
            return Stub(Global("numpy.random", made), args[:1])
        return Stub(Global(_RANDOM, name), args)

    return build


def region_of(data: object) -> Region | None:
    """The bytes of an array, wherever they lie; None when they are no bytes."""
    if isinstance(data, LongBytes):
        return data.region
    return BytesRegion(data) if isinstance(data, bytes) else None


CONSTRUCTORS: dict[str, Constructor] = {
    "numpy.dtype": _dtype,
    "numpy.dtypes.dtype": _dtype,
    "state of a dtype": _dtype_state,
    "state of an array": _array_state,
    "numpy._core.multiarray._reconstruct": _reconstruct,
    "numpy._core.numeric._frombuffer": _frombuffer,
    "numpy._core.multiarray.scalar": _scalar,
    "_codecs.encode": _encode,
    "builtins.bytearray": _bytearray,
    "builtins.bytes": _bytearray,
    f"{_RANDOM}.__bit_generator_ctor": _bit_generator,
    f"{_RANDOM}.__randomstate_ctor": _of_bits("__randomstate_ctor", "RandomState"),
    f"{_RANDOM}.__generator_ctor": _of_bits("__generator_ctor", "Generator"),
}
CONSTRUCTORS["numpy.multiarray._reconstruct"] = _reconstruct
CONSTRUCTORS["numpy.multiarray.scalar"] = _scalar
