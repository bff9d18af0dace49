"""A team's whole history, entry by entry and figure by figure, against one that is told without our code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gitrepo import Repo, isolate
from holders import why_not
from model_history import diffai
from project import PATHS, State, Told, make_project

PATH = PATHS[0]
RENAMED = {"stem.weight": "layers.0.weight", "stem.bias": "layers.0.bias"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repo]:
    if why := why_not("lfs"):
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("project")
    (folder / "home").mkdir()
    with pytest.MonkeyPatch.context() as monkeypatch:
        isolate(monkeypatch, folder / "home")
        yield make_project(Repo.init(folder / "repo"))


@pytest.fixture(scope="module")
def told(project: Repo) -> Told:
    return Told(project.top)


def log(top: Path, *words: str) -> list[dict[str, Any]]:
    """Newest first."""
    found: list[dict[str, Any]] = json.loads(diffai(top, "log", "--format", "json", *words))["entries"]
    return found


def kind_of(before: State | None, now: State | None) -> str:
    if now is None:
        return "removed"
    if before is None:
        return "added"
    return "same" if before.data == now.data else "changed"


def check(found: list[dict[str, Any]], told: Told, commits: list[str]) -> None:
    """Entries, newest first, against the history told anew."""
    assert [entry["commit"] for entry in found] == commits
    first = told.states[commits[-1]]
    assert first is not None
    for entry in found:
        commit, figures = entry["commit"], entry["figures"]
        state, before = told.states[commit], told.before(commit)
        where = entry["subject"]
        assert entry["kind"] == kind_of(before, state), where
        if state is None:
            continue
        assert (entry["path"], entry["holder"]) == (state.path, state.holder), where
        moved = before is not None and before.holder != state.holder
        assert entry["moved_from"] == (before.holder if moved and before else None), where
        renamed = before is not None and before.path != state.path
        assert entry["renamed_from"] == (before.path if renamed and before else None), where
        weights = state.weights
        assert figures["tensors"] == len(weights), where
        assert figures["size"] == len(state.data), where
        assert figures["parameters"] == sum(v.size for n, v in weights.items() if "running" not in n), where
        for name, value in told.figures(commit, first, RENAMED).items():
            got = figures[name]
            assert got == (None if value is None else pytest.approx(value, rel=1e-9, abs=1e-12)), (where, name)
        if before is not None:
            check_counts(figures, before, state, where)


def check_counts(figures: dict[str, Any], before: State, state: State, where: str) -> None:
    old, new = before.weights, state.weights
    old = {next((n for n, o in RENAMED.items() if o == name and n in new), name): value for name, value in old.items()}
    both = [name for name in new if name in old]
    alike = [name for name in both if old[name].shape == new[name].shape]
    # A cast that only rounds is a cast, and no change of values.
    changed = [n for n in alike if (old[n].astype(new[n].dtype) != new[n]).any()]
    assert figures["added"] == len(new) - len(both), where
    assert figures["removed"] == len(old) - len(both), where
    assert figures["reshaped"] == len(both) - len(alike), where
    assert figures["cast"] == sum(old[n].dtype != new[n].dtype for n in both), where
    assert figures["renamed"] == sum(n in RENAMED and n not in before.weights for n in new), where
    assert figures["changed"] == len(changed), where
    parameters = [n for n in changed if "running" not in n]
    modified = sum(int((old[n].astype("f8") != new[n].astype("f8")).sum()) for n in parameters)
    assert figures["parameters_modified"] == modified, where


def test_the_history_is_long_and_varied(told: Told) -> None:
    commits = told.commits()
    assert len(commits) > 30
    assert sum(len(told.parents[commit]) == 3 for commit in commits) == 1  # an evil octopus
    assert sum(len(parents) == 3 for parents in told.parents.values()) == 2
    assert {state.holder for state in told.states.values() if state} == {"git", "git-lfs", "dvc"}


def test_every_entry(project: Repo, told: Told) -> None:
    check(log(project.top, "--follow", "--", PATH), told, told.commits())


def test_every_entry_out_of_the_cache(project: Repo, told: Told) -> None:
    check(log(project.top, "--follow", "--", PATH), told, told.commits())


def test_first_parents(project: Repo, told: Told) -> None:
    check(log(project.top, "--follow", "--first-parent", "--", PATH), told, told.commits(first_parent=True))


def test_it_ends_at_the_rename_unless_followed(project: Repo, told: Told) -> None:
    found = log(project.top, "--", PATH)
    assert found[-1]["subject"] == "rename and train"
    assert "renamed from models/net.safetensors" in diffai(project.top, "log", "--", PATH)


@pytest.mark.parametrize("rev", ["side", "discarded", "one", "HEAD~20"])
def test_other_branches(project: Repo, rev: str) -> None:
    told = Told(project.top, rev)
    path = next(state.path for state in [told.states[told.head]] if state)
    check(log(project.top, rev, "--follow", "--", path), told, told.commits())


def test_blame(project: Repo, told: Told) -> None:
    report = json.loads(diffai(project.top, "blame", "--format", "json", "HEAD", "--", PATH))
    assert len(report["tensors"]) == len(told.states[told.head].weights)  # type: ignore[union-attr]
    for tensor in report["tensors"]:
        assert tensor["values"]["commit"] == blamed(told, tensor["name"]), tensor["name"]


def blamed(told: Told, name: str) -> str:
    """The commit that a tensor's values come from: along the first parent that has the same."""
    at = told.head
    while True:
        state, parents = told.states[at], told.parents[at]
        assert state is not None
        same = [parent for parent in parents if told.states[parent] == state]
        value = state.weights[name]
        handed = [parent for parent in same or parents if _same(told.states[parent], name, value)]
        if not handed:
            return at
        at = handed[0]
        other = told.states[at]
        if other is not None and name not in other.weights:
            name = RENAMED[name]


def _same(state: State | None, name: str, value: Any) -> bool:
    if state is None:
        return False
    weights = state.weights
    found = weights.get(name, weights.get(RENAMED.get(name, "")))
    return (
        found is not None and found.dtype == value.dtype and found.shape == value.shape and bool((found == value).all())
    )


def test_a_shallow_clone(project: Repo, tmp_path: Path) -> None:
    clone = project.clone(tmp_path / "shallow", "--depth", "18")
    found = log(clone.top, "--follow", "--", PATHS[1])
    assert found[-1]["history_cut"] or found[-1]["kind"] == "added"
    assert any(entry["history_cut"] for entry in found)


def test_a_branch_that_never_had_it(project: Repo) -> None:
    project.git("branch", "-q", "empty", project.git("commit-tree", "-m", "x", project.git("mktree").strip()).strip())
    said = diffai(project.top, "log", "empty", "--", PATH, code=2)
    assert said == f"diffai: {PATH}: no commit of empty has it\n"
    assert "does not have it" in diffai(project.top, "blame", "empty", "--", PATH, code=2)
