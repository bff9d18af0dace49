"""Tiny models in one file and in shards, and what is told of two commits that hold them."""

from __future__ import annotations

import json
import struct

import safetensors_writer as writer
from gitrepo import Repo

from diffai.models.pairs import ModelPair, pairs
from diffai.repository.runner import Repository
from diffai.snapshots.snapshot import snapshot_of

ONE, TWO, THREE = writer.simple(1), writer.simple(2), writer.simple(3)
BOTH = ["a.bias", "a.weight"]


def values(*names: str, seed: float = 0.0, width: int = 2) -> bytes:
    """A model of tensors of these names."""
    data = {n: ("F32", (width,), struct.pack(f"<{width}f", *[seed + len(n)] * width)) for n in names}
    return writer.build(data)


def index(**shards: str) -> bytes:
    return json.dumps({"metadata": {}, "weight_map": shards}).encode()


def shard(number: int, total: int = 2) -> str:
    return f"model-{number:05}-of-{total:05}.safetensors"


def sharded(seed: float) -> dict[str, bytes]:
    """Two shards whose index says the same whatever the seed."""
    return {
        "m/model.safetensors.index.json": index(a=shard(1), b=shard(2)),
        f"m/{shard(1)}": values("a"),
        f"m/{shard(2)}": values("b", seed=seed),
    }


def found(repo: Repo, old: str = "HEAD~1", new: str = "HEAD") -> list[ModelPair]:
    git = Repository(str(repo.top))
    return pairs(*(snapshot_of(git, git.commit(rev)) for rev in (old, new))).changed


def paths(repo: Repo) -> list[tuple[str, str]]:
    return [(pair.old_path, pair.new_path) for pair in found(repo)]


def changed(done: object) -> list[str]:
    """Tensors that a JSON change list names as changed."""
    records = json.loads(done.stdout)  # type: ignore[attr-defined]
    return [record["TensorStatsChanged"][0] for record in records if "TensorStatsChanged" in record]
