"""Open shards: as many at a time as descriptors allow, opened again when their turn comes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from diffai.errors import SourceError
from diffai.model import Checkpoint

_MOST_FILES = 128
_MOST_STREAMS = 4  # a stream is a process or a temporary file


class ShardPool:
    """Opened shards, least recently used ones closed first; safe to use from several threads.

    Args:
        count: number of shards.
        open_shard: opens a shard by its number; gives it with the identity of its source.

    """

    def __init__(self, count: int, open_shard: Callable[[int], tuple[Checkpoint, str]]) -> None:
        self._open_shard = open_shard
        self._open: OrderedDict[int, Checkpoint] = OrderedDict()
        self._users = [0] * count
        self._identities = [""] * count
        self._lock = threading.Lock()
        self.random_access = True

    @contextmanager
    def use(self, number: int) -> Iterator[Checkpoint]:
        """The opened shard, which stays open inside the ``with`` block.

        Raises:
            SourceError: it is gone, or not the file that it was at first.

        """
        with self._lock:
            shard = self._open.get(number)
            if shard is None:
                shard = self._open[number] = self._reopen(number)
            self._open.move_to_end(number)
            self._users[number] += 1
        try:
            yield shard
        finally:
            with self._lock:
                self._users[number] -= 1
                self._shrink()

    def _reopen(self, number: int) -> Checkpoint:
        """Open a shard, for the first time or again."""
        shard, identity = self._open_shard(number)
        if self._identities[number] not in ("", identity):
            shard.close()
            raise SourceError(f"shard {number + 1} was changed while being read; run again")
        self._identities[number] = identity
        self.random_access = self.random_access and shard.random_access
        return shard

    def _shrink(self) -> None:
        """Close what was unused for longest."""
        most = _MOST_FILES if self.random_access else _MOST_STREAMS
        for number in [n for n in self._open if not self._users[n]]:
            if len(self._open) <= most:
                break
            self._open.pop(number).close()

    @property
    def identity(self) -> str:
        """Of all shards; "" when one is not known."""
        return " ".join(self._identities) if all(self._identities) else ""

    def verify_unchanged(self) -> None:
        """Raise SourceError when a shard was changed since it was opened."""
        for number in range(len(self._users)):
            with self.use(number) as shard:
                shard.verify_unchanged()

    def close(self) -> None:
        """Close all shards; may be called twice."""
        with self._lock:
            while self._open:
                self._open.popitem()[1].close()
