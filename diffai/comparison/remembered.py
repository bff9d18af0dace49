"""A comparison of two contents, remembered: what was compared once is not read again, by whoever asks.

The key is all that a comparison depends on: both contents by name, the options, and what the program reads (its
version, by way of the store). Labels and paths are no part of it; the caller puts its own.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from diffai.frozen import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.cache.store import Store
    from diffai.comparison.result import CompareOptions, ModelDiff
    from diffai.models.inputs import Input

_WORTH_IT = 8 << 20
"""Bytes of both sides below which comparing again costs next to nothing."""


class RememberedComparison:
    """The place of one comparison in the cache; ``get`` and ``put`` do nothing where a content has no name.

    Args:
        store: the cache.
        contents: names that only these bytes have, of both sides; "" = not known, ``-`` = there is nothing.
        options: of the comparison; how many threads did it changes nothing.
    """

    def __init__(self, store: Store, contents: Sequence[str], options: CompareOptions) -> None:
        self._store = store
        self._key: tuple[str, ...] = ()
        if store.limit and all(contents):
            self._key = ("diff", *contents, repr(replace(options, threads=0, cache_size=0, by_magnitude=False)))

    def get(self) -> ModelDiff | None:
        """The comparison, as it was computed before, its sides without identity; None where it was not."""
        kept = self._store.get("pair", *self._key) if self._key else None
        if kept is None:
            return None
        from diffai.comparison.codec import decode
        from diffai.comparison.result import ModelDiff

        try:
            diff = decode(kept)
        except ValueError:
            return None
        return diff if isinstance(diff, ModelDiff) else None

    def put(self, diff: ModelDiff) -> None:
        """Remember a comparison of two checkpoints; states are not remembered, they may change."""
        from diffai.model import Absent

        states = [side.state for side in (diff.old, diff.new) if side.state is not None]
        if not self._key or any(not isinstance(state, Absent) for state in states):
            return
        from diffai.comparison.codec import encode

        old, new = (replace(side, identity="") for side in (diff.old, diff.new))
        self._store.put("pair", *self._key, value=encode(replace(diff, old=old, new=new)))


def remembered(old: Input, new: Input, options: CompareOptions) -> RememberedComparison | None:
    """The place of two opened sides; None where reading them again costs little, or nothing names their content."""
    if not options.cache_size or options.shape_only or old.size + new.size < _WORTH_IT:
        return None
    names = [_content(side) for side in (old, new)]
    if not all(names):
        return None
    from diffai.cache.places import open_store

    return RememberedComparison(open_store(limit=options.cache_size), names, options)


def _content(side: Input) -> str:
    """A name that only this content has, with the suffix that decides where content says nothing."""
    if side.checkpoint is None or side.checkpoint.identity is not None:  # nothing, or several files
        return ""
    named = side.identity.startswith(("git:", "sha256:"))
    return f"{side.identity} {os.path.splitext(side.label)[1].lower()}" if named else ""
