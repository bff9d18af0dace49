"""One command over one file in a process of its own, and what it cost: processor seconds, memory, how it ended."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

SECONDS = 10.0
MEGABYTES = 500


class Cost(NamedTuple):
    """Processor seconds (user and system), peak resident MB, exit status (negative: a signal), what it wrote."""

    seconds: float
    megabytes: float
    status: int
    output: str

    @property
    def over(self) -> bool:
        """Whether it went over the ceiling, crashed or wrote a traceback."""
        return (
            self.seconds > SECONDS or self.megabytes > MEGABYTES or self.status not in (0, 1, 2)
            or "Traceback" in self.output
        )  # fmt: skip


def cost_of(arguments: list[str], folder: Path, *, limits: str = "", wait: float = 60) -> Cost:
    """Run ``diffai`` with these arguments; ``limits`` are lines of Python that run in the process first."""
    program = f"import sys; sys.argv[0] = 'diffai'\n{limits}\nfrom diffai.__main__ import main\nsys.exit(main())"
    log = folder / "output.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments], stdout=output, stderr=output, cwd=folder,
            env={**os.environ, "GIT_CEILING_DIRECTORIES": str(folder)},
        )  # fmt: skip
        peak, until = 0.0, time.monotonic() + wait
        while True:  # ru_maxrss would count this process's own memory, which the child has before it starts
            peak = max(peak, _peak(process.pid))
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            if time.monotonic() > until:
                process.kill()
            time.sleep(0.01)
    process.returncode = os.waitstatus_to_exitcode(status)
    text = log.read_bytes()[:200_000].decode("utf-8", "replace")
    return Cost(usage.ru_utime + usage.ru_stime, peak, process.returncode, text)


def _peak(pid: int) -> float:
    """Peak resident MB so far of a running process; 0 when it has ended."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            found = [line.split()[1] for line in file if line.startswith("VmHWM:")]
    except OSError:
        return 0.0
    return int(found[0]) / 1024 if found else 0.0
