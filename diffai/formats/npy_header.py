"""The header of a ``.npy`` file, parsed by hand: a Python literal that is never evaluated.

Format: numpy.lib.format, versions 1 to 3. The literal is a dictionary of ``descr`` (a type, or a list of fields),
``fortran_order`` and ``shape``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from diffai.errors import FormatError, LimitError
from diffai.formats.base import Budget
from diffai.formats.layout import DType
from diffai.formats.torch.numpy_pickles import element_type
from diffai.formats.torch.objects import DTYPES, NumpyDType
from diffai.frozen import frozen

MAGIC = b"\x93NUMPY"
FORMAT = "numpy"
_MAX_HEADER = 1 << 20  # bytes; numpy itself stops at 10,000 unless told otherwise
_DEEP = 32
_TOKEN = re.compile(
    r"\s*(?:([()\[\]{},:])|([+-]?\d{1,20})[lL]?(?![\w.])|(True|False|None)\b|[bu]?'((?:[^'\\\n]|\\.)*)'|[bu]?\"((?:[^\"\\\n]|\\.)*)\")"
)
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_TYPE = re.compile(r"([<>=|]?)([a-zA-Z?])(\d*)(\[[^\]]{1,20}\])?")
_BYTES = {"U": 4, "S": 1, "a": 1, "V": 1}


@frozen
class Field:
    """One run of equal elements in a record, or all of an array.

    Attributes:
        name: dotted; "" for an array that has no fields.
        dtype: element type; None where values are no numbers (text, dates, raw bytes).
        code: numpy's word for the type: ``<f4``, ``|S3``.
        offset: bytes from the start of a record.
        width: bytes of one value of the field, all its elements.
        shape: of the field itself, () for a plain one.
        big_endian: whether bytes are to be swapped.

    """

    name: str
    dtype: DType | None
    code: str
    offset: int
    width: int
    shape: tuple[int, ...]
    big_endian: bool


@frozen
class Header:
    """What a header says.

    Attributes:
        fields: one without name, or those of a structured type; () for objects.
        item: bytes an element, or a record, takes.
        shape: in elements.
        fortran: the first dimension varies fastest.
        start: offset of the values in the file.
        objects: the values are a pickle.

    """

    fields: tuple[Field, ...]
    item: int
    shape: tuple[int, ...]
    fortran: bool
    start: int
    objects: bool


def length_of(head: bytes) -> tuple[int, int]:
    """Where the literal starts and how long it is, from the first 12 bytes.

    Raises:
        FormatError: no NumPy file (NP01), an unknown version or an impossible length (NP02).

    """
    if head[:6] != MAGIC:
        raise FormatError("has no NumPy signature", code="NP01", offset=0, format=FORMAT)
    if len(head) < 10 or head[6] not in (1, 2, 3) or head[7] != 0 or (head[6] > 1 and len(head) < 12):
        raise FormatError("is of a NumPy format version that is not known", code="NP02", offset=6, format=FORMAT)
    width = 2 if head[6] == 1 else 4
    length = int.from_bytes(head[8 : 8 + width], "little")
    if length > _MAX_HEADER:
        reason = f"has a header of {length:,} bytes; {_MAX_HEADER:,} are read"
        raise LimitError(reason, code="NP02", offset=8, format=FORMAT)
    return 8 + width, length


def parse(head: bytes, budget: Budget) -> Header:
    """The header that the first bytes of a file hold in full.

    Raises:
        FormatError: NP01, NP02; LimitError: too many fields.

    """
    start, length = length_of(head)
    data = head[start : start + length]
    if len(data) < length:
        raise FormatError("ends inside its header", code="NP02", offset=start, format=FORMAT)
    try:
        found = _literal(data.decode("utf-8" if head[6] == 3 else "latin-1"), budget)
        if not isinstance(found, dict) or set(found) != {"descr", "fortran_order", "shape"}:
            raise ValueError("no dictionary of descr, fortran_order and shape")
        shape, fortran = found["shape"], found["fortran_order"]
        if not isinstance(shape, tuple) or any(type(size) is not int or size < 0 for size in shape):
            raise ValueError("shape is no tuple of sizes")
        if not isinstance(fortran, bool):
            raise ValueError("fortran_order is neither True nor False")
        fields, item, objects = _fields(found["descr"], "", 0, budget, 0)
    except (ValueError, KeyError, RecursionError) as error:
        reason = f"has a damaged header ({error})"
        raise FormatError(reason, code="NP02", offset=start, format=FORMAT) from error
    return Header(() if objects else fields, item, shape, fortran, start + length, objects)


def _fields(descr: object, name: str, offset: int, budget: Budget, depth: int) -> tuple[tuple[Field, ...], int, bool]:
    """The fields of a type from ``offset`` of a record on, its size, and whether objects are among them."""
    budget.value()
    if isinstance(descr, str):
        return _plain(descr, name, offset)
    if not isinstance(descr, list) or depth > _DEEP:
        raise ValueError("descr is neither a type nor a list of fields")
    found: list[Field] = []
    at, objects = offset, False
    for entry in descr:
        if not isinstance(entry, tuple) or not 2 <= len(entry) <= 3:
            raise ValueError("a field is no pair of name and type")
        label = entry[0][-1] if isinstance(entry[0], tuple) and len(entry[0]) == 2 else entry[0]
        if not isinstance(label, str):
            raise ValueError("a field has no name")
        full = f"{name}.{label}" if name and label else name or label
        inner, width, has_objects = _fields(entry[1], full, at, budget, depth + 1)
        shape = entry[2] if len(entry) == 3 else ()
        count = _count(shape)
        if label and shape and len(inner) == 1 and not isinstance(entry[1], list):
            one = inner[0]
            inner = (Field(full, one.dtype, one.code, at, width * count, shape, one.big_endian),)
        elif shape and count != 1:  # records in a record, several of each: as bytes
            inner = (Field(full, None, f"V{width * count}", at, width * count, (), False),)
        if label or isinstance(entry[1], list):  # a field without a name is padding
            found.extend(inner)
        at, objects = at + width * count, objects or has_objects
    return tuple(found), at - offset, objects


def _count(shape: object) -> int:
    if not isinstance(shape, tuple) or any(type(size) is not int or not 0 <= size <= 1 << 40 for size in shape):
        raise ValueError("a field has an impossible shape")
    count = 1
    for size in shape:
        count *= size
    if count > 1 << 40:
        raise ValueError("a field has an impossible shape")
    return count


def _plain(descr: str, name: str, offset: int) -> tuple[tuple[Field, ...], int, bool]:
    match = _TYPE.fullmatch(descr)
    if match is None or len(match[3]) > 9:
        raise ValueError("an unknown type")
    order, kind, number, _ = match.groups()
    if kind == "O":
        return (), 8, True
    if kind in _BYTES:
        size = int(number or 0) * _BYTES[kind]
        dtype = DTYPES["bfloat16"] if descr == "<V2" else None  # so ml_dtypes writes it; numpy's own void is |V2
        return (Field(name, dtype, descr, offset, size, (), False),), size, False
    known = element_type(NumpyDType(kind + number))
    if known is None:
        raise ValueError("an unknown type")
    dtype = None if known.name in ("DATETIME64", "TIMEDELTA64", "F128", "C256") else known
    return (Field(name, dtype, descr, offset, known.size, (), order == ">"),), known.size, False


def _literal(text: str, budget: Budget) -> object:
    """The value of a Python literal of numbers, text, tuples, lists and dictionaries."""
    tokens = _tokens(text.rstrip("\0 \n\t"), budget)
    value = _value(tokens, next(tokens), 0)
    if next(tokens)[0] != "end":
        raise ValueError("something follows the literal")
    return value


_Token = tuple[str, object]


def _tokens(text: str, budget: Budget) -> Iterator[_Token]:
    """Marks and values, and ``end`` for ever."""
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            if not text[at:].strip():
                break
            raise ValueError(f"character {at + 1} is no part of a literal")
        budget.step()
        mark, number, word, single, double = match.groups()
        at = match.end()
        if mark:
            yield "mark", mark
        elif number:
            yield "value", int(number)
        elif word:
            yield "value", {"True": True, "False": False, "None": None}[word]
        else:
            yield "value", _unescaped(single if single is not None else double)
    while True:
        yield "end", None


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    try:
        return text.encode("latin-1", "backslashreplace").decode("unicode-escape")
    except UnicodeError as error:
        raise ValueError("text with a damaged escape") from error


def _value(tokens: Iterator[_Token], token: _Token, depth: int) -> object:
    kind, value = token
    if kind == "value":
        return value
    if kind != "mark" or value not in _CLOSING or depth > _DEEP:
        raise ValueError("a literal that is cut off or nested too deeply")
    closing = _CLOSING[str(value)]
    items: list[object] = []
    commas = 0
    token = next(tokens)
    while token != ("mark", closing):
        items.append(_value(tokens, token, depth + 1))
        if closing == "}":
            if next(tokens) != ("mark", ":"):
                raise ValueError("a dictionary without a colon")
            items.append(_value(tokens, next(tokens), depth + 1))
        token = next(tokens)
        if token == ("mark", ","):
            commas += 1
            token = next(tokens)
        elif token != ("mark", closing):
            raise ValueError("a literal that is cut off")
    if closing == "]":
        return items
    if closing == ")":
        return tuple(items) if commas or not items else items[0]
    keys = items[::2]
    if not all(isinstance(key, str) for key in keys) or len(set(map(str, keys))) != len(keys):
        raise ValueError("keys that are no text, or twice the same")
    return dict(zip(keys, items[1::2], strict=True))
