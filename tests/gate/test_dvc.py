"""Models behind DVC pointers: every output that changed is a model of its own, judged out of DVC's cache."""

from __future__ import annotations

import hashlib

import pytest
from dvcrepo import DvcRepo
from gating import gate, gate_json, model
from gitrepo import Repo, lfs_pointer


@pytest.fixture
def dvc(repo: Repo) -> DvcRepo:
    return DvcRepo(repo)


def pointer(address: str, path: str) -> str:
    return f"outs:\n- md5: {address}\n  hash: md5\n  path: {path}\n"


def lock(**outs: str) -> str:
    one = "    - path: {}.safetensors\n      hash: md5\n      md5: {}\n"
    lines = "".join(one.format(name, md5) for name, md5 in outs.items())
    return f"schema: '2.0'\nstages:\n  train:\n    cmd: train\n    outs:\n{lines}"


def test_a_tracked_model_is_judged_by_its_object(repo: Repo, dvc: DvcRepo) -> None:
    repo.commit({"m/a.safetensors.dvc": pointer(dvc.object(model(4)), "a.safetensors")})
    repo.write({"m/a.safetensors.dvc": pointer(dvc.object(model(5)), "a.safetensors")})
    repo.git("add", "-A")
    report = gate_json(repo)
    (entry,) = report["models"]
    assert (entry["path"], entry["file"], entry["outcome"]) == ("m/a.safetensors", "m/a.safetensors.dvc", "refused")
    github = gate(repo, "--format", "github")
    assert "::error file=m/a.safetensors.dvc," in github.stdout
    assert gate(repo, "approve", "m/a.safetensors.dvc", "--why", "5").returncode == 0
    repo.git("add", ".diffai")
    assert gate(repo).returncode == 0


def test_of_a_lock_file_only_what_changed_is_judged(repo: Repo, dvc: DvcRepo) -> None:
    same, old, new = (dvc.object(model(4, scale=n)) for n in (1, 2, 3))
    repo.commit({"dvc.lock": lock(same=same, moved=old)})
    repo.write({"dvc.lock": lock(same=same, moved=new, fresh=same)})
    repo.git("add", "-A")
    seen = {entry["path"]: (entry["status"], entry["outcome"]) for entry in gate_json(repo)["models"]}
    assert seen == {"fresh.safetensors": ("added", "pass"), "moved.safetensors": ("changed", "pass")}


def test_files_of_a_directory(repo: Repo, dvc: DvcRepo) -> None:
    before = {"a.safetensors": model(4), "b.safetensors": model(4), "notes.txt": b"x"}
    after = {**before, "b.safetensors": model(5), "notes.txt": b"y"}
    repo.commit({"out.dvc": pointer(dvc.manifest(before), "out")})
    repo.write({"out.dvc": pointer(dvc.manifest(after), "out")})
    repo.git("add", "-A")
    assert [(e["path"], e["outcome"]) for e in gate_json(repo)["models"]] == [("out/b.safetensors", "refused")]


def test_what_is_not_pulled_and_what_is_no_model(repo: Repo, dvc: DvcRepo) -> None:
    repo.commit({"a.pt.dvc": pointer("0" * 32, "a.pt"), "data.csv.dvc": pointer("1" * 32, "data.csv"),
                 "broken.dvc": "outs: [\n"})  # fmt: skip
    repo.write({"a.pt.dvc": pointer("2" * 32, "a.pt"), "data.csv.dvc": pointer("3" * 32, "data.csv")})
    repo.git("add", "-A")
    report = gate_json(repo)
    assert [(e["path"], e["outcome"]) for e in report["models"]] == [("a.pt", "not judged")]
    assert "dvc" in report["models"][0]["not_judged"] and report["exit_code"] == 0
    assert gate(repo, "--on-missing", "fail").returncode == 2


@pytest.mark.parametrize("here", [True, False])
def test_a_pointer_of_git_lfs_that_dvc_has_taken_is_the_model_that_it_names(
    repo: Repo, dvc: DvcRepo, here: bool
) -> None:
    """``dvc add`` in a clone without LFS objects takes their pointers: what stood there was a model all the same."""
    oid = hashlib.sha256(model(4)).hexdigest()
    if here:
        stored = repo.top / ".git/lfs/objects" / oid[:2] / oid[2:4] / oid
        stored.parent.mkdir(parents=True)
        stored.write_bytes(model(4))
    address = dvc.object(lfs_pointer(oid, len(model(4))))
    repo.commit({"m.safetensors.dvc": pointer(address, "m.safetensors"), ".diffai.toml": "[gate]\nfrozen = ['*']\n"})
    repo.write({"m.safetensors.dvc": pointer(dvc.object(model(5)), "m.safetensors")})
    repo.git("add", "-A")
    (entry,) = gate_json(repo)["models"]
    if here:
        assert "structure.reshaped" in {violation["rule"] for violation in entry["violations"]}
    else:
        assert "LFS object not downloaded" in entry["not_judged"] and gate(repo, "--on-missing", "fail").returncode == 2
