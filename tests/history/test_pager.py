"""The pager, as git chooses it: on a terminal only, and quitting it is no error."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from gitrepo import Repo
from model_history import history

from diffai.history.series import turn_word
from diffai.views.scale import sparkline

PROGRAM = [sys.executable, "-P", "-m", "diffai", "log", "--", "model.safetensors"]


def on_a_terminal(top: Path, *words: str, columns: int = 80, **environment: str) -> tuple[int, str]:
    """Exit code and output of a command, the log where none is named, whose stdout is a terminal."""
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {"LC_ALL": "C.UTF-8", **environment}
    process = subprocess.Popen(
        [*PROGRAM[:4], *words] if words else PROGRAM,
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


PAGED = [
    ("HEAD~1", "HEAD", "--", "model.safetensors"), ("HEAD~1..HEAD",), ("show", "model.safetensors"),
    ("log", "-p", "--", "model.safetensors"), ("blame", "--", "model.safetensors"),
]  # fmt: skip


@pytest.mark.parametrize("words", PAGED, ids=lambda words: words[0])
def test_long_output_is_paged_and_fits_the_terminal(repo: Repo, words: tuple[str, ...]) -> None:
    history(repo, 2)
    code, text = on_a_terminal(repo.top, *words, GIT_PAGER="sed s/^/P:/", NO_COLOR="1")
    lines = text.replace("\r", "").splitlines()
    assert code == 0 and lines and all(line.startswith("P:") for line in lines), text
    if "-p" not in words:  # whose entries are text, as long as they are
        assert all(len(line) <= 82 for line in lines), text


def test_the_log_is_a_row_a_commit_on_a_terminal_and_entries_with_v(repo: Repo) -> None:
    history(repo, 3)
    code, text = on_a_terminal(repo.top, GIT_PAGER="cat", NO_COLOR="1")
    rows = [line for line in text.replace("\r", "").splitlines() if re.match(r"[0-9a-f]{10} ", line)]
    assert code == 0 and len(rows) == 3 and "training step" in rows[0] and "new, safetensors" in rows[2]
    assert "cosine" in on_a_terminal(repo.top, *PROGRAM[4:5], "-v", *PROGRAM[5:], GIT_PAGER="cat")[1]


def test_the_format_of_the_settings_holds_for_the_log_too(repo: Repo) -> None:
    history(repo, 2)
    piped = subprocess.run([*PROGRAM[:5], "--format", "table", *PROGRAM[5:]], cwd=repo.top,
                           capture_output=True, text=True, check=True).stdout  # fmt: skip
    repo.write({".diffai.toml": b'[output]\nformat = "table"\n'})
    set_ = subprocess.run(PROGRAM, cwd=repo.top, capture_output=True, text=True, check=True).stdout
    assert piped == set_ and piped.startswith("commit ")
    repo.write({".diffai.toml": b'[output]\nformat = "text"\n'})
    assert not on_a_terminal(repo.top, GIT_PAGER="cat", NO_COLOR="1")[1].startswith("commit ")


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
