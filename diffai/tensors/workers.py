"""Doing pieces of work, on several threads where that pays, always with results in the order of the pieces."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

P = TypeVar("P")
R = TypeVar("R")
W = TypeVar("W")

# Below this many bytes a second thread does not earn its start.
THREADED_BYTES = 8 << 20
_MOST = 4
_TICK = 0.05  # seconds between two looks at progress


def thread_count(asked: int, total_bytes: int) -> int:
    """Threads to use: as asked, else one a processor up to four, and one for little work."""
    if asked > 0:
        return asked
    if total_bytes < THREADED_BYTES:
        return 1
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available, _MOST)


def run(
    pieces: Sequence[P],
    work: Callable[[P, W], R],
    workspace: Callable[[], W],
    threads: int,
    progress: Callable[[P], None],
) -> list[R]:
    """Results of ``work(piece, workspace)`` for all pieces, in their order, whatever thread did them.

    Args:
        pieces: begun in this order.
        work: called on any thread; an exception stops all threads and is raised here.
        workspace: makes one thread's buffers.
        threads: 1 does everything on the calling thread.
        progress: called on the calling thread with each piece done.
    """
    if threads > 1 and len(pieces) > 1:
        return _Crew(pieces, work, workspace).run(min(threads, len(pieces)), progress)
    results = []
    own = workspace()
    for piece in pieces:
        results.append(work(piece, own))
        progress(piece)
    return results


class _Crew(Generic[P, R, W]):
    """Threads that take pieces off one queue until it is empty, one fails, or the caller is interrupted."""

    def __init__(self, pieces: Sequence[P], work: Callable[[P, W], R], workspace: Callable[[], W]) -> None:
        self._pieces, self._work, self._workspace = pieces, work, workspace
        # deque operations are atomic: no lock is needed.
        self._waiting = deque(range(len(pieces)))
        self._done: deque[int] = deque()
        self._results: dict[int, R] = {}
        self._failures: list[BaseException] = []

    def run(self, threads: int, progress: Callable[[P], None]) -> list[R]:
        """Start the threads, wait for them, and hand on the first failure."""
        import threading

        crew = [threading.Thread(target=self._take, name=f"diffai-{n}", daemon=True) for n in range(threads)]
        try:
            for thread in crew:
                thread.start()
            for thread in crew:
                while thread.is_alive():
                    thread.join(_TICK)  # a timeout lets ^C in
                    self._report(progress)
            self._report(progress)
        except BaseException:
            self._waiting.clear()  # each thread ends after the piece it has
            for thread in crew:
                if thread.ident is not None:
                    thread.join()
            raise
        if self._failures:
            raise self._failures[0]
        return [self._results[index] for index in range(len(self._pieces))]

    def _report(self, progress: Callable[[P], None]) -> None:
        while self._done:
            progress(self._pieces[self._done.popleft()])

    def _take(self) -> None:
        try:
            own = self._workspace()
            while True:
                try:
                    index = self._waiting.popleft()
                except IndexError:
                    return
                self._results[index] = self._work(self._pieces[index], own)
                self._done.append(index)
        except BaseException as error:  # every failure belongs to the caller's thread
            self._failures.append(error)
            self._waiting.clear()
