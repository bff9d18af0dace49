"""Ends work that would not end: a guard against hangs, not a measure of speed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SECONDS = 60
"""Processor seconds of this process, so that a busy machine changes nothing; what is tested takes a hundredth."""


@contextmanager
def ends() -> Iterator[None]:
    """Fail where what is done inside is still going on after :data:`SECONDS` of processor time.

    Raises:
        AssertionError: it is.
    """

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"still at work after {SECONDS} processor seconds")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
