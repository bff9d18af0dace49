"""Mutated and generated model files, for differential and fuzz runs; endless, by seed."""

from __future__ import annotations

import io
import random
import struct
import zipfile
from collections.abc import Iterator

from torch_files import global_, integer, legacy, numbers, state, tensor, text, zipped
from zip_files import ambiguous, honest_zip64, lying_zip64, model

WORDS = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\x01\0\0\0", b"PK\x05\x06", b"PK\x03\x04", b"PK\x01\x02")


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, flipped, removed, inserted, or a piece of the file moved."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(changed))
        match rng.randrange(7):
            case 0:
                changed[at] = rng.randrange(256)
            case 1:
                changed[at] ^= 1 << rng.randrange(8)
            case 2:
                changed[at : at + rng.randrange(9)] = rng.randbytes(rng.randrange(9))
            case 3:
                changed[at : at + 4] = rng.choice(WORDS)
            case 4:
                end = min(len(changed), at + rng.randrange(64))
                changed[at:at] = changed[at:end]
            case 5:
                other = rng.randrange(len(changed))
                changed[at : at + 16] = changed[other : other + 16]
            case _:
                del changed[at : at + rng.randrange(1, 5)]
        if not changed:
            return b""
    return bytes(changed)


def headers(data: bytes) -> list[int]:
    """Where records of a zip start."""
    found = []
    for sign in (b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x07\x08"):
        at = data.find(sign)
        while at >= 0:
            found.append(at)
            at = data.find(sign, at + 1)
    return found


def records_mutated(data: bytes, rng: random.Random) -> bytes:
    """One to three fields of a zip's own records overwritten, sometimes in both headers of a member alike."""
    changed = bytearray(data)
    places = headers(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.choice(places) + rng.randrange(4, 46)
        width = rng.choice((1, 2, 4, 8))
        old = int.from_bytes(changed[at : at + width], "little")
        new = rng.choice((0, old + 1, old - 1, old * 2, (1 << 8 * width) - 1, rng.randrange(1 << 8), old ^ 0x20))
        changed[at : at + width] = (new % (1 << 8 * width)).to_bytes(width, "little")[: max(0, len(changed) - at)]
    return bytes(changed)


def renamed(rng: random.Random) -> bytes:
    """A torch zip whose members' names were changed, doubled, re-cased or re-ordered."""
    names = ["a/data.pkl", "a/byteorder", "a/data/0", "a/data/1", "a/version"]
    for _ in range(rng.randrange(1, 3)):
        name = rng.choice(names)
        names.insert(rng.randrange(len(names) + 1), rng.choice((
            name.upper(), name.capitalize(), name.replace("/", "\\"), "./" + name, name + "/", "b/" + name, name,
            name.replace("a/", "A/"), "/" + name, name + "\0x", name.replace("data", "DATA"), "b" + name[1:],
        )))  # fmt: skip
        if rng.random() < 0.4:
            names.remove(name)
    pickled = state({"w": tensor("0", 4, (2, 2), (2, 1)), "v": tensor("1", 2, (2,), (1,))})
    out = io.BytesIO()
    import warnings

    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", rng.choice((0, 8))) as archive:
        warnings.simplefilter("ignore")
        for number, name in enumerate(names):
            low = name.lower()
            data = struct.pack("<4f", *[float(number)] * 4)
            if "pkl" in low:
                data = pickled
            elif "byteorder" in low:
                data = rng.choice((b"little", b"big", b"Little", b"little\n"))
            elif "version" in low:
                data = b"3\n"
            archive.writestr(name, data)
    return out.getvalue()


_VALUES = (b"N", b"\x88", b"K\x00", b"K\x01", b"K\x02", b"}", b"]", b")", text("w"), text("v"), text("cpu"), integer(2),
           b"G?\xf0\0\0\0\0\0\0")  # fmt: skip


def _tensor(rng: random.Random) -> bytes:
    shape = tuple(rng.choice((0, 1, 2, 3)) for _ in range(rng.randrange(3)))
    strides = tuple(rng.choice((0, 1, 2, 3)) for _ in shape)
    kind = rng.choice(("FloatStorage", "HalfStorage", "LongStorage", "BoolStorage", "ByteStorage", "BFloat16Storage"))
    opcodes = tensor(rng.choice("001"), rng.choice((1, 2, 4, 8)), shape, strides, rng.choice((0, 0, 1, 2)), kind)
    match rng.randrange(8):
        case 0:
            return global_("torch._utils", "_rebuild_parameter") + b"(" + opcodes + b"\x89}tR"
        case 1:
            return opcodes + b"}" + text("x") + rng.choice(_VALUES) + b"sb"
        case 2:
            return opcodes + b"(" + rng.choice((opcodes, b"N")) + integer(0) + numbers(1) + numbers(1) + b"tb"
        case 3:
            return opcodes + b"q\x07"
        case 4:
            return (
                global_("torch._tensor", "_rebuild_from_type_v2") + b"(" + global_("torch._utils", "_rebuild_tensor_v2")
                + global_("torch", "Tensor") + numbers(1, 2) + b"}tR"
            )  # fmt: skip
        case _:
            return opcodes


def program(rng: random.Random) -> bytes:
    """A pickle of torch's own constructs, with keys twice, memo games, pops and marks."""
    parts = [b"\x80\x02", rng.choice((b"}", global_("collections", "OrderedDict") + b")R")), b"q\x00"]
    for _ in range(rng.randrange(1, 5)):
        key = rng.choice((text("w"), text("v"), text("W"), b"K\x01", b"\x88", text("w") + b"q\x05", b"h\x05"))
        value = rng.choice((_tensor(rng), _tensor(rng), _tensor(rng), rng.choice(_VALUES), b"h\x07", b"h\x00"))
        parts.append(rng.choice((b"(" + key + value + b"u", key + value + b"s", b"(" + key + value + key + value + b"u",
                                 key + value + b"0" + _tensor(rng) + b"s")))  # fmt: skip
    parts.append(rng.choice((b"", b"", b"", b"\x85", b"}" + text("_metadata") + b"Nsb", b"h\x00\x86", _tensor(rng) + b"0")))
    return b"".join(parts) + b"."


def files(seed: int) -> Iterator[tuple[str, bytes]]:
    """Endless (class, bytes) of torch files for a differential run."""
    rng = random.Random(seed)
    contradictory = [data for _, data in (*ambiguous(), *lying_zip64())]
    plain = [model(), honest_zip64(), _deflated(), legacy(state({"w": tensor("0", 4, (2, 2), (2, 1))}),
             {"0": (4, struct.pack("<4f", 1, 2, 3, 4))}), *_by_torch()]  # fmt: skip
    while True:
        yield "bytes", mutated(rng.choice(plain), rng)
        yield "records", records_mutated(rng.choice([data for data in plain if data[:2] == b"PK"]), rng)
        yield "two meanings", mutated(rng.choice(contradictory), rng)
        yield "names", renamed(rng)
        members = {"data.pkl": program(rng), "data/0": rng.randbytes(32), "data/1": rng.randbytes(64), "version": b"3\n"}
        if rng.random() < 0.3:
            members["byteorder"] = rng.choice((b"little", b"big"))
        yield "programs", zipped(members, compression=rng.choice((0, 8)))
        yield "legacy programs", legacy(program(rng), {"0": (8, rng.randbytes(32)), "1": (8, rng.randbytes(64))})


def _deflated() -> bytes:
    pickled = state({"w": tensor("0", 400, (20, 20), (20, 1))})
    return zipped({"data.pkl": pickled, "data/0": bytes(range(200)) * 8, "version": b"3\n"}, compression=8)


def _by_torch() -> list[bytes]:
    from torch_files import DATA

    return [(DATA / name).read_bytes() for name in ("zip.pt", "legacy.pt", "module.pt")]
