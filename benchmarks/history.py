"""Promises: a history is walked at the speed at which git gives its blobs, and costs next to nothing again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

from measure import HERE, Command, MeasurementError, Row, diffai, interleaved, megabytes, once, peak, python, wall

COMMITS = 20
MOST_BYTES = 60_000_000
MANY, SMALL = 1000, 200_000
PATH = "model.safetensors"
HEADER_SECONDS = 0.5
MEMORY = 150_000_000


def history(directory: str, size: int, runs: int, keep: bool) -> Iterator[Row]:
    """Four rows: headers only, cold, warm, memory."""
    each = min(MOST_BYTES, max(1_000_000, size // 10))
    top = _repository(directory, each)
    shell = "for c in $(git rev-list HEAD); do git cat-file blob $c:model.safetensors; done >/dev/null"
    commands = {
        "cat": Command(["sh", "-c", shell], cwd=top),
        "raw": Command(["git", "log", "--raw", "--", PATH], cwd=top),
        "python": python("pass"),
        "header": diffai("log", "--no-cache", "--level", "header", "--", PATH, cwd=top, expect="added"),
        "cold": diffai("log", "--no-cache", "--", PATH, cwd=top, expect="drift"),
        "warm": diffai("log", "--", PATH, cwd=top, expect="drift"),
        "pair": diffai("HEAD~1", "HEAD", "--", PATH, cwd=top, expect="Weight updates"),
        "pair_cat": Command(["sh", "-c", shell.replace("rev-list HEAD", "rev-list -2 HEAD")], cwd=top),
        "start": diffai("HEAD~1", "HEAD", "--shape-only", "--", PATH, cwd=top),
    }
    samples = interleaved(commands, max(1, min(runs, 3)))
    seconds = {name: wall(found) for name, found in samples.items()}
    what = f"history of {COMMITS} x {megabytes(each)}"
    numbers = {f"{name}_seconds": value for name, value in seconds.items()}
    yield Row(
        f"{what}, headers only",
        f"<= {HEADER_SECONDS} s",
        f"{seconds['header']:.2f} s",
        seconds["header"] <= HEADER_SECONDS,
        numbers,
    )
    # What the engine takes for the values of one pair, without the start and without what git takes for its blobs.
    arithmetic = max(0.0, seconds["pair"] - seconds["start"] - seconds["pair_cat"]) * (COMMITS - 1)
    limit = 1.5 * seconds["cat"] + arithmetic
    yield Row(
        f"{what}, cold",
        f"<= 1.5 x git cat-file of its blobs + the engine's arithmetic for {COMMITS - 1} pairs",
        f"{seconds['cold']:.2f} s (cat-file {seconds['cat']:.2f} s, arithmetic {arithmetic:.2f} s; "
        f"limit {limit:.2f} s)",
        seconds["cold"] <= limit,
        numbers,
    )
    limit = 2 * seconds["raw"] + 15 * seconds["python"]
    yield Row(
        f"{what}, warm cache",
        "<= 2 x git log --raw + 15 x bare Python start",
        f"{seconds['warm']:.3f} s (limit {limit:.3f} s)",
        seconds["warm"] <= limit,
        numbers,
    )
    own, gits = peak(samples["cold"]), peak([once(commands["cat"])])
    yield Row(
        f"{what}, memory",
        f"<= {megabytes(MEMORY)} + git's own",
        f"{megabytes(own)} (git cat-file alone {megabytes(gits)})",
        own <= MEMORY + gits,
        {"peak_bytes": own, "git_peak_bytes": gits},
    )
    if not keep:
        shutil.rmtree(top, ignore_errors=True)


def many_versions(directory: str, size: int, runs: int, keep: bool) -> Iterator[Row]:
    """1,000 versions of 200 kB, every value."""
    top = _repository(directory, SMALL, MANY)
    names = f"git log --format=%H:{PATH} | git cat-file --batch > /dev/null"
    commands = {
        "cat": Command(["sh", "-c", names], cwd=top),
        "cold": diffai("log", "--no-cache", "--", PATH, cwd=top, expect="drift"),
    }
    samples = interleaved(commands, max(1, min(runs, 3)))
    cat, cold = wall(samples["cat"]), wall(samples["cold"])
    yield Row(
        f"history of {MANY:,} x {megabytes(SMALL)}, cold",
        "<= 4 x git cat-file of its blobs",
        f"{cold / cat:.2f} x ({cold:.2f} s, cat-file {cat:.2f} s)",
        cold <= 4 * cat,
        {"seconds": cold, "cat_seconds": cat, "ratio": cold / cat},
    )
    if not keep:
        shutil.rmtree(top, ignore_errors=True)


def revisions_again(directory: str, size: int, runs: int, keep: bool) -> Iterator[Row]:
    """``diffai REV REV -- FILE`` of one large model, for the second time."""
    each = int(size * 0.8)
    top = _repository(directory, each, commits=2)
    samples = interleaved(
        {
            "raw": Command(["git", "log", "--raw", "--", PATH], cwd=top),
            "python": python("pass"),
            "again": diffai("HEAD~1", "HEAD", "--", PATH, cwd=top, expect="Weight updates"),
        },
        runs,
    )
    seconds = {name: wall(found) for name, found in samples.items()}
    limit = 2 * seconds["raw"] + 15 * seconds["python"]
    yield Row(
        f"REV REV -- FILE of {megabytes(each)} again",
        "<= 2 x `git log --raw` + 15 x bare Python",
        f"{seconds['again']:.2f} s (limit {limit:.2f} s)",
        seconds["again"] <= limit,
        {f"{name}_seconds": value for name, value in seconds.items()},
    )
    if not keep:
        shutil.rmtree(top)


def _repository(directory: str, each: int, commits: int = COMMITS) -> str:
    """Have the repository written, unless it is there."""
    argv = [sys.executable, os.path.join(HERE, "history_repo.py"), directory, str(commits), str(each)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MeasurementError(f"history_repo.py: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    return done.stdout.strip()
