"""What heads attend to, by their weights: the cosine between the QK circuits of both sides, head by head.

The score of a query at one place for a key at another is x^T W_Q^T W_K y: the product W_Q^T W_K is what decides it
(Elhage et al., 2021). The cosine of two such products is trace(K_A Q_A^T Q_B K_B^T) over both norms, from matrices as
wide as a head; a rotation within a head, which changes no score, leaves it at 1. With rotary positions the products
hold at distance 0.
"""

from __future__ import annotations

from diffai.analyses.attention_analysis import NO_LAYERS
from diffai.analyses.finding import Finding, brief, not_computed, nothing
from diffai.comparison.result import ModelDiff

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.analyses.attention import Found
    from diffai.analyses.attention_layout import Layer
    from diffai.analyses.context import Context
    from diffai.finding import Value
    from diffai.tensors.dtypes import Array

NAME = "attention_pattern_diff"


def find(diff: ModelDiff, context: Context) -> Finding | None:
    """How far the pattern of each head changed."""
    from diffai.analyses.attention import ASSUMED, attention_of

    found = attention_of(diff, context)
    if found is None:
        return nothing(NAME, NO_LAYERS)
    known = [layer for layer in found.layers if layer.heads]
    if not known:
        return not_computed(NAME, "the number of heads is not recorded, or no layer has the same shape on both sides")
    rows: list[Value] = []
    every: list[tuple[float, str]] = []
    permuted = []
    for layer in known:
        cosines, order = _of_layer(found, layer, context)
        if order is not None:
            permuted.append(layer.name)
        every += [(value, f"{layer.name} head {head}") for head, value in enumerate(cosines) if value is not None]
        rows.append({"layer": layer.name, "cosine": tuple(cosines), "old_heads": tuple(order) if order else None})
    if not every:
        return not_computed(NAME, "no head has finite weights other than zero on both sides")
    lowest = min(every)
    mean = sum(value for value, _ in every) / len(every)
    fields: dict[str, Value] = {
        "heads": len(every), "mean_cosine": mean, "lowest_cosine": lowest[0], "permuted": tuple(permuted),
        "by_layer": tuple(rows),
    }  # fmt: skip
    text = brief({"heads": len(every), "mean_cosine": mean, "lowest": f"{lowest[0]:.3g} at {lowest[1]}"})
    if permuted:
        text += f"; the same heads in another order in {len(permuted)} layer{'' if len(permuted) == 1 else 's'}"
    evidence = ["of the weights alone: what data would make of them is not looked at; biases are left out"]
    evidence.append(f"{'' if found.recorded.rotary else 'where positions are rotary: '}at relative position 0")
    if any(layer.estimate for layer in known):
        evidence.append(ASSUMED)
    return Finding(NAME, "info", "estimate", fields, tuple(evidence), text)


def _of_layer(found: Found, layer: Layer, context: Context) -> tuple[list[float | None], list[int] | None]:
    """The cosine of each head of the new side with its counterpart, and where that stood if they are permuted."""
    from diffai.analyses.attention import moved, norms, products, same_heads

    if not moved(found, layer):
        return [1.0] * layer.heads, None
    order = same_heads(norms(found, layer, context), layer)
    each = layer.heads // layer.groups
    orders = {"q": order or (), "k": [order[group * each] // each for group in range(layer.groups)] if order else ()}
    between = {part: products(found, layer, part, ("old", "new"), context, orders[part]) for part in "qk"}
    before = {part: products(found, layer, part, ("old", "old"), context) for part in "qk"}
    after = {part: products(found, layer, part, ("new", "new"), context) for part in "qk"}
    made = []
    for head in range(layer.heads):
        was = order[head] if order else head
        made.append(_cosine(
            _trace(between, head, head // each), _trace(before, was, was // each), _trace(after, head, head // each)
        ))  # fmt: skip
    return made, order


def _trace(products: dict[str, list[Array]], queries: int, keys: int) -> float:
    """The inner product of two circuits, of the products of their queries and of their keys."""
    import numpy as np

    with np.errstate(all="ignore"):
        return float((products["q"][queries] * products["k"][keys]).sum())


def _cosine(between: float, old: float, new: float) -> float | None:
    import math

    if not (old > 0 and new > 0 and math.isfinite(old) and math.isfinite(new) and math.isfinite(between)):
        return None
    return min(max(between / math.sqrt(old) / math.sqrt(new), -1.0), 1.0)
