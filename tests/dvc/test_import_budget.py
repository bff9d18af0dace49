"""What is loaded for a pointer, and what a walk over its history costs."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import safetensors_writer as writer
from dvcrepo import DvcRepo, md5

from diffai.sources.dvc_tracked import DvcHistory, pointer_paths

ONE, TWO = writer.simple(1), writer.simple(2)
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


def test_history_costs_milliseconds_a_revision(dvc: DvcRepo) -> None:
    """300 revisions through one git process; DVC takes more than a hundred milliseconds for each."""
    commands, revisions = [], 300
    for k in range(revisions):
        text = f"outs:\n- md5: {k:032x}\n  size: 184\n  hash: md5\n  path: m.safetensors\n"
        commands.append(
            f"commit refs/heads/walk\nmark :{k + 1}\ncommitter A <a@b> {k + 1} +0000\ndata 1\nx\n"
            + (f"from :{k}\n" if k else "")
            + f"M 100644 inline models/m.safetensors.dvc\ndata {len(text)}\n{text}\n"
        )
    subprocess.run(["git", "fast-import", "--quiet"], cwd=dvc.top, input="".join(commands), text=True, check=True)
    commits = dvc.repo.git("rev-list", "walk").split()
    start = time.perf_counter()
    with DvcHistory(str(dvc.top)) as history:
        found = [history.find(commit, "models/m.safetensors") for commit in commits]
        assert history.find(commits[0], "models/other.safetensors") is None
    elapsed = time.perf_counter() - start
    assert [tracked.out.address for tracked in found if tracked] == [f"{k:032x}" for k in reversed(range(revisions))]
    assert elapsed / revisions < 0.02  # measured: well under a millisecond on an idle machine


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
            opened = history.open(tracked)
            assert opened is not None and opened.where == "cache"
            contents.append(opened.opened.read(0, 999))  # type: ignore[union-attr]
    assert found[0] is None
    assert contents == [ONE, ONE, TWO, ONE]
    assert [tracked.pointer for tracked in found if tracked] == [
        "models/m.safetensors.dvc", "models.dvc", "dvc.lock", "models/odd-name.dvc"
    ]  # fmt: skip
    assert found[2] is not None and found[2].inside == "m.safetensors"
    assert md5(ONE) == found[1].out.address if found[1] else False
