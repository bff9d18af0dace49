"""zip, legacy and tar containers written by hand: what is legal is read, what lies is an error with its place."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import zipfile

import pytest
from torch_files import (
    DATA,
    LIMITS,
    checked,
    everything,
    global_,
    integer,
    legacy,
    numbers,
    opened,
    state,
    tensor,
    text,
    zipped,
)

from diffai.errors import FormatError, LimitError
from diffai.formats import torch as reader
from diffai.formats.base import Limits

FLOATS = struct.pack("<4f", 1, 2, 3, 4)
PICKLE = state({"w": tensor("0", 4, (2, 2), (2, 1))})
MEMBERS = {"data.pkl": PICKLE, "data/0": FLOATS}


def refused(data: bytes, code: str, limits: Limits = LIMITS) -> FormatError:
    with pytest.raises(FormatError) as caught:
        opened(data, limits)
    assert caught.value.code == code, caught.value
    return caught.value


def test_deflated_members_are_unpacked() -> None:
    assert everything(zipped(MEMBERS, compression=zipfile.ZIP_DEFLATED)) == {"w": FLOATS}
    assert opened(zipped(MEMBERS, compression=zipfile.ZIP_DEFLATED)).tensors["w"].offset == -1


def test_large_deflated_member_goes_to_a_temporary_file() -> None:
    data = bytes(range(256)) * 20000
    members = {"data.pkl": state({"w": tensor("0", len(data), (len(data),), (1,), kind="ByteStorage")}), "data/0": data}
    assert everything(zipped(members, compression=zipfile.ZIP_DEFLATED)) == {"w": data}


def test_archive_without_top_folder_or_with_folder_entries() -> None:
    assert everything(zipped(MEMBERS, top="")) == {"w": FLOATS}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("m/", b"")
        archive.writestr("m/data/", b"")
        for name, data in MEMBERS.items():
            archive.writestr("m/" + name, data)
    assert reader.recognise(out.getvalue()[:4096], 0, "x")
    assert everything(out.getvalue()) == {"w": FLOATS}


def test_big_endian_storages_are_swapped() -> None:
    members = {
        "data.pkl": state({
            "f": tensor("0", 2, (2,), (1,)), "h": tensor("1", 2, (2,), (1,), kind="HalfStorage"),
            "c": tensor("2", 1, (1,), (1,), kind="ComplexFloatStorage"),
            "b": tensor("3", 2, (2,), (1,), kind="ByteStorage"),
            "t": tensor("4", 4, (2, 2), (1, 2), kind="LongStorage"),
        }),
        "byteorder": b"big", "data/0": struct.pack(">2f", 1, 2), "data/1": struct.pack(">2e", 1, 2),
        "data/2": struct.pack(">2f", 1, 2), "data/3": b"\1\2", "data/4": struct.pack(">4q", 1, 2, 3, 4),
    }  # fmt: skip
    assert everything(zipped(members)) == {
        "f": struct.pack("<2f", 1, 2), "h": struct.pack("<2e", 1, 2), "c": struct.pack("<2f", 1, 2), "b": b"\1\2",
        "t": struct.pack("<4q", 1, 3, 2, 4),
    }  # fmt: skip


def test_zip64_fields_are_read() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in MEMBERS.items():
            with archive.open("a/" + name, "w", force_zip64=True) as member:
                member.write(data)
    assert everything(out.getvalue()) == {"w": FLOATS}


def test_missing_storage_names_the_tensor() -> None:
    error = refused(zipped({"data.pkl": PICKLE}), "PT07")
    assert error.tensor == "w"
    assert "missing" in error.reason


def test_short_storage() -> None:
    assert refused(zipped({"data.pkl": PICKLE, "data/0": FLOATS[:8]}), "PT08").tensor == "w"


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ((3, 2), (2, 1), 0), ((2, 2), (2, 1), 1), ((2, 2), (2, -1), 1), ((-2, 2), (2, 1), 0), ((2,), (2, 1), 0),
        ((2, 2), (2**63, 1), 0), ((2**62, 2**62), (0, 0), 0), ((2,), (1,), -1), ((2,), (1,), 2**70),
        ((1,) * 65, (1,) * 65, 0),
    ],
)  # fmt: skip
def test_impossible_geometry(shape: tuple[int, ...], strides: tuple[int, ...], offset: int) -> None:
    data = zipped({"data.pkl": state({"w": tensor("0", 4, shape, strides, offset)}), "data/0": FLOATS})
    error = refused(data, "PT09")
    assert error.tensor == "w"
    assert [problem.code for problem in checked(data)] == ["PT09"]


def test_a_value_expanded_beyond_the_limit_is_what_is_stored_of_it() -> None:
    data = zipped({"data.pkl": state({"w": tensor("0", 4, (1 << 33, 4), (0, 1))}), "data/0": FLOATS})
    checkpoint = opened(data)
    assert (checkpoint.tensors["w"].shape, checkpoint.metadata["w.expanded"]) == ((1, 4), f"[{1 << 33}, 4]")
    assert everything(data) == {"w": FLOATS}
    small = zipped({"data.pkl": state({"w": tensor("0", 4, (3, 4), (0, 1))}), "data/0": FLOATS})
    assert everything(small) == {"w": FLOATS * 3}


def test_views_that_overlap_add_up_to_no_more_than_the_limit() -> None:
    data = zipped({"data.pkl": state({"w": tensor("0", 1 << 16, (1 << 15, 1 << 15), (1, 1))}), "data/0": bytes(1 << 18)})
    assert "diffai.maxMade" in refused(data, "PT12").reason
    many = {f"w{i}": tensor("0", 1 << 16, (1 << 16,), (1,)) for i in range(1000)}
    data = zipped({"data.pkl": state(many), "data/0": bytes(1 << 18)})
    assert "diffai.maxMade" in refused(data, "PT12").reason


def test_two_members_of_one_name() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, pytest.warns(UserWarning):
        for name in ("a/data.pkl", "a/data/0", "a/data.pkl"):
            archive.writestr(name, PICKLE if name.endswith("pkl") else FLOATS)
    refused(out.getvalue(), "AMB01")


def directory_entry(data: bytes, name: bytes) -> int:
    """Offset of a member's entry in the zip directory."""
    return data.index(name, data.index(b"PK\x01\x02")) - 46


@pytest.mark.parametrize(
    ("field", "format", "value", "code"),
    [
        (42, "<I", 0, "PT03"), (20, "<I", 1 << 30, "PT03"), (24, "<I", 15, "AMB01"), (10, "<H", 14, "AMB01"),
        (8, "<H", 1, "PT04"), (42, "<I", 5, "PT03"), (24, "<I", 0xFFFFFFFF, "PT02"),
    ],
)  # fmt: skip
def test_lying_directory_entries(field: int, format: str, value: int, code: str) -> None:  # noqa: A002
    data = bytearray(zipped(MEMBERS))
    entry = directory_entry(bytes(data), b"archive/data/0")
    struct.pack_into(format, data, entry + field, value)
    if code == "PT02":
        with pytest.raises(FormatError):
            everything(bytes(data))
    else:
        refused(bytes(data), code)


def test_deflate_that_is_larger_or_smaller_than_it_claims() -> None:
    data = bytearray(zipped(MEMBERS | {"data/0": FLOATS * 100}, compression=zipfile.ZIP_DEFLATED))
    entry = directory_entry(bytes(data), b"archive/data/0")
    header = bytes(data).index(b"archive/data/0") - 30
    for claimed in (1000, 1700):
        struct.pack_into("<I", data, entry + 24, claimed)
        assert refused(bytes(data), "AMB01").offset == header  # the two headers disagree
        struct.pack_into("<I", data, header + 22, claimed)
        with pytest.raises(FormatError) as caught:
            everything(bytes(data))
        assert caught.value.code == "PT14"
    for claimed, code in ((1600 * 200, "PT03"), (1 << 30, "PT12")):
        struct.pack_into("<I", data, entry + 24, claimed)
        struct.pack_into("<I", data, header + 22, claimed)
        assert refused(bytes(data), code).offset >= -1


def test_zip_bomb_stops_at_the_limit() -> None:
    size = 32 << 20
    pickled = state({"w": tensor("0", size, (size,), (1,), kind="ByteStorage")})
    data = zipped({"data.pkl": pickled, "data/0": bytes(size)}, compression=zipfile.ZIP_DEFLATED)
    checkpoint = opened(data, Limits(max_spool=1 << 20, allow_torch=False))  # opening unpacks nothing
    with pytest.raises(LimitError):
        checkpoint.read_into(checkpoint.tensors["w"], 0, memoryview(bytearray(16)))


def test_pickle_bomb_stops_at_the_limit() -> None:
    data = zipped(MEMBERS | {"data.pkl": b"\x80\x02" + b"N0" * 10_000_000 + b"N."}, compression=zipfile.ZIP_DEFLATED)
    assert "diffai.maxHeader" in refused(data, "PT12", Limits(max_header=1 << 20, allow_torch=False)).reason


def test_damaged_deflate_data() -> None:
    data = bytearray(zipped(MEMBERS | {"data/0": FLOATS * 100}, compression=zipfile.ZIP_DEFLATED))
    start = bytes(data).index(b"archive/data/0") + len(b"archive/data/0")
    data[start : start + 4] = b"\xff\xff\xff\xff"
    with pytest.raises(FormatError) as caught:
        everything(bytes(data))
    assert caught.value.code == "PT14"


def test_trailing_bytes_are_said() -> None:
    assert [p.code for p in checked(zipped(MEMBERS | {"data.pkl": PICKLE + b"xx"}))] == ["PT22"]
    assert [p.code for p in checked((DATA / "legacy.pt").read_bytes() + b"xx")] == ["PT22"]
    assert [p.code for p in checked((DATA / "numpy5.pkl").read_bytes() + b"xx")] == ["PT22"]


def test_npz_and_other_zips_are_not_ours() -> None:
    for member in ("arr_0.npy", "word/document.xml", "META-INF/MANIFEST.MF"):
        data = zipped({member: b"x"}, top="")
        assert not reader.recognise(data[:4096], len(data), "model.pt")


@pytest.mark.parametrize("member", ["model.json", "serialized_exported_program.json", ".data/extern_modules"])
def test_other_torch_archives_are_named(member: str) -> None:
    assert "not read" in refused(zipped({member: b"{}", "version": b"3"}), "PT15").reason


def test_check_finds_all_tensors_that_are_wrong() -> None:
    tensors = {"a": tensor("0", 4, (9,), (1,)), "b": tensor("7", 4, (4,), (1,)), "ok": tensor("0", 4, (4,), (1,))}
    found = checked(zipped({"data.pkl": state(tensors), "data/0": FLOATS}))
    assert [(problem.code, problem.tensor) for problem in found] == [("PT09", "a"), ("PT07", "b")]


def test_check_of_something_else_is_an_error() -> None:
    with pytest.raises(FormatError) as caught:
        checked(b"no torch file at all")
    assert caught.value.code == "PT01"


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_legacy_in_every_pickle_protocol(protocol: int) -> None:
    parts = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {"epoch": 3}, []]
    data = b"".join(pickle.dumps(part, protocol) for part in parts)
    assert reader.recognise(data[:4096], len(data), "x")
    assert opened(data).training == {"epoch": 3}


def test_legacy_storage_that_is_cut_or_missing() -> None:
    assert refused(legacy(PICKLE, {"0": (4, FLOATS[:9])}), "PT08").offset > 0
    assert refused(legacy(PICKLE, {"0": (3, FLOATS[:12])}), "PT08").offset > 0
    assert refused(legacy(PICKLE, {}), "PT07").tensor == "w"
    assert refused(legacy(PICKLE, {"0": (-1, FLOATS)}), "PT08").offset > 0
    assert refused(legacy(PICKLE, {"0": (4, FLOATS), "stray": (1, b"1234")}), "PT13").offset > 0


def test_tar_of_torch_0_1() -> None:
    storages = (
        pickle.dumps(1, 2) + b"\x80\x02(" + integer(11) + text("cpu") + global_("torch", "FloatStorage") + b"t."
        + struct.pack("<q", 4) + FLOATS + pickle.dumps([(12, 11, 2, 2)], 2)
    )  # fmt: skip
    tensors = pickle.dumps(2, 2)
    for key, storage, shape, strides, offset in ((21, 11, (2, 2), (1, 2), 0), (22, 12, (2,), (1,), 0)):
        tensors += b"\x80\x02(" + integer(key) + integer(storage) + global_("torch", "FloatTensor") + b"t."
        tensors += struct.pack(f"<i4x{2 * len(shape) + 1}q", len(shape), *shape, *strides, offset)
    pickled = b"\x80\x02}(" + text("w") + text("21") + b"Q" + text("v") + text("22") + b"Qu."
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in (("sys_info", b"."), ("pickle", pickled), ("tensors", tensors), ("storages", storages)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    data = out.getvalue()
    assert reader.recognise(data[:4096], len(data), "x")
    assert opened(data).format == "torch tar"
    assert everything(data) == {"w": struct.pack("<4f", 1, 3, 2, 4), "v": struct.pack("<2f", 3, 4)}


def test_numbers_helper_is_what_pickle_reads() -> None:
    assert pickle.loads(b"\x80\x02" + numbers(1, -2, 2**70) + b".") == (1, -2, 2**70)
