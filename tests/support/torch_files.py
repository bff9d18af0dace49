"""Open bytes as a torch checkpoint, and write torch containers by hand, without torch."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

from diffai.formats import torch as reader
from diffai.formats.base import Limits
from diffai.model import Checkpoint, Problem
from diffai.sources.local import MemoryBytes

DATA = Path(__file__).resolve().parent.parent / "data" / "torch"
LIMITS = Limits(allow_torch=False)


def opened(data: bytes, limits: Limits = LIMITS, label: str = "model.pt") -> Checkpoint:
    """A checkpoint over bytes; torch is never used."""
    return reader.open_checkpoint(MemoryBytes(data, label=label), limits)


def checked(data: bytes, limits: Limits = LIMITS) -> tuple[Problem, ...]:
    """What ``check`` says of bytes."""
    return reader.check(MemoryBytes(data, label="model.pt"), limits)


def values(checkpoint: Checkpoint, name: str) -> bytes:
    """All logical bytes of one tensor."""
    spec = checkpoint.tensors[name]
    data = bytearray(spec.nbytes)
    checkpoint.read_into(spec, 0, memoryview(data))
    return bytes(data)


def everything(data: bytes) -> dict[str, bytes]:
    """All tensors' bytes, by name."""
    checkpoint = opened(data)
    try:
        return {name: values(checkpoint, name) for name in checkpoint.tensors}
    finally:
        checkpoint.close()


class Ops:
    """Writes pickle opcodes one after another."""

    def __init__(self) -> None:
        self.data = b"\x80\x02"

    def raw(self, data: bytes) -> Ops:
        self.data += data
        return self

    def call(self, module: str, name: str, *args: bytes) -> Ops:
        """GLOBAL, the arguments' opcodes, TUPLE, REDUCE."""
        return self.raw(global_(module, name) + b"(" + b"".join(args) + b"tR")

    def end(self) -> bytes:
        return self.data + b"."


def global_(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def integer(value: int) -> bytes:
    data = value.to_bytes(20, "little", signed=True)
    return b"\x8a" + bytes((len(data),)) + data


def numbers(*items: int) -> bytes:
    return b"(" + b"".join(integer(item) for item in items) + b"t"


def tensor(
    key: str,
    elements: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    offset: int = 0,
    kind: str = "FloatStorage",
) -> bytes:
    """Opcodes that rebuild one tensor."""
    storage = b"(" + text("storage") + global_("torch", kind) + text(key) + text("cpu") + integer(elements) + b"tQ"
    return (
        global_("torch._utils", "_rebuild_tensor_v2") + b"(" + storage + integer(offset) + numbers(*shape)
        + numbers(*strides) + b"\x89}tR"
    )  # fmt: skip


def state(tensors: Mapping[str, bytes]) -> bytes:
    """A pickle of a dictionary of opcodes."""
    return b"\x80\x02}(" + b"".join(text(name) + ops for name, ops in tensors.items()) + b"u."


def zipped(members: Mapping[str, bytes], *, top: str = "archive/", compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip file as torch lays it out."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(top + name, data)
    return out.getvalue()


def legacy(pickled: bytes, storages: Mapping[str, tuple[int, bytes]]) -> bytes:
    """A file of torch before 1.6: ``storages`` maps keys to (element count, bytes)."""
    head = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    tail = b"".join(struct.pack("<q", count) + data for count, data in storages.values())
    return head + pickled + pickle.dumps(list(storages), 2) + tail
