"""Both machine outputs keep their schemas, and say the same numbers under the same names as the text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from diffai import api
from diffai.comparison.result import CompareOptions, ModelDiff
from diffai.model import TensorSpec
from diffai.views.markdown import render_markdown
from diffai.views.records import change_list
from diffai.views.report import report, schema_path
from diffai.views.text import TextOptions, render_text

ASKED = CompareOptions(update_size=True)


def opened(weights: dict[str, Any], moments: int = 0) -> Any:
    """A checkpoint with this many tensors of training state."""
    state = {f"optimizer.state.{i}": np.ones(2, "f4") for i in range(moments)}
    checkpoint = api.open_checkpoint(weights | state)
    for name in state:
        spec = checkpoint.tensors[name]
        checkpoint.tensors[name] = TensorSpec(name, spec.dtype, spec.shape, spec.nbytes, role="training")  # type: ignore[index]
    return checkpoint


BASE = {"a.weight": np.ones((3, 4), "f4"), "b.weight": np.full(4, 2, "f4"), "c.weight": np.arange(6, dtype="f4")}
PAIRS: dict[str, tuple[dict[str, Any], int]] = {
    "equal": (BASE, 0),
    "changed": (BASE | {"b.weight": np.full(4, 3, "f4")}, 0),
    "non-finite": (BASE | {"b.weight": np.array([2, np.nan, np.inf, 2], "f4")}, 0),
    "from zero": (BASE | {"b.weight": np.zeros(4, "f4")}, 0),
    "reshaped and cast": (BASE | {"a.weight": np.ones((5, 4), "f4"), "c.weight": np.arange(6, dtype="f2")}, 0),
    "added and removed": ({"a.weight": BASE["a.weight"], "new": np.ones(3, "f4")}, 0),
    "renamed": ({f"module.{name}": value for name, value in BASE.items()}, 0),
    "training state": (BASE, 18),
}


def validate(data: Any, schema: str) -> None:
    text = json.dumps(data, allow_nan=False)
    Draft202012Validator(json.loads(Path(schema_path(schema)).read_text())).validate(json.loads(text))


@pytest.mark.parametrize("what", PAIRS)
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("options", [CompareOptions(), ASKED, CompareOptions(shape_only=True)])
def test_both_keep_their_schemas(what: str, turned: bool, options: CompareOptions) -> None:
    sides = [opened(BASE), opened(*PAIRS[what])]
    diff = api.compare(*(sides[::-1] if turned else sides), options=options)
    validate(report(diff), "report")
    validate(change_list(diff), "changes")
    assert bool(change_list(diff)) is diff.differs


def test_one_name_one_number() -> None:
    old = BASE | {"bn.running_mean": np.full(4, 100, "f4")}
    new = old | {"b.weight": np.full(4, 3, "f4"), "bn.running_mean": np.full(4, 900, "f4")}
    diff = api.compare(old, new, options=ASKED)
    whole, changed = 2 / np.sqrt(12 + 16 + 55), 2 / np.sqrt(16)
    made = report(diff)["comparison"]
    assert made["update_size"] == pytest.approx(whole, rel=1e-6)
    assert made["relative_l2_of_changed_tensors"] == pytest.approx(changed, rel=1e-6)
    assert "relative_l2" not in made
    text = "\n".join(render_text(diff, TextOptions(verbose=True)))
    assert f"relative L2 of the changed tensors {changed:.4f}" in text and f"Update size: {whole:.4f}" in text
    assert f"update {whole:.3f}" in "\n".join(render_markdown(diff))


def test_the_update_size_that_was_not_asked_for_is_null_with_a_reason() -> None:
    made = report(api.compare(BASE, PAIRS["changed"][0]))["comparison"]
    assert made["update_size"] is None
    assert "not asked for" in made["update_size_reason"]


def test_training_state_is_no_tensor_of_the_model_in_any_output() -> None:
    diff: ModelDiff = api.compare(opened(BASE, 18), opened(BASE))
    made = report(diff)["comparison"]
    assert (made["tensors_removed"], made["training_tensors_removed"], made["structure_changes"]) == (0, 18, 0)
    assert {kind for record in change_list(diff) for kind in record} == {"TrainingStateChanged"}


def test_findings_stand_in_the_report() -> None:
    diff = api.compare(BASE, PAIRS["non-finite"][0], options=ASKED)
    found = {finding["name"]: finding for finding in report(diff)["findings"]}
    assert found["non_finite"]["severity"] == "critical"
    assert found["non_finite"]["fields"]["events"] == [
        {"tensor": "b.weight", "event": "appeared", "parameter": True, "old": {"nan": 0, "pos_inf": 0, "neg_inf": 0},
         "new": {"nan": 1, "pos_inf": 1, "neg_inf": 0}},
    ]  # fmt: skip
    assert "update_size" not in found  # what is finite on both sides did not move
