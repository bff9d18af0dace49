"""The installed ``diffai`` as users run it: a subprocess, its output, its exit code."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path

DIFFAI = Path(sysconfig.get_path("scripts")) / "diffai"


def diffai(
    *arguments: str | os.PathLike[str],
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    before: Callable[[], None] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the console script; text in and out as UTF-8. ``before`` is called in its process before it starts."""
    return subprocess.run(
        [str(DIFFAI), *map(os.fspath, arguments)],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="surrogateescape",
        check=False,
        timeout=120,
        preexec_fn=before,
    )
