"""Flax checkpoints (``flax_model.msgpack``): MessagePack maps whose arrays are extensions of type 1.

Specifications: https://github.com/msgpack/msgpack/blob/master/spec.md and ``flax.serialization``.

==== ======================================================================================================
code reason
==== ======================================================================================================
FX01 no MessagePack map, or bytes behind its end
FX02 ends inside a value
FX03 a value of a kind that is not known
FX04 an array whose shape, dtype and bytes do not fit one another, or of a dtype that is not known
FX05 two values of one name
FX06 an array in pieces that do not make it up
==== ======================================================================================================
"""

from __future__ import annotations

import struct

from diffai.errors import FormatError
from diffai.formats.base import Budget, Limits
from diffai.formats.regions import FileRegion, JoinedRegion, Region
from diffai.formats.stored import StoredCheckpoint, reader
from diffai.frozen import frozen
from diffai.model import DTYPE_BITS, Scalar, element_count
from diffai.sources.base import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from diffai.model import Role

NAME = "flax"
_ARRAY, _COMPLEX, _SCALAR = 1, 2, 3
_CHUNKED = "__msgpack_chunked_array__"
_DTYPES = {
    "bool": "BOOL", "bool_": "BOOL", "int8": "I8", "uint8": "U8", "int16": "I16", "uint16": "U16", "int32": "I32",
    "uint32": "U32", "int64": "I64", "uint64": "U64", "float16": "F16", "float32": "F32", "float64": "F64",
    "bfloat16": "BF16", "complex64": "C64", "complex128": "C128", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
}  # fmt: skip
_FIXED = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b", 0xD1: ">h", 0xD2: ">i",
          0xD3: ">q"}  # fmt: skip
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
# first byte: (kind, bytes of the length)
_LONG = {0xC4: ("bytes", 1), 0xC5: ("bytes", 2), 0xC6: ("bytes", 4), 0xC7: ("ext", 1), 0xC8: ("ext", 2),
         0xC9: ("ext", 4), 0xD9: ("text", 1), 0xDA: ("text", 2), 0xDB: ("text", 4), 0xDC: ("list", 2),
         0xDD: ("list", 4), 0xDE: ("map", 2), 0xDF: ("map", 4)}  # fmt: skip
_FIXED_EXTENSIONS = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
_LONGEST_TEXT = 1 << 16
_SHOWN = 400
_WINDOW = 1 << 14


@frozen
class _Token:
    """One value: its kind, its number of members or bytes, its plain value, and where what is in it begins.

    ``kind``: ``map``, ``list``, ``text``, ``bytes``, ``ext`` (of type ``extension``) or ``plain``.
    """

    kind: str
    size: int
    start: int
    value: Scalar = None
    extension: int = 0


@frozen
class _Array:
    """An array whose bytes lie in the file."""

    dtype: str
    shape: tuple[int, ...]
    region: Region


def _wrong(reason: str, code: str, offset: int = -1, name: str = "") -> FormatError:
    return FormatError(reason, code=code, tensor=name, offset=offset, format=NAME)


def _token(take: Callable[[int, int], bytes], at: int) -> _Token:
    """The value that begins at ``at``, without what is in it."""
    first = take(at, 1)[0]
    at += 1
    if first < 0x80 or first >= 0xE0:
        return _Token("plain", 0, at, first if first < 0x80 else first - 256)
    if first < 0xC0:
        kind = "map" if first < 0x90 else "list" if first < 0xA0 else "text"
        return _Token(kind, first & (31 if kind == "text" else 15), at)
    if first in _CONSTANTS:
        return _Token("plain", 0, at, _CONSTANTS[first])
    if first in _FIXED:
        size = struct.calcsize(_FIXED[first])
        return _Token("plain", 0, at + size, struct.unpack(_FIXED[first], take(at, size))[0])
    if first in _FIXED_EXTENSIONS:
        return _Token("ext", _FIXED_EXTENSIONS[first], at + 1, extension=take(at, 1)[0])
    if first not in _LONG:
        raise _wrong(f"has a value that begins with byte {first}", "FX03", at - 1)
    kind, width = _LONG[first]
    size = int.from_bytes(take(at, width), "big")
    at += width
    if kind == "ext":
        return _Token(kind, size, at + 1, extension=take(at, 1)[0])
    return _Token(kind, size, at)


def recognise(head: bytes, size: int, name: str) -> bool:
    """Whether content is a map of names that lead to an array, as far as the first 4 KiB tell."""

    def take(at: int, count: int) -> bytes:
        if at + count > len(head):
            raise IndexError
        return head[at : at + count]

    at = 0
    try:
        for _ in range(64):
            outer = _token(take, at)
            if outer.kind != "map" or not outer.size:
                return False
            key = _token(take, outer.start)
            if key.kind != "text" or not take(key.start, key.size).decode("utf-8").isprintable():
                return False
            if take(key.start, key.size) == _CHUNKED.encode():
                return True
            at = key.start + key.size
            value = _token(take, at)
            if value.kind == "ext":
                return value.extension in (_ARRAY, _SCALAR)
            if value.kind != "map":
                return name.lower().endswith(".msgpack")
    except (IndexError, UnicodeDecodeError, FormatError):
        return at > 8 and size > len(head)
    return False


class FlaxCheckpoint(StoredCheckpoint):
    """An opened file."""

    not_expressible = frozenset(("ties", "requires_grad", "classes", "graph"))

    def __init__(self, source: Source, limits: Limits) -> None:
        super().__init__(source, NAME, limits.max_spool)
        self.values: dict[str, Scalar] = {}
        self.state: dict[str, Scalar] = {}
        self.metadata, self.training = self.values, self.state


class _Reader:
    """One walk over a file."""

    def __init__(self, checkpoint: FlaxCheckpoint, budget: Budget) -> None:
        self._checkpoint, self._source, self._budget = checkpoint, checkpoint.source, budget
        self._window, self._base = b"", 0

    def _take(self, at: int, count: int) -> bytes:
        if not self._base <= at <= at + count <= self._base + len(self._window):
            if at + count > self._source.size:
                raise _wrong("ends inside a value", "FX02", at)
            self._window, self._base = self._source.read(at, max(count, _WINDOW)), at
        return self._window[at - self._base : at - self._base + count]

    def _token(self, at: int) -> _Token:
        self._budget.step()
        token = _token(self._take, at)
        if token.kind in ("text", "bytes", "ext") and token.start + token.size > self._source.size:
            raise _wrong("ends inside a value", "FX02", token.start)
        return token

    def _text(self, token: _Token) -> str:
        if token.kind != "text" or token.size > _LONGEST_TEXT:
            raise _wrong("has a name that is no text", "FX03", token.start)
        return self._take(token.start, token.size).decode("utf-8", "backslashreplace")

    def whole(self) -> None:
        """Add all of the file."""
        top = self._token(0)
        if top.kind != "map":
            raise _wrong("is no map", "FX01", 0)
        end = self._map(top, "", 0, "weight")
        if end != self._source.size:
            raise _wrong(f"has {self._source.size - end:,} bytes behind its end", "FX01", end)

    def _map(self, token: _Token, path: str, depth: int, role: Role) -> int:
        """Add a map's values; the offset behind it."""
        self._budget.deep(depth)
        at, seen = token.start, set[str]()
        for number in range(token.size):
            key_token = self._token(at)
            is_number = key_token.kind == "plain" and isinstance(key_token.value, int)
            key = str(key_token.value) if is_number else self._text(key_token)
            at = key_token.start + (0 if is_number else key_token.size)
            if key in seen:
                raise _wrong(f"has {key[:100]!r} twice", "FX05", key_token.start, path)
            seen.add(key)
            if key == _CHUNKED and not number:
                return self._chunked(token, path, role)
            self._budget.name(len(path) + len(key) + 1)
            at = self._value(at, f"{path}.{key}" if path else key, depth + 1, _role(key, depth, role))
        return at

    def _value(self, at: int, name: str, depth: int, role: Role) -> int:
        """Add a value under its name; the offset behind it."""
        self._budget.value()
        token = self._token(at)
        if token.kind == "map":
            if not token.size:
                self._note(name, "{}", role)
            return self._map(token, name, depth, role)
        if token.kind == "list":
            self._budget.deep(depth)
            at = token.start
            for number in range(token.size):
                at = self._value(at, f"{name}.{number}", depth + 1, role)
            return at
        if token.kind == "ext" and token.extension in (_ARRAY, _SCALAR):
            self._add(name, self._array(token, name), role)
        elif token.kind == "ext":
            self._note(name, self._extension(token, name), role)
        elif token.kind in ("text", "bytes"):
            self._note(name, self._short(token), role)
        else:
            self._note(name, token.value, role)
        return token.start + token.size

    def _note(self, name: str, value: Scalar, role: Role) -> None:
        target = self._checkpoint.state if role == "training" else self._checkpoint.values
        if name in target:
            raise _wrong("stands twice", "FX05", name=name)
        target[name] = value

    def _short(self, token: _Token) -> str:
        if token.kind == "text" and token.size <= _SHOWN:
            return self._text(token)
        from hashlib import blake2b

        digest = blake2b(digest_size=8)
        for at in range(token.start, token.start + token.size, 1 << 20):
            digest.update(self._source.read(at, min(1 << 20, token.start + token.size - at)))
        return f"{token.size:,} bytes, {digest.hexdigest()}"

    def _extension(self, token: _Token, name: str) -> str:
        """A complex number (type 2), which is a list of two."""
        if token.extension != _COMPLEX:
            raise _wrong(f"has an extension of type {token.extension}", "FX03", token.start, name)
        pair = self._token(token.start)
        parts, at = [], pair.start
        for _ in range(2):
            part = self._token(at)
            parts.append(part.value)
            at = part.start
        if pair.kind != "list" or pair.size != 2 or not all(isinstance(part, float) for part in parts):
            raise _wrong("has a complex number that is none", "FX03", token.start, name)
        return str(complex(*parts))  # type: ignore[arg-type]

    def _array(self, token: _Token, name: str) -> _Array:
        """An extension of type 1: a list of shape, name of the dtype, and bytes."""
        outer = self._token(token.start)
        sizes = self._token(outer.start)
        if (outer.kind, outer.size, sizes.kind) != ("list", 3, "list") or sizes.size > 64:
            raise _wrong("has an array that is none", "FX04", token.start, name)
        shape, at = [], sizes.start
        for _ in range(sizes.size):
            size = self._token(at)
            if size.kind != "plain" or not isinstance(size.value, int) or not 0 <= size.value < 1 << 60:
                raise _wrong("has an impossible shape", "FX04", at, name)
            shape.append(size.value)
            at = size.start
        kind = self._token(at)
        said = self._take(kind.start, min(kind.size, 100)).decode("latin-1") if kind.kind in ("text", "bytes") else ""
        if said not in _DTYPES:
            raise _wrong(f"has the dtype {said!r}, which is not known", "FX04", at, name)
        content = self._token(kind.start + kind.size)
        if content.kind != "bytes" or content.start + content.size != token.start + token.size:
            raise _wrong("has an array that does not fill its place", "FX04", token.start, name)
        found = _Array(_DTYPES[said], tuple(shape), FileRegion(self._source, content.start, content.size))
        if element_count(found.shape) * DTYPE_BITS[found.dtype] != 8 * content.size:
            raise _wrong(f"has {content.size:,} bytes, not those of {said} {shape}", "FX04", content.start, name)
        return found

    def _add(self, name: str, array: _Array, role: Role) -> None:
        if name in self._checkpoint.tensors:
            raise _wrong("stands twice", "FX05", name=name)
        self._checkpoint.place(name, array.dtype, array.shape, array.region, role=role)

    def _chunked(self, token: _Token, name: str, role: Role) -> int:
        """A large array in pieces: a map of the mark, the shape and the pieces, both maps by number."""
        shape: list[int] = []
        pieces: list[_Array] = []
        at = token.start
        for _ in range(token.size):
            key_token = self._token(at)
            key, at = self._text(key_token), key_token.start + key_token.size
            inner = self._token(at)
            at = inner.start
            for number in range(inner.size if inner.kind == "map" else 0):
                which = self._token(at)
                if self._text(which) != str(number):
                    raise _wrong("has pieces out of order", "FX06", at, name)
                value = self._token(which.start + which.size)
                at = value.start + value.size
                if key == "chunks" and value.kind == "ext":
                    pieces.append(self._array(value, name))
                elif key == "shape" and isinstance(value.value, int):
                    shape.append(value.value)
                else:
                    raise _wrong("has a piece that is no array", "FX06", which.start, name)
        kinds = {piece.dtype for piece in pieces}
        if len(kinds) != 1 or any(size < 0 for size in shape):
            raise _wrong("has pieces of several dtypes, or none", "FX06", token.start, name)
        whole = JoinedRegion([piece.region for piece in pieces])
        dtype = kinds.pop()
        if element_count(tuple(shape)) * DTYPE_BITS[dtype] != 8 * whole.size:
            raise _wrong(f"has pieces of {whole.size:,} bytes, not those of {shape}", "FX06", token.start, name)
        self._add(name, _Array(dtype, tuple(shape), whole), role)
        return at


def _role(key: str, depth: int, role: Role) -> Role:
    """The state of an optimizer stands beside the parameters of a ``TrainState``, under this key."""
    return "training" if role == "training" or (depth == 0 and key in ("opt_state", "step")) else "weight"


def _read(checkpoint: FlaxCheckpoint, limits: Limits) -> None:
    _Reader(checkpoint, Budget(limits)).whole()


open_checkpoint, check = reader(FlaxCheckpoint, _read, "FX04")
