"""Repositories, commits, trees and blobs of GitPython, pygit2 and dulwich, in the functions of the Python API."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import git
import numpy as np
import pytest
import safetensors.numpy

import diffai
from diffai.api import LogOptions, Range, UsageError
from diffai.errors import DiffaiError, SourceError


def weights(epoch: float) -> dict[str, Any]:
    return {"fc.weight": np.full((2, 2), epoch, "float32"), "fc.bias": np.zeros(2, "float32")}


def write(folder: Path, path: str, epoch: float) -> None:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(weights(epoch), str(folder / path))


@pytest.fixture
def repo(tmp_path: Path) -> git.Repo:
    made = git.Repo.init(tmp_path / "repo", initial_branch="main")
    with made.config_writer() as config:
        config.set_value("user", "name", "A U Thor")
        config.set_value("user", "email", "a@b.example")
    folder = Path(str(made.working_tree_dir))
    for epoch in (1, 2, 3):
        write(folder, "models/m.safetensors", epoch)
        made.index.add(["models/m.safetensors"])
        made.index.commit(f"epoch {epoch}")
    return made


def folder_of(repo: git.Repo) -> str:
    return str(repo.working_tree_dir)


def gitpython(repo: git.Repo, rev: str) -> Any:
    return repo.commit(rev)


def pygit2_commit(repo: git.Repo, rev: str) -> Any:
    pygit2 = pytest.importorskip("pygit2")
    return pygit2.Repository(folder_of(repo)).revparse_single(rev)


def dulwich_commit(repo: git.Repo, rev: str) -> Any:
    dulwich = pytest.importorskip("dulwich.repo")
    return dulwich.Repo(folder_of(repo))[repo.commit(rev).hexsha.encode()]


COMMITS: list[Callable[[git.Repo, str], Any]] = [gitpython, pygit2_commit, dulwich_commit]
PATH = "models/m.safetensors"


@pytest.mark.parametrize("commit", COMMITS)
def test_commits_are_compared(repo: git.Repo, commit: Callable[[git.Repo, str], Any]) -> None:
    old, new = commit(repo, "HEAD~1"), commit(repo, "HEAD")
    found = diffai.compare(old, new, path=PATH, repository=folder_of(repo))
    assert [(change.name, change.status) for change in found.changes] == [("fc.weight", ("changed",))]
    assert diffai.compare(old, new, repository=repo).differs  # there is one model only
    assert not diffai.compare(new, new, repository=repo).differs


def test_trees_and_blobs_of_each_library(repo: git.Repo) -> None:
    pygit2, dulwich = pytest.importorskip("pygit2"), pytest.importorskip("dulwich.repo")
    head, before = repo.head.commit, repo.commit("HEAD~1")
    two = pygit2.Repository(folder_of(repo))
    three = dulwich.Repo(folder_of(repo))
    blob = head.tree / PATH
    blobs = [blob, two[blob.hexsha], three[blob.hexsha.encode()]]
    trees = [head.tree, two.revparse_single("HEAD").tree, three[head.tree.hexsha.encode()]]
    for each in blobs:
        assert diffai.compare(before.tree / PATH, each, repository=repo).differs
        assert not diffai.compare(blob, each, repository=two).differs
        assert list(diffai.open_checkpoint(each, repository=three).tensors) == ["fc.bias", "fc.weight"]
    for each in trees:
        assert not diffai.compare(head, each, path=PATH, repository=repo).differs
    assert not diffai.compare(head.tree / "models", blob, path="m.safetensors").differs  # a tree below the top


def test_a_repository_is_its_work_tree(repo: git.Repo) -> None:
    pygit2, dulwich = pytest.importorskip("pygit2"), pytest.importorskip("dulwich.repo")
    write(Path(folder_of(repo)), PATH, 9)
    for each in (repo, pygit2.Repository(folder_of(repo)), dulwich.Repo(folder_of(repo))):
        assert diffai.compare(repo.head.commit, each).differs
        assert [entry.kind for entry in diffai.history(each, PATH)] == ["changed", "changed", "added"]
    bare = repo.clone(str(Path(folder_of(repo)).parent / "bare.git"), bare=True)
    assert not diffai.compare(bare, repo.head.commit).differs  # that of HEAD where there is none
    assert [entry.kind for entry in diffai.history(bare, PATH)] == ["changed", "changed", "added"]


def test_the_working_directory_does_not_matter(repo: git.Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert diffai.compare(repo.commit("HEAD~2"), repo.head.commit).differs
    with pytest.raises(SourceError, match="not in a git repository"):
        diffai.compare(pygit2_commit(repo, "HEAD"), pygit2_commit(repo, "HEAD"))


def test_which_model_has_to_be_said_where_there_are_several(repo: git.Repo) -> None:
    write(Path(folder_of(repo)), "other.safetensors", 1)
    repo.index.add(["other.safetensors"])
    repo.index.commit("another model")
    with pytest.raises(UsageError, match=r"path= has to say which model: models/m.safetensors, other.safetensors"):
        diffai.compare(repo.head.commit, repo.head.commit)
    with pytest.raises(SourceError, match="there is no such file"):
        diffai.compare(repo.head.commit, repo.head.commit, path="missing.pt")
    found = diffai.compare_trees(repo.commit("HEAD~1"), repo.head.commit)
    assert {file.path: file.status for file in found} == {"other.safetensors": "added"}
    write(Path(folder_of(repo)), PATH, 7)
    changed = diffai.compare_trees(repo.head.commit, repo)
    assert [file.path for file in changed if file.diff is None or file.diff.differs] == [PATH]
    repo.git.checkout("--", PATH)
    assert not diffai.compare_trees(repo.head.commit, repo).differs
    assert not diffai.compare_trees(repo.head.commit, folder_of(repo)).differs


def test_pointers_in_commits_are_followed(repo: git.Repo) -> None:
    folder = Path(folder_of(repo))
    write(folder, PATH, 5)
    data = (folder / PATH).read_bytes()
    oid = hashlib.sha256(data).hexdigest()
    stored = folder / ".git/lfs/objects" / oid[:2] / oid[2:4] / oid
    stored.parent.mkdir(parents=True)
    stored.write_bytes(data)
    (folder / PATH).write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(data)}\n")
    repo.index.add([PATH])
    repo.index.commit("kept in git-LFS")
    found = diffai.compare(repo.commit("HEAD~1"), repo.head.commit)
    assert [change.name for change in found.changes] == ["fc.weight"]
    assert not diffai.compare(repo.head.commit.tree / PATH, data).differs
    stored.unlink()
    repo.create_remote("origin", "https://host.invalid/repo.git")
    with pytest.raises(DiffaiError, match="git lfs"):
        diffai.compare(repo.commit("HEAD~1"), repo.head.commit)


def test_history_gives_the_commits_of_the_callers_repository(repo: git.Repo) -> None:
    entries = list(diffai.history(repo, PATH))
    assert [entry.commit for entry in entries] == list(repo.iter_commits())
    assert entries[0].commit.repo is repo
    assert [entry.commit.message for entry in entries] == ["epoch 3", "epoch 2", "epoch 1"]
    assert [entry.update_size for entry in entries] == [0.5, 1.0, None]
    assert [entry.figures.changed for entry in entries if entry.figures] == [1, 1, 0]
    assert entries[0].as_dict()["figures"]["update_size"] == 0.5
    diffs = [entry.diff() for entry in entries]
    assert [len(diff.changes) for diff in diffs] == [1, 1, 2]
    assert diffs[2].changes[0].status == ("added",)


def test_history_of_a_path_and_of_a_folder(repo: git.Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    full = os.path.join(folder_of(repo), PATH)
    for given in ((full,), (Path(full),), (folder_of(repo), PATH), (repo.head.commit, PATH), (repo.head.commit.tree / PATH,)):
        assert [entry.hexsha for entry in diffai.history(*given)] == [commit.hexsha for commit in repo.iter_commits()]
    monkeypatch.chdir(os.path.dirname(full))
    assert [entry.kind for entry in diffai.history("m.safetensors")] == ["changed", "changed", "added"]


def test_history_up_to_a_commit_and_of_a_range(repo: git.Repo) -> None:
    assert [entry.kind for entry in diffai.history(repo.commit("HEAD~1"), PATH)] == ["changed", "added"]
    options = LogOptions(range=Range(("HEAD~1..HEAD",)))
    assert [entry.commit.message for entry in diffai.history(repo, PATH, options)] == ["epoch 3"]
    first = LogOptions(compare_to="first")
    latest = next(diffai.history(repo, PATH, first))
    assert latest.update_size == 2.0
    assert latest.diff().changes[0].figures.delta.relative_l2 == 2.0


def test_history_goes_through_a_removal_and_a_rename(repo: git.Repo) -> None:
    repo.index.move([PATH, "models/n.safetensors"])
    repo.index.commit("rename")
    repo.index.remove(["models/n.safetensors"], working_tree=True)
    repo.index.commit("remove")
    entries = list(diffai.history(repo, "models/n.safetensors", LogOptions(follow=True)))
    assert [entry.kind for entry in entries] == ["removed", "same", "changed", "changed", "added"]
    assert entries[1].renamed_from == PATH
    assert [change.status for change in entries[0].diff().changes] == [("removed",)] * 2


def test_what_is_no_repository_says_so(repo: git.Repo, tmp_path: Path) -> None:
    with pytest.raises(DiffaiError):
        list(diffai.history(str(tmp_path), "m.pt"))
    with pytest.raises(UsageError, match="is no repository"):
        diffai.compare(pygit2_commit(repo, "HEAD"), repo.head.commit, repository=3)


def test_history_is_a_function_whoever_loads_the_package_first() -> None:
    for first in ("import diffai.history.log", "import diffai.api", "pass"):
        script = f"{first}\nimport diffai\nprint(callable(diffai.history), diffai.history.__module__)"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.startswith("True")


def test_nothing_that_git_calls_loads_gitpython(repo: git.Repo) -> None:
    script = """
import os, sys
def ended(status):
    sys.stderr.write(repr(sorted({"git", "gitdb", "pygit2", "dulwich"} & set(sys.modules))))
    sys.stderr.flush()
    sys.stdout.flush()
    leave(status)
leave, os._exit = os._exit, ended
from diffai.__main__ import main
sys.argv = ["diffai", *sys.argv[1:]]
try:
    main()
finally:
    ended(0)
"""
    for words in (["textconv", PATH], ["log", "--", PATH], ["HEAD~1", "HEAD", "--", PATH], ["gate", "--base", "HEAD~1"]):
        command = [sys.executable, "-c", script, *words]
        done = subprocess.run(command, cwd=folder_of(repo), capture_output=True, text=True, check=False)
        assert done.stderr.rstrip().endswith("[]"), (words, done.stderr)
