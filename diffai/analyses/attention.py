"""Figures of heads of attention: norms of their parts, and of the products that they are used in. Reads row by row."""

from __future__ import annotations

import math

import numpy as np

from diffai.analyses.attention_layout import PARTS, Layer, layers, recorded
from diffai.comparison.result import ModelDiff, TensorChange
from diffai.frozen import frozen
from diffai.tensors.dtypes import Array

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from diffai.analyses.attention_layout import Recorded
    from diffai.analyses.context import Context, Which

ASSUMED = "the number of heads is not recorded: heads of the usual width (64; 128 of wide models) are assumed"

_CHUNK = 1 << 20
"""Elements of a tensor that are read at once."""


@frozen
class Found:
    """Layers of attention of the new side whose tensors have a counterpart of the same shape on the old one.

    Attributes:
        layers: the layers.
        changes: their tensors, by name on the new side.
        left: layers without such a counterpart.
        recorded: what is recorded of heads.
    """

    layers: tuple[Layer, ...]
    changes: dict[str, TensorChange]
    left: tuple[str, ...]
    recorded: Recorded


def attention_of(diff: ModelDiff, context: Context) -> Found | None:
    """The layers of attention of a pair; None where the new side has none."""
    checkpoint = context.new
    if checkpoint is None:
        return None
    known = recorded(context, checkpoint)
    specs = {change.new.name: change.new for change in diff.tensors if change.new is not None}
    every = layers(specs, known)
    if not every:
        return None
    changes = {change.new.name: change for change in diff.tensors if change.new is not None}
    here: list[Layer] = []
    left: list[Layer] = []
    for layer in every:
        names = {piece.tensor for piece in layer.parts.values()}
        whole = all(_paired(changes[name], context) for name in names)
        (here if whole else left).append(layer)
    return Found(tuple(here), changes, tuple(layer.name for layer in left), known)


def _paired(change: TensorChange, context: Context) -> bool:
    old, new = change.old, change.new
    if old is None or new is None or old.shape != new.shape:
        return False
    # Whole numbers without a scale are codes: a size of theirs would be none of the weights.
    return all(context.readable(one) and one.values_dtype.startswith(("F", "BF")) for one in (old, new))


def moved(found: Found, layer: Layer) -> bool:
    """Whether any tensor of a layer differs."""
    return any(found.changes[piece.tensor].differs for piece in layer.parts.values())


@frozen
class Norms:
    """L2 of one part of one head on both sides, and of what changed."""

    old: float
    new: float
    change: float

    @property
    def relative(self) -> float | None:
        """Relative L2 of the change; None from zero, and where something is not finite."""
        value = self.change / self.old if self.old else 0.0 if not self.change else math.nan
        return value if math.isfinite(value) else None


def norms(found: Found, layer: Layer, context: Context) -> dict[str, list[Norms]]:
    """Norms of each part, head by head (of keys and values: group by group)."""
    sums: dict[tuple[str, int], Array] = {}
    made: dict[str, list[Norms]] = {}
    for part in PARTS:
        piece = layer.parts[part]
        key = (piece.tensor, piece.axis)
        if key not in sums:
            sums[key] = _sums(found.changes[piece.tensor], piece.axis, context)
        made[part] = [
            Norms(*(float(v) for v in np.sqrt(sums[key][:, start : start + piece.width].sum(axis=1))))
            for start in piece.starts
        ]
    return made


def _sums(change: TensorChange, axis: int, context: Context) -> Array:
    """Sums of squares of the old values, the new ones and the change, by index along an axis: shape (3, indices)."""
    assert change.new is not None
    made = np.zeros((3, change.new.shape[axis]))
    with np.errstate(all="ignore"):
        for rows, old, new in _chunks(change, context):
            for place, values in enumerate((old, new, new - old)):
                squares = (values * values).sum(axis=1 - axis)
                if axis:
                    made[place] += squares
                else:
                    made[place, rows.start : rows.stop] = squares
    return made


def _chunks(change: TensorChange, context: Context) -> Iterator[tuple[range, Array, Array]]:
    """(numbers of rows, old values, new values), some rows at once; of equal tensors one side is read."""
    assert change.old is not None and change.new is not None
    count, width = change.new.shape
    step = max(1, _CHUNK // max(width, 1))
    for first in range(0, count, step):
        rows = range(first, min(first + step, count))
        new = context.rows("new", change.new, rows)
        old = context.rows("old", change.old, rows) if change.differs else new
        if old is None or new is None:
            return
        yield rows, old, new


def products(
    found: Found, layer: Layer, part: str, sides: tuple[Which, Which], context: Context, order: Sequence[int] = ()
) -> list[Array]:
    """M M'^T of each head (of keys and values: of each group), shape (width, width): M of one side, M' of another.

    M is the part of a head as (width, model), whatever way it is stored. ``order`` says which head of the first side
    belongs to each one of the second.
    """
    piece = layer.parts[part]
    change = found.changes[piece.tensor]
    left, right = (change.old if side == "old" else change.new for side in sides)
    assert left is not None and right is not None
    starts = [(piece.starts[order[n] if order else n], start) for n, start in enumerate(piece.starts)]
    made = [np.zeros((piece.width, piece.width)) for _ in starts]
    with np.errstate(all="ignore"):
        if piece.axis == 0:
            for place, (first, second) in enumerate(starts):
                one = context.rows(sides[0], left, range(first, first + piece.width))
                same = sides[0] == sides[1] and first == second
                other = one if same else context.rows(sides[1], right, range(second, second + piece.width))
                if one is not None and other is not None:
                    made[place] = one @ other.T
            return made
        step = max(1, _CHUNK // max(left.shape[1], 1))
        for row in range(0, left.shape[0], step):
            rows = range(row, min(row + step, left.shape[0]))
            one = context.rows(sides[0], left, rows)
            other = one if sides[0] == sides[1] else context.rows(sides[1], right, rows)
            if one is None or other is None:
                break
            for place, (first, second) in enumerate(starts):
                made[place] += one[:, first : first + piece.width].T @ other[:, second : second + piece.width]
    return made


def same_heads(parts: dict[str, list[Norms]], layer: Layer) -> list[int] | None:
    """Where each head of the new side stood on the old one, if all are there in another order; None else.

    Heads are told by the norms of their four parts, to 1e-6; two alike prove nothing.
    """

    def marks(side: str) -> list[tuple[float, ...]]:
        each = layer.heads // max(layer.groups, 1)
        return [
            tuple(getattr(parts[part][head if part in "qo" else head // each], side) for part in PARTS)
            for head in range(layer.heads)
        ]

    old, new = np.array(marks("old")), np.array(marks("new"))
    if not np.isfinite(old).all() or not np.isfinite(new).all() or layer.heads < 2:
        return None
    scale = np.maximum(np.abs(old).max(axis=0), 1e-300)
    close = (np.abs(new[:, None, :] - old[None, :, :]) <= 1e-6 * scale).all(axis=2)
    if (close.sum(axis=0) != 1).any() or (close.sum(axis=1) != 1).any():
        return None
    order = [int(n) for n in close.argmax(axis=1)]
    return order if order != list(range(layer.heads)) else None
