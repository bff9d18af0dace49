"""Histories of real models, committed in the order of their releases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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


def test_formats_that_are_not_read_are_entries_that_say_so(repo: Repo, corpus: Path) -> None:
    path = replay(repo, corpus / "histories" / "swift-f0")
    found = entries(repo, path)
    assert len(found) == 3
    assert all(entry["figures"] is not None or entry["reason"] for entry in found)
