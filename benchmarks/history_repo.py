"""Write a repository with a training history: ``history_repo.py DIRECTORY COMMITS BYTES``; prints its path."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
from safetensors.numpy import save_file

_TENSORS = 8


def main() -> None:
    directory, commits, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    top = os.path.join(directory, f"history-{commits}x{size}")
    if not os.path.exists(os.path.join(top, "done")):
        os.makedirs(top, exist_ok=True)
        _git(top, "init", "-q", "-b", "main")
        # What git does to loose objects is its own affair; packing while measuring is not wanted.
        _git(top, "config", "gc.auto", "0")
        _commits(top, commits, size)
        with open(os.path.join(top, "done"), "w", encoding="ascii"):
            pass
    print(top)


def _commits(top: str, commits: int, size: int) -> None:
    rng = np.random.default_rng(0)
    elements = size // 4 // _TENSORS
    weights = {f"layers.{i}.weight": rng.standard_normal(elements, np.float32) for i in range(_TENSORS)}
    for step in range(commits):
        if step:
            weights = {
                name: value + np.float32(0.01) * rng.standard_normal(elements, np.float32)
                for name, value in weights.items()
            }
        save_file(weights, os.path.join(top, "model.safetensors"))
        _git(top, "add", "model.safetensors")
        _git(top, "commit", "-q", "-m", f"step {step}")


def _git(top: str, *words: str) -> None:
    person = {"GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.com", "GIT_COMMITTER_NAME": "A",
              "GIT_COMMITTER_EMAIL": "a@example.com"}  # fmt: skip
    subprocess.run(["git", *words], cwd=top, env={**os.environ, **person}, check=True)


if __name__ == "__main__":
    main()
