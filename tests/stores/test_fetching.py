"""The commands of hints, run as they are printed; and ``--fetch``, which runs them itself."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gitrepo import Repo
from holders import Held, run_dvc, why_not
from program import diffai
from safetensors.numpy import save

from diffai.model import FetchCommand, LfsPointer, NotPulled
from diffai.stores.store import command_line, joined_states, merged

OLD, NEW, NEWEST = (save({"w": np.full(4, value, "f4")}) for value in (1.0, 2.0, 3.0))


def hint(output: str) -> str:
    found = re.findall(r"bring it with: (.*?)\)?$", output, re.MULTILINE)
    assert found, output
    return found[0]


def follow(command: str, cwd: Path) -> None:
    """What a person does who copies the line."""
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    done = subprocess.run(
        ["sh", "-c", f"PATH={path}:$PATH; {command}"], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def lfs(repo: Repo, tmp_path: Path) -> Repo:
    """A clone with three versions of two models of one name, none of whose objects is here."""
    if why := why_not("lfs"):
        pytest.skip(why)
    repo.lfs_track("*.safetensors")
    for data in (OLD, NEW, NEWEST):
        repo.commit({"m.safetensors": data, "other/m.safetensors": data, "--all.safetensors": data})
    bare = Repo.init(tmp_path / "server.git", "--bare")
    repo.git("remote", "add", "origin", f"file://{bare.top}")
    repo.git("push", "-q", "origin", "main")
    return bare.clone_without_lfs_objects(tmp_path / "clone")


def lfs_objects(repo: Repo) -> int:
    folder = repo.top / ".git/lfs/objects"
    return sum(1 for path in folder.rglob("*") if path.is_file()) if folder.exists() else 0


@pytest.mark.parametrize("path", ["m.safetensors", "--all.safetensors"])
def test_the_lfs_hint_of_an_old_version_brings_that_version(lfs: Repo, path: str) -> None:
    words = (f"HEAD~2:{path}", f"HEAD~1:{path}")
    for _ in words:
        follow(hint(diffai(*words, cwd=lfs.top).stdout), lfs.top)
    done = diffai(*words, cwd=lfs.top)
    assert done.returncode == 0 and "w: mean=1->2" in done.stdout.replace(".0000", ""), done.stdout
    assert lfs_objects(lfs) == 2


def test_the_lfs_hint_under_git_names_the_commit_of_the_pointer(lfs: Repo) -> None:
    """A driver is told no revision."""
    assert diffai("install", cwd=lfs.top).returncode == 0
    skip = {"GIT_LFS_SKIP_SMUDGE": "1"}
    for _ in range(2):
        follow(hint(lfs.run("diff", "HEAD~2", "HEAD~1", "--", "m.safetensors", env=skip).stdout), lfs.top)
    assert "Model Changes" in lfs.run("diff", "HEAD~2", "HEAD~1", "--", "m.safetensors", env=skip).stdout


def test_fetch_of_a_comparison_brings_both_sides_and_nothing_else(lfs: Repo) -> None:
    done = diffai("--fetch", "HEAD~2", "HEAD~1", "--", "m.safetensors", cwd=lfs.top)
    assert done.returncode == 0 and "Model Changes" in done.stdout, done.stdout + done.stderr
    assert lfs_objects(lfs) == 2
    assert diffai("--fetch", "HEAD~2:m.safetensors", "HEAD:m.safetensors", cwd=lfs.top).returncode == 0
    done = diffai("--fetch", "HEAD~1..HEAD", cwd=lfs.top)
    assert done.returncode == 0 and "3 model files: 3 changed" in done.stdout, done.stdout + done.stderr


def test_one_hint_brings_all_shards_of_a_model(repo: Repo, tmp_path: Path) -> None:
    if why := why_not("lfs"):
        pytest.skip(why)
    repo.lfs_track("*.safetensors")
    names = [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]
    index = json.dumps({"metadata": {}, "weight_map": {f"w{n}": name for n, name in enumerate(names)}})
    for value in (1.0, 2.0):
        shards = {name: save({f"w{n}": np.full(4, value + n, "f4")}) for n, name in enumerate(names)}
        repo.commit({**shards, "model.safetensors.index.json": index})
    bare = Repo.init(tmp_path / "server.git", "--bare")
    repo.git("remote", "add", "origin", f"file://{bare.top}")
    repo.git("push", "-q", "origin", "main")
    clone = bare.clone_without_lfs_objects(tmp_path / "clone")
    words = tuple(f"{rev}:model.safetensors.index.json" for rev in ("HEAD~1", "HEAD"))
    said = diffai(*words, cwd=clone.top).stdout
    assert said.count("bring it with") == 2 and "3 shards of HEAD~1:model.safetensors.index.json" in said
    follow(hint(said), clone.top)
    assert lfs_objects(clone) == 3
    done = diffai("--fetch", *words, cwd=clone.top)
    assert done.returncode == 0 and "~ w0: mean=1.0000->2.0000" in done.stdout, done.stdout + done.stderr
    assert lfs_objects(clone) == 6


def test_no_hint_without_a_remote(repo: Repo) -> None:
    if why := why_not("lfs"):
        pytest.skip(why)
    repo.lfs_track("*.safetensors")
    repo.commit({"m.safetensors": OLD})
    shutil.rmtree(repo.top / ".git/lfs/objects")
    said = diffai("show", "HEAD:m.safetensors", cwd=repo.top).stderr
    assert "LFS object not downloaded" in said and "bring it with" not in said


def test_the_annex_hint_of_an_old_version_names_its_key(repo: Repo, tmp_path: Path) -> None:
    if why := why_not("annex-locked"):
        pytest.skip(why)
    held = Held(repo, "annex-locked")
    for value in (1.0, 2.0):
        held.commit({"w": np.full(4, value, "f4")}, str(value))
    clone = repo.clone(tmp_path / "clone")
    clone.git("annex", "init", "-q", "clone")
    clone.git("remote", "set-url", "origin", str(repo.top))
    words = (f"HEAD~1:{held.path}", held.path)
    old = hint(diffai(*words, cwd=clone.top).stdout)
    assert old.startswith("git annex get --key=")
    follow(old, clone.top)
    new = hint(diffai(*words, cwd=clone.top).stdout)
    assert new == f"git annex get -- {held.path}"  # the work tree's own comes to life
    follow(new, clone.top)
    assert diffai(*words, cwd=clone.top).returncode == 0


@pytest.mark.parametrize("configured", ["before", "after"])
def test_the_dvc_hint_of_an_old_version_names_the_remote(repo: Repo, tmp_path: Path, configured: str) -> None:
    """Also of a commit that is older than the remote: DVC takes the configuration of the commit that it looks at."""
    if why := why_not("real-dvc"):
        pytest.skip(why)
    store = ("remote", "add", "-q", "-d", "store", str(tmp_path / "store"))
    run_dvc("init", "-q", cwd=repo.top)
    if configured == "before":
        run_dvc(*store, cwd=repo.top)
    for data in (OLD, NEW):
        (repo.top / "m.safetensors").write_bytes(data)
        run_dvc("add", "-q", "m.safetensors", cwd=repo.top)
        if configured == "before":
            run_dvc("push", "-q", cwd=repo.top)
        repo.git("add", "-A")
        repo.git("commit", "-q", "-m", "version")
    if configured == "after":
        run_dvc(*store, cwd=repo.top)
        repo.git("commit", "-q", "-a", "-m", "remote")
        shutil.copytree(repo.top / ".dvc/cache", tmp_path / "store")
    shutil.rmtree(repo.top / ".dvc/cache")
    (repo.top / "m.safetensors").unlink()
    old = "HEAD~1" if configured == "before" else "HEAD~2"
    words = (f"{old}:m.safetensors", "HEAD:m.safetensors")
    command = hint(diffai(*words, cwd=repo.top).stdout)
    assert "fetch --all-commits -r store m.safetensors.dvc" in command
    assert ("DVC_GLOBAL_CONFIG_DIR=.dvc " in command) == (configured == "after")
    follow(command, repo.top)
    assert diffai(*words, cwd=repo.top).returncode == 0


def test_fetch_of_dvc_between_revisions(repo: Repo, tmp_path: Path) -> None:
    if why := why_not("real-dvc"):
        pytest.skip(why)
    run_dvc("init", "-q", cwd=repo.top)
    run_dvc("remote", "add", "-q", "-d", "store", str(tmp_path / "store"), cwd=repo.top)
    (repo.top / "ckpt").mkdir()
    for data in (OLD, NEW):
        (repo.top / "ckpt/m.safetensors").write_bytes(data)
        run_dvc("add", "-q", "ckpt", cwd=repo.top)
        run_dvc("push", "-q", cwd=repo.top)
        repo.git("add", "-A")
        repo.git("commit", "-q", "-m", "version")
    shutil.rmtree(repo.top / ".dvc/cache")
    shutil.rmtree(repo.top / "ckpt")
    done = diffai("--fetch", "HEAD~1", "HEAD", "--", "ckpt", cwd=repo.top)
    assert done.returncode == 0 and "m.safetensors\n  Model Changes" in done.stdout, done.stdout + done.stderr
    shutil.rmtree(repo.top / ".dvc/cache")
    done = diffai("--fetch", "HEAD~1..HEAD", cwd=repo.top)
    assert done.returncode == 0 and "ckpt/m.safetensors\n  Model Changes" in done.stdout, done.stdout + done.stderr


# ---------------------------------------------------------------- as data


def test_shards_of_one_model_are_one_state_with_one_command() -> None:
    def lfs(path: str) -> LfsPointer:
        command = FetchCommand("git-lfs", ("git", "lfs", "fetch", "origin"), (path,), ("v1",), "-I", ",")
        return LfsPointer("ab" * 32, 5, path[1:], (command,))

    found = joined_states([lfs("/m-1.safetensors"), lfs("/m-2.safetensors")], "m.safetensors")
    assert isinstance(found, NotPulled)
    assert (found.what, found.size) == ("2 shards of m.safetensors", 10)
    assert command_line(found.fetch) == "git lfs fetch origin v1 -I /m-1.safetensors,/m-2.safetensors"
    keys = [FetchCommand("git-annex", ("git", "annex", "get"), (f"--key={k}",), joined="each") for k in "ab"]
    assert command_line(merged(keys)) == "git annex get --key=a && git annex get --key=b"
    assert joined_states([lfs("/one")], "m") == lfs("/one")
