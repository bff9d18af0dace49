"""The page "reading a model's history" shows what the commands really print."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_transcripts_are_true() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "history_transcripts.py"), "--check"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
