"""Planted pairs of models, each with the facts that are known of it because it was made so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray[Any, Any]]

BUFFERS = ("running_mean",)


@dataclass(frozen=True)
class Pair:
    """Two models and what is true of them. Names are those of the new side, of removed tensors those of the old."""

    name: str
    old: Arrays
    new: Arrays
    added: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()
    renamed: Mapping[str, str] = field(default_factory=dict)
    reshaped: frozenset[str] = frozenset()
    cast: frozenset[str] = frozenset()
    changed: frozenset[str] = frozenset()
    appeared: frozenset[str] = frozenset()
    healed: frozenset[str] = frozenset()
    old_training: Arrays = field(default_factory=dict)
    new_training: Arrays = field(default_factory=dict)

    @property
    def same_names(self) -> bool:
        return not (self.added or self.removed or self.renamed)

    @property
    def training_changed(self) -> bool:
        return any(not np.array_equal(self.old_training[name], self.new_training[name]) for name in self.old_training)

    @property
    def equal(self) -> bool:
        touched = self.added or self.removed or self.renamed or self.reshaped or self.cast or self.changed
        return not touched and not self.training_changed

    @property
    def structure(self) -> int:
        """Tensors added, removed, renamed or reshaped, each once."""
        return len(self.added | self.removed | set(self.renamed.values()) | self.reshaped)

    @property
    def update(self) -> float | None:
        """L2(new - old) / L2(old) over the parameters of equal shape, finite on both sides, in float64."""
        far = near = 0.0
        for name, array in self.old.items():
            other = self.new.get(self.renamed.get(name, name))
            if other is None or other.shape != array.shape or name.endswith(BUFFERS):
                continue
            a, b = array.astype("f8"), other.astype("f8")
            finite = np.isfinite(a) & np.isfinite(b)
            far += float(((b - a)[finite] ** 2).sum())
            near += float((a[finite] ** 2).sum())
        return float(np.sqrt(far / near)) if near else None

    @property
    def parameters(self) -> tuple[int, int]:
        def count(arrays: Arrays) -> int:
            return sum(array.size for name, array in arrays.items() if not name.endswith(BUFFERS))

        return count(self.old), count(self.new)


def base() -> Arrays:
    """Seven tensors, 232 parameters and a buffer of 8."""
    rng = np.random.default_rng(11)
    shapes = {"embed.weight": (6, 8), "layer.0.weight": (8, 8), "layer.0.bias": (8,), "layer.1.weight": (8, 8),
              "layer.1.bias": (8,), "norm.running_mean": (8,), "head.weight": (5, 8)}  # fmt: skip
    return {name: rng.normal(size=shape).astype("f4") for name, shape in shapes.items()}


def _moved(arrays: Arrays, *names: str) -> Arrays:
    rng = np.random.default_rng(12)
    made = {name: array.copy() for name, array in arrays.items()}
    for name in names or made:
        made[name] = (made[name] + rng.normal(scale=0.01, size=made[name].shape)).astype("f4")
    return made


def _put(arrays: Arrays, name: str, value: float) -> Arrays:
    made = {key: array.copy() for key, array in arrays.items()}
    made[name].reshape(-1)[3] = value
    return made


def _prefixed(arrays: Arrays) -> Arrays:
    return {f"model.{name}": array for name, array in arrays.items()}


def _training(step: int) -> Arrays:
    rng = np.random.default_rng(13 + step)
    return {name: rng.normal(size=shape).astype("f4") for name, shape in (("0", (6, 8)), ("1", (8, 8)))}


def pairs_of_trees() -> dict[str, Pair]:
    """Boosted trees: what of the planted pairs can happen to them without another tree."""
    rng = np.random.default_rng(21)
    arrays = {
        f"trees.{tree}.{part}": rng.normal(size=size).astype("f4")
        for tree in range(8) for part, size in (("thresholds", 2), ("leaf_values", 3))
    }  # fmt: skip
    split, leaf = "trees.3.thresholds", "trees.5.leaf_values"
    other = {**arrays, split: arrays[split] + np.float32(0.5)}
    broken = {**arrays, leaf: np.array([arrays[leaf][0], np.nan, arrays[leaf][2]], "f4")}
    made = [
        Pair("equal", arrays, arrays),
        Pair("element", arrays, other, changed=frozenset((split,))),
        Pair("nan", arrays, broken, changed=frozenset((leaf,)), appeared=frozenset((leaf,))),
        Pair("healed", broken, arrays, changed=frozenset((leaf,)), healed=frozenset((leaf,))),
    ]
    return {pair.name: pair for pair in made}


def pairs() -> dict[str, Pair]:
    """Every planted pair by name."""
    arrays = base()
    nan = float("nan")
    wide = {**arrays, "head.weight": np.random.default_rng(14).normal(size=(9, 8)).astype("f4")}
    half = {name: array.astype("f2") for name, array in arrays.items()}
    more = {**arrays, "extra.weight": np.random.default_rng(15).normal(size=(3, 4)).astype("f4")}
    spread = {name: f"model.{name}" for name in arrays}
    frozen = frozenset(("head.weight", "layer.1.bias"))
    made = [
        Pair("equal", arrays, arrays),
        Pair("element", arrays, _put(arrays, "layer.0.weight", 9.5), changed=frozenset(("layer.0.weight",))),
        Pair("nan", arrays, _put(arrays, "layer.0.weight", nan), changed=frozenset(("layer.0.weight",)),
             appeared=frozenset(("layer.0.weight",))),
        Pair("healed", _put(arrays, "layer.0.weight", nan), arrays, changed=frozenset(("layer.0.weight",)),
             healed=frozenset(("layer.0.weight",))),
        Pair("cast", arrays, half, cast=frozenset(arrays)),
        Pair("reshape", arrays, wide, reshaped=frozenset(("head.weight",))),
        Pair("added", arrays, more, added=frozenset(("extra.weight",))),
        Pair("removed", more, arrays, removed=frozenset(("extra.weight",))),
        Pair("renamed", arrays, _prefixed(arrays), renamed=spread),
        Pair("renamed-reshaped", arrays, _prefixed(wide), renamed=spread, reshaped=frozenset(("model.head.weight",))),
        Pair("frozen", arrays, _moved(arrays, *frozen), changed=frozen),
        Pair("optimizer", arrays, arrays, old_training=_training(0), new_training=_training(1)),
    ]  # fmt: skip
    return {pair.name: pair for pair in made}
