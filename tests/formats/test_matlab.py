"""MATLAB files against scipy over its own fixtures, 7.3 against h5py, and damaged ones."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse

from diffai.comparison.models import Input, compare_models
from diffai.errors import DiffaiError, FormatError, LimitError
from diffai.formats import registry
from diffai.formats.base import Limits
from diffai.model import Checkpoint
from diffai.sources.local import LocalFile, MemoryBytes

assert scipy.io.__file__ is not None
BUNDLED = sorted((Path(scipy.io.__file__).parent / "matlab" / "tests" / "data").glob("*.mat"))
BROKEN = {"bad_miuint32", "corrupted_zlib_checksum", "corrupted_zlib_data", "debigged_m4", "malformed1"}
OTHERWISE = {"nasty_duplicate_fieldnames", "broken_utf8", "bad_miutf8_array_name"}  # names and bytes that scipy changes or refuses
KINDS = {"F64": "<f8", "F32": "<f4", "I8": "i1", "U8": "u1", "I16": "<i2", "U16": "<u2", "I32": "<i4", "U32": "<u4",
         "I64": "<i8", "U64": "<u8", "BOOL": "?", "C64": "<c8", "C128": "<c16"}  # fmt: skip


def opened(data: bytes | Path, limits: Limits = Limits()) -> Checkpoint:
    source = LocalFile(data) if isinstance(data, Path) else MemoryBytes(data, label="m.mat")
    return registry.open_checkpoint(source, limits)


def values(checkpoint: Checkpoint, name: str) -> np.ndarray:  # type: ignore[type-arg]
    spec = checkpoint.tensors[name]
    data = bytearray(spec.nbytes)
    checkpoint.read_into(spec, 0, memoryview(data))
    return np.frombuffer(data, KINDS[spec.dtype]).reshape(spec.shape)


def saved(**variables: object) -> bytes:
    file = io.BytesIO()
    scipy.io.savemat(file, variables, do_compression=bool(variables.pop("packed", False)))
    return file.getvalue()


class Compared:
    """Walks what scipy read and looks each leaf up under our name for it."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint, self.leaves = checkpoint, 0

    def __call__(self, name: str, value: object) -> None:
        if isinstance(value, scipy.sparse.csc_matrix | scipy.sparse.coo_matrix | scipy.sparse.csc_array):
            ours = values(self.checkpoint, f"{name}.values")
            wanted = scipy.sparse.csc_matrix(value)
            assert sorted(ours.tolist(), key=abs) == sorted(wanted.data.tolist(), key=abs)
        elif isinstance(value, scipy.io.matlab.MatlabOpaque | scipy.io.matlab.MatlabFunction):
            assert name in self.checkpoint.classes or f"{name}.function" in self.checkpoint.classes
        elif isinstance(value, np.ndarray) and value.dtype.names:
            flat = value.reshape(-1, order="F")
            for number, row in enumerate(flat):
                for field in value.dtype.names:
                    path = name if len(flat) == 1 else f"{name}.{number + 1}"
                    self(f"{path}.{field}", row[field])
        elif isinstance(value, np.ndarray) and value.dtype == object:
            for number, item in enumerate(value.reshape(-1, order="F")):
                self(f"{name}.{number + 1}", item)
        elif isinstance(value, np.ndarray) and value.dtype.kind in "US":
            text = "\n".join(value.tolist()) if value.size else ""
            ours = str(self.checkpoint.metadata[name])
            assert [line.rstrip() for line in ours.split("\n")] == [line.rstrip() for line in text.split("\n")]
        elif isinstance(value, np.ndarray):
            ours = values(self.checkpoint, name)
            if ours.dtype != np.bool_ and value.dtype.kind in "uib" and ours.dtype.kind == "f":
                value = value.astype(ours.dtype)  # scipy keeps what is stored narrower
            assert ours.shape == value.shape and np.array_equal(ours, value, equal_nan=ours.dtype.kind in "fc")
        self.leaves += 1


@pytest.mark.parametrize("path", BUNDLED, ids=lambda path: path.stem)
def test_what_scipy_bundles_is_read_as_scipy_reads_it(path: Path) -> None:
    if path.stem in BROKEN:
        with pytest.raises(FormatError) as caught:
            opened(path)
        assert caught.value.code.startswith("MA")
        assert [p.code for p in registry.check(LocalFile(path), Limits())] == [caught.value.code]
        return
    checkpoint = opened(path)
    if "hdf5" in path.stem:
        with h5py.File(path) as file:
            assert np.array_equal(values(checkpoint, "testdouble"), file["testdouble"][()].T)
    elif path.stem not in OTHERWISE:
        compared = Compared(checkpoint)
        for name, value in scipy.io.loadmat(path, chars_as_strings=True).items():
            if not name.startswith("__"):
                compared(name, value)
        assert compared.leaves or path.stem == "test_empty_struct"
    checkpoint.close()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("version", ["4", "5"])
def test_values_are_those_that_scipy_wrote(version: str, packed: bool) -> None:
    rng = np.random.default_rng(0)
    arrays: dict[str, object] = {f"a{n}": rng.normal(size=(n + 1, 2 * n + 3)) for n in range(6)}
    arrays["single"] = rng.normal(size=(3, 4)).astype("f4")
    arrays["complex"] = rng.normal(size=(4, 2)) + 1j * rng.normal(size=(4, 2))
    if version == "5":
        arrays |= {"cube": rng.normal(size=(2, 3, 4)), "bytes": rng.integers(0, 255, (5, 5)).astype("u1"),
                   "long": rng.integers(-(1 << 60), 1 << 60, (3, 3)), "truth": np.array([[True, False]]),
                   "net": {"layers": np.array([rng.normal(size=(2, 2)), "relu"], dtype=object), "lr": 0.1}}  # fmt: skip
    file = io.BytesIO()
    scipy.io.savemat(file, arrays, format=version, do_compression=packed and version == "5")
    compared = Compared(opened(file.getvalue()))
    for name, value in scipy.io.loadmat(io.BytesIO(file.getvalue())).items():
        if not name.startswith("__"):
            compared(name, value)
    assert compared.leaves >= 8


def test_a_narrower_store_is_no_difference_of_values() -> None:
    def matrix(kind: int, payload: bytes) -> bytes:
        parts = [(6, struct.pack("<II", 6, 0)), (5, struct.pack("<ii", 1, 3)), (1, b"w"), (kind, payload)]
        body = b"".join(struct.pack("<II", k, len(p)) + p + bytes(-len(p) % 8) for k, p in parts)
        return b"MATLAB 5.0".ljust(124) + b"\0\1IM" + struct.pack("<II", 14, len(body)) + body

    narrow, wide = opened(matrix(2, b"\1\2\3")), opened(matrix(9, struct.pack("<3d", 1, 2, 3)))
    assert narrow.tensors["w"].dtype == "F64" and values(narrow, "w").tolist() == [[1, 2, 3]]
    assert not compare_models(Input("a", narrow), Input("b", wide)).changes


def test_a_date_in_the_header_is_no_difference_and_a_changed_field_is() -> None:
    base = saved(net={"w": np.eye(3), "name": "one"})
    later = base.replace(b"Created on: ", b"Created ON: ", 1)
    assert later != base
    diff = compare_models(Input("a", opened(base)), Input("b", opened(later)))
    assert not diff.changes and not diff.metadata
    other = saved(net={"w": 2 * np.eye(3), "name": "two"})
    diff = compare_models(Input("a", opened(base)), Input("b", opened(other)))
    assert [change.name for change in diff.changes] == ["net.w"]
    assert [(c.key, c.old, c.new) for c in diff.metadata] == [("net.name", "one", "two")]


def test_an_object_that_only_matlab_knows_is_named_and_its_change_is_not_compared() -> None:
    path = next(path for path in BUNDLED if path.stem == "parabola")
    data = path.read_bytes()
    checkpoint = opened(data)
    assert checkpoint.classes["parabola"] == "function handle"
    assert "function_handle_workspace (MCOS), not read" in str(dict(checkpoint.classes))
    assert any("subsystem" in name for name in checkpoint.asides)


# ---------------------------------------------------------------- 7.3


def version73(path: Path, scale: float = 1.0, chunks: bool = False) -> Path:
    """What MATLAB's save -v7.3 writes, as far as its documentation and files show."""
    references = h5py.special_dtype(ref=h5py.Reference)
    packed = {"chunks": (2, 2), "compression": "gzip"} if chunks else {}
    with h5py.File(path, "w", userblock_size=512) as file:
        def put(group: h5py.Group, name: str, value: object, kind: str, **more: object) -> h5py.Dataset:
            dataset = group.create_dataset(name, data=value, **(packed if np.ndim(value) == 2 and name == "w" else {}))
            for key, what in {"MATLAB_class": np.bytes_(kind), **more}.items():
                dataset.attrs[key] = what
            return dataset

        def text(group: h5py.Group, name: str, value: str) -> h5py.Dataset:
            codes = np.frombuffer(value.encode("utf-16-le"), "<u2").reshape(-1, 1)
            return put(group, name, codes, "char", MATLAB_int_decode=np.int32(2))

        put(file, "w", scale * np.arange(12.0).reshape(4, 3), "double")
        put(file, "flags", np.array([[1, 0, 1]], "u1"), "logical", MATLAB_int_decode=np.int32(1))
        put(file, "none", np.array([0, 5], "u8"), "double", MATLAB_empty=np.uint8(1))
        put(file, "z", np.array([[(1.0, 2.0), (0.0, 3.0)]], [("real", "<f8"), ("imag", "<f8")]), "double")
        text(file, "title", "größe")
        hidden = file.create_group("#refs#")
        first, second = put(hidden, "a", np.full((2, 2), 7.0), "double"), text(hidden, "b", "relu")
        put(file, "layers", np.array([[first.ref], [second.ref]], references), "cell")
        net = file.create_group("net")
        net.attrs["MATLAB_class"] = np.bytes_("struct")
        put(net, "lr", np.array([[0.1]]), "double")
        many = file.create_group("many")
        many.attrs["MATLAB_class"] = np.bytes_("struct")
        many.create_dataset("f", data=np.array([[first.ref], [second.ref]], references))
        sparse = file.create_group("s")
        sparse.attrs["MATLAB_class"], sparse.attrs["MATLAB_sparse"] = np.bytes_("double"), np.uint64(3)
        for name, column in (("data", [5.0, 6.0]), ("ir", np.array([0, 2], "u8")), ("jc", np.array([0, 1, 2], "u8"))):
            sparse.create_dataset(name, data=column)
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM")
    return path


@pytest.mark.parametrize("chunks", [False, True])
def test_version_73_is_hdf5_read_the_way_round_that_matlab_has_it(tmp_path: Path, chunks: bool) -> None:
    checkpoint = opened(version73(tmp_path / "m.mat", chunks=chunks))
    assert checkpoint.format == "hdf5"
    assert np.array_equal(values(checkpoint, "w"), np.arange(12.0).reshape(4, 3).T)
    assert checkpoint.tensors["flags"].dtype == "BOOL" and checkpoint.tensors["none"].shape == (0, 5)
    assert values(checkpoint, "z").reshape(-1).tolist() == [1 + 2j, 3j]
    assert values(checkpoint, "layers.1").tolist() == [[7, 7], [7, 7]] == values(checkpoint, "many.1.f").tolist()
    said = ("title", "layers.2", "many.2.f", "s.size")
    assert [checkpoint.metadata[key] for key in said] == ["größe", "relu", "relu", "sparse [3, 2]"]
    assert values(checkpoint, "s.values").tolist() == [5, 6] and values(checkpoint, "net.lr").tolist() == [[0.1]]
    assert dict(checkpoint.classes) == {"layers": "cell [1, 2]", "net": "struct", "many": "struct [1, 2]"}
    assert not any(name.startswith("#") for name in (*checkpoint.tensors, *checkpoint.metadata))
    checkpoint.close()


def test_the_same_variables_in_7_and_73_are_equal_by_value(tmp_path: Path) -> None:
    old = saved(w=np.arange(12.0).reshape(4, 3).T, title="größe", packed=True)
    with h5py.File(tmp_path / "n.mat", "w", userblock_size=512) as file:
        file["w"] = np.arange(12.0).reshape(4, 3)
        file["w"].attrs["MATLAB_class"] = np.bytes_("double")
        file["title"] = np.array([[ord(c)] for c in "größe"], "u2")
        file["title"].attrs["MATLAB_class"] = np.bytes_("char")
    diff = compare_models(Input("a", opened(old)), Input("b", opened(tmp_path / "n.mat")))
    assert not diff.changes and not diff.metadata


def test_a_cell_that_holds_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.mat"
    with h5py.File(path, "w") as file:
        cell = file.create_dataset("c", (1, 1), h5py.special_dtype(ref=h5py.Reference))
        cell.attrs["MATLAB_class"] = np.bytes_("cell")
        cell[0, 0] = cell.ref
    with pytest.raises(LimitError, match="nested"):
        opened(path)


# ---------------------------------------------------------------- hostile files and the program


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    packed = zlib.compress(bytes(300 << 20), 9)
    data = b"MATLAB 5.0".ljust(124) + b"\0\1IM" + struct.pack("<II", 15, len(packed)) + packed
    with pytest.raises(LimitError, match="maxInflation"):
        opened(data)


def test_two_variables_of_one_name_are_refused() -> None:
    one = saved(w=np.eye(2))
    with pytest.raises(FormatError) as caught:
        opened(one + one[128:])
    assert caught.value.code == "MA06"


def test_what_is_no_matlab_file_is_not_taken_for_one() -> None:
    for data in (bytes(200), b"\0\0\0\0" + struct.pack("<4I", 2, 2, 0, 3) + b"\1\2\0" + bytes(32), b"\x0a" + bytes(300)):
        with pytest.raises(FormatError) as caught:
            registry.open_checkpoint(MemoryBytes(data, label="m.dat"), Limits())
        assert caught.value.format != "matlab"


def test_damaged_files_give_our_errors_and_no_others() -> None:
    random_ = random.Random(3)
    samples = [saved(net={"w": np.eye(3), "t": "text", "c": np.array([1, "b"], object)}, s=scipy.sparse.eye(4).tocsc()),
               saved(w=np.eye(4) * 1j, packed=True), *(path.read_bytes()[:6000] for path in BUNDLED[::6])]  # fmt: skip
    for number in range(1500):
        data = bytearray(samples[number % len(samples)])
        for _ in range(random_.randint(1, 8)):
            data[random_.randrange(len(data))] = random_.choice((0, 1, 0x7F, 0x80, 0xFF, random_.randrange(256)))
        try:
            checkpoint = registry.open_checkpoint(MemoryBytes(bytes(data), label="m.mat"), Limits(max_spool=1 << 26))
            for spec in checkpoint.tensors.values():
                checkpoint.read_into(spec, 0, memoryview(bytearray(min(spec.nbytes, 1 << 16))))
        except DiffaiError:
            pass


def test_the_program_compares_two_files(tmp_path: Path) -> None:
    for name, scale in (("a", 1.0), ("b", 1.5)):
        (tmp_path / f"{name}.mat").write_bytes(saved(net={"w": scale * np.eye(40), "act": "relu"}, packed=True))
    run = subprocess.run([sys.executable, "-m", "diffai", "a.mat", "b.mat"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0 and "~ net.w: mean=0.0250->0.0375" in run.stdout
