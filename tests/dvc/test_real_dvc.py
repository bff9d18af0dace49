"""Against real DVC: what it writes is what is read, and its own output is reproduced."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import safetensors_writer as writer
from dvcrepo import RunDvc
from gitrepo import Repo
from program import DIFFAI, diffai

ONE, TWO, THREE = (writer.simple(seed) for seed in (1, 2, 3))
CHANGED = "~ a.weight: mean=1.3125->2.3125"


@pytest.fixture
def project(real_dvc: RunDvc, template: Any) -> Repo:
    """A copy of a repository with tags v1 and v2 of files and a directory, made by DVC itself."""
    made: Repo = template("project", lambda repo: make_project(repo, real_dvc))
    return made


def make_project(repo: Repo, real_dvc: RunDvc) -> None:
    real_dvc("init", "-q", cwd=repo.top)
    assert diffai("install", cwd=repo.top).returncode == 0
    for tag, one, two in (("v1", ONE, TWO), ("v2", TWO, THREE)):
        repo.write({"m.safetensors": one, "ckpt/a.safetensors": two, "ckpt/same.pt": b"same", "data.csv": tag})
        if tag == "v1":
            repo.write({"ckpt/old.txt": "old", "gone.safetensors": ONE, "first.safetensors": THREE})
            real_dvc("add", "-q", "gone.safetensors", "first.safetensors", cwd=repo.top)
        else:
            (repo.top / "ckpt" / "old.txt").unlink()
            repo.write({"ckpt/new.txt": "new", "second.safetensors": THREE, "added.safetensors": writer.simple(7)})
            real_dvc("remove", "gone.safetensors.dvc", "first.safetensors.dvc", cwd=repo.top)
            real_dvc("add", "-q", "second.safetensors", "added.safetensors", cwd=repo.top)
        real_dvc("add", "-q", "m.safetensors", "ckpt", "data.csv", cwd=repo.top)
        repo.git("add", "-A")
        repo.git("commit", "-qm", tag)
        repo.git("tag", tag)


def without_tensors(text: str) -> str:
    """Only the lines that dvc diff itself prints."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith(" " * 8))


@pytest.mark.parametrize(
    "options",
    [(), ("--show-hash",), ("--json",), ("--json", "--show-hash"), ("--targets", "ckpt"),
     ("--targets", "m.safetensors", "data.csv"), ("--hide-missing",)],
)  # fmt: skip
def test_two_revisions_as_dvc_prints_them(project: Repo, real_dvc: RunDvc, options: tuple[str, ...]) -> None:
    theirs = real_dvc("diff", "v1", "v2", *options, cwd=project.top)
    ours = diffai("dvc", "diff", "v1", "v2", *options, cwd=project.top, env={"PATH": os.environ["PATH"]})
    assert ours.returncode == 0, ours.stderr
    assert without_tensors(ours.stdout) == theirs.stdout


def test_tensors_stand_under_each_model(project: Repo) -> None:
    text = diffai("dvc", "diff", "v1", "v2", cwd=project.top).stdout
    assert "    m.safetensors\n        Model Changes:\n          No structural changes\n" in text
    assert CHANGED in text
    assert "    ckpt/a.safetensors\n        Model Changes:" in text
    assert "    added.safetensors\n        safetensors, F32, 2 tensors, 12 parameters, 184 bytes\n" in text
    assert "    first.safetensors -> second.safetensors\n" in text
    assert "    data.csv\n" in text and "not a model" not in text


def test_markdown(project: Repo, real_dvc: RunDvc) -> None:
    for options in ((), ("--show-hash",)):
        theirs = real_dvc("diff", "v1", "v2", "--md", *options, cwd=project.top).stdout
        ours = diffai("dvc", "diff", "v1", "v2", "--md", *options, cwd=project.top).stdout
        assert ours.startswith(theirs)
        assert "\n### m.safetensors\n\n```text\nModel Changes:\n" in ours


def test_json_with_tensors(project: Repo) -> None:
    data = json.loads(diffai("dvc", "diff", "v1", "v2", "--json", "--tensors", cwd=project.top).stdout)
    (model,) = (entry for entry in data["modified"] if entry["path"] == "m.safetensors")
    assert [next(iter(record)) for record in model["diffai"]] == ["TensorStatsChanged"] * 2
    assert not any("diffai" in entry for entry in data["modified"] if entry["path"] == "data.csv")


def test_no_dvc_is_started_for_two_revisions(project: Repo, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "dvc").write_text("#!/bin/sh\nexit 77\n")
    (tmp_path / "bin" / "dvc").chmod(0o755)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    (project.top / ".dvc" / "tmp").mkdir(exist_ok=True)
    done = diffai("dvc", "diff", "v1", "v2", cwd=project.top, env={"PATH": path})
    assert CHANGED in done.stdout


def test_the_work_tree_by_wrapper_and_by_filter(project: Repo, real_dvc: RunDvc) -> None:
    project.write({"m.safetensors": THREE, "ckpt/a.safetensors": ONE})
    theirs = real_dvc("diff", cwd=project.top).stdout
    ours = diffai("dvc", "diff", cwd=project.top)
    assert without_tensors(ours.stdout) == theirs
    assert "    m.safetensors\n        Model Changes:" in ours.stdout
    assert "mean=2.3125->3.3125" in ours.stdout
    assert "mean=3.3125->1.3125" in ours.stdout
    hashed = real_dvc("diff", "--json", "--show-hash", cwd=project.top).stdout
    assert filtered(project, hashed).stdout == ours.stdout
    plain = filtered(project, real_dvc("diff", "--json", cwd=project.top).stdout).stdout
    assert without_tensors(plain).startswith(theirs.rstrip("\n"))
    assert "! models are not compared: dvc gave no hashes; run dvc diff --json --show-hash" in plain
    assert "Model Changes" not in plain


def filtered(project: Repo, text: str) -> subprocess.CompletedProcess[str]:
    command = [str(DIFFAI), "dvc", "diff", "-"]
    return subprocess.run(command, cwd=project.top, input=text, text=True, capture_output=True)


def test_filter_of_odd_input(project: Repo) -> None:
    assert filtered(project, "{}").stdout == ""
    for text in ("", "[]", "not json", '{"added": 5}', '{"added": [5]}', '{"added": [{"path": 5}]}', "[" * 100_000):
        done = filtered(project, text)
        assert (done.returncode, done.stdout) == (2, ""), text[:50]
        assert "standard input is not the JSON of dvc diff" in done.stderr
    hostile = json.dumps({"modified": [{"path": "../../../etc/passwd", "hash": {"old": "a" * 32, "new": "b" * 32}}]})
    assert "lies outside the repository" in filtered(project, hostile).stderr


def test_a_missing_list_of_files_is_said(project: Repo, real_dvc: RunDvc) -> None:
    text = project.git("show", "v1:ckpt.dvc")
    address = next(line.split()[-1] for line in text.splitlines() if "md5: " in line and ".dir" in line)
    (project.top / ".dvc" / "cache" / "files" / "md5" / address[:2] / address[2:]).unlink()
    theirs = real_dvc("diff", "v1", "v2", cwd=project.top).stdout
    ours = diffai("dvc", "diff", "v1", "v2", cwd=project.top).stdout
    assert "    ckpt/\n" in theirs and "ckpt/a" not in theirs
    assert "! ckpt/: its list of files at v1 is not here, so which files changed is not known" in ours
    assert "dvc fetch --all-commits ckpt.dvc" in ours
    hashed = real_dvc("diff", "v1", "v2", "--json", "--show-hash", cwd=project.top).stdout
    assert "! ckpt/: its list of files on the old side is not here" in filtered(project, hashed).stdout


def test_not_in_cache_and_hide_missing(project: Repo, real_dvc: RunDvc) -> None:
    text = project.git("show", "v2:m.safetensors.dvc")
    address = next(line.split()[-1] for line in text.splitlines() if "md5: " in line)
    (project.top / ".dvc" / "cache" / "files" / "md5" / address[:2] / address[2:]).unlink()
    project.write({"m.safetensors": THREE})
    for options in ((), ("--hide-missing",)):
        theirs = real_dvc("diff", *options, cwd=project.top).stdout
        ours = diffai("dvc", "diff", *options, cwd=project.top).stdout
        assert without_tensors(ours) == theirs
        assert "is not here (184 bytes)" in ours or "is not here; bring it" in ours


def test_experiments_are_revisions(project: Repo, real_dvc: RunDvc) -> None:
    """By their names, which are no names of git's; the one on HEAD where several have it."""
    for number, data in enumerate((ONE, THREE)):
        project.write({"m.safetensors": data})
        real_dvc("add", "-q", "m.safetensors", cwd=project.top)
        real_dvc("exp", "save", "-q", "-f", "-n", "my-exp", cwd=project.top)
        real_dvc("exp", "save", "-q", "-f", "-n", f"own-{number}", cwd=project.top)
        project.git("add", "-A")
        project.git("commit", "-qm", "more")
        if not number:
            project.git("tag", "base")
    for words in (("v2", "own-0"), ("own-0", "own-1"), ("own-1", "HEAD")):
        theirs = real_dvc("diff", *words, cwd=project.top).stdout
        ours = diffai("dvc", "diff", *words, cwd=project.top)
        assert ours.returncode == 0, ours.stderr
        assert without_tensors(ours.stdout) == theirs
        assert ("Model Changes" in ours.stdout) == bool(theirs)
    ambiguous = diffai("dvc", "diff", "v2", "my-exp", cwd=project.top)
    assert ambiguous.returncode == 2
    assert "several experiments have this name, and none of them is based on HEAD" in ambiguous.stderr
    project.git("checkout", "-q", "base")
    theirs = real_dvc("diff", "v2", "my-exp", cwd=project.top).stdout
    assert without_tensors(diffai("dvc", "diff", "v2", "my-exp", cwd=project.top).stdout) == theirs != ""


def test_the_work_tree_by_its_name(project: Repo, real_dvc: RunDvc) -> None:
    project.write({"m.safetensors": THREE})
    theirs = real_dvc("diff", "v1", "workspace", cwd=project.top).stdout
    assert without_tensors(diffai("dvc", "diff", "v1", "workspace", cwd=project.top).stdout) == theirs != ""


def test_targets_that_are_stages(project: Repo, real_dvc: RunDvc) -> None:
    yaml = """stages:
  train: {cmd: cp src.safetensors t.safetensors, deps: [src.safetensors], outs: [t.safetensors]}
  other: {cmd: cp src.safetensors o.safetensors, deps: [src.safetensors], outs: [o.safetensors]}
"""
    for data in (ONE, TWO):
        project.write({"src.safetensors": data, "dvc.yaml": yaml})
        real_dvc("repro", "-q", cwd=project.top)
        project.git("add", "-A")
        project.git("commit", "-qm", "run")
    for target in ("train", "dvc.yaml:train", "t.safetensors", "m.safetensors.dvc"):
        words = ("HEAD~1", "HEAD", "--targets", target)
        theirs = real_dvc("diff", *words, cwd=project.top, check=False)
        ours = diffai("dvc", "diff", *words, cwd=project.top)
        if theirs.returncode == 0:
            assert without_tensors(ours.stdout) == theirs.stdout, target
        if target != "m.safetensors.dvc":
            assert "    t.safetensors\n" in ours.stdout and "o.safetensors" not in ours.stdout, target


def test_errors(project: Repo, tmp_path: Path) -> None:
    for words, said in (
        (("nowhere", "v2"), "nowhere: no such revision"),
        (("v1", "v2", "--targets", "nothing"), "nothing: neither revision tracks this path with DVC"),
        (("nowhere",), "dvc diff failed with exit code 1"),
    ):
        done = diffai("dvc", "diff", *words, cwd=project.top)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr
    outside = Repo.init(tmp_path / "plain")
    outside.commit({"a": "1"})
    assert "not inside a DVC repository" in diffai("dvc", "diff", "HEAD", "HEAD", cwd=outside.top).stderr


def test_cd_and_subfolders(project: Repo, tmp_path: Path) -> None:
    expected = diffai("dvc", "diff", "v1", "v2", cwd=project.top).stdout
    assert diffai("dvc", "--cd", str(project.top), "diff", "v1", "v2", cwd=tmp_path).stdout == expected
    assert diffai("dvc", "diff", "v1", "v2", cwd=project.top / "ckpt").stdout == expected
    only = diffai("dvc", "diff", "v1", "v2", "--targets", ".", cwd=project.top / "ckpt").stdout
    assert "ckpt/a.safetensors" in only and "m.safetensors\n" not in only.replace("ckpt/a.safetensors", "")


def test_lock_of_another_dvc(project: Repo, real_dvc: RunDvc) -> None:
    """While another DVC holds the lock, dvc diff fails; two revisions and git diff do not care."""
    import fcntl

    lock = project.top / ".dvc" / "tmp" / "lock"
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        done = diffai("dvc", "diff", cwd=project.top)
        assert done.returncode == 2
        assert "dvc diff failed with exit code" in done.stderr
        assert CHANGED in diffai("dvc", "diff", "v1", "v2", cwd=project.top).stdout
        assert CHANGED in project.git("diff", "v1", "v2", "--", "m.safetensors.dvc")


# ---------------------------------------------------------------- what DVC itself writes


def test_git_diff_of_what_dvc_wrote(project: Repo) -> None:
    text = project.git("diff", "v1", "v2")
    assert "  m.safetensors (in DVC, 184 bytes)\n    Model Changes:" in text
    assert "  ckpt/ (in DVC, 3 files, " in text
    assert "    a.safetensors\n      Model Changes:" in text
    assert "2 model files: 1 changed, 1 unchanged; other files: 1 added, 1 removed" in text


def test_work_tree_file_before_dvc_commit(project: Repo, real_dvc: RunDvc) -> None:
    project.write({"m.safetensors": writer.simple(9)})
    real_dvc("add", "-q", "--no-commit", "m.safetensors", cwd=project.top)
    text = project.git("diff")
    assert "mean=2.3125->9.3125" in text
    assert "(new side: file of the workspace, which is not in the DVC cache" in text


def test_symlinked_cache_elsewhere(project: Repo, real_dvc: RunDvc, tmp_path: Path) -> None:
    real_dvc("cache", "dir", "--local", str(tmp_path / "shared"), cwd=project.top)
    real_dvc("config", "cache.type", "symlink", cwd=project.top)
    (project.top / "m.safetensors").unlink()
    project.write({"m.safetensors": THREE})
    real_dvc("add", "-q", "m.safetensors", cwd=project.top)
    assert (project.top / "m.safetensors").is_symlink()
    assert "mean=2.3125->3.3125" in project.git("diff", "--", "m.safetensors.dvc")


def test_import_update_and_no_download(project: Repo, real_dvc: RunDvc) -> None:
    real_dvc("import", "-q", "--rev", "v1", ".", "m.safetensors", "-o", "base.safetensors", cwd=project.top)
    project.git("add", "-A")
    project.git("commit", "-qm", "import")
    real_dvc("update", "-q", "--rev", "v2", "base.safetensors.dvc", cwd=project.top)
    text = project.git("diff")
    assert "  imported from .: commit " in text and ", rev v1 -> v2\n" in text
    assert CHANGED in text
    real_dvc("import", "-q", "--no-download", ".", "added.safetensors", "-o", "later.safetensors", cwd=project.top)
    project.git("add", "-N", "later.safetensors.dvc")
    assert "later.safetensors (imported without download) is not here" in project.git("diff", "later.safetensors.dvc")


def test_subrepo_of_dvc(project: Repo, real_dvc: RunDvc) -> None:
    (project.top / "sub").mkdir()
    real_dvc("init", "-q", "--subdir", cwd=project.top / "sub")
    for data in (ONE, TWO):
        project.write({"sub/x.safetensors": data})
        real_dvc("add", "-q", "x.safetensors", cwd=project.top / "sub")
        project.git("add", "-A")
        project.git("commit", "-qm", "sub")
    assert CHANGED in project.git("diff", "HEAD~1", "HEAD")
    theirs = real_dvc("diff", "HEAD~1", "HEAD", cwd=project.top).stdout
    assert diffai("dvc", "diff", "HEAD~1", "HEAD", cwd=project.top).stdout == theirs == ""
    assert CHANGED in diffai("dvc", "diff", "HEAD~1", "HEAD", cwd=project.top / "sub").stdout
    theirs = real_dvc("diff", "HEAD~1", "HEAD", cwd=project.top / "sub").stdout
    assert without_tensors(diffai("dvc", "diff", "HEAD~1", "HEAD", cwd=project.top / "sub").stdout) == theirs


def test_pipeline_with_wdir_matrix_and_uncached(project: Repo, real_dvc: RunDvc) -> None:
    yaml = """stages:
  train:
    wdir: models
    cmd: cp ../src.safetensors t.safetensors && cp ../src.safetensors plain.safetensors
    deps: [../src.safetensors]
    outs: [t.safetensors, plain.safetensors: {cache: false}]
  sweep:
    matrix: {seed: [a, b]}
    cmd: cp src.safetensors ${item.seed}.safetensors
    deps: [src.safetensors]
    outs: ["${item.seed}.safetensors"]
"""
    (project.top / "models").mkdir()
    for data in (ONE, TWO):
        project.write({"src.safetensors": data, "dvc.yaml": yaml})
        real_dvc("repro", "-q", cwd=project.top)
        project.git("add", "-A")
        project.git("commit", "-qm", "run")
    text = project.git("diff", "HEAD~1", "HEAD", "--", "dvc.lock")
    for name in ("train: models/t.safetensors", "train: models/plain.safetensors", "sweep@a: a.safetensors",
                 "sweep@b: b.safetensors"):  # fmt: skip
        assert f"  {name} (in DVC, 184 bytes)\n    Model Changes:" in text
    theirs = real_dvc("diff", "HEAD~1", "HEAD", cwd=project.top).stdout
    assert "plain" not in theirs
    assert without_tensors(diffai("dvc", "diff", "HEAD~1", "HEAD", cwd=project.top).stdout) == theirs


def test_compare_by_name_and_through_history(project: Repo) -> None:
    for old, new in (("v1:m.safetensors", "v2:m.safetensors"), ("v1:m.safetensors.dvc", "m.safetensors"),
                     ("v1:ckpt/a.safetensors", "v2:second.safetensors")):  # fmt: skip
        assert "Model Changes" in diffai(old, new, cwd=project.top).stdout, (old, new)
