"""Core ML models against what coremltools says of them (tests/data/coreml, which it wrote); hostile files."""

from __future__ import annotations

import base64
import contextlib
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from diffai.comparison.models import Input, compare_models
from diffai.comparison.result import ModelDiff
from diffai.errors import DiffaiError, FormatError, LimitError
from diffai.formats import registry
from diffai.formats.base import Limits
from diffai.model import Checkpoint
from diffai.models.sharded import open_directory
from diffai.sources.local import LocalFile, MemoryBytes

DATA = Path(__file__).parent.parent / "data" / "coreml"
EXPECTED = json.loads((DATA / "expected.json").read_text())
INSIDE = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I8": "i1", "U8": "u1"}
DEEPEST = {"network": 4}


def path_of(name: str) -> Path:
    package = DATA / f"{name}.mlpackage"
    return package / INSIDE if package.exists() else DATA / f"{name}.mlmodel"


def opened(name: str, limits: Limits = Limits()) -> Checkpoint:
    return registry.open_checkpoint(LocalFile(str(path_of(name))), limits)


def of_bytes(data: bytes, limits: Limits = Limits()) -> Checkpoint:
    return registry.open_checkpoint(MemoryBytes(data, label="m.mlmodel"), limits)


def values(checkpoint: Checkpoint, name: str) -> np.ndarray:  # type: ignore[type-arg]
    spec = checkpoint.tensors[name]
    data = bytearray(spec.nbytes)
    checkpoint.read_into(spec, 0, memoryview(data))
    return np.frombuffer(data, DTYPES[spec.values or spec.dtype]).reshape(spec.shape)


def diff_of(old: Checkpoint, new: Checkpoint) -> ModelDiff:
    return compare_models(Input("a", old), Input("b", new))


def plain_name(name: str) -> str:
    for suffix in ("_palettized", "_quantized", "_sparsified"):
        name = name.removesuffix(suffix)
    return name


# ---------------------------------------------------------------- weights


@pytest.mark.parametrize("name", EXPECTED)
def test_weights_are_what_coremltools_decompresses_them_to(name: str) -> None:
    checkpoint = opened(name)
    assert checkpoint.format == "coreml"
    for key, (shape, data) in EXPECTED[name].items():
        wanted = np.frombuffer(base64.b64decode(data), "<f4").reshape(shape)
        found = values(checkpoint, plain_name(key))
        assert found.shape == wanted.shape
        # coremltools rounds what it decompresses to the half precision of the program, or sums in doubles
        assert np.array_equal(found, wanted) or np.allclose(found, wanted, rtol=2e-3 if "package" in str(path_of(name)) else 1e-6, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "dtype", "encoding"),
    [
        ("palette2", "U2", "palette of 4"), ("palette6", "U6", "palette of 64"), ("palette3", "U3", "palette of 8"),
        ("palettes4", "U4", "4 palettes of 16"), ("affine", "U8", "affine, 8 scales"), ("symmetric", "I8", "affine, 8 scales"),
        ("blockwise", "I4", "blockwise, (8, 3, 1, 1) scales"), ("sparse", "F16", "sparse"), ("sparse_mask", "F16", "sparse"),
        ("network_linear3", "U3", "linear, 4 scales"), ("network_linear_lut4", "U4", "palette of 16"),
        ("network_linear16", "F16", ""), ("network", "F32", ""),
    ],
)  # fmt: skip
def test_compressed_weights_say_how_they_are_stored(name: str, dtype: str, encoding: str) -> None:
    label = "conv.weights" if name.startswith("network") else "c1_weight_0_to_fp16"
    spec = opened(name).tensors[label]
    assert spec.dtype == dtype and spec.encoding.partition(" (")[0] == encoding.partition(" (")[0]


def test_parts_of_a_decoded_tensor_are_read_from_anywhere() -> None:
    for name in ("palette3", "blockwise", "sparse"):
        checkpoint = opened(name)
        spec = checkpoint.tensors["c1_weight_0_to_fp16"]
        whole = bytearray(spec.nbytes)
        checkpoint.read_into(spec, 0, memoryview(whole))
        for start, size in ((2, 10), (spec.nbytes - 7, 7), (5, 1)):
            part = bytearray(size)
            checkpoint.read_into(spec, start, memoryview(part))
            assert part == whole[start : start + size]


# ---------------------------------------------------------------- what else a model says


def test_a_program_shows_its_operations_with_their_settings() -> None:
    graph = opened("plain").graph
    assert graph["specification version"] == "7" and graph["model"] == "mlProgram" and graph["opset"] == "CoreML6"
    assert graph["input x"] == "multiArrayType(shape=[1, 3, 8, 8], dataType=FLOAT32)"
    assert "strides=[1, 1]" in graph["node c1_cast_fp16"] and graph["node c1_cast_fp16"].endswith("-> F16 [1, 8, 6, 6]")
    assert (graph["operator conv"], graph["operator cast"]) == ("1", "2")
    assert opened("plain").metadata["com.github.apple.coremltools.source"] == "milinternal"


def test_a_network_shows_its_layers() -> None:
    checkpoint = opened("network")
    assert checkpoint.graph["node conv"].startswith("convolution(outputChannels=4, kernelChannels=3, ")
    assert checkpoint.graph["node act"] == "activation(ReLU())"
    assert checkpoint.tensors["norm.gamma"].shape == (4,) and checkpoint.tensors["fc.bias"].shape == (5,)
    assert checkpoint.graph["wiring"] == opened("network_linear3").graph["wiring"]
    assert opened("network_linear3").tensors["conv.bias"].shape == (4,)


def test_trees_are_tensors_and_counted() -> None:
    checkpoint = opened("trees")
    assert values(checkpoint, "treeEnsemble.trees.1.thresholds").tolist() == [1.25, -1.0]
    assert values(checkpoint, "treeEnsemble.trees.1.leaf_values").tolist() == [1.5, -3.5, 3.5]
    assert values(checkpoint, "treeEnsemble.trees.1.features").tolist() == [1, 2]
    assert values(checkpoint, "treeEnsemble.trees.0.children").tolist() == [[1, 2], [-1, -1], [3, 4], [-1, -1], [-1, -1]]
    facts = {key.removeprefix("treeEnsemble."): value for key, value in checkpoint.facts.items()}
    assert (facts["trees"], facts["nodes"], facts["leaves"], facts["max depth"]) == (2, 10, 6, 2)
    assert values(checkpoint, "treeEnsemble.basePredictionValue").tolist() == [0.5]


def test_models_of_a_pipeline_have_their_names_before_theirs() -> None:
    checkpoint = opened("pipeline")
    assert values(checkpoint, "pipeline.scaler.scaleValue").tolist() == [0.5, 0.25]
    assert values(checkpoint, "pipeline.linear.weights.0").tolist() == [0.5, -1.25, 3.0]
    assert checkpoint.graph["pipeline.linear.model"] == "glmRegressor"
    assert checkpoint.metadata["pipeline.linear.author"] == "somebody"
    assert values(opened("linear"), "weights.0").tolist() == [0.5, -1.25, 3.0]


# ---------------------------------------------------------------- what changed


def test_quantizing_is_a_cast_of_the_same_weights() -> None:
    diff = diff_of(opened("plain"), opened("palette6"))
    changed = {change.name: change for change in diff.changes}
    assert set(changed) == {"c1_weight_0_to_fp16", "fc_weight_0_to_fp16"}
    assert changed["fc_weight_0_to_fp16"].figures is not None
    assert diff_of(opened("plain"), opened("plain")).equal


def test_one_changed_weight_in_the_file_of_weights_is_found(tmp_path: Path) -> None:
    shutil.copytree(DATA / "plain.mlpackage", tmp_path / "b.mlpackage")
    place = tmp_path / "b.mlpackage" / WEIGHTS
    data = bytearray(place.read_bytes())
    data[128 + 20 : 128 + 22] = np.array([7.0], "<f2").tobytes()
    place.write_bytes(bytes(data))
    diff = diff_of(opened("plain"), open_directory(str(tmp_path / "b.mlpackage"), Limits()))
    (change,) = diff.changes
    assert change.name == "c1_weight_0_to_fp16" and change.figures is not None and change.figures.delta is not None
    assert change.figures.delta.changed_count == 1


def test_a_package_is_one_model_for_the_program(tmp_path: Path) -> None:
    shutil.copytree(DATA / "plain.mlpackage", tmp_path / "m.mlpackage")
    run = [sys.executable, "-m", "diffai"]
    shown = subprocess.run([*run, "show", "m.mlpackage"], cwd=tmp_path, capture_output=True, text=True)
    assert shown.returncode == 0 and "coreml" in shown.stdout and "4 tensors · 314 params" in shown.stdout, shown.stderr
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True, capture_output=True)
    logged = subprocess.run([*run, "log", "--", "m.mlpackage"], cwd=tmp_path, capture_output=True, text=True)
    assert logged.returncode == 0 and "314" in logged.stdout, logged.stdout + logged.stderr
    (tmp_path / "m.mlpackage" / WEIGHTS).unlink()
    checked = subprocess.run([*run, "check", f"m.mlpackage/{INSIDE}"], cwd=tmp_path, capture_output=True, text=True)
    assert checked.returncode == 1 and "CM06" in checked.stdout


# ---------------------------------------------------------------- hostile files


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def model(kind: int, content: bytes) -> bytes:
    described = field(1, field(1, b"x") + field(3, field(2, b"")))
    return field(1, 4) + field(2, described) + field(kind, content)


def layer(name: bytes, number: int, parameters: bytes) -> bytes:
    return field(1, field(1, name) + field(2, b"x") + field(3, b"y") + field(number, parameters))


def weights(raw: bytes, bits: int, line: bytes = b"", table: bytes = b"") -> bytes:
    quantization = field(1, bits) + (field(101, line) if line else b"") + (field(102, table) if table else b"")
    return field(30, raw) + field(40, quantization)


def fc(content: bytes) -> bytes:
    return layer(b"fc", 140, field(1, 2) + field(2, 2) + field(20, content))


def node(key: int, behaviour: int, yes: int = 0, no: int = 0) -> bytes:
    return field(1, field(2, key) + field(3, behaviour) + field(12, yes) + field(13, no))


def program(value: bytes) -> bytes:
    """A program of one constant."""
    constant = field(1, b"const") + field(3, field(1, b"w")) + field(5, field(1, b"val") + field(2, value))
    block = field(3, constant)
    return field(2, field(1, b"main") + field(2, field(3, field(1, b"a") + field(2, block))))


def tensor(kind: int, *shape: int) -> bytes:
    return field(2, field(1, field(1, kind) + field(2, len(shape)) + b"".join(field(3, field(1, field(1, n))) for n in shape)))


LIES = {
    "cut off": (path_of("network").read_bytes()[:-20], "CM01"),
    "no model": (field(1, 4) + field(2, field(1, field(1, b"x"))), "CM02"),
    "two models": (model(500, fc(b"")) + field(303, b""), "CM02"),
    "a kind that is not known": (model(777, b"\x08\x01"), "CM02"),
    "codes of no bits": (model(500, fc(weights(b"\0" * 4, 0))), "CM03"),
    "codes of nine bits": (model(500, fc(weights(b"\0" * 9, 9))), "CM03"),
    "a short table": (model(500, fc(weights(b"\0" * 4, 8, table=field(1, bytes(12))))), "CM03"),
    "three scales": (model(500, fc(weights(b"\0" * 4, 8, line=field(1, bytes(12))))), "CM03"),
    "half a number": (model(500, fc(field(2, b"abc"))), "CM03"),
    "a child that is not there": (model(302, field(1, node(0, 0, 1, 9) + node(1, 6))), "CM04"),
    "a child twice": (model(302, field(1, node(0, 0, 1, 1) + node(1, 6))), "CM04"),
    "a circle": (model(302, field(1, node(0, 0, 1, 2) + node(1, 0, 0, 2) + node(2, 6))), "CM04"),
    "an output that is not there": (model(302, field(1, field(1, field(2, 0) + field(3, 6) + field(20, field(1, 7))))), "CM04"),
    "values out of the folder": (model(502, program(tensor(10, 4) + field(5, field(1, b"@model_path/../../x") + field(2, 0)))), "CM06"),
    "too few values": (model(502, program(tensor(11, 4) + field(3, field(1, field(1, field(1, bytes(8))))))), "CM03"),
}  # fmt: skip


@pytest.mark.parametrize("case", LIES)
def test_lies_are_refused_by_number(case: str) -> None:
    data, code = LIES[case]
    with pytest.raises(FormatError) as caught:
        of_bytes(data)
    assert (caught.value.code, caught.value.format) == (code, "coreml")
    assert registry.check(MemoryBytes(data, label="m.mlmodel"), Limits())[0].code == code


@pytest.mark.parametrize("offset", [0, 63, 900, 1 << 40])
def test_a_place_without_values_in_the_file_of_weights_is_refused(offset: int, tmp_path: Path) -> None:
    shutil.copytree(DATA / "plain.mlpackage", tmp_path / "m.mlpackage")
    value = tensor(10, 4) + field(5, field(1, b"@model_path/weights/weight.bin") + field(2, offset))
    (tmp_path / "m.mlpackage" / INSIDE).write_bytes(model(502, program(value)))
    with pytest.raises(FormatError) as caught:
        open_directory(str(tmp_path / "m.mlpackage"), Limits())
    assert caught.value.code == "CM05"


def test_a_missing_file_of_weights_leaves_headers_and_says_so() -> None:
    checkpoint = of_bytes(path_of("plain").read_bytes())
    assert checkpoint.tensors["c1_weight_0_to_fp16"].shape == (8, 3, 3, 3)
    assert checkpoint.tensors["c1_weight_0_to_fp16"].lacking == "the values are in 'weights/weight.bin', which is not here"


def test_an_unknown_kind_of_numbers_that_are_not_here_is_named() -> None:
    value = tensor(99, 4) + field(5, field(1, b"@model_path/weights/weight.bin") + field(2, 64))
    assert of_bytes(model(502, program(value))).tensors["w"].dtype == "TYPE_99"


def test_nesting_and_counts_are_bounded() -> None:
    deep = b""
    for _ in range(300):
        deep = field(202, field(1, field(1, 1) + deep))
    with pytest.raises(LimitError, match="maxDepth"):
        of_bytes(model(202, field(1, field(1, 1) + deep)))
    with pytest.raises(LimitError, match="maxSteps"):
        of_bytes(model(302, field(1, b"".join(node(n, 6) for n in range(500)))), Limits(max_steps=1000))


def test_other_messages_are_not_taken_for_core_ml() -> None:
    assert registry.recognise(LocalFile(str(path_of("linear")))).NAME == "coreml"
    assert registry.recognise(MemoryBytes(path_of("linear").read_bytes(), label="m.bin")).NAME == "coreml"
    onnx = b"\x08\x07\x12\x07pytorch\x3a\x02\x0a\x00"
    assert registry.recognise(MemoryBytes(onnx, label="m.bin")).NAME == "onnx"


def test_damaged_files_give_our_errors_and_no_others(tmp_path: Path) -> None:
    random_ = random.Random(3)
    names = [*EXPECTED, "trees", "pipeline", "linear"]
    shutil.copytree(DATA / "plain.mlpackage", tmp_path / "m.mlpackage")
    for number in range(1500):
        name = names[number % len(names)]
        data = bytearray(path_of(name).read_bytes())
        for _ in range(random_.randint(1, 5)):
            data[random_.randrange(3, len(data))] = random_.choice((0, 1, 2, 8, 0x0A, 0x12, 0x7F, 0xFF, random_.randrange(256)))
        with contextlib.suppress(DiffaiError):
            if "package" in str(path_of(name)) and number % 3 == 0:
                (tmp_path / "m.mlpackage" / INSIDE).write_bytes(bytes(data))
                checkpoint = open_directory(str(tmp_path / "m.mlpackage"), Limits())
            else:
                checkpoint = of_bytes(bytes(data))
            for spec in checkpoint.tensors.values():
                if not spec.lacking:
                    checkpoint.read_into(spec, 0, memoryview(bytearray(min(spec.nbytes, 1 << 16))))
            checkpoint.close()
