"""Tensors whose names every export gives anew (``onnx::MatMul_123``): told by what uses them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from diffai.frozen import frozen
from diffai.model import TensorSpec

Agreeing = Callable[[Sequence[tuple[TensorSpec, TensorSpec]]], list[tuple[TensorSpec, TensorSpec]]]
Specs = Mapping[str, TensorSpec]
Uses = Mapping[str, tuple[str, ...]]


@frozen
class Numbered:
    """What is known of tensors whose names every export gives anew, so that an equal name proves nothing.

    Attributes:
        old, new: keys of what uses them, by name (:attr:`diffai.model.Checkpoint.uses`).
        agreeing: keeps the pairs whose values agree; None when values may not be read.
    """

    old: Uses
    new: Uses
    agreeing: Agreeing | None = None

    def loose(self, name: str) -> bool:
        """Whether a name that both sides have is numbered, and what it names is used otherwise."""
        return (name in self.old or name in self.new) and self.old.get(name) != self.new.get(name)

    def alike(self, before: str, after: str) -> int:
        """How much speaks for two names: as many keys as they share."""
        return sum(a == b for a, b in zip(self.old.get(before, ()), self.new.get(after, ()), strict=False))

    def pairs(self, gone: Specs, come: Specs) -> list[tuple[str, str]]:
        """Pairs of one shape that one key, unique on both sides, leads to; the most telling keys first."""
        found: list[tuple[str, str]] = []
        taken: tuple[set[str], set[str]] = set(), set()
        for place in range(max(map(len, self.old.values()), default=0)):
            sides = [_by_key(uses, place) for uses in (self.old, self.new)]
            for key in sides[0].keys() & sides[1].keys():
                before, after = sides[0][key], sides[1][key]
                fits = before in gone and after in come and gone[before].shape == come[after].shape
                if fits and before not in taken[0] and after not in taken[1]:
                    found.append((before, after))
                    taken[0].add(before)
                    taken[1].add(after)
        return sorted(found)


def _by_key(uses: Uses, place: int) -> dict[str, str]:
    """Names by the keys that only one of them has."""
    names: dict[str, list[str]] = {}
    for name, keys in uses.items():
        if place < len(keys):
            names.setdefault(keys[place], []).append(name)
    return {key: found[0] for key, found in names.items() if len(found) == 1}
