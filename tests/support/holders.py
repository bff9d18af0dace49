"""One model in every way that it can be held: git, git-LFS, git-annex, DVC; put there by the real programs."""

from __future__ import annotations

import atexit
import functools
import importlib.util
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dvcrepo import DvcRepo, md5
from gitrepo import Repo
from preloaded_dvc import PreloadedDvc
from program import DIFFAI
from safetensors.numpy import save

Weights = Mapping[str, Any]

PATH = "model.safetensors"


def has_dvc() -> bool:
    """Whether this environment has the real dvc."""
    return importlib.util.find_spec("dvc") is not None


@functools.cache
def _preloaded() -> PreloadedDvc:
    server = PreloadedDvc()
    atexit.register(server.close)
    return server


def run_dvc(*arguments: str, cwd: Path) -> str:
    """Run the real dvc; its output. It may not look at the machine's own configuration."""
    home = Path(os.environ["HOME"])
    environment = {
        **os.environ,
        "PATH": f"{DIFFAI.parent}{os.pathsep}{os.environ['PATH']}",
        "DVC_SYSTEM_CONFIG_DIR": str(home / "dvc/system"),
        "DVC_GLOBAL_CONFIG_DIR": str(home / "dvc/global"),
        "DVC_SITE_CACHE_DIR": str(home / "dvc/site"),
        "DVC_NO_ANALYTICS": "1",
        "CI": "1",
    }
    done = _preloaded().run(arguments, cwd, environment)
    assert done.returncode == 0, f"dvc {arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


class Held:
    """A model in a repository.

    Args:
        repo: where; empty.
        holder: a name out of ``HOLDERS``.
    """

    def __init__(self, repo: Repo, holder: str) -> None:
        self.repo, self.holder = repo, holder
        self.path = {"dvc-folder": f"data/{PATH}", "dvc-lock": f"out/{PATH}"}.get(holder, PATH)
        self._steps = 0
        _PREPARE[holder](repo)

    @property
    def listed(self) -> str:
        """The path that git lists for it."""
        return {"dvc": f"{PATH}.dvc", "real-dvc": f"{PATH}.dvc", "dvc-folder": "data.dvc", "dvc-lock": "dvc.lock"}.get(
            self.holder, self.path
        )

    def edit(self, weights: Weights) -> None:
        """Change the work tree only."""
        if self.holder == "annex-locked" and (self.repo.top / self.path).is_symlink():
            self.repo.git("annex", "unlock", "-q", self.path)
        self.repo.write({self.path: save(dict(weights))})

    def stage(self, weights: Weights) -> None:
        """Change the work tree and the index."""
        self.edit(weights)
        _STAGE[self.holder](self, save(dict(weights)))

    def commit(self, weights: Weights, subject: str) -> str:
        """A version; its commit."""
        self.stage(weights)
        self._steps += 1
        stamp = f"2024-01-{self._steps:02d}T12:00:00+0000"
        self.repo.git("commit", "-q", "-m", subject, env={"GIT_AUTHOR_DATE": stamp, "GIT_COMMITTER_DATE": stamp})
        return self.repo.rev_parse("HEAD")


# ---------------------------------------------------------------- how each is set up, and how a version is added


def _nothing(repo: Repo) -> None:
    repo.git("commit", "-q", "--allow-empty", "-m", "start")


def _lfs(repo: Repo) -> None:
    repo.lfs_track("*.safetensors")


def _annex(repo: Repo) -> None:
    repo.git("annex", "init", "-q", "test")
    _nothing(repo)


def _dvc_by_hand(repo: Repo) -> None:
    DvcRepo(repo)
    repo.write({".gitignore": "/model.safetensors\n/data\n/out\n"})
    repo.git("add", ".gitignore")
    repo.git("commit", "-q", "-m", "dvc")


def _real_dvc(repo: Repo) -> None:
    run_dvc("init", "-q", cwd=repo.top)
    repo.git("commit", "-q", "-m", "dvc")


def _git_add(held: Held, data: bytes) -> None:
    held.repo.git("add", "--", held.path)


def _annex_add(held: Held, data: bytes) -> None:
    if held.holder == "annex-locked":
        held.repo.git("annex", "add", "-q", held.path)
        held.repo.git("annex", "lock", "-q", held.path)
    else:
        held.repo.git("-c", "annex.addunlocked=true", "annex", "add", "-q", held.path)


def _dvc_add(held: Held, data: bytes) -> None:
    dvc = DvcRepo(held.repo)
    if held.holder == "dvc":
        dvc.add(PATH, data)
    elif held.holder == "dvc-folder":
        dvc.add_directory("data", {PATH: data, "note.txt": b"a note"})
    else:
        dvc.object(data)
        metric = b"0.5"
        outs = {held.path: (md5(data), len(data)), "metric.json": (dvc.object(metric), len(metric))}
        dvc.lock({"train": outs}, yaml=f"stages:\n  train:\n    cmd: train\n    outs:\n    - {held.path}\n")


def _real_dvc_add(held: Held, data: bytes) -> None:
    run_dvc("add", "-q", held.path, cwd=held.repo.top)
    held.repo.git("add", f"{held.path}.dvc", ".gitignore")


_PREPARE: dict[str, Callable[[Repo], None]] = {
    "git": _nothing, "lfs": _lfs, "annex-locked": _annex, "annex-unlocked": _annex, "dvc": _dvc_by_hand,
    "dvc-folder": _dvc_by_hand, "dvc-lock": _dvc_by_hand, "real-dvc": _real_dvc,
}  # fmt: skip

_STAGE: dict[str, Callable[[Held, bytes], None]] = {
    "git": _git_add, "lfs": _git_add, "annex-locked": _annex_add, "annex-unlocked": _annex_add, "dvc": _dvc_add,
    "dvc-folder": _dvc_add, "dvc-lock": _dvc_add, "real-dvc": _real_dvc_add,
}  # fmt: skip

HOLDERS = tuple(_STAGE)


def why_not(holder: str) -> str:
    """Why a holder cannot be tried on this machine; "" when it can."""
    if holder.startswith("annex") and shutil.which("git-annex") is None:
        return "git-annex is not installed"
    if holder == "lfs" and shutil.which("git-lfs") is None:
        return "git-lfs is not installed"
    if holder == "real-dvc" and not has_dvc():
        return "dvc is not installed (pip install 'diffai[dvc]')"
    return ""
