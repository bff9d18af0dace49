"""Open both sides of a model: pointers resolved, shards found; what only a DVC remote has, as far as the user says."""

from __future__ import annotations

from diffai.formats.base import Limits
from diffai.frozen import frozen
from diffai.model import Absent, DvcPointer, LfsPointer, NotAModel, NotPulled, NotRead, State, Unreadable
from diffai.models.inputs import Input
from diffai.models.reference import ModelRef, open_ref
from diffai.stores.dvc.items import HERE, Reach

#: Codes of content that nothing recognises, under a name that belongs to a format.
_UNRECOGNISED = frozenset({"PT01"})


@frozen
class Opener:
    """How models are opened.

    Attributes:
        limits: of reading; torch is never the fallback, because a gate reads what others wrote.
        reach: what may be read from a DVC remote: nothing, headers, or everything. The user's own word.
    """

    limits: Limits = Limits(allow_torch=False)
    reach: Reach = HERE

    def open(self, model: ModelRef | None) -> tuple[Input, bool]:
        """A side of a comparison, and whether only its header may be read, because its values are far away."""
        side = open_ref(model, self.limits, self.reach)
        return side, side.header_only


def is_missing(state: State | None) -> bool:
    """Whether bytes are known but not here, so that somebody who has them could judge."""
    return isinstance(state, LfsPointer | DvcPointer | NotPulled)


def is_foreign(state: State | None) -> bool:
    """Whether this is content of a format that is not read, known or not."""
    return isinstance(state, NotRead) or (isinstance(state, Unreadable) and state.code in _UNRECOGNISED)


def is_nothing(state: State | None) -> bool:
    """Whether there is no model on this side: no file, or a text of such a name."""
    return isinstance(state, Absent | NotAModel)


def closing(*sides: Input) -> None:
    """Close what was opened."""
    for side in sides:
        if side.checkpoint is not None:
            side.checkpoint.close()
