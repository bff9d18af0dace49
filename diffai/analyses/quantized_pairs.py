"""Tensors that became codes, or were given back from codes: how far the decoded values are from the old ones."""

from __future__ import annotations

import math

from diffai.comparison.result import ModelDiff, TensorChange
from diffai.frozen import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.analyses.context import Context
    from diffai.analyses.finding import Fields, Finding

NAME = "quantized_pair"
_SHOWN = 3


@frozen
class Noise:
    """The noise that one tensor took in a change of its dtype; ``sqnr`` in dB, None without noise or signal."""

    tensor: str
    old: str
    new: str
    sqnr: float | None


def noises(diff: ModelDiff, *, packed: bool = False) -> tuple[Noise, ...]:
    """Of every weight whose dtype changed and whose values were compared, the noisiest first.

    Args:
        diff: the comparison.
        packed: only of those that are codes with a scale on one side.
    """
    found = []
    for change in diff.tensors:
        cast = change.figures.cast if change.figures is not None and change.role == "weight" else None
        old, new = change.old, change.new
        if cast is None or old is None or new is None or (packed and not (old.values or new.values)):
            continue
        found.append(Noise(change.name, old.dtype, new.dtype, cast.sqnr_db))
    return tuple(sorted(found, key=lambda noise: math.inf if noise.sqnr is None else noise.sqnr))


def _is_packed(change: TensorChange) -> bool:
    return "cast" in change.status and any(spec is not None and bool(spec.values) for spec in (change.old, change.new))


def find(diff: ModelDiff, context: Context) -> Finding | None:
    """The pairs as one finding; none where nothing was packed."""
    from diffai.analyses.finding import Finding

    found = noises(diff, packed=True)
    if not found:
        return None
    error = base = 0.0
    for change in diff.tensors:
        delta = change.figures.delta if change.figures is not None and _is_packed(change) else None
        if delta is not None and change.role == "weight":
            error, base = math.hypot(error, delta.l2), math.hypot(base, delta.old_l2)
    relative = error / base if base else None
    sqnr = -20 * math.log10(relative) if relative else None
    kinds = tuple(dict.fromkeys(f"{noise.old} -> {noise.new}" for noise in found))
    rows: tuple[Fields, ...] = tuple({"tensor": noise.tensor, "sqnr_db": noise.sqnr} for noise in found[:_SHOWN])
    fields: Fields = {"tensors": len(found), "kinds": kinds, "relative_l2": relative, "sqnr_db": sqnr, "noisiest": rows}
    text = f"{len(found):,} tensor{'' if len(found) == 1 else 's'} {', '.join(kinds)}"
    if sqnr is not None:
        text += f", SQNR {sqnr:.1f} dB"
    if found[0].sqnr is not None:
        text += f"; noisiest {found[0].tensor} {found[0].sqnr:.1f} dB"
    return Finding(NAME, "info", "fact", fields, tuple(noise.tensor for noise in found[:_SHOWN]), text)
