"""Element types and shapes of TensorFlow's messages.

Source: ``types.proto`` and ``tensor_shape.proto`` of
https://github.com/tensorflow/tensorflow/tree/master/tensorflow/core/framework.
"""

from __future__ import annotations

from diffai.errors import FormatError
from diffai.formats.protobuf import LENGTH, VARINT, Message, signed

DTYPES = {
    1: "F32", 2: "F64", 3: "I32", 4: "U8", 5: "I16", 6: "I8", 8: "C64", 9: "I64", 10: "BOOL", 14: "BF16", 17: "U16",
    18: "C128", 19: "F16", 22: "U32", 23: "U64", 24: "F8_E5M2", 25: "F8_E4M3",
}  # fmt: skip
STRING = 7
_OTHERS = {7: "STRING", 11: "QINT8", 12: "QUINT8", 13: "QINT32", 15: "QINT16", 16: "QUINT16", 20: "RESOURCE",
           21: "VARIANT", 29: "INT4", 30: "UINT4"}  # fmt: skip


def dtype_name(kind: int) -> str:
    """Diffai's name of an element type; TensorFlow's where it has no values of ours."""
    return DTYPES.get(kind) or _OTHERS.get(kind, f"TYPE_{kind}")


def shape_of(message: Message) -> tuple[int, ...]:
    """A ``TensorShapeProto``; -1 for a size that is not known."""
    sizes = []
    for number, kind, a, b in message.fields():
        if number == 2 and kind == LENGTH:
            dim = [signed(value) for n, k, value, _ in message.within(a, b).fields() if n == 1 and k == VARINT]
            sizes.append(dim[-1] if dim else 0)
            if len(sizes) > 64:
                raise FormatError("has a shape of more than 64 dimensions", offset=message.start)
    return tuple(sizes)


def shape_text(shape: tuple[int, ...]) -> str:
    """For people: ``[?, 224, 3]``."""
    return f"[{', '.join('?' if size < 0 else str(size) for size in shape)}]"
