"""A model whose values lie in a file beside it is both files: in pairs of trees, the gate, and under git."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gitrepo import Repo
from onnx_models import data, with_external_data
from program import DIFFAI, diffai
from several_files import saved_model_folder

NAMES = ["m.onnx.data", "m.onnx_data", "m.data", "weights.pb", "m.onnx_data_1"]


def changes(repo: Repo, *words: str) -> list[str]:
    done = diffai("--output", "json", *words, cwd=repo.top)
    assert done.returncode == 0, done.stderr
    return [record["TensorStatsChanged"][0].rpartition(":")[2] for record in json.loads(done.stdout)]


@pytest.mark.parametrize("name", NAMES)
def test_a_change_of_the_data_alone_is_a_change_of_the_model(repo: Repo, name: str) -> None:
    repo.commit({"a/m.onnx": with_external_data(name), f"a/{name}": data()})
    repo.commit({f"a/{name}": data(1)})
    assert changes(repo, "HEAD~1..HEAD") == ["w"]
    assert changes(repo, "HEAD~1..HEAD", "--", f"a/{name}") == ["w"]
    assert changes(repo, "HEAD~1..HEAD", "--include", "*.onnx") == ["w"]


def test_two_folders_tell_the_same(tmp_path: Path, repo: Repo) -> None:
    for number, folder in enumerate(("old", "new")):
        (repo.top / folder).mkdir()
        (repo.top / folder / "m.onnx").write_bytes(with_external_data("m.onnx.data"))
        (repo.top / folder / "m.onnx.data").write_bytes(data(number))
    assert changes(repo, "old", "new", "-r") == ["w"]


def test_the_gate_judges_a_change_of_the_data_alone(repo: Repo) -> None:
    repo.commit({
        "m.onnx": with_external_data("m.onnx.data"), "m.onnx.data": data(), ".diffai.toml": "[gate]\nfrozen = ['w']\n"
    })  # fmt: skip
    repo.write({"m.onnx.data": data(1)})
    repo.git("add", "m.onnx.data")
    done = diffai("gate", cwd=repo.top)
    assert done.returncode == 1 and "frozen" in done.stdout


def test_data_beside_no_model_stays_what_it_is(repo: Repo) -> None:
    repo.commit({"m.data": data(), "x/m.onnx": with_external_data("m.data"), "x/m.data": data()})
    repo.commit({"m.data": data(1)})
    assert changes(repo, "HEAD~1..HEAD") == []


def test_git_diff_says_what_it_cannot_see_and_who_can(repo: Repo) -> None:
    repo.config("diff.diffai.command", f"{DIFFAI} git-driver")
    repo.commit({
        ".gitattributes": "*.onnx diff=diffai\n", "m.onnx": with_external_data("m.onnx.data"), "m.onnx.data": data(),
    })  # fmt: skip
    repo.commit({"m.onnx": with_external_data("m.onnx.data") + b"\x32\x04more", "m.onnx.data": data(1)})
    shown = repo.git("diff", "HEAD~1", "HEAD", "--", "m.onnx")
    assert "the values are in 'm.onnx.data', which is not here" in shown
    assert "diffai A..B -- m.onnx" in shown and "doc_string" in shown
    assert "No differences" not in shown


def test_data_in_lfs_is_followed_and_said_when_it_was_not_pulled(repo: Repo, tmp_path: Path) -> None:
    repo.lfs_track("*.data")
    repo.commit({"m.onnx": with_external_data("m.onnx.data"), "m.onnx.data": data()})
    repo.commit({"m.onnx.data": data(1)})
    assert changes(repo, "HEAD~1..HEAD") == ["w"]
    clone = repo.clone_without_lfs_objects(tmp_path / "clone")
    done = diffai("HEAD~1..HEAD", cwd=clone.top)
    assert "the values are in 'm.onnx.data', which is not here" in done.stdout, done.stdout + done.stderr
    assert diffai("HEAD~1..HEAD", "--exit-code", cwd=clone.top).returncode == 2


def test_both_files_in_dvc_are_one_model(repo: Repo) -> None:
    import hashlib

    def track(name: str, content: bytes) -> dict[str, str]:
        md5 = hashlib.md5(content).hexdigest()
        place = repo.top / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        return {f"{name}.dvc": f"outs:\n- md5: {md5}\n  size: {len(content)}\n  hash: md5\n  path: {name}\n"}

    model = with_external_data("m.onnx.data")
    repo.commit({".dvc/config": "", ".dvc/.gitignore": "/cache\n", **track("m.onnx", model),
                 **track("m.onnx.data", data())})  # fmt: skip
    repo.commit(track("m.onnx.data", data(1)))
    assert changes(repo, "HEAD~1..HEAD") == ["w"]


@pytest.mark.parametrize(
    "words", [("show",), ("show", "--digests"), ("show", "--shape-only"), ("show", "--format", "json")]
)
def test_a_model_without_its_data_can_be_shown(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "m.onnx").write_bytes(with_external_data("gone.data"))
    done = diffai(*words, "m.onnx", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "gone.data" in done.stdout or "json" in words
    assert "'gone.data', which is not here" in diffai("textconv", "m.onnx", cwd=tmp_path).stdout


def test_machine_outputs_say_what_was_not_compared(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "m.onnx").write_bytes(with_external_data("gone.data"))
    done = diffai("old/m.onnx", "new/m.onnx", "--format", "json", "--exit-code", cwd=tmp_path)
    report = json.loads(done.stdout)
    assert done.returncode == 2 and report["equal"] is None
    assert report["not_compared"][0]["reason"] == "the values are in 'gone.data', which is not here"
    done = diffai("old", "new", "-r", cwd=tmp_path)
    assert "1 not fully compared" in done.stdout and "unchanged" not in done.stdout


def test_a_folder_with_one_model_is_that_model_with_its_data(repo: Repo) -> None:
    repo.commit({"m/m.onnx": with_external_data("m.onnx.data"), "m/m.onnx.data": data()})
    repo.commit({"m/m.onnx.data": data(1)})
    assert changes(repo, "HEAD~1:m", "HEAD:m") == ["w"]
    repo.git("worktree", "add", "-q", "../old", "HEAD~1")
    assert changes(repo, "../old/m", "m") == ["w"]


def test_a_history_says_that_values_are_not_here(repo: Repo) -> None:
    repo.commit({"m.onnx": with_external_data("m.onnx.data")})
    repo.commit({"m.onnx": with_external_data("m.onnx.data") + b"\x32\x04more"})
    repo.commit({"m.onnx": with_external_data("m.onnx.data")})
    for _ in range(2):  # also out of the cache
        done = diffai("log", "--", "m.onnx", cwd=repo.top)
        assert done.returncode == 0, done.stderr
        assert "not here" in done.stdout and "identical" not in done.stdout


def test_a_file_that_git_gives_alone_is_told_as_such_and_who_has_it_whole(repo: Repo) -> None:
    path, files, _ = saved_model_folder()
    repo.config("diff.diffai.command", f"{DIFFAI} git-driver")
    repo.config("diff.diffai.textconv", f"{DIFFAI} textconv")
    repo.commit({".gitattributes": "*.pb diff=diffai\n", **{f"m/{name}": data for name, data in files.items()}})
    repo.commit({f"m/{path}": files[path].replace(b"2.15.0", b"2.16.0")})
    said = repo.git("diff", "HEAD~1", "HEAD")
    assert "(the whole model: diffai A..B -- m/saved_model.pb)" in said and "/tmp" not in said
    assert repo.git("log", "-p", "-1") == repo.git("log", "-p", "-1"), "the place of git's copy is new each time"
