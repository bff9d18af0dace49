"""TensorFlow's checkpoints, SavedModels and frozen graphs, written by hand; training state, slices, hostile files."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import numpy as np
import pytest
import tensorflow_files as tf
from gitrepo import Repo
from program import diffai

from diffai.comparison.models import compare_models
from diffai.errors import DiffaiError, FormatError, LimitError
from diffai.formats import registry
from diffai.formats.base import Limits
from diffai.formats.tensorflow.bundle import slice_key
from diffai.model import Checkpoint, Unreadable
from diffai.models.inputs import Input, open_input
from diffai.sources.local import LocalFile, MemoryBytes

W = np.arange(24, dtype=np.float32).reshape(6, 4)
VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def put(folder: Path, index: bytes, shards: list[bytes], name: str = "m.ckpt") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.index").write_bytes(index)
    for number, data in enumerate(shards):
        (folder / f"{name}.data-{number:05}-of-{len(shards):05}").write_bytes(data)
    return folder / f"{name}.index"


def values(checkpoint: Checkpoint, name: str, dtype: str = "<f4") -> np.ndarray:
    spec = checkpoint.tensors[name]
    data = bytearray(spec.nbytes)
    checkpoint.read_into(spec, 0, memoryview(data))
    return np.frombuffer(bytes(data), dtype).reshape(spec.shape)


def opened(side: Input) -> Checkpoint:
    assert side.checkpoint is not None, side.state
    return side.checkpoint


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("dtype", [name for name in tf.KINDS if name != "bool"])
def test_values_are_those_that_were_written(tmp_path: Path, dtype: str, shards: int, big: bool) -> None:
    tensors = {f"layer-{n}/kernel{VALUE}": (W + n).astype(dtype) for n in range(5)}
    checkpoint = opened(open_input(put(tmp_path, *tf.bundle(tensors, shards=shards, big=big))))
    assert checkpoint.format == "tf-checkpoint"
    for n in range(5):
        assert np.array_equal(values(checkpoint, f"layer-{n}/kernel", np.dtype(dtype).str), (W + n).astype(dtype))


def test_training_state_is_no_weight(tmp_path: Path) -> None:
    names = {
        "dense/kernel" + VALUE: "weight", "dense/kernel/.OPTIMIZER_SLOT/optimizer/m" + VALUE: "training",
        "optimizer/iter" + VALUE: "training", "save_counter" + VALUE: "training", "v": "weight", "v/Adam": "training",
        "upsampler/Adam": "weight", "keras_api/metrics/0/total" + VALUE: "training",
    }  # fmt: skip
    checkpoint = opened(open_input(put(tmp_path, *tf.bundle(dict.fromkeys(names, W)))))
    assert {spec.name: spec.role for spec in checkpoint.tensors.values()} == {
        name.removesuffix(VALUE): role for name, role in names.items()
    }


def test_text_is_part_of_what_the_file_says(tmp_path: Path) -> None:
    old = put(tmp_path / "a", *tf.bundle({"w": W, "_CHECKPOINTABLE_OBJECT_GRAPH": b"one", "vocabulary": b"a"}))
    new = put(tmp_path / "b", *tf.bundle({"w": W, "_CHECKPOINTABLE_OBJECT_GRAPH": b"one", "vocabulary": b"b"}))
    assert [change.key for change in compare_models(open_input(old), open_input(new)).graph] == ["strings vocabulary"]


def test_slices_along_the_first_axis_are_one_tensor(tmp_path: Path) -> None:
    rows = {slice_key(b"w", [(start, 2), (0, -1)]): (start, 2) for start in (0, 2, 4)}
    index, shards = tf.bundle({"w": W, "v": W}, slices={"w": rows})
    checkpoint = opened(open_input(put(tmp_path, index, shards)))
    assert np.array_equal(values(checkpoint, "w"), W) and set(checkpoint.tensors) == {"w", "v"}
    part = bytearray(40)
    checkpoint.read_into(checkpoint.tensors["w"], 20, memoryview(part))
    assert bytes(part) == W.tobytes()[20:60]


def test_keys_of_slices_are_those_of_tensorflow() -> None:
    """Of ``EncodeTensorNameSlice``: lengths before numbers, 0x80 added to small signed ones, -1 for all of an axis."""
    assert slice_key(b"w", [(0, 2), (0, -1)]) == b"\0w\0\x01\x01\x02\x80\x82\x80\x7f"
    assert slice_key(b"a\0b", [(64, 300)]) == b"\0a\0\xffb\0\x01\x01\x01\xc0\x40\xc1\x2c"


def test_a_missing_slice_is_refused(tmp_path: Path) -> None:
    rows = {slice_key(b"w", [(start, 2), (0, -1)]): (start, 2) for start in (0, 4)}
    state = open_input(put(tmp_path, *tf.bundle({"w": W}, slices={"w": rows}))).state
    assert isinstance(state, Unreadable) and state.code == "TF04"


def test_values_that_are_not_here_are_not_compared(tmp_path: Path) -> None:
    path = put(tmp_path, tf.bundle({"w": W})[0], [])
    checkpoint = opened(open_input(path))
    assert checkpoint.tensors["w"].lacking == "the values are in 'm.ckpt.data-00000-of-00001', which is not here"
    assert [problem.code for problem in registry.check(LocalFile(path), Limits())] == ["TF06"]


# ---------------------------------------------------------------- graphs


def frozen(scale: float = 1.0, operator: str = "MatMul", values_: bytes | None = None) -> bytes:
    weight = values_ if values_ is not None else tf.constant(W * np.float32(scale))
    return tf.graph(
        tf.node("x", "Placeholder"),
        tf.const("w", weight),
        tf.node("y", operator, ["x", "w"], tf.attribute("t", b"\x28\1")),
    )


def of_bytes(data: bytes, name: str = "frozen.pb") -> Checkpoint:
    return registry.open_checkpoint(MemoryBytes(data, label=name), Limits())


def test_a_frozen_graph_is_its_constants_and_its_nodes() -> None:
    checkpoint = of_bytes(frozen())
    assert checkpoint.format == "tf-graph" and np.array_equal(values(checkpoint, "w"), W)
    assert checkpoint.graph["operator MatMul"] == "1" and checkpoint.graph["node y"] == "MatMul(x, w)"
    diff = compare_models(Input("a", checkpoint), Input("b", of_bytes(frozen(2.0))))
    assert not diff.graph and [change.name for change in diff.changes] == ["w"]
    diff = compare_models(Input("a", of_bytes(frozen())), Input("b", of_bytes(frozen(operator="Add"))))
    assert {change.key for change in diff.graph} == {"operator MatMul", "operator Add", "node y", "wiring"}


@pytest.mark.parametrize(
    ("kind", "field", "values_", "wanted"),
    [
        (1, b"\x2d" + struct.pack("<f", 1.5), "<f4", [1.5, 1.5, 1.5]),
        (1, tf.message(5, struct.pack("<2f", 1.5, 2.5)), "<f4", [1.5, 2.5, 2.5]),
        (3, tf.number(7, -3), "<i4", [-3, -3, -3]),
        (3, tf.message(7, tf.varint(1), tf.varint(-2)), "<i4", [1, -2, -2]),
        (9, tf.number(10, 1 << 40), "<i8", [1 << 40] * 3),
        (10, tf.number(11, 1), "?", [True] * 3),
        (19, tf.number(13, 0x3E00), "<f2", [1.5] * 3),
        (1, b"", "<f4", [0, 0, 0]),
    ],
)
def test_the_last_value_of_a_list_stands_for_the_rest(
    kind: int, field: bytes, values_: str, wanted: list[float]
) -> None:
    checkpoint = of_bytes(frozen(values_=tf.number(1, kind) + tf.message(2, tf.shape([3])) + field))
    assert values(checkpoint, "w", values_).tolist() == wanted


def saved(folder: Path, *, kernel: np.ndarray = W, number: int = 7, operator: str = "Relu") -> Path:
    """A SavedModel with one variable and one function, whose name has a number of its own."""
    main = [tf.node("dense/kernel", "VarHandleOp"), tf.node("call", "StatefulPartitionedCall", ["dense/kernel"])]
    function = [tf.const("axes", tf.constant(W[0])), tf.const("big", tf.constant(W)), tf.node("y", operator, ["big"])]
    graph = tf.graph(*main, functions={f"__inference_call_{number}": function})
    put(folder / "variables", *tf.bundle({"dense/kernel" + VALUE: kernel}), name="variables")
    (folder / "saved_model.pb").write_bytes(tf.saved_model(graph))
    return folder / "saved_model.pb"


def test_a_saved_model_is_one_model(tmp_path: Path) -> None:
    old, new = open_input(saved(tmp_path / "a")), open_input(saved(tmp_path / "b", kernel=W + 1, number=12))
    assert opened(old).graph["serving_default input x"] == "F32 [?, 3]"
    assert opened(old).metadata["tensorflow_version"] == "2.15.0"
    assert set(opened(old).tensors) == {"__inference_call_7/big", "dense/kernel"}
    assert old.identity and old.identity != new.identity
    diff = compare_models(old, new)
    assert not diff.graph
    assert {(c.name, *c.status) for c in diff.changes} == {
        ("dense/kernel", "changed"), ("__inference_call_12/big", "renamed"),
    }  # fmt: skip
    again = open_input(saved(tmp_path / "c", operator="Tanh"))
    keys = {change.key for change in compare_models(open_input(saved(tmp_path / "a")), again).graph}
    assert keys == {"operator Relu", "operator Tanh", "wiring"}


def test_a_saved_model_without_its_variables_is_not_called_equal(tmp_path: Path) -> None:
    path = saved(tmp_path)
    (tmp_path / "variables" / "variables.index").unlink()
    state = open_input(path).state
    assert isinstance(state, Unreadable) and state.code == "TG04"


def test_a_change_of_the_variables_alone_is_a_change_of_the_saved_model(repo: Repo) -> None:
    saved(repo.top / "m")
    repo.git("add", ".")
    repo.git("commit", "-qm", "one")
    saved(repo.top / "m", kernel=W + 1)
    repo.git("commit", "-qam", "two")
    done = diffai("HEAD~1..HEAD", cwd=repo.top)
    assert "m/saved_model.pb" in done.stdout and "dense/kernel" in done.stdout
    assert "1 model file: 1 changed" in done.stdout, done.stdout


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    index, shards = tf.bundle({"w": W})
    for number, (data, code) in enumerate((
        (index[:-1], "TF01"), (index[:60] + bytes(40), "TF01"), (tf.table([(b"", b"\x08\0\x1a\0")]) , "TF02"),
    )):  # fmt: skip
        state = open_input(put(tmp_path / str(number), data, shards), input_format="tf-checkpoint").state
        assert isinstance(state, Unreadable) and state.code == code, state
    state = open_input(put(tmp_path / "short", index, [shards[0][:-1]])).state
    assert isinstance(state, Unreadable) and state.code == "TF03" and state.tensor == "w"
    twice = tf.graph(tf.const("w", tf.constant(W)), tf.const("w", tf.constant(W)))
    for data, code in ((twice, "TG02"), (frozen(values_=tf.constant(W)[:-8]), "TG01"), (frozen()[:80], "TG01")):
        with pytest.raises(FormatError) as caught:
            of_bytes(data)
        assert caught.value.code == code


def test_limits_are_kept() -> None:
    with pytest.raises(LimitError):
        registry.open_checkpoint(MemoryBytes(frozen(), label="f.pb"), Limits(max_steps=3))
    bomb = tf.number(1, 1) + tf.message(2, tf.shape([1 << 28])) + b"\x2d" + struct.pack("<f", 1.5)
    with pytest.raises(LimitError):
        of_bytes(frozen(values_=bomb))


def test_damaged_files_give_our_errors_and_no_others(tmp_path: Path) -> None:
    rows = {slice_key(b"s", [(start, 3), (0, -1)]): (start, 3) for start in (0, 3)}
    index, shards = tf.bundle({"w": W, "s": W, "t": b"text"}, slices={"s": rows})
    put(tmp_path, index, shards)
    generator = random.Random(3)
    function = {"f_1": [tf.const("c", tf.constant(W))]}
    files = [
        (index, "m.ckpt.index"),
        (frozen(), "f.pb"),
        (tf.saved_model(tf.graph(tf.node("a", "B"), functions=function)), "s.pb"),
    ]
    for _ in range(1500):
        whole, name = generator.choice(files)
        data = bytearray(whole)
        for _ in range(generator.randint(1, 5)):
            data[generator.randrange(len(data))] = generator.randrange(256)
        data = data[: generator.randint(8, len(data))] if generator.random() < 0.2 else data
        (tmp_path / name).write_bytes(data)
        word = "tf-checkpoint" if name.endswith("index") else "tf-graph"
        try:
            limits = Limits(max_made=1 << 22, max_steps=20_000)
            checkpoint = registry.open_checkpoint(LocalFile(tmp_path / name), limits, word)
        except DiffaiError:
            continue
        try:
            for spec in checkpoint.tensors.values():
                checkpoint.read_into(spec, 0, memoryview(bytearray(min(spec.nbytes, 4096))))
        except DiffaiError:
            pass
        finally:
            checkpoint.close()
