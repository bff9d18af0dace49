"""HDF5 against h5py in every layout that it writes, Keras against keras, and files that lead elsewhere."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from diffai import compare
from diffai.comparison.models import Input, compare_models
from diffai.errors import DiffaiError, FormatError
from diffai.formats import registry
from diffai.formats.base import Limits
from diffai.model import Checkpoint
from diffai.sources.local import LocalFile, MemoryBytes

_SPEC = importlib.util.find_spec("h5py")
assert _SPEC is not None and _SPEC.origin is not None
BUNDLED = sorted(Path(_SPEC.origin).parent.rglob("*.h5"))
KINDS = {
    "earliest": {"libver": "earliest"}, "1.8": {"libver": ("v108", "v108")}, "1.10": {"libver": ("v110", "v110")},
    "latest": {"libver": "latest"}, "user block": {"userblock_size": 1024},
    "creation order": {"libver": "latest", "track_order": True}, "creation order, earliest": {"track_order": True},
}  # fmt: skip


def opened(path: Path | str) -> Checkpoint:
    return registry.open_checkpoint(LocalFile(path), Limits())


def content(checkpoint: Checkpoint, name: str) -> bytes:
    spec = checkpoint.tensors[name]
    data = bytearray(spec.nbytes)
    checkpoint.read_into(spec, 0, memoryview(data))
    return bytes(data)


def fill(file: h5py.File) -> None:
    rng = np.random.default_rng(0)
    group, other = file.create_group("a"), file.create_group("b")
    for n in range(40):
        group.create_dataset(f"d{n}", data=rng.normal(size=(3, n + 1)).astype("f4"))
    for n in range(100):
        other.create_dataset(f"n{n}", data=np.arange(n))
    packed = {"compression": "gzip", "shuffle": True, "fletcher32": True}
    file.create_dataset("packed", data=rng.normal(size=(100, 37)), chunks=(16, 10), **packed)
    file.create_dataset("packed1", data=rng.integers(0, 9, size=(1000,)), chunks=(64,), compression="gzip")
    file.create_dataset("chunk", data=rng.normal(size=(10, 7)), chunks=(10, 7))
    file.create_dataset("chunk_packed", data=rng.normal(size=(10, 7)), chunks=(10, 7), compression="gzip")
    file.create_dataset("rows", data=rng.normal(size=(3000, 3)), chunks=(1, 3))
    file.create_dataset("rows_packed", data=rng.normal(size=(3000, 3)), chunks=(1, 3), compression="gzip")
    file.create_dataset("cube", data=rng.normal(size=(5, 6, 7)).astype("f2"), chunks=(2, 4, 3), shuffle=True)
    file.create_dataset("big", data=rng.normal(size=(5, 4)).astype(">f8"))
    file.create_dataset("complex", data=(rng.normal(size=5) + 1j).astype("c8"))
    file.create_dataset("bool", data=np.array([True, False, True]))
    file.create_dataset("scalar", data=3.5)
    file.create_dataset("none", shape=(0, 4), dtype="f4")
    file.create_dataset("unwritten", shape=(4, 4), dtype="i4")
    file.create_dataset("unwritten_chunks", shape=(40, 4), dtype="i4", chunks=(8, 2))
    file["tied"] = file["chunk"]
    for n in range(60):
        file.attrs[f"k{n}"] = f"value {n}" * 10
    file.attrs["number"] = 3
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.COMPACT)
    space = h5py.h5s.create_simple((4,))
    compact = h5py.h5d.create(file.id, b"compact", h5py.h5t.NATIVE_DOUBLE, space, layout)
    compact.write(h5py.h5s.ALL, h5py.h5s.ALL, np.arange(4.0))


@pytest.mark.parametrize("kind", KINDS)
def test_every_layout_reads_as_h5py_reads_it(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w", **KINDS[kind]) as file:
        fill(file)
    checkpoint = opened(path)
    seen = 0
    with h5py.File(path) as file:

        def visit(name: str, item: object) -> None:
            nonlocal seen
            if isinstance(item, h5py.Dataset):
                array = np.ascontiguousarray(item[()]).astype(item.dtype.newbyteorder("<"))
                assert content(checkpoint, name.replace("/", ".")) == array.tobytes(), name
                assert checkpoint.tensors[name.replace("/", ".")].shape == item.shape
                seen += 1

        file.visititems(visit)
    assert seen >= 155 and checkpoint.metadata["number"] == 3 and checkpoint.metadata["k59"] == "value 59" * 10
    assert {checkpoint.tensors["tied"].alias_of, checkpoint.tensors["chunk"].alias_of} & {"tied", "chunk"}
    checkpoint.close()


@pytest.mark.parametrize("path", BUNDLED, ids=lambda path: path.stem)
def test_the_library_s_own_files(path: Path) -> None:
    checkpoint = opened(path)
    with h5py.File(path) as file:
        for name, item in file.items():
            if isinstance(item, h5py.Dataset) and item.dtype.kind in "fiuc":
                assert content(checkpoint, name) == item[()].astype(item.dtype.newbyteorder("<")).tobytes()
    checkpoint.close()


def test_texts_and_empty_spaces_are_compared(tmp_path: Path) -> None:
    sides = []
    for text in ("one", "two"):
        with h5py.File(tmp_path / f"{text}.h5", "w") as file:
            file["w"] = np.zeros(3)
            file["text"], file["texts"] = text, ["same", text]
            file["null"] = h5py.Empty("f4")
        sides.append(Input(text, opened(tmp_path / f"{text}.h5")))
    diff = compare_models(*sides)
    assert [change.key for change in diff.graph] == ["dataset text", "dataset texts"]


# ---------------------------------------------------------------- files that lead elsewhere


def test_external_storage_is_never_opened(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(np.arange(10.0).tobytes())
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.create_dataset("w", shape=(10,), dtype="f8", external=[(str(tmp_path / "secret"), 0, 80)])
    with pytest.raises(FormatError, match="external storage") as caught:
        opened(tmp_path / "m.h5")
    assert (caught.value.code, caught.value.tensor) == ("HD05", "w")


def test_virtual_datasets_are_never_put_together(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["w"] = np.zeros(5)
    layout = h5py.VirtualLayout((5,), "f8")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "w", (5,))
    with h5py.File(tmp_path / "m.h5", "w", libver="latest") as file:
        file.create_virtual_dataset("w", layout)
    with pytest.raises(FormatError, match="virtual") as caught:
        opened(tmp_path / "m.h5")
    assert caught.value.code == "HD05"


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_links_out_of_the_group_are_said_and_not_followed(libver: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w", libver=libver) as file:
        file["w"] = np.zeros(3)
        file["there"] = h5py.ExternalLink("/etc/passwd", "/x")
        file["soft"] = h5py.SoftLink("/w")
        file["round"] = file["/"]
    checkpoint = opened(tmp_path / "m.h5")
    assert list(checkpoint.tensors) == ["w"]
    assert checkpoint.graph["link there"] == "external link to /etc/passwd:/x"
    assert {problem.tensor for problem in checkpoint.problems} == {"there", "soft", "round"}
    checkpoint.close()


def test_other_filters_are_refused_by_name(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.create_dataset("w", data=np.zeros(100), chunks=(10,), compression="lzf")
    with pytest.raises(FormatError, match="lzf") as caught:
        opened(tmp_path / "m.h5")
    assert caught.value.code == "HD06"


def test_a_small_file_cannot_unpack_to_a_large_one(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.create_dataset("w", data=np.zeros(40_000_000, "f4"), chunks=(4_000_000,), compression="gzip")
    assert (tmp_path / "m.h5").stat().st_size < 1_000_000
    with pytest.raises(FormatError, match="maxInflation"):
        opened(tmp_path / "m.h5")


def test_damaged_files_give_our_errors_and_no_others(tmp_path: Path) -> None:
    samples = []
    for number, kind in enumerate(("earliest", "latest")):
        with h5py.File(tmp_path / f"{number}.h5", "w", libver=kind) as file:
            file.create_dataset("g/w", data=np.arange(60.0).reshape(6, 10), chunks=(2, 5), compression="gzip")
            file["v"] = np.arange(5)
            file["s"] = "text"
            file.attrs["k"] = ["a", "b"]
            for n in range(12 if number else 1):
                file.create_group(f"group{n}", track_order=True)
        samples.append((tmp_path / f"{number}.h5").read_bytes())
    random_ = random.Random(7)
    opened_ = 0
    for number in range(1500):
        data = bytearray(samples[number % 2])
        for _ in range(random_.randint(1, 6)):
            data[random_.randrange(8, len(data))] = random_.choice((0, 1, 0x7F, 0x80, 0xFF, random_.randrange(256)))
        if random_.random() < 0.2:
            del data[random_.randrange(16, len(data)) :]
        try:
            checkpoint = registry.open_checkpoint(MemoryBytes(bytes(data), label="m.h5"), Limits())
            for spec in checkpoint.tensors.values():
                checkpoint.read_into(spec, 0, memoryview(bytearray(min(spec.nbytes, 1 << 16))))
            opened_ += 1
        except DiffaiError:
            pass
    assert opened_ > 50


# ---------------------------------------------------------------- Keras


def test_the_corpus_history_is_what_is_known_of_it(corpus: Path) -> None:
    old, new = sorted((corpus / "histories" / "deepcut").rglob("*.h5"))
    diff = compare_models(Input("old", opened(old)), Input("new", opened(new)))
    totals = diff.totals
    assert (totals.added, totals.removed, totals.reshaped, totals.changed) == (10, 2, 21, 31)


SAVE = """
import sys, keras, numpy as np
for name in ("relu", "tanh"):
    keras.utils.set_random_seed(1)
    keras.backend.clear_session()
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4, name="first", activation=name),
                              keras.layers.BatchNormalization(name="norm"), keras.layers.Dense(3, name="second")])
    model.compile("adam", "mse")
    model.fit(np.zeros((4, 8)), np.zeros((4, 3)), verbose=0)
    path = sys.argv[1] + "/" + name
    model.save(path + ".keras")
    model.save(path + ".h5")
    model.save_weights(path + ".weights.h5")
    np.save(path + ".npy", keras.ops.convert_to_numpy(model.get_layer("second").kernel))
"""


def test_a_keras_model_in_its_three_files(tmp_path: Path) -> None:
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    subprocess.run([sys.executable, "-c", SAVE, str(tmp_path)], env=environment, check=True, capture_output=True)
    model, weights, legacy = (opened(tmp_path / f"relu{suffix}") for suffix in (".keras", ".weights.h5", ".h5"))
    kernel = np.load(tmp_path / "relu.npy").tobytes()
    assert content(model, "second.vars.0") == kernel
    assert content(weights, "layers.dense_1.vars.0") == kernel
    assert content(legacy, "second.kernel") == kernel
    assert model.classes["norm"] == "BatchNormalization" and model.metadata["first.units"] == 4
    for checkpoint in (model, weights, legacy):
        parameters = sum(spec.elements for spec in checkpoint.tensors.values() if spec.is_parameter)
        assert parameters == 8 * 4 + 4 + 4 * 4 + 4 * 3 + 3
        assert any(spec.role == "training" for spec in checkpoint.tensors.values())
    assert model.training["compile.optimizer.class_name"] == "Adam"
    diff = compare_models(Input("a", model), Input("b", opened(tmp_path / "tanh.keras")))
    assert ("first.activation", "relu", "tanh") in [(c.key, c.old, c.new) for c in diff.metadata]


def keras_file(path: Path, config: str, weights: bytes | None = b"") -> Path:
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        file["layers/lambda/vars/0"] = np.zeros(3)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", config)
        if weights is not None:
            archive.writestr("model.weights.h5", weights or path.with_suffix(".h5").read_bytes())
    return path


def test_byte_code_in_a_layer_is_loud(tmp_path: Path) -> None:
    layer = '{"class_name": "Lambda", "config": {"name": "f", "function": {"class_name": "__lambda__", "config": {}}}}'
    config = f'{{"class_name": "Sequential", "config": {{"layers": [{layer}]}}}}'
    checkpoint = opened(keras_file(tmp_path / "m.keras", config))
    assert [(p.code, p.severity) for p in checkpoint.problems] == [("HD11", "error")]
    assert list(checkpoint.tensors) == ["f.vars.0"]


@pytest.mark.parametrize(("config", "weights", "code"), [
    ("[]", b"", "KE02"), ("{", b"", "KE02"), ("{}", None, "KE01"), ("{}", b"no hdf5 at all", "HD01"),
    ("[" * 100_000, b"", "KE02"),
])  # fmt: skip
def test_incomplete_archives_are_refused(config: str, weights: bytes | None, code: str, tmp_path: Path) -> None:
    path = keras_file(tmp_path / "m.keras", config, weights)
    with pytest.raises(FormatError) as caught:
        opened(path)
    assert caught.value.code == code
    assert [problem.code for problem in registry.check(LocalFile(path), Limits())] == [code]


@pytest.mark.parametrize("key", ["model_config", "training_config"])
@pytest.mark.parametrize(("old", "new"), [("{}", '{"layers": 2}'), ("[1]", "[2]"), ("no JSON", "none either")])
def test_a_configuration_that_is_none_is_shown_as_it_is(tmp_path: Path, key: str, old: str, new: str) -> None:
    """What cannot be said part by part is not passed over: it would make two files equal that are not."""
    for name, text in (("a", old), ("b", new)):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["w"] = np.ones(3, "f4")
            file.attrs[key] = text
    diff = compare(tmp_path / "a.h5", tmp_path / "b.h5")
    assert diff.equal is False


def test_another_output_of_the_same_layers_is_another_model(tmp_path: Path) -> None:
    layers = [{"class_name": "Dense", "config": {"name": name}, "inbound_nodes": []} for name in ("d1", "d2")]
    for name, output in (("a", "d1"), ("b", "d2")):
        config = {"class_name": "Functional", "config": {
            "name": "model" if name == "a" else "model_7", "layers": layers, "output_layers": [[output, 0, 0]]}}  # fmt: skip
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["model_weights/d1/w"] = np.ones(3, "f4")
            file.attrs["model_config"] = json.dumps(config)
    diff = compare(tmp_path / "a.h5", tmp_path / "b.h5")
    assert [change.key for change in diff.metadata] == ["model.output_layers.0"]


def _file(path: Path, name: str, value: object, kind: object = None) -> Path:
    with h5py.File(path, "w") as file:
        file["w"] = np.ones(3, "f4")
        if kind is None:
            file[name] = value
        else:
            made = file.create_dataset(name, (2,), kind)
            for number, item in enumerate(value):  # type: ignore[arg-type]
                made[number] = item
    return path


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ([[1, 2], [3]], [[1, 2], [4]], h5py.vlen_dtype("i4")),
        ([[1.5], []], [[1.5], [0.0]], h5py.vlen_dtype("f8")),
        (["one", "two"], ["one", "too"], h5py.string_dtype()),
        (np.zeros(60_000, [("a", "i4"), ("b", "f8")]), np.ones(60_000, [("a", "i4"), ("b", "f8")]), None),
        (np.array([b"a" * 40] * 60_000), np.array([b"b" * 40] * 60_000), None),
    ],
    ids=["lists of integers", "lists of floats", "texts of any length", "many records", "many texts"],
)
@pytest.mark.parametrize("most", [10, 16 << 20], ids=["in pieces", "at once"])
def test_what_is_no_tensor_is_compared_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: object, new: object, kind: object, most: int
) -> None:
    monkeypatch.setattr(importlib.import_module("diffai.formats.hdf5.reader"), "_MOST_TEXT", most)
    a, b = _file(tmp_path / "a.h5", "d", old, kind), _file(tmp_path / "b.h5", "d", new, kind)
    assert compare(a, b).equal is False
    (tmp_path / "c").mkdir()
    assert compare(a, _file(tmp_path / "c" / "a.h5", "d", old, kind)).equal is True


def test_places_in_the_file_are_said_to_be_left_out(tmp_path: Path) -> None:
    for name, target in (("a", "w"), ("b", "v")):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["w"], file["v"] = np.ones(3, "f4"), np.ones(3, "f4")
            file.create_dataset("r", (1,), h5py.ref_dtype)[0] = file[target].ref
    diff = compare(tmp_path / "a.h5", tmp_path / "b.h5")
    assert [(left.what, left.reason) for left in diff.left_out] == [("dataset r", "differ and are not compared")]


def _with(path: Path, fill: Callable[[h5py.File], object] | None) -> Path:
    with h5py.File(path, "w") as file:
        file["w"] = np.ones(3, "f4")
        file.create_group("kept")
        if fill is not None:
            fill(file)
    return path


@pytest.mark.parametrize(("fill", "line"), [
    (lambda file: file.create_group("g"), ("object g", "empty group")),
    (lambda file: file.create_group("g/inner"), ("object g/inner", "empty group")),
    (lambda file: file.__setitem__("t", np.dtype("f8")), ("object t", "type")),
    (lambda file: file.create_group("g").__setitem__("up", file), ("link g/up", "to a group around it")),
], ids=["a group", "a group in a group", "a type", "a link up"])  # fmt: skip
def test_what_holds_no_values_is_part_of_the_file(tmp_path: Path, fill: Callable[[h5py.File], object],
                                                  line: tuple[str, str]) -> None:  # fmt: skip
    bare, full = _with(tmp_path / "a.h5", None), _with(tmp_path / "b.h5", fill)
    come, gone = compare(bare, full), compare(full, bare)
    assert (come.equal, gone.equal, compare(bare, bare).equal) == (False, False, True)
    assert [(c.status, c.key, c.new) for c in come.graph] == [("added", *line)]


def test_a_layer_without_weights_is_said_by_the_configuration_alone(tmp_path: Path) -> None:
    layers = [{"class_name": "Dense", "config": {"name": "d"}}, {"class_name": "ReLU", "config": {"name": "r"}}]
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"layers": layers}})
        file.create_group("model_weights").attrs["layer_names"] = ["d", "r"]
        file["model_weights/d/kernel:0"] = np.ones(3)
        file.create_group("model_weights/r")
        file.create_group("model_weights/other")
    assert opened(tmp_path / "m.h5").graph == {"object model_weights/other": "empty group"}


def test_texts_are_compared_one_by_one(tmp_path: Path) -> None:
    """A digest of many texts does not take one for a part of the text before it."""
    sides = []
    for name, texts in (("a", [b"x\0y", b"z"]), ("b", [b"x", b"y\0z"])):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            kind = h5py.h5t.TypeID.copy(h5py.h5t.C_S1)
            kind.set_size(4)
            kind.set_strpad(h5py.h5t.STR_SPACEPAD)
            space = h5py.h5s.create_simple((2,))
            made = h5py.h5d.create(file.id, b"t", kind, space)
            made.write(space, space, np.array([text.ljust(4) for text in texts], "S4"), kind)
        sides.append(tmp_path / f"{name}.h5")
    assert compare(*sides).equal is False


def test_texts_that_stand_for_one_another_are_not_read_again_and_again(tmp_path: Path) -> None:
    path = _file(tmp_path / "a.h5", "d", ["x" * 10_000, "y"], h5py.string_dtype())
    with h5py.File(path, "a") as file:
        many = file.create_dataset("many", (500,), h5py.string_dtype())
        many[:] = "z"
        first, place = file["d"].id.get_offset(), many.id.get_offset()
    data = bytearray(path.read_bytes())
    data[place : place + 500 * 16] = data[first : first + 16] * 500
    path.write_bytes(data)
    with pytest.raises(FormatError, match="again and again") as caught:
        opened(path)
    assert caught.value.code == "HD03"
