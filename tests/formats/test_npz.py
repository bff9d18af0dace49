"""NumPy files against numpy's own reader; hostile headers."""

from __future__ import annotations

import contextlib
import io
import random
import struct
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from gitrepo import Repo
from mutations import mutated, records_mutated
from program import diffai

from diffai.comparison.models import Input, compare_models
from diffai.errors import DiffaiError, FormatError
from diffai.formats import registry
from diffai.formats.base import Limits
from diffai.formats.npz import holds_parameters
from diffai.model import Checkpoint
from diffai.models.rule import is_model_head
from diffai.sources.local import LocalFile, MemoryBytes


def npy(array: object, **options: object) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asanyarray(array), **options)  # type: ignore[arg-type]
    return file.getvalue()


def npz(*, deflated: bool = False, **arrays: object) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if deflated else np.savez)(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def opened(data: bytes, limits: Limits = Limits()) -> Checkpoint:
    return registry.open_checkpoint(MemoryBytes(data, label="m.npz"), limits)


def raw(checkpoint: Checkpoint, name: str) -> bytes:
    spec = checkpoint.tensors[name]
    data = bytearray(spec.nbytes)
    checkpoint.read_into(spec, 0, memoryview(data))
    return bytes(data)


KINDS = ["?", "i1", "u1", "<i2", ">i2", "<u2", "<i4", ">i4", "<u4", "<i8", ">u8", "<f2", ">f2", "<f4", ">f4", "<f8",
         ">f8", "<c8", ">c8", "<c16", ">c16"]  # fmt: skip


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_number_is_what_numpy_reads(kind: str, order: str, version: tuple[int, int]) -> None:
    array = np.asarray(np.arange(24).reshape(2, 3, 4), dtype=kind, order=order)  # type: ignore[call-overload]
    checkpoint = opened(npy(array, version=version))
    assert checkpoint.tensors["array"].shape == (2, 3, 4)
    assert raw(checkpoint, "array") == np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()


@pytest.mark.parametrize("deflated", [False, True])
def test_members_of_an_archive_are_what_numpy_reads(deflated: bool) -> None:
    arrays = {"a.weight": np.random.default_rng(0).normal(size=(40, 5)).astype("f4"), "scalar": np.float64(2.5),
              "empty": np.zeros((0, 3)), "dir/x": np.arange(3), "big": np.zeros(400_000)}  # fmt: skip
    checkpoint = opened(npz(deflated=deflated, **arrays))
    assert list(checkpoint.tensors) == list(arrays)
    for name, array in arrays.items():
        assert raw(checkpoint, name) == array.tobytes()
        assert checkpoint.tensors[name].shape == array.shape
    assert (checkpoint.tensors["a.weight"].offset >= 0) is not deflated


def test_bfloat16_is_known_by_the_way_ml_dtypes_writes_it() -> None:
    array = np.arange(5).astype(ml_dtypes.bfloat16)
    checkpoint = opened(npy(array))
    assert checkpoint.tensors["array"].dtype == "BF16"
    assert raw(checkpoint, "array") == array.tobytes()
    assert opened(npy(np.zeros(3, "V2"))).tensors["array"].dtype == "|V2"


def test_fields_of_records_are_tensors() -> None:
    kind = np.dtype({"names": ["left", "threshold", "flag", "pair", "in"], "formats":
                     ["<i8", ">f8", "u1", ("<f4", (2,)), [("x", "<i2"), ("y", "S3")]], "itemsize": 50})  # fmt: skip
    array = np.zeros((7, 3), kind)
    rng = np.random.default_rng(1)
    for name in ("left", "threshold", "flag", "pair"):
        array[name] = rng.integers(0, 99, array[name].shape)
    array["in"]["x"], array["in"]["y"] = 5, b"abc"
    checkpoint = opened(npy(array))
    assert list(checkpoint.tensors) == [f"array.{name}" for name in ("left", "threshold", "flag", "pair", "in.x", "in.y")]
    assert checkpoint.tensors["array.pair"].shape == (7, 3, 2)
    assert checkpoint.tensors["array.in.y"].dtype == "|S3"
    for name, values in (("left", array["left"]), ("threshold", array["threshold"].astype("<f8")), ("flag", array["flag"]),
                         ("pair", array["pair"]), ("in.x", array["in"]["x"]), ("in.y", array["in"]["y"])):  # fmt: skip
        assert raw(checkpoint, f"array.{name}") == np.ascontiguousarray(values).tobytes(), name
    part = bytearray(5)
    checkpoint.read_into(checkpoint.tensors["array.pair"], 11, memoryview(part))
    assert part == np.ascontiguousarray(array["pair"]).tobytes()[11:16]


def test_text_and_dates_are_compared_as_bytes() -> None:
    old, new = (npz(names=np.array(names), days=np.array(["2020-01-01"], "M8[D]")) for names in (["ab"], ["ac"]))
    diff = compare_models(Input("old", opened(old)), Input("new", opened(new)))
    assert [change.name for change in diff.tensors if change.figures and not change.figures.identical] == ["names"]


def test_objects_are_named_and_never_built() -> None:
    checkpoint = opened(npz(table=np.array([{"lr": 0.5, "w": np.arange(3.0)}, "x"], object), a=np.zeros(2)))
    assert raw(checkpoint, "table.0.w") == np.arange(3.0).tobytes()
    assert checkpoint.metadata["table.0.lr"] == 0.5 and checkpoint.metadata["table.1"] == "x"
    assert checkpoint.safety == "safe" and checkpoint.problems == ()


class Hostile:
    def __reduce__(self) -> tuple[object, ...]:
        import os

        return os.system, ("touch /tmp/never",)


def test_a_hostile_pickle_of_objects_is_a_loud_problem() -> None:
    data = npy(np.array([Hostile()], object))
    checkpoint = opened(data)
    assert checkpoint.safety == "unsafe"
    found = [problem for problem in registry.check(MemoryBytes(data), Limits()) if problem.code == "PT20"]
    assert [problem.name for problem in found] == ["posix.system"] and found[0].use == "construct"


def literal(text: str, data: bytes = bytes(8), version: int = 1) -> bytes:
    encoded = text.encode("latin-1") + b"\n"
    size = struct.pack("<H" if version == 1 else "<I", len(encoded))
    return b"\x93NUMPY" + bytes((version, 0)) + size + encoded + data


LIES = {
    "no signature": (b"\x93NUMPX" + bytes(90), "NP01"),
    "version 9": (literal("{}", version=9), "NP02"),
    "code": (literal("__import__('os')"), "NP02"),
    "no shape": (literal("{'descr': '<f8', 'fortran_order': False}"), "NP02"),
    "keys twice": (literal("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), 'shape': (2,)}"), "NP02"),
    "negative": (literal("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}"), "NP02"),
    "no tuple": (literal("{'descr': '<f8', 'fortran_order': False, 'shape': (1)}"), "NP02"),
    "unknown type": (literal("{'descr': '<q9', 'fortran_order': False, 'shape': (1,)}"), "NP02"),
    "deep": (literal("(" * 9000), "NP02"),
    "huge header": (b"\x93NUMPY\2\0\xff\xff\xff\x7f" + bytes(20), "NP02"),
    "cut header": (literal("{'descr': '<f8', 'fortran_order': False, 'shape': (1,)}")[:40], "NP02"),
    "short": (literal("{'descr': '<f8', 'fortran_order': False, 'shape': (2,)}"), "NP03"),
    "overflow": (literal("{'descr': '<f8', 'fortran_order': False, 'shape': (9223372036854775807, 9223372036854775807)}"),
                 "NP03"),
    "short record": (literal("{'descr': [('a', '<f8'), ('b', '<f8')], 'fortran_order': False, 'shape': (1,)}"), "NP03"),
}  # fmt: skip


@pytest.mark.parametrize("case", LIES)
def test_lies_are_refused_by_number(case: str) -> None:
    data, code = LIES[case]
    source = MemoryBytes(data, label="m.npy")
    with pytest.raises(FormatError) as error:
        registry.open_checkpoint(source, Limits(), "numpy")
    assert error.value.code == code
    if code != "NP02" or case != "huge header":
        assert code in [problem.code for problem in registry.check(source, Limits(), "numpy")]


def test_python_2_headers_and_trailing_bytes_are_read() -> None:
    data = literal("{'descr': '<f8', 'fortran_order': False, 'shape': (1L,), }", bytes(9))
    checkpoint = opened(data)
    assert checkpoint.tensors["array"].shape == (1,)
    assert [problem.code for problem in checkpoint.problems] == ["NP04"]


def test_members_named_twice_and_bombs_are_refused() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("a.npy", npy(np.zeros(2)))
        archive.writestr("a.npy", npy(np.ones(2)))
    with pytest.raises(FormatError) as error:
        opened(file.getvalue())
    assert error.value.code == "AMB01"
    with pytest.raises(DiffaiError, match="maxInflation"):
        opened(npz(deflated=True, a=np.zeros(20_000_000)))


def test_a_member_beside_its_name_without_suffix_stands_twice() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.npy", npy(np.zeros(2)))
        archive.writestr("a", npy(np.ones(2)))
        archive.writestr("notes.txt", "text")
    with pytest.raises(FormatError) as error:
        opened(file.getvalue())
    assert (error.value.code, error.value.tensor) == ("NP05", "a")
    found = registry.check(MemoryBytes(file.getvalue()), Limits())
    assert [(problem.code, problem.tensor) for problem in found] == [("NP05", "a")]


def head_of(data: bytes) -> tuple[bytes, int]:
    return data[:4096], len(data)


@pytest.mark.parametrize("size", [3, 900, 90_000])
@pytest.mark.parametrize("deflated", [False, True])
def test_an_archive_is_a_model_when_its_names_are_those_of_parameters(size: int, deflated: bool) -> None:
    values = np.random.default_rng(0).normal(size=size)
    for names, model in ((("enc.0.weight", "enc.0.bias"), True), (("T/Dense_0/kernel", "T/Dense_0/bias"), True),
                         (("enc.0.weight",), False), (("x", "y"), False), (("weight", "bias"), False),
                         (("train.x", "train.y"), False)):  # fmt: skip
        data = npz(deflated=deflated, **dict.fromkeys(names, values))
        assert holds_parameters(*head_of(data)) is model, names
        assert is_model_head(*head_of(data), "m.npz") is model
    assert not holds_parameters(*head_of(npy(values)))


def test_damaged_files_give_our_errors_and_no_others() -> None:
    rng = random.Random(5)
    samples = [npy(np.arange(6.0).reshape(2, 3).T), npy(np.zeros(3, [("a", "<i4"), ("b", ">f8", (2,))])),
               npz(a=np.arange(4), o=np.array([{"k": 1}, None], object)), npz(deflated=True, w=np.zeros(99), v=np.ones(3))]  # fmt: skip
    refused = 0
    for turn in range(1500):
        sample = samples[turn % 4]
        data = (records_mutated if sample[:2] == b"PK" and turn % 3 else mutated)(sample, rng)
        try:
            checkpoint = registry.open_checkpoint(MemoryBytes(data, label="m.npz"), Limits(), "numpy")
            for name in checkpoint.tensors:
                raw(checkpoint, name)
            checkpoint.close()
        except DiffaiError:
            refused += 1
        with contextlib.suppress(DiffaiError):
            registry.check(MemoryBytes(data, label="m.npz"), Limits(), "numpy")
    assert 300 < refused < 1500


def test_the_corpus_filters_are_what_numpy_reads(corpus: Path) -> None:
    path = corpus / "singles" / "npz" / "mel_filters.npz"
    checkpoint = registry.open_checkpoint(LocalFile(path), Limits())
    with np.load(path) as arrays:
        for name, array in arrays.items():
            assert raw(checkpoint, name) == array.tobytes()


def test_named_files_are_compared_and_a_folder_of_arrays_stays_data(tmp_path: Path) -> None:
    weights = np.arange(300, dtype="f4").reshape(3, 100)
    for folder, array in (("a", weights), ("b", weights * 2)):
        (tmp_path / folder).mkdir()
        np.savez(tmp_path / folder / "m.npz", **{"enc.weight": np.asfortranarray(array), "enc.bias": weights})
        for number in range(3):
            np.save(tmp_path / folder / f"{number}.npy", array)
    named = diffai("a/m.npz", "b/m.npz", cwd=tmp_path)
    assert "enc.weight" in named.stdout and named.returncode == 0
    assert "array" in diffai("a/0.npy", "b/0.npy", cwd=tmp_path).stdout
    together = diffai("a", "b", cwd=tmp_path).stdout
    assert "enc.weight" in together and "array" not in together


def test_git_diff_shows_the_arrays_of_a_file_that_the_user_registered(repo: Repo) -> None:
    arrays = {"enc.weight": np.zeros(300, "f4"), "enc.bias": np.zeros(3, "f4")}
    repo.commit({".gitattributes": b"*.npz diff=diffai\n", "m.npz": npz(**arrays)}, "one")
    assert diffai("install", cwd=repo.top).returncode == 0
    arrays["enc.weight"] = arrays["enc.weight"] + 1
    repo.write({"m.npz": npz(**arrays)})
    assert "~ enc.weight: mean=0.0000->1.0000" in repo.git("diff")
