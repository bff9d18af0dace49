"""What findings that read values again say of the kind of a change: told once, and the same in all of an output."""

from __future__ import annotations

from diffai.comparison.result import ModelDiff


def low_rank_said(diff: ModelDiff) -> str:
    """``rank 8`` where every matrix that moved did so by a low rank; "" elsewhere, and without ``--low-rank``."""
    for found in diff.findings:
        fields = found.fields
        if found.name == "low_rank" and fields.get("low_rank") and fields["low_rank"] == fields.get("moved"):
            ranks = fields["rank_min"], fields["rank_max"]
            return f"rank {ranks[0]}" if ranks[0] == ranks[1] else f"ranks {ranks[0]} to {ranks[1]}"
    return ""


def share_of_base(diff: ModelDiff, name: str) -> float | None:
    """How far the new model went on a line to a base, as the finding of this name says; None where none does."""
    for found in diff.findings:
        share = found.fields.get("share_of_base") if found.name == name else None
        if isinstance(share, float):
            return share
    return None
