"""Facts that a history once had wrong, each against numbers worked out beside it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from gitrepo import Repo
from model_history import commit, diffai
from safetensors.numpy import save

Weights = dict[str, np.ndarray]


def entries(repo: Repo, *words: str) -> list[dict[str, Any]]:
    """Entries, oldest first."""
    report = json.loads(diffai(repo.top, "log", "--format", "json", *words, "--", "model.safetensors"))
    return list(reversed(report["entries"]))


def random(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(size).astype("f4")


@pytest.fixture
def healed(repo: Repo) -> Repo:
    """w, NaN, 1.5 w, 2 w."""
    w = random(300)
    for number, value in enumerate((w, np.full_like(w, np.nan), 1.5 * w, 2 * w)):
        commit(repo, {"a.weight": value.astype("f4")}, f"v{number}", day=number + 1)
    return repo


def test_after_a_nan_version_the_others_are_measured_over_their_own_finite_elements(healed: Repo) -> None:
    found = entries(healed)
    last = found[-1]["figures"]
    assert last["update_size"] == pytest.approx(1 / 3, rel=1e-6)
    assert last["drift"] == pytest.approx(1.0, rel=1e-6)
    assert last["cosine"] == pytest.approx(1.0, abs=1e-9)
    assert found[2]["figures"]["drift"] == pytest.approx(0.5, rel=1e-6)
    assert found[2]["figures"]["update_size"] is None  # nothing was finite before
    assert [entry["figures"]["nonfinite"] for entry in found] == [0, 300, 0, 0]
    kinds = [[event["event"] for event in entry["figures"]["nonfinite_events"]] for entry in found]
    assert kinds == [[], ["appeared"], ["healed"], []]


@pytest.mark.parametrize(("check", "subject"), [("update>0.1", "v3"), ("drift>0.7", "v3"), ("nonfinite", "v1")])
def test_first_bad_sees_what_comes_after_a_nan_version(healed: Repo, check: str, subject: str) -> None:
    words = ("log", "--first-bad", check, "--format", "json", "--", "model.safetensors")
    assert json.loads(diffai(healed.top, *words))["first_bad"]["subject"] == subject


def test_a_single_nan_hides_its_own_element_and_no_other(repo: Repo) -> None:
    w = random(300)
    bad = 1.1 * w
    bad[7] = np.nan
    versions = [w, bad.astype("f4"), (1.2 * w).astype("f4"), (1.3 * w).astype("f4")]
    for number, value in enumerate(versions):
        commit(repo, {"a.weight": value}, f"v{number}", day=number + 1)
    found = entries(repo)
    a, b = (v.astype("f8") for v in versions[2:])
    assert found[3]["figures"]["update_size"] == pytest.approx(np.linalg.norm(b - a) / np.linalg.norm(a), rel=1e-6)
    joint = np.arange(300) != 7
    q, p, c = (versions[i].astype("f8")[joint] for i in (1, 2, 3))
    turn = (c - p) @ (p - q) / np.linalg.norm(c - p) / np.linalg.norm(p - q)
    assert found[3]["figures"]["update_cosine"] == pytest.approx(turn, abs=1e-6)
    assert found[1]["figures"]["norm"] == pytest.approx(np.linalg.norm(versions[1][joint].astype("f8")), rel=1e-6)


@pytest.fixture
def replaced(repo: Repo) -> Repo:
    """A model of 1,001 parameters of which a single one stays, and then three steps of the new one."""
    commit(repo, {"scale": random(1, 9), "old.weight": random(1000, 1)}, "v0", day=1)
    for number in range(1, 5):
        weights = {"scale": random(1, 10 + number), "new.weight": random(1000, number + 1).reshape(50, 20)}
        commit(repo, weights, f"v{number}", day=number + 1)
    return repo


def test_below_half_of_the_parameters_nothing_is_comparable(replaced: Repo) -> None:
    found = entries(replaced)
    second, third = found[1]["figures"], found[2]["figures"]
    assert second["update_size"] is second["cosine"] is second["drift"] is None
    assert second["not_comparable"] == ["update_size", "drift"] and second["update_parameters"] == 1
    assert third["update_size"] is not None and third["update_cosine"] is None
    assert third["not_comparable"] == ["drift", "update_cosine"]
    text = diffai(replaced.top, "log", "--", "model.safetensors")
    assert "update size n/c  cosine n/c  drift n/c" in text and "over 1 of 1,001 parameters" in text
    assert "cosine n/c" in text.split("v2\n")[1]
    gaps = next(line for line in text.splitlines() if line.startswith("update  "))
    assert gaps.split()[1][:2] == "··"
    answer = diffai(replaced.top, "log", "--first-bad", "drift>1e9", "--", "model.safetensors")
    assert "4 versions share too few parameters to be compared" in answer


def test_training_state_is_a_line_of_its_own_and_no_structure(repo: Repo) -> None:
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(4, 3)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    state = {"state_dict": layer.state_dict()}
    for number, content in enumerate((state | {"optimizer": optimizer.state_dict()}, state)):
        torch.save(content, repo.top / "model.pt")
        repo.git("add", "model.pt")
        repo.commit({"note": str(number)}, f"v{number}")
    report = json.loads(diffai(repo.top, "log", "--format", "json", "--", "model.pt"))
    figures = report["entries"][0]["figures"]
    assert (figures["removed"], figures["changed"]) == (0, 0)
    assert figures["training"]["change"] == "dropped" and figures["training"]["tensors"] > 0
    text = diffai(repo.top, "log", "--", "model.pt")
    assert "    Training state: dropped (" in text
    assert "left out" not in text
    assert diffai(repo.top, "log", "--only-structure", "--", "model.pt").count("v1") == 0


def test_the_drawing_of_many_versions_keeps_to_the_width(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    w = random(16)
    for number in range(60):
        repo.write({"model.safetensors": save({"w": (w * (1 + number)).astype("f4")})})
        repo.git("add", "model.safetensors")
        repo.git("commit", "-q", "-m", f"v{number}")
    monkeypatch.setenv("COLUMNS", "60")
    lines = diffai(repo.top, "log", "--", "model.safetensors").splitlines()
    drawn = [line for line in lines if line.startswith(("update  ", "drift   "))]
    assert len(drawn) == 2 and all(len(line) <= 60 for line in drawn)
    assert "a bar is the largest of 2 commits" in lines[-1]
    monkeypatch.setenv("COLUMNS", "120")
    assert "a bar is" not in diffai(repo.top, "log", "--", "model.safetensors")


def test_blame_takes_a_lossless_cast_for_no_change_of_values_as_log_does(repo: Repo) -> None:
    w = random(300).astype("f2")
    commits = [
        commit(repo, {"a.weight": w, "b.weight": random(9, 3)}, "v0", day=1),
        commit(repo, {"a.weight": w.astype("f4"), "b.weight": random(9, 4)}, "v1", day=2),
    ]
    assert entries(repo)[1]["figures"]["changed"] == 1
    report = json.loads(diffai(repo.top, "blame", "--format", "json", "--", "model.safetensors"))
    found = {tensor["name"]: tensor for tensor in report["tensors"]}
    assert found["a.weight"]["values"]["commit"] == commits[0]
    assert found["a.weight"]["structure"]["commit"] == commits[1]
    assert found["b.weight"]["values"]["commit"] == commits[1]


def test_blame_and_digests_follow_the_renames_that_a_comparison_finds_in_the_values(repo: Repo) -> None:
    w = random(400, 1).reshape(20, 20)
    commits = [
        commit(repo, {"x.weight": w, "y.bias": random(20, 2)}, "v0", day=1),
        commit(repo, {"totally.different": (w + 0.1 * random(400, 3).reshape(20, 20)).astype("f4"),
                      "y.bias": random(20, 2)}, "v1", day=2),
    ]  # fmt: skip
    assert entries(repo)[1]["figures"]["renamed"] == 1
    assert entries(repo, "--level", "digest")[1]["figures"]["renamed"] == 1
    report = json.loads(diffai(repo.top, "blame", "--format", "json", "--", "model.safetensors"))
    found = {tensor["name"]: tensor for tensor in report["tensors"]}
    assert found["totally.different"]["introduced"]["commit"] == commits[0]
    assert found["totally.different"]["values"]["commit"] == commits[1]


def test_a_folder_that_holds_one_unsharded_model_is_that_model(repo: Repo) -> None:
    w = random(64)
    for number in (1, 2):
        repo.commit({"hub/model.safetensors": save({"w": (w * number).astype("f4")}), "hub/config.json": "{}"}, f"v{number}")
    text = diffai(repo.top, "log", "--", "hub")
    assert "update size 1" in text and "added: safetensors" in text
    assert "w " in diffai(repo.top, "blame", "--", "hub")
    repo.commit({"hub/other.safetensors": save({"w": w})}, "another")
    assert "update size 1" in diffai(repo.top, "log", "--", "hub")  # the name that libraries give takes precedence
    repo.git("mv", "hub/model.safetensors", "hub/mine.safetensors")
    repo.git("commit", "-q", "-m", "renamed")
    diffai(repo.top, "log", "--", "hub", code=2)  # two, and none takes precedence


def test_a_large_pair_of_revisions_is_compared_once(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    w = random(1_300_000)
    for number in (1, 2):
        commit(repo, {"w": (w * number).astype("f4")}, f"v{number}", day=number)
    words = ("HEAD~1", "HEAD", "--format", "json", "--", "model.safetensors")
    first = json.loads(diffai(repo.top, *words))
    monkeypatch.setattr("diffai.tensors.engine.compare_pairs", None)  # nothing is computed again
    again = diffai(repo.top, *words)
    assert json.loads(again) == first


def test_the_cache_of_comparisons_can_be_switched_off(repo: Repo) -> None:
    w = random(1_300_000)
    for number in (1, 2):
        commit(repo, {"w": (w * number).astype("f4")}, f"v{number}", day=number)
    repo.git("config", "diffai.cacheSize", "0")
    diffai(repo.top, "HEAD~1", "HEAD", "--", "model.safetensors")
    assert not (repo.top / ".git" / "diffai").exists()
