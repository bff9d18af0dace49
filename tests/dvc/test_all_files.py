"""Models of several files behind DVC's pointers: a change of any file is a version of the model, and of no other one."""

from __future__ import annotations

from pathlib import Path

import pytest
from dvcrepo import DvcRepo
from program import diffai
from safetensors_writer import simple
from several_files import MODELS, Files

from diffai.cache.store import Store
from diffai.history.entries import LogOptions
from diffai.history.log import log_model
from diffai.history.model_path import model_path
from diffai.history.walk import Range
from diffai.repository.runner import Repository


def put(dvc: DvcRepo, how: str, files: Files) -> None:
    """Have DVC keep the files of a folder ``out``, none of them checked out."""
    if how == "folder":
        dvc.add_directory("out", files)
    elif how == "stage":
        dvc.lock({"train": {f"out/{name}": (dvc.object(data), len(data)) for name, data in files.items()}})
    else:
        for name, data in files.items():
            dvc.add(f"out/{name}", data, here=False)


@pytest.mark.parametrize("how", ["folder", "stage", "files"])
@pytest.mark.parametrize("name", [name for name in MODELS if "distributed" not in name])
def test_a_change_of_one_file_is_a_version(
    dvc: DvcRepo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, how: str
) -> None:
    path, files, changed = MODELS[name]()
    beside = {"other.safetensors": simple(1), "notes.txt": b"one"}
    put(dvc, how, {**files, **beside})
    dvc.commit("one")
    put(dvc, how, {**files, "other.safetensors": simple(2), "notes.txt": b"two"})
    dvc.commit("its neighbours")
    put(dvc, how, {**files, **changed, "other.safetensors": simple(2), "notes.txt": b"two"})
    dvc.commit("trained")
    monkeypatch.chdir(dvc.top)
    git, store = Repository(), Store(str(tmp_path / "cache"), 1 << 30)
    for _ in range(2):  # the second time out of the cache
        log = log_model(git, model_path(git, f"out/{path}", Range()), LogOptions(), store)
        told = [(entry.commit.subject, entry.kind) for entry in log.entries]
        assert told == [("trained", "changed"), ("one", "added")], told
    done = diffai("HEAD~1..HEAD", "--exit-code", "--include", path, cwd=dvc.top)
    assert done.returncode == 1, done.stdout
    neighbours = diffai("HEAD~2..HEAD~1", "--exit-code", "--include", path, cwd=dvc.top)
    assert neighbours.returncode == 0, neighbours.stdout
