"""A training history that real DVC tracks by every means in turn, and its contents read without diffai."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import yaml
from dvcrepo import RunDvc
from gitrepo import Repo
from model_history import start, trained
from safetensors.numpy import load, save

PATH = "models/m.safetensors"
_STAGE = "stages:\n  train:\n    cmd: cp {0}.bin models/m.safetensors\n    deps: [{0}.bin]\n    outs: [models/m.safetensors]\n"

Weights = dict[str, "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"]


def make_history(repo: Repo, dvc: RunDvc) -> None:
    """24 commits of one path: in git, ``dvc add`` of the file, of its folder, then the output of a stage."""
    dvc("init", "-q", cwd=repo.top)
    weights, step = start(), 0

    def commit(how: str, *, train: bool = True) -> None:
        nonlocal weights, step
        if train:
            weights = trained(weights, step, ("layers.0", "head", "layers.1")[step % 3])
        data = save(dict(weights), metadata={"step": str(step)} if train else {"step": str(step - 1)})
        if how == "stage":
            repo.write({"weights.bin": data, "dvc.yaml": _STAGE.format("weights")})
            dvc("repro", "-q", cwd=repo.top)
        else:
            repo.write({PATH: data})
            if how != "git":
                dvc("add", "-q", "models" if how == "folder" else PATH, cwd=repo.top)
        _commit(repo, f"{how} {step}", step)
        step += 1

    for _ in range(4):
        commit("git")
    repo.git("rm", "-q", "--cached", PATH)
    commit("file", train=False)  # the same bytes, now in DVC
    for _ in range(5):
        commit("file")
    dvc("remove", f"{PATH}.dvc", cwd=repo.top)
    repo.git("rm", "-rq", "--cached", "models")
    repo.write({"models/other.safetensors": save(dict(start(1)))})
    for _ in range(5):
        commit("folder")
    repo.write({"models/other.safetensors": save(dict(start(2)))})
    dvc("add", "-q", "models", cwd=repo.top)
    _commit(repo, "only its neighbour", step)
    dvc("remove", "models.dvc", cwd=repo.top)
    (repo.top / "models" / "other.safetensors").unlink()
    for _ in range(6):
        commit("stage")
    repo.write({"notes.txt": "nothing about models\n"})
    _commit(repo, "notes", step)


def _commit(repo: Repo, subject: str, day: int) -> None:
    stamp = f"2024-01-{day + 1:02d}T12:00:00+0000"
    repo.git("add", "-A")
    repo.git("commit", "-q", "-m", subject, env={"GIT_AUTHOR_DATE": stamp, "GIT_COMMITTER_DATE": stamp})


def content(repo: Repo, commit: str) -> bytes:
    """The model at a commit, by reading the pointers and the cache by hand."""
    shown = repo.run("show", f"{commit}:{PATH}.dvc")
    if shown.returncode == 0:
        return _cached(repo, yaml.safe_load(shown.stdout)["outs"][0]["md5"])
    shown = repo.run("show", f"{commit}:models.dvc")
    if shown.returncode == 0:
        listed = json.loads(_cached(repo, yaml.safe_load(shown.stdout)["outs"][0]["md5"]))
        return _cached(repo, next(entry["md5"] for entry in listed if entry["relpath"] == "m.safetensors"))
    shown = repo.run("show", f"{commit}:dvc.lock")
    if shown.returncode == 0:
        return _cached(repo, yaml.safe_load(shown.stdout)["stages"]["train"]["outs"][0]["md5"])
    blob = ["git", "cat-file", "blob", f"{commit}:{PATH}"]
    return subprocess.run(blob, cwd=repo.top, stdout=subprocess.PIPE, check=True).stdout


def _cached(repo: Repo, address: str) -> bytes:
    return Path(repo.top, ".dvc", "cache", "files", "md5", address[:2], address[2:]).read_bytes()


def weights_of(data: bytes) -> Weights:
    """The tensors of a file."""
    return load(data)
