"""Every automatic analysis over every planted control: it says what is true of it, and nothing false."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from controls import CONTROLS, Control, base

import diffai
from diffai.analyses.fine_tune import fine_tuned
from diffai.comparison.result import CompareOptions, ModelDiff
from diffai.finding import Finding

NAMES = (
    "change_kind", "look_first", "anomaly_detection", "convergence_analysis", "risk_assessment", "quantized_pair",
    "deployment_readiness", "regression_test", "alert_on_degradation", "learning_progress", "metric_comparison",
    "learning_rate_analysis", "hyperparameter_impact",
)  # fmt: skip

pytestmark = pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[ModelDiff, dict[str, Finding]]]:
    every = {}
    for name, control in CONTROLS.items():
        diff = diffai.compare(*control.sides(tmp_path_factory.mktemp("control")), analyses=NAMES)
        every[name] = diff, {each.name: each for each in diff.findings}
    return every


@pytest.fixture(params=CONTROLS)
def case(
    request: pytest.FixtureRequest, found: dict[str, tuple[ModelDiff, dict[str, Finding]]]
) -> tuple[Control, ModelDiff, dict[str, Finding]]:
    return (CONTROLS[request.param], *found[request.param])


Case = tuple[Control, ModelDiff, dict[str, Finding]]


def test_kind(case: Case) -> None:
    control, _, said = case
    found = said["change_kind"]
    assert (found.fields.get("kinds") or ("identical",)) == control.kinds
    assert (found.severity == "critical") == ("diverged" in control.kinds)


def test_what_to_look_at(case: Case) -> None:
    control, _, said = case
    lines = said["look_first"].fields.get("lines", ())
    assert tuple(line["name"] for line in lines) == control.looks  # type: ignore[union-attr,index]


def test_anomalies(case: Case) -> None:
    control, _, said = case
    rows = said["anomaly_detection"].fields["anomalies"]
    assert {(row["type"], row["tensor"]) for row in rows} == set(control.anomalies)  # type: ignore[union-attr,index]
    assert said["anomaly_detection"].basis == "fact"


def test_convergence(case: Case) -> None:
    control, _, said = case
    assert said["convergence_analysis"].fields.get("status") == control.status


def test_risk_and_readiness(case: Case) -> None:
    control, _, said = case
    severities = {"low": "info", "medium": "warning", "high": "critical"}
    assert said["risk_assessment"].fields["level"] == control.risk
    assert said["risk_assessment"].severity == severities[control.risk]
    assert said["deployment_readiness"].fields["ready"] is control.ready
    assert said["alert_on_degradation"].fields["fires"] is control.alert


def test_regression(case: Case) -> None:
    control, _, said = case
    rules = said["regression_test"].fields["rules"]
    assert tuple(row["rule"] for row in rules if row["passed"] is not True) == control.broken  # type: ignore[union-attr,index]
    assert said["regression_test"].fields["passed"] is not bool(control.broken)


def test_quantized_pairs(case: Case) -> None:
    control, _, said = case
    assert said["quantized_pair"].fields.get("tensors", 0) == control.quantized


def test_what_was_tuned(case: Case) -> None:
    control, diff, _ = case
    weights = [change for change in diff.tensors if change.role == "weight"]
    tuned = fine_tuned(diff, weights, [change for change in weights if "changed" in change.status])
    assert (tuned.parts if tuned is not None else ()) == control.tuned


def test_nothing_is_invented_where_nothing_is_recorded(case: Case) -> None:
    _, _, said = case
    for name in ("metric_comparison", "learning_rate_analysis", "hyperparameter_impact"):
        assert said[name].status == "nothing" and "not recorded" in said[name].text
    assert said["learning_progress"].fields.get("metric") is None


@pytest.mark.parametrize("broken", [slice(0, 1), slice(None)], ids=["one", "all"])
def test_what_became_nan_is_never_said_to_stand_still(broken: slice) -> None:
    old = base()
    new = {name: values.copy() for name, values in old.items()}
    matrices = [name for name, values in new.items() if values.ndim == 2]
    for name in matrices[broken]:
        new[name][...] = np.nan
    names = ("learning_progress", "change_summary", "low_rank", "attention_analysis", "convergence_analysis")
    said = {each.name: each for each in diffai.compare(old, new, analyses=names).findings if each.name in names}
    assert said["learning_progress"].fields.get("trend") is None
    assert said["change_summary"].text == "no update can be measured: nothing that is finite on both sides moved"
    assert said["low_rank"].text.endswith("moved, all with NaN or infinity")
    assert said["convergence_analysis"].fields["status"] == "diverging"
    assert broken != slice(None) or "nothing moved" not in said["attention_analysis"].text


def test_without_a_relative_size_of_the_update_nothing_is_called_stable() -> None:
    old, new = {"w": np.zeros(4, "f4")}, {"w": np.ones(4, "f4")}
    for found in diffai.compare(old, new, analyses=("learning_progress", "convergence_analysis")).findings:
        if found.name in ("learning_progress", "convergence_analysis"):
            assert found.text.endswith(": the old parameters are all zero where both sides are finite"), found


def test_headers_alone_do_not_make_models_identical() -> None:
    old, new = {"w": np.zeros(4, "f4")}, {"w": np.ones(4, "f4")}
    names = ("change_kind", "review_friendly", "convergence_analysis")
    diff = diffai.compare(old, new, CompareOptions(shape_only=True), analyses=names)
    said = {each.name: each.text for each in diff.findings if each.name in names}
    assert len(said) == 3 and all("values were not compared" in text for text in said.values()), said
    assert not any("identical" in text for text in said.values())


def test_factors_that_were_zero_are_no_small_step() -> None:
    old = {"q.lora_A.weight": np.ones((4, 64), "f4"), "q.lora_B.weight": np.zeros((64, 4), "f4")}
    new = old | {"q.lora_B.weight": np.ones((64, 4), "f4")}
    said = {each.name: each for each in diffai.compare(old, new, analyses=["convergence_analysis"]).findings}
    text = said["convergence_analysis"].text
    assert text == "not recorded: all that moved was zero before, and has no relative L2"


@pytest.mark.parametrize("control", ["layers dropped", "vocabulary extended", "head resized"])
def test_what_came_or_went_is_not_called_stable(control: str, tmp_path: Path) -> None:
    sides = CONTROLS[control].sides(tmp_path)
    found = {f.name: f for f in diffai.compare(*sides, analyses=("learning_progress", "change_summary")).findings}
    assert found["learning_progress"].fields.get("trend") is None
    assert "stable" not in found["learning_progress"].text
    assert "no parameter moved" not in found["change_summary"].text
