"""Run git once and read what it prints, without loading ``subprocess``.

The driver starts once a file and asks git for its configuration each time; ``subprocess`` and what it loads would
cost as much as the question itself.
"""

from __future__ import annotations

import os
from collections.abc import Sequence


def output_of(arguments: Sequence[str], cwd: str) -> tuple[int, bytes]:
    """Exit status and standard output of ``git ARGUMENTS`` in ``cwd``; standard error is dropped.

    Raises:
        OSError: git cannot be started.
    """
    if not hasattr(os, "posix_spawnp"):  # Windows
        import subprocess

        done = subprocess.run(
            ["git", "-C", cwd, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        return done.returncode, done.stdout
    reading, writing = os.pipe()  # neither end is inherited; the copy that becomes standard output is
    try:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, writing, 1),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ]
        process = os.posix_spawnp("git", ["git", "-C", cwd, *arguments], os.environ, file_actions=actions)
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    with open(reading, "rb") as pipe:
        output = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), output
