"""Promise: a commit without models pays next to nothing for the gate.

Baseline: ``python -c pass`` of the same interpreter; the gate's time includes its calls of git.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

from measure import DIFFAI, Command, Row, interleaved, make, python, remove, wall


def gate(directory: str, size: int, runs: int, keep: bool) -> Iterator[Row]:
    """``diffai gate`` in a repository with staged text, and with 20 staged models of 1 MB."""
    paths = make(directory, "small_models", size=1_000_000)
    repository = os.path.join(directory, "gated")
    shutil.rmtree(repository, ignore_errors=True)
    os.mkdir(repository)
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "commit.gpgsign=false"]

    def git(*words: str) -> None:
        subprocess.run(["git", *identity, *words], cwd=repository, check=True, capture_output=True)

    def put(side: str) -> None:
        for number in range(20):
            shutil.copyfile(paths[f"{number:02d}-{side}"], os.path.join(repository, f"model-{number:02d}.safetensors"))
        git("add", ".")

    git("init", "-q")
    put("old")
    git("commit", "-q", "-m", "models")
    with open(os.path.join(repository, "notes.txt"), "w", encoding="utf-8") as stream:
        stream.write("text\n")
    git("add", ".")
    command = Command([DIFFAI, "gate"], cwd=repository)
    samples = interleaved({"pass": python("pass"), "gate": command}, runs * 5)
    bare, seconds = wall(samples["pass"]), wall(samples["gate"])
    yield Row(
        "gate, commit without models",
        "<= 10 x bare Python",
        f"{seconds / bare:.1f} x ({seconds:.3f} s, bare Python {bare:.3f} s)",
        seconds <= 10 * bare,
        {"seconds": seconds, "pass": bare, "ratio": seconds / bare},
    )
    put("new")
    many = wall(interleaved({"gate": Command([DIFFAI, "gate"], cwd=repository)}, runs)["gate"])
    yield Row("gate, 20 changed models of 1 MB", "-", f"{many:.2f} s", None, {"seconds": many})
    shutil.rmtree(repository)
    if not keep:
        remove(paths)
