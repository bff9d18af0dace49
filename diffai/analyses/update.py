"""The size of an update: how far all parameters together moved, relative to what they were.

*Update size* = L2(new - old) / L2(old) over all parameters (tied ones once) of matched pairs of equal shape and the
elements that are finite on both sides, identical tensors included in L2(old), casts and packed kinds decoded. Buffers
and training state take no part. Over the changed tensors only it is another figure, and called *relative L2 of the
changed tensors* (``ModelDiff.totals.changed_relative_l2``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from diffai.comparison.result import ModelDiff, TensorChange
from diffai.frozen import frozen, replace
from diffai.model import element_count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.analyses.context import Context
    from diffai.analyses.finding import Finding

NAME = "update_size"

Norms = tuple[float, float, float]
"""L2 of the update of one tensor, of its old and of its new values, over the jointly finite elements."""

COMPARABLE = 0.5
"""Share of a version's parameters below which a figure over them says nothing of the model."""


@frozen
class UpdateSize:
    """How far the parameters moved.

    Attributes:
        relative_l2: the update size; None where it cannot be had (``reason``) or the old parameters are all zero.
        cosine: of the old and the new parameters as vectors; None likewise.
        update, old_norm, new_norm: L2 of the update, and of both sides.
        parameters: elements that the figures are of.
        parameters_new: elements of all parameters of the new side.
        reason: why there is no figure; "" where there is one, and where nothing is missing but L2(old) is 0.
        over_finite: elements that are not finite on both sides were left out.
    """

    relative_l2: float | None = None
    cosine: float | None = None
    update: float | None = None
    old_norm: float | None = None
    new_norm: float | None = None
    parameters: int = 0
    parameters_new: int = 0
    reason: str = ""
    over_finite: bool = False

    @property
    def comparable(self) -> bool:
        """Whether the figures are of enough of the model to say something of it."""
        return self.parameters >= COMPARABLE * self.parameters_new


def update_size(diff: ModelDiff) -> UpdateSize:
    """The size of the update of a comparison; of one made with ``CompareOptions.update_size`` if anything is equal."""
    if diff.old.state is not None or diff.new.state is not None:
        return UpdateSize(reason="there is no model on one side")
    update = old = new = 0.0  # summed as they are met: of 100,000 tensors a list would take megabytes
    parameters = 0
    for change in diff.tensors:
        if not matched(change):
            continue
        norms = norms_of(change)
        if isinstance(norms, str):
            return UpdateSize(parameters_new=diff.new.parameters, reason=norms)
        parameters += element_count(change.spec.shape)
        update, old, new = (math.hypot(whole, one) for whole, one in zip((update, old, new), norms, strict=True))
    size = size_of([(update, old, new)], parameters, diff.new.parameters)
    return replace(size, over_finite=any(matched(change) and change.over_finite for change in diff.tensors))


def size_of(norms: Iterable[Norms], parameters: int, parameters_new: int) -> UpdateSize:
    """The size of an update out of that of its tensors.

    Args:
        norms: L2(new - old), L2(old) and L2(new) of each, over its jointly finite elements.
        parameters: elements of all of them.
        parameters_new: elements of all parameters of the new side.
    """
    if not parameters:
        return UpdateSize(parameters_new=parameters_new, reason="no parameter has the same shape on both sides")
    update = old = new = 0.0
    for one, before, after in norms:  # hypot neither overflows nor underflows
        update, old, new = math.hypot(update, one), math.hypot(old, before), math.hypot(new, after)
    if math.inf in (update, old, new):
        return UpdateSize(
            parameters=parameters, parameters_new=parameters_new, reason="values are too large to be summed"
        )
    relative = update / old if old else None
    return UpdateSize(relative, cosine_of(update, old, new), update, old, new, parameters, parameters_new)


def cosine_of(update: float, old: float, new: float) -> float | None:
    """Cosine of two vectors from the L2 of their difference and of each; None where either is zero.

    1 - cos = (|b - a|^2 - (|a| - |b|)^2) / (2 |a| |b|): of vectors that are nearly the same, a dot product would leave
    no digit of the angle between them.
    """
    if not old or not new:
        return None
    apart = (update - abs(old - new)) / old * ((update + abs(old - new)) / new)
    return max(-1.0, min(1.0, 1.0 - apart / 2))


def shares(diff: ModelDiff, least: float = 0.0) -> tuple[tuple[TensorChange, float], ...]:
    """Parameters that moved with their share of the squared update, of ``least`` or more; the greatest first."""
    whole = 0.0
    for _, length in _moved(diff):
        whole = math.hypot(whole, length)
    if not whole:
        return ()
    found = [
        (change, share)
        for change, length in _moved(diff)
        if (share := (length / whole) ** 2) >= least and length
    ]
    return tuple(sorted(found, key=lambda row: -row[1]))


def _moved(diff: ModelDiff) -> Iterator[tuple[TensorChange, float]]:
    """Matched parameters with the L2 of their update; made when asked for, since there may be 100,000."""
    for change in diff.tensors:
        if change.figures is not None and change.figures.delta is not None and matched(change):
            yield change, change.figures.delta.l2


def matched(change: TensorChange) -> bool:
    """Whether it is a parameter that both sides have in one shape."""
    old, new = change.old, change.new
    return old is not None and new is not None and old.shape == new.shape and change.is_parameter


def unmatched(diff: ModelDiff) -> bool:
    """Whether a parameter came, went or has another shape: what moved is then said of the others alone."""
    return any(change.is_parameter and not matched(change) for change in diff.tensors)


_KEPT = frozenset(("renamed", "cast", "equal", "identical", "uncompared"))


def is_moved(change: TensorChange) -> bool:
    """Whether its values are others: by more than another name, and than what rounding to another dtype explains."""
    return not _KEPT.issuperset(change.status)


def size_unknown(diff: ModelDiff) -> str:
    """Why the size of an update says nothing of a model, in words; "" where it does."""
    size = update_size(diff)
    if size.reason or (size.comparable and size.relative_l2 is not None):
        return size.reason
    if not size.comparable:
        return "fewer than half of the parameters have a partner of the same shape"
    return "the old parameters are all zero where both sides are finite"


def no_update(diff: ModelDiff) -> str:
    """Why no parameter has an update that can be measured, in words, where :func:`shares` has none."""
    parameters = [change for change in diff.tensors if matched(change)]
    if not parameters:
        return "no parameter has the same shape on both sides"
    if any("changed" in change.status for change in parameters):
        return "no update can be measured: nothing that is finite on both sides moved"
    uncompared = any("uncompared" in change.status for change in parameters)
    if uncompared:
        return "values were not compared"
    return "no parameter of those in one shape moved" if unmatched(diff) else "no parameter moved"


def norms_of(change: TensorChange) -> Norms | str:
    """L2 of the update, of the old and of the new side of a matched pair, or why they are not known."""
    figures = change.figures
    if figures is None:
        return "values were not compared"
    if figures.as_bytes:
        return f"{change.spec.dtype} defines no values"
    if figures.delta is not None:
        return figures.delta.l2, figures.delta.old_l2, figures.delta.new_l2
    if not element_count(change.spec.shape):
        return 0.0, 0.0, 0.0
    if figures.norm is None:
        return "the norms of equal tensors were not asked for"
    return 0.0, figures.norm, figures.norm


def find(diff: ModelDiff, _context: Context) -> Finding | None:
    """The size of the update as a finding; none where nothing was compared or nothing moved."""
    from diffai.analyses.finding import Finding

    size = update_size(diff)
    if not size.update:
        return None
    fields = {
        "relative_l2": size.relative_l2, "cosine": size.cosine, "l2": size.update, "old_l2": size.old_norm,
        "new_l2": size.new_norm, "parameters": size.parameters, "parameters_new": size.parameters_new,
    }  # fmt: skip
    shown = "not defined (the old parameters are all zero)" if size.relative_l2 is None else f"{size.relative_l2:.4g}"
    over = "" if size.parameters == size.parameters_new else f" over {size.parameters:,} of {size.parameters_new:,}"
    over += ", over the finite values" if size.over_finite else ""
    return Finding(NAME, "info", "fact", fields, (), f"update size {shown}{over}")
