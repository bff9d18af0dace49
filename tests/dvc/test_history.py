"""``diffai log`` and ``diffai blame`` of a model that real DVC tracked by every means in turn, against numpy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dvc_history import PATH, Weights, content, make_history, weights_of
from dvcrepo import RunDvc
from gitrepo import Repo
from model_history import expected
from program import DIFFAI, diffai


@pytest.fixture
def walked(template: Any, real_dvc: RunDvc) -> Repo:
    """24 commits: git, ``dvc add`` of the file, of its folder, an output of a stage."""
    made: Repo = template("history", lambda repo: make_history(repo, real_dvc))
    return made


def commits(repo: Repo) -> list[tuple[str, str]]:
    """(commit, subject), oldest first."""
    lines = repo.git("log", "--reverse", "--format=%H %s").splitlines()
    return [(line[:40], line[41:]) for line in lines]


def touched(repo: Repo) -> list[tuple[str, str, Weights]]:
    """The commits that are about the model."""
    about = [(commit, subject) for commit, subject in commits(repo) if subject.split()[0] in ("git", "file", "folder", "stage")]  # fmt: skip
    return [(commit, subject, weights_of(content(repo, commit))) for commit, subject in about]


def test_dvc_itself_gives_these_contents(walked: Repo, real_dvc: RunDvc, tmp_path: Path) -> None:
    """What the other tests compute from is what ``dvc get`` brings, by every means of tracking."""
    seen = set()
    for commit, subject, _ in reversed(touched(walked)):
        means = subject.split()[0]
        if means not in seen:
            seen.add(means)
            target = tmp_path / means
            real_dvc("get", "-q", str(walked.top), PATH, "--rev", commit, "-o", str(target), cwd=tmp_path)
            assert target.read_bytes() == content(walked, commit), subject
    assert seen == {"git", "file", "folder", "stage"}


def test_log_agrees_with_numpy(walked: Repo) -> None:
    done = diffai("log", "--format", "json", "--", PATH, cwd=walked.top)
    assert done.returncode == 0, done.stderr
    entries = json.loads(done.stdout)["entries"][::-1]
    versions = touched(walked)
    assert [entry["commit"] for entry in entries] == [commit for commit, _, _ in versions]
    assert [entry["subject"] for entry in entries] == [subject for _, subject, _ in versions]
    assert [entry["holder"] for entry in entries] == ["git"] * 4 + ["dvc"] * (len(versions) - 4)
    moved = entries[4]
    assert (moved["moved_from"], moved["kind"]) == ("git", "same")
    for entry, want in zip(entries, expected([weights for _, _, weights in versions]), strict=True):
        figures = entry["figures"]
        for name in ("norm", "relative_l2", "cosine", "drift"):
            if name in want and entry is not moved:
                assert figures[name] == pytest.approx(want[name], rel=1e-6), (entry["subject"], name)
    assert {entry["figures"]["changed"] for entry in entries[5:]} <= {2, 3}  # layers.0, layers.1 or the head


@pytest.mark.parametrize("newest", [21, 13, 7, 3], ids=["stage", "folder", "file", "git"])
def test_blame_agrees_with_numpy(walked: Repo, newest: int) -> None:
    """At a commit of each means: the last one that changed a tensor's bytes, and the first that had it."""
    versions = touched(walked)[:newest]
    last: dict[str, str] = {}
    for at, (commit, _, weights) in enumerate(versions):
        for name, value in weights.items():
            if at == 0 or value.tobytes() != versions[at - 1][2][name].tobytes():
                last[name] = commit
    assert len(set(last.values())) >= 3
    done = diffai("blame", "--format", "json", versions[-1][0], "--", PATH, cwd=walked.top)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)["tensors"]
    assert {tensor["name"]: tensor["values"]["commit"] for tensor in told} == last
    assert {tensor["introduced"]["commit"] for tensor in told} == {versions[0][0]}


def test_by_name_at_every_commit(walked: Repo, tmp_path: Path) -> None:
    """``show``, ``check`` and a comparison find the model wherever it was kept."""
    for commit, subject, _ in touched(walked)[::3]:
        (tmp_path / "m.safetensors").write_bytes(content(walked, commit))
        word = f"{commit}:{PATH}"
        same = diffai(word, tmp_path / "m.safetensors", "--exit-code", cwd=walked.top)
        assert (same.returncode, same.stdout) == (0, "No differences found\n"), subject
        assert diffai("check", word, cwd=walked.top).returncode == 0
        assert "7 tensors" in diffai("show", "--shape-only", word, cwd=walked.top).stdout


REFUSE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("dvc", "dvc_data", "dvc_objects", "fsspec", "scmrepo", "pygit2", "torch"):
            open({marker!r}, "a").write(name + chr(10))
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
"""


def test_neither_the_program_nor_the_package_is_used(walked: Repo, tmp_path: Path) -> None:
    marker, site, programs = tmp_path / "asked", tmp_path / "site", tmp_path / "programs"
    site.mkdir()
    programs.mkdir()
    (site / "sitecustomize.py").write_text(REFUSE.format(marker=str(marker)))
    (programs / "dvc").write_text(f"#!/bin/sh\necho program >> {marker}\n")
    (programs / "dvc").chmod(0o755)
    assert diffai("install", cwd=walked.top).returncode == 0
    first, last = "HEAD~20", "HEAD"
    env = {"PYTHONPATH": str(site), "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    for words in (
        ("log", "--no-cache", "--", PATH), ("blame", "--", PATH), (f"{first}:{PATH}", f"{last}:{PATH}"),
        (f"{first}..{last}",), ("gate", "--base", "HEAD~3"), ("dvc", "diff", "HEAD~8", "HEAD"),
    ):  # fmt: skip
        plain, refused = diffai(*words, cwd=walked.top), diffai(*words, cwd=walked.top, env=env)
        assert (plain.returncode, plain.stdout) == (refused.returncode, refused.stdout), words
        assert "Traceback" not in refused.stderr and refused.stdout
    for words in (("diff", "HEAD~8", "HEAD"), ("log", "-p", "-3")):
        assert walked.git(*words, env=env) == walked.git(*words)
    asked = subprocess.run([sys.executable, "-c", "import dvc"], env={**os.environ, **env}, capture_output=True)
    assert asked.returncode == 1 and marker.read_text() == "dvc\n", "the guard does not guard, or something was asked"
    assert DIFFAI.exists()
