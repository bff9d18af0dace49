"""Promise: two revisions of thousands of models cost what the same folders and git's own reading of the blobs cost."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator

from measure import DIFFAI, Command, Row, interleaved, wall

MODELS = 3000
TEXT = json.dumps({"w": {"dtype": "F32", "shape": [1000], "data_offsets": [0, 4000]}}).encode()
HEADER = struct.pack("<Q", len(TEXT)) + TEXT


def trees(directory: str, size: int, runs: int, keep: bool) -> Iterator[Row]:
    """``diffai A..B`` and the gate over 3,000 changed models of 4 kB, packed."""
    top = os.path.join(directory, "many_models")
    shutil.rmtree(top, ignore_errors=True)
    repository = os.path.join(top, "repository")
    os.makedirs(repository)
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "commit.gpgsign=false"]

    def git(*words: str) -> str:
        done = subprocess.run(["git", *identity, *words], cwd=repository, check=True, capture_output=True, text=True)
        return done.stdout

    git("init", "-q")
    for number, side in enumerate(("old", "new")):
        for model in range(MODELS):
            name = os.path.join(f"d{model % 50}", f"m{model}.safetensors")
            for folder in (os.path.join(top, side), repository):
                os.makedirs(os.path.join(folder, os.path.dirname(name)), exist_ok=True)
                with open(os.path.join(folder, name), "wb") as stream:
                    stream.write(HEADER + struct.pack("<1000f", *(model + number + at / 1000 for at in range(1000))))
        git("add", "-A")
        git("commit", "-q", "-m", side)
    git("gc", "-q")
    oids = os.path.join(top, "oids")
    with open(oids, "w", encoding="ascii") as listed:
        listed.writelines(f"{line.split()[0]}\n" for line in git("rev-list", "--objects", "HEAD").splitlines())
    expect = f"{MODELS:,} model files: {MODELS:,} changed"
    samples = interleaved(
        {
            "folders": Command([DIFFAI, os.path.join(top, "old"), os.path.join(top, "new")], expect=expect),
            "range": Command([DIFFAI, "HEAD~1..HEAD"], expect=expect, cwd=repository),
            "gate": Command([DIFFAI, "gate", "--base", "HEAD~1"], expect=f"{MODELS:,} changed models", cwd=repository),
            "cat": Command(["sh", "-c", f"git cat-file --batch < '{oids}'"], cwd=repository),
        },
        runs,
    )
    folders, cat = wall(samples["folders"]), wall(samples["cat"])
    for name, what in (("range", "A..B"), ("gate", "the gate")):
        seconds = wall(samples[name])
        yield Row(
            f"{what} over {MODELS:,} changed models of 4 kB",
            "<= 2 x (folders + `git cat-file`)",
            f"{seconds / (folders + cat):.2f} x ({seconds:.2f} s, folders {folders:.2f} s, cat-file {cat:.2f} s)",
            seconds <= 2 * (folders + cat),
            {"seconds": seconds, "folders": folders, "cat": cat, "ratio": seconds / (folders + cat)},
        )
    if not keep:
        shutil.rmtree(top)
