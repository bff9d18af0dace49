"""A model of 200 MB: unstaged edits of it must cost a commit next to nothing, and judging it little memory."""

from __future__ import annotations

import os
import struct
import subprocess
import sys

import pytest
import safetensors_writer
from gating import DIFFAI, model, staged
from gitrepo import Repo

_SIZE = 200_000_000


def large(first: float) -> bytes:
    """One F32 tensor of 200 MB, in which only the first value tells models apart."""
    count = _SIZE // 4
    header = {"w": safetensors_writer.entry("F32", (count,), 0, _SIZE)}
    return safetensors_writer.raw(header, struct.pack("<f", first) + bytes(_SIZE - 4))


@pytest.mark.slow
def test_unstaged_edits_of_a_large_model(repo: Repo) -> None:
    repo.config("core.compression", "0")
    repo.commit({"big.safetensors": large(1), "m.safetensors": model(4)})
    subprocess.run([DIFFAI, "install", "--hook", "pre-commit"], cwd=repo.top, check=True, capture_output=True)
    repo.write({"big.safetensors": large(2)})
    staged(repo, {"m.safetensors": model(4, scale=2)})
    before = os.stat(repo.top / "big.safetensors")
    repo.git("commit", "-q", "-m", "the small one")
    after = os.stat(repo.top / "big.safetensors")
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)


@pytest.mark.slow
def test_judging_a_large_model_takes_little_memory(repo: Repo) -> None:
    repo.config("core.compression", "0")
    repo.commit({"big.safetensors": large(1)})
    staged(repo, {"big.safetensors": large(2)})
    # In a process of its own: a child begins with the memory of the test runner that forked it.
    script = (
        "import resource, subprocess, sys\n"
        "code = subprocess.run(sys.argv[1:]).returncode\n"
        "print('KILOBYTES', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, DIFFAI, "gate"], cwd=repo.top, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split("KILOBYTES")[1]) < 1_500_000  # git's own blob handling included
