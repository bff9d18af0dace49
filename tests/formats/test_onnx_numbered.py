"""ONNX constants whose names every export gives anew, and those that the graph decodes: told by what uses them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from diffai.comparison.models import Input, compare_models
from diffai.comparison.result import CompareOptions, ModelDiff
from diffai.formats import registry
from diffai.formats.base import Limits
from diffai.model import Checkpoint
from diffai.models.inputs import open_input
from diffai.sources.local import MemoryBytes

Array = np.ndarray[Any, Any]
LAYERS = 4


def weights(seed: int = 1, *, noise: float = 0.0) -> list[Array]:
    """Square weights of one shape, so that shapes tell nothing."""
    rng = np.random.default_rng(seed)
    made = [rng.normal(size=(8, 8)).astype("f4") for _ in range(LAYERS)]
    other = np.random.default_rng(99)
    return [(w + noise * other.normal(size=w.shape)).astype("f4") for w in made]


def mlp(
    layers: list[Array], numbers: list[int], *, named: bool = True, extra: bool = False, order: list[int] | None = None
) -> bytes:
    """Products and activations one after the other; weights called as PyTorch numbers them."""
    order = order or list(range(len(layers)))
    titles = [f"onnx::MatMul_{number}" for number in numbers]
    nodes = [helper.make_node("Neg", ["x"], ["n"], name="/neg/Neg" if named else "")] if extra else []
    value = "n" if extra else "x"
    for place, index in enumerate(order):
        name = f"/layers.{place}/MatMul" if named else ""
        nodes.append(helper.make_node("MatMul", [value, titles[index]], [f"p{place}"], name=name))
        nodes.append(helper.make_node("Relu", [f"p{place}"], [f"a{place}"], name=f"/layers.{place}/Relu" if named else ""))
        value = f"a{place}"
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8]) for name in ("x", value)]
    initializers = [numpy_helper.from_array(w, t) for w, t in zip(layers, titles, strict=True)]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], initializers)
    return bytes(helper.make_model(graph).SerializeToString())


def opened(data: bytes) -> Checkpoint:
    return registry.open_checkpoint(MemoryBytes(data, label="m.onnx"), Limits())


def compared(old: bytes, new: bytes, **options: Any) -> ModelDiff:
    return compare_models(Input("a", opened(old)), Input("b", opened(new)), CompareOptions(**options))


def pairs(diff: ModelDiff) -> dict[str, str]:
    return {c.old.name: c.new.name for c in diff.tensors if c.old and c.new}


FIRST, SHIFTED = [10, 14, 18, 22], [14, 18, 22, 26]
"""Numbers of two exports: most names of the second mean another weight than in the first."""
WANTED = {f"onnx::MatMul_{a}": f"onnx::MatMul_{b}" for a, b in zip(FIRST, SHIFTED, strict=True)}


def test_an_equal_number_proves_nothing() -> None:
    diff = compared(mlp(weights(), FIRST), mlp(weights(), SHIFTED))
    assert pairs(diff) == WANTED and not diff.graph
    assert {change.evidence for change in diff.tensors} == {"digest"}
    assert diff.totals.renamed == LAYERS and diff.totals.changed == 0


@pytest.mark.parametrize("named", [True, False], ids=["nodes have names", "nodes have none"])
def test_a_retrained_model_is_paired_by_use_and_values(named: bool) -> None:
    old, new = mlp(weights(), FIRST, named=named), mlp(weights(noise=0.5), SHIFTED, named=named)
    diff = compared(old, new)
    assert pairs(diff) == WANTED
    assert {change.evidence for change in diff.tensors} == {"use"}
    assert all(change.relative_l2 < 0.8 for change in diff.tensors)
    assert pairs(compared(new, old)) == {b: a for a, b in WANTED.items()}


def test_use_alone_is_no_evidence() -> None:
    """Weights that have nothing in common are no pair because they stand in the same place."""
    diff = compared(mlp(weights(1), [1, 2, 3, 4]), mlp(weights(2), [5, 6, 7, 8]))
    assert pairs(diff) == {} and diff.totals.added == diff.totals.removed == LAYERS


def test_a_number_that_both_have_is_the_last_word() -> None:
    diff = compared(mlp(weights(1), FIRST), mlp(weights(2), FIRST))
    assert pairs(diff) == {f"onnx::MatMul_{n}": f"onnx::MatMul_{n}" for n in FIRST}
    assert diff.totals.changed == LAYERS and not diff.totals.renamed


def test_a_node_before_changes_what_leads_there_but_not_its_neighbours() -> None:
    diff = compared(mlp(weights(), FIRST), mlp(weights(noise=0.5), SHIFTED, extra=True))
    found = pairs(diff)
    assert found == WANTED
    assert any(change.key == "operator Neg" for change in diff.graph)


def test_small_biases_need_values_that_agree() -> None:
    from diffai.tensors.likeness import agreeing

    rng = np.random.default_rng(3)
    a = rng.normal(size=4).astype("f4")
    from diffai.formats.arrays import ArrayCheckpoint

    old = ArrayCheckpoint({"near": a, "far": a, "same": np.ones(3, "f4"), "nan": np.full(2, np.nan, "f4")})
    new = ArrayCheckpoint({"near": a * 1.1, "far": -a, "same": np.ones(3, "f4"), "nan": np.full(2, np.nan, "f4")})
    asked = [(old.tensors[name], new.tensors[name]) for name in old.tensors]
    assert [before.name for before, _ in agreeing(old, new, asked)] == ["near", "same", "nan"]


def test_weights_that_change_places_are_a_change_of_the_graph_though_names_are_numbers() -> None:
    diff = compared(mlp(weights(), FIRST), mlp(weights(), FIRST, order=[1, 0, 2, 3]))
    assert not diff.changes and {change.key for change in diff.graph} == {"use onnx::MatMul_10", "use onnx::MatMul_14"}
    assert diff.differs and diff.equal is False


def test_headers_alone_are_paired_by_use_and_say_so() -> None:
    diff = compared(mlp(weights(), FIRST), mlp(weights(2), SHIFTED), shape_only=True)
    assert pairs(diff) == WANTED and not diff.totals.added
    assert all(change.figures is None for change in diff.tensors)


def test_histories_and_blame_pair_as_a_comparison_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from gitrepo import Repo, isolate

    from diffai.cli.main import main

    with pytest.MonkeyPatch.context() as patch:
        (tmp_path / "home").mkdir()
        isolate(patch, tmp_path / "home")
        repo = Repo.init(tmp_path / "repo")
        moved = [*weights()[:3], weights(noise=0.5)[3]]
        for data, subject in ((mlp(weights(), FIRST), "one"), (mlp(moved, SHIFTED), "two")):
            repo.write({"m.onnx": data})
            repo.git("add", "-A")
            repo.git("commit", "-q", "-m", subject)
        patch.chdir(repo.top)
        for level in ("values", "digest"):
            assert main(["log", "--level", level, "--format", "json", "--", "m.onnx"]) == 0
            newest = json.loads(capsys.readouterr().out)["entries"][0]["figures"]
            assert (newest["renamed"], newest["changed"], newest["added"], newest["removed"]) == (4, 1, 0, 0)
        assert main(["blame", "--format", "json", "--", "m.onnx"]) == 0
        found = {t["name"]: t["values"]["subject"] for t in json.loads(capsys.readouterr().out)["tensors"]}
        assert found == {f"onnx::MatMul_{n}": "two" if n == 26 else "one" for n in SHIFTED}


# ---------------------------------------------------------------- QDQ


def qdq(codes: Array, scale: Array, zero: Array | None, *, axis: int = 1, names: tuple[str, str, str] = ("w_q", "s", "z"),
        block: int = 0) -> bytes:  # fmt: skip
    """``y = x @ dequantize(codes)``."""
    attributes: dict[str, int] = {"axis": axis, **({"block_size": block} if block else {})}
    inputs = [names[0], names[1], *([names[2]] if zero is not None else [])]
    nodes = [helper.make_node("DequantizeLinear", inputs, ["d"], name="/fc/Dequantize", **attributes),
             helper.make_node("MatMul", ["x", "d"], ["y"], name="/fc/MatMul")]  # fmt: skip
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("x", "y")]
    parts = zip(names, (codes, scale, zero), strict=True)
    held = [numpy_helper.from_array(np.asarray(array), name) for name, array in parts if array is not None]
    return bytes(helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], held)).SerializeToString())


def decoded(data: bytes) -> tuple[Checkpoint, dict[str, Array]]:
    checkpoint = open_input(data).checkpoint
    assert checkpoint is not None
    found = {}
    for name, spec in checkpoint.tensors.items():
        buffer = bytearray(spec.nbytes)
        checkpoint.read_into(spec, 0, memoryview(buffer))
        if spec.values_dtype == "F32":
            found[name] = np.frombuffer(buffer, "<f4").reshape(spec.shape)
    return checkpoint, found


RNG = np.random.default_rng(7)
CODES = RNG.integers(-128, 128, (6, 8)).astype(np.int8)


@pytest.mark.parametrize(
    ("scale", "zero", "axis", "wide"),
    [
        (np.float32(0.25), np.int8(3), 1, lambda s: s),
        (np.float32(0.25), None, 1, lambda s: s),
        (RNG.random(8).astype("f4"), RNG.integers(-5, 5, 8).astype("i1"), 1, lambda s: s[None, :]),
        (RNG.random(6).astype("f4"), RNG.integers(-5, 5, 6).astype("i1"), 0, lambda s: s[:, None]),
        (RNG.random(8).astype("f4"), None, -1, lambda s: s[None, :]),
    ],
    ids=["tensor", "without zero", "columns", "rows", "negative axis"],
)
def test_codes_that_the_graph_decodes_are_one_tensor(scale: Array, zero: Array | None, axis: int, wide: Any) -> None:
    checkpoint, found = decoded(qdq(CODES, scale, zero, axis=axis))
    assert list(checkpoint.tensors) == ["w_q"] and checkpoint.tensors["w_q"].dtype == "I8 scaled"
    off = 0 if zero is None else wide(zero).astype("f4")
    np.testing.assert_array_equal(found["w_q"], (CODES.astype("f4") - off) * wide(scale))


def test_scales_of_blocks() -> None:
    scale = RNG.random((6, 2)).astype("f4")
    _, found = decoded(qdq(CODES, scale, None, axis=1, block=4))
    np.testing.assert_array_equal(found["w_q"], CODES.astype("f4") * np.repeat(scale, 4, axis=1))


def test_the_pair_is_called_as_the_float_model_calls_it() -> None:
    data = qdq(CODES, np.float32(0.5), None, names=("fc.weight_quantized", "a", "b"))
    assert list(decoded(data)[0].tensors) == ["fc.weight"]


def test_decoded_pairs_of_numbered_names_are_paired_by_use() -> None:
    """Codes, scale and zero point have other numbers; what uses the decoded tensor is the same product."""
    moved = np.clip(CODES.astype(int) + RNG.integers(-9, 9, CODES.shape), -128, 127).astype(np.int8)
    old = qdq(CODES, np.float32(0.5), np.int8(0), names=("onnx::Q_1", "onnx::S_2", "onnx::Z_3"))
    new = qdq(moved, np.float32(0.4), np.int8(1), names=("onnx::Q_2", "onnx::S_3", "onnx::Z_4"))
    diff = compare_models(open_input(old), open_input(new))
    (change,) = diff.tensors
    assert (change.old and change.old.name, change.name) == ("onnx::Q_1", "onnx::Q_2")
    assert change.evidence == "use" and "changed" in change.status
    assert change.figures is not None and change.figures.delta is not None
    a, b = CODES.astype("f4") * 0.5, (moved.astype("f4") - 1) * np.float32(0.4)
    wanted = float(np.linalg.norm(b - a) / np.linalg.norm(a))
    assert change.figures.delta.relative_l2 == pytest.approx(wanted, rel=1e-6)


def test_other_codes_of_equal_values_are_equal() -> None:
    twice = (np.clip(CODES, -60, 60) // 2 * 2).astype(np.int8)
    old, new = qdq(twice, np.float32(0.5), None), qdq((twice // 2).astype(np.int8), np.float32(1.0), None)
    diff = compare_models(open_input(old), open_input(new))
    assert diff.equal is True


@pytest.mark.parametrize("scale", [np.ones(5, "f4"), np.ones((6, 3), "f4")])
def test_scales_that_do_not_fit_leave_codes_and_say_so(scale: Array) -> None:
    checkpoint, _ = decoded(qdq(CODES, scale, None))
    assert checkpoint.tensors["w_q"].dtype == "I8 codes" and "fit" in checkpoint.tensors["w_q"].encoding
