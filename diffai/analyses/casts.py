"""Tensors whose dtype changed: from what to what, and what that did to their values."""

from __future__ import annotations

from diffai.comparison.result import ModelDiff, TensorChange
from diffai.frozen import frozen
from diffai.model import Cast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from diffai.analyses.context import Context
    from diffai.analyses.finding import Fields, Finding

    Effect = Literal["lossless", "rounded", "with loss", "changed", "not compared"]
else:
    Effect = str

NAME = "cast"
_INTEGERS = frozenset(("BOOL", "I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64", "F4", "F8_E8M0"))

PACKED_ERROR = 0.5
"""Relative L2 of decoded values to the old ones below which they are these, quantized; codes of two bits reach 0.4."""

WITHIN_ULP = 0.999
"""Share of the elements within one ulp of the new dtype from which on a cast is one with loss, and no change."""


@frozen
class CastGroup:
    """All tensors of the model that went from one dtype to another.

    Attributes:
        old, new: the dtypes.
        tensors: how many.
        casts: what each cast did; fewer than ``tensors`` where values were not compared.
        elements: of the tensors in ``casts``.
    """

    old: str
    new: str
    tensors: int
    casts: tuple[Cast, ...]
    elements: int = 0

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
            far = sum(cast.beyond_ulp_count for cast in self.casts)
            return "with loss" if far <= (1 - WITHIN_ULP) * self.elements else "changed"
        return "lossless" if all(cast.exact for cast in self.casts) else "rounded"


def casts(diff: ModelDiff) -> tuple[CastGroup, ...]:
    """Casts of the model's tensors by dtypes, in the order of their first tensor."""
    found: dict[tuple[str, str], list[Cast | None]] = {}
    elements: dict[tuple[str, str], int] = {}
    for change in diff.tensors:
        if "cast" in change.status and change.role != "training" and change.old and change.new:
            cast = change.figures.cast if change.figures is not None else None
            dtypes = change.old.dtype, change.new.dtype
            found.setdefault(dtypes, []).append(cast)
            elements[dtypes] = elements.get(dtypes, 0) + (change.new.elements if cast is not None else 0)
    return tuple(
        CastGroup(old, new, len(group), tuple(cast for cast in group if cast is not None), elements[old, new])
        for (old, new), group in found.items()
    )


def explained_by_cast(diff: ModelDiff) -> Callable[[TensorChange], bool]:
    """Whether the changed values of a tensor are no more than what its cast or its packing did to the old ones."""
    lossy = {(group.old, group.new) for group in casts(diff) if group.effect == "with loss"}

    def explained(change: TensorChange) -> bool:
        old, new = change.old, change.new
        if old is None or new is None or "cast" not in change.status:
            return False
        packed = bool(old.values or new.values) and change.relative_l2 < PACKED_ERROR
        return packed or (old.dtype, new.dtype) in lossy

    return explained


def is_recoded(change: TensorChange) -> bool:
    """Whether it went from numbers to integer codes or back, by a scale that is not known: its figures mean nothing."""
    old, new = change.old, change.new
    if old is None or new is None or "cast" not in change.status or old.values or new.values:
        return False
    return (old.dtype in _INTEGERS) != (new.dtype in _INTEGERS)


def find(diff: ModelDiff, _context: Context) -> Finding | None:
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
            "beyond_ulp": sum(cast.beyond_ulp_count for cast in group.casts), "elements": group.elements,
        }
        for group in found
    )  # fmt: skip
    text = ", ".join(f"{g.tensors:,} {g.old} -> {g.new} ({g.effect})" for g in found)
    return Finding(NAME, "info", "fact", {"tensors": sum(g.tensors for g in found), "casts": groups}, (), text)
