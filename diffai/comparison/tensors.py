"""From pairs and their figures to tensor changes with statuses, and to totals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from diffai.comparison.result import RenameEvidence, TensorChange, TensorStatus, Totals, TrainingTotals
from diffai.frozen import slotted
from diffai.model import PairFigures, TensorSpec, TensorSummary, element_count

SIGNIFICANT_RELATIVE_L2 = 1e-3
"""A tensor whose relative L2 is above this counts as a significant change (report field of that name)."""

_Status = tuple[TensorStatus, ...]

# The few statuses there are, so that 100,000 tensors share them.
_CHANGED: _Status = ("changed",)
_UNCOMPARED: _Status = ("uncompared",)
_IDENTICAL: _Status = ("identical",)
_EQUAL: _Status = ("equal",)
_STATUSES: dict[_Status, _Status] = {}


def classify(
    old: TensorSpec,
    new: TensorSpec,
    figures: PairFigures | None,
    *,
    evidence: RenameEvidence = "",
    reason: str = "",
    old_summary: TensorSummary | None = None,
    new_summary: TensorSummary | None = None,
) -> TensorChange:
    """The change record of a pair; ``figures`` is None where the values were not compared."""
    changed = figures is not None and values_changed(figures)
    if old is new or (old.name == new.name and old.shape == new.shape and old.dtype == new.dtype):
        status = _CHANGED if changed else _unchanged(figures)
    else:
        status = _status(old, new, changed) or _unchanged(figures)
    return TensorChange(new.name, status, old, new, figures, old_summary, new_summary, evidence, reason)


def _status(old: TensorSpec, new: TensorSpec, changed: bool) -> _Status:
    """Everything that happened; empty when nothing did."""
    happened: tuple[tuple[TensorStatus, bool], ...] = (
        ("renamed", old.name != new.name), ("reshaped", old.shape != new.shape), ("cast", old.dtype != new.dtype),
        ("changed", changed),
    )  # fmt: skip
    status = tuple(word for word, true in happened if true)
    return _STATUSES.setdefault(status, status)


def _unchanged(figures: PairFigures | None) -> _Status:
    if figures is None:
        return _UNCOMPARED
    return _IDENTICAL if figures.identical else _EQUAL


def values_changed(figures: PairFigures) -> bool:
    """Whether values differ beyond the tolerance, and beyond what rounding to a new dtype explains."""
    if figures.identical or figures.delta is None:
        return False
    if figures.cast is not None and figures.cast.rounded:
        return False
    return figures.delta.changed_count > 0


def count(changes: Iterable[TensorChange]) -> Totals:
    """Totals over all tensors of a model diff."""
    seen: dict[tuple[TensorStatus, ...], int] = {}
    state: dict[tuple[TensorStatus, ...], int] = {}
    figures = _Figures()
    for change in changes:
        status = change.status
        of_role = state if change.role == "training" else seen
        of_role[status] = of_role.get(status, 0) + 1
        if change.figures is not None:
            figures.add(change, change.figures)
    counts = _by_word(seen)
    equal, identical = counts.pop("equal"), counts.pop("identical")
    training = _training(state)
    return Totals(
        **counts,
        unchanged=equal + identical,
        equal_by_value=equal + state.get(_EQUAL, 0),
        significant=figures.significant,
        modified=figures.modified,
        comparable=figures.comparable,
        tolerated=figures.tolerated,
        changed_relative_l2=figures.update / figures.base if 0 < figures.base < math.inf else None,
        pairs=sum(seen.values()) - counts["added"] - counts["removed"],
        training=training,
    )


def _by_word(seen: Mapping[_Status, int]) -> dict[str, int]:
    """How many tensors have each word in their status."""
    counts: dict[str, int] = dict.fromkeys(
        ("added", "removed", "renamed", "reshaped", "cast", "changed", "uncompared", "equal", "identical"), 0
    )
    for status, number in seen.items():
        for word in status:
            counts[word] += number
    return counts


def _training(seen: Mapping[_Status, int]) -> TrainingTotals:
    """Each tensor of training state once, by the strongest word in its status."""
    kinds = dict.fromkeys(("added", "removed", "changed", "unchanged", "uncompared"), 0)
    for status, number in seen.items():
        word = status[0]
        kind = "unchanged" if word in ("equal", "identical") else word
        kinds[kind if kind in kinds else "changed"] += number
    return TrainingTotals(**kinds)


@slotted
class _Figures:
    """Sums of what the figures of pairs say."""

    significant: int = 0
    modified: int = 0
    comparable: int = 0
    tolerated: int = 0
    update: float = 0.0  # L2 so far; hypot neither overflows nor keeps a list of 100,000 norms
    base: float = 0.0

    def add(self, change: TensorChange, figures: PairFigures) -> None:
        """Take in one pair."""
        parameter = change.is_parameter
        if parameter:
            self.comparable += element_count(change.spec.shape)
        delta = figures.delta
        if delta is None:
            return
        self.tolerated += delta.tolerated_count
        if "changed" not in change.status or change.role == "training":
            return
        self.significant += change.relative_l2 > SIGNIFICANT_RELATIVE_L2
        if parameter and not figures.as_bytes:
            self.modified += delta.changed_count
        if parameter and (delta.l2 > 0 or delta.nonfinite_count):
            self.update = math.hypot(self.update, delta.l2)
            self.base = math.hypot(self.base, delta.old_l2)


def count_dtypes(specs: Mapping[str, TensorSpec]) -> tuple[tuple[str, int], ...]:
    """Elements by dtype, most first."""
    return count_elements(specs)[1]


def count_elements(specs: Mapping[str, TensorSpec]) -> tuple[int, tuple[tuple[str, int], ...]]:
    """Parameters, and elements by dtype, most first."""
    # Of 100,000 tensors few differ in dtype and shape.
    kinds: dict[tuple[str, tuple[int, ...], bool], int] = {}
    for spec in specs.values():
        kind = (spec.dtype, spec.shape, spec.is_parameter)
        kinds[kind] = kinds.get(kind, 0) + 1
    parameters = 0
    counts: dict[str, int] = {}
    for (dtype, shape, is_parameter), number in kinds.items():
        elements = number * element_count(shape)
        counts[dtype] = counts.get(dtype, 0) + elements
        parameters += elements if is_parameter else 0
    return parameters, tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
