"""What changed in what a model computes, in few lines: operators by count, nodes folded by pattern, the wiring.

The keys are those of :attr:`diffai.model.Checkpoint.graph`: ``operator Conv`` (how many), ``node NAME``, ``wiring``.
"""

from __future__ import annotations

from diffai.views.grouping import skeleton, with_ranges
from diffai.views.lines import structure_line
from diffai.views.style import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from diffai.comparison.result import ValueChange

_MOST_OPERATORS = 8
_MOST_PATTERNS = 12
_WIRING = ("wiring", "wiring with names")
_SIGNS = {"added": "+", "removed": "-", "changed": "~"}


def graph_lines(changes: Sequence[ValueChange]) -> list[str]:
    """Counts first, the wiring, inputs and outputs and the rest, then nodes by pattern; names are escaped."""
    operators = [change for change in changes if change.key.startswith("operator ")]
    wiring = [change for change in changes if change.key in _WIRING]
    nodes = [change for change in changes if change.key.startswith("node ")]
    told = {id(change) for change in (*operators, *wiring, *nodes)}
    lines = [_operators(operators)] if operators else []
    if wiring:
        lines.append("~ wiring changed" if wiring[0].key == "wiring" else "~ wiring changed, as far as names tell it")
    lines += _folded([change for change in changes if id(change) not in told])
    folded = _folded(nodes)
    return lines + (folded if len(folded) <= _MOST_PATTERNS else _by_operator(nodes))


def _operators(changes: Sequence[ValueChange]) -> str:
    """``~ operators: Relu 30 -> 0, Sigmoid 0 -> 30``, those of most nodes first."""
    counts = [(c.key.removeprefix("operator "), _count(c.old), _count(c.new)) for c in changes]
    counts.sort(key=lambda count: -max(count[1], count[2]))
    shown = [f"{escape(name)} {old:,} -> {new:,}" for name, old, new in counts[:_MOST_OPERATORS]]
    more = f" and {len(counts) - len(shown)} more kinds" if len(counts) > len(shown) else ""
    return f"~ operators: {', '.join(shown)}{more}"


def _by_operator(nodes: Sequence[ValueChange]) -> list[str]:
    """Where names have little in common: one line for all nodes of an operator that came, went, or changed."""
    groups: dict[tuple[str, str, str], list[ValueChange]] = {}
    for node in nodes:
        old, new = (str(value).partition("(")[0] for value in (node.old, node.new))
        groups.setdefault((node.status, old, new), []).append(node)
    lines = []
    for (status, old, new), some in sorted(groups.items(), key=lambda item: -len(item[1])):
        if len(some) == 1:
            lines.append(structure_line(some[0]))
            continue
        title = f"{old} -> {new}" if status == "changed" and old != new else new if status != "removed" else old
        kind = " with other attributes" if status == "changed" and old == new else ""
        name = some[0].key.removeprefix("node ")
        lines.append(f"{_SIGNS[status]} {len(some):,} nodes: {escape(title)}{kind}, such as {escape(name)}")
    return lines


def _count(value: object) -> int:
    text = str(value)
    return int(text) if text.isdecimal() and len(text) < 19 else 0


def _folded(changes: Sequence[ValueChange]) -> list[str]:
    """One line for all entries whose names differ in numbers alone and that changed alike."""
    groups: dict[tuple[str, tuple[str, ...], tuple[str, ...], tuple[str, ...]], list[ValueChange]] = {}
    for change in changes:
        old, new = skeleton(str(change.old)), skeleton(str(change.new))
        groups.setdefault((change.status, skeleton(change.key), old, new), []).append(change)
    lines = []
    for (status, *_), some in groups.items():
        first = some[0]
        if len(some) == 1:
            lines.append(structure_line(first))
            continue
        text = structure_line(first).removeprefix(f"{_SIGNS[status]} {escape(first.key)}: ")
        alike = len({(change.old, change.new) for change in some}) == 1
        name = escape(with_ranges([change.key for change in some]))
        lines.append(f"{_SIGNS[status]} {name}  x{len(some):,}: {'' if alike else 'such as '}{text}")
    return lines
