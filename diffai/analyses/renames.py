"""Tensors that have another name now, by what their pairing rests on."""

from __future__ import annotations

from diffai.comparison.result import ModelDiff, TensorChange

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.analyses.finding import Fields, Finding

NAME = "rename"


def renames(diff: ModelDiff) -> tuple[TensorChange, ...]:
    """Renamed tensors of the model."""
    return tuple(change for change in diff.tensors if change.status[0] == "renamed" and change.role != "training")


def find(diff: ModelDiff) -> Finding | None:
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
