"""What is staged, revisions and ranges, in every command, for every way in which a model is held."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from gitrepo import Repo
from holders import HOLDERS, PATH, Held, why_not
from model_history import diffai, start, trained
from xxhash import xxh3_128_hexdigest

# Four versions: two commits, one that is staged, one that is only in the work tree; each changes a tensor of its own.
STEPS = ("head.bias", "layers.0.attn.weight", "layers.1.mlp.weight")
FIRST, SECOND, STAGED, WORK = range(4)


def versions() -> list[dict[str, Any]]:
    made = [start()]
    for seed, only in enumerate(STEPS):
        made.append(trained(made[-1], seed + 1, only))
    return made


def changed_between(old: int, new: int) -> set[str]:
    return set(STEPS[old:new])


@pytest.fixture(params=HOLDERS)
def held(request: pytest.FixtureRequest, repo: Repo) -> Held:
    """Two commits (tags ``one``, ``two``), a third version staged, a fourth in the work tree."""
    if why := why_not(request.param):
        pytest.skip(why)
    held = Held(repo, request.param)
    one, two, staged, work = versions()
    held.commit(one, "one")
    repo.git("tag", "one")
    held.commit(two, "two")
    repo.git("tag", "two")
    held.stage(staged)
    held.edit(work)
    return held


COMPARISONS: dict[tuple[str, ...], tuple[int, int]] = {
    ("--staged",): (SECOND, STAGED),
    ("--cached",): (SECOND, STAGED),
    ("--staged", "--", "PATH"): (SECOND, STAGED),
    ("--staged", "PATH"): (SECOND, STAGED),
    ("one", "--staged", "--", "PATH"): (FIRST, STAGED),
    ("one..two",): (FIRST, SECOND),
    ("one..",): (FIRST, SECOND),
    ("one..two", "--", "PATH"): (FIRST, SECOND),
    ("two..one", "--", "PATH"): (FIRST, SECOND),
    ("one...two", "--", "PATH"): (FIRST, SECOND),
    ("one", "two", "--", "PATH"): (FIRST, SECOND),
    ("one", "--", "PATH"): (FIRST, WORK),
    ("two", "--", "PATH"): (SECOND, WORK),
    ("--", "PATH"): (SECOND, WORK),
    ("one:PATH", "two:PATH"): (FIRST, SECOND),
    ("two:PATH", ":PATH"): (SECOND, STAGED),
    (":PATH", "PATH"): (STAGED, WORK),
    ("one:PATH", "PATH"): (FIRST, WORK),
}


def test_a_comparison(held: Held) -> None:
    """One test a holder, because making the repository takes longest."""
    wrong = []
    for words, (old, new) in COMPARISONS.items():
        given = [word.replace("PATH", held.path) for word in words]
        report = json.loads(diffai(held.repo.top, *given, "--format", "json") if "--" not in given else
                            diffai(held.repo.top, "--format", "json", *given))  # fmt: skip
        found = tensors_of(report)
        changed = {t["name"] for t in found if "changed" in t["status"]}
        if changed != changed_between(old, new) or (found and len(found) != 7):
            wrong.append((given, changed, changed_between(old, new), report.get("not_compared")))
    assert not wrong


def tensors_of(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Of a model, or of the one model of a directory."""
    if report["kind"] == "model":
        return list(report["tensors"])
    models = [file["report"] for file in report["files"] if file["report"]]
    return [tensor for model in models for tensor in tensors_of(model)]


LOOKS: dict[tuple[str, ...], tuple[int, ...]] = {
    ("one", "--", "PATH"): (FIRST,),
    ("one", "two", "--", "PATH"): (FIRST, SECOND),
    ("one..two", "--", "PATH"): (FIRST, SECOND),
    ("--staged", "--", "PATH"): (STAGED,),
    ("--staged", "PATH"): (STAGED,),
    ("PATH",): (WORK,),
    ("--", "PATH"): (WORK,),
    ("one:PATH",): (FIRST,),
    (":PATH",): (STAGED,),
}


def test_show_and_check(held: Held) -> None:
    made = versions()
    wrong = []
    for words, expected in LOOKS.items():
        given = [word.replace("PATH", held.path) for word in words]
        text = diffai(held.repo.top, "show", "--digests", *given)
        digests = [[xxh3_128_hexdigest(made[at][name].tobytes()) for name in sorted(made[at])] for at in expected]
        if not all(text.count(digest) >= 1 for version in digests for digest in version):
            wrong.append(("show", given, text))
        checked = diffai(held.repo.top, "check", *given)
        if checked.count("ok (") != len(expected):
            wrong.append(("check", given, checked))
    assert not wrong


def test_log_and_blame(held: Held) -> None:
    log = json.loads(diffai(held.repo.top, "log", "--format", "json", "--", held.path))
    assert [entry["subject"] for entry in log["entries"]] == ["two", "one"]
    assert log["entries"][0]["figures"]["changed"] == 1
    blame = json.loads(diffai(held.repo.top, "blame", "--format", "json", "HEAD", "--", held.path))
    subjects = {tensor["name"]: tensor["values"]["subject"] for tensor in blame["tensors"]}
    assert subjects.pop("head.bias") == "two"
    assert set(subjects.values()) == {"one"}
    assert len(subjects) == 6


def test_before_the_first_commit(repo: Repo) -> None:
    """HEAD names nothing yet: what is staged is compared with nothing, as git does."""
    from safetensors.numpy import save

    repo.write({"model.safetensors": save(start()), "deep/other.safetensors": save(start(1))})
    repo.git("add", ".")
    for words in (("--staged",), ("--staged", "--", "deep"), ("--",)):
        text = diffai(repo.top, *words)
        assert "+ deep/other.safetensors: safetensors, F32, 7 tensors" in text, words
    assert "7 tensors" in diffai(repo.top, "--staged", "--", "model.safetensors")
    assert "no commits yet" in diffai(repo.top, "log", "--", "model.safetensors", code=2)
    repo.git("commit", "-q", "-m", "first")
    repo.git("checkout", "-q", "--orphan", "new")
    assert "+ model.safetensors: safetensors" in diffai(repo.top, "--staged")
    (repo.top / ".git/refs/heads/new").write_text("0123456789" * 4 + "\n")  # a branch whose commit is gone
    assert "no such revision" in diffai(repo.top, "--staged", code=2)


def test_a_bare_repository(repo: Repo, tmp_path: Path) -> None:
    held = Held(repo, "git")
    held.commit(start(), "one")
    held.commit(trained(start(), 1, "head.bias"), "two")
    bare = repo.clone(tmp_path / "bare.git", "--bare")
    for words in (("--staged",), ("HEAD", "--", PATH), ("--", PATH)):
        assert "there is no work tree here" in diffai(bare.top, *words, code=2)
    for words in (("HEAD~1", "HEAD", "--", PATH), ("HEAD~1..HEAD",), ("log", "--", PATH), ("blame", "--", PATH),
                  ("show", "HEAD", "--", PATH), ("check", "HEAD~1..HEAD", "--", PATH)):  # fmt: skip
        assert diffai(bare.top, *words)
