"""Transfer learning: which part was left alone, by depth, and which was tuned."""

from __future__ import annotations

import re

from diffai.analyses.fine_tune import fine_tuned
from diffai.analyses.update import is_moved, matched
from diffai.comparison.result import ModelDiff
from diffai.model import element_count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.analyses.context import Context
    from diffai.analyses.finding import Fields, Finding

NAME = "transfer_learning"
_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")
_SHOWN = 3


def frozen_by_depth(diff: ModelDiff) -> tuple[tuple[str, float], ...]:
    """Share of the parameters that did not move of each layer of the largest stack, in its order."""
    stacks: dict[str, dict[int, list[int]]] = {}
    for change in diff.tensors:
        number = _NUMBER.search(change.name) if matched(change) and change.figures is not None else None
        if number is not None:
            layers = stacks.setdefault(change.name[: number.start()], {})
            row = layers.setdefault(int(number[0]), [0, 0])
            count = element_count(change.spec.shape)
            row[0] += 0 if is_moved(change) else count
            row[1] += count
    if not stacks:
        return ()
    name, layers = max(stacks.items(), key=lambda item: len(item[1]))
    return tuple((f"{name}{number}", still / whole) for number, (still, whole) in sorted(layers.items()) if whole)


def find(diff: ModelDiff, context: Context) -> Finding | None:
    """The frozen part as one finding; none where less than a fifth of the parameters was left alone."""
    from diffai.analyses.finding import Finding

    if diff.old.state is not None or diff.new.state is not None:
        return None
    changes = [change for change in diff.tensors if change.role == "weight"]
    moved = [change for change in changes if "changed" in change.status]
    found = fine_tuned(diff, changes, moved)
    if found is None:
        return None
    depth = frozen_by_depth(diff)
    fields: Fields = {
        "frozen_share": found.untouched, "tuned": found.parts,
        "by_depth": tuple({"layer": layer, "frozen_share": share} for layer, share in depth),
    }  # fmt: skip
    more = f" and {len(found.parts) - _SHOWN:,} more" if len(found.parts) > _SHOWN else ""
    text = f"{found.untouched:.0%} of the parameters frozen, tuned: {', '.join(found.parts[:_SHOWN])}{more}"
    return Finding(NAME, "info", "fact", fields, found.parts[:_SHOWN], text)
