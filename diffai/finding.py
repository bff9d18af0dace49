"""What an analysis says, as frozen data: every output shows findings, and none works them out again."""

from __future__ import annotations

from collections.abc import Mapping

from diffai.frozen import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Severity = Literal["info", "notice", "warning", "critical"]
    Basis = Literal["fact", "estimate"]
    Status = Literal["found", "nothing", "not computed"]
    Fields = Mapping[str, "Value"]
    Value = str | int | float | bool | None | tuple["Value", ...] | Fields
else:
    Severity = Basis = Status = Value = Fields = str

SEVERITIES: tuple[Severity, ...] = ("info", "notice", "warning", "critical")
"""From the least to the most."""


@frozen
class Finding:
    """One finding.

    Attributes:
        name: of the analysis, as in the table: ``non_finite``.
        severity: how much it matters: one of :data:`SEVERITIES`.
        basis: ``fact`` where it was computed from the files, ``estimate`` where it rests on an assumption that
            ``evidence`` names.
        fields: the figures, by name; None where something that was needed is not there, which ``evidence`` says.
        evidence: what it rests on: names of tensors, inputs that were missing, assumptions.
        text: one plain line, without the name.
        notes: what is said whatever else is left out: a cap that acted, a threshold that a committed file loosened.
        status: ``nothing`` where an analysis that was asked for has nothing to say of the pair; ``not computed`` where
            it could not be computed, with the reason in ``text``.
        asked: its flag was given: every output shows it.
    """

    name: str
    severity: Severity
    basis: Basis
    fields: Fields
    evidence: tuple[str, ...] = ()
    text: str = ""
    notes: tuple[str, ...] = ()
    status: Status = "found"
    asked: bool = False

    @property
    def serious(self) -> bool:
        """Whether it is a warning or worse."""
        return SEVERITIES.index(self.severity) >= SEVERITIES.index("warning")
