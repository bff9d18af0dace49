"""Findings of second passes, remembered: the same question about the same contents reads no tensor twice.

The key is all that a finding depends on: the contents of both sides and of the third model by name, the comparison's
options, those of the analysis, and the files beside the models that the analysis declares. The program's version is
part of every key of the store.
"""

from __future__ import annotations

from diffai.finding import Finding
from diffai.frozen import frozen, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from diffai.analyses.context import Sides
    from diffai.analyses.run import Asked
    from diffai.analyses.table import Analysis
    from diffai.cache.store import Store
    from diffai.comparison.result import ModelDiff
    from diffai.finding import Value
    from diffai.models.inputs import Input

_WORTH_IT = 1 << 20
"""Bytes of both sides below which reading again costs next to nothing."""


@frozen
class RememberedFinding:
    """The place of one finding in the cache."""

    store: Store
    key: tuple[str, ...]

    def get(self) -> Finding | None:
        """The finding as it was; None where it was not kept."""
        kept = self.store.get("pair", *self.key)
        try:
            name, severity, basis, fields, evidence, text, notes, status = kept
            return Finding(name, severity, basis, _decoded(fields), tuple(evidence), text, tuple(notes), status)
        except (TypeError, ValueError):
            return None

    def put(self, found: Finding) -> None:
        """Keep it, unless it could not be computed."""
        if found.status != "not computed":
            value = [found.name, found.severity, found.basis, _encoded(found.fields), list(found.evidence), found.text,
                     list(found.notes), found.status]  # fmt: skip
            self.store.put("pair", *self.key, value=value)


def remembered(row: Analysis, asked: Asked, diff: ModelDiff, sides: Sides) -> RememberedFinding | None:
    """The place of a finding; None where reading again costs little, or where nothing names the contents."""
    if not asked.cache_size or sides.unread or diff.old.size + diff.new.size < _WORTH_IT:
        return None
    models = [side for side in (sides.old, sides.new, sides.base) if side is not None]
    names = [_content(side) for side in models]
    if not all(names):
        return None
    from hashlib import blake2b

    from diffai.analyses.context import read_sibling
    from diffai.cache.places import open_store

    store = open_store(limit=asked.cache_size)
    if not store.limit:
        return None
    beside = [
        blake2b(data, digest_size=16).hexdigest() if (data := read_sibling(sides, which, name)) is not None else ""
        for name in row.siblings
        for which in ("old", "new", "base")
    ]
    options = repr(replace(diff.options, threads=0, cache_size=0, by_magnitude=False))
    own = repr(sorted(asked.options.of(row.name).items()))
    return RememberedFinding(store, ("finding", row.name, own, options, str(len(names)), *names, *beside))


def _content(side: Input) -> str:
    """A name that only this content has; "" where there is none."""
    if side.checkpoint is None or side.checkpoint.identity is not None:  # nothing, or several files
        return ""
    return f"{side.checkpoint.format} {side.identity}" if side.identity.startswith(("git:", "sha256:")) else ""


def _encoded(value: Value) -> Any:
    """Mappings as objects, tuples as arrays."""
    if isinstance(value, tuple):
        return [_encoded(item) for item in value]
    if value is None or isinstance(value, (str, int, float)):
        return value
    return {key: _encoded(item) for key, item in value.items()}


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_decoded(item) for item in value)
    return {key: _decoded(item) for key, item in value.items()} if isinstance(value, dict) else value
