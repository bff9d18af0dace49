"""An optimizer's slots: moments and the like, and which parameter each of them is of.

torch numbers the slots in the order in which the parameters were given, and names none. The order of a model's tensors
in its file is mostly the same; so slots are mapped by order, and their shapes must all fit. That is an estimate, and
where it does not fit in exactly one way nothing is mapped. Where an optimizer names its slots, the name is a fact.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

from diffai.comparison.result import ModelDiff, TensorChange
from diffai.frozen import frozen
from diffai.model import Statistics, TensorSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Which = Literal["old", "new"]
else:
    Which = str

FIRST_MOMENT, SECOND_MOMENT, MOMENTUM = "exp_avg", "exp_avg_sq", "momentum_buffer"

_SLOT = re.compile(
    r"(.*?\.)??state\.(.+)\."
    r"(exp_avg|exp_avg_sq|max_exp_avg_sq|exp_avg_sq_row|exp_avg_sq_col|row_var|col_var|variance|momentum_buffer"
    r"|square_avg|acc_delta|sum)"
)


@frozen
class Slot:
    """One slot.

    Attributes:
        change: its tensor.
        kind: ``exp_avg``, ``exp_avg_sq``, ``momentum_buffer``, ...
        number: of its parameter among those of the optimizer; -1 where it has a name.
        parameter: the parameter it is of; "" where that is not known.
        named: whether the optimizer names it, so that this is a fact.
    """

    change: TensorChange
    kind: str
    number: int
    parameter: str = ""
    named: bool = False


@frozen
class Slots:
    """All slots of one side in order, and why they are not mapped to parameters; "" where they are."""

    slots: tuple[Slot, ...] = ()
    reason: str = ""

    def of(self, kind: str) -> tuple[Slot, ...]:
        """Those of one kind."""
        return tuple(slot for slot in self.slots if slot.kind == kind)


def slots(diff: ModelDiff, which: Which, order: Sequence[str] = ()) -> Slots:
    """The slots that one side keeps.

    Args:
        diff: the comparison.
        which: its side.
        order: names of the side's tensors in the order of its file, where that is at hand; else the places of their
            bytes say it.
    """
    found: list[Slot] = []
    for change in diff.tensors:
        spec = _spec(change, which)
        match = _SLOT.fullmatch(spec.name) if spec is not None and change.role == "training" else None
        if match is not None:
            found.append(Slot(change, match[3], int(match[2])) if match[2].isdigit() else
                         Slot(change, match[3], -1, match[2], named=True))  # fmt: skip
    if not found or found[0].named:
        names = {change.name for change in diff.tensors if change.role == "weight"}
        return Slots(tuple(slot for slot in found if slot.parameter in names))
    found.sort(key=lambda slot: slot.number)
    return _mapped(found, _parameters(diff, which, order), _group_sizes(diff, which), which)


def _spec(change: TensorChange, which: Which) -> TensorSpec | None:
    return change.old if which == "old" else change.new


def _parameters(diff: ModelDiff, which: Which, order: Sequence[str]) -> list[TensorSpec]:
    """The parameters of a side in the order of its file; none where that is not known."""
    found = {s.name: s for change in diff.tensors if (s := _spec(change, which)) is not None and s.is_parameter}
    if order:
        return [found[name] for name in order if name in found]
    if any(spec.offset < 0 for spec in found.values()):
        return []
    return sorted(found.values(), key=lambda spec: (spec.file, spec.offset))


def _group_sizes(diff: ModelDiff, which: Which) -> list[int]:
    """How many parameters each group of the optimizer has; [] where that is not recorded."""
    series = (diff.old if which == "old" else diff.new).series
    sizes = {path: len(numbers) for path, numbers in series if re.search(r"(^|\.)param_groups\.\d+\.params$", path)}
    return [sizes[path] for path in sorted(sizes, key=lambda path: int(path.split(".")[-2]))]


def _mapped(found: Sequence[Slot], parameters: list[TensorSpec], sizes: list[int], which: Which) -> Slots:
    """The slots with the parameters they are of, by order and shape."""
    shapes = _shapes(found, which)
    reason = ""
    if len({slot.change.spec.name.partition("state.")[0] for slot in found}) > 1:
        reason = "there is more than one optimizer"
    elif not shapes or not parameters:
        reason = "the order of its parameters is not known"
    else:
        for candidate in _candidates(parameters, sizes, shapes):
            if all(n < len(candidate) and candidate[n].shape == shape for n, shape in shapes.items()):
                names = {number: candidate[number].name for number in shapes}
                return Slots(tuple(Slot(s.change, s.kind, s.number, names.get(s.number, "")) for s in found))
        reason = "slots and parameters do not fit by order and shape"
    return Slots(tuple(found), reason)


_ROWS, _COLUMNS = ("exp_avg_sq_row", "row_var"), ("exp_avg_sq_col", "col_var")


def _shapes(found: Sequence[Slot], which: Which) -> dict[int, tuple[int, ...]]:
    """The shapes of parameters by number, as their slots have them.

    Adafactor keeps the second moment of a matrix as one of its rows and one of its columns (Shazeer, Stern 2018); torch
    keeps these with an axis of length 1, transformers without.
    """
    whole: dict[int, tuple[int, ...]] = {}
    rows: dict[int, tuple[int, ...]] = {}
    columns: dict[int, tuple[int, ...]] = {}
    for slot in found:
        spec = _spec(slot.change, which)
        assert spec is not None
        kept = rows if slot.kind in _ROWS else columns if slot.kind in _COLUMNS else whole
        kept.setdefault(slot.number, spec.shape)
    for number, row in rows.items():
        column = columns.get(number)
        if column:
            whole.setdefault(number, (row[:-1] if len(row) == len(column) and row[-1:] == (1,) else row) + column[-1:])
    return whole


def _candidates(
    parameters: list[TensorSpec], sizes: list[int], shapes: dict[int, tuple[int, ...]]
) -> Iterator[list[TensorSpec]]:
    """Orders in which the parameters may have been given to the optimizer."""
    count = sum(sizes) or max(shapes) + 1
    if count == len(parameters):
        if len(sizes) == 2:  # most often the one with weight decay, and the one without: biases and norms
            for rule in (_is_vector, _is_bias_or_norm):
                apart = [[s for s in parameters if rule(s) is which] for which in (False, True)]
                for groups in (apart, apart[::-1]):
                    if [len(group) for group in groups] == sizes:
                        yield [spec for group in groups for spec in group]
        yield parameters
    elif count < len(parameters):  # only some are trained: a run of them, if it is the only one that fits
        runs = [
            run for start in range(len(parameters) - count + 1)
            if all((run := parameters[start : start + count])[n].shape == shape for n, shape in shapes.items())
        ]  # fmt: skip
        if len(runs) == 1:
            yield runs[0]


def _is_vector(spec: TensorSpec) -> bool:
    return len(spec.shape) < 2


def _is_bias_or_norm(spec: TensorSpec) -> bool:
    return spec.name.endswith("bias") or "norm" in spec.name.lower() or ".ln" in f".{spec.name.lower()}"


def norm_on(change: TensorChange, which: Which) -> float | None:
    """L2 of the finite elements of a tensor on one side; None where it was not computed."""
    figures = change.figures
    if figures is not None and figures.delta is not None:
        return figures.delta.old_l2 if which == "old" else figures.delta.new_l2
    if figures is not None and figures.norm is not None:
        return figures.norm
    found = statistics_on(change, which)
    if found is None or found.mean is None or found.std is None:
        return None
    finite = found.element_count - found.nan_count - found.pos_inf_count - found.neg_inf_count
    return math.sqrt(finite) * math.hypot(found.mean, found.std)


def statistics_on(change: TensorChange, which: Which) -> Statistics | None:
    """Statistics of a tensor on one side; None where they were not computed."""
    figures, summary = change.figures, change.old_summary if which == "old" else change.new_summary
    if figures is not None:
        return figures.old_statistics if which == "old" else figures.new_statistics
    return summary.statistics if summary is not None else None
