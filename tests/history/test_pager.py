"""The pager, as git chooses it: on a terminal only, and quitting it is no error."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from gitrepo import Repo
from model_history import history

from diffai.history.log_text import sparkline, turn_word

PROGRAM = [sys.executable, "-P", "-m", "diffai", "log", "--", "model.safetensors"]


def on_a_terminal(top: Path, **environment: str) -> tuple[int, str]:
    """Exit code and output of a log whose stdout is a terminal."""
    main, side = pty.openpty()
    process = subprocess.Popen(
        PROGRAM,
        cwd=top,
        stdin=side,
        stdout=side,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm", **environment},
    )
    os.close(side)
    output = b""
    while True:
        try:
            block = os.read(main, 4096)
        except OSError:  # the other side is closed
            break
        if not block:
            break
        output += block
    os.close(main)
    return process.wait(timeout=60), output.decode()


def test_a_terminal_gets_a_pager_and_colour(repo: Repo) -> None:
    history(repo, 2)
    code, text = on_a_terminal(repo.top, GIT_PAGER="sed s/^/PAGED:/")
    assert code == 0
    assert "PAGED:" in text and "\x1b[33m" in text
    repo.config("core.pager", "sed s/^/CONFIGURED:/")
    assert "CONFIGURED:" in on_a_terminal(repo.top)[1]
    assert "PAGED:" not in on_a_terminal(repo.top, GIT_PAGER="cat")[1]


@pytest.mark.parametrize("pager", ["true", "head -n 1", "exit 3"])
def test_leaving_the_pager_is_no_error(repo: Repo, pager: str) -> None:
    history(repo, 3)
    assert on_a_terminal(repo.top, GIT_PAGER=pager)[0] == 0


def test_a_pipe_gets_neither(repo: Repo) -> None:
    history(repo, 2)
    environment = {**os.environ, "GIT_PAGER": "sed s/^/PAGED:/"}
    done = subprocess.run(PROGRAM, cwd=repo.top, capture_output=True, text=True, env=environment, check=True)
    assert "PAGED" not in done.stdout and "\x1b" not in done.stdout


PROGRESS = "import sys; import diffai.cli.progress as p; p._DELAY = 0; sys.argv[0] = 'diffai'; from diffai.__main__ import main; main()"


@pytest.mark.parametrize("command", ["log", "blame"])
def test_progress_is_drawn_on_a_terminal_and_only_there(repo: Repo, command: str) -> None:
    history(repo, 6)
    program = [sys.executable, "-P", "-c", PROGRESS, command, "--no-cache", "--", "model.safetensors"]
    main, side = pty.openpty()
    drawn = subprocess.Popen(
        program, cwd=repo.top, stdout=subprocess.PIPE, stderr=side, env={**os.environ, "TERM": "xterm"}
    )
    os.close(side)
    seen = b""
    while True:
        try:
            block = os.read(main, 4096)
        except OSError:
            break
        if not block:
            break
        seen += block
    os.close(main)
    assert drawn.stdout is not None
    out = drawn.stdout.read()
    assert drawn.wait(timeout=60) == 0
    assert b"model.safetensors" in seen
    piped = subprocess.run(program, cwd=repo.top, capture_output=True, check=True)
    assert (piped.stdout, piped.stderr) == (out, b"")


def test_sparklines() -> None:
    assert sparkline([0.0, 1.0, None, 2.0]) == "▁▄·█"
    assert sparkline([None, None]) == "··"
    assert sparkline([0.0, 0.0]) == "▁▁"
    assert sparkline([0.1, 0.1, 0.1, 1e6]) == "▁▁▁█"  # logarithmic, so that the others differ, too
    assert sparkline([0.001, 0.1, 1.0, 0.01, 1e9]) == "▁▂▂▁█"
    assert sparkline([float("inf"), 1.0, None]) == "██·"
    assert (turn_word(0.9), turn_word(0.0), turn_word(-0.9)) == (" (goes on)", "", " (turns back)")
