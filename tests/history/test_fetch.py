"""Nothing is downloaded unless ``--fetch`` is given; then each program brings its own objects, and only those."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from gitrepo import Repo
from holders import Held, run_dvc, why_not
from model_history import commit, diffai, expected, history, start, trained
from safetensors.numpy import save

COMMANDS = (
    ("log", "--", "PATH"), ("log", "--first-bad", "nonfinite", "--", "PATH"), ("log", "--level", "header", "--", "PATH"),
    ("log", "--follow", "-p", "--", "PATH"), ("blame", "HEAD", "--", "PATH"), ("show", "HEAD", "--", "PATH"),
    ("check", "HEAD~1", "--", "PATH"), ("HEAD~1", "HEAD", "--", "PATH"), ("HEAD~1..HEAD",), ("--staged",),
    ("check", "--bisect", "HEAD:PATH"), ("log", "--all-models"),
)  # fmt: skip


PROGRAM = (sys.executable, "-P", "-m", "diffai")


def entries(repo: Repo, *words: str) -> list[dict[str, Any]]:
    """Oldest first."""
    return list(reversed(json.loads(diffai(repo.top, "log", "--format", "json", *words))["entries"]))


def look_everywhere(repo: Repo, path: str) -> None:
    """Every command that looks at a model, and git's own with driver and textconv; whatever they answer."""
    for words in COMMANDS:
        given = [word.replace("PATH", path) for word in words]
        subprocess.run([*PROGRAM, *given], cwd=repo.top, capture_output=True, check=False, timeout=120)


def files_below(*folders: Path) -> set[str]:
    """Names of all files, however deep, but for our own cache."""
    return {
        str(path) for folder in folders for path in folder.rglob("*") if path.is_file() and "diffai" not in path.parts
    }


def check_figures(found: list[dict[str, Any]], versions: list[dict[str, Any]]) -> None:
    assert [e["kind"] for e in found] == ["added"] + ["changed"] * (len(versions) - 1)
    for entry, row in zip(found, expected(versions), strict=True):
        for name, value in row.items():
            assert entry["figures"][name] == pytest.approx(value, rel=1e-9), name


# ---------------------------------------------------------------- git-lfs


@pytest.fixture
def lfs_clone(repo: Repo, tmp_path: Path) -> tuple[Repo, list[dict[str, Any]]]:
    """A clone with three versions of a model, and another model, none of whose objects is here."""
    if why := why_not("lfs"):
        pytest.skip(why)
    repo.lfs_track("*.safetensors")
    run = history(repo, 3, path="deep/a, [b]!.safetensors")
    commit(repo, start(9), "another", path="other.safetensors", day=9)
    bare = Repo.init(tmp_path / "server.git", "--bare")
    repo.git("remote", "add", "origin", f"file://{bare.top}")
    repo.git("push", "-q", "origin", "main")
    return bare.clone_without_lfs_objects(tmp_path / "clone"), [weights for _, weights in run]


def lfs_objects(repo: Repo) -> int:
    folder = repo.top / ".git/lfs/objects"
    return sum(1 for path in folder.rglob("*") if path.is_file()) if folder.exists() else 0


def test_lfs(lfs_clone: tuple[Repo, list[dict[str, Any]]]) -> None:
    clone, versions = lfs_clone
    path = "deep/a, [b]!.safetensors"
    look_everywhere(clone, path)
    assert lfs_objects(clone) == 0
    assert [e["state"] for e in entries(clone, "--", path)] == ["LfsPointer"] * 3
    check_figures(entries(clone, "--fetch", "--", path), versions)
    assert lfs_objects(clone) == 3  # of the other model nothing came


def test_lfs_of_a_range_brings_what_it_is_compared_with(lfs_clone: tuple[Repo, list[dict[str, Any]]]) -> None:
    clone, versions = lfs_clone
    path = "deep/a, [b]!.safetensors"
    (last,) = entries(clone, "--fetch", "HEAD~2..HEAD", "--", path)
    assert last["figures"]["update_size"] == pytest.approx(expected(versions)[2]["update_size"], rel=1e-9)
    assert lfs_objects(clone) == 2


def test_blame_fetches_across_a_rename(repo: Repo, tmp_path: Path) -> None:
    if why := why_not("lfs"):
        pytest.skip(why)
    repo.lfs_track("*.safetensors")
    run = history(repo, 2, path="old.safetensors")
    repo.git("rm", "-q", "old.safetensors")
    commit(repo, trained(run[-1][1], 7, "head"), "renamed and trained", day=9)
    bare = Repo.init(tmp_path / "server.git", "--bare")
    repo.git("remote", "add", "origin", f"file://{bare.top}")
    repo.git("push", "-q", "origin", "main")
    clone = bare.clone_without_lfs_objects(tmp_path / "clone")
    report = json.loads(diffai(clone.top, "blame", "--fetch", "--format", "json", "HEAD", "--", "model.safetensors"))
    by = {t["name"]: t["values"]["subject"] for t in report["tensors"]}
    assert by["head.bias"] == "renamed and trained"
    assert by["layers.0.attn.weight"] == "step 1"


# ---------------------------------------------------------------- git-annex


def test_annex(repo: Repo, tmp_path: Path) -> None:
    if why := why_not("annex-locked"):
        pytest.skip(why)
    held = Held(repo, "annex-locked")
    versions = [start(), trained(start(), 1)]
    for step, weights in enumerate(versions):
        held.commit(weights, str(step))
    clone = repo.clone(tmp_path / "clone")
    clone.git("config", "annex.security.allowed-ip-addresses", "")  # a file:// remote needs no network
    clone.git("annex", "init", "-q", "clone")
    clone.git("remote", "set-url", "origin", str(repo.top))
    look_everywhere(clone, held.path)
    assert not files_below(clone.top / ".git/annex/objects")
    assert [e["kind"] for e in entries(clone, "--", held.path)] == ["unreadable"] * 2
    check_figures(entries(clone, "--fetch", "--", held.path), versions)


# ---------------------------------------------------------------- DVC


@pytest.mark.parametrize("shape", ["file", "folder", "pipeline", "deleted", "below"])
def test_dvc(repo: Repo, tmp_path: Path, shape: str) -> None:
    if why := why_not("real-dvc"):
        pytest.skip(why)
    root = repo.top / "sub" if shape == "below" else repo.top
    root.mkdir(exist_ok=True)
    run_dvc("init", "-q", *(["--subdir"] if shape == "below" else []), cwd=root)
    run_dvc("remote", "add", "-q", "-d", "store", str(tmp_path / "store"), cwd=root)
    versions = [start(), trained(start(), 1), trained(start(), 2)]
    path = {"folder": "data/m.safetensors", "pipeline": "out.safetensors"}.get(shape, "m.safetensors")
    for step, weights in enumerate(versions):
        (root / path).parent.mkdir(exist_ok=True)
        if shape == "pipeline":
            (root / "in.safetensors").write_bytes(save(weights))
            (root / "dvc.yaml").write_text(
                "stages:\n  train:\n    cmd: cp in.safetensors out.safetensors\n    deps: [in.safetensors]\n"
                "    outs: [out.safetensors]\n"
            )
            run_dvc("repro", "-q", cwd=root)
        else:
            (root / path).write_bytes(save(weights))
            run_dvc("add", "-q", path.partition("/")[0], cwd=root)
        repo.git("add", "-A", "--", ".", ":(exclude,top)in.safetensors")
        repo.git("commit", "-q", "-m", str(step))
    run_dvc("push", "-q", "--all-commits", cwd=root)
    if shape == "deleted":
        run_dvc("remove", f"{path}.dvc", cwd=root)
        (root / path).unlink()
        repo.git("add", "-A")
        repo.git("commit", "-q", "-m", "removed")
    clone = repo.clone(tmp_path / "clone")
    model = f"sub/{path}" if shape == "below" else path
    look_everywhere(clone, model)
    assert not [name for name in files_below(clone.top) if "/files/md5/" in name]
    kinds = ["unreadable"] * 3 + (["removed"] if shape == "deleted" else [])
    assert [e["kind"] for e in entries(clone, "--", model)] == kinds
    check_figures(entries(clone, "--fetch", "--", model)[:3], versions)


# ---------------------------------------------------------------- a partial clone


def missing(repo: Repo) -> int:
    listed = repo.git("rev-list", "--objects", "--all", "--missing=print", env={"GIT_NO_LAZY_FETCH": "1"})
    return listed.count("?")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_partial_clone_stays_partial(repo: Repo, tmp_path: Path, command: tuple[str, ...]) -> None:
    history(repo, 3)
    repo.config("uploadpack.allowFilter", "true")
    clone = repo.clone(tmp_path / "partial", "--filter=blob:none")
    before = missing(clone)
    assert before == 2
    words = [word.replace("PATH", "model.safetensors") for word in command]
    done = subprocess.run([*PROGRAM, *words], cwd=clone.top, capture_output=True, text=True, check=False, timeout=120)
    assert "Traceback" not in done.stderr
    assert missing(clone) == before


def test_a_partial_clone(repo: Repo, tmp_path: Path) -> None:
    run = history(repo, 3)
    commit(repo, start(9), "another", path="other.safetensors", day=9)
    commit(repo, start(8), "another again", path="other.safetensors", day=10)
    repo.config("uploadpack.allowFilter", "true")
    repo.config("uploadpack.allowAnySHA1InWant", "true")
    clone = repo.clone(tmp_path / "partial", "--filter=blob:none")
    assert missing(clone) == 3
    check_figures(entries(clone, "--fetch", "--", "model.safetensors"), [weights for _, weights in run])
    assert missing(clone) == 1  # of the other model nothing came


def test_pointers_that_are_missing_themselves(repo: Repo, tmp_path: Path) -> None:
    """A partial clone of LFS pointers: first git's blobs come, then the objects behind them."""
    if why := why_not("lfs"):
        pytest.skip(why)
    repo.lfs_track("*.safetensors")
    run = history(repo, 3)
    bare = Repo.init(tmp_path / "server.git", "--bare")
    bare.config("uploadpack.allowFilter", "true")
    bare.config("uploadpack.allowAnySHA1InWant", "true")
    repo.git("remote", "add", "origin", f"file://{bare.top}")
    repo.git("push", "-q", "origin", "main")
    clone = Repo(tmp_path / "partial")
    subprocess.run(
        ["git", "clone", "-q", "--filter=blob:none", f"file://{bare.top}", str(clone.top)],
        env={**os.environ, "GIT_LFS_SKIP_SMUDGE": "1"}, check=True,
    )  # fmt: skip
    clone.git("lfs", "install", "--local", "--skip-smudge")
    check_figures(entries(clone, "--fetch", "--", "model.safetensors"), [weights for _, weights in run])


def test_trees_that_are_missing_are_said(repo: Repo, tmp_path: Path) -> None:
    """Without trees git cannot tell which commits touched a path."""
    history(repo, 3)
    repo.config("uploadpack.allowFilter", "true")
    clone = repo.clone(tmp_path / "treeless", "--filter=tree:0")
    said = diffai(clone.top, "log", "--", "model.safetensors", code=2)
    assert said.startswith("diffai: ") and said.count("\n") == 1


def test_a_program_that_is_missing_is_named(lfs_clone: tuple[Repo, list[dict[str, Any]]], tmp_path: Path) -> None:
    clone, _ = lfs_clone
    only = tmp_path / "bin"
    only.mkdir()
    (only / "git").symlink_to(shutil.which("git") or "git")
    done = subprocess.run(
        [*PROGRAM, "log", "--fetch", "--", "deep/a, [b]!.safetensors"], cwd=clone.top, capture_output=True, text=True,
        check=False, env={**os.environ, "PATH": str(only)},
    )  # fmt: skip
    assert done.returncode == 2
    assert "diffai: --fetch needs git-lfs, which is not installed" in done.stderr
