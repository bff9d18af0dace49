"""Tensors that have another name now, by what their pairing rests on."""

from __future__ import annotations

from diffai.comparison.result import ModelDiff, TensorChange

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from diffai.analyses.context import Context
    from diffai.analyses.finding import Fields, Finding

NAME = "rename"


def renames(diff: ModelDiff) -> tuple[TensorChange, ...]:
    """Renamed tensors of the model."""
    return tuple(change for change in diff.tensors if change.status[0] == "renamed" and change.role != "training")


def rename_rules(changes: Iterable[TensorChange]) -> list[tuple[str, int]]:
    """How names changed, and how many tensors each rule explains, most first; whether they are the same otherwise."""
    rules: dict[str, list[bool]] = {}
    for change in changes:
        if "renamed" in change.status and change.old is not None and change.new is not None:
            rule = _rule(change.old.name, change.new.name)
            rules.setdefault(rule, []).append(change.figures is not None and change.figures.identical)
    found = [(f"{rule} (identical)" if all(same) else rule, len(same)) for rule, same in rules.items()]
    return sorted(found, key=lambda item: -item[1])


def _rule(old: str, new: str) -> str:
    """How one name became another: ``prefix 'model.' added``."""
    if new.endswith(f".{old}"):
        return f"prefix {new[: -len(old)]!r} added"
    if old.endswith(f".{new}"):
        return f"prefix {old[: -len(new)]!r} dropped"
    before, after = old.split("."), new.split(".")
    while before and after and before[-1] == after[-1]:
        before.pop()
        after.pop()
    while before and after and before[0] == after[0]:
        before.pop(0)
        after.pop(0)
    return f"{'.'.join(before)!r} -> {'.'.join(after)!r}"


def find(diff: ModelDiff, _context: Context) -> Finding | None:
    """The renames as one finding."""
    from diffai.analyses.finding import Finding

    found = renames(diff)
    if not found:
        return None
    by_evidence: dict[str, int] = {}
    for change in found:
        by_evidence[change.evidence] = by_evidence.get(change.evidence, 0) + 1
    pairs = tuple((change.old.name, change.name) for change in found if change.old is not None)
    text = ", ".join(f"{count:,} by {how}" for how, count in by_evidence.items())
    fields: Fields = {"tensors": len(found), "by_evidence": by_evidence, "names": pairs}
    return Finding(NAME, "info", "fact", fields, (), text)
