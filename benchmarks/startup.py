"""Promise: a start so quick that twenty files in one ``git diff`` feel immediate.

Baseline: ``python -c "import numpy"`` of the same interpreter, which is what reading values needs at least.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from statistics import median

from measure import DIFFAI, Command, Row, as_git_calls, diffai, interleaved, make, python, remove, wall

SMALL = 1_000_000
ZEROS = "0" * 40


def many_tensors(directory: str, size: int, runs: int, keep: bool) -> Iterator[Row]:
    """10,000 tensors in 11 MB."""
    paths = make(directory, "many_tensors", size=11_000_000)
    command = diffai(paths["old"], paths["new"], expect="Weight updates")
    seconds = wall(interleaved({"diffai": command}, runs)["diffai"])
    yield Row("10,000 tensors, 11 MB", "<= 0.5 s", f"{seconds:.2f} s", seconds <= 0.5, {"seconds": seconds})
    if not keep:
        remove(paths)


def start(directory: str, size: int, runs: int, keep: bool) -> Iterator[Row]:
    """The driver on one pair of 1 MB, nothing cached: until its first line, to its end, and headers only."""
    paths = make(directory, "small_models", size=SMALL)
    old, new = paths["00-old"], paths["00-new"]
    call = ("git-driver", "model.safetensors", old, "1" * 40, "100644", new, ZEROS, "100644")
    shapes, outside = _config(shapeOnly="true", cacheSize="0"), _config(cacheSize="0")
    samples = interleaved(
        {
            "pass": python("pass"),
            "numpy": python("import numpy"),
            "driver": diffai(*call, expect="Weight updates", env=outside),
            "shapes": diffai(*call, expect="diff --git", env=shapes),
        },
        runs * 3,
    )
    numpy, bare = wall(samples["numpy"]), wall(samples["pass"])
    first = median(sample.first for sample in samples["driver"])
    whole, headers = wall(samples["driver"]), wall(samples["shapes"])
    yield Row(
        "driver start to first line, 1 MB pair",
        "<= 2 x `import numpy`",
        f"{first / numpy:.2f} x ({first:.3f} s, `import numpy` {numpy:.3f} s, bare Python {bare:.3f} s)",
        first <= 2 * numpy,
        {"seconds": first, "numpy": numpy, "pass": bare, "ratio": first / numpy},
    )
    yield Row("driver, whole, 1 MB pair", "-", f"{whole / numpy:.2f} x `import numpy`", None, {"seconds": whole})
    loaded = _loads_numpy(call, shapes)
    yield Row(
        "driver, headers only",
        "loads no numpy",
        f"{headers / bare:.2f} x bare Python, " + ("loads numpy" if loaded else "no numpy"),
        not loaded,
        {"seconds": headers, "ratio": headers / bare},
    )
    if not keep:
        remove(paths)


def remembered(directory: str, size: int, runs: int, keep: bool) -> Iterator[Row]:
    """The driver and the converter on what they have seen before."""
    paths = make(directory, "small_models", size=SMALL)
    repository = os.path.join(directory, "remembered")
    shutil.rmtree(repository, ignore_errors=True)
    subprocess.run(["git", "init", "-q", repository], check=True)
    old, new = paths["00-old"], paths["00-new"]
    driver = ("git-driver", "model.safetensors", old, "1" * 40, "100644", new, "2" * 40, "100644")
    calls = {
        "pass": python("pass"),
        "driver": as_git_calls(*driver, expect="Weight updates", cwd=repository),
        "textconv": as_git_calls("textconv", new, expect="xxh3:", cwd=repository),
    }
    interleaved(calls, 1)
    samples = interleaved(calls, runs * 5)
    bare = wall(samples["pass"])
    for name in ("driver", "textconv"):
        seconds = wall(samples[name])
        yield Row(
            f"a remembered {name} call, 1 MB",
            "<= 2 x bare Python",
            f"{seconds / bare:.2f} x ({seconds * 1000:.1f} ms, bare Python {bare * 1000:.1f} ms)",
            seconds <= 2 * bare,
            {"seconds": seconds, "pass": bare, "ratio": seconds / bare},
        )
    shutil.rmtree(repository)
    if not keep:
        remove(paths)


def _config(**values: str) -> dict[str, str]:
    """Variables that set ``diffai.*`` for one git command or driver call."""
    pairs = {"GIT_CONFIG_COUNT": str(len(values))}
    for number, (key, value) in enumerate(values.items()):
        pairs |= {f"GIT_CONFIG_KEY_{number}": f"diffai.{key}", f"GIT_CONFIG_VALUE_{number}": value}
    return pairs


def _loads_numpy(call: tuple[str, ...], env: dict[str, str]) -> bool:
    argv = [sys.executable, "-X", "importtime", DIFFAI, *call]
    result = subprocess.run(argv, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    return any(line.rpartition("|")[2].strip() == "numpy" for line in result.stderr.splitlines())


def git_diff(directory: str, size: int, runs: int, keep: bool) -> Iterator[Row]:
    """20 changed models of 1 MB in a repository where the driver is installed."""
    paths = make(directory, "small_models", size=SMALL)
    repository = os.path.join(directory, "repository")
    shutil.rmtree(repository, ignore_errors=True)
    _repository(repository, paths)
    git = ["git", "--no-pager", "-C", repository, "-c", "color.ui=false"]
    commands = {
        "numpy": python("import numpy"),
        "work tree": Command([*git, "diff"], expect="Weight updates", env=_config(cacheSize="0")),
        "two commits": Command([*git, "diff", "HEAD~1", "HEAD"], expect="Weight updates", env=_config(cacheSize="0")),
        "seen before": Command([*git, "diff", "HEAD~1", "HEAD"], expect="Weight updates"),
    }
    samples = interleaved(commands, runs)
    numpy = wall(samples["numpy"])
    for name in ("work tree", "two commits", "seen before"):
        seconds = wall(samples[name])
        yield Row(
            f"20 changed 1 MB models in one `git diff`, {name}",
            "<= 25 x `import numpy`",
            f"{seconds / numpy:.1f} x ({seconds:.2f} s, `import numpy` {numpy:.3f} s)",
            seconds <= 25 * numpy,
            {"seconds": seconds, "numpy": numpy, "ratio": seconds / numpy},
        )
    shutil.rmtree(repository)
    if not keep:
        remove(paths)


def _repository(repository: str, paths: dict[str, str]) -> None:
    """Commit old, commit new, leave old in the work tree."""
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "commit.gpgsign=false"]

    def git(*words: str) -> None:
        subprocess.run(["git", *identity, *words], cwd=repository, check=True, capture_output=True)

    os.mkdir(repository)
    git("init", "-q")
    subprocess.run([DIFFAI, "install"], cwd=repository, check=True, capture_output=True)

    def put(side: str) -> None:
        for number in range(20):
            target = os.path.join(repository, f"model-{number:02d}.safetensors")
            shutil.copyfile(paths[f"{number:02d}-{side}"], target)

    for side in ("old", "new"):
        put(side)
        git("add", ".")
        git("commit", "-q", "-m", side)
    put("old")
