"""The gate on models that real DVC tracks: as a pre-commit hook, and between revisions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from dvcrepo import RunDvc
from gating import gate, gate_json, model
from gitrepo import Repo
from program import DIFFAI, diffai

STAGE = (
    "stages:\n  train:\n    cmd: cp source.data out.safetensors\n    deps: [source.data]\n    outs: [out.safetensors]\n"
)


def make(repo: Repo, dvc: RunDvc) -> None:
    """A file, a directory and a stage's output at v1, the gate as the pre-commit hook."""
    dvc("init", "-q", cwd=repo.top)
    dvc("config", "core.autostage", "true", cwd=repo.top)
    repo.write({"m.safetensors": model(4, scale=0.5), "ckpt/a.safetensors": model(4), "ckpt/b.safetensors": model(4),
                "ckpt/notes.txt": "1", "source.data": model(4), "dvc.yaml": STAGE})  # fmt: skip
    dvc("add", "-q", "m.safetensors", "ckpt", cwd=repo.top)
    dvc("repro", "-q", cwd=repo.top)
    repo.git("add", "-A")
    repo.git("commit", "-q", "-m", "v1")
    repo.git("tag", "v1")
    assert diffai("install", "--hook", "pre-commit", cwd=repo.top).returncode == 0


@pytest.fixture
def guarded(template: Any, real_dvc: RunDvc, monkeypatch: pytest.MonkeyPatch) -> Repo:
    monkeypatch.setenv("PATH", f"{DIFFAI.parent}{os.pathsep}{os.environ['PATH']}")
    made: Repo = template("gate", lambda repo: make(repo, real_dvc))
    return made


def commit(repo: Repo, *options: str) -> tuple[int, str]:
    repo.git("add", "-A")
    done = repo.run("commit", "-q", "-m", "try", *options)
    return done.returncode, done.stdout + done.stderr


def test_the_hook_judges_the_object_behind_the_pointer(guarded: Repo, real_dvc: RunDvc) -> None:
    guarded.write({"m.safetensors": model(4, scale=1.1)})
    real_dvc("add", "-q", "m.safetensors", cwd=guarded.top)
    code, said = commit(guarded)
    assert code == 0, said  # training moves values, which no policy forbids
    guarded.write({"m.safetensors": model(5)})
    real_dvc("add", "-q", "m.safetensors", cwd=guarded.top)
    code, said = commit(guarded)
    assert code == 1 and "m.safetensors: REFUSED" in said and "head.weight" in said
    assert diffai("gate", "approve", "m.safetensors", "--why", "wider head", cwd=guarded.top).returncode == 0
    code, said = commit(guarded)
    assert code == 0, said
    assert "m.safetensors.dvc" in guarded.git("show", "--stat", "HEAD")


def test_the_hook_judges_a_file_of_a_directory(guarded: Repo, real_dvc: RunDvc) -> None:
    guarded.write({"ckpt/b.safetensors": model(4, nan=True), "ckpt/notes.txt": "2"})
    real_dvc("add", "-q", "ckpt", cwd=guarded.top)
    code, said = commit(guarded)
    assert code == 1 and "ckpt/b.safetensors: REFUSED" in said and "NaN" in said
    assert "ckpt/a.safetensors" not in said and "notes" not in said
    guarded.write({"ckpt/b.safetensors": model(4, scale=2)})
    real_dvc("add", "-q", "ckpt", cwd=guarded.top)
    assert commit(guarded)[0] == 0


def test_the_hook_judges_what_a_stage_made(guarded: Repo, real_dvc: RunDvc) -> None:
    guarded.write({"source.data": model(5)})
    real_dvc("repro", "-q", cwd=guarded.top)
    code, said = commit(guarded)
    assert code == 1 and "out.safetensors: REFUSED" in said
    guarded.write({"source.data": model(4, scale=3)})
    real_dvc("repro", "-q", cwd=guarded.top)
    assert commit(guarded)[0] == 0


@pytest.mark.parametrize("path", ["ckpt/b.safetensors", "ckpt", "ckpt.dvc", "."])
def test_limited_to_a_path_behind_a_pointer(guarded: Repo, real_dvc: RunDvc, path: str) -> None:
    """A model is named by its own path too, checked out or not; a mistyped one never looks like a pass."""
    guarded.write({"ckpt/b.safetensors": model(5)})
    real_dvc("add", "-q", "ckpt", cwd=guarded.top)
    guarded.git("add", "-A")
    if path == "ckpt/b.safetensors":
        (guarded.top / path).unlink()
    assert [entry["path"] for entry in gate_json(guarded, path)["models"]] == ["ckpt/b.safetensors"]
    assert gate_json(guarded, "ckpt/a.safetensors")["models"] == []
    wrong = gate(guarded, "ckpt/nothing.safetensors")
    assert wrong.returncode == 2 and "ckpt/nothing.safetensors: no such file, and none that changed" in wrong.stderr


def test_a_range_names_each_model_and_its_pointer(guarded: Repo, real_dvc: RunDvc) -> None:
    guarded.write({"m.safetensors": model(5), "ckpt/a.safetensors": model(4, scale=2), "ckpt/c.safetensors": model(6),
                   "source.data": model(4, nan=True)})  # fmt: skip
    real_dvc("add", "-q", "m.safetensors", "ckpt", cwd=guarded.top)
    real_dvc("repro", "-q", cwd=guarded.top)
    assert commit(guarded, "--no-verify")[0] == 0
    report = gate_json(guarded, "--base", "v1")
    seen = {entry["path"]: (entry["file"], entry["status"], entry["outcome"]) for entry in report["models"]}
    assert seen == {
        "m.safetensors": ("m.safetensors.dvc", "changed", "refused"),
        "ckpt/a.safetensors": ("ckpt.dvc", "changed", "pass"),
        "ckpt/c.safetensors": ("ckpt.dvc", "added", "pass"),
        "out.safetensors": ("dvc.lock", "changed", "refused"),
    }
    assert report["exit_code"] == 1
    told = diffai("ci", "--base", "v1", cwd=guarded.top)
    assert told.returncode == 1 and "m.safetensors" in told.stdout


def test_what_dvc_collected_is_not_judged_and_said(guarded: Repo, real_dvc: RunDvc) -> None:
    guarded.write({"m.safetensors": model(5)})
    real_dvc("add", "-q", "m.safetensors", cwd=guarded.top)
    guarded.git("add", "-A")
    real_dvc("gc", "-q", "-f", "--workspace", cwd=guarded.top)  # the object of HEAD goes
    done = gate(guarded)
    assert done.returncode == 0 and "m.safetensors: NOT JUDGED" in done.stdout
    assert "is not here (328 bytes); bring it with: dvc fetch --all-commits m.safetensors.dvc" in done.stdout
    assert gate(guarded, "--on-missing", "fail").returncode == 2


def test_a_model_removed_from_dvc(guarded: Repo, real_dvc: RunDvc) -> None:
    (guarded.top / "m.safetensors").unlink()
    real_dvc("remove", "m.safetensors.dvc", cwd=guarded.top)
    guarded.git("add", "-A")
    (entry,) = gate_json(guarded)["models"]
    assert (entry["path"], entry["status"]) == ("m.safetensors", "deleted")


def test_beside_the_hooks_of_dvc(repo: Repo, real_dvc: RunDvc, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``dvc install`` writes pre-commit, pre-push and post-checkout, and refuses where one is there already."""
    monkeypatch.setenv("PATH", f"{DIFFAI.parent}{os.pathsep}{os.environ['PATH']}")
    real_dvc("init", "-q", cwd=repo.top)
    real_dvc("install", cwd=repo.top)
    theirs = (repo.top / ".git" / "hooks" / "pre-commit").read_text()
    assert "dvc git-hook pre-commit" in theirs
    repo.write({"m.safetensors": model(4)})
    real_dvc("add", "-q", "m.safetensors", cwd=repo.top)
    assert commit(repo)[0] == 0
    assert diffai("install", "--hook", "pre-commit", cwd=repo.top).returncode == 0
    log = repo.top / "called"
    (tmp_path / "dvc").write_text(f'#!/bin/sh\necho "$@" >> {log}\n')
    (tmp_path / "dvc").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    repo.write({"m.safetensors": model(4, scale=2)})
    real_dvc("add", "-q", "m.safetensors", cwd=repo.top)
    repo.git("add", "m.safetensors.dvc")
    assert repo.run("commit", "-q", "-m", "trained").returncode == 0
    assert log.read_text().startswith("git-hook pre-commit"), "DVC's own hook is still called"
    repo.write({"m.safetensors": model(5)})
    real_dvc("add", "-q", "m.safetensors", cwd=repo.top)
    code, said = commit(repo)
    assert code == 1 and "m.safetensors: REFUSED" in said
    assert diffai("uninstall", "--hook", "pre-commit", cwd=repo.top).returncode == 0
    assert (repo.top / ".git" / "hooks" / "pre-commit").read_text() == theirs


def test_the_other_order_is_refused_by_dvc(guarded: Repo, real_dvc: RunDvc) -> None:
    hook = guarded.top / ".git" / "hooks" / "pre-commit"
    before = hook.read_text()
    done = real_dvc("install", cwd=guarded.top, check=False)
    assert done.returncode == 1 and "already exists" in done.stderr
    assert hook.read_text() == before


def test_dvc_and_diffai_through_the_framework(guarded: Repo, real_dvc: RunDvc, tmp_path: Path) -> None:
    """The hooks that ``dvc install --use-pre-commit-tool`` writes leave room for ours: both are in one valid file."""
    import yaml

    repo = guarded.top / ".pre-commit-config.yaml"
    repo.write_text("repos:\n- repo: https://example.com/diffai\n  rev: v1\n  hooks:\n  - id: diffai-gate\n")
    real_dvc("install", "--use-pre-commit-tool", cwd=guarded.top)
    hooks = [hook["id"] for entry in yaml.safe_load(repo.read_text())["repos"] for hook in entry["hooks"]]
    assert hooks == ["diffai-gate", "dvc-pre-commit", "dvc-pre-push", "dvc-post-checkout"]
