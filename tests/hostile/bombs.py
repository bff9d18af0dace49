"""Small files that cost much: each a name and bytes below 10 MB. Sharing, depth, names, inflation, expansion."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterator
from functools import lru_cache

from torch_files import global_, integer, legacy, numbers, state, tensor, text, zipped

FLOATS = struct.pack("<4f", 1, 2, 3, 4)
WEIGHT = tensor("0", 4, (2, 2), (2, 1))
STUB = global_("a", "B")


def _in_zip(opcodes: bytes, **more: bytes) -> bytes:
    return zipped({"data.pkl": b"\x80\x02" + opcodes + b".", "data/0": FLOATS, "version": b"3\n", **more})


def _put(number: int) -> bytes:
    return b"r" + struct.pack("<I", number)


def _get(number: int) -> bytes:
    return b"j" + struct.pack("<I", number)


def _shared(levels: int, step: bytes, first: bytes) -> bytes:
    """``first``, then ``levels`` objects that each hold the one before twice."""
    out = first + _put(0) + b"0"
    for level in range(levels):
        out += step.replace(b"<", _get(level)) + _put(level + 1) + b"0"
    return out + _get(levels)


def pickles() -> Iterator[tuple[str, bytes]]:
    """Opcodes of one object each, to be put into any container."""
    yield "lists of the list before, twice", _shared(60, b"](<<e", b"]")
    yield "tuples of the tuple before, twice", _shared(60, b"<<\x86", b")")
    yield "dictionaries of the one before, twice", _shared(60, b"}(K\x01<K\x02<u", b"}")
    yield "calls of the call before, twice", _shared(60, STUB + b"(<<tR", STUB + b")R")
    yield "states of the state before, twice", _shared(60, STUB + b")\x81<<\x86b", STUB + b")R")
    yield "keys of the key before, twice", _shared(40, b"}<<\x86K\x01s", b")")
    yield "sets of the set before, twice", _shared(60, b"\x8f(<<\x90", b"\x8f")
    yield "texts in calls", text("x" * 100_000) + _put(0) + b"0](" + (STUB + b"(" + _get(0) * 9 + b"tR") * 20_000 + b"e"
    yield "arrays of the array before", _shared(
        40, global_("numpy._core.multiarray", "_reconstruct") + b")R(K\x01)" + global_("numpy", "dtype") + text("O")
        + b"\x85R\x89](<<etb", b"]")  # fmt: skip
    yield "depth of 5,000", b"]" * 5_000 + b"a" * 4_999
    yield "depth of 2,000,000", b"]" * 2_000_000 + b"a" * 1_999_999
    yield "depth of calls", STUB + _put(0) + b"0N" + b"\x85" + (b"0" + _get(0) + b"N\x85R\x85") * 0 + b"\x85" * 300_000
    yield "depth of states", STUB + _put(0) + b"0" + (_get(0) + b")\x81") * 100_000 + b"b" * 99_999
    yield "marks", b"(" * 3_000_000 + b"t" * 3_000_000
    yield "empty dictionaries", b"](" + b"}" * 9_000_000 + b"e"
    yield "empty sets", b"](" + b"\x8f" * 9_000_000 + b"e"
    yield "memo of everything", b"\x80\x04](" + b"N\x94" * 4_500_000 + b"e"
    yield "stubs", b"](" + STUB + _put(0) + b"0" + (b"j\0\0\0\0)R") * 1_200_000 + b"e"
    yield "many globals", b"](" + b"".join(global_("m", f"f{number}") for number in range(400_000)) + b"e"
    yield "many long names", b"](" + b"".join(global_("m" * 900, f"f{number}") for number in range(9_000)) + b"e"
    yield "leaves of one name", b"}(" + b"".join((b"V1\n" if number % 2 else b"K\x01") + b"}(" + text("w") + b"K\x01u"
                                                  for number in range(2)) + b"u"  # fmt: skip
    yield "keys that look alike", b"}(" + b"".join(b"(K\x01tK" + bytes((n % 256,)) for n in range(200_000)) + b"u"
    yield "tensors that look alike", b"}(" + WEIGHT + _put(9) + b"0" + (b"]" + _get(9)) * 60_000 + b"u"
    long_name = b"X" + struct.pack("<I", 65_000) + b"n" * 65_000
    yield "names of 65 kB", b"}" + long_name + b"](" + (WEIGHT + _put(1)) + _get(1) * 20_000 + b"es"
    yield "scalars under names of 65 kB", b"}" + long_name + b"](" + b"K\x01N" * 500_000 + b"es"
    yield "a name in a name", long_name + _put(0) + b"0}" + (_get(0) + b"}") * 150 + b"s" * 150
    yield "list of a list again and again", _get_again("builtins", "list")
    yield "dict of a dict again and again", _get_again("builtins", "dict", pairs=True)
    yield "set of a list again and again", _get_again("builtins", "set")
    yield "tuple of a list again and again", _get_again("builtins", "tuple")
    yield "bytes of a text again and again", (
        text("a" * 60_000) + _put(0) + b"0](" + global_("_codecs", "encode") + _put(1) + b"0"
        + (_get(1) + _get(0) + text("latin1") + b"\x86R") * 100_000 + b"e"
    )  # fmt: skip
    yield "long integers", b"](" + (b"\x8a\xff" + b"\x7f" * 255) * 30_000 + b"e"
    yield "long integers of text", b"](" + (b"L" + b"9" * 4000 + b"L\n") * 2_400 + b"e"
    yield "one line", b"V" + b"x" * 9_000_000 + b"\n"
    yield "tensors of stride 0", b"}" + text("w") + tensor("0", 4, (8_000_000_000,), (0,)) + b"s"
    yield "many tensors of stride 0", b"}(" + b"".join(
        text(f"w{n}") + tensor("0", 4, (60_000_000, 1), (0, 1)) for n in range(300)) + b"u"  # fmt: skip
    yield "tensors of 64 dimensions", b"}(" + b"".join(
        text(f"w{n}") + tensor("0", 4, (1,) * 64, (1,) * 64) for n in range(3_000)) + b"u"  # fmt: skip
    yield "views of every stride", b"}(" + b"".join(
        text(f"w{n}") + tensor("0", 4, (2, 2), (n % 3, n % 2)) for n in range(20_000)) + b"u"  # fmt: skip
    yield "quantizers", b"}(" + b"".join(
        text(f"w{n}") + global_("torch._utils", "_rebuild_meta_tensor_no_storage") + b"(" + global_("torch", "float32")
        + numbers(2, 2) + numbers(2, 1) + b"\x89tR" for n in range(30_000)) + b"u"  # fmt: skip
    yield "texts of every length", b"](" + b"".join(text("x" * (n % 400)) for n in range(30_000)) + b"e"


def _get_again(module: str, name: str, *, pairs: bool = False) -> bytes:
    inner = b"}(" if pairs else b"]("
    inner += b"".join(integer(n) * (2 if pairs else 1) for n in range(20_000)) + (b"u" if pairs else b"e")
    return inner + _put(0) + b"0](" + global_(module, name) + _put(1) + b"0" + (_get(1) + _get(0) + b"\x85R") * 30_000 + b"e"


@lru_cache(1)
def bombs() -> dict[str, bytes]:
    """All of :func:`files`, made once."""
    return dict(files())


def files() -> Iterator[tuple[str, bytes]]:
    """All bombs in a torch zip, and those that are containers."""
    for name, opcodes in pickles():
        yield name, _in_zip(opcodes)
    yield "zip of 2,000 members of 100 kB", _deflated({f"archive/data/{n}": 100_000 for n in range(2_000)})
    yield "zip that spools 200 MB", _deflated({"archive/data/0": 200_000_000}, elements=50_000_000)
    yield "zip that spools 60 MB", _deflated({"archive/data/0": 60_000_000}, elements=15_000_000)
    yield "zip of 100,000 members", zipped({"data.pkl": state({"w": WEIGHT}), **{f"x/{n}": b"" for n in range(70_000)}})
    yield "pickles in a row", b"N." * 2_000_000
    yield "pickles with a call in a row", (STUB + b")R.") * 300_000
    yield "legacy of many storages", legacy(
        state({f"w{n}": tensor(str(n), 1, (1,), (1,)) for n in range(30_000)}),
        {str(n): (1, b"1234") for n in range(30_000)})  # fmt: skip
    yield "pickle members", zipped({"data.pkl": state({"w": WEIGHT}), "data/0": FLOATS,
                                    **{f"p{n}": b"\x80\x02" + b"]" * 1_000 + b"." for n in range(4_000)}})  # fmt: skip


def _deflated(members: dict[str, int], elements: int = 4) -> bytes:
    """Members of so many zeros."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("archive/data.pkl", state({"w": tensor("0", elements, (elements,), (1,))}))
        archive.writestr("archive/version", b"3\n")
        for name, size in members.items():
            with archive.open(name, "w", force_zip64=True) as member:
                for start in range(0, size, 1 << 20):
                    member.write(bytes(min(1 << 20, size - start)))
    return out.getvalue()
