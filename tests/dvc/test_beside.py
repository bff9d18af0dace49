"""Files beside a model that DVC keeps are named with it, however DVC keeps them."""

from __future__ import annotations

import json

import pytest
from dvcrepo import DvcRepo, RunDvc
from program import diffai
from safetensors_writer import simple

LINE = "config.json: hidden_size 768 -> 1024"


def put(dvc: DvcRepo, how: str, version: int) -> None:
    files = {
        "model.safetensors": simple(version),
        "config.json": json.dumps({"hidden_size": 512 + 256 * version}).encode(),
    }
    if how == "folder":
        dvc.add_directory("out", files)
    elif how == "stage":
        dvc.lock({"train": {f"out/{name}": (dvc.object(data), len(data)) for name, data in files.items()}})
    else:
        for name, data in files.items():
            dvc.add(f"out/{name}", data, here=False)
    dvc.commit(str(version))


@pytest.mark.parametrize("how", ["folder", "stage", "files"])
def test_between_revisions(dvc: DvcRepo, how: str) -> None:
    put(dvc, how, 1)
    put(dvc, how, 2)
    assert LINE in diffai("HEAD~1..HEAD", cwd=dvc.top).stdout
    assert "~ hidden_size: 768 -> 1024" in diffai("HEAD~1", "HEAD", "--", "out/config.json", cwd=dvc.top).stdout


def test_of_two_directories_named_by_revision(dvc: DvcRepo) -> None:
    put(dvc, "folder", 1)
    put(dvc, "folder", 2)
    assert LINE in diffai("HEAD~1:out", "HEAD:out", cwd=dvc.top).stdout


def test_below_its_own_line_in_dvc_diff(dvc: DvcRepo, real_dvc: RunDvc) -> None:
    put(dvc, "folder", 1)
    put(dvc, "folder", 2)
    text = diffai("dvc", "diff", "HEAD~1", "HEAD", cwd=dvc.top).stdout
    assert "    out/config.json\n        hidden_size 768 -> 1024\n" in text
