"""An install killed at any of its steps: nothing of the user's is lost, doctor says what is left, install finishes it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from gitrepo import Repo

from diffai.git.attributes import DEFAULT_GLOBS
from diffai.git.doctor import diagnose
from diffai.git.hooks import install_hook, uninstall_hooks
from diffai.git.install import install, uninstall

STEPS = ("open", "link", "rename", "replace", "unlink", "makedirs", "symlink", "fchmod")
USERS_HOOK = "#!/bin/sh\necho ran >> hook-ran\n"


def killed_at(step: int, work: Callable[[], object], *, links: bool = True) -> bool:
    """Do some work in a child that is killed before its step-th change of a file; whether it was."""
    child = os.fork()
    if child == 0:
        left = step

        def counted(function: Callable[..., object]) -> Callable[..., object]:
            def call(*arguments: object, **more: object) -> object:
                nonlocal left
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1
                return function(*arguments, **more)

            return call

        def no_links(*_arguments: object, **_more: object) -> None:
            raise OSError(1, "no hard links here")

        try:
            if not links:
                os.link = no_links  # type: ignore[assignment]
            for name in STEPS:
                setattr(os, name, counted(getattr(os, name)))
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def todo(repo: Repo) -> list[str]:
    return [f"{finding.text} => {finding.command}" for finding in diagnose(str(repo.top)).findings if finding.level == "todo"]


@pytest.fixture
def repo(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> Repo:
    monkeypatch.chdir(repo.top)
    return repo


def leftovers(top: Path) -> list[str]:
    return [str(path.relative_to(top)) for path in (top / ".git").rglob("*") if path.name.endswith((".tmp", ".lock"))]


@pytest.mark.parametrize("links", [True, False])
def test_install_killed_anywhere(repo: Repo, links: bool) -> None:
    before = (repo.top / ".git/config").read_bytes()
    reported, step = 0, 0
    while killed_at(step, install, links=links):
        repo.git("config", "--list")  # git reads whatever there is
        said = todo(repo)
        assert any("diffai install" in line for line in said), (step, said)
        reported += any("interrupted" in line or "did not end" in line for line in said)
        empty = [name for name in leftovers(repo.top) if name.endswith(".lock") and not (repo.top / name).stat().st_size]
        assert not (links and empty)  # only where a lock cannot be born with its content is one left that is nobody's
        if not empty:
            install()
            assert todo(repo) == [] and leftovers(repo.top) == []
            uninstall()
            assert (repo.top / ".git/config").read_bytes() == before
        for name in leftovers(repo.top):
            (repo.top / name).unlink()
        uninstall()
        step += 1
    assert step >= 8 and reported >= 3
    assert todo(repo) == []


def test_uninstall_killed_anywhere_is_finished_by_another(repo: Repo) -> None:
    before = (repo.top / ".git/config").read_bytes()
    step = 0
    install()
    while killed_at(step, uninstall):
        uninstall()
        assert (repo.top / ".git/config").read_bytes() == before and leftovers(repo.top) == []
        install()
        step += 1
    assert step >= 6


def test_the_lock_of_another_git_is_left_alone(repo: Repo) -> None:
    lock = repo.top / ".git/config.lock"
    lock.write_text("of another git")
    (repo.top / ".git/config.4194305.tmp").write_text("of a writer that is gone")
    with pytest.raises(Exception, match=r"config\.lock exists"):
        install()
    assert lock.read_text() == "of another git"
    running = repo.top / f".git/config.{os.getppid()}.tmp"  # somebody else who is at work
    running.hardlink_to(lock)
    with pytest.raises(Exception, match=r"config\.lock exists"):
        install()
    assert lock.exists() and running.exists()


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_hook_survives_an_install_killed_anywhere(repo: Repo, kind: str, links: bool) -> None:
    hook, step, half = repo.top / ".git/hooks/pre-commit", 0, 0
    install()
    while True:
        for name in hook.parent.glob("pre-commit*"):
            name.unlink()
        target = hook if kind == "file" else repo.top / ".git/own-hook"
        target.write_text(USERS_HOOK)
        target.chmod(0o755)
        if kind == "link":
            hook.symlink_to(target)
        killed = killed_at(step, lambda: install_hook("pre-commit"), links=links)
        ran = repo.top / "hook-ran"
        ran.unlink(missing_ok=True)
        subprocess.run([str(hook)], cwd=repo.top, check=False, capture_output=True)
        assert ran.read_text() == "ran\n", step  # by itself, or called by ours
        if not killed:
            break
        said = [line for line in todo(repo) if "pre-commit" in line]
        assert not said or said[0].endswith("diffai install --hook pre-commit")
        half += bool(said)
        install_hook("pre-commit")
        assert todo(repo) == []
        assert sorted(name.name for name in hook.parent.glob("pre-commit*")) == ["pre-commit", "pre-commit.before-diffai"]
        uninstall_hooks()
        assert hook.read_text() == USERS_HOOK and hook.is_symlink() == (kind == "link")
        assert not (hook.parent / "pre-commit.before-diffai").exists()
        step += 1
    assert step >= 3 and half >= 1


def test_a_hook_whose_place_is_empty_is_named(repo: Repo) -> None:
    install()
    kept = repo.top / ".git/hooks/pre-commit.before-diffai"
    kept.write_text(USERS_HOOK)
    kept.chmod(0o755)
    assert [line for line in todo(repo) if line.startswith(str(kept)) and "no longer runs" in line]
    install_hook("pre-commit")
    assert todo(repo) == []


def test_a_driver_without_any_file_is_half_an_install(repo: Repo) -> None:
    install()
    (repo.top / ".git/info/attributes").unlink()
    assert todo(repo) == ["no attributes file names diffai: an install did not end => diffai install"]
    repo.commit({".gitattributes": "*.safetensors diff=diffai\n", "m.safetensors": b"x"})
    assert todo(repo) == []  # whoever wrote the attributes by hand has a file that is covered
    assert "*.pth.tar" in DEFAULT_GLOBS
