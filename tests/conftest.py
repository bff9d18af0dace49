"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from gitrepo import Repo, isolate
from hypothesis import settings

# The same examples in every run, so that a change is judged by itself; DIFFAI_FUZZ looks for new ones. No deadline:
# a busy machine is no defect.
settings.register_profile("diffai", derandomize="DIFFAI_FUZZ" not in os.environ, deadline=None, print_blob=True)
settings.load_profile("diffai")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background of a script: every program that a test interrupts would inherit that it is not to be.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home directory; git sees neither the machine's nor the user's configuration."""
    path = tmp_path / "home"
    path.mkdir()
    isolate(monkeypatch, path)
    return path


@pytest.fixture
def repo(home: Path, tmp_path: Path) -> Repo:
    """An empty git repository in ``tmp_path / "repo"``."""
    return Repo.init(tmp_path / "repo")


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of real model files (``DIFFAI_CORPUS``); the test is skipped where it is absent."""
    root = Path(__file__).resolve().parent.parent
    path = Path(os.environ.get("DIFFAI_CORPUS", root.parent / "shared" / "corpus"))
    if not path.is_dir():
        pytest.skip(f"no corpus of real models at {path} (set DIFFAI_CORPUS)")
    return path
