"""Importance of heads by their weights: the Frobenius norm of what a head can write into the model (its OV circuit).

A head reads values by W_V and writes them by W_O; the product W_O W_V is all that it can do with what it attends to
(Elhage et al., "A Mathematical Framework for Transformer Circuits", 2021). Its norm is an estimate of importance: what
the head attends to in data is not in the weights. Computed from the Gram matrices of both factors, never as a product.
"""

from __future__ import annotations

from diffai.analyses.attention_analysis import NO_LAYERS
from diffai.analyses.finding import Finding, brief, not_computed, nothing
from diffai.comparison.result import ModelDiff

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.analyses.attention import Found
    from diffai.analyses.attention_layout import Layer
    from diffai.analyses.context import Context, Which
    from diffai.finding import Value
    from diffai.tensors.dtypes import Array

NAME = "head_importance"
_MOST = 50


def find(diff: ModelDiff, context: Context) -> Finding | None:
    """The heads by importance on both sides, and how much their order changed."""
    from diffai.analyses.attention import ASSUMED, attention_of, moved, norms, same_heads

    found = attention_of(diff, context)
    if found is None:
        return nothing(NAME, NO_LAYERS)
    known = [layer for layer in found.layers if layer.heads and layer.parts["v"].width == layer.parts["o"].width]
    if not known:
        return not_computed(NAME, "the number of heads is not recorded, or no layer has the same shape on both sides")
    rows = []
    for layer in known:
        new = old = scores(found, layer, "new", context)
        order = None
        if moved(found, layer):
            old = scores(found, layer, "old", context)
            order = same_heads(norms(found, layer, context), layer)
        # A head that stands elsewhere now is the same head.
        rows += [(layer.name, head, old[order[head] if order else head], new[head]) for head in range(layer.heads)]
    finite = [row for row in rows if row[2] is not None and row[3] is not None]
    if not finite:
        return not_computed(NAME, "no head has finite weights on both sides")
    ranking = sorted(finite, key=lambda row: -(row[3] or 0.0))
    correlation = rank_correlation([row[2] or 0.0 for row in finite], [row[3] or 0.0 for row in finite])
    fields: dict[str, Value] = {
        "heads": len(rows), "rank_correlation": correlation,
        "ranking": tuple(dict(zip(("layer", "head", "old", "new"), row, strict=True)) for row in ranking[:_MOST]),
    }  # fmt: skip
    evidence = ["score: Frobenius norm of W_O W_V of a head; data are not looked at"]
    if correlation is None:
        evidence.append("rank correlation: all heads have the same score on one side, or there is one head")
    if any(layer.estimate for layer in known):
        evidence.append(ASSUMED)
    top = ", ".join(f"{name} head {head}" for name, head, *_ in ranking[:3])
    text = brief({"heads": len(rows), "rank_correlation": correlation, "top": top})
    return Finding(NAME, "info", "estimate", fields, tuple(evidence), text)


def scores(found: Found, layer: Layer, which: Which, context: Context) -> list[float | None]:
    """The Frobenius norm of each head's OV circuit; None for one with values that are not finite."""
    import numpy as np

    from diffai.analyses.attention import products

    values, outputs = (products(found, layer, part, (which, which), context) for part in "vo")
    made: list[float | None] = []
    with np.errstate(all="ignore"):
        for head, output in enumerate(outputs):
            square = float((output * values[head * layer.groups // layer.heads]).sum())
            made.append(float(np.sqrt(max(square, 0.0))) if np.isfinite(square) else None)
    return made


def rank_correlation(old: list[float], new: list[float]) -> float | None:
    """Spearman's rank correlation, ties by their mean rank; None where one side has a single rank."""
    import numpy as np

    def ranks(values: list[float]) -> Array:
        _, place, counts = np.unique(np.array(values), return_inverse=True, return_counts=True)
        ends = np.cumsum(counts)
        mean: Array = ends - (counts - 1) / 2
        return mean[place]

    left, right = ranks(old), ranks(new)
    left, right = left - left.mean(), right - right.mean()
    size = float(np.sqrt((left * left).sum() * (right * right).sum()))
    return float(np.clip((left * right).sum() / size, -1, 1)) if size else None
