"""The pre-commit and pre-push hooks of plain git: commits that must pass and commits that must be refused."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest
from gating import DIFFAI, diffai, model, staged
from gitrepo import Repo


@pytest.fixture
def hooked(repo: Repo) -> Repo:
    """One model is committed, and the gate is a hook."""
    repo.commit({"m.safetensors": model(4), "a.txt": "a"})
    done = diffai("install", "--hook", "pre-commit", "--hook", "pre-push", cwd=repo.top)
    assert done.returncode == 0, done.stderr
    return repo


def snapshot(repo: Repo) -> dict[str, str]:
    """Digest of every file of the work tree, of the index and of the hooks, and HEAD."""
    state = {"HEAD": repo.rev_parse("HEAD"), "entries": repo.git("ls-files", "-s")}
    for folder, _, names in os.walk(repo.top):
        inside = os.path.relpath(folder, repo.top)
        if inside.startswith(".git") and not inside.startswith(os.path.join(".git", "hooks")):
            continue
        for name in names:
            path = Path(folder, name)
            state[str(path)] = f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.stat().st_mode:o}"
    return state


def test_a_refused_commit_leaves_everything_as_it_was(hooked: Repo) -> None:
    staged(hooked, {"m.safetensors": model(5)})
    hooked.write({"a.txt": "unstaged"})
    before = snapshot(hooked)
    done = hooked.run("commit", "-m", "no")
    assert done.returncode == 1 and "m.safetensors: REFUSED" in done.stdout + done.stderr
    assert snapshot(hooked) == before


def test_commit_all(hooked: Repo) -> None:
    hooked.write({"m.safetensors": model(5)})
    assert hooked.run("commit", "-a", "-m", "no").returncode == 1
    assert hooked.git("diff", "--cached", "--name-only") == ""
    hooked.write({"m.safetensors": model(4, scale=2)})
    assert hooked.run("commit", "-a", "-m", "yes").returncode == 0


def test_partial_commits_judge_what_they_commit(hooked: Repo) -> None:
    staged(hooked, {"m.safetensors": model(5)})
    hooked.write({"a.txt": "b"})
    assert hooked.run("commit", "-m", "only the text", "a.txt").returncode == 0
    assert hooked.run("commit", "-m", "only the model", "m.safetensors").returncode == 1
    assert hooked.git("diff", "--cached", "--name-only") == "m.safetensors\n"


def test_amend_judges_what_is_added_to_the_last_commit(hooked: Repo) -> None:
    hooked.commit({"a.txt": "c"})
    staged(hooked, {"m.safetensors": model(5)})
    assert hooked.run("commit", "--amend", "--no-edit").returncode == 1
    staged(hooked, {"m.safetensors": model(4, scale=2)})
    assert hooked.run("commit", "--amend", "--no-edit").returncode == 0


def test_merges_take_over_what_was_judged_on_the_branch(hooked: Repo) -> None:
    hooked.git("checkout", "-q", "-b", "other")
    staged(hooked, {"m.safetensors": model(5), "a.txt": "other"})
    hooked.git("commit", "-q", "--no-verify", "-m", "5 classes")
    hooked.git("checkout", "-q", "main")
    hooked.commit({"a.txt": "main"})
    assert hooked.run("merge", "other").returncode != 0  # the text conflicts, the model comes over
    hooked.write({"a.txt": "both"})
    hooked.git("add", "a.txt")
    done = hooked.run("commit", "--no-edit")
    assert done.returncode == 0, done.stderr
    assert "1 model taken unchanged from the merged branch" in done.stderr


def test_a_model_changed_inside_a_merge_is_judged(hooked: Repo) -> None:
    hooked.git("checkout", "-q", "-b", "other")
    hooked.commit({"a.txt": "other"})
    hooked.git("checkout", "-q", "main")
    hooked.commit({"a.txt": "main"})
    hooked.run("merge", "other")
    staged(hooked, {"a.txt": "both", "m.safetensors": model(9)})
    assert hooked.run("commit", "--no-edit").returncode == 1


def test_rebases_go_through_and_end_where_git_ends_them(hooked: Repo) -> None:
    hooked.git("checkout", "-q", "-b", "work")
    hooked.commit({"m.safetensors": model(4, scale=2)})
    hooked.commit({"b.txt": "b"})
    hooked.git("checkout", "-q", "main")
    hooked.commit({"c.txt": "c"})
    hooked.git("checkout", "-q", "work")
    assert hooked.run("rebase", "main").returncode == 0
    assert hooked.git("log", "--format=%s").count("commit") == 4


def test_linked_worktrees_and_submodules(hooked: Repo, tmp_path: Path) -> None:
    hooked.git("worktree", "add", "-q", str(tmp_path / "linked"), "-b", "linked")
    linked = Repo(tmp_path / "linked")
    staged(linked, {"m.safetensors": model(5)})
    assert linked.run("commit", "-m", "no").returncode == 1
    above = Repo.init(tmp_path / "above")
    above.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", f"file://{hooked.top}", "sub")
    above.git("commit", "-q", "-m", "sub")
    inner = Repo(tmp_path / "above" / "sub")
    diffai("install", "--hook", "pre-commit", cwd=inner.top)
    staged(inner, {"m.safetensors": model(5)})
    assert inner.run("commit", "-m", "no").returncode == 1
    staged(inner, {"m.safetensors": model(4, scale=2)})
    assert inner.run("commit", "-m", "yes").returncode == 0
    diffai("install", "--hook", "pre-commit", cwd=above.top)
    above.git("add", "sub")
    assert above.run("commit", "-m", "the submodule moves").returncode == 0


def test_pushes(hooked: Repo, tmp_path: Path) -> None:
    remote = Repo.init(tmp_path / "remote", "--bare")
    hooked.git("remote", "add", "origin", str(remote.top))
    assert hooked.run("push", "origin", "main").returncode == 0  # the first push: every model is new
    staged(hooked, {"m.safetensors": model(5)})
    hooked.git("commit", "-q", "--no-verify", "-m", "sneaked in")
    refused = hooked.run("push", "origin", "main")
    assert refused.returncode != 0 and "REFUSED" in refused.stdout + refused.stderr
    assert hooked.run("push", "origin", "main:new-branch").returncode != 0  # a new branch starts at what origin has
    assert hooked.run("push", "origin", "HEAD~1:refs/heads/fine").returncode == 0
    assert hooked.run("push", "origin", ":fine").returncode == 0  # deletes the branch
    assert hooked.run("push", "origin", "main", env={"DIFFAI_GATE": "off"}).returncode == 0


def test_a_foreign_hook_is_kept_chained_and_restored(repo: Repo) -> None:
    repo.commit({"m.safetensors": model(4)})
    hooks = repo.top / ".git" / "hooks"
    foreign = b"#!/bin/sh\necho foreign >&2\n[ ! -f forbid ] || exit 7\n"
    for name in ("pre-commit", "pre-push"):
        (hooks / name).write_bytes(foreign)
        (hooks / name).chmod(0o750)
    before = {path.name: (path.read_bytes(), path.stat().st_mode) for path in hooks.iterdir()}
    done = diffai("install", "--hook", "pre-commit", "--hook", "pre-push", cwd=repo.top)
    assert "the hook that was there runs first" in done.stdout
    again = diffai("install", "--hook", "pre-commit", "--hook", "pre-push", cwd=repo.top)
    assert "already installed" in again.stdout
    staged(repo, {"a.txt": "a"})
    assert "foreign" in repo.run("commit", "-m", "fine").stderr
    staged(repo, {"m.safetensors": model(5)})
    assert repo.run("commit", "-m", "no").returncode == 1
    repo.git("reset", "-q", "--hard")
    staged(repo, {"forbid": "x"})
    assert repo.run("commit", "-m", "no").returncode != 0
    assert diffai("uninstall", cwd=repo.top).returncode == 0
    assert {path.name: (path.read_bytes(), path.stat().st_mode) for path in hooks.iterdir()} == before


def test_install_and_uninstall_leave_no_trace(repo: Repo) -> None:
    hooks = repo.top / ".git" / "hooks"
    before = sorted(path.name for path in hooks.iterdir())
    diffai("install", "--hook", "pre-commit", cwd=repo.top)
    diffai("uninstall", "--hook", "pre-commit", cwd=repo.top)
    assert sorted(path.name for path in hooks.iterdir()) == before


def test_an_edited_hook_is_never_deleted(hooked: Repo) -> None:
    path = hooked.top / ".git" / "hooks" / "pre-commit"
    path.write_text(path.read_text() + "echo mine\n")
    done = diffai("uninstall", "--hook", "pre-commit", cwd=hooked.top)
    assert "edited since" in done.stdout and path.exists()
    assert diffai("install", "--hook", "pre-commit", cwd=hooked.top, env={"PATH": os.environ["PATH"]}).returncode == 2


def test_core_hookspath(hooked: Repo, tmp_path: Path, home: Path) -> None:
    hooked.git("config", "core.hooksPath", "tools/hooks")
    assert diffai("install", "--hook", "pre-commit", cwd=hooked.top).returncode == 0
    assert (hooked.top / "tools/hooks/pre-commit").exists()
    staged(hooked, {"m.safetensors": model(5)})
    assert hooked.run("commit", "-m", "no").returncode == 1
    hooked.git("config", "--unset", "core.hooksPath")
    hooked.git("config", "--global", "core.hooksPath", str(tmp_path / "shared"))
    shared = diffai("install", "--hook", "pre-commit", cwd=hooked.top)
    assert shared.returncode == 2 and "which other repositories use, too" in shared.stderr
    assert diffai("install", "--hook", "pre-commit", "--global", cwd=hooked.top).returncode == 0
    assert (tmp_path / "shared" / "pre-commit").exists()
    assert diffai("uninstall", "--global", "--hook", "pre-commit", cwd=hooked.top).returncode == 0
    assert not (tmp_path / "shared" / "pre-commit").exists()


@pytest.mark.parametrize(("strict", "status"), [(False, 0), (True, 1)])
def test_when_diffai_is_gone(repo: Repo, strict: bool, status: int) -> None:
    from diffai.git.hook_scripts import hook_script

    repo.commit({"a.txt": "a"})
    hook = repo.top / ".git" / "hooks" / "pre-commit"
    hook.write_text(hook_script("pre-commit", "/nowhere/bin dir/diffai", strict=strict))
    hook.chmod(0o755)
    staged(repo, {"a.txt": "b"})
    done = repo.run("commit", "-m", "x")
    assert done.returncode == status
    assert "the gate did not run, because diffai is gone (/nowhere/bin dir/diffai)" in done.stderr
    broken = repo.top / "program"  # as after a removed virtual environment: the script is there, its Python is not
    broken.write_text("#!/nowhere/python\n")
    broken.chmod(0o755)
    hook.write_text(hook_script("pre-commit", str(broken), strict=strict))
    staged(repo, {"a.txt": "c"})
    done = repo.run("commit", "-m", "y")
    assert done.returncode == status and "diffai is gone" in done.stderr


def test_the_scripts_of_the_repository_are_those_that_are_installed() -> None:
    from diffai.git.hook_scripts import HOOKS, hook_script

    folder = Path(__file__).resolve().parents[2] / "hooks"
    for hook in HOOKS:
        assert (folder / hook).read_text() == hook_script(hook), "run hooks/write"
        assert os.access(folder / hook, os.X_OK)
        subprocess.run(["sh", "-n", str(folder / hook)], check=True)


def test_the_installed_program_is_pinned(hooked: Repo) -> None:
    text = (hooked.top / ".git" / "hooks" / "pre-commit").read_text()
    assert f"diffai='{DIFFAI}'" in text
