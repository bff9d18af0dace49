"""The pager as git chooses it, on a terminal only."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def paged() -> Iterator[None]:
    """What is written to stdout goes through git's pager (``GIT_PAGER``, ``core.pager``, ``PAGER``, less).

    Without a terminal, or where the pager is ``cat`` or empty, nothing is done. Quitting the pager ends the output
    quietly.
    """
    program = _pager() if sys.stdout.isatty() else ""
    if program in ("", "cat"):
        yield
        return
    import subprocess

    environment = {"LESS": "FRX", "LV": "-c"} | dict(os.environ)
    sys.stdout.flush()
    process = subprocess.Popen(program, shell=True, stdin=subprocess.PIPE, env=environment)  # as git: a shell command
    assert process.stdin is not None
    terminal = os.dup(1)
    os.dup2(process.stdin.fileno(), 1)
    process.stdin.close()
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        pass
    finally:
        with suppress(OSError):
            sys.stdout.flush()
        os.dup2(terminal, 1)  # the pipe's last writer goes: the pager sees the end
        os.close(terminal)
        while True:
            try:
                process.wait()
                break
            except KeyboardInterrupt:  # ^C belongs to the pager
                continue


def _pager() -> str:
    """What git would start; the user's own configuration and environment decide, never the repository's content."""
    from diffai.repository.runner import GitError, Repository

    try:
        return os.fsdecode(Repository().ask("var", "GIT_PAGER").removesuffix(b"\n"))
    except GitError:
        return os.environ.get("PAGER", "less")
