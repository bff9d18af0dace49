"""Every way in which a model is held: annex, DVC, the index; and revisions in every command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from gitrepo import Repo
from model_history import commit, diffai, expected, history, start, trained
from safetensors.numpy import save

needs_annex = pytest.mark.skipif(shutil.which("git-annex") is None, reason="git-annex is not installed")


def entries(repo: Repo, *words: str) -> list[dict[str, Any]]:
    """Oldest first."""
    return list(reversed(json.loads(diffai(repo.top, "log", "--format", "json", *words))["entries"]))


def annexed(repo: Repo) -> list[dict[str, Any]]:
    """Three versions: locked, unlocked, locked; their weights."""
    repo.git("annex", "init", "-q", "test")
    weights = start()
    versions = []
    for step in range(3):
        weights = trained(weights, step) if step else weights
        if step:
            repo.git("annex", "unlock", "-q", "model.safetensors")
        repo.write({"model.safetensors": save(weights)})
        repo.git("annex", "add", "-q", "model.safetensors")
        if step == 2:
            repo.git("annex", "lock", "-q", "model.safetensors")
        repo.git("commit", "-q", "-m", f"step {step}")
        versions.append(weights)
    return versions


@needs_annex
def test_annex_locked_and_unlocked(repo: Repo) -> None:
    versions = annexed(repo)
    found = entries(repo, "--", "model.safetensors")
    assert [e["holder"] for e in found] == ["git-annex"] * 3
    rows = expected(versions)
    assert found[2]["figures"]["update_size"] == pytest.approx(rows[2]["update_size"], rel=1e-9)
    assert found[2]["figures"]["update_cosine"] == pytest.approx(rows[2]["update_cosine"], rel=1e-9)
    assert "Weight updates" in diffai(repo.top, "HEAD~1", "HEAD", "--", "model.safetensors")
    assert "7 tensors" in diffai(repo.top, "show", "HEAD~2", "--", "model.safetensors")
    assert "ok (" in diffai(repo.top, "check", "HEAD~1..HEAD", "--", "model.safetensors")


@needs_annex
def test_an_annex_object_that_is_elsewhere(repo: Repo) -> None:
    annexed(repo)
    repo.git("annex", "drop", "-q", "--force", "model.safetensors")
    found = entries(repo, "--", "model.safetensors")
    assert [e["kind"] for e in found] == ["added", "changed", "unreadable"]
    assert "git annex get" in found[2]["reason"]


def test_hash_folders_are_those_of_git_annex() -> None:
    from diffai.stores.annex import hash_folders

    # Out of a repository made by git-annex.
    assert hash_folders("SHA256E-s0--e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855") == (
        "pX/ZJ", "f87/4d5",
    )  # fmt: skip


def test_a_key_that_leads_elsewhere_is_no_key(tmp_path: Path) -> None:
    from diffai.repository.place import GitPlace
    from diffai.stores.annex import find_key

    place = GitPlace(str(tmp_path), str(tmp_path))
    for key in ("..", ".", "", "a/../../b"):
        assert find_key(key, -1, place) == ""


def dvc_commit(repo: Repo, weights: dict[str, Any], subject: str) -> None:
    """A version kept by DVC: the object in its cache, the pointer in git."""
    import hashlib

    data = save(weights)
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    pointer = f"outs:\n- md5: {md5}\n  size: {len(data)}\n  hash: md5\n  path: model.safetensors\n"
    repo.write({f".dvc/cache/files/md5/{md5[:2]}/{md5[2:]}": data, ".dvc/config": "", "model.safetensors": data})
    repo.commit({"model.safetensors.dvc": pointer, ".gitignore": "/model.safetensors\n/.dvc/cache\n"}, subject)


def test_a_model_that_moves_from_git_to_dvc(repo: Repo) -> None:
    run = history(repo, 2)
    repo.git("rm", "-q", "--cached", "model.safetensors")
    third, fourth = trained(run[1][1], 11), trained(run[1][1], 12)
    dvc_commit(repo, third, "dvc 1")
    dvc_commit(repo, fourth, "dvc 2")
    found = entries(repo, "--", "model.safetensors")
    assert [(e["subject"], e["kind"], e["holder"], e["moved_from"]) for e in found] == [
        ("step 0", "added", "git", None),
        ("step 1", "changed", "git", None),
        ("dvc 1", "changed", "dvc", "git"),
        ("dvc 2", "changed", "dvc", None),
    ]
    rows = expected([run[0][1], run[1][1], third, fourth])
    for entry, row in zip(found, rows, strict=True):
        for name, value in row.items():
            assert entry["figures"][name] == pytest.approx(value, rel=1e-9)
    assert entries(repo, "--", "model.safetensors.dvc") == found
    blame = json.loads(diffai(repo.top, "blame", "--format", "json", "--", "model.safetensors"))
    assert {t["values"]["subject"] for t in blame["tensors"]} == {"dvc 2"}
    assert "Weight updates" in diffai(repo.top, "HEAD~1", "HEAD", "--", "model.safetensors")
    assert "7 tensors" in diffai(repo.top, "show", "HEAD~1", "--", "model.safetensors")


def test_a_dvc_object_that_is_elsewhere(repo: Repo) -> None:
    dvc_commit(repo, start(), "one")
    dvc_commit(repo, start(1), "two")
    shutil.rmtree(repo.top / ".dvc/cache/files")
    (repo.top / "model.safetensors").unlink()
    assert [e["kind"] for e in entries(repo, "--", "model.safetensors")] == ["unreadable", "unreadable"]


@pytest.mark.parametrize("lfs", [False, True])
def test_what_is_staged(repo: Repo, lfs: bool) -> None:
    if lfs:
        repo.lfs_track("*.safetensors")
    weights = start()
    commit(repo, weights, "a")
    staged = trained(weights, 1, "head.bias")
    repo.write({"model.safetensors": save(staged)})
    repo.git("add", "model.safetensors")
    repo.write({"model.safetensors": save(trained(staged, 2, "layers"))})
    for words in (("--staged",), ("--staged", "--", "model.safetensors"), ("--cached", "model.safetensors")):
        text = diffai(repo.top, *words)
        assert "head.bias" in text
        assert "layers." not in text
    assert "7 tensors" in diffai(repo.top, "show", "--staged", "model.safetensors")
    assert "ok (" in diffai(repo.top, "check", "--staged", "--", "model.safetensors")


def test_ranges_without_paths(repo: Repo) -> None:
    run = history(repo, 3)
    text = diffai(repo.top, f"{run[0][0]}..{run[2][0]}")
    assert "model.safetensors" in text and "Weight updates" in text
    assert "no such revision" in diffai(repo.top, "nowhere..HEAD", code=2)
    assert "one revision with the index" in diffai(
        repo.top, "--staged", "HEAD~1..HEAD", "--", "model.safetensors", code=2
    )


def test_revisions_below_a_folder(repo: Repo) -> None:
    history(repo, 2, path="deep/er/model.safetensors")
    folder = repo.top / "deep" / "er"
    for words in (("log",), ("show", "HEAD~1"), ("check", "HEAD"), ("blame",)):
        assert diffai(folder, *words, "--", "model.safetensors")
        assert diffai(repo.top / "deep", *words, "--", "er/model.safetensors")
    assert "outside the repository" in diffai(folder, "log", "--", "../../../x.safetensors", code=2)


def test_fetch_brings_lfs_objects(repo: Repo, tmp_path: Path) -> None:
    repo.lfs_track("*.safetensors")
    history(repo, 3)
    bare = Repo.init(tmp_path / "server.git", "--bare")
    repo.git("remote", "add", "origin", f"file://{bare.top}")
    repo.git("push", "-q", "origin", "main")
    clone = bare.clone_without_lfs_objects(tmp_path / "clone")
    assert [e["kind"] for e in entries(clone, "--", "model.safetensors")] == ["unreadable"] * 3
    found = entries(clone, "--fetch", "--", "model.safetensors")
    assert [e["kind"] for e in found] == ["added", "changed", "changed"]


def test_a_model_in_a_folder_that_dvc_tracks(repo: Repo) -> None:
    import hashlib

    def put(data: bytes, suffix: str = "") -> str:
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        repo.write({f".dvc/cache/files/md5/{md5[:2]}/{md5[2:]}{suffix}": data})
        return md5

    def commit_folder(weights: dict[str, Any], note: bytes, subject: str) -> None:
        files = {"deep/model.safetensors": save(weights), "note.txt": note}
        manifest = json.dumps([{"md5": put(data), "relpath": name} for name, data in files.items()]).encode()
        md5 = put(manifest, ".dir")
        pointer = f"outs:\n- md5: {md5}.dir\n  nfiles: 2\n  hash: md5\n  path: data\n"
        repo.write({".dvc/config": ""})
        repo.commit({"data.dvc": pointer, ".gitignore": "/data\n/.dvc/cache\n"}, subject)

    one, two = start(), trained(start(), 1)
    commit_folder(one, b"a", "one")
    commit_folder(one, b"b", "only the note")
    commit_folder(two, b"b", "two")
    found = entries(repo, "--", "data/deep/model.safetensors")
    assert [(e["subject"], e["kind"], e["holder"]) for e in found] == [
        ("one", "added", "dvc"),
        ("two", "changed", "dvc"),
    ]
    assert found[1]["figures"]["update_size"] == pytest.approx(expected([one, two])[1]["update_size"], rel=1e-9)


def test_a_model_that_a_pipeline_writes(repo: Repo) -> None:
    import hashlib

    def commit_lock(weights: dict[str, Any], metric: str, subject: str) -> None:
        data = save(weights)
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        repo.write({f".dvc/cache/files/md5/{md5[:2]}/{md5[2:]}": data, ".dvc/config": ""})
        lock = (
            "schema: '2.0'\nstages:\n  train:\n    cmd: train\n    outs:\n    - path: out/model.safetensors\n"
            f"      hash: md5\n      md5: {md5}\n      size: {len(data)}\n"
            f"    - path: metric.json\n      hash: md5\n      md5: {metric * 32}\n      size: 1\n"
        )
        repo.commit({"dvc.lock": lock, "dvc.yaml": "stages: {}\n"}, subject)

    one, two = start(), trained(start(), 1)
    commit_lock(one, "a", "one")
    commit_lock(one, "b", "only the metric")
    commit_lock(two, "b", "two")
    found = entries(repo, "--", "out/model.safetensors")
    assert [(e["subject"], e["kind"]) for e in found] == [("one", "added"), ("two", "changed")]
