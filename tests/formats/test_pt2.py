"""Programs of torch.export against torch itself; pickled weights, older archives, compiled code, damage."""

from __future__ import annotations

import contextlib
import io
import json
import random
import subprocess
import sys
import warnings
import zipfile
from functools import cache
from pathlib import Path

import pytest
import torch

from diffai.comparison.models import Input, compare_models
from diffai.errors import DiffaiError, FormatError
from diffai.formats import registry
from diffai.formats.base import Limits
from diffai.model import Checkpoint
from diffai.sources.local import MemoryBytes


class Net(torch.nn.Module):
    """A transposed parameter, tied weights, a buffer and two dtypes."""

    def __init__(self, *, wide: bool = False, deep: bool = False) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first = torch.nn.Linear(3, 5 if wide else 4)
        self.first.weight = torch.nn.Parameter(torch.randn(5 if wide else 4, 3, generator=generator))
        self.turned = torch.nn.Parameter(torch.randn(4, 3, generator=generator).t())
        self.register_buffer("counts", torch.arange(6).to(torch.bfloat16))
        self.deep = deep

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.first(x) + self.counts.float().sum() + (x @ self.turned).sum()
        return torch.relu(out) if self.deep else out


@cache
def exported(**options: bool) -> tuple[torch.export.ExportedProgram, bytes]:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(Net(**options), (torch.ones(2, 3),))
        file = io.BytesIO()
        torch.export.save(program, file)
    return program, file.getvalue()


def rewritten(data: bytes, **replaced: object) -> bytes:
    """The archive with members (by the end of their name) replaced, or changed by a function, or added."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        top = old.namelist()[0].partition("/")[0]
        used = set()
        for name in old.namelist():
            end = next((key for key in replaced if name.endswith(key)), "")
            content: object = old.read(name)
            if end:
                used.add(end)
                given = replaced[end]
                content = given(content) if callable(given) else given
            if content is not None:
                new.writestr(name, content)  # type: ignore[arg-type]
        for end, given in replaced.items():
            if end not in used:
                new.writestr(f"{top}/{end}", given)  # type: ignore[arg-type]
    return out.getvalue()


def opened(data: bytes, name: str = "m") -> Checkpoint:
    return registry.open_checkpoint(MemoryBytes(data, label=name), Limits())


def content(checkpoint: Checkpoint, name: str) -> bytes:
    data = bytearray(checkpoint.tensors[name].nbytes)
    checkpoint.read_into(checkpoint.tensors[name], 0, memoryview(data))
    return bytes(data)


def raw(tensor: torch.Tensor) -> bytes:
    return tensor.detach().contiguous().view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def test_weights_are_those_of_the_program() -> None:
    program, data = exported()
    checkpoint = opened(data)
    assert checkpoint.format == "torch-export"
    assert set(checkpoint.tensors) == set(program.state_dict)
    for name, tensor in program.state_dict.items():
        assert checkpoint.tensors[name].shape == tuple(tensor.shape) and content(checkpoint, name) == raw(tensor)
    assert checkpoint.requires_grad == {"first.weight", "first.bias", "turned"}
    assert checkpoint.graph["input x"] == "F32 [2, 3]" and checkpoint.graph["operator aten.linear.default"] == "1"
    assert checkpoint.graph["node linear"] == "aten.linear.default(x, p_first_weight, p_first_bias)"
    assert "sample inputs" in checkpoint.asides and str(checkpoint.metadata["torch_version"]).startswith("2.")


def test_a_changed_weight_and_a_changed_graph_are_told() -> None:
    program, data = exported()
    changed = program.state_dict["first.weight"].detach().clone()
    changed[1, 2] += 1
    which = json.loads(zipfile.ZipFile(io.BytesIO(data)).read(next(
        name for name in zipfile.ZipFile(io.BytesIO(data)).namelist() if name.endswith("weights_config.json"))))  # fmt: skip
    place = which["config"]["first.weight"]["path_name"]
    diff = compare_models(Input("a", opened(data)), Input("b", opened(rewritten(data, **{f"/{place}": raw(changed)}))))
    (change,) = diff.changes
    assert change.name == "first.weight" and change.figures is not None and change.figures.delta is not None
    assert change.figures.delta.changed_count == 1 and not diff.graph
    diff = compare_models(Input("a", opened(data)), Input("b", opened(exported(deep=True)[1])))
    assert ("operator aten.relu.default", "1") in [(c.key, c.new) for c in diff.graph] and not diff.changes


def test_a_weight_that_is_pickled_goes_through_the_pickle_machine() -> None:
    program, data = exported()
    file = io.BytesIO()
    torch.save(program.state_dict["turned"], file)

    def pickled(config: bytes) -> bytes:
        document = json.loads(config)
        document["config"]["turned"] |= {"use_pickle": True, "path_name": "pickled.pt"}
        return json.dumps(document).encode()

    changed = rewritten(data, **{"weights_config.json": pickled, "data/weights/pickled.pt": file.getvalue()})
    checkpoint = opened(changed)
    assert content(checkpoint, "turned") == raw(program.state_dict["turned"]) and checkpoint.safety in ("safe", "builds classes")
    assert compare_models(Input("a", opened(data)), Input("b", checkpoint)).changes == ()

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            import os

            return os.system, ("touch /tmp/never",)

    file = io.BytesIO()
    torch.save({"w": torch.ones(2), "x": Evil()}, file)
    evil = rewritten(data, **{"weights_config.json": pickled, "data/weights/pickled.pt": file.getvalue()})
    assert any("system" in problem.name for problem in registry.check(MemoryBytes(evil, label="m"), Limits()))


def test_an_older_archive_is_its_state() -> None:
    program, _ = exported()
    state, out = io.BytesIO(), io.BytesIO()
    torch.save(program.state_dict, state)
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("version", "5.3")
        archive.writestr("serialized_exported_program.json", json.dumps({"opset_version": {"aten": 10}, "graph_module": {
            "graph": {"nodes": [], "tensor_values": {}}, "signature": {"input_specs": [], "output_specs": []}}}))  # fmt: skip
        archive.writestr("serialized_state_dict.pt", state.getvalue())
    checkpoint = opened(out.getvalue(), "m.pt2")
    assert checkpoint.format == "torch-export" and checkpoint.graph["opset aten"] == "10"
    for name, tensor in program.state_dict.items():
        assert content(checkpoint, name) == raw(tensor)


def test_compiled_code_is_named_unsafe() -> None:
    data = rewritten(exported()[1], **{"data/aotinductor/model/kernel.so": b"\x7fELF", "data/aotinductor/model/a.cubin": b"x"})
    checkpoint = opened(data)
    assert checkpoint.safety == "unsafe" and [p.code for p in checkpoint.problems] == ["P205", "P205"]
    assert "kernel.so" in checkpoint.problems[0].message + checkpoint.problems[1].message


def lying(**changes: object) -> bytes:
    def edit(config: bytes) -> bytes:
        document = json.loads(config)
        entry = document["config"]["turned"]
        entry |= {key: value for key, value in changes.items() if key in entry}
        entry["tensor_meta"] |= {key: value for key, value in changes.items() if key in entry["tensor_meta"]}
        return json.dumps(document).encode()

    return rewritten(exported()[1], **{"weights_config.json": edit})


BIG = [{"as_int": 1 << 40}, {"as_int": 1 << 40}]
HOSTILE = {
    "no weights": (rewritten(exported()[1], **{"_config.json": None}), "P201"),
    "no JSON": (rewritten(exported()[1], **{"weights_config.json": b"{"}), "P202"),
    "no configuration": (rewritten(exported()[1], **{"weights_config.json": b"[]"}), "P202"),
    "missing": (lying(path_name="../../etc/passwd"), "P203"),
    "dtype": (lying(dtype=99), "P203"),
    "layout": (lying(layout=1), "P203"),
    "too large": (lying(sizes=BIG), "P203"),
    "strides": (lying(strides=[{"as_int": 9}, {"as_int": 9}]), "P203"),
    "negative": (lying(strides=[{"as_int": -1}, {"as_int": 3}]), "P203"),
    "offset": (lying(storage_offset={"as_int": 9}), "P203"),
    "symbolic": (lying(sizes=[{"as_expr": {"expr_str": "s0"}}] * 2), "P202"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_lies_are_refused_by_number(case: str) -> None:
    data, code = HOSTILE[case]
    with pytest.raises(FormatError) as caught:
        opened(data)
    assert (caught.value.code or "P203") == code
    assert [p.code for p in registry.check(MemoryBytes(data, label="m"), Limits())] == [code]


def test_damaged_files_give_our_errors_and_no_others() -> None:
    random_ = random.Random(6)
    data = exported()[1]
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        texts = [name for name in archive.namelist() if name.endswith(".json")]
        contents = {name: archive.read(name) for name in texts}
    for number in range(1500):
        name = texts[number % len(texts)]
        text = bytearray(contents[name])
        for _ in range(random_.randint(1, 4)):
            text[random_.randrange(len(text))] = random_.choice(b'0179-[]{},:"ane ')
        sample = bytearray(rewritten(data, **{name: bytes(text)}) if number % 3 == 0 else data)
        if number % 3:
            sample[random_.randrange(len(sample))] = random_.randrange(256)
        with contextlib.suppress(DiffaiError):
            checkpoint = registry.open_checkpoint(MemoryBytes(bytes(sample), label="m.pt2"), Limits(), "torch-export")
            for spec in checkpoint.tensors.values():
                checkpoint.read_into(spec, 0, memoryview(bytearray(min(spec.nbytes, 1 << 16))))


def test_the_program_compares_two(tmp_path: Path) -> None:
    (tmp_path / "a.pt2").write_bytes(exported()[1])
    (tmp_path / "b.pt2").write_bytes(exported(wide=True)[1])
    run = subprocess.run([sys.executable, "-m", "diffai", "a.pt2", "b.pt2"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0 and "~ first.weight: shape=[4, 3] -> [5, 3]" in run.stdout, run.stdout + run.stderr
