"""The driver and textconv remember by content, and never take a pointer for its object."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from gitrepo import Repo
from model_history import commit, diffai, history, start, trained
from safetensors.numpy import save


@pytest.fixture
def driven(repo: Repo) -> Repo:
    """A repository whose models git shows through us."""
    program = f"'{sys.executable}' -P -m diffai"
    repo.config("diff.diffai.command", f"{program} git-driver")
    repo.config("diff.diffai.textconv", f"{program} textconv")
    (repo.top / ".git" / "info" / "attributes").write_text("*.safetensors diff=diffai\n")
    return repo


def cached(repo: Repo) -> list[Path]:
    return [path for path in (repo.top / ".git" / "diffai").rglob("*") if path.is_file()]


def test_the_second_time_says_the_same(driven: Repo) -> None:
    history(driven, 3)
    for words in (("diff", "HEAD~1", "HEAD"), ("log", "-p"), ("show", "HEAD")):
        off = driven.git("-c", "diffai.cacheSize=0", *words)
        cold = driven.git(*words)
        assert cached(driven)
        assert driven.git(*words) == cold == off


def test_a_hit_needs_no_numpy_and_no_arithmetic(driven: Repo, tmp_path: Path) -> None:
    (_, a), (_, b) = history(driven, 2)
    old, new = tmp_path / "old.safetensors", tmp_path / "new.safetensors"
    old.write_bytes(save(a))
    new.write_bytes(save(b))
    sides = f"'{old}', 'a' * 40, '100644', '{new}', 'b' * 40, '100644'"
    for call in (f"driver; driver.main(['model.safetensors', {sides}])", f"textconv; textconv.main(['{new}'])"):
        code = f"import sys; from diffai.git import {call}; sys.stderr.write(str('numpy' in sys.modules))"
        runs = [
            subprocess.run(
                [sys.executable, "-P", "-c", code], cwd=driven.top, capture_output=True, text=True, check=True
            )
            for _ in range(2)
        ]
        assert [run.stderr for run in runs] == ["True", "False"]
        assert runs[0].stdout == runs[1].stdout


def test_a_changed_work_tree_file_is_seen(driven: Repo) -> None:
    ((_, weights),) = history(driven, 1)
    seen = set()
    for seed in range(3):
        driven.write({"model.safetensors": save(trained(weights, seed, "head.bias"))})
        seen.add(driven.git("diff"))
        driven.git("diff")
    assert len(seen) == 3


def test_an_option_makes_another_entry(driven: Repo) -> None:
    history(driven, 2)
    plain = driven.git("diff", "HEAD~1", "HEAD")
    assert "tolerance" in driven.git("-c", "diffai.epsilon=100", "diff", "HEAD~1", "HEAD")
    assert driven.git("diff", "HEAD~1", "HEAD") == plain


def test_a_pointer_is_never_remembered_as_its_object(driven: Repo) -> None:
    driven.lfs_track("*.safetensors")
    weights = start()
    commit(driven, weights, "a")
    commit(driven, trained(weights, 1), "b")
    skip = {"GIT_LFS_SKIP_SMUDGE": "1"}
    store = driven.top / ".git" / "lfs" / "objects"
    store.rename(store.parent / "away")
    unresolved = driven.git("log", "-p", "-1", env=skip)
    assert "LFS object not downloaded" in unresolved
    shutil.rmtree(store, ignore_errors=True)  # git-lfs makes the empty folder again
    (store.parent / "away").rename(store)
    resolved = driven.git("log", "-p", "-1")
    assert "xxh3:" in resolved and "not downloaded" not in resolved
    # A pointer whose object is here gives what the object gives, both cold and warm.
    through_pointer = driven.git("log", "-p", "-1", env=skip)
    assert through_pointer == driven.git("log", "-p", "-1", env=skip) == resolved


def test_linked_work_trees_share_it(driven: Repo, tmp_path: Path) -> None:
    history(driven, 2)
    driven.git("worktree", "add", "-q", str(tmp_path / "linked"))
    diffai(driven.top, "log", "--", "model.safetensors")
    before = len(cached(driven))
    diffai(tmp_path / "linked", "log", "--", "model.safetensors")
    assert len(cached(driven)) == before
    assert str(driven.top) in diffai(tmp_path / "linked", "cache", "info")


def test_info_and_clear(driven: Repo) -> None:
    assert "0 entries" in diffai(driven.top, "cache", "info")
    history(driven, 3)
    text = diffai(driven.top, "log", "--", "model.safetensors")
    assert "3 versions" in diffai(driven.top, "cache", "info")
    assert "removed" in diffai(driven.top, "cache", "clear")
    assert not cached(driven)
    assert diffai(driven.top, "log", "--", "model.safetensors") == text
    assert "removed" in diffai(driven.top, "cache", "clear")
    assert diffai(driven.top, "cache", "clear") == "the cache was empty\n"


def test_damaged_entries_do_no_harm(driven: Repo) -> None:
    history(driven, 3)
    text = diffai(driven.top, "log", "-p", "--", "model.safetensors")
    for path in cached(driven):
        path.write_bytes(path.read_bytes()[:-1])
    assert diffai(driven.top, "log", "-p", "--", "model.safetensors") == text
