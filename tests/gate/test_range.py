"""The gate on a range: merge base, the policy of the base, shallow clones."""

from __future__ import annotations

from pathlib import Path

import pytest
from gating import gate, gate_json, model
from gitrepo import Repo


@pytest.fixture
def branch(repo: Repo) -> Repo:
    """main has a model and a policy; the branch ``work`` is checked out."""
    repo.commit({"m.safetensors": model(4), ".diffai.toml": '[gate]\ndtype = "forbid"\n'})
    repo.git("checkout", "-q", "-b", "work")
    return repo


def test_a_range_is_judged_from_where_the_branch_left(branch: Repo) -> None:
    branch.git("checkout", "-q", "main")
    branch.commit({"m.safetensors": model(6)})
    branch.git("checkout", "-q", "work")
    branch.commit({"other.safetensors": model(4)})
    report = gate_json(branch, "--base", "main")
    assert [(m["path"], m["status"]) for m in report["models"]] == [("other.safetensors", "added")]
    assert "(where HEAD left main)" in report["old"]


def test_a_change_cannot_weaken_its_own_gate(branch: Repo) -> None:
    branch.commit({".diffai.toml": '[gate]\nstructure = "allow"\n', "m.safetensors": model(5)})
    done = gate(branch, "--base", "main")
    assert done.returncode == 1
    assert "the policy itself changes (.diffai.toml): it is judged by that of main" in done.stdout
    assert gate_json(branch, "--base", "main")["policy"] == "main:.diffai.toml"


def test_a_policy_change_alone_is_reported(branch: Repo) -> None:
    branch.commit({".diffai.toml": "[gate]\n"})
    done = gate(branch, "--base", "main")
    assert done.returncode == 0 and "the policy itself changes" in done.stdout


def test_a_policy_that_appears_in_the_range_does_not_count_yet(repo: Repo) -> None:
    repo.commit({"m.safetensors": model(4)})
    repo.git("checkout", "-q", "-b", "work")
    repo.commit({"m.safetensors": model(5), "pyproject.toml": '[tool.diffai.gate]\nstructure = "allow"\n'})
    done = gate(repo, "--base", "main")
    assert done.returncode == 1 and "the policy itself changes (pyproject.toml)" in done.stdout


def test_head_and_only_committed_content_count(branch: Repo) -> None:
    branch.commit({"m.safetensors": model(5)})
    branch.write({"m.safetensors": model(4)})
    assert gate(branch, "--base", "main").returncode == 1
    assert gate(branch, "--base", "main", "--head", "main").returncode == 0


def test_a_missing_object_fails_in_a_range(branch: Repo) -> None:
    from gitrepo import lfs_pointer

    branch.commit({"m.safetensors": lfs_pointer("1" * 64, 9)})
    assert gate(branch, "--base", "main").returncode == 2
    assert gate(branch, "--base", "main", "--on-missing", "warn").returncode == 0


def test_a_shallow_clone_is_explained(branch: Repo, tmp_path: Path) -> None:
    for n in range(3):
        branch.commit({"n.txt": str(n)})
    shallow = branch.clone(tmp_path / "shallow", "--depth", "1", "--branch", "work", "--no-single-branch")
    done = gate(shallow, "--base", "origin/main")
    assert done.returncode == 2 and "fetch-depth: 0" in done.stderr and "GIT_DEPTH: 0" in done.stderr


def test_an_unknown_base_names_the_command_that_brings_it(branch: Repo) -> None:
    done = gate(branch, "--base", "origin/nowhere")
    assert done.returncode == 2 and "git fetch origin nowhere" in done.stderr


def test_not_in_a_repository(home: Path, tmp_path: Path) -> None:
    from program import diffai

    done = diffai("gate", cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [("--head", "main"), ("--format", "xml"), ("--on-missing", "x"), ("--why", "x"),
                                   ("approve",), ("approve", "m.safetensors"), ("--frobnicate",)])  # fmt: skip
def test_wrong_words_are_usage_errors(branch: Repo, words: tuple[str, ...]) -> None:
    done = gate(branch, *words)
    assert done.returncode == 2 and done.stderr and "Traceback" not in done.stderr
