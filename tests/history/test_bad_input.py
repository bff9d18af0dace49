"""Damaged and missing objects, hostile names, read-only folders, interrupts: a clear state and a usable rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gitrepo import Repo
from model_history import commit, diffai, history, start, trained
from powerless import powerless

HOSTILE = ["--output=x", "-n", "new\nline.safetensors", "a b.safetensors", ":(glob)*.safetensors", "*.safetensors",
           "q'uote\".safetensors", "\x01.safetensors", "--", "é.safetensors"]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE[:-2] + HOSTILE[-1:])
def test_hostile_file_names(repo: Repo, name: str) -> None:
    weights = start()
    commit(repo, weights, "a", path="./" + name)
    commit(repo, trained(weights, 1), "b", path="./" + name, day=2)
    commit(repo, start(9), "decoy", path="decoy.safetensors")
    found = json.loads(diffai(repo.top, "log", "--format", "json", "--", name))
    assert [e["subject"] for e in found["entries"]] == ["b", "a"]
    assert len(json.loads(diffai(repo.top, "blame", "--format", "json", "--", name))["tensors"]) == 7
    assert not (repo.top / "x").exists()


@pytest.mark.parametrize(
    "rev", ["--output=x", "-n1", "--all", "HEAD --output=x", "HEAD\n--output=x", "a:b", "^--output=x"]
)
def test_hostile_revisions(repo: Repo, rev: str) -> None:
    history(repo, 1)
    # In the command line itself such words are options; here they come as words all the same.
    from diffai.errors import SourceError
    from diffai.history.walk import Range, list_commits
    from diffai.repository.runner import Repository

    with pytest.raises(SourceError):
        list_commits(Repository(str(repo.top)), Range((rev,)), [":(top,literal)model.safetensors"])
    assert not (repo.top / "x").exists()


@pytest.mark.parametrize("field", ["since", "until", "author"])
def test_hostile_dates_and_authors(repo: Repo, field: str) -> None:
    history(repo, 1)
    diffai(repo.top, "log", f"--{field}", "--output=x", "--", "model.safetensors", code=0 if field == "until" else 2)
    assert not (repo.top / "x").exists()


def test_hostile_branch_and_author_and_subject(repo: Repo) -> None:
    history(repo, 1)
    repo.git("config", "user.name", "x")
    env = {"GIT_AUTHOR_NAME": "\x1b[31mred\x1b[m"}
    repo.write({"model.safetensors": (repo.top / "model.safetensors").read_bytes() + b""})
    repo.git("commit", "-q", "--allow-empty", "-m", "x", env=env)
    repo.git("update-ref", "refs/heads/--output=x", "HEAD")
    assert "\x1b" not in diffai(repo.top, "log", "refs/heads/--output=x", "--", "model.safetensors")
    assert "\x1b" not in diffai(repo.top, "log", "--all", "--", "model.safetensors")


def loose(repo: Repo, oid: str) -> Path:
    return repo.top / ".git" / "objects" / oid[:2] / oid[2:]


@pytest.mark.parametrize("harm", ["gone", "garbage", "cut"])
def test_a_damaged_object_in_the_middle(repo: Repo, harm: str) -> None:
    run = history(repo, 5)
    path = loose(repo, repo.rev_parse(f"{run[2][0]}:model.safetensors"))
    data = path.read_bytes()
    path.chmod(0o600)
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(data[: len(data) // 2] if harm == "cut" else b"garbage")
    found = list(
        reversed(json.loads(diffai(repo.top, "log", "--format", "json", "--", "model.safetensors"))["entries"])
    )
    assert [e["kind"] for e in found] == ["added", "changed", "unreadable", "changed", "changed"]
    assert found[2]["reason"]
    assert run[1][0][:10] in found[3]["compared_with"]
    text = diffai(repo.top, "log", "--", "model.safetensors")
    assert "    ! " in text
    blamed = json.loads(diffai(repo.top, "blame", "--format", "json", "--", "model.safetensors"))
    assert {t["values"]["commit"] for t in blamed["tensors"]} == {run[4][0]}
    # Nothing of it was remembered: the object comes back, and so do its figures.
    if path.exists():
        path.chmod(0o600)
    path.write_bytes(data)
    again = json.loads(diffai(repo.top, "log", "--format", "json", "--", "model.safetensors"))["entries"]
    assert all(e["kind"] != "unreadable" for e in again)


def test_versions_that_are_no_models(repo: Repo) -> None:
    weights = start()
    commit(repo, weights, "a")
    repo.commit({"model.safetensors": b"not a model at all\n"}, "text")
    repo.commit({"model.safetensors": b""}, "empty")
    commit(repo, trained(weights, 1), "b", day=4)
    found = json.loads(diffai(repo.top, "log", "--format", "json", "--", "model.safetensors"))["entries"]
    assert [e["kind"] for e in found] == ["changed", "unreadable", "unreadable", "added"]
    assert {e["state"] for e in found[1:3]} <= {"NotAModel", "Unreadable"}
    assert found[0]["figures"]["update_size"] > 0


def test_a_read_only_git_folder(repo: Repo) -> None:
    history(repo, 2)
    folders = [path for path in (repo.top / ".git").rglob("*") if path.is_dir()] + [repo.top / ".git"]
    for folder in folders:
        folder.chmod(0o500)
    try:
        with powerless():
            assert diffai(repo.top, "log", "--", "model.safetensors")
        assert not (repo.top / ".git" / "diffai").exists()
    finally:
        for folder in folders:
            folder.chmod(0o700)


def test_a_blocked_cache_folder(repo: Repo) -> None:
    history(repo, 2)
    (repo.top / ".git" / "diffai").write_text("in the way")
    assert "added" in diffai(repo.top, "log", "--", "model.safetensors")


def test_outside_a_repository(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    assert "not in a git repository" in diffai(folder, "log", "--", "model.safetensors", code=2)
    assert "not in a git repository" in diffai(folder, "cache", "info", code=2)
