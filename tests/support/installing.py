"""The installed program run in a folder, and what install leaves behind there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from gitrepo import Repo

PROGRAM = str(Path(sys.executable).parent / "diffai")


def run(*words: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, *words], cwd=cwd, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )


def snapshot(top: Path) -> dict[str, bytes | str | None]:
    """Everything below a folder: contents, links, folders."""
    found: dict[str, bytes | str | None] = {}
    for path in sorted(top.rglob("*")):
        name = str(path.relative_to(top))
        found[name] = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
    return found


def driver_of(repo: Repo, path: str = "m.safetensors", cwd: Path | None = None) -> str:
    return repo.git("check-attr", "diff", "--", path, cwd=cwd).strip().rpartition(": ")[2]
