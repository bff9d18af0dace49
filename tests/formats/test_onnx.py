"""ONNX against the onnx library's own files, values and graphs; hostile models."""

from __future__ import annotations

import importlib.util
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from diffai.comparison.models import Input, compare_models
from diffai.errors import DiffaiError, FormatError, LimitError, SourceError
from diffai.formats import registry
from diffai.formats.base import Limits
from diffai.model import Checkpoint, TensorSpec
from diffai.models.inputs import open_input
from diffai.snapshots.files import WorkFile
from diffai.sources.local import LocalFile, MemoryBytes

_SPEC = importlib.util.find_spec("onnx")
assert _SPEC is not None and _SPEC.origin is not None
BUNDLED = sorted(Path(_SPEC.origin).parent.rglob("*.onnx"))


def opened(data: bytes, name: str = "m.onnx", limits: Limits = Limits()) -> Checkpoint:
    return registry.open_checkpoint(MemoryBytes(data, label=name), limits)


def values(checkpoint: Checkpoint, spec: TensorSpec) -> bytes:
    data = bytearray(spec.nbytes)
    checkpoint.read_into(spec, 0, memoryview(data))
    return bytes(data)


def constants(model: onnx.ModelProto) -> list[TensorProto]:
    """Every tensor message of a model, wherever it stands."""

    def of_nodes(nodes: object) -> Iterator[TensorProto]:
        for node in nodes:  # type: ignore[attr-defined]
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors
                if attribute.HasField("sparse_tensor"):
                    yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
                for graph in [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]:
                    yield from of_graph(graph)

    def of_graph(graph: onnx.GraphProto) -> Iterator[TensorProto]:
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        yield from of_nodes(graph.node)

    found = list(of_graph(model.graph))
    for function in model.functions:
        found += of_nodes(function.node)
    for training in model.training_info:
        found += [*of_graph(training.initialization), *of_graph(training.algorithm)]
    return found


def test_the_library_brings_models() -> None:
    assert len(BUNDLED) > 100


@pytest.mark.parametrize("path", BUNDLED, ids=lambda path: path.stem)
def test_every_tensor_of_the_library_s_own_models(path: Path) -> None:
    wanted = [t for t in constants(onnx.load(path)) if t.data_type != TensorProto.STRING]
    checkpoint = registry.open_checkpoint(LocalFile(path), Limits())
    specs = checkpoint.tensors
    assert len(specs) >= len(wanted)
    for tensor in wanted:
        spec = specs.get(tensor.name)
        if spec is None or spec.dtype == "F4":
            continue
        array = numpy_helper.to_array(tensor)
        if spec.values:  # int4 and the like are compared as whole numbers
            got = np.frombuffer(values(checkpoint, spec), np.int8 if spec.values == "I8" else np.uint8)
            assert np.array_equal(got.astype(np.int64), array.astype(np.int64).reshape(-1))
        else:
            assert values(checkpoint, spec) == np.ascontiguousarray(array).tobytes(), tensor.name
    checkpoint.close()


def model(*, weight: str = "w", scale: float = 1.0, operator: str = "MatMul", prefix: str = "v", **extra: str) -> bytes:
    """One matrix product and one activation."""
    w = numpy_helper.from_array(np.arange(12, dtype=np.float32).reshape(3, 4) * scale, weight)
    nodes = [
        helper.make_node(operator, ["x", weight], [f"{prefix}1"], name="product"),
        helper.make_node("Relu", [f"{prefix}1"], ["y"], name="activation"),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])
    made = helper.make_model(helper.make_graph(nodes, "g", [x], [y], [w]), producer_name="tests")
    helper.set_model_props(made, extra)
    return bytes(made.SerializeToString())


def compared(old: bytes, new: bytes):  # type: ignore[no-untyped-def]
    return compare_models(Input("a", opened(old)), Input("b", opened(new)))


def test_a_graph_says_what_it_computes() -> None:
    graph = opened(model()).graph
    assert graph["input x"] == "F32 ['batch', 3]" and graph["operator MatMul"] == "1"
    assert graph["node activation"] == "Relu" and graph["producer"] == "tests"


def test_names_of_intermediate_values_are_no_difference() -> None:
    assert not compared(model(), model(prefix="renumbered")).differs


def test_another_operator_is_a_change_of_the_graph() -> None:
    diff = compared(model(), model(operator="Gemm"))
    assert {change.key for change in diff.graph} == {"operator MatMul", "operator Gemm", "node product", "wiring"}


def test_a_retrained_weight_leaves_the_graph_alone() -> None:
    diff = compared(model(), model(scale=2.0))
    assert not diff.graph and [c.name for c in diff.changes] == ["w"]


def test_weights_that_change_places_are_a_change_of_the_wiring() -> None:
    def both(first: str, second: str) -> bytes:
        weights = [numpy_helper.from_array(np.full((3, 3), n, np.float32), f"w{n}") for n in (1, 2)]
        nodes = [helper.make_node("MatMul", ["x", first], ["a"]), helper.make_node("MatMul", ["a", second], ["y"])]
        ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [3, 3]) for n in ("x", "y")]
        made = helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], weights))
        return bytes(made.SerializeToString())

    assert [c.key for c in compared(both("w1", "w2"), both("w2", "w1")).graph] == ["wiring"]


def test_metadata_is_read() -> None:
    assert opened(model(author="me")).metadata["author"] == "me"


def external(location: str, folder: Path) -> Path:
    w = numpy_helper.from_array(np.arange(64, dtype=np.float32), "w")
    made = onnx.load_from_string(model())
    del made.graph.initializer[:]
    made.graph.initializer.append(w)
    target = made.graph.initializer[-1]
    target.ClearField("raw_data")
    target.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "256")):
        target.external_data.add(key=key, value=value)
    path = folder / "m.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def test_external_data_is_read_beside_the_model(tmp_path: Path) -> None:
    path = external("m.onnx.data", tmp_path)
    (tmp_path / "m.onnx.data").write_bytes(np.arange(64, dtype=np.float32).tobytes())
    checkpoint = registry.open_checkpoint(LocalFile(path), Limits())
    spec = checkpoint.tensors["w"]
    assert spec.offset == -1 and values(checkpoint, spec) == np.arange(64, dtype=np.float32).tobytes()
    checkpoint.close()


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "a/../../b", "", "..", "C:\\x", "x\0y"])
def test_external_data_is_never_read_elsewhere(location: str, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret").write_bytes(bytes(256))
    with pytest.raises(FormatError) as caught:
        registry.open_checkpoint(LocalFile(external(location, inside)), Limits())
    assert caught.value.code == "ON06" and caught.value.tensor == "w"


def test_external_data_that_is_too_short_is_refused(tmp_path: Path) -> None:
    path = external("d", tmp_path)
    (tmp_path / "d").write_bytes(bytes(100))
    with pytest.raises(FormatError) as caught:
        registry.open_checkpoint(LocalFile(path), Limits())
    assert caught.value.code == "ON07"


def test_graphs_nested_without_end_are_refused() -> None:
    def field(number: int, payload: bytes) -> bytes:
        size, out = len(payload), [number << 3 | 2]
        while size > 127:
            out.append(size & 127 | 128)
            size >>= 7
        return bytes([*out, size]) + payload

    graph = b""
    for _ in range(80):  # a node with an attribute that is a graph
        graph = field(1, field(4, b"If") + field(5, field(1, b"then_branch") + field(6, graph)))
    with pytest.raises(FormatError, match="nested"):
        opened(b"\x08\x08" + field(7, graph))


def test_a_graph_over_the_limit_names_the_key() -> None:
    with pytest.raises(LimitError, match="maxHeader"):
        opened(model(), limits=Limits(max_header=10))


def test_two_tensors_of_one_name_are_refused() -> None:
    made = onnx.load_from_string(model())
    made.graph.initializer.append(made.graph.initializer[0])
    with pytest.raises(FormatError) as caught:
        opened(made.SerializeToString())
    assert caught.value.code == "ON05"


def test_damaged_models_give_our_errors_and_no_others() -> None:
    samples = [model(), *(path.read_bytes() for path in BUNDLED if path.stat().st_size < 3000)][:40]
    random_ = random.Random(5)
    for number in range(3000):
        data = bytearray(samples[number % len(samples)])
        for _ in range(random_.randint(1, 6)):
            data[random_.randrange(len(data))] = random_.choice((0, 1, 0x7F, 0x80, 0xFF, random_.randrange(256)))
        if random_.random() < 0.3:
            del data[random_.randrange(1, len(data)) :]
        try:
            checkpoint = opened(bytes(data))
            assert len(checkpoint.graph) > 1 and checkpoint.uses is not None  # described later, and never in vain
            for spec in checkpoint.tensors.values():
                if spec.nbytes < 1 << 16:
                    values(checkpoint, spec)
        except DiffaiError:
            pass


def test_an_unchanged_graph_over_changed_external_data_has_another_identity(tmp_path: Path) -> None:
    seen = []
    for step in (0.0, 1.0):
        folder = tmp_path / str(step)
        folder.mkdir()
        path = external("m.onnx.data", folder)
        (folder / "m.onnx.data").write_bytes((np.arange(64, dtype=np.float32) + step).tobytes())
        seen.append(open_input(path))
    assert all(side.identity for side in seen) and seen[0].identity != seen[1].identity
    assert [change.name for change in compare_models(*seen).changes] == ["w"]


def test_values_in_a_file_that_is_not_here_are_not_compared_and_everything_else_is(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    old, new = open_input(external("gone.data", tmp_path / "old")), open_input(external("gone.data", tmp_path))
    assert old.identity == new.identity == ""
    diff = compare_models(old, new)
    assert [change.status for change in diff.tensors] == [("uncompared",)]
    assert diff.tensors[0].reason == "the values are in 'gone.data', which is not here"
    assert diff.equal is None and diff.left_out[0].count == 1
    problems = registry.check(LocalFile(tmp_path / "m.onnx"), Limits())
    assert [problem.code for problem in problems] == ["ON06"]


def test_external_data_below_the_folder_and_in_a_hub_s_cache_is_read(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    blobs.mkdir()
    (snapshot / "sub").mkdir(parents=True)
    external("sub/w.bin", blobs).rename(blobs / ("a" * 40))
    (blobs / ("b" * 64)).write_bytes(np.arange(64, dtype=np.float32).tobytes())
    (snapshot / "m.onnx").symlink_to(blobs / ("a" * 40))
    (snapshot / "sub" / "w.bin").symlink_to(blobs / ("b" * 64))
    for source in (LocalFile(snapshot / "m.onnx"), WorkFile(str(snapshot / "m.onnx"))):
        checkpoint = registry.open_checkpoint(source, Limits())
        assert values(checkpoint, checkpoint.tensors["w"]) == np.arange(64, dtype=np.float32).tobytes()
        checkpoint.close()


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(256))
    inside = tmp_path / "inside"
    inside.mkdir()
    path = external("w.bin", inside)
    (inside / "w.bin").symlink_to(tmp_path / "secret")
    for source in (LocalFile(path), WorkFile(str(path))):
        checkpoint = registry.open_checkpoint(source, Limits())
        assert checkpoint.tensors["w"].lacking
        with pytest.raises(SourceError):
            values(checkpoint, checkpoint.tensors["w"])
        checkpoint.close()


def test_a_graph_of_very_many_nodes_names_the_key_that_lifts_the_limit() -> None:
    nodes = [helper.make_node("Relu", ["x"], [f"y{n}"]) for n in range(300)]
    data = helper.make_model(helper.make_graph(nodes, "g", [], [])).SerializeToString()
    assert opened(data).graph["operator Relu"] == "300"
    with pytest.raises(LimitError, match="maxSteps"):
        opened(data, limits=Limits(max_steps=1000))


def test_opening_loads_no_reader_of_another_format(tmp_path: Path) -> None:
    """Core ML begins with the same byte and is asked first."""
    weight = numpy_helper.from_array(np.ones((2, 2), np.float32), "w")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [weight])
    (tmp_path / "m.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    code = (
        "import sys; from diffai.formats import registry; from diffai.formats.base import Limits\n"
        "from diffai.sources.local import LocalFile\n"
        "print(registry.open_checkpoint(LocalFile(sys.argv[1]), Limits()).format, *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, str(tmp_path / "m.onnx")], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    kind, *loaded = done.stdout.split()
    others = ("diffai.formats.coreml.", "diffai.formats.tflite", "diffai.formats.boosting", "diffai.formats.tensorflow")
    assert kind == "onnx"
    assert not [name for name in loaded if name.startswith(others)]
    assert not {"json", "hashlib", "pathlib", "urllib.parse", "numpy"} & set(loaded)
