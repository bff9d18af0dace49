"""Models in git-LFS: real git-lfs, local objects, missing objects, mixed pairs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import safetensors_writer as writer
from gitrepo import Repo
from program import diffai

pytestmark = pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs is not installed")

ONE, TWO, THREE = (writer.simple(seed) for seed in (1, 2, 3))
CHANGED = "~ a.weight: mean=1.3125->2.3125"
SKIP = {"GIT_LFS_SKIP_SMUDGE": "1"}


@pytest.fixture
def repo(repo: Repo) -> Repo:
    repo.lfs_track("*.safetensors", "*.pt")
    repo.commit({"m.safetensors": ONE}, "one")
    repo.commit({"m.safetensors": TWO}, "two")
    assert diffai("install", cwd=repo.top).returncode == 0
    return repo


def test_the_committed_diff_lfs_does_not_win_and_the_filter_stays(repo: Repo) -> None:
    answer = repo.git("check-attr", "diff", "filter", "merge", "text", "--", "m.safetensors")
    assert answer.splitlines() == [
        "m.safetensors: diff: diffai", "m.safetensors: filter: lfs", "m.safetensors: merge: lfs", "m.safetensors: text: unset",
    ]  # fmt: skip


def test_diff_log_show_and_work_tree(repo: Repo) -> None:
    assert CHANGED in repo.git("diff", "HEAD~1", "HEAD")
    assert "+a.weight  F32  [2, 3]  mean=2.3125" in repo.git("log", "-p")
    repo.write({"m.safetensors": THREE})
    assert "~ a.weight: mean=2.3125->3.3125" in repo.git("diff")
    blame = repo.git("blame", "HEAD", "--", "m.safetensors")
    assert "a.weight  F32  [2, 3]  mean=2.3125" in blame


def test_pointers_are_followed_without_smudge(repo: Repo) -> None:
    assert CHANGED in repo.git("diff", "HEAD~1", "HEAD", env=SKIP)
    assert "+a.weight  F32  [2, 3]  mean=2.3125" in repo.git("log", "-p", env=SKIP)
    assert CHANGED in diffai("HEAD~1:m.safetensors", "HEAD:m.safetensors", cwd=repo.top).stdout
    assert CHANGED in diffai("HEAD~1", "HEAD", "--", "m.safetensors", cwd=repo.top).stdout


def forget_objects(repo: Repo) -> None:
    shutil.rmtree(repo.top / ".git" / "lfs" / "objects")


def test_missing_objects_are_a_state_with_size_and_command(repo: Repo) -> None:
    forget_objects(repo)
    repo.git("remote", "add", "origin", "file:///nowhere")
    done = repo.run("diff", "HEAD~1", "HEAD", env=SKIP)
    assert (done.returncode, done.stderr) == (0, "")
    hint = f"LFS object not downloaded ({len(ONE)} bytes, sha256:"
    assert f"! old: m.safetensors: {hint}" in done.stdout
    first = repo.rev_parse("HEAD~1")[:12]  # that of the other side is in the work tree
    assert f"git lfs fetch origin {first} -I /m.safetensors" in done.stdout
    assert "! not compared" in done.stdout
    result = diffai("HEAD~1:m.safetensors", "m.safetensors", cwd=repo.top)
    assert result.returncode == 2
    assert hint in result.stdout
    assert "  new: safetensors, F32, 2 tensors" in result.stdout


def test_a_clone_without_smudge_gives_mixed_pairs(repo: Repo, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(repo.top), str(clone)], check=True, env={**os.environ, **SKIP})
    other = Repo(clone)
    other.git("lfs", "install", "--local", "--skip-smudge")
    assert diffai("install", cwd=clone).returncode == 0
    shutil.copytree(repo.top / ".git" / "lfs" / "objects", clone / ".git" / "lfs" / "objects", dirs_exist_ok=True)
    assert (clone / "m.safetensors").read_bytes().startswith(b"version https://git-lfs")
    other.write({"m.safetensors": THREE})
    assert "~ a.weight: mean=2.3125->3.3125" in other.git("diff")


def test_unobtainable_objects_kill_git_before_us_and_doctor_says_so(repo: Repo) -> None:
    forget_objects(repo)
    repo.write({"m.safetensors": THREE})
    assert repo.run("diff").returncode == 128
    result = diffai("doctor", cwd=repo.top)
    assert result.returncode == 1
    assert "smudge" in result.stdout
    assert "filter.lfs.required" in result.stdout
    assert repo.run("-c", "filter.lfs.required=false", "diff").returncode == 0


def test_linked_worktrees_share_the_store(repo: Repo, tmp_path: Path) -> None:
    repo.git("worktree", "add", "-q", str(tmp_path / "linked"), "HEAD~1")
    linked = Repo(tmp_path / "linked")
    assert CHANGED in linked.git("diff", "HEAD", "main", env=SKIP)
    assert CHANGED in diffai("HEAD:m.safetensors", "main:m.safetensors", cwd=linked.top).stdout
