"""Which version stands before which, where contents come again, cannot be read, or have no name of their own."""

from __future__ import annotations

import json
import os
import shutil
from typing import Any

import numpy as np
import pytest
from gitrepo import Repo
from model_history import commit, diffai, expected, start, trained
from safetensors.numpy import save

FIGURES = ("update_size", "cosine", "drift", "update_cosine", "norm")


def entries(repo: Repo, *words: str) -> list[dict[str, Any]]:
    """Oldest first."""
    return list(reversed(json.loads(diffai(repo.top, "log", "--format", "json", *words))["entries"]))


def check(found: list[dict[str, Any]], versions: list[dict[str, Any]]) -> None:
    for entry, row in zip(found, expected(versions), strict=True):
        for name in FIGURES:
            value = row.get(name)
            assert entry["figures"][name] == (None if value is None else pytest.approx(value, rel=1e-9, abs=1e-12)), (
                entry["subject"], name,
            )  # fmt: skip


def test_training_goes_on_from_an_older_version(repo: Repo) -> None:
    a = start()
    b = trained(a, 1)
    c = trained(b, 2)
    versions = [a, b, c, b, trained(b, 3), a, b, c]
    for step, weights in enumerate(versions):
        repo.write({"model.safetensors": save(weights)})
        repo.git("add", "model.safetensors")
        repo.git("commit", "-q", "-m", str(step))
    check(entries(repo, "--", "model.safetensors"), versions)


def test_moving_to_lfs_in_between_is_no_update(repo: Repo) -> None:
    versions = [start()]
    for seed in (1, 2):
        versions.append(trained(versions[-1], seed))
    for step, weights in enumerate(versions):
        commit(repo, weights, str(step), day=step + 1)
    repo.lfs_track("*.safetensors")
    repo.git("add", "--renormalize", "model.safetensors")
    repo.git("commit", "-q", "-m", "to lfs")
    commit(repo, trained(versions[-1], 3), "after", day=5)
    found = entries(repo, "--", "model.safetensors")
    assert [e["kind"] for e in found] == ["added", "changed", "changed", "same", "changed"]
    row = expected([*versions, trained(versions[-1], 3)])[-1]
    assert found[-1]["figures"]["update_cosine"] == pytest.approx(row["update_cosine"], rel=1e-9)


def test_damage_that_comes_again(repo: Repo) -> None:
    """Two damaged versions in turn: the way back to the last readable one has an end."""
    weights = start()
    commit(repo, weights, "good")
    for step in range(5):
        repo.commit({"model.safetensors": b"\x10\0\0\0\0\0\0\0{damaged" + bytes([step % 2])}, f"bad {step}")
    last = trained(weights, 1)
    commit(repo, last, "good again", day=9)
    found = entries(repo, "--", "model.safetensors")
    assert [e["kind"] for e in found] == ["added", *["unreadable"] * 5, "changed"]
    assert found[-1]["figures"]["update_size"] == pytest.approx(expected([weights, last])[1]["update_size"], rel=1e-9)
    assert "the last readable version" in found[-1]["compared_with"]


def test_nothing_readable_before_is_not_called_added(repo: Repo) -> None:
    repo.commit({"model.safetensors": b"\x10\0\0\0\0\0\0\0{damaged"}, "bad")
    commit(repo, start(), "good", day=2)
    found = entries(repo, "--", "model.safetensors")
    assert [e["kind"] for e in found] == ["unreadable", "added"]
    assert found[1]["compared_with"] == "nothing: no version before it can be read"
    text = diffai(repo.top, "log", "--", "model.safetensors")
    assert "oldest version that can be read: safetensors" in text


@pytest.mark.skipif(shutil.which("git-annex") is None, reason="git-annex is not installed")
def test_contents_without_a_name(repo: Repo) -> None:
    """git-annex's WORM keys say nothing of the content."""
    repo.git("annex", "init", "-q", "test")
    repo.git("config", "annex.backend", "WORM")
    a = start()
    versions = [a, trained(a, 1), trained(a, 2), a, trained(a, 3)]
    for step, weights in enumerate(versions):
        (repo.top / "model.safetensors").unlink(missing_ok=True)
        repo.write({"model.safetensors": save(weights)})
        os.utime(repo.top / "model.safetensors", (1_700_000_000 + step,) * 2)  # part of the key
        repo.git("annex", "add", "-q", "model.safetensors")
        repo.git("commit", "-q", "-m", str(step))
    for _ in range(2):
        found = entries(repo, "--", "model.safetensors")
        assert {e["content"] for e in found} == {""}
        check(found, versions)
    blame = json.loads(diffai(repo.top, "blame", "--format", "json", "--", "model.safetensors"))
    assert {t["values"]["subject"] for t in blame["tensors"]} == {"4"}


def test_a_name_that_another_tensor_took_over(repo: Repo) -> None:
    r = np.random.default_rng(5)
    one = {"a": r.standard_normal((4, 4)).astype("f4"), "b": r.standard_normal((4, 4)).astype("f4")}
    two = {"c": one["b"], "a": one["a"], "b": r.standard_normal((4, 4)).astype("f4")}  # b is called c; b is new
    three = {name: value + np.float32(0.1) for name, value in two.items()}
    four = {name: value + np.float32(0.1) for name, value in three.items()}
    for step, weights in enumerate((one, two, three, four)):
        commit(repo, weights, str(step), day=step + 1)
    found = entries(repo, "--", "model.safetensors")
    if found[1]["figures"]["renamed"]:
        now, then = ([m["c"], m["a"]] for m in (four, {"c": one["b"], "a": one["a"]}))
        a, b = (np.concatenate([v.astype("f8").ravel() for v in values]) for values in (now, then))
    else:  # by name: b is what b was
        now, then = ([m["a"], m["b"]] for m in (four, one))
        a, b = (np.concatenate([v.astype("f8").ravel() for v in values]) for values in (now, then))
    assert found[3]["figures"]["drift"] == pytest.approx(np.linalg.norm(a - b) / np.linalg.norm(b), rel=1e-7)
