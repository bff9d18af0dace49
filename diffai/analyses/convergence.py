"""Where training stands: converged, stable, diverging; oscillating, which only a history shows."""

from __future__ import annotations

from collections.abc import Sequence

from diffai.analyses import nonfinite
from diffai.analyses.change_kind import change_kind
from diffai.analyses.training_run import NOT_RECORDED, Run, runs
from diffai.analyses.update import is_moved, matched, size_unknown, update_size
from diffai.comparison.result import ModelDiff
from diffai.frozen import frozen
from diffai.model import element_count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from diffai.analyses.context import Context
    from diffai.analyses.finding import Finding, Severity

    Status = Literal["converged", "small step", "diverging", "oscillating", "stable"]
else:
    Status = Severity = str

NAME = "convergence_analysis"

SMALL = 1e-4
"""Largest relative L2 of a tensor up to which a step is small."""
STEPS = 100
"""Recorded steps between both sides from which on a small step means that training has converged."""
GREW = 2.0
TURNED, FEWEST_TURNS = 0.5, 3
"""An update turned back when its cosine to the one before is below the negative of the first."""

_ACTIONS: dict[Status, str] = {
    "converged": "further training of this kind will change little",
    "small step": "too few steps lie between, or are recorded, to call it converged",
    "diverging": "stop, and go back to the last version with finite values and a steady norm",
    "oscillating": "a smaller learning rate, or a larger batch, may let it settle",
    "stable": "no sign of trouble in this step",
}


@frozen
class Convergence:
    """Where training stands.

    Attributes:
        status: see :data:`NAME` in the reference.
        stability: variance over tensors of their relative L2, weighted by parameters; None where none has one.
        largest: the largest relative L2.
        left_out: tensors without a relative L2, because they were all zero before.
        evidence: what the status rests on.
        broken: whether parameters became NaN or infinite.
    """

    status: Status
    stability: float | None
    largest: float | None
    left_out: int
    evidence: tuple[str, ...] = ()
    broken: bool = False


def oscillates(turns: Sequence[float], *, turned: float = TURNED, fewest: int = FEWEST_TURNS) -> bool:
    """Whether successive updates turn back on each other: most cosines between them are below ``-turned``.

    The one rule of ``diffai log`` and of this analysis.

    Args:
        turns: the cosine of each update and the one before it.
        turned, fewest: how far, and the least number of turns that can show it.
    """
    return len(turns) >= fewest and sum(turn < -turned for turn in turns) > len(turns) / 2


def convergence(diff: ModelDiff, old: Run, new: Run, turns: Sequence[float] = ()) -> Convergence | None:
    """Where training stands after a step; None where the change is no step of training.

    Args:
        diff: the comparison.
        old, new: what is recorded of both sides.
        turns: cosines of successive updates, where a history is known.
    """
    kind = change_kind(diff)
    if kind is None or not _STEPS_OF_TRAINING.intersection(kind.kinds):
        return None
    size = update_size(diff)
    worse = [event.change.name for event in nonfinite.worse(diff) if event.parameter and event.change.old is not None]
    if not (size.comparable or worse) or not any(matched(change) and is_moved(change) for change in diff.tensors):
        return None
    stability, largest, left_out = _spread(diff)
    status, evidence = _status(worse, size.old_norm, size.new_norm)
    if status is None:
        between = new.step - old.step if old.step is not None and new.step is not None else None
        if oscillates(turns):
            status, evidence = "oscillating", (f"{len(turns):,} turns of successive updates",)
        elif largest is not None and largest < SMALL and not left_out:
            enough = bool(turns) or (between is not None and between >= STEPS)
            status = "converged" if enough else "small step"
            evidence = (f"{between:,.0f} steps between" if between is not None else "steps between: not recorded",)
        else:
            if largest is None or (left_out and not largest):
                return None
            status = "stable"
    return Convergence(status, stability, largest, left_out, evidence, bool(worse))


_STEPS_OF_TRAINING = frozenset(("training step", "fine-tune", "changed", "diverged", "adapter", "low-rank update"))


def _status(
    worse: Sequence[str], old_norm: float | None, new_norm: float | None
) -> tuple[Status | None, tuple[str, ...]]:
    if worse:
        return "diverging", (f"NaN or Inf in {worse[0]}" + (f" and {len(worse) - 1:,} more" if worse[1:] else ""),)
    if old_norm and new_norm and new_norm > GREW * old_norm:
        return "diverging", (f"the norm of all parameters grew to {new_norm / old_norm:.3g} x",)
    return None, ()


def _spread(diff: ModelDiff) -> tuple[float | None, float | None, int]:
    """Weighted variance and maximum of relative L2 over tensors, and how many have none."""
    rows: list[tuple[float, int]] = []
    left_out = 0
    for change in diff.tensors:
        if not matched(change) or change.figures is None or change.figures.as_bytes:
            continue
        delta = change.figures.delta
        relative = 0.0 if delta is None or not is_moved(change) else delta.relative_l2
        if relative is None:
            left_out += 1
        else:
            rows.append((relative, element_count(change.spec.shape)))
    weight = sum(count for _, count in rows)
    if not weight:
        return None, None, left_out
    mean = sum(relative * count for relative, count in rows) / weight
    variance = sum((relative - mean) ** 2 * count for relative, count in rows) / weight
    return variance, max(relative for relative, _ in rows), left_out


def find(diff: ModelDiff, context: Context) -> Finding | None:
    """The status as a finding."""
    from diffai.analyses.finding import Finding, nothing

    old, new = runs(diff, context)
    found = convergence(diff, old, new)
    if found is None:
        if not context.asked:
            return None
        return nothing(NAME, f"{NOT_RECORDED}: {_unknown(diff)}")
    severity: Severity = "info"
    if found.status == "diverging":
        severity = "critical" if found.broken else "warning"
    fields = {
        "status": found.status, "stability": found.stability, "largest_relative_l2": found.largest,
        "tensors_left_out": found.left_out, "action": _ACTIONS[found.status],
    }  # fmt: skip
    text = f"status={found.status}" + (f", stability={found.stability:.3g}" if found.stability is not None else "")
    text += f" ({found.evidence[0]})" if found.evidence else ""
    notes = ["oscillation shows in a history alone: diffai log"]
    notes += ["no tensor has a relative L2"] if found.stability is None else []
    return Finding(NAME, severity, "fact", fields, (*found.evidence, *notes), text)


def _unknown(diff: ModelDiff) -> str:
    """Why there is no status, in words."""
    kind = change_kind(diff)
    if diff.totals.uncompared and kind is None:
        return "values were not compared"
    moved = any(matched(change) and is_moved(change) for change in diff.tensors)
    if kind is None or not moved or not _STEPS_OF_TRAINING.intersection(kind.kinds):
        return "the change is no step of training"
    return size_unknown(diff) or "all that moved was zero before, and has no relative L2"
