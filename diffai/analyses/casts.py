"""Tensors whose dtype changed: from what to what, and what that did to their values."""

from __future__ import annotations

from diffai.comparison.result import ModelDiff
from diffai.frozen import frozen
from diffai.model import Cast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from diffai.analyses.finding import Fields, Finding

    Effect = Literal["lossless", "rounded", "changed", "not compared"]
else:
    Effect = str

NAME = "cast"


@frozen
class CastGroup:
    """All tensors of the model that went from one dtype to another.

    Attributes:
        old, new: the dtypes.
        tensors: how many.
        casts: what each cast did; fewer than ``tensors`` where values were not compared.
    """

    old: str
    new: str
    tensors: int
    casts: tuple[Cast, ...]

    @property
    def beyond_rounding(self) -> int:
        """Tensors with changes that rounding does not explain."""
        return sum(not cast.rounded for cast in self.casts)

    @property
    def effect(self) -> Effect:
        """What it did to all of them together."""
        if len(self.casts) < self.tensors:
            return "not compared"
        if self.beyond_rounding:
            return "changed"
        return "lossless" if all(cast.exact for cast in self.casts) else "rounded"


def casts(diff: ModelDiff) -> tuple[CastGroup, ...]:
    """Casts of the model's tensors by dtypes, in the order of their first tensor."""
    found: dict[tuple[str, str], list[Cast | None]] = {}
    for change in diff.tensors:
        if "cast" in change.status and change.role != "training" and change.old and change.new:
            cast = change.figures.cast if change.figures is not None else None
            found.setdefault((change.old.dtype, change.new.dtype), []).append(cast)
    return tuple(
        CastGroup(old, new, len(group), tuple(cast for cast in group if cast is not None))
        for (old, new), group in found.items()
    )


def find(diff: ModelDiff) -> Finding | None:
    """The casts as one finding."""
    from diffai.analyses.finding import Finding

    found = casts(diff)
    if not found:
        return None
    groups: tuple[Fields, ...] = tuple(
        {
            "old": group.old, "new": group.new, "tensors": group.tensors, "effect": group.effect,
            "overflowed": sum(cast.overflow_count for cast in group.casts),
            "underflowed": sum(cast.underflow_count for cast in group.casts),
        }
        for group in found
    )  # fmt: skip
    text = ", ".join(f"{g.tensors:,} {g.old} -> {g.new} ({g.effect})" for g in found)
    return Finding(NAME, "info", "fact", {"tensors": sum(g.tensors for g in found), "casts": groups}, (), text)
