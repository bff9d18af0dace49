"""Zip archives that say two things: generators, each a name and bytes. Nothing here is a real model."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterator

from torch_files import state, tensor, zipped

ONE = struct.pack("<4f", 1, 2, 3, 4)
TWO = struct.pack("<4f", 9, 9, 9, 9)
PICKLE = state({"w": tensor("0", 4, (2, 2), (2, 1))})
MEMBERS = {"data.pkl": PICKLE, "byteorder": b"little", "data/0": ONE, "version": b"3\n"}
_END = struct.Struct("<4s4H2IH")


def model(values: bytes = ONE, **more: bytes) -> bytes:
    """A torch file of one tensor ``w`` with these values; ``more`` members by name."""
    return zipped(MEMBERS | {"data/0": values} | more)


def _parts(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Members, directory, end record."""
    at = data.rindex(b"PK\x05\x06")
    start = _END.unpack_from(data, at)[6]
    return data[:start], data[start:at], data[at:]


def _end(count: int, length: int, start: int, comment: bytes = b"") -> bytes:
    return _END.pack(b"PK\x05\x06", 0, 0, count, count, length, start, len(comment)) + comment


def _zip64(count: int, length: int, start: int, at: int) -> bytes:
    record = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, length, start)
    return record + struct.pack("<4sIQI", b"PK\x06\x07", 0, at, 1)


def _shifted(directory: bytes, by: int) -> bytes:
    """The directory of an archive that stands ``by`` bytes later."""
    out, at = bytearray(directory), 0
    while at < len(out):
        name, extra, comment = struct.unpack_from("<3H", out, at + 28)
        (header,) = struct.unpack_from("<I", out, at + 42)
        struct.pack_into("<I", out, at + 42, header + by)
        at += 46 + name + extra + comment
    return bytes(out)


def two_directories(kind: str) -> bytes:
    """Members of two archives behind each other; which directory holds depends on the reader."""
    members, directory, _ = _parts(model(ONE))
    others, other, _ = _parts(model(TWO))
    other = _shifted(other, len(members))
    both, count = members + others, len(MEMBERS)
    if kind == "zip64 record":
        start, last = len(both), len(both) + len(directory)
        body = both + directory + other
        record = _zip64(count, len(other), last, len(body))
        return body + record + _end(count, len(directory), start)
    if kind == "comment":
        first = _end(count, len(directory), len(both), b"")
        hidden = other + _end(count, len(other), len(both) + len(directory) + len(first))
        return both + directory + _end(count, len(directory), len(both), hidden)
    if kind == "two end records":
        first = _end(count, len(directory), len(both))
        return both + directory + first + other + _end(count, len(other), len(both) + len(directory) + len(first))
    if kind == "end record in a comment":
        return both + directory + _end(count, len(directory), len(both), b"x" + _end(0, 0, 0) + b"yy")
    raise ValueError(kind)


def patched(at: str, name: bytes, field: int, value: bytes) -> bytes:
    """The model with a field of one header overwritten: ``at`` is ``local`` or ``directory``."""
    data = bytearray(model())
    directory = data.index(b"PK\x01\x02")
    start = data.index(name) - 30 if at == "local" else data.index(name, directory) - 46
    data[start + field : start + field + len(value)] = value
    return bytes(data)


def with_names(*names: str) -> bytes:
    """An archive whose members have these names; values 1, 2, 3, ... in each."""
    out = io.BytesIO()
    import warnings

    with warnings.catch_warnings(), zipfile.ZipFile(out, "w") as archive:
        warnings.simplefilter("ignore")
        for number, name in enumerate(names):
            data = PICKLE if name.lower().endswith("data.pkl") else struct.pack("<4f", *[float(number)] * 4)
            archive.writestr(name, b"little" if name.lower().endswith("byteorder") else data)
    return out.getvalue()


def with_gap(between: bytes) -> bytes:
    """The model with bytes between its members and its directory that no member owns."""
    members, directory, _ = _parts(model())
    start = len(members) + len(between)
    return members + between + directory + _end(len(MEMBERS), len(directory), start)


def ambiguous() -> Iterator[tuple[str, bytes]]:
    """Archives that two readers could read differently."""
    for kind in ("zip64 record", "comment", "two end records", "end record in a comment"):
        yield kind, two_directories(kind)
    yield "two members of one name", with_names("a/data.pkl", "a/data/0", "a/data/0")
    yield "pickle in capitals beside", with_names("a/data.pkl", "a/DATA.PKL", "a/data/0")
    yield "folder in capitals beside", with_names("a/data.pkl", "a/DATA/0", "a/data/0")
    yield "storage in capitals", with_names("a/data.pkl", "a/DATA/0")
    yield "byte order in capitals", with_names("a/data.pkl", "a/data/0", "a/BYTEORDER")
    yield "two folders", with_names("b/x", "a/data.pkl", "a/data/0")
    yield "two pickles", with_names("a/data.pkl", "a/data/0", "b/data.pkl", "b/data/0")
    yield "name with NUL", model().replace(b"archive/version", b"archive/ver\0ion")
    yield "other name in the header", patched("local", b"archive/data/0", 30, b"archive/data/1")
    yield "other size in the header", patched("local", b"archive/data/0", 18, struct.pack("<2I", 15, 15))
    yield "other size in the directory", patched("directory", b"archive/data/0", 20, struct.pack("<2I", 12, 12))
    yield "other method in the header", patched("local", b"archive/data/0", 8, struct.pack("<H", 8))
    yield "other flags in the header", patched("local", b"archive/data/0", 6, struct.pack("<H", 0x800))
    yield "other checksum in the header", patched("local", b"archive/data/0", 14, b"\1\2\3\4")
    yield "a folder with content", patched("directory", b"archive/data/0", 38, b"\x10\0\0\0")
    yield "another archive between the members", with_gap(model(TWO))


def lying_zip64() -> Iterator[tuple[str, bytes]]:
    """Zip64 records that contradict the end record in one number each."""
    members, directory, _ = _parts(model())
    start, length, count = len(members), len(directory), len(MEMBERS)
    body = members + directory
    for what, numbers in {
        "count": (count - 1, length, start, len(body)), "length": (count, length - 1, start, len(body)),
        "start": (count, length, start - 1, len(body)), "place": (count, length, start, len(body) - 4),
    }.items():  # fmt: skip
        yield what, body + _zip64(*numbers) + _end(count, length, start)


def honest_zip64() -> bytes:
    """With a zip64 record that agrees, as torch writes one always."""
    members, directory, _ = _parts(model())
    record = _zip64(len(MEMBERS), len(directory), len(members), len(members) + len(directory))
    return members + directory + record + _end(len(MEMBERS), len(directory), len(members))
