"""What analyses of a second pass have in common: which tensors they look at, how many, and how they put it."""

from __future__ import annotations

from collections.abc import Sequence

from diffai.analyses.finding import counted
from diffai.analyses.update import matched
from diffai.comparison.result import ModelDiff, TensorChange
from diffai.model import TensorSpec
from diffai.tensors.reading import LONGEST_ROW, is_matrix, is_too_wide

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.analyses.context import Context


def moved_matrices(diff: ModelDiff) -> list[TensorChange]:
    """Matched parameters of two dimensions or more whose values can be read and differ, the greatest update first."""
    moved = [change for change in diff.tensors if is_moved_matrix(change)]
    return sorted(moved, key=lambda change: (-_update(change), change.name))


def is_moved_matrix(change: TensorChange) -> bool:
    """Whether it is a matrix on both sides, of one shape, that moved."""
    return is_matrix_pair(change) and change.status != ("uncompared",) and _update(change) > 0


def is_matrix_pair(change: TensorChange) -> bool:
    """Whether it is a matrix on both sides, of one shape."""
    old, new = change.old, change.new
    return old is not None and new is not None and matched(change) and is_matrix(old) and is_matrix(new)


def _update(change: TensorChange) -> float:
    """L2 of what was added to a tensor."""
    delta = change.figures.delta if change.figures is not None else None
    return delta.l2 if delta is not None else 0.0


def sides_of(change: TensorChange) -> tuple[TensorSpec, TensorSpec]:
    """Both specs of a matched change."""
    assert change.old is not None and change.new is not None
    return change.old, change.new


def within(context: Context, changes: Sequence[TensorChange], most: int, what: str) -> Sequence[TensorChange]:
    """The first ``most`` of them; the cap is said."""
    if len(changes) > most:
        context.cap(f"{most:,} of {len(changes):,} {what} were looked at (those that moved most)")
    return changes[:most]


def say_wide(diff: ModelDiff, context: Context) -> None:
    """Say how many tensors are left out because one of their rows is too long to be held."""
    wide = sum(any(spec is not None and is_too_wide(spec) for spec in (c.old, c.new)) for c in diff.tensors)
    if wide:
        context.cap(f"{counted(wide, 'tensor')} with rows of more than {LONGEST_ROW:,} elements left out")


def rounded(value: float, digits: int = 6) -> float | None:
    """A figure to so many significant digits, which do not depend on how a sum was taken; None if it is no number."""
    return float(f"{value:.{digits}g}") if value == value and abs(value) != float("inf") else None
