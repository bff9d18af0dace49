"""A progress bar on stderr: only on a terminal, only for work that takes over half a second."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

_DELAY = 0.5


class ProgressBar:
    """Called with (bytes done, bytes in all); draws with rich once the work has lasted half a second.

    At 100 % it goes away: what is still to be done then cannot be measured, and a full bar that stands says that
    nothing is.
    """

    unit = ""

    def __init__(self, what: str) -> None:
        self._what = what
        self._start = time.monotonic()
        self._bar: Any = None
        self._task: Any = None
        self._on = sys.stderr.isatty()

    def __enter__(self) -> ProgressBar:
        return self

    def __call__(self, done: int, total: int) -> None:
        """Show how far the work is."""
        if done >= total:
            self._stop()
            return
        if not self._on or (self._bar is None and time.monotonic() - self._start < _DELAY):
            return
        if self._bar is None:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                DownloadColumn,
                MofNCompleteColumn,
                Progress,
                TimeRemainingColumn,
                TransferSpeedColumn,
            )

            counted = (MofNCompleteColumn(), self.unit) if self.unit else (DownloadColumn(), TransferSpeedColumn())
            self._bar = Progress(
                "{task.description}", BarColumn(), *counted, TimeRemainingColumn(),
                console=Console(stderr=True), transient=True,
            )  # fmt: skip
            self._bar.start()
            self._task = self._bar.add_task(self._what, total=total)
        self._bar.update(self._task, completed=done, total=total)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class CountBar(ProgressBar):
    """The same for work that is counted in pieces (commits), not in bytes."""

    unit = "commits"
