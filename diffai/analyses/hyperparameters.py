"""Recorded hyper-parameters that differ, beside what the parameters of each group of the optimizer did."""

from __future__ import annotations

import math
from collections.abc import Mapping

from diffai.analyses.slots import slots
from diffai.analyses.training_run import NOT_RECORDED, Run, runs
from diffai.analyses.update import matched, norms_of
from diffai.comparison.result import ModelDiff
from diffai.frozen import frozen
from diffai.model import Scalar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.analyses.context import Context
    from diffai.analyses.finding import Fields, Finding

NAME = "hyperparameter_impact"
_SHOWN = 4
_MOVING = frozenset(("initial_lr", "params", "step", "last_epoch"))
"""Settings that follow from the course of a training, and are none of its own."""


@frozen
class Setting:
    """One hyper-parameter that differs; None where a side does not record it."""

    name: str
    old: Scalar
    new: Scalar


def differing(old: Run, new: Run) -> tuple[Setting, ...]:
    """The hyper-parameters that both sides record and that differ, those of the optimizer's groups first."""
    before, after = _all(old), _all(new)
    return tuple(
        Setting(name, before[name], after[name])
        for name in before
        if name in after and before[name] != after[name] and before[name] == before[name]
    )


def _all(run: Run) -> Mapping[str, Scalar]:
    found: dict[str, Scalar] = {}
    for number, group in enumerate(run.groups):
        prefix = "" if len(run.groups) == 1 else f"group {number} "
        found |= {f"{prefix}{key}": value for key, value in group.items() if key not in _MOVING}
    for key, value in run.hyperparameters.items():
        found.setdefault(key, value)
    return found


def updates_by_group(diff: ModelDiff) -> tuple[tuple[int, float | None, int], ...]:
    """(group, update size, parameters) of the optimizer's groups, where slots can be mapped to them."""
    members = _members(diff)
    if not members:
        return ()
    slot_names = {slot.number: slot.parameter for slot in slots(diff, "new").slots if slot.parameter}
    group_of = {slot_names[n]: group for group, numbers in enumerate(members) for n in numbers if n in slot_names}
    sums: dict[int, tuple[float, float, int]] = {}
    for change in diff.tensors:
        norms = norms_of(change) if matched(change) and change.name in group_of else ""
        if not isinstance(norms, str):
            group = group_of[change.name]
            update, base, count = sums.get(group, (0.0, 0.0, 0))
            sums[group] = math.hypot(update, norms[0]), math.hypot(base, norms[1]), count + change.spec.elements
    rows = sorted(sums.items())
    return tuple((group, update / base if base else None, count) for group, (update, base, count) in rows)


def _members(diff: ModelDiff) -> list[list[int]]:
    """The numbers of the parameters of each group, as the optimizer lists them."""
    import re

    rows = {path: numbers for path, numbers in diff.new.series if re.search(r"(^|\.)param_groups\.\d+\.params$", path)}
    return [[int(n) for n in rows[path]] for path in sorted(rows, key=lambda path: int(path.split(".")[-2]))]


def find(diff: ModelDiff, context: Context) -> Finding | None:
    """The hyper-parameters as one finding; none where none differs, unless it was asked for."""
    from diffai.analyses.finding import Finding, nothing

    asked = context.asked
    old, new = runs(diff, context)
    found = differing(old, new)
    if not found and not asked:
        return None
    if not found:
        lacking = [side for side, run in (("old", old), ("new", new)) if not _all(run)]
        which = "either" if len(lacking) == 2 else f"the {lacking[0]}" if lacking else ""
        why = f"{NOT_RECORDED}: none on {which} side" if lacking else "no recorded hyper-parameter differs"
        return nothing(NAME, why)
    groups = updates_by_group(diff)
    rows: tuple[Fields, ...] = tuple({"name": s.name, "old": s.old, "new": s.new} for s in found)
    fields: Fields = {
        "hyperparameters": rows,
        "groups": tuple({"group": g, "update_size": size, "parameters": n} for g, size, n in groups),
    }
    text = ", ".join(f"{s.name} {_shown(s.old)} -> {_shown(s.new)}" for s in found[:_SHOWN])
    text += f", and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else ""
    if groups:
        sizes = (f"group {group} {'n/a' if size is None else f'{size:.3g}'}" for group, size, _ in groups)
        text += f"; update {', '.join(sizes)}"
    estimate = ["groups: slots are mapped to parameters by order and shape"] if groups else []
    return Finding(NAME, "info", "estimate" if groups else "fact", fields, tuple(estimate), text)


def _shown(value: Scalar) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:60]
