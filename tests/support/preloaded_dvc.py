"""The real dvc without its start: loaded once, then one forked process a command.

Three quarters of a short ``dvc`` command are imports. A server that has done them forks for each command, and the child
calls DVC's own entry with the directory, environment and output that a program of its own would have had.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path


class PreloadedDvc:
    """A server in the interpreter ``python``, which has dvc; ``close`` ends it."""

    def __init__(self, python: str = sys.executable) -> None:
        self._server = subprocess.Popen(
            [python, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def run(self, arguments: tuple[str, ...], cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """What ``dvc ARGUMENTS`` does in a folder."""
        assert self._server.stdin is not None and self._server.stdout is not None
        with tempfile.TemporaryDirectory() as folder:
            request = {"arguments": arguments, "cwd": str(cwd), "env": dict(env), "folder": folder}
            self._server.stdin.write(json.dumps(request) + "\n")
            code = int(self._server.stdout.readline())
            out, err = (Path(folder, name).read_text("utf-8", "surrogateescape") for name in ("out", "err"))
        return subprocess.CompletedProcess(["dvc", *arguments], code, out, err)

    def close(self) -> None:
        """End the server."""
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(timeout=60)
        self._server.stdout.close()


def _child(request: dict[str, object]) -> None:
    """Become ``dvc``: never returns."""
    code, known = 255, set(sys.modules)
    try:
        for number, name in ((1, "out"), (2, "err")):
            file = os.open(os.path.join(str(request["folder"]), name), os.O_WRONLY | os.O_CREAT)
            os.dup2(file, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ.clear()
        os.environ.update(request["env"])  # type: ignore[arg-type]
        os.chdir(str(request["cwd"]))
        arguments: list[str] = list(request["arguments"])  # type: ignore[call-overload]
        sys.argv = ["dvc", *arguments]
        from dvc.cli import main

        code = main(arguments)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        with open(os.path.join(str(request["folder"]), "modules"), "w", encoding="utf-8") as file:
            file.write("\n".join(sorted(set(sys.modules) - known)))
        os._exit(code)


def _learn(names: list[str]) -> None:
    """Load what a command had to load, so that the next one has it."""
    for name in names:
        if name.startswith(
            ("dvc", "scmrepo", "networkx", "rich", "dulwich", "pygit2", "fsspec", "ruamel", "voluptuous")
        ):
            with suppress(Exception):
                importlib.import_module(name)


def _serve() -> None:
    _learn(["dvc.cli.parser", "dvc.repo", "dvc.repo.experiments", "networkx"])
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if not child:
            _child(request)
        _, status = os.waitpid(child, 0)
        names = Path(request["folder"], "modules").read_text("utf-8").split()
        print(os.waitstatus_to_exitcode(status), flush=True)
        _learn(names)


if __name__ == "__main__":
    _serve()
