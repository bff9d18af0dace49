from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors_writer as writer
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize, safe_open
from stream_source import StreamSource

from diffai.errors import DiffaiError, FormatError, LimitError
from diffai.formats import safetensors, safetensors_long
from diffai.formats.base import Limits
from diffai.formats.safetensors import SafetensorsCheckpoint
from diffai.sources.local import LocalFile, MemoryBytes

LIMITS = Limits()


def open_bytes(data: bytes, limits: Limits = LIMITS) -> SafetensorsCheckpoint:
    return safetensors.open_checkpoint(MemoryBytes(data, label="m.safetensors"), limits)


@pytest.fixture(params=["usual", "long"])
def any_length(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short headers too are read as long ones are."""
    if request.param == "long":
        monkeypatch.setattr(safetensors, "LONG", 0)
        monkeypatch.setattr(safetensors_long, "_WINDOW", 200)


def read(checkpoint: SafetensorsCheckpoint, name: str) -> bytes:
    spec = checkpoint.tensors[name]
    buffer = bytearray(spec.nbytes)
    checkpoint.read_into(spec, 0, memoryview(buffer))
    return bytes(buffer)


# ---------------------------------------------------------------- what is right


@pytest.mark.usefixtures("any_length")
@pytest.mark.parametrize("dtype", writer.DTYPES)
def test_every_dtype_reads_as_the_library_reads_it(dtype: str) -> None:
    shapes = {"w": (2, 4), "scalar": () if writer.nbytes(dtype, (1,)) else (4,), "empty": (0, 3), "row": (8,)}
    data = writer.build({
        name: (dtype, shape, random.Random(name).randbytes(writer.nbytes(dtype, shape)))
        for name, shape in shapes.items()
    })  # fmt: skip
    ours = open_bytes(data)
    theirs = dict(deserialize(data))
    assert list(ours.tensors) == list(shapes)
    for name, info in theirs.items():
        spec = ours.tensors[name]
        assert (spec.dtype, list(spec.shape)) == (info["dtype"], info["shape"])
        assert spec.nbytes == len(info["data"])
        assert read(ours, name) == info["data"]


@pytest.mark.parametrize("pad", range(1, 17))
def test_any_header_alignment(pad: int) -> None:
    data = writer.build({"a": ("F32", (2,), b"12345678")}, pad=pad)
    assert read(open_bytes(data), "a") == b"12345678"


@pytest.mark.usefixtures("any_length")
def test_metadata() -> None:
    checkpoint = open_bytes(writer.build({}, {"format": "pt", "ключ": "значение\n"}))
    assert checkpoint.metadata == {"format": "pt", "ключ": "значение\n"}
    assert not checkpoint.tensors


@pytest.mark.usefixtures("any_length")
def test_no_tensor_and_no_metadata() -> None:
    checkpoint = open_bytes(writer.raw(b"{}"))
    assert not checkpoint.tensors
    assert not checkpoint.metadata


@pytest.mark.usefixtures("any_length")
def test_order_is_that_of_the_data_not_of_the_header() -> None:
    header = {"b": writer.entry("U8", [2], 2, 4), "a": writer.entry("U8", [2], 0, 2)}
    checkpoint = open_bytes(writer.raw(header, b"AABB"))
    assert list(checkpoint.tensors) == ["a", "b"]
    assert read(checkpoint, "b") == b"BB"


@pytest.mark.usefixtures("any_length")
@pytest.mark.parametrize("name", ["", "a\x1b[31mb", "line\nbreak", "x" * 10_000, "ü漢", 'quote"\\', " ", "\x7f"])
def test_odd_names_are_kept_as_they_are(name: str) -> None:
    data = writer.build({name: ("U8", (1,), b"x")})
    assert list(open_bytes(data).tensors) == [name]
    assert [found for found, _ in deserialize(data)] == [name]


def test_odd_names_are_escaped_in_messages() -> None:
    header = {"first\x1b[2J": writer.entry("U8", [4], 0, 4), "b": writer.entry("U8", [2], 2, 4)}
    with pytest.raises(FormatError) as error:
        open_bytes(writer.raw(header, b"1234"))
    assert "\x1b" not in error.value.reason
    assert "'first\\x1b[2J'" in error.value.reason


@pytest.mark.usefixtures("any_length")
def test_spaces_in_the_header_change_nothing() -> None:
    header = {"__metadata__": {"k": "v"}, "a": writer.entry("U8", [2, 1], 0, 2), "b": writer.entry("F32", [], 2, 6)}
    plain = open_bytes(writer.raw(header, b"123456"))
    for text in (json.dumps(header), json.dumps(header, indent=3), json.dumps(header, separators=(" ,\t", "\r\n:"))):
        spaced = open_bytes(writer.raw(text.encode(), b"123456"))
        assert [(s.name, s.dtype, s.shape, s.nbytes) for s in spaced.tensors.values()] == [
            (s.name, s.dtype, s.shape, s.nbytes) for s in plain.tensors.values()
        ]


@pytest.mark.usefixtures("any_length")
def test_a_stream_is_read_in_ascending_order_only() -> None:
    data = writer.simple(names=("a", "b", "c"))
    source = StreamSource(data)
    checkpoint = safetensors.open_checkpoint(source, LIMITS)
    assert not checkpoint.random_access
    assert [read(checkpoint, name) for name in checkpoint.tensors] == [read(open_bytes(data), n) for n in "abc"]
    assert source.ascending


def test_only_the_header_is_read() -> None:
    source = StreamSource(writer.raw({"a": writer.entry("U8", [10_000_000], 0, 10_000_000)}, bytes(10_000_000)))
    safetensors.open_checkpoint(source, LIMITS)
    assert source.position < 200


def test_read_into_stays_inside_the_tensor() -> None:
    checkpoint = open_bytes(writer.simple())
    with pytest.raises(ValueError, match="bytes 20"):
        checkpoint.read_into(checkpoint.tensors["a.weight"], 20, memoryview(bytearray(8)))


def test_a_file_cut_while_open_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(writer.simple())
    checkpoint = safetensors.open_checkpoint(LocalFile(path), LIMITS)
    path.write_bytes(writer.simple()[:-40])
    with pytest.raises(DiffaiError, match=r"m\.safetensors"):
        read(checkpoint, "a.weight")
    with pytest.raises(DiffaiError, match="changed while being read"):
        checkpoint.verify_unchanged()
    checkpoint.close()
    checkpoint.close()


def test_silero_agrees_with_the_library(corpus: Path) -> None:
    path = corpus / "singles" / "safetensors" / "silero_vad_16k.safetensors"
    checkpoint = safetensors.open_checkpoint(LocalFile(path), LIMITS)
    theirs = dict(deserialize(path.read_bytes()))
    assert set(checkpoint.tensors) == set(theirs)
    for name, info in theirs.items():
        assert (checkpoint.tensors[name].dtype, list(checkpoint.tensors[name].shape)) == (info["dtype"], info["shape"])
        assert read(checkpoint, name) == info["data"]
    with safe_open(path, "numpy") as library:
        assert checkpoint.metadata == (library.metadata() or {})


# ---------------------------------------------------------------- what is wrong

E = writer.entry
GOOD = writer.raw({"a": E("U8", [4], 0, 4), "b": E("U8", [4], 4, 8)}, b"12345678")
HEADER = len(GOOD) - 8  # where the data begins

# name: (bytes, code, tensor, offset); offset None: wherever
BAD: dict[str, tuple[bytes, str, str, int | None]] = {
    "empty": (b"", "ST01", "", 0),
    "one byte": (b"x", "ST01", "", 0),
    "seven bytes": (bytes(7), "ST01", "", 0),
    "only a length": (struct.pack("<Q", 10), "ST02", "", 0),
    "truncated header": (GOOD[:40], "ST02", "", 0),
    "header length 2^60": (writer.raw(b"{}", length=1 << 60), "ST02", "", 0),
    "header length 2^64-1": (writer.raw(b"{}", length=(1 << 64) - 1), "ST02", "", 0),
    "header length 90 MB": (writer.raw(b"{}", bytes(32_000), length=90_000_000), "ST02", "", 0),
    "header length too small": (writer.raw({"a": E("U8", [1], 0, 1)}, b"1", length=9), "ST04", "", 14),
    "not UTF-8": (writer.raw(b'{"\xff":1}'), "ST03", "", 10),
    "empty header": (writer.raw(b""), "ST04", "", 8),
    "zeros after the header": (writer.raw(b"{}\0\0"), "ST04", "", 10),
    "not JSON": (writer.raw(b"{nonsense}"), "ST04", "", 9),
    "BOM": (writer.raw(b"\xef\xbb\xbf{}"), "ST04", "", None),
    "two objects": (writer.raw(b"{}{}"), "ST04", "", 10),
    "trailing comma": (writer.raw(b'{"__metadata__":{},}'), "ST04", "", None),
    "single quotes": (writer.raw(b"{'a':1}"), "ST04", "", 9),
    "NaN": (writer.raw(b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"x":NaN}}'), "ST04", "", None),
    "number out of range": (writer.raw(b'{"a":{"x":1e999}}'), "ST04", "", None),
    "number of 5000 digits": (writer.raw(b'{"a":' + b"1" * 5000 + b"}"), "ST04", "", None),
    "nested": (writer.raw(b"[" * 200_000), "ST04", "", None),
    "nested in an entry": (writer.raw(b'{"a":' + b"[" * 200_000), "ST04", "", None),
    "nested objects": (writer.raw(b'{"a":' * 200_000), "ST04", "", None),
    "nested and closed": (writer.raw(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"), "ST04", "", None),
    "control character in a name": (writer.raw(b'{"a\n":1}'), "ST04", "", None),
    "array": (writer.raw(b"[]"), "ST05", "", 8),
    "null": (writer.raw(b"null"), "ST05", "", 8),
    "string": (writer.raw(b'"{}"'), "ST05", "", 8),
    "duplicate tensor": (writer.raw(b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},'
                                    b'"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}', bytes(4)),
                         "ST06", "a", 61),
    "duplicate field": (writer.raw(b'{"a":{"dtype":"U8","dtype":"I8","shape":[0],"data_offsets":[0,0]}}'),
                        "ST06", "a", 9),
    "duplicate metadata": (writer.raw(b'{"__metadata__":{},"__metadata__":{}}'), "ST06", "", 27),
    "duplicate metadata key": (writer.raw(b'{"__metadata__":{"a":"1","a":"2"}}'), "ST06", "", 9),
    "metadata of numbers": (writer.raw(b'{"__metadata__":{"a":1}}'), "ST07", "", 9),
    "metadata is a list": (writer.raw(b'{"__metadata__":[]}'), "ST07", "", 9),
    "metadata is a tensor": (writer.raw({"__metadata__": E("U8", [0], 0, 0)}), "ST07", "", 9),
    "entry is null": (writer.raw({"a": None}), "ST08", "a", 9),
    "entry is an array": (writer.raw({"a": ["U8", [0], [0, 0]]}), "ST08", "a", 9),
    "entry is a number": (writer.raw({"a": 7}), "ST08", "a", 9),
    "no dtype": (writer.raw({"a": {"shape": [0], "data_offsets": [0, 0]}}), "ST08", "a", 9),
    "no shape": (writer.raw({"a": {"dtype": "U8", "data_offsets": [0, 0]}}), "ST08", "a", 9),
    "no offsets": (writer.raw({"a": {"dtype": "U8", "shape": [0]}}), "ST08", "a", 9),
    "dtype is a number": (writer.raw({"a": {"dtype": 8, "shape": [0], "data_offsets": [0, 0]}}), "ST08", "a", 9),
    "shape is a string": (writer.raw({"a": {"dtype": "U8", "shape": "", "data_offsets": [0, 0]}}), "ST08", "a", 9),
    "negative size": (writer.raw({"a": E("U8", [-1], 0, 0)}), "ST08", "a", 9),
    "minus zero": (writer.raw(b'{"a":{"dtype":"U8","shape":[-0],"data_offsets":[0,0]}}'), "ST08", "a", 9),
    "size is a float": (writer.raw({"a": E("U8", [0.0], 0, 0)}), "ST08", "a", 9),
    "size is true": (writer.raw({"a": E("U8", [True], 0, 1)}, b"1"), "ST08", "a", 9),
    "size over 64 bits": (writer.raw({"a": E("U8", [1 << 64], 0, 0)}), "ST08", "a", 9),
    "leading zero": (writer.raw(b'{"a":{"dtype":"U8","shape":[01],"data_offsets":[0,1]}}', b"1"), "ST04", "", None),
    "three offsets": (writer.raw({"a": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0, 0]}}), "ST08", "a", 9),
    "offset is a string": (writer.raw({"a": {"dtype": "U8", "shape": [0], "data_offsets": ["0", 0]}}), "ST08", "a", 9),
    "negative offset": (writer.raw({"a": E("U8", [1], -1, 0)}), "ST08", "a", 9),
    "unknown dtype": (writer.raw({"a": E("F128", [1], 0, 16)}, bytes(16)), "ST09", "a", 9),
    "lower-case dtype": (writer.raw({"a": E("f32", [1], 0, 4)}, bytes(4)), "ST09", "a", 9),
    "dtype of ours, not of the format": (writer.raw({"a": E("C128", [1], 0, 16)}, bytes(16)), "ST09", "a", 9),
    "shape product overflow": (writer.raw({"a": E("U8", [1 << 40, 1 << 40], 0, 0)}), "ST10", "a", 9),
    "overflow before a zero": (writer.raw({"a": E("U8", [1 << 40, 1 << 40, 0], 0, 0)}), "ST10", "a", 9),
    "overflow in bits only": (writer.raw({"a": E("F64", [1 << 59], 0, 0)}), "ST10", "a", 9),
    "half a byte": (writer.raw({"a": E("F4", [3], 0, 2)}, bytes(2)), "ST11", "a", 9),
    "reversed offsets": (writer.raw({"a": E("U8", [4], 4, 0)}, bytes(4)), "ST12", "a", 9),
    "shape and offsets differ": (writer.raw({"a": E("F32", [2], 0, 4)}, bytes(4)), "ST13", "a", 9),
    "shape 2^40 over 16 KB": (writer.raw({"a": E("U8", [1 << 40], 0, 16384)}, bytes(16384)), "ST13", "a", 9),
    "overlap": (writer.raw({"a": E("U8", [4], 0, 4), "b": E("U8", [4], 2, 6)}, bytes(6)), "ST14", "b", HEADER + 2),
    "same bytes twice": (writer.raw({"a": E("U8", [4], 0, 4), "b": E("U8", [4], 0, 4)}, bytes(4)), "ST14", "b", HEADER),
    "empty tensor inside another": (writer.raw({"a": E("U8", [4], 0, 4), "b": E("U8", [0], 2, 2)}, bytes(4)),
                                    "ST14", "b", HEADER + 2),
    "unknown dtype of minus one byte": (writer.raw({"a": E("U8", [1], 0, 1), "b": E("XX", [1], 1, 0)}, b"1"),
                                        "ST09", "b", None),
    "half a byte as minus one byte": (writer.raw({"a": E("U8", [1], 0, 1), "b": E("F4", [1], 1, 0)}, b"1"),
                                      "ST11", "b", None),
    "hole": (writer.raw({"a": E("U8", [4], 0, 4), "b": E("U8", [2], 6, 8)}, bytes(8)), "ST15", "b", HEADER + 4),
    "hole at the start": (writer.raw({"a": E("U8", [4], 4, 8)}, bytes(8)), "ST15", "a", None),
    "empty tensor beyond the end": (writer.raw({"a": E("U8", [0], 4, 4)}), "ST15", "a", None),
    "trailing bytes": (GOOD + b"x", "ST16", "", len(GOOD)),
    "only trailing bytes": (writer.raw(b"{}", b"x"), "ST16", "", 10),
    "truncated data": (GOOD[:-1], "ST17", "b", len(GOOD) - 1),
    "no data": (GOOD[:HEADER], "ST17", "a", HEADER),
    "offsets out of range": (writer.raw({"a": E("U8", [1 << 50], 0, 1 << 50)}, bytes(4)), "ST17", "a", None),
    "offsets at 2^64": (writer.raw({"a": E("U8", [0], (1 << 64) - 1, (1 << 64) - 1)}), "ST15", "a", None),
    "lone surrogate": (writer.raw(b'{"\\ud800":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'), "ST19", "\ud800", 9),
    "surrogate in metadata": (writer.raw(b'{"__metadata__":{"k":"\\udfff"}}'), "ST19", "", 9),
}  # fmt: skip


@pytest.mark.usefixtures("any_length")
@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_with_code_tensor_and_offset(case: str) -> None:
    data, code, tensor, offset = BAD[case]
    with pytest.raises(FormatError) as error:
        open_bytes(data)
    assert (error.value.code, error.value.tensor) == (code, tensor), error.value
    assert error.value.format == "safetensors"
    assert "\n" not in error.value.reason
    assert len(error.value.reason) < 300
    if offset is not None:
        assert error.value.offset == offset, error.value


@pytest.mark.parametrize("case", BAD)
def test_bad_files_fail_the_check(case: str) -> None:
    data, code, _, _ = BAD[case]
    problems = safetensors.check(MemoryBytes(data), LIMITS)
    assert code in {problem.code for problem in problems if problem.severity == "error"}


#: What the library lets pass and the specification forbids.
STRICTER = {"duplicate tensor", "duplicate metadata key", "entry is an array"}


@pytest.mark.parametrize("case", BAD)
def test_the_library_refuses_the_same(case: str) -> None:
    if case in STRICTER:
        deserialize(BAD[case][0])
    else:
        with pytest.raises(SafetensorError):
            deserialize(BAD[case][0])


def test_check_finds_all_problems_at_once() -> None:
    header = {
        "a": E("U8", [4], 0, 4), "overlaps": E("U8", [4], 2, 6), "after hole": E("U8", [2], 8, 10),
        "wrong": E("F32", [9], 10, 12), "odd": E("XX", [2], 12, 14), "cut": E("U8", [9], 14, 23),
    }  # fmt: skip
    problems = safetensors.check(MemoryBytes(writer.raw(header, bytes(20))), LIMITS)
    assert [(p.code, p.tensor) for p in problems] == [
        ("ST13", "wrong"), ("ST09", "odd"), ("ST14", "overlaps"), ("ST15", "after hole"), ("ST17", "cut"),
        ("ST18", "cut"),
    ]  # fmt: skip
    assert "9 bytes" not in problems[-1].message or "6" in problems[-1].message


def test_check_of_truncated_data_names_every_cut_tensor() -> None:
    names = ("a", "b", "c", "d")
    problems = safetensors.check(MemoryBytes(writer.simple(names=names)[:-30]), LIMITS)
    assert [(p.code, p.tensor) for p in problems] == [("ST17", "c"), ("ST18", "c"), ("ST18", "d")]
    assert problems[0].message == "data ends 30 bytes early, 1 more tensors are incomplete"
    assert problems[1].message == "only 18 of its 24 bytes are there"


def test_check_of_a_good_file_finds_nothing() -> None:
    assert safetensors.check(MemoryBytes(writer.simple()), LIMITS) == ()


def test_check_warns_of_what_readers_ignore() -> None:
    data = writer.raw(b' {"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"extra":[1.5]}}')
    problems = safetensors.check(MemoryBytes(data), LIMITS)
    assert [(p.code, p.severity) for p in problems] == [("ST22", "warning"), ("ST21", "warning")]
    assert list(open_bytes(data).tensors) == ["a"]


def test_offsets_count_bytes_not_characters() -> None:
    header = {"ü" * 9: E("U8", [1], 0, 1), "漢": E("XX", [1], 1, 2), "é": E("YY", [1], 2, 3)}
    data = writer.raw(json.dumps(header, ensure_ascii=False).encode(), b"123")
    problems = safetensors.check(MemoryBytes(data), LIMITS)
    assert [(p.tensor, p.offset) for p in problems] == [
        (name, data.index(f'"{name}"'.encode())) for name in ("漢", "é")
    ]  # fmt: skip


def test_a_header_of_nothing_but_problems_is_checked_in_time() -> None:
    count = 20_000
    header = {f"tensor.ü.{i}": E("XX", [1], 0, 1) for i in range(count)}
    data = writer.raw(json.dumps(header, ensure_ascii=False).encode(), b"1")
    problems = safetensors.check(MemoryBytes(data), LIMITS)
    assert len(problems) == 2 * count - 1


def test_header_limit_names_its_key() -> None:
    data = writer.build({"a" * 500: ("U8", (1,), b"x")})
    with pytest.raises(LimitError, match=r"diffai\.maxHeader") as error:
        open_bytes(data, Limits(max_header=400))
    assert error.value.code == "ST20"
    with pytest.raises(LimitError):
        safetensors.check(MemoryBytes(data), Limits(max_header=400))


# ---------------------------------------------------------------- fuzz, against the library


def agree(data: bytes) -> None:
    """Both refuse, or both accept with equal contents; nothing but DiffaiError ever escapes."""
    ours: SafetensorsCheckpoint | None = None
    code = ""
    try:
        ours = open_bytes(data)
    except DiffaiError as error:
        code = getattr(error, "code", "")
    safetensors.check(MemoryBytes(data), LIMITS)
    try:
        theirs = dict(deserialize(data))
    except SafetensorError as error:
        assert ours is None, f"only the library refuses: {error}"
        return
    if ours is None:
        # Duplicate keys, and serde's other spellings of a struct (an array) and an enum (a map).
        assert code in ("ST06", "ST08"), code
        return
    assert set(ours.tensors) == set(theirs)
    for name, info in theirs.items():
        spec = ours.tensors[name]
        assert (spec.dtype, list(spec.shape)) == (info["dtype"], info["shape"])
        assert read(ours, name) == info["data"]


SIZES = st.one_of(st.integers(0, 5), st.sampled_from([-1, 1 << 40, (1 << 63), (1 << 64) - 1, 1 << 64, 0.0, True]))
OFFSETS = st.one_of(st.integers(0, 24), st.sampled_from([-1, 1 << 40, (1 << 64) - 1, 1 << 64, 1.5, None]))
ENTRIES = st.one_of(
    st.fixed_dictionaries(
        {
            "dtype": st.sampled_from([*writer.DTYPES, "F128", "", None]),
            "shape": st.lists(SIZES, max_size=4),
            "data_offsets": st.lists(OFFSETS, min_size=1, max_size=3),
        },
        optional={"extra": st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=3))},
    ),
    st.recursive(st.one_of(st.none(), st.booleans(), st.integers(-2, 2), st.text("ab", max_size=2)),
                 lambda inner: st.lists(inner, max_size=3), max_leaves=5),
)  # fmt: skip
NAMES = st.one_of(st.sampled_from(["a", "b", "__metadata__", "dtype"]), st.text(max_size=4).filter(
    lambda name: not any("\ud800" <= c <= "\udfff" for c in name)))  # fmt: skip


@pytest.mark.usefixtures("any_length")
@settings(max_examples=600, deadline=None)
@given(st.dictionaries(NAMES, ENTRIES, max_size=4), st.binary(max_size=24), st.booleans())
def test_random_headers(header: dict[str, object], data: bytes, ascii_only: bool) -> None:
    agree(writer.raw(json.dumps(header, ensure_ascii=ascii_only).encode(), data))


@st.composite
def plausible(draw: st.DrawFn) -> bytes:
    """Mostly right headers: contiguous tensors, of which one may be pushed a little."""
    header, at = {}, 0
    for name in draw(st.lists(NAMES.filter(lambda n: n != "__metadata__"), max_size=5, unique=True)):
        dtype = draw(st.sampled_from(writer.DTYPES))
        shape = draw(st.lists(st.integers(0, 4), max_size=3))
        size = writer.nbytes(dtype, shape)
        push = draw(st.sampled_from([0] * 12 + [1, -1]))
        begin = max(0, at + push)
        header[name] = writer.entry(dtype, shape, begin, begin + size)
        at = begin + size
    entries = list(header.items())
    draw(st.randoms()).shuffle(entries)
    spaces = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,", " :")]))
    text = json.dumps(dict(entries), separators=spaces).encode()
    return writer.raw(text + b" " * draw(st.integers(0, 3)), bytes(at + draw(st.sampled_from([0] * 8 + [1]))))


@pytest.mark.usefixtures("any_length")
@settings(max_examples=600, deadline=None)
@given(plausible())
def test_plausible_headers(data: bytes) -> None:
    agree(data)


@pytest.mark.usefixtures("any_length")
@settings(max_examples=1000, deadline=None)
@given(st.data())
def test_mutated_files(data: st.DataObject) -> None:
    base = bytearray(writer.build(
        {"layer.0.w": ("F32", (2, 2), bytes(16)), "é": ("BF16", (3,), bytes(6)), "s": ("I64", (), bytes(8))},
        {"format": "pt"},
    ))  # fmt: skip
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(base) - 1))
        match data.draw(st.sampled_from(["set", "cut", "copy", "insert", "drop"])):
            case "set":
                base[at] = data.draw(st.one_of(st.integers(0, 255), st.sampled_from(b'{}[]",:0123456789-. ')))
            case "cut" if at:
                del base[at:]
            case "copy":
                base[at:at] = base[at : at + data.draw(st.integers(1, 40))]
            case "insert":
                base[at:at] = data.draw(st.binary(max_size=4))
            case "drop":
                del base[at : at + data.draw(st.integers(1, 8))]
        if not base:
            break
        length = struct.unpack("<Q", base[:8])[0] if len(base) >= 8 else 0
        if data.draw(st.booleans()) and len(base) >= 8 and length < 1 << 32:
            base[:8] = struct.pack("<Q", max(0, min(len(base) - 8, length + data.draw(st.integers(-3, 3)))))
    agree(bytes(base))


# ---------------------------------------------------------------- long headers


def long_header(metadata: str = "", *, count: int = 6000, last: str = "U8", after: bytes = b"") -> bytes:
    """A file of 640 kB of header and a byte a tensor: this JSON as metadata, this dtype in the end."""
    header = {f"model.layers.{i}.self_attn.q_proj.weight": E("U8", [1], i, i + 1) for i in range(count - 1)}
    header["last"] = E(last, [1], count - 1, count)
    text = json.dumps(header, separators=(",", ":")).encode()
    text = b"{" + (f'"__metadata__":{metadata},'.encode("latin-1") if metadata else b"") + text[1:] + after
    return writer.raw(text.ljust(640_000), bytes(count))


@pytest.mark.parametrize(("a", "b"), [("", ""), ('{"step":"9"}', '{"step":"9"}'), ('{"step":"9"}', '{"step":"10"}'),
                                      ("{}", r'{"a\"b}":"\u00fc,{","c": ""}'), ('{"a":"b"}', "{}")])  # fmt: skip
def test_two_files_that_say_the_same_share_their_specs(a: str, b: str) -> None:
    first, second = open_bytes(long_header(a)), open_bytes(long_header(b))
    assert (first.metadata, second.metadata) == (json.loads(a or "{}"), json.loads(b or "{}"))
    assert first.tensors is second.tensors
    assert len(second.tensors) == 6000


def test_files_that_say_something_else_share_nothing() -> None:
    one = open_bytes(long_header())
    for other in (long_header(count=5999), long_header(last="I8")):
        tensors = open_bytes(other).tensors
        assert tensors is not one.tensors
        assert tensors != one.tensors
    with pytest.raises(FormatError) as error:
        open_bytes(long_header()[:-1])
    assert error.value.code == "ST17"
    assert one.tensors["last"].dtype == "U8"


def test_what_is_shared_is_forgotten_with_the_last_file_that_has_it() -> None:
    both = [open_bytes(long_header(last="BOOL")) for _ in range(2)]
    known = len(safetensors_long._known)
    both.clear()
    assert len(safetensors_long._known) == known - 1


@pytest.mark.parametrize(("metadata", "code"), [
    ('{"step": 1 }', "ST07"), ('{"step":"\xff"}', "ST03"), ('{"step":"\n"}', "ST04"), ('{"s":"1","s":"2"}', "ST06"),
    ('{"step":"1",}', "ST04"), ('{"step":"\\ud800"}', "ST19"), ('{"step":"1"},"__metadata__":{}', "ST06"),
    ('{"step":"1"},', "ST04"), ('{"step":"1"}}', "ST04"), ('{"step":"1"},{}', "ST04"),
])  # fmt: skip
def test_a_bad_header_is_refused_though_a_good_one_is_known(metadata: str, code: str) -> None:
    known = [open_bytes(long_header()), open_bytes(long_header('{"step":"1"}'))]
    bad = long_header(metadata)
    with pytest.raises(FormatError) as error:
        open_bytes(bad)
    fresh = next(p for p in safetensors.check(MemoryBytes(bad), LIMITS) if p.severity == "error")
    assert (error.value.code, error.value.offset, error.value.reason) == (fresh.code, fresh.offset, fresh.message)
    assert error.value.code == code
    assert len(known) == 2


def test_what_follows_a_known_header_is_seen() -> None:
    known = open_bytes(long_header())
    for after in (b" x", b" {}", b",", b"\0"):
        with pytest.raises(FormatError) as error:
            open_bytes(long_header(after=after))
        assert error.value.code == "ST04"
    assert len(known.tensors) == 6000


# ---------------------------------------------------------------- cost


def test_opening_loads_nothing_heavy(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(writer.simple())
    code = (
        "import sys\n"
        "from diffai.formats.base import Limits\n"
        "from diffai.formats.registry import open_checkpoint\n"
        "from diffai.snapshots.resolve import open_source\n"
        f"assert len(open_checkpoint(open_source({str(path)!r}), Limits()).tensors) == 2\n"
        "heavy = {'numpy', 'click', 'yaml', 'rich', 'git', 'torch', 'safetensors', 'xxhash', 'ml_dtypes',\n"
        "         'subprocess', 'tempfile', 'difflib', 'diffai.formats.torch', 'diffai.models.sharded'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc/self/status")
@pytest.mark.parametrize("pad", [0, 64])
def test_two_headers_of_ten_megabytes_take_little_memory(tmp_path: Path, pad: int) -> None:
    header, at = {}, 0
    for i in range(100_000):
        name = f"model.layers.{i // 9}.self_attn.q_proj.weight.{i % 9}"
        header[name] = writer.entry("BF16", [16, 4 + i % 3], at, at + 32 * (4 + i % 3))
        at += 32 * (4 + i % 3)
    paths = [tmp_path / "old.safetensors", tmp_path / "new.safetensors"]
    text = json.dumps(header).encode()
    for path, spaces in zip(paths, (0, pad), strict=True):
        path.write_bytes(writer.raw(text + b" " * spaces))
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size + at)
        assert path.stat().st_size - at > 10_000_000
    code = (
        "from diffai.formats import safetensors\n"
        "from diffai.formats.base import Limits\n"
        "from diffai.sources.local import LocalFile\n"
        f"both = [safetensors.open_checkpoint(LocalFile(p), Limits()) for p in {list(map(str, paths))!r}]\n"
        "assert all(len(one.tensors) == 100_000 for one in both)\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < (100_000 if pad else 75_000), "kilobytes"
