"""The guide about DVC prints what the programs print."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_transcripts_are_true() -> None:
    pytest.importorskip("dvc", reason="dvc is not installed")
    words = [sys.executable, str(ROOT / "docs" / "dvc_transcripts.py"), "--check"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
