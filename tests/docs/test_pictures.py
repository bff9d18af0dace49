"""The pictures of the docs are what the program draws today: ``python docs/pictures.py`` draws them anew."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_pictures_are_true() -> None:
    done = subprocess.run(
        [sys.executable, str(DOCS / "pictures.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_picture_is_shown_and_told_in_words() -> None:
    shown = dict(re.findall(r"!\[([^\]]+)\]\(pictures/(\S+)\)", (DOCS / "reading.md").read_text("utf-8")))
    assert sorted(shown.values()) == sorted(path.name for path in (DOCS / "pictures").iterdir())
    assert all(len(words) > 20 for words in shown)
