"""Recorded metrics as columns of a history, and the first commit at which an analysis finds something."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from importlib import resources

import jsonschema
import numpy as np
import pytest
from gitrepo import Repo
from model_history import commit, diffai, start, trained
from program import DIFFAI
from safetensors.numpy import save

from diffai.errors import UsageError
from diffai.history.first_bad import parse_check

PATH = "model.safetensors"
SCHEMA = json.loads(resources.files("diffai.views").joinpath("log.schema.json").read_text("utf-8"))


@pytest.fixture
def recorded(repo: Repo) -> Repo:
    """Five versions that record a loss of validation, a learning rate and an epoch; the fourth got worse and grew."""
    weights = start()
    for number, loss in enumerate((1.0, 0.5, 0.4, 0.9, 0.3)):
        weights = trained(weights, number, scale=0.01) if number else weights
        if number == 3:
            weights = dict(weights) | {"head.weight": weights["head.weight"] * np.float32(50)}
        metadata = {"val_loss": str(loss), "epoch": str(number), "lr": str(0.1 / 2**number), "best_val_loss": "0.1"}
        repo.commit({PATH: save(weights, metadata)}, f"epoch {number}")
    return repo


def first_bad(repo: Repo, check: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(diffai(repo.top, "log", "--first-bad", check, "--format", "json", "--", PATH))
    jsonschema.validate(found, SCHEMA)
    return found


@pytest.mark.parametrize(
    "check", ["anomaly_detection", "learning-progress:notice", "alert_on_degradation:critical", "risk_assessment"]
)
def test_the_first_commit_of_a_finding(recorded: Repo, check: str) -> None:
    found = first_bad(recorded, check)
    assert found["first_bad"]["subject"] == "epoch 3" and found["not_judged"] == 0  # type: ignore[index]
    (said,) = found["first_bad"]["figures"]["findings"]  # type: ignore[index]
    text = diffai(recorded.top, "log", "--first-bad", check, "--", PATH)
    assert "holds first at" in text and f"! {said['name']}: {said['text']}" in text


def test_no_commit_of_a_finding(recorded: Repo) -> None:
    assert first_bad(recorded, "anomaly_detection:critical")["first_bad"] is None
    assert first_bad(recorded, "non_finite:info")["first_bad"] is None


def test_what_is_remembered_without_findings_is_not_taken_for_what_is_asked_with_them(recorded: Repo) -> None:
    diffai(recorded.top, "log", "--", PATH)
    for _ in range(2):
        assert first_bad(recorded, "anomaly_detection")["first_bad"]["subject"] == "epoch 3"  # type: ignore[index]


def test_a_version_that_could_not_be_judged_is_counted(recorded: Repo) -> None:
    recorded.commit({PATH: save({"w": np.ones(3, "f4")})}, "another model")
    found = first_bad(recorded, "learning_progress:critical")
    assert found["first_bad"] is None and found["not_judged"] == 1
    text = diffai(recorded.top, "log", "--first-bad", "learning_progress:critical", "--", PATH)
    assert "(learning_progress could not be computed of 1 version: not judged)" in text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("anomaly_detection:fatal", "there is no severity 'fatal'"),
        ("similarity_matrix", "reads tensors again"),
        ("anomalies", "known: nonfinite"),
    ],
)
def test_a_finding_that_cannot_be_asked_of_a_history(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_check(text)


def test_bisect_judges_by_a_finding_against_a_good_revision(recorded: Repo) -> None:
    def judged(rev: str, check: str = "anomaly_detection") -> int:
        recorded.git("checkout", "-q", rev)
        words = [DIFFAI, "check", "--bisect", "--bad", check, "--against", "main~4", PATH]
        return subprocess.run(words, cwd=recorded.top, capture_output=True, check=False).returncode

    assert judged("main~2") == 0 and judged("main~1") == 1
    recorded.git("checkout", "-q", "main")
    recorded.commit({PATH: save({"w": np.ones(3, "f4")})}, "another model")
    assert judged("main", "learning_progress") == 125


def test_metric_and_learning_rate_are_columns_where_they_are_recorded(recorded: Repo) -> None:
    text = diffai(recorded.top, "log", "--stat", "--", PATH)
    heading, *rows = text.splitlines()
    assert "val_loss" in heading and " lr" in heading
    assert next(row for row in rows if "epoch 3" in row).split().count("0.9") == 1
    assert "0.0125" in text
    entries = diffai(recorded.top, "log", "--", PATH)
    assert entries.count("    recorded: ") == 5
    assert "    recorded: val_loss 0.9  best_val_loss 0.1  lr 0.0125  epoch 3\n" in entries
    record = json.loads(diffai(recorded.top, "log", "--format", "json", "--", PATH))
    jsonschema.validate(record, SCHEMA)
    figures = record["entries"][1]["figures"]
    assert figures["metrics"] == {"val_loss": 0.9, "best_val_loss": 0.1}
    assert (figures["epoch"], figures["learning_rate"]) == (3, 0.0125)
    rows = list(csv.DictReader(io.StringIO(diffai(recorded.top, "log", "--format", "csv", "--", PATH))))
    assert [row["learning_rate"] for row in rows] == ["0.00625", "0.0125", "0.025", "0.05", "0.1"]


def test_a_history_without_records_has_no_such_columns(repo: Repo) -> None:
    weights = start()
    for number in range(2):
        commit(repo, trained(weights, number), str(number))
    heading = diffai(repo.top, "log", "--stat", "--", PATH).splitlines()[0]
    assert "metric" not in heading and " lr" not in heading


def test_updates_oscillate_by_one_rule(repo: Repo) -> None:
    from diffai.analyses.convergence import convergence, oscillates
    from diffai.analyses.training_run import Run
    from diffai.api import compare

    weights = start()
    step = {name: np.random.default_rng(3).normal(0, 0.1, a.shape).astype("f4") for name, a in weights.items()}
    for number in range(6):
        sign = np.float32(number % 2)
        commit(repo, {name: a + sign * step[name] for name, a in weights.items()}, str(number))
    assert "updates oscillate" in diffai(repo.top, "log", "--", PATH)
    record = json.loads(diffai(repo.top, "log", "--format", "json", "--", PATH))
    turns = [e["figures"]["update_cosine"] for e in record["entries"] if e["figures"]["update_cosine"] is not None]
    assert oscillates(turns) and not oscillates(turns[:2]) and not oscillates([-0.4] * 9)
    found = convergence(compare(weights, {n: a + step[n] for n, a in weights.items()}), Run(), Run(), turns)
    assert found is not None and found.status == "oscillating"
