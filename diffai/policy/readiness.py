"""Is a model fit to be deployed: a checklist with one row a check, of which none passes by silence."""

from __future__ import annotations

import re

from diffai.analyses import nonfinite
from diffai.analyses.finding import counted
from diffai.comparison.result import ModelDiff, TensorChange
from diffai.finding import Finding
from diffai.formats.safety import unsafe
from diffai.frozen import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from diffai.analyses.context import Context
    from diffai.finding import Fields
    from diffai.finding import Status as Answered

    Status = Literal["passed", "failed", "not judged", "does not apply"]
else:
    Status = Answered = str

NAME = "deployment_readiness"

BLOCKING = frozenset(("finite", "safe", "valid", "interface", "size"))
"""Checks that block; what else fails lowers the score alone."""

_BREAKING = frozenset(("removed", "reshaped", "renamed"))
_FIRST = re.compile(r"(^|[._])(embed|embedding|embed_tokens|wte|tok_embeddings|patch_embed|conv1|stem)([._]|$)", re.I)
_LAST = re.compile(r"(^|[._])(head|lm_head|classifier|classification_head|output|logits|fc|fc_out|score)([._]|$)", re.I)


@frozen
class Check:
    """One row: what was looked at, what came of it, and in words why."""

    name: str
    status: Status
    detail: str = ""

    @property
    def blocks(self) -> bool:
        """Whether it keeps the model from being deployed."""
        return self.status == "failed" and self.name in BLOCKING


@frozen
class Readiness:
    """The checklist."""

    checks: tuple[Check, ...]

    @property
    def score(self) -> float | None:
        """Checks that passed over those that apply and could be judged; None where there is none."""
        judged = [check for check in self.checks if check.status in ("passed", "failed")]
        return sum(check.status == "passed" for check in judged) / len(judged) if judged else None

    @property
    def ready(self) -> bool | None:
        """Whether nothing blocks; None where a check that could block was not judged."""
        if any(check.blocks for check in self.checks):
            return False
        open_ = any(check.status == "not judged" and check.name in BLOCKING for check in self.checks)
        return None if open_ else True


def readiness(
    diff: ModelDiff, *, max_bytes: int = 0, interface: bool = True, configured: bool | None = None
) -> Readiness | None:
    """The checklist of the new side; None where it is no model.

    Args:
        diff: the comparison that brings it.
        max_bytes: size that is allowed; 0 = any.
        interface: whether another interface is a failure.
        configured: whether a configuration lies beside the model; None = that was not looked at.
    """
    if diff.new.state is not None:
        return None
    pair = diff.old.state is None
    dangerous = unsafe(diff.new.problems)
    damaged = [p for p in diff.new.problems if p.severity == "error" and p not in dangerous]
    checks = [
        _finite(diff),
        Check("safe", "failed" if dangerous else "passed", dangerous[0].message if dangerous else ""),
        Check("valid", "failed" if damaged else "passed", damaged[0].message if damaged else ""),
        _interface(diff) if pair and interface else Check("interface", "does not apply"),
        _dtype(diff) if pair else Check("dtype", "does not apply"),
        _size(diff, max_bytes),
        _metadata(diff, configured),
    ]
    return Readiness(tuple(checks))


def _finite(diff: ModelDiff) -> Check:
    """Values of what came or changed; what is equal is as it was before."""
    unread = [change for change in diff.tensors if change.role == "weight" and _is_unread(change)]
    found = nonfinite.worse(diff)
    kept = [c for c in diff.tensors if c.role == "weight" and c.figures is not None and c.figures.nonfinite is not None]
    left = [change.name for change in kept if nonfinite.counts(change) and _has_any(change)]
    names = list(dict.fromkeys([*(event.change.name for event in found), *left]))
    if names:
        more = f" and {len(names) - 1:,} more" if names[1:] else ""
        return Check("finite", "failed", f"NaN or Inf in {names[0]}{more}")
    if unread:
        return Check("finite", "not judged", f"values of {counted(len(unread), 'tensor')} were not read")
    return Check("finite", "passed")


def _has_any(change: TensorChange) -> bool:
    both = nonfinite.counts(change)
    return both is not None and bool(both[1].nan or both[1].pos_inf or both[1].neg_inf)


def _is_unread(change: TensorChange) -> bool:
    """Whether nothing was read of the values of the new side."""
    if change.new is None or not change.new.elements:
        return False
    summary = change.new_summary
    return change.figures is None and (summary is None or summary.statistics is None)


def interface_changes(diff: ModelDiff) -> tuple[str, ...]:
    """What is another interface: inputs and outputs of the graph; else the first and last matrices by their names."""
    ends = [v.key for v in diff.graph if v.key.startswith(("input ", "output "))]
    if ends:
        return tuple(ends)
    matrices = [c for c in diff.tensors if c.old is not None and c.role == "weight" and len(c.old.shape) >= 2]
    if not matrices:
        return ()
    placed = sorted(matrices, key=lambda c: (c.old.file, c.old.offset) if c.old is not None else (0, 0))
    first = next((c for c in placed if c.old and _FIRST.search(c.old.name)), placed[0])
    last = next((c for c in reversed(placed) if c.old and _LAST.search(c.old.name)), placed[-1])
    return tuple(
        f"{change.name} {' and '.join(word for word in change.status if word in _BREAKING)}"
        for change in ((first,) if first is last else (first, last))
        if not _BREAKING.isdisjoint(change.status)
    )


def _interface(diff: ModelDiff) -> Check:
    found = interface_changes(diff)
    return Check("interface", "failed" if found else "passed", ", ".join(found))


def _dtype(diff: ModelDiff) -> Check:
    cast = [c for c in diff.tensors if "cast" in c.status and c.role == "weight" and c.old and c.new]
    kinds = sorted({f"{c.old.dtype} -> {c.new.dtype}" for c in cast if c.old and c.new})
    return Check("dtype", "failed" if cast else "passed", ", ".join(kinds[:3]))


def _size(diff: ModelDiff, limit: int) -> Check:
    if not limit:
        return Check("size", "does not apply")
    if diff.new.size < 0:
        return Check("size", "not judged", "the size of the file is not known")
    over = diff.new.size > limit
    return Check("size", "failed" if over else "passed", f"{diff.new.size:,} of {limit:,} bytes")


def _metadata(diff: ModelDiff, configured: bool | None) -> Check:
    if diff.new.recorded or diff.new.metadata or configured:
        return Check("metadata", "passed")
    if configured is None:
        return Check("metadata", "not judged", "none in the file; files beside it were not looked at")
    return Check("metadata", "failed", "none in the file, and no config.json beside it")


def find(diff: ModelDiff, context: Context) -> Finding | None:
    """The checklist as one finding."""
    if not diff.comparable or (not context.asked and not diff.differs):
        return None
    configured = context.sibling("new", "config.json") is not None if context.asked and context.new else None
    found = readiness(
        diff, max_bytes=context.count("max_bytes"), interface=context.flag("interface"), configured=configured
    )
    if found is None:
        return None
    rows: tuple[Fields, ...] = tuple(
        {"check": c.name, "status": c.status, "blocks": c.blocks, "detail": c.detail} for c in found.checks
    )
    fields: Fields = {"ready": found.ready, "score": found.score, "checks": rows}
    blocking = [c for c in found.checks if c.blocks]
    open_ = [c for c in found.checks if c.status == "not judged" and c.name in BLOCKING]
    word = {True: "ready", False: "not ready", None: "not judged"}[found.ready]
    text = f"{word}, score={found.score:.2f}" if found.score is not None else word
    text += "".join(f"; {c.name}: {c.detail}" for c in (blocking or open_))
    evidence = tuple(f"{c.name}: {c.status}" + (f" ({c.detail})" if c.detail else "") for c in found.checks)
    answered: Answered = "not computed" if found.ready is None else "found"
    return Finding(NAME, "warning" if blocking else "info", "fact", fields, evidence, text, status=answered)
