"""What is loaded for a pointer, and what a walk over its history costs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors_writer as writer
from dvcrepo import DvcRepo, md5
from program import diffai

from diffai.stores.dvc.tracked import DvcHistory, pointer_paths

ONE, TWO = writer.simple(1), writer.simple(2)
REVISIONS = 300
NEVER = ("dvc", "dvc_data", "dvc_objects", "fsspec", "torch", "click", "rich", "git", "configobj")


def loaded(dvc: DvcRepo, code: str) -> set[str]:
    """Top-level modules that a call has loaded."""
    tail = "; import sys; print('LOADED', *sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code + tail], cwd=dvc.top, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *text, names = done.stdout.splitlines()
    assert any("a.weight" in line for line in text), done.stdout
    return set(names.split()[1:])


def test_driver_and_textconv_load_neither_dvc_nor_fsspec_nor_torch(dvc: DvcRepo, tmp_path: Path) -> None:
    dvc.add("m.safetensors", ONE)
    (tmp_path / "m.safetensors.dvc").write_bytes((dvc.top / "m.safetensors.dvc").read_bytes())
    dvc.commit("one")
    dvc.add("m.safetensors", TWO)
    arguments = ["m.safetensors.dvc", str(tmp_path / "m.safetensors.dvc"), "1" * 40, "100644",
                 "m.safetensors.dvc", "0" * 40, "100644"]  # fmt: skip
    for code in (
        f"from diffai.git import driver; driver.main({arguments!r})",
        f"from diffai.git import textconv; textconv.main([{str(tmp_path / 'm.safetensors.dvc')!r}])",
    ):
        assert loaded(dvc, code).isdisjoint(NEVER)


def test_pointers_without_models_load_no_numpy(dvc: DvcRepo, tmp_path: Path) -> None:
    dvc.add("a.weight.csv", b"1")
    (tmp_path / "a.dvc").write_bytes((dvc.top / "a.weight.csv.dvc").read_bytes())
    dvc.commit("one")
    dvc.add("a.weight.csv", b"2")
    arguments = ["a.weight.csv.dvc", str(tmp_path / "a.dvc"), "1" * 40, "100644",
                 "a.weight.csv.dvc", "0" * 40, "100644"]  # fmt: skip
    assert "numpy" not in loaded(dvc, f"from diffai.git import driver; driver.main({arguments!r})")


@pytest.fixture
def walk(dvc: DvcRepo) -> DvcRepo:
    """300 revisions of one pointer on the branch ``walk``; every tenth object is in the cache."""
    commands = []
    for k in range(REVISIONS):
        data = writer.simple(k // 10) if k % 10 == 0 else b""
        address = dvc.object(data) if data else f"{k:032x}"
        text = f"outs:\n- md5: {address}\n  size: 184\n  hash: md5\n  path: m.safetensors\n"
        commands.append(
            f"commit refs/heads/walk\nmark :{k + 1}\ncommitter A <a@b> {k + 1} +0000\ndata 1\nx\n"
            + (f"from :{k}\n" if k else "")
            + f"M 100644 inline models/m.safetensors.dvc\ndata {len(text)}\n{text}\n"
        )
    subprocess.run(["git", "fast-import", "--quiet"], cwd=dvc.top, input="".join(commands), text=True, check=True)
    return dvc


def test_one_git_process_serves_all_revisions(walk: DvcRepo) -> None:
    """DVC takes more than a hundred milliseconds for each; benchmarks/dvc.py measures what this takes."""
    code = f"""
import sys
started = []
sys.addaudithook(lambda event, facts: started.append(facts[1]) if event == "subprocess.Popen" else None)
from diffai.stores.dvc.tracked import DvcHistory
with DvcHistory({str(walk.top)!r}) as history:
    found = [history.find(commit, "models/m.safetensors") for commit in sys.argv[1:]]
    assert history.find(sys.argv[1], "models/other.safetensors") is None
assert not [name for name in sys.modules if name.partition(".")[0] in {NEVER!r}]
print([[word for word in words if "=" not in word and word != "-c"] for words in started], [tracked.pointer for tracked in found] == ["models/m.safetensors.dvc"] * {REVISIONS})
"""
    commits = walk.repo.git("rev-list", "walk").split()
    done = subprocess.run([sys.executable, "-c", code, *commits], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[['git', 'cat-file', '--batch']] True\n", "")


@pytest.mark.parametrize("command", ["log", "blame"])
def test_a_walk_starts_few_programs_and_never_dvc(walk: DvcRepo, tmp_path: Path, command: str) -> None:
    """The whole program over 300 revisions, with every ``git`` counted and a ``dvc`` that would be noticed."""
    programs, log, real = tmp_path / "programs", tmp_path / "started", shutil.which("git")
    programs.mkdir()
    for name, then in (("git", f'exec {real} "$@"'), ("dvc", "exit 77")):
        (programs / name).write_text(f"#!/bin/sh\necho {name} >> {log}\n{then}\n")
        (programs / name).chmod(0o755)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    words = ("--format", "json", "walk~9", "--", "models/m.safetensors")
    done = diffai(command, *words, cwd=walk.top, env={"PATH": path})
    assert done.returncode == 0, done.stderr
    if command == "log":
        kinds = [entry["state"] for entry in json.loads(done.stdout)["entries"]]
        assert (len(kinds), kinds.count("opened")) == (REVISIONS - 9, REVISIONS // 10)
    started = log.read_text().split()
    assert "dvc" not in started and len(started) < 20, started


def test_blame_of_what_is_not_pulled_says_so(walk: DvcRepo) -> None:
    done = diffai("blame", "walk", "--", "models/m.safetensors", cwd=walk.top)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("diffai: models/m.safetensors at walk: DVC object ")
    assert "is not here (184 bytes); bring it with: dvc fetch --all-commits models/m.safetensors.dvc" in done.stderr


def test_a_path_is_followed_through_every_kind_of_pointer(dvc: DvcRepo) -> None:
    path = "models/m.safetensors"
    assert pointer_paths(path) == ["models/m.safetensors.dvc", "models.dvc", "models/dvc.lock", "dvc.lock"]
    files = {"m.safetensors": ONE, "sub/n.safetensors": TWO}
    commits = [dvc.repo.rev_parse("HEAD")]
    dvc.add(path, ONE, here=False)
    commits.append(dvc.commit("file"))
    dvc.repo.git("rm", "-q", f"{path}.dvc")
    dvc.add_directory("models", files)
    commits.append(dvc.commit("directory"))
    dvc.repo.git("rm", "-q", "models.dvc")
    yaml = "stages:\n  train:\n    wdir: models\n    cmd: x\n    outs: [m.safetensors]\n"
    dvc.lock({"train": {"m.safetensors": (dvc.object(TWO), 184)}}, yaml=yaml)
    commits.append(dvc.commit("stage"))
    dvc.repo.git("rm", "-q", "dvc.lock", "dvc.yaml")
    text = f"outs:\n- md5: {dvc.object(ONE)}\n  size: 184\n  hash: md5\n  path: m.safetensors\n"
    dvc.write("models/odd-name.dvc", text)
    dvc.stage("models/odd-name.dvc")
    commits.append(dvc.commit("odd"))
    with DvcHistory(str(dvc.top)) as history:
        found = [history.find(commit, path) for commit in commits]
        contents = []
        for tracked in found[1:]:
            assert tracked is not None
            opened = history.open(tracked, "HEAD")
            assert opened is not None and opened.where == "cache"
            contents.append(opened.opened.read(0, 999))  # type: ignore[union-attr]
    assert found[0] is None
    assert contents == [ONE, ONE, TWO, ONE]
    assert [tracked.pointer for tracked in found if tracked] == [
        "models/m.safetensors.dvc", "models.dvc", "dvc.lock", "models/odd-name.dvc"
    ]  # fmt: skip
    assert found[2] is not None and found[2].inside == "m.safetensors"
    assert md5(ONE) == found[1].out.address if found[1] else False
