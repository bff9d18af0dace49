"""Objects that are not here: brought with --fetch and never otherwise, or judged by the header a DVC remote gives."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from dvcrepo import DvcRepo, md5
from gating import diffai, gate, gate_json, model, staged
from gitrepo import Repo
from holders import why_not
from safetensors.numpy import save


@pytest.fixture
def lfs_clone(repo: Repo, tmp_path: Path) -> Repo:
    """A clone whose last commit reshapes one model of two, and whose objects are all on the server."""
    if why := why_not("lfs"):
        pytest.skip(why)
    repo.lfs_track("*.safetensors")
    repo.commit({"m.safetensors": model(4), "n.safetensors": model(4)})
    repo.commit({"m.safetensors": model(5), "n.safetensors": model(4, scale=2)})
    bare = Repo.init(tmp_path / "server.git", "--bare")
    repo.git("remote", "add", "origin", f"file://{bare.top}")
    repo.git("push", "-q", "origin", "main")
    return bare.clone_without_lfs_objects(tmp_path / "clone")


def objects(repo: Repo) -> int:
    return sum(1 for path in (repo.top / ".git/lfs/objects").rglob("*") if path.is_file())


@pytest.mark.parametrize("command", ["gate", "ci"])
def test_missing_objects_are_brought_where_the_user_says_so(lfs_clone: Repo, command: str) -> None:
    base = (command, "--base", "HEAD~1")
    assert diffai(*base, cwd=lfs_clone.top).returncode == 2 and objects(lfs_clone) == 0
    done = diffai(*base, "--fetch", "m.safetensors", cwd=lfs_clone.top)
    assert done.returncode == 1 and "structure.reshaped" in done.stdout and objects(lfs_clone) == 2
    done = diffai(*base, "--fetch", cwd=lfs_clone.top)
    assert done.returncode == 1 and "1 of 2 changed models refused" in done.stdout and objects(lfs_clone) == 3


@pytest.fixture
def far(repo: Repo, tmp_path: Path) -> DvcRepo:
    """A DVC repository with two versions of a model in a remote that is a folder, and none in the cache."""
    dvc = DvcRepo(repo, config="[core]\n    remote = r\n['remote \"r\"']\n    url = ../../remote\n")
    for data in (model(4), model(4, scale=2), model(5)):
        path = tmp_path / "remote" / "files" / "md5" / md5(data)[:2] / md5(data)[2:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    repo.commit({"m.safetensors.dvc": f"outs:\n- md5: {md5(model(4))}\n  hash: md5\n  path: m.safetensors\n"})
    return dvc


def point(repo: Repo, data: bytes) -> None:
    staged(repo, {"m.safetensors.dvc": f"outs:\n- md5: {md5(data)}\n  hash: md5\n  path: m.safetensors\n"})


def test_the_structure_of_what_only_a_remote_has_is_judged_by_its_header(repo: Repo, far: DvcRepo) -> None:
    point(repo, model(5))
    assert gate_json(repo)["models"][0]["outcome"] == "not judged"  # nothing is read from far away unasked
    repo.config("diffai.remote", "header")
    (entry,) = gate_json(repo)["models"]
    assert [v["rule"] for v in entry["violations"]] == ["structure.reshaped"] and "header" in entry["not_judged"]
    point(repo, model(4, scale=2))
    (entry,) = gate_json(repo)["models"]
    assert entry["outcome"] == "not judged" and "only headers are read" in entry["not_judged"]
    assert gate(repo, "--on-missing", "fail").returncode == 2
    staged(repo, {".diffai.toml": "[gate]\nforbid_nan = false\n"})  # then structure is all there is to judge
    assert gate_json(repo)["models"][0]["outcome"] == "pass"
    repo.config("diffai.remote", "full")
    staged(repo, {".diffai.toml": "[gate]\nfrozen = ['head.*']\n"})
    assert [v["rule"] for v in gate_json(repo)["models"][0]["violations"]] == ["frozen"]


def test_no_tolerance_of_a_clone_counts_in_the_gate(repo: Repo) -> None:
    loose = "[compare]\nepsilon = 1e300\nrtol = 1\nignore = ['*']\n[gate]\nfrozen = ['*']\n"
    repo.commit({"m.safetensors": model(4), ".diffai.toml": loose})
    staged(repo, {"m.safetensors": model(5, scale=1.5)})
    assert {v["rule"] for v in gate_json(repo)["models"][0]["violations"]} == {"frozen", "structure.reshaped"}


@pytest.mark.parametrize("how", ["a folder", "a folder whose list is not here either", "a pointer for each file"])
def test_the_structure_of_shards_that_only_a_remote_has_is_judged_by_their_headers(
    repo: Repo, tmp_path: Path, how: str
) -> None:
    dvc = DvcRepo(repo, config="[core]\n    remote = r\n['remote \"r\"']\n    url = ../../remote\n")
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]

    def put(rows: int) -> None:
        files = {names[0]: save({"a": np.ones((rows, 4), "f4")}), names[1]: save({"b": np.ones((2, 4), "f4")})}
        if how == "a pointer for each file":
            for name, data in files.items():
                dvc.add(f"m/{name}", data, here=False)
        else:
            dvc.add_directory("m", files)

    put(2)
    dvc.commit("two rows")
    put(3)
    repo.git("add", "-A")
    shutil.copytree(dvc.cache, tmp_path / "remote")
    lists = {path: path.read_bytes() for path in dvc.cache.rglob("*.dir")}
    shutil.rmtree(dvc.cache)
    for path, content in lists.items() if "either" not in how else ():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert all(model["outcome"] == "not judged" for model in gate_json(repo)["models"])
    repo.config("diffai.remote", "header")
    (entry,) = gate_json(repo)["models"]
    assert [v["rule"] for v in entry["violations"]] == ["structure.reshaped"] and "header" in entry["not_judged"]
    repo.config("diffai.remote", "full")
    (entry,) = gate_json(repo)["models"]
    assert entry["violations"] and not entry.get("not_judged")
