"""Histories of real models, committed in the order of their releases."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gitrepo import Repo
from model_history import diffai


def replay(repo: Repo, folder: Path, *, lfs: bool = False) -> str:
    """Commit the versions of one model in order; the model's path."""
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    file = next(path for path in (folder / names[0]).iterdir())
    if lfs:
        repo.lfs_track(f"*{file.suffix}")
    for name in names:
        repo.commit({file.name: (folder / name / file.name).read_bytes()}, name)
    return file.name


def entries(repo: Repo, path: str, *words: str) -> list[dict[str, Any]]:
    """Oldest first."""
    return list(reversed(json.loads(diffai(repo.top, "log", "--format", "json", *words, "--", path))["entries"]))


@pytest.mark.parametrize("lfs", [False, True])
@pytest.mark.parametrize("name", ["lpips-alex", "lpips-squeeze", "lpips-vgg"])
def test_lpips_was_trained_anew_under_the_same_names(repo: Repo, corpus: Path, name: str, lfs: bool) -> None:
    path = replay(repo, corpus / "histories" / name, lfs=lfs)
    first, second = entries(repo, path)
    assert first["kind"] == "added"
    figures = second["figures"]
    assert (figures["added"], figures["removed"], figures["reshaped"]) == (0, 0, 0)
    assert figures["changed"] == figures["tensors"]
    # "Every value": but for those that are zero in both releases.
    assert figures["parameters_modified"] > 0.9 * figures["parameters_compared"] > 0


def test_metapredict_is_retrained_then_widened_then_deepened(repo: Repo, corpus: Path) -> None:
    path = replay(repo, corpus / "histories" / "metapredict")
    one, two, three, four = entries(repo, path)
    assert one["kind"] == "added"
    assert two["figures"]["changed"] and not two["figures"]["added"] + two["figures"]["reshaped"]
    assert three["figures"]["reshaped"] > 0
    assert four["figures"]["added"] > 0
    # The figures of a step are those of comparing the two files by hand.
    report = json.loads(diffai(repo.top, f"HEAD~3:{path}", f"HEAD~2:{path}", "--format", "json"))
    assert report["comparison"]["tensors_changed"] == two["figures"]["changed"]
    assert report["comparison"]["parameters_modified"] == two["figures"]["parameters_modified"]
    blame = json.loads(diffai(repo.top, "blame", "--format", "json", "--", path))
    newest = {t["introduced"]["subject"] for t in blame["tensors"]}
    assert four["subject"] in newest and one["subject"] in newest


@pytest.mark.parametrize("name", ["swift-f0", "deepcut"])
def test_every_command_reads_the_formats_of_other_frameworks(repo: Repo, corpus: Path, name: str) -> None:
    path = replay(repo, corpus / "histories" / name)
    found = entries(repo, path)
    assert [entry["kind"] for entry in found] == ["added"] + ["changed"] * (len(found) - 1)
    assert all(entry["figures"]["parameters"] for entry in found)
    blame = json.loads(diffai(repo.top, "blame", "--format", "json", "--", path))
    assert len(blame["tensors"]) == found[-1]["figures"]["tensors"]
    first_bad = diffai(repo.top, "log", "--first-bad", "nonfinite", "--", path)
    assert ("holds first at" if name == "swift-f0" else "holds at none of") in first_bad  # swift-f0: a constant of -inf


# ---------------------------------------------------------------- told anew with torch and numpy


def weights_at(repo: Repo, rev: str, path: str) -> dict[str, Any]:
    """The state dictionary that ``git show`` gives, read by torch, in float64."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    data = subprocess.run(
        ["git", "cat-file", "--filters", f"{rev}:{path}"], cwd=repo.top, capture_output=True, check=True
    )
    state = torch.load(io.BytesIO(data.stdout), weights_only=True, map_location="cpu")
    return {name: tensor.double().numpy() for name, tensor in state.items()}


def under_new_names(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Without or with the prefix that wrapping in DataParallel gives."""
    return {next((n for n in (name, f"module.{name}", name.removeprefix("module.")) if n in new), name): value
            for name, value in old.items()}  # fmt: skip


def alike(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    return [name for name in new if name in old and old[name].shape == new[name].shape]


def told(value: float, parameters: int, now: dict[str, Any]) -> Any:
    """A figure of so many parameters: none where these are less than half of the version's."""
    return pytest.approx(value, rel=1e-9) if 2 * parameters >= sum(each.size for each in now.values()) else None


def vector(weights: dict[str, Any], names: list[str]) -> Any:
    return np.concatenate([weights[name].ravel() for name in names])


@pytest.mark.parametrize("lfs", [False, True], ids=["git", "lfs"])
@pytest.mark.parametrize("name", ["lpips-alex", "lpips-squeeze", "lpips-vgg", "metapredict"])
def test_every_figure_of_a_real_history(repo: Repo, corpus: Path, name: str, lfs: bool) -> None:
    path = replay(repo, corpus / "histories" / name, lfs=lfs)
    found = entries(repo, path)
    versions = [weights_at(repo, entry["commit"], path) for entry in found]
    assert [entry["kind"] for entry in found] == ["added"] + ["changed"] * (len(found) - 1)
    for at, (entry, now) in enumerate(zip(found, versions, strict=True)):
        figures, where = entry["figures"], entry["subject"]
        assert figures["tensors"] == len(now), where
        assert figures["parameters"] == sum(value.size for value in now.values()), where
        norm = np.linalg.norm(vector(now, list(now)))
        assert figures["norm"] == pytest.approx(norm, rel=1e-9), where
        if not at:
            continue
        before, first = (under_new_names(versions[i], now) for i in (at - 1, 0))
        names = alike(before, now)
        a, b = vector(before, names), vector(now, names)
        update = told(np.linalg.norm(b - a) / np.linalg.norm(a), len(a), now)
        assert figures["update_size"] == update, where
        assert figures["cosine"] == told(a @ b / np.linalg.norm(a) / np.linalg.norm(b), len(a), now), where
        assert figures["parameters_compared"] == len(a) and figures["parameters_modified"] == int((a != b).sum()), where
        assert figures["added"] == len(now.keys() - before.keys()), where
        assert figures["reshaped"] == len(now.keys() & before.keys()) - len(names), where
        shared = alike(first, now)
        f, c = vector(first, shared), vector(now, shared)
        assert figures["drift"] == told(np.linalg.norm(c - f) / np.linalg.norm(f), len(f), now), where
        assert figures["drift_parameters"] == len(f), where
        if at > 1:
            earlier = under_new_names(versions[at - 2], now)
            all_three = [n for n in names if n in alike(earlier, now)]
            p, u = vector(before, all_three), vector(now, all_three) - vector(before, all_three)
            last = p - vector(earlier, all_three)
            turn = u @ last / np.linalg.norm(u) / np.linalg.norm(last)
            assert figures["update_cosine"] == told(turn, len(u), now), where
    blame = json.loads(diffai(repo.top, "blame", "--format", "json", "HEAD", "--", path))
    for tensor in blame["tensors"]:
        assert tensor["values"]["commit"] == last_change(found, versions, tensor["name"]), tensor["name"]


def last_change(found: list[dict[str, Any]], versions: list[dict[str, Any]], name: str) -> str:
    at = len(versions) - 1
    while at:
        before = under_new_names(versions[at - 1], versions[at])
        if name not in before or not np.array_equal(before[name], versions[at][name]):
            break
        at -= 1
    return str(found[at]["commit"])
