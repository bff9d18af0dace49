"""OpenVINO networks written by hand from the specification; renumbered layers, small integers, hostile files."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from gitrepo import Repo
from program import diffai

from diffai.comparison.models import compare_models
from diffai.errors import DiffaiError, FormatError
from diffai.formats import registry
from diffai.formats.base import Limits
from diffai.model import Checkpoint, Unreadable
from diffai.models.inputs import Input, open_input
from diffai.sources.local import LocalFile, MemoryBytes

W = np.arange(12, dtype=np.float32).reshape(3, 4)


def network(
    *, constant: str = 'element_type="f32" shape="3, 4" offset="0" size="48"', operator: str = "MatMul",
    number: int = 1, head: str = "", body: str = "",
) -> str:  # fmt: skip
    """``y = operator(x, w)``; ``number`` is added to every number and automatic name."""
    n = [str(number + place) for place in range(4)]
    return f"""<?xml version="1.0"?>{head}
<net name="m" version="11"><layers>
<layer id="{n[0]}" name="x" type="Parameter" version="opset1"><data shape="?,3" element_type="f32"/>
  <output><port id="0" precision="FP32"><dim>-1</dim><dim>3</dim></port></output></layer>
<layer id="{n[1]}" name="Constant_{number}" type="Const" version="opset1"><data {constant}/></layer>
<layer id="{n[2]}" name="Op_{number}" type="{operator}" version="opset1"><data transpose_a="false"/>{body}</layer>
<layer id="{n[3]}" name="y" type="Result" version="opset1"/></layers>
<edges><edge from-layer="{n[0]}" from-port="0" to-layer="{n[2]}" to-port="0"/>
<edge from-layer="{n[1]}" from-port="0" to-layer="{n[2]}" to-port="1"/>
<edge from-layer="{n[2]}" from-port="2" to-layer="{n[3]}" to-port="0"/></edges>
<rt_info><Runtime_version value="2025.1"/><nncf><mode value="int8"/></nncf></rt_info></net>"""


def put(folder: Path, text: str, values: bytes | None = W.tobytes()) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "m.xml").write_text(text, encoding="utf-8")
    if values is not None:
        (folder / "m.bin").write_bytes(values)
    return folder / "m.xml"


def opened(side: Input) -> Checkpoint:
    assert side.checkpoint is not None, side.state
    return side.checkpoint


def data(checkpoint: Checkpoint, name: str, dtype: str) -> np.ndarray:
    spec = checkpoint.tensors[name]
    found = bytearray(spec.nbytes)
    checkpoint.read_into(spec, 0, memoryview(found))
    return np.frombuffer(bytes(found), dtype).reshape(spec.shape)


@pytest.mark.parametrize("kind", ["f64", "f32", "f16", "i64", "i32", "i16", "i8", "u64", "u32", "u16", "u8"])
def test_values_are_those_of_the_file_beside_it(tmp_path: Path, kind: str) -> None:
    values = W.astype(f"<{kind[0]}{int(kind[1:]) // 8}")
    constant = f'element_type="{kind}" shape="3,4" offset="8" size="{values.nbytes}"'
    checkpoint = opened(open_input(put(tmp_path, network(constant=constant), bytes(8) + values.tobytes())))
    assert checkpoint.format == "openvino"
    assert np.array_equal(data(checkpoint, "Constant_1", values.dtype.str), values)


@pytest.mark.parametrize(("kind", "wanted"), [("u4", [1, 2, 8, 15, 7]), ("i4", [1, 2, -8, -1, 7])])
def test_four_bits_are_unpacked_low_ones_first(tmp_path: Path, kind: str, wanted: list[int]) -> None:
    constant = f'element_type="{kind}" shape="5" offset="0" size="3"'
    checkpoint = opened(open_input(put(tmp_path, network(constant=constant), b"\x21\xf8\x07")))
    assert data(checkpoint, "Constant_1", "i1").tolist() == wanted


def test_kinds_without_values_of_ours_are_compared_as_bytes(tmp_path: Path) -> None:
    constant = 'element_type="nf4" shape="5" offset="0" size="3"'
    sides = [open_input(put(tmp_path / str(n), network(constant=constant), bytes((n, 1, 2)))) for n in (1, 2)]
    assert [change.name for change in compare_models(*sides).changes] == ["Constant_1"]


def test_the_graph_is_told(tmp_path: Path) -> None:
    checkpoint = opened(open_input(put(tmp_path, network())))
    assert checkpoint.graph["operator MatMul"] == "1" and checkpoint.graph["input x"] == "F32 [-1, 3]"
    assert checkpoint.metadata == {"Runtime_version": "2025.1", "nncf.mode": "int8"}


def test_new_numbers_are_no_change_of_the_graph(tmp_path: Path) -> None:
    diff = compare_models(
        open_input(put(tmp_path / "a", network())), open_input(put(tmp_path / "b", network(number=40)))
    )
    assert not diff.graph and [change.status for change in diff.changes] == [("renamed",)]


def test_another_operator_is_a_change_of_the_graph(tmp_path: Path) -> None:
    sides = [open_input(put(tmp_path / kind, network(operator=kind))) for kind in ("MatMul", "Add")]
    assert {change.key for change in compare_models(*sides).graph} == {"operator MatMul", "operator Add", "wiring"}


def test_constants_of_bodies_are_weights_and_bodies_are_part_of_the_graph(tmp_path: Path) -> None:
    def looped(operator: str) -> str:
        inner = f"""<port_map><input axis="1" external_port_id="0" internal_layer_id="0"/></port_map>
<back_edges><edge from-layer="1" to-layer="0"/></back_edges><body><layers>
<layer id="0" name="c" type="Const" version="opset1"><data element_type="f32" shape="2" offset="0" size="8"/></layer>
<layer id="1" name="o" type="{operator}" version="opset1"/></layers>
<edges><edge from-layer="0" from-port="0" to-layer="1" to-port="0"/></edges></body>"""
        return network(operator="Loop", body=inner)

    sides = [open_input(put(tmp_path / kind, looped(kind))) for kind in ("Relu", "Tanh")]
    assert set(opened(sides[0]).tensors) == {"Constant_1", "Op_1/c"}
    diff = compare_models(*sides)
    assert {change.key for change in diff.graph} == {"operator Relu", "operator Tanh", "wiring"} and not diff.changes


def test_a_change_of_the_values_alone_is_a_change_of_the_model(tmp_path: Path, repo: Repo) -> None:
    sides = [open_input(put(tmp_path / str(n), network(), (W + n).tobytes())) for n in (0, 1)]
    assert all(side.identity for side in sides) and sides[0].identity != sides[1].identity
    repo.commit({"m/openvino_model.xml": network(), "m/openvino_model.bin": W.tobytes()})
    repo.commit({"m/openvino_model.bin": (W + 1).tobytes()})
    done = diffai("HEAD~1..HEAD", cwd=repo.top)
    assert "m/openvino_model.xml" in done.stdout and "~ Constant_1" in done.stdout, done.stdout


def test_values_that_are_not_here_are_not_compared(tmp_path: Path) -> None:
    path = put(tmp_path, network(), None)
    assert opened(open_input(path)).tensors["Constant_1"].lacking == "the values are in 'm.bin', which is not here"
    assert [problem.code for problem in registry.check(LocalFile(path), Limits())] == ["OV05"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (network(head='<!DOCTYPE net [<!ENTITY a SYSTEM "file:///etc/passwd">]>'), "OV02"),
        (network(head="<!DOCTYPE net>"), "OV02"),
        (network()[:-20], "OV01"),
        ("<net><layers/></net>", "OV01"),
        ('<?xml version="1.0" encoding="no-such"?><net><layers></layers></net>', "OV01"),
        (network(constant='element_type="f32" shape="3,4" offset="0" size="40"'), "OV03"),
        (network(constant='element_type="f32" shape="3,4" offset="8" size="48"'), "OV03"),
        (network(constant='element_type="f32" shape="3,-4" offset="0" size="48"'), "OV03"),
        (network(constant='element_type="f32" shape="x" offset="0" size="48"'), "OV03"),
        (network(constant='element_type="f32" shape="3,4" offset="-8" size="48"'), "OV03"),
        (network(body="<a>" * 300 + "</a>" * 300), "OV04"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, text: str, code: str) -> None:
    state = open_input(put(tmp_path, text), input_format="openvino").state
    with pytest.raises(FormatError) as caught:
        registry.open_checkpoint(LocalFile(tmp_path / "m.xml"), Limits(), "openvino")
    assert caught.value.code == code
    assert state is not None and (not isinstance(state, Unreadable) or state.code == code)


def test_other_xml_is_no_network() -> None:
    for text in (b"<?xml version='1.0'?><Error/>", b"<net/>", b"<html><layer></html>"):
        with pytest.raises(FormatError):
            registry.open_checkpoint(MemoryBytes(text, label="a.xml"), Limits())


def test_damaged_networks_give_our_errors_and_no_others(tmp_path: Path) -> None:
    body = '<body><layers><layer id="0" name="c" type="Const"/></layers></body>'
    files = [network().encode(), network(body=body).encode()]
    put(tmp_path, network())
    generator = random.Random(5)
    for _ in range(1500):
        text = bytearray(generator.choice(files))
        for _ in range(generator.randint(1, 4)):
            text[generator.randrange(len(text))] = generator.choice(b'0123456789<>/"= -abcl\xff')
        text = text[: generator.randint(8, len(text))] if generator.random() < 0.2 else text
        (tmp_path / "m.xml").write_bytes(text)
        try:
            checkpoint = registry.open_checkpoint(LocalFile(tmp_path / "m.xml"), Limits(), "openvino")
        except DiffaiError:
            continue
        for spec in checkpoint.tensors.values():
            checkpoint.read_into(spec, 0, memoryview(bytearray(spec.nbytes)))
        checkpoint.close()
