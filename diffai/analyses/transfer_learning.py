"""What was frozen and what was trained, by depth: the shape of a transfer of one model to another task."""

from __future__ import annotations

from diffai.analyses.finding import Finding, counted, not_computed, nothing
from diffai.analyses.fine_tune import fine_tuned
from diffai.analyses.resizes import layers_in
from diffai.analyses.second_pass import rounded
from diffai.analyses.update import is_moved
from diffai.comparison.result import ModelDiff, TensorChange
from diffai.frozen import slotted
from diffai.model import element_count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from diffai.analyses.context import Context
    from diffai.finding import Fields

NAME = "transfer_learning"

_SHOWN = 3


@slotted
class Part:
    """A layer or a module: parameters that both sides have in one shape, those that did not change, and new ones."""

    name: str
    parameters: int = 0
    frozen: int = 0
    added: int = 0

    def add(self, change: TensorChange) -> None:
        """Count one tensor."""
        size = element_count(change.spec.shape)
        if change.old is None or "reshaped" in change.status:
            self.added += size
            return
        self.parameters += size
        self.frozen += 0 if is_moved(change) else size

    @property
    def share(self) -> float | None:
        """Share of its parameters that did not change; None where all of it is new."""
        return self.frozen / self.parameters if self.parameters else None


def find(diff: ModelDiff, context: Context) -> Finding | None:
    """The frozen share, of the whole and by depth."""
    if not (context.asked or _is_fine_tune(diff)):
        return None
    changes = [change for change in diff.tensors if change.new is not None and change.is_parameter]
    if any("uncompared" in change.status or (_is_pair(change) and change.figures is None) for change in changes):
        return not_computed(NAME, "values were not compared, so that nothing is known to be frozen")
    stack = _stack(changes)
    layers: dict[int, Part] = {}
    others: dict[str, Part] = {}
    for change in changes:
        depth = dict(layers_in(change.name)).get(stack) if stack else None
        if depth is not None:
            layers.setdefault(depth, Part(f"{stack}.{depth}")).add(change)
        else:
            name = _module(change.name)
            others.setdefault(name, Part(name)).add(change)
    parts = [*(layers[depth] for depth in sorted(layers)), *others.values()]
    parameters, frozen = sum(part.parameters for part in parts), sum(part.frozen for part in parts)
    if not parameters:
        return nothing(NAME, "no parameter has the same shape on both sides")
    fields: Fields = {
        "frozen_share": rounded(frozen / parameters), "frozen": frozen, "parameters": parameters,
        "new_parameters": sum(part.added for part in parts), "stack": stack or None,
        "by_depth": tuple(_row(layers[depth], depth) for depth in sorted(layers)),
        "elsewhere": tuple(_row(part) for part in others.values()),
    }  # fmt: skip
    evidence = () if stack else ("no stack of numbered layers: depth is not recorded",)
    return Finding(NAME, "info", "fact", fields, evidence, _text(frozen / parameters, parts))


def _is_pair(change: TensorChange) -> bool:
    return change.old is not None and change.new is not None and change.old.shape == change.new.shape


def _is_fine_tune(diff: ModelDiff) -> bool:
    """Whether a part was left alone that is large enough to speak of without being asked."""
    if diff.old.state is not None or diff.new.state is not None:
        return False
    changes = [change for change in diff.tensors if change.role == "weight"]
    return fine_tuned(diff, changes, [change for change in changes if "changed" in change.status]) is not None


def _stack(changes: Iterable[TensorChange]) -> str:
    """The stack of numbered layers that holds most parameters; "" where there is none."""
    sizes: dict[str, int] = {}
    for change in changes:
        for stack, _ in layers_in(change.name):
            sizes[stack] = sizes.get(stack, 0) + element_count(change.spec.shape)
            break  # the outermost
    return max(sizes, key=lambda stack: (sizes[stack], stack), default="")


def _module(name: str) -> str:
    return name.rpartition(".")[0] or name


def _row(part: Part, depth: int | None = None) -> Fields:
    share = rounded(part.share) if part.share is not None else None
    row: Fields = {"name": part.name, "frozen_share": share, "parameters": part.parameters, "new": part.added}
    return row if depth is None else {"depth": depth, **row}


def _text(share: float, parts: Sequence[Part]) -> str:
    moved = [part.name for part in parts if part.share is not None and part.share < 1]
    new = [part.name for part in parts if part.added]
    whole = sum(part.share == 1 for part in parts)
    if share == 1:
        text = "all parameters frozen"
    elif not share:
        text = "no parameter frozen"
    else:
        text = f"{_percent(share)} of parameters frozen, {whole:,} of {counted(len(parts), 'part')} whole"
        text += f"; moved: {_some(moved)}"
    return f"{text}; new: {_some(new)}" if new else text


def _some(names: Sequence[str]) -> str:
    if len(names) <= _SHOWN:
        return ", ".join(names)
    return f"{', '.join(names[: _SHOWN - 1])} and {len(names) - _SHOWN + 1:,} more"


def _percent(share: float) -> str:
    """A share of some, not all: one that rounds to all or nothing says neither."""
    shown = f"{share:.1%}"
    return "over 99.9%" if shown == "100.0%" else "under 0.1%" if shown == "0.0%" else shown
