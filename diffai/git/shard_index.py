"""The index of a sharded model (``*.index.json``) under ``git diff``: which tensors came, went or moved.

git hands a driver one file, without its neighbours, so values are not compared here, and the line says what can.
"""

from __future__ import annotations

import json
import os

from diffai.git.environment import Change, GitEnvironment
from diffai.git.plain import plain_diff
from diffai.model import natural_key
from diffai.views.style import escape, paint, plural

_MOST_BYTES = 100_000_000
_MOST_LINES = 40


def read_weight_map(path: str) -> dict[str, str] | None:
    """Tensor name -> shard file; None when the file is no shard index."""
    try:
        if os.path.getsize(path) > _MOST_BYTES:
            return None
        with open(path, "rb") as file:
            data = json.load(file)
    except (OSError, ValueError, RecursionError):
        return None
    weights = data.get("weight_map") if isinstance(data, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(v, str) for v in weights.values()):
        return None
    return weights


def index_diff(change: Change, environment: GitEnvironment) -> list[str]:
    """Lines below the header; git's own text diff where it is no shard index."""
    old = {} if change.old_absent else read_weight_map(change.old_file)
    new = {} if change.new_absent else read_weight_map(change.new_file)
    if old is None or new is None:
        return plain_diff(change, environment)
    added = sorted(new.keys() - old.keys(), key=natural_key)
    removed = sorted(old.keys() - new.keys(), key=natural_key)
    moved = sorted((name for name in old.keys() & new.keys() if old[name] != new[name]), key=natural_key)
    lines = [paint("Shard index:", "#", environment.color)]
    lines.append(f"  {_side(old)} -> {_side(new)}")
    names = [*(("-", n, old[n]) for n in removed), *(("+", n, new[n]) for n in added)]
    for symbol, name, shard in names[:_MOST_LINES]:
        lines.append(paint(f"  {symbol} {escape(name)} (in {escape(shard)})", symbol, environment.color))
    if len(names) > _MOST_LINES:
        lines.append(paint(f"  … {len(names) - _MOST_LINES:,} more tensors added or removed", "…", environment.color))
    if moved:
        lines.append(f"  {plural(len(moved), 'tensor')} moved between shards (re-sharding is not a change)")
    if not names and not moved:
        lines.append("  the same tensors in the same shards")
    path = escape(change.new_path or change.old_path)
    lines.append(paint("! values NOT COMPARED: git hands over this file without its shards", "!", environment.color))
    lines.append(f"  (the whole model: diffai A..B -- {path})")
    return lines


def index_text(weights: dict[str, str]) -> list[str]:
    """For textconv: one tensor a line, with its shard."""
    header = f"# shard index: {plural(len(weights), 'tensor')} in {plural(len(set(weights.values())), 'shard')}"
    return [
        header,
        *(f"{escape(name, longest=0)}  in {escape(weights[name])}" for name in sorted(weights, key=natural_key)),
    ]


def _side(weights: dict[str, str]) -> str:
    return f"{plural(len(weights), 'tensor')} in {plural(len(set(weights.values())), 'shard')}"
