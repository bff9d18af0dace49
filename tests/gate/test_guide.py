"""The guide of the gate prints what the program prints."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from diffai.policy.rules import GLOBAL_KEYS, KEYS

ROOT = Path(__file__).resolve().parents[2]


def test_the_transcripts_are_true() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "docs" / "gate_transcripts.py"), "--check"], capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_key_of_a_policy_is_documented() -> None:
    page = (ROOT / "docs" / "guide-gate.md").read_text("utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == {*KEYS, *GLOBAL_KEYS}
