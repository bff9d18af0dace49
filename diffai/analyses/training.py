"""What happened to training state: optimizer moments and the like, kept beside a model and no part of it."""

from __future__ import annotations

from diffai.comparison.result import ModelDiff
from diffai.frozen import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from diffai.analyses.context import Context
    from diffai.analyses.finding import Finding

    StateKind = Literal["added", "dropped", "changed"]
else:
    StateKind = str

NAME = "training_state"


@frozen
class TrainingState:
    """What happened to it.

    Attributes:
        kind: ``added`` (there was none before), ``dropped`` (there is none left), ``changed``.
        tensors: that came, went or differ.
        values: plain values (epoch, learning rates) that came, went or differ.
    """

    kind: StateKind
    tensors: int
    values: int

    @property
    def text(self) -> str:
        """``dropped (18 tensors)``."""
        parts = [
            f"{count:,} {word}{'' if count == 1 else 's'}"
            for count, word in ((self.tensors, "tensor"), (self.values, "value"))
            if count
        ]
        return f"{self.kind} ({', '.join(parts)})"


def training_state(diff: ModelDiff) -> TrainingState | None:
    """What happened to the training state between two models; None where nothing did."""
    if diff.old.state is not None or diff.new.state is not None:
        return None
    counts = diff.totals.training
    tensors = counts.added + counts.removed + counts.changed
    if not tensors and not diff.training:
        return None
    kind: StateKind = "added" if not diff.old.training else "dropped" if not diff.new.training else "changed"
    return TrainingState(kind, tensors, len(diff.training))


def find(diff: ModelDiff, _context: Context) -> Finding | None:
    """The same as a finding."""
    from diffai.analyses.finding import Finding

    found = training_state(diff)
    if found is None:
        return None
    counts = diff.totals.training
    fields = {
        "change": found.kind, "tensors_added": counts.added, "tensors_removed": counts.removed,
        "tensors_changed": counts.changed, "values": found.values,
    }  # fmt: skip
    return Finding(NAME, "info", "fact", fields, (), found.text)
