"""How large gradients are, layer by layer: from Adam's first moment where it is kept, else from the update itself."""

from __future__ import annotations

import re
from collections.abc import Sequence

from diffai.analyses.casts import is_recoded
from diffai.analyses.slots import FIRST_MOMENT, MOMENTUM, Which, norm_on, slots, statistics_on
from diffai.analyses.update import is_moved, matched
from diffai.comparison.result import ModelDiff, TensorChange
from diffai.frozen import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.analyses.context import Context
    from diffai.analyses.finding import Basis, Fields, Finding

NAME = "gradient_analysis"

MOST_LISTED = 100
"""Tensors that are listed where nobody asked; all are where the flag is given."""
_GRADIENT = re.compile(r"(?:(.*)\.)?(?:grad|gradient)s?(?:\.(.+))?")
_SHOWN = 3


@frozen
class Layer:
    """One tensor's gradient.

    Attributes:
        name: of the parameter; of the slot where that is not known.
        norm: L2, or the update-to-weight ratio.
        zeros: share of elements that are zero; None where that was not counted.
    """

    name: str
    norm: float
    zeros: float | None = None


@frozen
class Gradients:
    """Gradients of one side in the order of its parameters.

    Attributes:
        source: what they are: ``first moment``, ``momentum``, ``gradients``, ``update-to-weight ratio``.
        layers: one a tensor.
        estimate: why this is an estimate; "" = it is a fact.
    """

    source: str
    layers: tuple[Layer, ...]
    estimate: str = ""

    @property
    def first_to_last(self) -> float | None:
        """The norm of the first tensor over that of the last; None where there are fewer than two, or it is zero."""
        if len(self.layers) < 2 or not self.layers[-1].norm:
            return None
        return self.layers[0].norm / self.layers[-1].norm


def gradients(diff: ModelDiff, which: Which, order: Sequence[str] = ()) -> Gradients | None:
    """What one side keeps of its gradients; None where it keeps nothing.

    Args:
        diff: the comparison.
        which: its side.
        order: names of the side's tensors in the order of its file, where that is at hand.
    """
    kept = [c for c in diff.tensors if c.role == "training" and _GRADIENT.fullmatch(c.spec.name) and _on(c, which)]
    if kept:
        layers = tuple(found for change in kept if (found := _layer(change.spec.name, change, which)) is not None)
        return Gradients("gradients", layers) if layers else None
    found_slots = slots(diff, which, order)
    for kind, source in ((FIRST_MOMENT, "first moment"), (MOMENTUM, "momentum")):
        moments = found_slots.of(kind)
        if moments:
            rows = [(slot, _layer(slot.parameter or slot.change.spec.name, slot.change, which)) for slot in moments]
            mapped = any(slot.parameter and not slot.named for slot in moments)
            why = "slots are mapped to parameters by order and shape" if mapped else ""
            return Gradients(source, tuple(layer for _, layer in rows if layer is not None), why)
    return None


def _on(change: TensorChange, which: Which) -> bool:
    return (change.old if which == "old" else change.new) is not None


def _layer(name: str, change: TensorChange, which: Which) -> Layer | None:
    norm = norm_on(change, which)
    if norm is None:
        return None
    found = statistics_on(change, which)
    return Layer(name, norm, found.zero_count / found.element_count if found and found.element_count else None)


def ratios(diff: ModelDiff, order: Sequence[str] = ()) -> Gradients | None:
    """Update-to-weight ratio of each parameter that moved, in place of gradients; None where nothing did.

    Args:
        diff: the comparison.
        order: names of the tensors in the order of the file.
    """
    rank = {name: place for place, name in enumerate(order)}
    moved = sorted((c for c in diff.tensors if matched(c) and is_moved(c)), key=lambda c: rank.get(c.name, len(rank)))
    deltas = ((c, c.figures.delta) for c in moved if c.figures is not None and not is_recoded(c))
    layers = [
        Layer(change.name, delta.l2 / delta.old_l2, 1 - delta.changed_count / max(1, delta.element_count))
        for change, delta in deltas
        if delta is not None and delta.old_l2 and delta.l2  # of one in which only NaN came nothing was measured
    ]
    why = "neither gradients nor moments are recorded: an update is a learning rate times many gradients"
    return Gradients("update-to-weight ratio", tuple(layers), why) if layers else None


def find(diff: ModelDiff, context: Context) -> Finding | None:
    """Gradients of the new side; of updates instead where the analysis was asked for."""
    from diffai.analyses.finding import NOT_RECORDED, Finding, nothing

    asked = context.asked
    order = list(context.new.tensors) if context.new is not None else ()
    found = gradients(diff, "new", order) or (ratios(diff, order) if asked else None)
    if found is None or not found.layers:
        if not asked:
            return None
        why = "neither gradients, nor moments, nor an update"
        return nothing(NAME, f"{NOT_RECORDED}: {why}")
    names = list(context.old.tensors) if context.old is not None else ()
    before = gradients(diff, "old", names) if found.source != "update-to-weight ratio" else None
    was = {layer.name: layer.norm for layer in before.layers} if before is not None else {}
    rows: tuple[Fields, ...] = tuple(
        {"name": layer.name, "norm": layer.norm, "norm_old": was.get(layer.name), "zero_share": layer.zeros}
        for layer in (found.layers if asked else found.layers[:MOST_LISTED])
    )
    fields: Fields = {"source": found.source, "first_to_last": found.first_to_last, "tensors": len(found.layers),
                      "layers": rows}  # fmt: skip
    largest = sorted(found.layers, key=lambda layer: -layer.norm)[:_SHOWN]
    text = f"{found.source} of {len(found.layers):,} tensor{'' if len(found.layers) == 1 else 's'}; largest "
    text += ", ".join(f"{layer.name} {layer.norm:.3g}" for layer in largest)
    if found.first_to_last is not None:
        text += f"; first to last {found.first_to_last:.3g}"
    basis: Basis = "estimate" if found.estimate else "fact"
    return Finding(NAME, "info", basis, fields, (found.estimate,) if found.estimate else (), text)
