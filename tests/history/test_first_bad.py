"""The first bad commit, by walking and by ``git bisect run``."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from gitrepo import Repo
from model_history import commit, diffai, start, trained

from diffai.errors import UsageError
from diffai.history.first_bad import parse_check


def bad_history(repo: Repo) -> list[str]:
    """Good, good, wider, NaN, far away."""
    weights = start()
    commits = [commit(repo, weights, "0")]
    weights = trained(weights, 1, scale=0.01)
    commits.append(commit(repo, weights, "1", day=2))
    weights = dict(weights) | {"head.weight": np.ones((4, 8), "f4")}
    commits.append(commit(repo, weights, "2 wider", day=3))
    weights = dict(weights) | {"head.bias": np.array([1, np.nan, 2], "f4")}
    commits.append(commit(repo, weights, "3 nan", day=4))
    weights = trained(weights, 4, scale=3.0)
    commits.append(commit(repo, weights, "4 far", day=5))
    return commits


@pytest.mark.parametrize(
    ("check", "place"),
    [
        ("nonfinite", 3),
        ("structure", 2),
        ("drift>0.5", 4),
        ("update>0.5", 4),
        ("changed:layers.*", 1),
        ("changed:head.bias", 1),
    ],
)
def test_the_first_bad_commit(repo: Repo, check: str, place: int) -> None:
    commits = bad_history(repo)
    found = json.loads(diffai(repo.top, "log", "--first-bad", check, "--format", "json", "--", "model.safetensors"))
    assert found["first_bad"]["commit"] == commits[place]
    assert "holds first at" in diffai(repo.top, "log", "--first-bad", check, "--", "model.safetensors")


def test_none_is_bad(repo: Repo) -> None:
    bad_history(repo)
    assert "holds at none of 5 versions" in diffai(
        repo.top, "log", "--first-bad", "drift>99", "--", "model.safetensors"
    )


def test_nan_in_the_first_version_counts(repo: Repo) -> None:
    weights = start() | {"norm.running_mean": np.full(8, np.inf, "f4")}
    first = commit(repo, weights, "a")
    commit(repo, trained(weights, 1, "head"), "b", day=2)
    found = json.loads(
        diffai(repo.top, "log", "--first-bad", "nonfinite", "--format", "json", "--", "model.safetensors")
    )
    assert found["first_bad"]["commit"] == first


@pytest.mark.parametrize("text", ["", "drift", "drift>", "drift>x", "drift>-1", "drift>nan", "changed:", "what"])
def test_what_is_no_check(text: str) -> None:
    with pytest.raises(UsageError, match="known: nonfinite"):
        parse_check(text)


def bisect(repo: Repo, good: str, bad: str, *words: str) -> str:
    """The commit that ``git bisect run diffai check --bisect`` names."""
    repo.git("bisect", "start", bad, good)
    program = [sys.executable, "-P", "-m", "diffai", "check", "--bisect", *words, "model.safetensors"]
    out = repo.git("bisect", "run", *program)
    repo.git("bisect", "reset")
    return out


@pytest.mark.parametrize(
    ("words", "place"),
    [((), 3), (("--bad", "structure", "--against", "{0}"), 2), (("--bad", "update>0.5", "--against", "{0}"), 4),
     (("--bad", "nonfinite"), 3), (("--bad", "changed:head.bias", "--against", "{0}"), 1)],
)  # fmt: skip
def test_git_bisect_run(repo: Repo, words: tuple[str, ...], place: int) -> None:
    commits = bad_history(repo)
    out = bisect(repo, commits[0], commits[4], *(word.format(commits[0]) for word in words))
    assert f"{commits[place]} is the first bad commit" in out


@pytest.mark.parametrize("holder", ["git", "lfs"])
def test_git_bisect_goes_round_what_cannot_be_judged(repo: Repo, holder: str) -> None:
    """Missing file, missing object, no model: git bisect gets 125 and tries a neighbour."""
    if holder == "lfs":
        repo.lfs_track("*.safetensors")
    weights = start()
    first = commit(repo, weights, "0")
    for step in range(1, 4):
        weights = trained(weights, step, scale=0.01)
        commit(repo, weights, f"{step}", day=step + 1)
    repo.git("rm", "-q", "model.safetensors")
    repo.git("commit", "-q", "-m", "gone")
    repo.commit({"model.safetensors": "no model\n"}, "text")
    elsewhere = commit(repo, trained(weights, 5, scale=0.01), "elsewhere", day=7)
    good = commit(repo, trained(weights, 6, scale=0.01), "good", day=8)
    weights = weights | {"head.bias": np.array([1, np.nan, 2], "f4")}
    bad = commit(repo, weights, "bad", day=9)
    for step in range(3):
        weights = trained(weights, 10 + step, "layers.0", scale=0.01)
        commit(repo, weights, f"after {step}", day=10 + step)
    if holder == "lfs":
        oid = repo.git("show", f"{elsewhere}:model.safetensors").split("sha256:")[1].split()[0]
        (repo.top / f".git/lfs/objects/{oid[:2]}/{oid[2:4]}/{oid}").unlink()
        repo.git("config", "lfs.skipDownloadErrors", "true")
    out = bisect(repo, first, "HEAD")
    assert f"{bad} is the first bad commit" in out
    assert "cannot be judged" in out
    assert good not in out.split("is the first bad commit")[0].splitlines()[-1]


def test_commits_that_cannot_be_judged_are_skipped(repo: Repo) -> None:
    commits = bad_history(repo)
    assert diffai(repo.top, "check", "--bisect", "missing.safetensors", code=125)
    repo.write({"text.safetensors": "not a model\n", "cut.safetensors": b"\xff\0\0\0\0\0\0\0{"})
    assert diffai(repo.top, "check", "--bisect", "text.safetensors", code=125)
    assert diffai(repo.top, "check", "--bisect", "cut.safetensors", code=1)
    assert diffai(repo.top, "check", "--bisect", f"{commits[0]}:model.safetensors")
    # A mistake in the command ends the bisection instead of blaming commits.
    assert diffai(repo.top, "check", "--bisect", "--bad", "what", "model.safetensors", code=128)
    said = diffai(
        repo.top, "check", "--bisect", "--bad", "structure", "--against", "nowhere", "model.safetensors", code=128
    )
    assert "no such revision" in said
