"""What was computed for the same bytes before, by content: a second ``git log -p`` does no arithmetic.

Keys are made of the bytes that git handed over (or of the object that a pointer among them led to), never of an
object name that may be a pointer's. A hit loads no numpy.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from diffai.cache.places import content_id, open_store
from diffai.errors import DiffaiError
from diffai.git.environment import GitEnvironment
from diffai.model import Absent, State
from diffai.snapshots.directory import Directory
from diffai.sources.base import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.comparison.result import CompareOptions, ModelDiff
    from diffai.config import Settings


class RememberedDiff:
    """The place of one comparison in the cache; ``get`` and ``put`` do nothing where there is none.

    Args:
        files: for both sides the file that git handed over and its path; "" for a side that is absent.
        options: of the comparison.
        environment: of this call.
    """

    def __init__(self, files: Sequence[tuple[str, str]], options: CompareOptions, environment: GitEnvironment) -> None:
        settings = environment.settings
        self._store = open_store(limit=settings.cache_size)
        self._key: tuple[str, ...] = ()
        self._identities: list[str] = []
        if not self._store.limit or settings.shape_only:
            return
        names = []
        for file, path in files:
            name, identity = _content(file, path, settings) if file else ("-", "")
            if not name:
                return
            names.append(name)
            self._identities.append(identity)
        self._key = ("diff", *names, repr(options))

    def get(self) -> ModelDiff | None:
        """The comparison, as it was computed before; None where it was not."""
        kept = self._store.get("pair", *self._key) if self._key else None
        if kept is None:
            return None
        from diffai.cache.codec import decode
        from diffai.comparison.result import ModelDiff

        try:
            diff = decode(kept)
        except ValueError:
            return None
        return diff if isinstance(diff, ModelDiff) else None

    def put(self, diff: ModelDiff) -> None:
        """Remember a comparison of two checkpoints; states are not remembered, they may change."""
        states = [side.state for side in (diff.old, diff.new) if side.state is not None]
        if not self._key or any(not isinstance(state, Absent) for state in states):
            return
        if [diff.old.identity, diff.new.identity] != self._identities:
            return  # a file was changed after its digest was taken: these are figures of other bytes
        from diffai.cache.codec import encode
        from diffai.frozen import replace

        old, new = (replace(side, identity="") for side in (diff.old, diff.new))
        self._store.put("pair", *self._key, value=encode(replace(diff, old=old, new=new)))


def _content(file: str, path: str, settings: Settings) -> tuple[str, str]:
    """A name for the bytes behind a file, and what the open file was; "" where there are none or too many to read."""
    from diffai.snapshots.resolve import open_file

    try:
        source = open_file(file, path=path)
    except DiffaiError:
        return "", ""
    if isinstance(source, (State, Directory)):
        return "", ""
    try:
        return named_content(source, path or file, settings), source.identity
    except DiffaiError:
        return "", ""
    finally:
        source.close()


def named_content(source: Source, path: str, settings: Settings) -> str:
    """Content and suffix (which decides where content says nothing); "" where the bytes are not to be read.

    Raises:
        SourceError: they cannot be read.
    """
    if settings.max_bytes and source.size > settings.max_bytes:
        return ""
    return f"{content_id(source)} {os.path.splitext(path)[1].lower()}"


class RememberedText:
    """The place of one model's text in the cache."""

    def __init__(self, source: Source, path: str, schema: int, environment: GitEnvironment) -> None:
        settings = environment.settings
        self._store = open_store(limit=settings.cache_size)
        self._key: tuple[str, ...] = ()
        if self._store.limit and not settings.shape_only:
            name = named_content(source, path, settings)
            if name:
                self._key = ("textconv", str(schema), name)

    def get(self) -> list[str] | None:
        """Its lines; None where they are not known."""
        kept = self._store.get("side", *self._key) if self._key else None
        return kept if isinstance(kept, list) and all(isinstance(line, str) for line in kept) else None

    def put(self, lines: Sequence[str]) -> None:
        """Remember them."""
        if self._key:
            self._store.put("side", *self._key, value=list(lines))
