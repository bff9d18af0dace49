"""The update by module and by kind of layer: where it is, how it is spread, and how few tensors carry most of it.

Shares are of the squared L2 of the update over all parameters that both sides have in one shape, as everywhere
(:func:`diffai.analyses.update.shares`), so that they add up to 1.
"""

from __future__ import annotations

from diffai.analyses.finding import Finding, counted, nothing, share_text
from diffai.analyses.modules import kind_of, top_of
from diffai.analyses.update import matched, no_update, shares
from diffai.comparison.result import ModelDiff, TensorChange

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from diffai.analyses.context import Context
    from diffai.finding import Fields

NAME = "change_summary"
_MOST_MODULES = 200


def find(diff: ModelDiff, context: Context) -> Finding | None:
    """Where the update is; none where nothing moved."""
    ranked = shares(diff)
    if not ranked:
        if not context.asked:
            return None
        return nothing(NAME, no_update(diff))
    parameters = [change for change in diff.tensors if matched(change)]
    kinds = _grouped(parameters, ranked, lambda change: kind_of(change.spec), "kind")
    modules = _grouped(parameters, ranked, lambda change: top_of(change.name), "module")
    most = context.number("share")
    carrying = carried(tuple(share for _, share in ranked), most)
    top = [
        {"name": change.name, "share": share, "relative_l2": finite(change.relative_l2)}
        for change, share in ranked[: context.count("top")]
    ]
    fields: Fields = {
        "changed": len(ranked), "tensors": len(parameters), "share": most, "carrying": carrying,
        "kinds": kinds, "modules": modules[:_MOST_MODULES], "top": tuple(top),
    }  # fmt: skip
    spread = ", ".join(f"{row['kind']} {share_text(float(row['share']))}" for row in kinds[:3] if row["changed"])
    first, share = ranked[0]
    text = (
        f"changed={len(ranked):,} of {counted(len(parameters), 'tensor')}, {most:.0%} of the update in {carrying:,},"
        f" {spread}, most: {first.name} ({share_text(share)})"
    )
    evidence = ["shares are of the squared L2 of the update; kinds of layer are read from names"]
    if len(modules) > _MOST_MODULES:
        evidence.append(f"{counted(len(modules) - _MOST_MODULES, 'module')} with the least left out")
    return Finding(NAME, "info", "fact", fields, tuple(evidence), text)


def carried(ranked: tuple[float, ...], most: float) -> int:
    """How many of the greatest shares reach ``most`` together; all where they never do."""
    total = 0.0
    for number, share in enumerate(ranked, 1):
        total += share
        if total >= most * (1 - 1e-12):
            return number
    return len(ranked)


def finite(value: float) -> float | None:
    """A relative L2 as a figure; None where it is not defined."""
    return value if value < float("inf") else None


def _grouped(
    parameters: list[TensorChange],
    ranked: tuple[tuple[TensorChange, float], ...],
    key: Callable[[TensorChange], str],
    word: str,
) -> tuple[dict[str, str | int | float], ...]:
    """One row a group: how many tensors it has, how many of them moved, and their share; the greatest first."""
    rows: dict[str, list[float]] = {}
    for change in parameters:
        row = rows.setdefault(key(change), [0, 0, 0.0])
        row[0] += 1
    for change, share in ranked:
        row = rows[key(change)]
        row[1] += 1
        row[2] += share
    made: list[dict[str, str | int | float]] = [{word: name, "tensors": int(n), "changed": int(moved), "share": share}
            for name, (n, moved, share) in rows.items()]  # fmt: skip
    return tuple(sorted(made, key=lambda row: -float(row["share"])))
