from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from diffai import api


def test_dictionaries_nest_and_scalars_are_training_state() -> None:
    checkpoint = api.open_checkpoint(
        {"model": {"w": np.ones((2, 3), "f2")}, "epoch": 3, "name": "x", "lr": 0.1, "flag": True, "none": None}
    )
    assert list(checkpoint.tensors) == ["model.w"]
    assert dict(checkpoint.training) == {"epoch": 3, "name": "x", "lr": 0.1, "flag": True, "none": None}


@pytest.mark.parametrize(
    "dtype", ["bool", "i1", "u8", "f2", "f4", "f8", "c8", "c16", ml_dtypes.bfloat16, ml_dtypes.float8_e5m2]
)
def test_dtypes_agree_with_their_files(tmp_path: Path, dtype: Any) -> None:
    value = np.arange(6).reshape(2, 3).astype(dtype)
    diff = api.compare({"w": value}, {"w": value.copy()})
    assert diff.tensors[0].status == ("identical",)
    if dtype not in ("c16",):
        save_file({"w": value}, tmp_path / "m.safetensors")
        assert not api.compare({"w": value}, tmp_path / "m.safetensors").differs


def test_any_memory_layout_compares_by_value() -> None:
    value = np.arange(24, dtype="f4").reshape(2, 3, 4)
    for other in (np.asfortranarray(value), value.astype(">f4"), np.broadcast_to(value, (2, 3, 4)), value[::-1][::-1]):
        assert not api.compare({"w": value}, {"w": other}).differs
    assert api.compare({"w": value}, {"w": value.transpose(0, 2, 1).copy().reshape(2, 3, 4)}).differs


def test_tied_arrays_count_once() -> None:
    weight = np.ones((4, 4), "f4")
    diff = api.compare({"embed": weight, "head": weight}, {"embed": weight, "head": weight})
    assert diff.new.parameters == 16
    assert diff.new.elements == 32


def test_what_is_no_tensor_is_named() -> None:
    with pytest.raises(api.FormatError, match="list is no tensor"):
        api.open_checkpoint({"w": [1, 2]})  # type: ignore[dict-item]
    with pytest.raises(api.FormatError, match="dtype object"):
        api.open_checkpoint({"w": np.array([object()])})


def test_bytes_and_a_path_and_a_checkpoint(tmp_path: Path) -> None:
    save_file({"w": np.ones(3, "f4")}, tmp_path / "m.safetensors")
    data = (tmp_path / "m.safetensors").read_bytes()
    opened = api.open_checkpoint(tmp_path / "m.safetensors")
    for form in (data, bytearray(data), memoryview(data), opened, str(tmp_path / "m.safetensors")):
        assert not api.compare(form, {"w": np.ones(3, "f4")}).differs
    assert opened.tensors["w"].shape == (3,)  # a checkpoint that was given stays open
    opened.close()


def test_errors_are_exceptions_that_name_the_side(tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    with pytest.raises(api.DiffaiError, match=r"bad\.safetensors: unreadable safetensors"):
        api.compare(tmp_path / "bad.safetensors", {"w": np.ones(1)})
    with pytest.raises(api.SourceError, match="no such file"):
        api.open_checkpoint(tmp_path / "nowhere.pt")
    with pytest.raises(api.DiffaiError, match="cannot open a int"):
        api.open_checkpoint(3)  # type: ignore[arg-type]


def test_a_live_torch_model_against_its_file(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs the extra [torch]")
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    torch.save(model.state_dict(), tmp_path / "m.pt")
    assert not api.compare(model, tmp_path / "m.pt").differs
    with torch.no_grad():
        model[0].weight[0, 0] += 1
    diff = api.compare(tmp_path / "m.pt", model)
    assert [(c.name, c.figures.delta.changed_count) for c in diff.changes if c.figures and c.figures.delta] == [
        ("0.weight", 1)
    ]
    half = {"w": torch.ones(4, dtype=torch.bfloat16), "t": torch.arange(6).reshape(2, 3).t()}
    assert not api.compare(half, {k: v.clone() for k, v in half.items()}).differs
    assert not api.compare({"t": half["t"]}, {"t": np.arange(6).reshape(2, 3).T}).differs
