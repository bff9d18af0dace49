"""Readiness, regression, risk and the alarm: what each rests on, and what is never passed in silence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gating import EVIL
from program import diffai as program
from safetensors.numpy import save_file

import diffai
from diffai.comparison.result import CompareOptions
from diffai.finding import Finding

OLD = {"embed.weight": np.ones((4, 3), "f4"), "mid.weight": np.full((3, 3), 0.5, "f4"), "head.weight": np.ones((2, 3), "f4")}


def said(name: str, old: Any, new: Any, **options: Any) -> Finding:
    (found,) = diffai.compare(old, new, CompareOptions(**options), analyses=[name]).findings
    return found


def checks(found: Finding) -> dict[str, str]:
    return {row["check"]: row["status"] for row in found.fields["checks"]}  # type: ignore[union-attr,index,misc]


def changed(**tensors: Any) -> dict[str, Any]:
    return {**OLD, **{name.replace("_", ".", 1): value for name, value in tensors.items()}}


def test_each_check_of_readiness() -> None:
    assert checks(said("deployment_readiness", OLD, OLD)) == {
        "finite": "passed", "safe": "passed", "valid": "passed", "interface": "passed", "dtype": "passed",
        "size": "does not apply", "metadata": "failed",
    }  # fmt: skip
    nan = changed(mid_weight=np.full((3, 3), np.nan, "f4"))
    assert checks(said("deployment_readiness", OLD, nan))["finite"] == "failed"
    assert checks(said("deployment_readiness", nan, changed(mid_weight=np.full((3, 3), np.inf, "f4"))))[
        "finite"
    ] == "failed"  # fmt: skip
    half = changed(mid_weight=OLD["mid.weight"].astype("f2"))
    found = said("deployment_readiness", OLD, half)
    assert checks(found)["dtype"] == "failed" and found.fields["ready"] is True and found.severity == "info"


@pytest.mark.parametrize(("name", "broken"), [("embed.weight", True), ("head.weight", True), ("mid.weight", False)])
def test_the_interface_is_that_of_the_first_and_last_layer(name: str, broken: bool) -> None:
    other = {**OLD, name: np.ones((7, 5), "f4")}
    found = said("deployment_readiness", OLD, other)
    assert (checks(found)["interface"] == "failed") is broken is (found.fields["ready"] is False)
    gone = {key: value for key, value in OLD.items() if key != name}
    assert (said("risk_assessment", OLD, gone).fields["level"] == "high") is broken


def test_the_interface_of_a_graph_is_its_inputs_and_outputs(tmp_path: Path) -> None:
    for name, shape in (("a", [1, 4]), ("b", [1, 4]), ("c", [1, 5])):
        (tmp_path / f"{name}.onnx").write_bytes(_onnx(shape))
    assert checks(said("deployment_readiness", tmp_path / "a.onnx", tmp_path / "b.onnx"))["interface"] == "passed"
    assert checks(said("deployment_readiness", tmp_path / "a.onnx", tmp_path / "c.onnx"))["interface"] == "failed"


def _onnx(shape: list[int]) -> bytes:
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy")
    w = helper.make_tensor("w", TensorProto.FLOAT, [1], [2.0])
    graph = helper.make_graph([helper.make_node("Mul", ["x", "w"], ["y"])], "g", [x], [y], [w])
    data: bytes = helper.make_model(graph).SerializeToString()
    return data


def test_a_pickle_that_runs_code_is_not_ready_high_risk_and_rings_the_alarm(tmp_path: Path) -> None:
    import torch

    torch.save({"w": torch.ones(2)}, tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(EVIL)
    names = ["deployment_readiness", "risk_assessment", "alert_on_degradation", "regression_test"]
    found = {each.name: each for each in diffai.compare(tmp_path / "a.pt", tmp_path / "b.pt", analyses=names).findings}
    assert checks(found["deployment_readiness"])["safe"] == "failed"
    assert found["risk_assessment"].severity == "critical" and found["alert_on_degradation"].fields["fires"] is True
    assert "forbid_unsafe_pickle" in found["regression_test"].text


@pytest.mark.parametrize("spot", [None, (1, 1)])
def test_what_exploded_is_told_once_in_the_evidence_of_risk(spot: tuple[int, int] | None) -> None:
    old = np.random.default_rng(1).normal(size=(40, 40)).astype("f4")
    new = old * np.float32(20) if spot is None else old.copy()
    if spot is not None:
        new[spot] = 34_496
    still = np.random.default_rng(2).normal(size=(40, 40)).astype("f4")
    found = said("risk_assessment", {"a.weight": old, "b.weight": still}, {"a.weight": new, "b.weight": still})
    (line,) = (line for line in found.evidence if " x)" in line or "norm" in line)
    assert line.startswith("a.weight: ") and found.text.count(" x)") == 1


def test_values_that_were_not_read_are_never_passed() -> None:
    for name in ("deployment_readiness", "risk_assessment", "alert_on_degradation", "regression_test"):
        found = said(name, OLD, changed(mid_weight=np.zeros((3, 3), "f4")), shape_only=True)
        assert found.status == "not computed", name


@pytest.mark.parametrize(
    ("finding", "metric", "code"),
    [("alert_on_degradation", 0.5, 1), ("alert_on_degradation", 0.9, 0), ("alert_on_degradation", 0.895, 0),
     ("regression_test", 0.5, 1), ("risk_assessment:critical", 0.5, 0), ("risk_assessment", 0.5, 1),
     ("metric_comparison:notice", 0.5, 1), ("deployment_readiness", 0.5, 0)],
)  # fmt: skip
def test_the_exit_code_of_a_judgement(finding: str, metric: float, code: int, tmp_path: Path) -> None:
    for folder, value in (("a", 0.9), ("b", metric)):
        (tmp_path / folder).mkdir()
        save_file(OLD, tmp_path / folder / "m.safetensors", {"epoch": folder})
        (tmp_path / folder / "metrics.json").write_text(json.dumps({"test": {"accuracy": value}}))
    done = program("a/m.safetensors", "b/m.safetensors", "--fail-on", finding, cwd=tmp_path)
    assert done.returncode == code, done.stdout


def test_a_threshold_of_the_configuration_counts_by_hand_and_is_named(tmp_path: Path) -> None:
    save_file(OLD, tmp_path / "a.safetensors", {"val_acc": "0.9"})
    save_file(OLD, tmp_path / "b.safetensors", {"val_acc": "0.8"})
    (tmp_path / ".diffai.toml").write_text("[analyses.alert_on_degradation]\nmax_drop = 0.5\n")
    done = program("a.safetensors", "b.safetensors", "--alert-on-degradation", cwd=tmp_path)
    assert "+ alert_on_degradation: quiet" in done.stdout and "max_drop" in done.stdout
    (tmp_path / ".diffai.toml").unlink()
    assert "! alert_on_degradation: val_acc 0.9 -> 0.8 (11.1% worse)" in program(
        "a.safetensors", "b.safetensors", "--alert-on-degradation", cwd=tmp_path
    ).stdout  # fmt: skip


def test_a_size_limit(tmp_path: Path) -> None:
    save_file(OLD, tmp_path / "a.safetensors")
    (tmp_path / ".diffai.toml").write_text("[analyses.deployment_readiness]\nmax_bytes = 10\n")
    done = program("a.safetensors", "a.safetensors", "--deployment-readiness", cwd=tmp_path)
    assert "not ready" in done.stdout and "of 10 bytes" in done.stdout
