"""The inert things a torch pickle is made of. None of them is, or holds, a class or function of the file's choice."""

from __future__ import annotations

from typing import Literal

from diffai.errors import FormatError
from diffai.formats.layout import DType
from diffai.formats.regions import Region


def _dtypes() -> dict[str, DType]:
    rows = (
        ("float32", "F32", 4), ("float", "F32", 4), ("float64", "F64", 8), ("double", "F64", 8),
        ("float16", "F16", 2), ("half", "F16", 2), ("bfloat16", "BF16", 2),
        ("int8", "I8", 1), ("uint8", "U8", 1), ("int16", "I16", 2), ("short", "I16", 2), ("uint16", "U16", 2),
        ("int32", "I32", 4), ("int", "I32", 4), ("uint32", "U32", 4),
        ("int64", "I64", 8), ("long", "I64", 8), ("uint64", "U64", 8), ("bool", "BOOL", 1),
        ("complex32", "C32", 4), ("chalf", "C32", 4), ("complex64", "C64", 8), ("cfloat", "C64", 8),
        ("complex128", "C128", 16), ("cdouble", "C128", 16),
        ("float8_e4m3fn", "F8_E4M3", 1), ("float8_e5m2", "F8_E5M2", 1), ("float8_e8m0fnu", "F8_E8M0", 1),
        ("float8_e4m3fnuz", "F8_E4M3FNUZ", 1), ("float8_e5m2fnuz", "F8_E5M2FNUZ", 1),
        ("float4_e2m1fn_x2", "F4", 1),
        ("qint8", "QI8", 1), ("quint8", "QU8", 1), ("qint32", "QI32", 4),
        ("bits8", "BITS8", 1), ("bits16", "BITS16", 2), ("bits1x8", "BITS1X8", 1), ("bits2x4", "BITS2X4", 1),
        ("bits4x2", "BITS4X2", 1),
    )  # fmt: skip
    table = {torch: DType(name, size, torch) for torch, name, size in rows}
    for width in range(1, 8):
        table[f"uint{width}"] = DType(f"UINT{width}", 1, f"uint{width}")
        table[f"int{width}"] = DType(f"INT{width}", 1, f"int{width}")
    table["quint4x2"] = DType("QUINT4X2", 1, "quint4x2", bits=4)
    table["quint2x4"] = DType("QUINT2X4", 1, "quint2x4", bits=2)
    return table


DTYPES = _dtypes()

STORAGE_DTYPES = {
    f"{name}Storage": DTYPES[torch]
    for name, torch in (
        ("Float", "float32"), ("Double", "float64"), ("Half", "float16"), ("BFloat16", "bfloat16"),
        ("Char", "int8"), ("Byte", "uint8"), ("Short", "int16"), ("Int", "int32"), ("Long", "int64"),
        ("Bool", "bool"), ("ComplexFloat", "complex64"), ("ComplexDouble", "complex128"),
        ("ComplexHalf", "complex32"), ("QInt8", "qint8"), ("QUInt8", "quint8"), ("QInt32", "qint32"),
        ("QUInt4x2", "quint4x2"), ("QUInt2x4", "quint2x4"), ("Untyped", "uint8"),
    )
}  # fmt: skip


class Global:
    """The name of a class or function that the pickle refers to; never looked up."""

    __slots__ = ("full", "module", "name")

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name
        self.full = f"{module}.{name}"


class Stub:
    """What a call of an unknown global would have made: its name, arguments and state, all inert."""

    __slots__ = ("args", "items", "of", "pairs", "state")

    def __init__(self, of: Global, args: tuple[object, ...]) -> None:
        self.of = of
        self.args = args
        self.state: object = None
        self.items: list[object] = []
        self.pairs: dict[object, object] = {}


class OpaqueKey:
    """A dictionary key that is compared by identity (a list, a deep tuple), so that nothing deep is hashed."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value


class PickledSet:
    """A set or frozenset, as a list: its members need not be hashable here."""

    __slots__ = ("items",)

    def __init__(self, items: list[object]) -> None:
        self.items = items


class LongText:
    """Text too long to hold: where its UTF-8 bytes lie."""

    __slots__ = ("region",)

    def __init__(self, region: Region) -> None:
        self.region = region


class LongBytes:
    """Bytes too long to hold: where they lie."""

    __slots__ = ("region",)

    def __init__(self, region: Region) -> None:
        self.region = region


class Storage:
    """A run of bytes that tensors view.

    Attributes:
        dtype: element type; ``uint8`` where untyped.
        region: the bytes; None until a legacy file's end was read, or when they are missing.
        size: bytes that the pickle says there are.
        swap: the bytes are big-endian.
        trouble: why the bytes cannot be had, raised when a tensor needs them.
        base, start: a legacy view into another storage, ``start`` in bytes.

    """

    __slots__ = ("base", "dtype", "key", "region", "size", "start", "swap", "trouble")

    def __init__(self, key: str, dtype: DType, size: int) -> None:
        self.key = key
        self.dtype = dtype
        self.size = size
        self.region: Region | None = None
        self.swap = False
        self.trouble: FormatError | None = None
        self.base: Storage | None = None
        self.start = 0


class Tensor:
    """A view into a storage, as the pickle states it; nothing is validated yet.

    ``quantizer`` is the pickle's tuple (scheme, scale, zero point) or (scheme, scales, zero points, axis).
    ``kind`` is the class of a tensor of a Python subclass. ``state``: attributes that were set on it.
    """

    __slots__ = (
        "conj", "dtype", "kind", "neg", "offset", "quantizer", "requires_grad", "shape", "state", "storage", "strides"
    )  # fmt: skip

    def __init__(
        self, storage: object, offset: object, shape: object, strides: object, dtype: DType | None = None
    ) -> None:
        self.storage = storage
        self.offset = offset
        self.shape = shape
        self.strides = strides
        self.dtype = dtype
        self.conj = False
        self.neg = False
        self.quantizer: tuple[object, ...] = ()
        self.requires_grad = False
        self.kind: Global | None = None
        self.state: object = None


class NumpyDType:
    """``numpy.dtype(code)`` with what its state gave: byte order; fields by name as (dtype, offset); bytes an item."""

    __slots__ = ("base", "big_endian", "code", "fields", "item", "structured")

    def __init__(self, code: str) -> None:
        self.big_endian = code.startswith(">")
        self.code = code.lstrip("<>=|")
        self.structured = False
        self.fields: dict[str, tuple[NumpyDType, int]] = {}
        self.base: tuple[NumpyDType, tuple[int, ...]] | None = None
        self.item = 0


class Array:
    """A numpy array whose bytes lie in the pickle. ``data`` is a list of objects for dtype ``O``.

    ``columns``: of an array of records, an array for each field, once they were asked for. ``says``: what it is other
    than a weight, "" = nothing.
    """

    __slots__ = ("columns", "data", "dtype", "fortran", "says", "shape")

    def __init__(self) -> None:
        self.dtype: object = None
        self.shape: object = ()
        self.fortran = False
        self.data: object = b""
        self.columns: list[tuple[str, Array]] | None = None
        self.says: Literal["", "index", "training"] = ""


class Composite:
    """A tensor made of several tensors (sparse, nested): named parts and a sentence about the whole."""

    __slots__ = ("kind", "parts", "size")

    def __init__(self, kind: str, parts: tuple[tuple[str, object], ...], size: object) -> None:
        self.kind = kind
        self.parts = parts
        self.size = size


class Valueless:
    """A tensor on the ``meta`` device: dtype and shape, no values."""

    __slots__ = ("dtype", "shape")

    def __init__(self, dtype: object, shape: object) -> None:
        self.dtype = dtype
        self.shape = shape


class Recast:
    """A tensor stored as another one of a different dtype, cast when loaded (devices that save through numpy)."""

    __slots__ = ("data", "dtype")

    def __init__(self, data: object, dtype: DType) -> None:
        self.data = data
        self.dtype = dtype


def shown(text: str, limit: int = 120) -> str:
    """Printable ASCII of bounded length."""
    return ascii(text[:limit])[1:-1] + ("..." if len(text) > limit else "")
