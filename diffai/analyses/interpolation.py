"""A model between two others: new = (1 - t) * old + t * base, within rounding; it takes a third model (``--base``)."""

from __future__ import annotations

import math

from diffai.analyses.update import matched
from diffai.comparison.result import ModelDiff
from diffai.model import TensorSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from diffai.analyses.context import Context
    from diffai.tensors.dtypes import Array

_UNIT_ROUNDOFF = {"F64": 2.0**-53, "F32": 2.0**-24, "F16": 2.0**-11, "BF16": 2.0**-8, "F8_E4M3": 2.0**-4}
_ROUNDINGS = 2.0
"""Units of roundoff that a product, a second product and their sum cost at most, in the mean."""
_ALONG = 0.1
"""Share of the update that may lie beside the line from old to base; a step of training lies nearly all beside it."""


def interpolated(diff: ModelDiff, context: Context) -> float | None:
    """How far the new model went from the old one to the base; None where it lies on no line between them.

    Reads the parameters of all three models twice; of very large ones evenly spread rows.

    Raises:
        SourceError: bytes are gone.
    """
    if context.base is None or context.unread:
        return None
    pairs = _triples(diff, context)
    if not pairs:
        return None
    along = length = update = 0.0
    for triple in pairs:
        for old, new, base in _values(context, triple):
            away, moved = base - old, new - old
            along += float((moved * away).sum())
            length += float((away * away).sum())
            update += float((moved * moved).sum())
    if not length or not update or not math.isfinite(along + length + update):
        return None
    t = along / length
    beside = 0.0
    for triple in pairs:
        residual = allowed = 0.0
        roundoff = max(_UNIT_ROUNDOFF.get(spec.values_dtype, 0.0) for spec in triple)
        for old, new, base in _values(context, triple):
            residual += float(((new - ((1 - t) * old + t * base)) ** 2).sum())
            allowed += float((((1 - t) * old) ** 2).sum() + ((t * base) ** 2).sum() + (new**2).sum())
        if residual > (_ROUNDINGS * roundoff) ** 2 * allowed:
            return None
        beside += residual
    return t if beside <= _ALONG**2 * update else None


Triple = tuple[TensorSpec, TensorSpec, TensorSpec]


def _triples(diff: ModelDiff, context: Context) -> list[Triple]:
    """The parameters of all three models; none where the base lacks one, or has it in another shape."""
    assert context.base is not None
    found: list[Triple] = []
    for change in diff.tensors:
        if not matched(change):
            continue
        old, new = change.old, change.new
        assert old is not None and new is not None
        base = context.base.tensors.get(new.name) or context.base.tensors.get(old.name)
        if base is None or base.shape != new.shape or not all(map(context.readable, (old, new, base))):
            return []
        found.append((old, new, base))
    return found


def _values(context: Context, triple: Triple) -> Iterator[tuple[Array, Array, Array]]:
    """The values of one parameter in all three models."""
    old, new, base = context.array("old", triple[0]), context.array("new", triple[1]), context.array("base", triple[2])
    if old is not None and new is not None and base is not None:
        yield old, new, base
