"""DVC repositories laid out by hand, which every machine can run, and real DVC where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
from dvcrepo import DvcRepo, RunDvc
from gitrepo import Repo
from program import diffai


@pytest.fixture
def isolated(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without configuration of DVC."""
    for name, folder in (("DVC_SYSTEM_CONFIG_DIR", "system"), ("DVC_GLOBAL_CONFIG_DIR", "global"),
                         ("DVC_SITE_CACHE_DIR", "site")):  # fmt: skip
        monkeypatch.setenv(name, str(home / "dvc" / folder))
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    return home


@pytest.fixture
def dvc(isolated: Path, repo: Repo) -> DvcRepo:
    """A DVC repository at the top of a git repository in which diffai is installed."""
    made = DvcRepo(repo)
    made.commit("dvc init")
    result = diffai("install", cwd=repo.top)
    assert result.returncode == 0, result.stderr
    return made


@pytest.fixture
def real_dvc(isolated: Path) -> RunDvc:
    """Runs the real ``dvc``; skipped where the extra is not installed."""
    program = Path(sysconfig.get_path("scripts")) / "dvc"
    found = str(program) if program.exists() else shutil.which("dvc")
    if not found:
        pytest.skip("dvc is not installed (pip install 'diffai[dvc]')")

    def run(*arguments: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        path = f"{os.path.dirname(found)}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            [found, *arguments], cwd=cwd, env={**os.environ, "PATH": path}, capture_output=True, text=True,
            check=False, timeout=240,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"dvc {arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run
