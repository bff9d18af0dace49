"""``ask = true``: a question at a real terminal, and never a wait where there is none."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from pathlib import Path

import pytest
from gating import DIFFAI, model, staged
from gitrepo import Repo


@pytest.fixture
def asking(repo: Repo) -> Repo:
    repo.commit({"m.safetensors": model(4), ".diffai.toml": "[gate]\nask = true\n"})
    staged(repo, {"m.safetensors": model(5)})
    return repo


def at_terminal(repo: Repo, answer: bytes) -> tuple[int, str]:
    """Run the gate in a session of its own with a controlling terminal; (exit code, what the terminal showed)."""
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | {"TERM": "xterm"}
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(repo.top)
        os.execve(DIFFAI, ["diffai", "gate", "--hook", "pre-commit"], environment)
    shown, sent, end = b"", False, time.monotonic() + 60
    while time.monotonic() < end:
        ready, _, _ = select.select([terminal], [], [], 1)
        if ready:
            try:
                part = os.read(terminal, 4096)
            except OSError:
                break
            shown += part
            if not part:
                break
        if not sent and b"(y/N)" in shown:
            os.write(terminal, answer)
            sent = True
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), shown.decode()


@pytest.mark.parametrize(("answer", "code"), [(b"y\n", 0), (b"yes\n", 0), (b"n\n", 1), (b"\n", 1), (b"\x04", 1)])
def test_a_person_decides(asking: Repo, answer: bytes, code: int) -> None:
    status, shown = at_terminal(asking, answer)
    assert "Continue with commit? (y/N)" in shown and "m.safetensors: REFUSED" in shown
    assert status == code
    assert ("continued by hand" in shown) is (code == 0)


def test_without_a_terminal_it_never_waits(asking: Repo) -> None:
    done = subprocess.run(
        [DIFFAI, "gate"], cwd=asking.top, stdin=subprocess.PIPE, capture_output=True, timeout=60,
        start_new_session=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and b"(y/N)" not in done.stdout + done.stderr


def test_a_range_in_ci_is_not_asked_about(asking: Repo) -> None:
    asking.git("commit", "-q", "--no-verify", "-m", "x")
    command = [DIFFAI, "gate", "--base", "HEAD~1"]
    done = subprocess.run(command, cwd=asking.top, capture_output=True, timeout=60, check=False)
    assert done.returncode == 1 and b"(y/N)" not in done.stdout


def test_what_could_not_be_judged_is_no_question(asking: Repo, tmp_path: Path) -> None:
    staged(asking, {"broken.safetensors": model(4)[:-3]})
    status, shown = at_terminal(asking, b"y\n")
    assert status == 2 and "(y/N)" not in shown
