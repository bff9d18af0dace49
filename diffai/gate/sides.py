"""Open both sides of a model: pointers resolved, shards found; what only a DVC remote has, as far as the user says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffai.errors import FormatError, SourceError
from diffai.formats.base import Limits
from diffai.frozen import frozen, replace
from diffai.model import Absent, DvcPointer, LfsPointer, NotAModel, NotPulled, NotRead, State, Unreadable
from diffai.models.inputs import Input, as_input, unreadable
from diffai.models.reference import ModelRef, open_ref

if TYPE_CHECKING:
    from diffai.config.keys import Remote


#: Codes of content that nothing recognises, under a name that belongs to a format.
_UNRECOGNISED = frozenset({"PT01"})


@frozen
class Opener:
    """How models are opened.

    Attributes:
        limits: of reading; torch is never the fallback, because a gate reads what others wrote.
        remote: what may be read from a DVC remote: nothing, headers, or everything. The user's own word.
    """

    limits: Limits = Limits(allow_torch=False)
    remote: Remote = "never"

    def open(self, model: ModelRef | None) -> tuple[Input, bool]:
        """A side of a comparison, and whether only its header may be read, because its values are far away."""
        side = open_ref(model, self.limits)
        item = model.files[0].item if model is not None and len(model.files) == 1 else None
        if self.remote == "never" or item is None or not is_missing(side.state):
            return side, False
        from diffai.stores.dvc.items import open_item
        from diffai.stores.dvc.remote import remote_fetch

        try:
            found = open_item(item, fetch=remote_fetch(self.remote, self.limits.max_spool))
            headers = found.where == "remote" and self.remote == "header"
            limits = replace(self.limits, values=False) if headers else self.limits
            return as_input(found.opened, limits, label=side.label), headers
        except (SourceError, FormatError) as error:
            return Input(side.label, state=unreadable(error)), False


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
