"""Run whole processes and measure them: wall time, peak memory, time to the first line.

The runner imports no numpy: on Linux the peak memory of a child counts what its parent had when it was
started, so the parent has to stay small.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from diffai.git.command import ISOLATED, PYTHON

HERE = os.path.dirname(os.path.abspath(__file__))
DIFFAI = os.path.join(os.path.dirname(sys.executable), "diffai")


class MeasurementError(Exception):
    """A measured command did not do what it should have, so its time means nothing."""


@dataclass(frozen=True, slots=True)
class Command:
    """A process to measure. ``expect``: text that its output must hold; ``codes``: sound exit codes."""

    argv: Sequence[str]
    expect: str = ""
    codes: tuple[int, ...] = (0,)
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """Wall seconds, seconds until the first byte of output, peak resident bytes of the child, its CPU seconds."""

    wall: float
    first: float
    peak: int
    cpu: float


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. ``ok`` is None where there is no promise, only a figure."""

    promise: str
    figure: str
    measured: str
    ok: bool | None
    numbers: Mapping[str, float] = field(default_factory=dict)


def diffai(*words: str, **keywords: object) -> Command:
    """A call of the diffai that stands beside this Python."""
    return Command([DIFFAI, *words], **keywords)  # type: ignore[arg-type]


def as_git_calls(*words: str, **keywords: object) -> Command:
    """The same, started in the way that ``diffai install`` configures for git."""
    return Command([sys.executable, *ISOLATED.split(), "-c", PYTHON, *words], **keywords)  # type: ignore[arg-type]


def python(code: str) -> Command:
    """A bare interpreter that runs ``code``."""
    return Command([sys.executable, "-c", code])


def once(command: Command) -> Sample:
    """Run one command to its end."""
    env = {**os.environ, **command.env}
    start = time.perf_counter()
    process = subprocess.Popen(
        command.argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=env,
        cwd=command.cwd,
    )
    assert process.stdout is not None
    output = os.read(process.stdout.fileno(), 1 << 16)
    first = time.perf_counter() - start
    while chunk := os.read(process.stdout.fileno(), 1 << 16):
        output += chunk
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    text = output.decode("utf-8", "replace")
    if process.returncode not in command.codes or command.expect not in text:
        said = " / ".join(text.strip().splitlines()[-2:])
        raise MeasurementError(f"{_short(command)}: exit code {process.returncode}, said: {said[:300]}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Sample(wall, first, usage.ru_maxrss * unit, usage.ru_utime + usage.ru_stime)


def interleaved(commands: Mapping[str, Command], runs: int) -> dict[str, list[Sample]]:
    """Each command once to warm the page cache, then all of them in turn ``runs`` times."""
    for command in commands.values():
        once(command)
    samples: dict[str, list[Sample]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            samples[name].append(once(command))
    return samples


def wall(samples: Sequence[Sample]) -> float:
    """Median wall seconds."""
    return median(sample.wall for sample in samples)


def cpu(samples: Sequence[Sample]) -> float:
    """Median CPU seconds, of all threads: what a busy machine leaves as it is."""
    return median(sample.cpu for sample in samples)


def peak(samples: Sequence[Sample]) -> int:
    """Largest peak in bytes."""
    return max(sample.peak for sample in samples)


def make(directory: str, kind: str, **keywords: object) -> dict[str, str]:
    """Have ``data.py`` write models into ``directory`` unless they are there; paths by name."""
    words = [f"--{name}={value}" for name, value in keywords.items()]
    argv = [sys.executable, os.path.join(HERE, "data.py"), kind, directory, *words]
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise MeasurementError(f"data.py {kind}: {(result.stderr.strip().splitlines() or ['?'])[-1]}")
    paths: dict[str, str] = json.loads(result.stdout)
    return paths


def remove(paths: Mapping[str, str]) -> None:
    """Delete models that are not needed any more: a full run makes about 20 of 1 GB."""
    for path in paths.values():
        if os.path.exists(path):
            os.remove(path)


def megabytes(count: float) -> str:
    """Bytes as MB of 10^6."""
    return f"{count / 1e6:.0f} MB"


def parse_size(text: str) -> int:
    """Bytes of ``400m`` or ``1g``, in powers of 1000."""
    factor = {"k": 10**3, "m": 10**6, "g": 10**9}.get(text[-1:].lower(), 1)
    return int(float(text[:-1] if factor > 1 else text) * factor)


def _short(command: Command) -> str:
    return " ".join(os.path.basename(word) for word in command.argv[:5])
