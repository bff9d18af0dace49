"""Run git and read what it prints, without loading ``subprocess``, and while something else is done.

The driver starts once a file and asks git for its configuration each time; ``subprocess`` and what it loads would
cost as much as the question itself.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from subprocess import Popen


class Question:
    """``git ARGUMENTS``, started in ``cwd``; standard error is dropped.

    Raises:
        OSError: git cannot be started.
    """

    def __init__(self, arguments: Sequence[str], cwd: str) -> None:
        """Start git; it works while the caller goes on."""
        command = ["git", *(["-C", cwd] if cwd not in ("", ".") else []), *arguments]
        self.arguments, self.cwd = arguments, cwd
        self._program: Popen[bytes] | None = None
        self._answer: tuple[int, bytes] | None = None
        if not hasattr(os, "posix_spawnp"):  # Windows
            from subprocess import DEVNULL, PIPE, Popen

            self._program = Popen(command, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL)
            return
        self._reading, writing = os.pipe()  # neither end is inherited; the copy that becomes standard output is
        try:
            actions = [
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, writing, 1),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ]
            self._process = os.posix_spawnp("git", command, os.environ, file_actions=actions)
        except BaseException:
            os.close(self._reading)
            raise
        finally:
            os.close(writing)

    def answer(self) -> tuple[int, bytes]:
        """Exit status and standard output, once git has ended."""
        if self._answer is None:
            self._answer = self._wait()
        return self._answer

    def _wait(self) -> tuple[int, bytes]:
        if self._program is not None:
            output = self._program.communicate()[0]
            return self._program.returncode, output
        with open(self._reading, "rb") as pipe:
            output = pipe.read()
        return os.waitstatus_to_exitcode(os.waitpid(self._process, 0)[1]), output
