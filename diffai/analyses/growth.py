"""Tensors that grew out of all proportion, and tensors that are the old ones times one number."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from diffai.analyses.update import matched
from diffai.comparison.result import MOST_JUDGED, ModelDiff, TensorChange
from diffai.frozen import frozen
from diffai.model import Statistics, element_count

BEYOND_MAXIMUM, GREW = 1000.0, 10.0
"""Times the old maximum, and times the old norm, from which on a tensor is pointed at."""
_NOTHING = 1e-6
_UNIT_ROUNDOFF = {"F64": 2.0**-53, "F32": 2.0**-24, "F16": 2.0**-11, "BF16": 2.0**-8}


@frozen
class Growth:
    """One tensor that grew.

    Attributes:
        change: the tensor.
        beyond: whether its largest value is far beyond the old one; else its norm grew.
        before, after: the largest absolute values, or the norms.
    """

    change: TensorChange
    beyond: bool
    before: float
    after: float

    @property
    def ratio(self) -> float:
        """How many times."""
        return self.after / self.before

    @property
    def text(self) -> str:
        """In the same words wherever it is told, so that it is told once where several analyses are put together."""
        what = "largest value" if self.beyond else "norm"
        return f"{what} {short(self.before)} -> {short(self.after)} ({short(self.ratio)} x)"


def short(value: float | None) -> str:
    """Three significant digits, whole thousands up to a million."""
    if value is None:
        return "n/a"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"


def judged(diff: ModelDiff) -> bool:
    """Whether the statistics of tensors are there for judging, in every output alike."""
    return diff.totals.pairs <= MOST_JUDGED


def growths(changes: Sequence[TensorChange], *, ends: bool = True) -> Iterable[Growth]:
    """Tensors that grew; what began near zero does so by design.

    Args:
        changes: of the model.
        ends: whether to look at largest values too (see :func:`judged`).
    """
    least = least_rms(changes)
    for change in changes:
        delta = change.figures.delta if change.figures and matched(change) else None
        if delta is None or not delta.old_l2:
            continue
        rms = delta.old_l2 / math.sqrt(max(1, element_count(change.spec.shape)))
        old, new = statistics(change)
        ratio = largest(new) / largest(old) if ends and old and new and largest(old) else 0.0
        if (ratio < BEYOND_MAXIMUM and delta.new_l2 < GREW * delta.old_l2) or rms <= least(change):
            continue
        if ratio >= BEYOND_MAXIMUM:
            yield Growth(change, True, largest(old), largest(new))
        else:
            yield Growth(change, False, delta.old_l2, delta.new_l2)


def statistics(change: TensorChange) -> tuple[Statistics | None, Statistics | None]:
    """Statistics of both sides of a pair; None where they were not computed."""
    figures = change.figures
    return (figures.old_statistics, figures.new_statistics) if figures else (None, None)


def least_rms(changes: Sequence[TensorChange]) -> Callable[[TensorChange], float]:
    """A thousandth of the root mean square of a tensor's module before, of the whole model where it stands alone.

    What lies below it began at nothing: biases that were initialised with zero, the B factors of an adapter. Norms of
    equal tensors may not have been asked for, so there is a least value of all.
    """
    sums: dict[str, list[float]] = {}

    def least(change: TensorChange) -> float:
        if not sums:  # made for the first that asks: mostly none does, and there may be 100,000 tensors
            sums.update(_module_sums(changes))
        square, count, tensors = sums.get(change.name.rpartition(".")[0], (0.0, 0.0, 0.0))
        if tensors < 2:
            square, count, _ = sums.get("", (0.0, 0.0, 0.0))
        return max(_NOTHING, 1e-3 * math.sqrt(square / count)) if count else _NOTHING

    return least


def _module_sums(changes: Sequence[TensorChange]) -> dict[str, list[float]]:
    """Squares of the old values, elements and tensors by module; "" is the whole model."""
    sums: dict[str, list[float]] = {"": [0.0, 0.0, 0.0]}
    for change in changes:
        if not matched(change) or change.figures is None:
            continue
        figures = change.figures
        norm = figures.delta.old_l2 if figures.delta is not None else figures.norm
        if norm is not None:
            for module in ("", change.name.rpartition(".")[0]):
                row = sums.setdefault(module, [0.0, 0.0, 0.0])
                row[0] += norm * norm
                row[1] += element_count(change.spec.shape)
                row[2] += 1
    return sums


def largest(found: Statistics | None) -> float:
    """The largest absolute finite value; 0 where it is not known."""
    if found is None or found.min is None or found.max is None:
        return 0.0
    return float(max(abs(found.min), abs(found.max)))


def factor_of(change: TensorChange) -> float | None:
    """C where new = c * old within rounding; None otherwise, and where statistics were not computed.

    The squares of the first pass know c to about 1e-6; then mean, standard deviation and both ends of the values must
    be c times what they were, and every value but zeros must have changed.
    """
    figures = change.figures
    delta = None if figures is None or figures.as_bytes else figures.delta
    if delta is None or figures is None or not delta.old_l2 or delta.nonfinite_count or delta.tolerated_count:
        return None
    old, new = figures.old_statistics, figures.new_statistics
    if old is None or new is None or old.element_count < 4 or delta.changed_count != old.element_count - old.zero_count:
        return None
    squares = delta.old_l2 * delta.old_l2
    factor = (squares + delta.new_l2 * delta.new_l2 - delta.l2 * delta.l2) / (2 * squares)
    ends = (old.min, old.max) if factor > 0 else (old.max, old.min)
    near = 1e-5 + 4 * _UNIT_ROUNDOFF.get(change.spec.values_dtype, 0.0)
    for before, after in ((old.mean, new.mean), (ends[0], new.min), (ends[1], new.max)):
        if before is None or after is None or abs(after - factor * before) > near * delta.new_l2 / math.sqrt(
            old.element_count
        ) + near * abs(after):
            return None
    if old.std is None or new.std is None or abs(new.std - abs(factor) * old.std) > near * new.std:
        return None
    return factor if abs(delta.new_l2 - abs(factor) * delta.old_l2) <= near * delta.new_l2 else None
