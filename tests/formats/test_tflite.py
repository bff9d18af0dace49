"""TensorFlow Lite: models that the FlatBuffers library writes; quantization, sharing, names that change; hostile files."""

from __future__ import annotations

import random

import numpy as np
import pytest
from lite_models import INT4, Graph, Tensor, lite

from diffai.comparison.models import Input, compare_models
from diffai.errors import DiffaiError, FormatError, LimitError
from diffai.formats import registry
from diffai.formats.base import Limits
from diffai.model import Checkpoint
from diffai.sources.local import MemoryBytes

FULLY_CONNECTED, RELU, TANH = 9, 19, 28
W = np.arange(12, dtype=np.float32).reshape(3, 4) / 7


def opened(data: bytes, limits: Limits = Limits()) -> Checkpoint:
    return registry.open_checkpoint(MemoryBytes(data, label="m.tflite"), limits)


def values(checkpoint: Checkpoint, name: str, dtype: str = "<f4") -> np.ndarray:
    spec = checkpoint.tensors[name]
    data = bytearray(spec.nbytes)
    checkpoint.read_into(spec, 0, memoryview(data))
    return np.frombuffer(bytes(data), dtype).reshape(spec.shape)


def model(weight: Tensor | None = None, *, activation: int = RELU, prefix: str = "", behind: bool = False) -> bytes:
    """A fully connected layer and an activation."""
    weight = weight or Tensor(f"{prefix}w", W.shape, W)
    tensors = [Tensor(f"{prefix}x", [1, 4]), weight, Tensor(f"{prefix}h", [1, 3]), Tensor(f"{prefix}y", [1, 3])]
    operators = [(FULLY_CONNECTED, [0, 1], [2]), (activation, [2], [3])]
    return lite(Graph(tensors, operators, [0], [3]), behind=behind)


def compared(old: bytes, new: bytes):  # type: ignore[no-untyped-def]
    return compare_models(Input("a", opened(old)), Input("b", opened(new)))


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "uint8", "int64", "int16", "int8"])
def test_values_are_those_that_were_written(dtype: str, behind: bool) -> None:
    weight = np.arange(12).reshape(3, 4).astype(dtype)
    checkpoint = opened(model(Tensor("w", weight.shape, weight), behind=behind))
    assert np.array_equal(values(checkpoint, "w", weight.dtype.str), weight)
    assert list(checkpoint.tensors) == ["w"]


def test_the_graph_is_told() -> None:
    graph = opened(model()).graph
    assert graph["operator FULLY_CONNECTED"] == "1" and graph["operator RELU"] == "1"
    assert graph["input 0"] == "F32 [1, 4]" and graph["output 0"] == "F32 [1, 3]"
    assert opened(model()).metadata["description"] == "tests"


def test_new_names_are_paired_by_values_and_leave_the_graph_alone() -> None:
    diff = compared(model(), model(prefix="again/"))
    assert not diff.graph and [change.status for change in diff.changes] == [("renamed",)]


def test_another_operator_is_a_change_of_the_graph() -> None:
    diff = compared(model(), model(activation=TANH))
    assert {change.key for change in diff.graph} == {"operator RELU", "operator TANH", "wiring"}


def test_a_quantized_tensor_is_compared_decoded() -> None:
    codes = np.arange(-6, 6, dtype=np.int8).reshape(3, 4)
    old = opened(model(Tensor("w", codes.shape, codes, scales=[0.5], zeros=[2])))
    assert np.array_equal(values(old, "w"), (codes.astype(np.float32) - 2) * np.float32(0.5))
    new = model(Tensor("w", codes.shape, codes, scales=[0.25], zeros=[2]))
    (change,) = compare_models(Input("a", old), Input("b", opened(new))).changes
    assert change.new is not None and change.new.dtype == "I8" and change.relative_l2 == pytest.approx(0.5)


@pytest.mark.parametrize("axis", [0, 1])
def test_scales_along_an_axis(axis: int) -> None:
    codes = np.arange(-6, 6, dtype=np.int8).reshape(3, 4)
    scales = np.array([0.1, 0.2, 0.4, 0.8], np.float32)[: codes.shape[axis]]
    checkpoint = opened(model(Tensor("w", codes.shape, codes, scales=scales.tolist(), zeros=[0], axis=axis)))
    wanted = codes * (scales[:, None] if axis == 0 else scales[None, :])
    assert np.array_equal(values(checkpoint, "w"), wanted)
    spec, part = checkpoint.tensors["w"], bytearray(10)
    checkpoint.read_into(spec, 7, memoryview(part))  # a piece that begins inside an element
    assert bytes(part) == wanted.tobytes()[7:17]


def test_a_bias_keeps_every_code_apart() -> None:
    codes = np.array([2**31 - 1, 2**31 - 2, -(2**31)], np.int32)
    checkpoint = opened(model(Tensor("b", codes.shape, codes, scales=[1e-9], zeros=[0])))
    assert len(np.unique(values(checkpoint, "b", "<f8"))) == 3


def test_scales_that_would_hide_codes_leave_them_undecoded() -> None:
    codes = np.arange(12, dtype=np.int8).reshape(3, 4)
    checkpoint = opened(model(Tensor("w", codes.shape, codes, scales=[0.0], zeros=[0])))
    assert np.array_equal(values(checkpoint, "w", "i1"), codes)
    assert checkpoint.graph["quantization w"] == "scale=0.0, zero_point=0, not decoded"


@pytest.mark.parametrize("scales", [[], [0.5]])
def test_four_bits_are_unpacked_low_ones_first(scales: list[float]) -> None:
    packed = np.array([0x21, 0xF8, 0x07], np.uint8)
    checkpoint = opened(model(Tensor("w", [5], packed, kind=INT4, scales=scales, zeros=[0] if scales else [])))
    wanted = np.array([1, 2, -8, -1, 7])
    assert np.array_equal(values(checkpoint, "w", "<f4" if scales else "i1"), wanted * (0.5 if scales else 1))


def test_shared_buffers_are_one_storage_and_subgraphs_have_their_own_names() -> None:
    main = Graph([Tensor("w", W.shape, W, buffer=1), Tensor("again", W.shape, W, buffer=1)])
    body = Graph([Tensor("w", W.shape, W, buffer=1), Tensor("v", [2], W[0, :2], buffer=2)], name="body")
    specs = opened(lite(main, body)).tensors
    assert {name: spec.alias_of for name, spec in specs.items()} == {
        "w": "", "again": "w", "body/w": "w", "body/v": "",
    }  # fmt: skip


def test_tensors_of_one_name_are_told_apart() -> None:
    twice = Graph([Tensor("w", W.shape, W), Tensor("w", W.shape, W + 1), Tensor("", [4], W[0])])
    assert list(opened(lite(twice)).tensors) == ["w", "w#0.1", "tensor 2"]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\xff\xff\xff\x7fTFL3" + bytes(40), "TL01"),
        (b"\x08\0\0\0TFL3" + bytes(40), "TL01"),
        (model()[:300], "TL01"),
        (model(Tensor("w", [4, 4], W)), "TL03"),
        (model(Tensor("w", [-3, 4], W)), "TL03"),
        (model(Tensor("w", [3, 4], W, buffer=1 << 20)), "TL02"),
        (model(Tensor("w", [3, 4], W.astype(np.int8), scales=[1, 2], zeros=[1, 2, 3])), "TL03"),
        (lite(Graph([Tensor("x", [1])], [(RELU, [7], [0])])), "TL02"),
    ],
)
def test_what_makes_no_sense_is_refused(data: bytes, code: str) -> None:
    with pytest.raises(FormatError) as caught:
        opened(data)
    assert caught.value.code == code
    assert [p.code for p in registry.check(MemoryBytes(data, label="m.tflite"), Limits())] == [code]


def test_a_table_that_stands_very_often_is_over_a_limit() -> None:
    with pytest.raises(LimitError) as caught:
        opened(model(), Limits(max_steps=5))
    assert caught.value.code == "TL04" and "maxSteps" in caught.value.reason


def test_damaged_models_give_our_errors_and_no_others() -> None:
    codes = np.arange(12, dtype=np.int8).reshape(3, 4)
    files = [model(), model(behind=True), model(Tensor("w", [3, 4], codes, scales=[1, 2, 3], zeros=[0, 0, 0]))]
    generator = random.Random(7)
    for _ in range(1500):
        data = bytearray(generator.choice(files))
        for _ in range(generator.randint(1, 6)):
            data[generator.randrange(len(data))] = generator.randrange(256)
        data = data[: generator.randint(8, len(data))] if generator.random() < 0.2 else data
        data[4:8] = b"TFL3"
        try:
            checkpoint = opened(bytes(data), Limits(max_made=1 << 22, max_steps=20_000))
            for spec in checkpoint.tensors.values():
                checkpoint.read_into(spec, 0, memoryview(bytearray(min(spec.nbytes, 4096))))
        except DiffaiError:
            pass
