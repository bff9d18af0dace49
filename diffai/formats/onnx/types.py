"""Types of inputs and outputs as text, and digests of what is too long to be shown."""

from __future__ import annotations

from diffai.formats.onnx.tensors import DTYPES, SMALL, STRING
from diffai.formats.protobuf import LENGTH, VARINT, Message, signed

_LINE = 400


def quoted(message: Message, a: int, b: int) -> str:
    """A string attribute: itself when short, else its beginning and a digest."""
    if b - a <= _LINE:
        return repr(message.text(a, b))
    return f"{message.text(a, a + 60)!r}... {b - a:,} bytes, {payload_digest(message, a, b)}"


def payload_digest(message: Message, a: int, b: int) -> str:
    """A digest of a payload, read a megabyte at a time."""
    from hashlib import blake2b  # only here: it takes as long as reading a small model

    digest = blake2b(digest_size=8)
    for at in range(a, b, 1 << 20):
        digest.update(message.source.read(at, min(1 << 20, b - at)))
    return digest.hexdigest()


def value_info(message: Message) -> tuple[str, str]:
    """Name and type of an input or output: ``F32 [1, "batch", 224]``."""
    name, described = "", "unknown"
    for number, kind, a, b in message.fields():
        if number == 1 and kind == LENGTH:
            name = message.text(a, b)
        elif number == 2 and kind == LENGTH:
            described = _type(message.within(a, b), 0)
    return name, described


def _type(message: Message, depth: int) -> str:
    if depth > 8:
        return "..."
    for number, kind, a, b in message.fields():
        if kind != LENGTH:
            continue
        inner = message.within(a, b)
        if number in (1, 8):
            return ("sparse " if number == 8 else "") + _tensor_type(inner)
        if number in (4, 9):
            element = next((f for f in inner.fields() if f[0] == 1 and f[1] == LENGTH), None)
            held = _type(message.within(element[2], element[3]), depth + 1) if element else "unknown"
            return f"{'sequence' if number == 4 else 'optional'} of {held}"
        if number == 5:
            return f"map {payload_digest(message, a, b)}"
    return "unknown"


def _tensor_type(message: Message) -> str:
    dtype, dims, ranked = "unknown", [], False
    for number, kind, a, b in message.fields():
        if number == 1 and kind == VARINT:
            dtype = DTYPES.get(a) or SMALL.get(a, ("STRING" if a == STRING else f"type {a}",))[0]
        elif number == 2 and kind == LENGTH:
            ranked = True
            shape = message.within(a, b)
            dims = [_dimension(shape.within(c, d)) for n, k, c, d in shape.fields() if n == 1 and k == LENGTH]
    return f"{dtype} [{', '.join(dims)}]" if ranked else dtype


def _dimension(message: Message) -> str:
    for number, kind, a, b in message.fields():
        if number == 1 and kind == VARINT:
            return str(signed(a))
        if number == 2 and kind == LENGTH:
            return repr(message.text(a, b))
    return "?"
