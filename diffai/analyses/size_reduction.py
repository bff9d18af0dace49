"""Bytes on disk and in memory, by dtype and by module, of both sides."""

from __future__ import annotations

from diffai.analyses.compute import ratio
from diffai.analyses.finding import Finding, brief, counted, times_text
from diffai.analyses.memory import size_text, stored_bytes, weights_of
from diffai.analyses.modules import top_of
from diffai.comparison.result import ModelDiff

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.analyses.context import Context
    from diffai.finding import Fields

NAME = "size_reduction"
_MOST_MODULES = 200


def find(diff: ModelDiff, context: Context) -> Finding | None:
    """How much smaller or larger the new side is."""
    if diff.old.state is not None or diff.new.state is not None:
        return None
    old = weights_of((change.old for change in diff.tensors if change.old is not None), context.old)
    new = weights_of((change.new for change in diff.tensors if change.new is not None), context.new)
    disk = tuple(side.size if side.size >= 0 else None for side in (diff.old, diff.new))
    before, after = dict(old.by_dtype), dict(new.by_dtype)
    dtypes: tuple[Fields, ...] = tuple({"dtype": name, "old": before.get(name, 0), "new": after.get(name, 0)}
                   for name in dict.fromkeys((*before, *after)))  # fmt: skip
    modules = _by_module(diff, context)
    fields: Fields = {
        "disk_ratio": ratio(*disk), "memory_ratio": ratio(old.bytes, new.bytes),
        "disk_old": disk[0], "disk_new": disk[1], "memory_old": old.bytes, "memory_new": new.bytes,
        "by_dtype": dtypes,
        "by_module": modules[:_MOST_MODULES],
    }  # fmt: skip
    evidence = ["memory: bytes of weights as they are stored, tied ones once, without training state"]
    if None in disk:
        evidence.append("the size on disk is not known: a side is no file")
    if old.bytes is None or new.bytes is None:
        evidence.append("stored bytes of a packed kind are not known")
    if len(modules) > _MOST_MODULES:
        evidence.append(f"{counted(len(modules) - _MOST_MODULES, 'module')} with the smallest change left out")
    text = brief({"disk": _change(*disk), "memory": _change(old.bytes, new.bytes)})
    return Finding(NAME, "info", "fact", fields, tuple(evidence), text)


def _by_module(diff: ModelDiff, context: Context) -> tuple[dict[str, str | int], ...]:
    """Bytes of weights by module, those that changed most first; packed kinds whose bytes are not known count as 0."""
    rows: dict[str, list[int]] = {}
    for change in diff.tensors:
        for place, spec, checkpoint in ((0, change.old, context.old), (1, change.new, context.new)):
            if spec is not None and spec.role == "weight" and not spec.alias_of:
                row = rows.setdefault(top_of(spec.name), [0, 0])
                row[place] += stored_bytes(spec, checkpoint) or 0
    ordered = sorted(rows.items(), key=lambda row: -abs(row[1][1] - row[1][0]))
    return tuple({"module": name, "old": before, "new": after} for name, (before, after) in ordered)


def _change(old: int | None, new: int | None) -> str | None:
    if old is None or new is None:
        return None
    times = ratio(old, new)
    return f"{size_text(old)} -> {size_text(new)}" + ("" if times is None else f" ({times_text(times)})")
