"""Attention: norms of each head's parts on both sides, and how far each head moved."""

from __future__ import annotations

from diffai.analyses.finding import NOT_RECORDED, Finding, brief, not_computed, nothing
from diffai.comparison.result import ModelDiff

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.analyses.attention import Found, Norms
    from diffai.analyses.attention_layout import Layer
    from diffai.analyses.context import Context
    from diffai.finding import Value

NAME = "attention_analysis"
NO_LAYERS = "the new side has no attention whose names and shapes are known"


def find(diff: ModelDiff, context: Context) -> Finding | None:
    """What changed in the attention of a pair, by layer, part and head."""
    from diffai.analyses.attention import attention_of, norms, same_heads

    found = attention_of(diff, context)
    if found is None:
        return nothing(NAME, NO_LAYERS)
    if not found.layers:
        return not_computed(NAME, "no layer of attention has the same shape on both sides")
    rows: list[Value] = []
    totals = {part: [0.0, 0.0] for part in "qkvo"}
    most: tuple[float, str] = (-1.0, "")
    permuted = []
    for layer in found.layers:
        parts = norms(found, layer, context)
        for part, values in parts.items():
            for one in values:
                totals[part][0] += one.change**2
                totals[part][1] += one.old**2
        order = same_heads(parts, layer)
        if order is not None:
            permuted.append(layer.name)
        for head, size in enumerate(_by_head(layer, parts)):
            if size is not None and size > most[0]:
                most = size, f"{layer.name}{f' head {head}' if layer.heads else ''} (relative L2 {size:.3g})"
        rows.append(_row(layer, parts, order))
    ratios = {part: _ratio(*sums) for part, sums in totals.items()}
    fields: dict[str, Value] = {
        "layers": len(found.layers), "not_compared": found.left, "permuted": tuple(permuted), "change": ratios,
        "by_layer": tuple(rows),
    }  # fmt: skip
    heads = {(layer.heads, layer.groups) for layer in found.layers}
    text = brief({
        "layers": len(found.layers), "heads": _heads_text(heads), **ratios,
        "most": most[1] if most[0] > 0 else NOT_RECORDED if None in ratios.values() else "nothing moved",
    })  # fmt: skip
    if permuted:
        text += f"; the same heads in another order in {len(permuted)} layer{'' if len(permuted) == 1 else 's'}"
    estimate = any(layer.estimate for layer in found.layers)
    return Finding(NAME, "info", "estimate" if estimate else "fact", fields, _evidence(found), text)


def _heads_text(heads: set[tuple[int, int]]) -> str | None:
    if len(heads) > 1:
        return "several"
    ((queries, keys),) = heads
    return None if not queries else f"{queries}" if queries == keys else f"{queries} ({keys} of keys)"


def _evidence(found: Found) -> tuple[str, ...]:
    from diffai.analyses.attention import ASSUMED

    said = []
    if any(layer.estimate for layer in found.layers):
        said.append(ASSUMED)
    if any(not layer.heads for layer in found.layers):
        said.append("the number of heads is not recorded (config.json beside the model says it): parts are taken whole")
    if found.left:
        said.append(f"not compared, of another shape or on one side only: {', '.join(found.left[:5])}")
    return (*said, "biases are not counted")


def _by_head(layer: Layer, parts: dict[str, list[Norms]]) -> list[float | None]:
    """Relative L2 of each head of queries over its four parts."""
    made: list[float | None] = []
    for head in range(max(layer.heads, 1)):
        group = head * layer.groups // layer.heads if layer.heads else 0
        own = [parts["q"][head], parts["k"][group], parts["v"][group], parts["o"][head]]
        made.append(_ratio(sum(one.change**2 for one in own), sum(one.old**2 for one in own)))
    return made


def _ratio(change: float, old: float) -> float | None:
    """Of two sums of squares; None from zero and where something is not finite."""
    import math

    value = math.sqrt(change / old) if old > 0 else 0.0 if change == 0 else math.nan
    return value if math.isfinite(value) else None


def _row(layer: Layer, parts: dict[str, list[Norms]], order: list[int] | None) -> dict[str, Value]:
    import math

    def known(value: float) -> float | None:
        return value if math.isfinite(value) else None

    return {
        "layer": layer.name, "heads": layer.heads or None, "groups": layer.groups or None,
        "relative_l2_by_head": tuple(_by_head(layer, parts)), "old_heads": tuple(order) if order else None,
        **{
            part: {
                "norm_old": tuple(known(one.old) for one in values),
                "norm_new": tuple(known(one.new) for one in values),
                "relative_l2": tuple(one.relative for one in values),
            }
            for part, values in parts.items()
        },
    }  # fmt: skip
