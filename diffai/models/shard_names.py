"""Which names in a directory make up a sharded model."""

from __future__ import annotations

import re
from collections.abc import Iterable

from diffai.frozen import frozen

_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<total>\d{5})\.(?P<suffix>safetensors|bin|pt|pth)")
_INDEX = re.compile(r".+\.(safetensors|bin)\.index\.json")


@frozen
class ShardedFiles:
    """One sharded model among the names of a directory.

    Attributes:
        index: its index file; "" when only shards are there.
        shards: the shards that are there, in order; empty with an index, which names them.
        missing: names of the shards that should be there too.

    """

    index: str
    shards: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """For messages."""
        return self.index or f"{self.shards[0]} ..."


def find_models(names: Iterable[str]) -> tuple[ShardedFiles, ...]:
    """The sharded models among ``names``: empty, one, or several where none takes precedence.

    An index takes precedence over shards, safetensors over PyTorch (a repository often holds a model in both),
    and ``model.safetensors.index.json`` over other indexes.
    """
    names = tuple(names)
    indexes = [name for name in names if _INDEX.fullmatch(name)]
    safetensors = [name for name in indexes if name.endswith(".safetensors.index.json")]
    indexes = safetensors or indexes
    if "model.safetensors.index.json" in indexes:
        indexes = ["model.safetensors.index.json"]
    if indexes:
        return tuple(ShardedFiles(name) for name in indexes)
    groups: dict[tuple[str, str, str], list[re.Match[str]]] = {}
    for name in sorted(names):
        match = _SHARD.fullmatch(name)
        if match:
            groups.setdefault((match["suffix"], match["stem"], match["total"]), []).append(match)
    if any(suffix == "safetensors" for suffix, _, _ in groups):
        groups = {key: shards for key, shards in groups.items() if key[0] == "safetensors"}
    return tuple(_group(shards) for shards in groups.values())


def _group(matches: list[re.Match[str]]) -> ShardedFiles:
    """Shards of one name and total."""
    first = matches[0]
    there = {int(match["number"]) for match in matches}
    missing = tuple(
        f"{first['stem']}-{number:05}-of-{first['total']}.{first['suffix']}"
        for number in range(1, int(first["total"]) + 1)
        if number not in there
    )
    return ShardedFiles("", tuple(match[0] for match in matches), missing)
