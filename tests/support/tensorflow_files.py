"""TensorFlow's checkpoints and graphs, written by hand from the specifications of their formats."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np

KINDS = {"float32": 1, "float64": 2, "int32": 3, "uint8": 4, "int16": 5, "int8": 6, "int64": 9, "bool": 10,
         "float16": 19, "uint32": 22, "uint64": 23}  # fmt: skip


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes((*out, value))


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def message(field: int, *parts: bytes | str) -> bytes:
    data = b"".join(part.encode() if isinstance(part, str) else part for part in parts)
    return varint(field << 3 | 2) + varint(len(data)) + data


def shape(sizes: Sequence[int]) -> bytes:
    return b"".join(message(2, number(1, size)) for size in sizes)


# ---------------------------------------------------------------- checkpoints


def table(entries: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A LevelDB table of two data blocks, whose keys share their beginnings."""
    out, index = b"", []
    half = (len(entries) + 1) // 2
    for part in (entries[:half], entries[half:]):
        if part:
            data = _block(part)
            index.append((part[-1][0], varint(len(out)) + varint(len(data))))
            out += data + bytes(5)
    meta, rest = _block([]), len(out)
    out += meta + bytes(5)
    place, data = len(out), _block(index)
    out += data + bytes(5)
    footer = varint(rest) + varint(len(meta)) + varint(place) + varint(len(data))
    return out + footer.ljust(40, b"\0") + b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"


def _block(entries: Sequence[tuple[bytes, bytes]]) -> bytes:
    out, before = b"", b""
    for key, value in entries:
        shared = next(
            (i for i, (a, b) in enumerate(zip(before, key, strict=False)) if a != b), min(len(before), len(key))
        )
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    return out + struct.pack("<II", 0, 1)


def bundle(
    tensors: Mapping[str, np.ndarray | bytes], *, shards: int = 1, slices: Mapping[str, Mapping[bytes, tuple[int, int]]] | None = None,
    big: bool = False,
) -> tuple[bytes, list[bytes]]:  # fmt: skip
    """Index and shards; ``slices``: by tensor the key of each slice with its rows (start, length)."""
    data = [b""] * shards
    found = {b"": number(1, shards) + (number(2, 1) if big else b"") + message(3, number(1, 1))}

    def put(place: int, kind: int, sizes: Sequence[int], content: bytes) -> bytes:
        at = len(data[place])
        data[place] += content
        where = (number(3, place) if place else b"") + (number(4, at) if at else b"")
        return number(1, kind) + message(2, shape(sizes)) + where + number(5, len(content))

    for position, (name, values) in enumerate(tensors.items()):
        place, key = position % shards, name.encode()
        if isinstance(values, bytes):
            found[key] = put(place, 7, (), varint(len(values)) + bytes(4) + values)
            continue
        kind = KINDS[str(values.dtype)]
        stored = values.astype(values.dtype.newbyteorder(">" if big else "<"))
        if slices and name in slices:
            found[key] = number(1, kind) + message(2, shape(values.shape))
            for slice_name, (start, length) in slices[name].items():
                rows = message(1, number(1, start), number(2, length))
                found[key] += message(7, rows, *[message(1)] * (values.ndim - 1))
                part = stored[start : start + length]
                found[slice_name] = put(place, kind, part.shape, part.tobytes())
        else:
            found[key] = put(place, kind, values.shape, stored.tobytes())
    return table(sorted(found.items())), data


# ---------------------------------------------------------------- graphs


def constant(values: np.ndarray) -> bytes:
    """A ``TensorProto`` with its content as bytes."""
    return number(1, KINDS[str(values.dtype)]) + message(2, shape(values.shape)) + message(4, values.tobytes())


def attribute(key: str, value: bytes) -> bytes:
    return message(5, message(1, key), message(2, value))


def node(name: str, operator: str, inputs: Sequence[str] = (), *attributes: bytes) -> bytes:
    return (
        message(1, name) + message(2, operator) + b"".join(message(3, text) for text in inputs) + b"".join(attributes)
    )


def const(name: str, tensor: bytes) -> bytes:
    return node(name, "Const", (), attribute("value", message(8, tensor)))


def graph(*nodes: bytes, functions: Mapping[str, Sequence[bytes]] | None = None) -> bytes:
    """A ``GraphDef``."""
    library = [
        message(1, message(1, message(1, name)), *(message(3, part) for part in parts))
        for name, parts in (functions or {}).items()
    ]
    return b"".join(message(1, part) for part in nodes) + (message(2, *library) if library else b"")


def saved_model(graph_def: bytes, version: str = "2.15.0") -> bytes:
    """A ``SavedModel`` with one graph and one signature."""
    info = message(1, "x:0") + number(2, 1) + message(3, shape([-1, 3]))
    signature = message(1, "serving_default") + message(2, message(1, message(1, "x"), message(2, info)))
    return number(1, 1) + message(
        2, message(1, message(4, "serve"), message(5, version)), message(2, graph_def), message(5, signature)
    )
