"""What the programs that run the transcripts of a page have in common."""

from __future__ import annotations

import difflib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path


def shell(command: str, folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command in ``folder/project``, without a terminal; both its outputs as they come."""
    return subprocess.run(
        ["bash", "-c", command], cwd=folder / "project", env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, start_new_session=True,
    )  # fmt: skip


def write_or_check(page: Path, run: Callable[[str, Path], str]) -> int:
    """Write the page as ``run`` makes it in an empty folder, or, with ``--check``, say how it differs from that."""
    before = page.read_text("utf-8")
    with tempfile.TemporaryDirectory() as name:
        after = run(before, Path(name).resolve())
    if "--check" not in sys.argv:
        page.write_text(after, "utf-8")
        return 0
    sys.stdout.writelines(difflib.unified_diff(before.splitlines(True), after.splitlines(True), "page", "printed"))
    return before != after
