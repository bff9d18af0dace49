"""Approval of exactly one change, in a file that people review."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import pytest
from gating import DIFFAI, gate, gate_json, model, staged
from gitrepo import Repo


@pytest.fixture
def base(repo: Repo) -> Repo:
    repo.commit({"m.safetensors": model(4)})
    return repo


def test_an_approval_passes_this_change_and_no_other(base: Repo) -> None:
    staged(base, {"m.safetensors": model(5)})
    done = gate(base, "approve", "m.safetensors", "--why", 'the "fifth" class\n')
    assert done.returncode == 0 and "git add :/.diffai/approvals" in done.stdout
    not_yet = gate(base)
    assert not_yet.returncode == 1 and "but that is not staged" in not_yet.stdout
    assert "stage it" in not_yet.stdout and "git add :/.diffai/approvals" in not_yet.stdout
    base.git("add", ".diffai")
    passed = gate(base)
    assert passed.returncode == 0
    assert 'approved by A U Thor <author@example.com> on 2024-01-01: the "fifth" class' in passed.stdout
    staged(base, {"m.safetensors": model(5, scale=3)})
    assert gate(base).returncode == 0  # the same structure with other values
    staged(base, {"m.safetensors": model(6)})
    other = gate(base)
    assert other.returncode == 1
    assert "1 approval of this model is for another change (stale)" in other.stdout


def test_the_file_is_reviewable_text(base: Repo) -> None:
    staged(base, {"m.safetensors": model(5)})
    gate(base, "approve", "m.safetensors", "--why", "5 classes")
    gate(base, "approve", "m.safetensors", "--why", "again")
    (file,) = (base.top / ".diffai" / "approvals").iterdir()
    entry = tomllib.loads(file.read_text())
    assert entry["who"] == "A U Thor <author@example.com>" and entry["why"] == "5 classes"
    assert entry["old"].startswith("sha256:") and len(entry["new"]) == 71
    assert "head.weight: shape=[4, 2] -> [5, 2]" in entry["what"]


def test_what_is_no_structure_cannot_be_approved(base: Repo) -> None:
    staged(base, {"m.safetensors": model(4, nan=True)})
    done = gate(base, "approve", "m.safetensors", "--why", "x")
    assert done.returncode == 2 and "nothing to approve" in done.stderr
    staged(base, {"m.safetensors": model(5, nan=True)})
    done = gate(base, "approve", "m.safetensors", "--why", "x")
    assert "still refused: forbid_nan" in done.stdout
    base.git("add", ".diffai")
    assert gate(base).returncode == 1


def test_a_range_reads_the_approvals_of_its_head(base: Repo) -> None:
    base.git("checkout", "-q", "-b", "work")
    base.commit({"m.safetensors": model(5)})
    assert gate(base, "--base", "main").returncode == 1
    done = gate(base, "approve", "m.safetensors", "--why", "5", "--base", "main")
    assert done.returncode == 0 and "once it is committed" in done.stdout
    assert gate(base, "--base", "main").returncode == 1
    base.git("add", ".diffai")
    base.git("commit", "-q", "-m", "approve")
    assert gate_json(base, "--base", "main")["models"][0]["outcome"] == "approved"


def test_the_list_tells_open_used_and_stale(base: Repo) -> None:
    assert "no approvals" in gate(base, "approve", "--list").stdout
    staged(base, {"m.safetensors": model(5)})
    gate(base, "approve", "m.safetensors", "--why", "5")
    assert "m.safetensors: open" in gate(base, "approve", "--list").stdout
    base.git("commit", "-q", "-m", "5")
    assert "m.safetensors: used" in gate(base, "approve", "--list").stdout
    base.commit({"m.safetensors": model(7)})
    assert "m.safetensors: STALE" in gate(base, "approve", "--list").stdout


def test_a_deleted_model_with_frozen_tensors_stays_refused(base: Repo) -> None:
    base.commit({".diffai.toml": '[gate]\nmodels = {deleted = "forbid"}\n'})
    base.git("rm", "-q", "m.safetensors")
    assert gate(base).returncode == 1
    assert gate(base, "approve", "m.safetensors", "--why", "retired").returncode == 0
    base.git("add", ".diffai")
    assert gate(base).returncode == 0


@pytest.mark.parametrize("text", ["[[approval", "x = 1\n", '[[approval]]\npath = "m"\n',
                                  '[[approval]]\npath = "m"\nold = "a"\nnew = "b"\nwhoo = "c"\n'])  # fmt: skip
def test_a_broken_approvals_file_is_an_error(base: Repo, text: str) -> None:
    staged(base, {"m.safetensors": model(5), ".diffai-approvals": text})
    done = gate(base)
    assert done.returncode == 2 and ".diffai-approvals: " in done.stderr


def test_nothing_staged_says_how_to_go_on(base: Repo) -> None:
    done = gate(base, "approve", "m.safetensors", "--why", "x")
    assert done.returncode == 2 and "stage it with git add, or name a range: --base REV" in done.stderr


def test_branches_that_approve_do_not_conflict(base: Repo) -> None:
    base.commit({"n.safetensors": model(4)})
    for branch, name in (("left", "m"), ("right", "n")):
        base.git("checkout", "-q", "-b", branch, "main")
        staged(base, {f"{name}.safetensors": model(5)})
        assert gate(base, "approve", f"{name}.safetensors", "--why", "5").returncode == 0
        base.git("add", ".diffai")
        base.git("commit", "-q", "-m", branch)
    base.git("merge", "-q", "-m", "both", "left")
    assert [m["outcome"] for m in gate_json(base, "--base", "main")["models"]] == ["approved", "approved"]


def approve_step(base: Repo, classes: int) -> None:
    staged(base, {"m.safetensors": model(classes)})
    assert gate(base, "approve", "m.safetensors", "--why", f"{classes} classes").returncode == 0
    base.git("add", ".diffai")
    assert gate(base).returncode == 0
    base.git("commit", "-q", "-m", str(classes))


def test_approvals_of_two_steps_compose_to_the_range(base: Repo) -> None:
    base.git("checkout", "-q", "-b", "work")
    approve_step(base, 12)
    approve_step(base, 14)
    report = gate_json(base, "--base", "main")
    assert report["exit_code"] == 0 and report["models"][0]["outcome"] == "approved"
    assert "12 classes; then approved by" in report["models"][0]["approval"]
    lines = gate(base, "approve", "--list").stdout
    assert lines.count("m.safetensors: used") == 2 and "STALE" not in lines


def test_a_step_that_nobody_approved_breaks_the_chain(base: Repo) -> None:
    base.git("checkout", "-q", "-b", "work")
    approve_step(base, 12)
    base.commit({"m.safetensors": model(13)})
    approve_step(base, 14)
    assert gate(base, "--base", "main").returncode == 1


def test_steps_never_lift_the_largest_change_of_parameters(base: Repo) -> None:
    base.commit({".diffai.toml": '[gate]\nmax_param_change = "30%"\n'})
    base.git("checkout", "-q", "-b", "work")
    approve_step(base, 5)
    approve_step(base, 6)
    assert gate(base, "--base", "main").returncode == 0
    approve_step(base, 9)
    done = gate(base, "--base", "main")
    assert done.returncode == 1 and "max_param_change" in done.stdout
    assert "structure.reshaped: 2 tensors reshaped - approved" in done.stdout
    assert gate(base, "approve", "m.safetensors", "--why", "9 at once", "--base", "main").returncode == 0
    base.git("add", ".diffai")
    base.git("commit", "-q", "-m", "approve the whole")
    assert gate(base, "--base", "main").returncode == 0


def test_two_who_approve_at_once_lose_none(base: Repo) -> None:
    names = [f"m{n}.safetensors" for n in range(6)]
    base.commit({name: model(4) for name in names})
    staged(base, {name: model(5 + at) for at, name in enumerate(names)})
    running = [subprocess.Popen([DIFFAI, "gate", "approve", name, "--why", name], cwd=base.top) for name in names]
    assert [one.wait() for one in running] == [0] * len(names)
    base.git("add", ".diffai")
    assert gate(base).returncode == 0


def test_approvals_of_earlier_versions_are_read(base: Repo) -> None:
    staged(base, {"m.safetensors": model(5)})
    change = gate_json(base)["models"][0]["structure"]
    entry = f"[[approval]]\npath = 'm.safetensors'\nold = '{change['old']}'\nnew = '{change['new']}'\n"
    staged(base, {".diffai-approvals": entry})
    assert gate(base).returncode == 0
    assert "m.safetensors: open" in gate(base, "approve", "--list").stdout


@pytest.mark.parametrize("text", ["path = 1\n", "[[approval]]\n", "x", "path = '" + "x" * 70_000 + "'"])
def test_a_broken_approval_is_an_error(base: Repo, text: str) -> None:
    staged(base, {"m.safetensors": model(5), ".diffai/approvals/x.toml": text, ".diffai/approvals/README": "x"})
    done = gate(base)
    assert done.returncode == 2 and ".diffai/approvals/x.toml: " in done.stderr


def test_an_approval_is_not_written_through_a_link(base: Repo, tmp_path: Path) -> None:
    (base.top / ".diffai").symlink_to(tmp_path)
    staged(base, {"m.safetensors": model(5)})
    done = gate(base, "approve", "m.safetensors", "--why", "x")
    assert done.returncode == 2 and "symbolic link" in done.stderr and not (tmp_path / "approvals").exists()
