"""Bring what is missing, when asked to: git-lfs, git-annex, DVC and git do it themselves, as the user would.

This is the only place of the history that uses the network.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

from diffai.errors import DiffaiError
from diffai.history.blobs import look_at
from diffai.history.model_path import ModelPath
from diffai.history.walk import Range, list_commits
from diffai.sources.git_program import Repository
from diffai.sources.lfs import find_object
from diffai.sources.pointers import AnnexText, LfsText, parse_pointer

_MOST_WORDS = 200


def fetch_models(repository: Repository, models: Sequence[ModelPath], chosen: Range) -> None:
    """Download the objects of all versions in a range that are not here.

    Raises:
        DiffaiError: a program that is needed is not installed.
    """
    oids: dict[str, str] = {}
    commits: list[str] = []
    for model in models:
        for logged in list_commits(repository, chosen, model.pathspecs()):
            commits.append(logged.commit.hash)
            oids |= {touch.new_oid: touch.path for touch in logged.touches if touch.new_oid}
    top = repository.place()
    cwd = top.top if top is not None and top.top else None
    blobs = look_at(repository, oids)
    missing = [oid for oid in oids if blobs[oid].size < 0]
    if missing:
        data = "".join(f"{oid}\n" for oid in missing).encode("ascii")
        _run(["git", "cat-file", "--batch-check"], cwd, data)
        blobs = look_at(repository, oids)
    pointers = {oid: parse_pointer(blob.text, blob.size, oids[oid]) for oid, blob in blobs.items() if blob.text}
    lfs = [p for p in pointers.values() if isinstance(p, LfsText) and not find_object(p.oid, p.size, top)]
    if lfs:
        _needs("git-lfs")
        for start in range(0, len(commits), _MOST_WORDS):
            _run(["git", "lfs", "fetch", *_remote(repository), *commits[start : start + _MOST_WORDS]], cwd)
    keys = [p.key for p in pointers.values() if isinstance(p, AnnexText)]
    if keys:
        _needs("git-annex")
        for key in keys:
            _run(["git", "annex", "get", f"--key={key}"], cwd)
    dvc = sorted({path for path in oids.values() if path.endswith(".dvc")})
    if dvc or any(os.path.basename(path) == "dvc.lock" for path in oids.values()):
        _needs("dvc")
        _run(["dvc", "fetch", "--all-commits", *(f"./{path}" for path in dvc)], cwd)


def _remote(repository: Repository) -> list[str]:
    """The remote that git-lfs would take by itself: it has to be named before commits."""
    names = os.fsdecode(repository.ask("remote")).split()
    return ["origin"] if "origin" in names else names[:1]


def _needs(program: str) -> None:
    if shutil.which(program) is None:
        raise DiffaiError(f"--fetch needs {program}, which is not installed or not on PATH")


def _run(command: list[str], cwd: str | None, data: bytes = b"") -> None:
    """Run a program in the open: its words go to stderr. A failure is a warning, the walk then says what is missing."""
    try:
        done = subprocess.run(command, cwd=cwd, input=data, stdout=2, check=False)
    except OSError as error:
        raise DiffaiError(f"{command[0]}: {(error.strerror or str(error)).lower()}") from error
    if done.returncode:
        sys.stderr.write(f"diffai: {' '.join(command[:3])} failed ({done.returncode})\n")
