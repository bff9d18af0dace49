"""What names say of models: which are called like one, which are its shards, which make up one model."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from diffai.formats.table import FORMATS, named_like_a_model
from diffai.frozen import frozen

_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<total>\d{5})\.(?P<suffix>safetensors|bin|pt|pth|gguf)")
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


#: Weights by the names that libraries give them, the likeliest first: beside them lie optimizers and schedulers.
_WEIGHTS = (
    "model.safetensors", "diffusion_pytorch_model.safetensors", "adapter_model.safetensors", "pytorch_model.bin",
    "diffusion_pytorch_model.bin", "adapter_model.bin", "model.pt", "model.pth",
)  # fmt: skip


def single_model(names: Iterable[str]) -> str:
    """The one file that is a folder's model, as in every small repository of a hub; "" when there are shards, several
    models where none takes precedence, or none.

    Names that libraries give to weights take precedence over others, safetensors over PyTorch.
    """
    names = tuple(names)
    if find_models(names):
        return ""
    known = next((name for name in _WEIGHTS if name in names), "")
    models = [name for name in names if named_like_a_model(name)]
    safetensors = [name for name in models if name.endswith(".safetensors")]
    alone = next((some[0] for some in (safetensors, models) if len(some) == 1), "")
    return known or ("" if len(safetensors) > 1 else alone)


def packaged_model(names: Iterable[str]) -> tuple[str, str]:
    """Of a folder that is the package of a model: the file that says so, and the model's path below; else "" and ""."""
    names = set(names)
    return next((row.package for row in FORMATS if row.package[0] in names), ("", ""))


@lru_cache(maxsize=1 << 14)
def owners(path: str) -> tuple[str, ...]:
    """Globs of the paths of models to which a file belongs that lies at ``path``; most belong to none."""
    found = []
    for row in FORMATS:
        for pattern, owner in row.companions:
            match = re.fullmatch(pattern, path)
            if match:
                found.append(owner.format(*(re.sub(r"([*?[])", r"[\1]", group or "") for group in match.groups())))
    return tuple(found)


def is_shard(path: str) -> bool:
    """Whether a file is named like one shard of several."""
    return _SHARD.fullmatch(path.rpartition("/")[2]) is not None


def is_index(path: str) -> bool:
    """Whether a file is named like the index of a sharded model."""
    return _INDEX.fullmatch(path.rpartition("/")[2]) is not None


def is_model_name(path: str) -> bool:
    """Whether a file is called like a model, or like a part of one, whatever it holds."""
    return named_like_a_model(path) or is_shard(path)


def model_key(path: str) -> str:
    """The name that a model is paired by: a shard and a shard index stand for the single file they could be."""
    folder, slash, name = path.rpartition("/")
    shard = _SHARD.fullmatch(name)
    if shard:
        return f"{folder}{slash}{shard['stem']}.{shard['suffix']}"
    return path.removesuffix(".index.json") if _INDEX.fullmatch(name) else path
