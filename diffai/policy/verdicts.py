"""What the gate found, as frozen data: one verdict a model, and the whole report that every output is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from diffai.comparison.result import ModelDiff, TensorChange, ValueChange
from diffai.frozen import frozen
from diffai.model import State
from diffai.policy.structure import StructureChange

FileStatus = Literal["added", "deleted", "renamed", "changed"]
Outcome = Literal["pass", "warn", "approved", "refused", "not judged"]


@frozen
class Violation:
    """One rule that a change breaks.

    Attributes:
        rule: the key of the policy, such as ``structure.reshaped``.
        level: ``forbid`` refuses, ``warn`` is only said, ``allow`` is what the policy lets pass though the built-in
            one does not.
        message: what happened, with figures: ``2 tensors reshaped``.
        origin: where the rule is written; ``default`` for the built-in policy.
        changes: the tensors it is about, strongest first.
        values: metadata keys it is about.
        approvable: whether an approval of the structure change can let it pass.
        approved: an approval did so.
    """

    rule: str
    level: Literal["warn", "forbid", "allow"]
    message: str
    origin: str = "default"
    changes: tuple[TensorChange, ...] = ()
    values: tuple[ValueChange, ...] = ()
    approvable: bool = False
    approved: bool = False


@frozen
class Verdict:
    """What the gate says of one model.

    Attributes:
        path: of the new side, or of the old one where there is no new side; from the top of the repository.
        old_path: where it stood before; differs from ``path`` for a renamed model, "" for an added one.
        diff: the comparison; None where it could not be made.
        violations: broken rules, forbidden ones first.
        allowed: what the built-in policy would have refused or warned of, and this one allows.
        not_judged: why a part or all of it could not be judged; "" = all of it was.
        missing: the state behind ``not_judged``, where an object is not here.
        must_judge: whether not judging it is an error (``on_missing = "fail"``).
        structure: fingerprints of both sides, where both are known.
        approval: who approved the change and why; "" = nobody.
        note: an approval that is for another change, and the like.
        pending: it is approved in the work tree's file, which is not staged.
        file: the file that git knows where that is not ``path``: the pointer of a model that DVC tracks.
    """

    path: str
    status: FileStatus
    old_path: str = ""
    diff: ModelDiff | None = None
    violations: tuple[Violation, ...] = ()
    allowed: tuple[Violation, ...] = ()
    not_judged: str = ""
    missing: State | None = None
    must_judge: bool = False
    structure: StructureChange | None = None
    approval: str = ""
    note: str = ""
    pending: bool = False
    file: str = ""

    @property
    def refusing(self) -> tuple[Violation, ...]:
        """Violations that refuse the change."""
        return tuple(v for v in self.violations if v.level == "forbid" and not v.approved)

    @property
    def warnings(self) -> tuple[Violation, ...]:
        """Violations that are only said."""
        return tuple(v for v in self.violations if v.level == "warn" and not v.approved)

    @property
    def outcome(self) -> Outcome:
        """The strongest of what was found."""
        if self.refusing:
            return "refused"
        if self.not_judged:
            return "not judged"
        if self.warnings:
            return "warn"
        return "approved" if any(v.approved for v in self.violations) else "pass"

    @property
    def shown(self) -> str:
        """Its path, or ``old -> new``."""
        renamed = self.old_path and self.old_path != self.path
        return f"{self.old_path} -> {self.path}" if renamed else self.path


@dataclass(frozen=True, slots=True)
class GateReport:
    """What the gate found in one commit or range.

    Attributes:
        old, new: how people name both sides: ``HEAD``, ``the index``, ``main (merge base 1a2b3c4)``.
        policy: where the policy was read; "" = built in.
        verdicts: one a changed model.
        notes: what else a reader must know: a changed policy, stale approvals, models taken over by a merge.
        commands: commands for the advice, by purpose, with ``{path}``, ``{old}`` and ``{new}`` to be filled in.
        folder: where the user is, from the top of the repository; "" at the top.
        ask: whether a person at a terminal may let a refused change pass.
        asked: a person was asked, and said this; "" = nobody was asked.
        failure: why nothing could be judged at all (no base, a shallow clone, a broken policy); "" = it could.
    """

    old: str
    new: str
    policy: str = ""
    verdicts: tuple[Verdict, ...] = ()
    notes: tuple[str, ...] = ()
    commands: Mapping[str, str] = field(default_factory=dict)
    folder: str = ""
    ask: bool = False
    asked: Literal["", "yes", "no"] = ""
    failure: str = ""

    def count(self, outcome: Outcome) -> int:
        """Number of models with this outcome."""
        return sum(verdict.outcome == outcome for verdict in self.verdicts)

    @property
    def unjudged(self) -> int:
        """Models that could not be judged in full, though they must be."""
        return sum(bool(verdict.not_judged) and verdict.must_judge for verdict in self.verdicts)

    @property
    def exit_code(self) -> int:
        """2 could not judge, 1 refused, 0 pass; a person's yes passes what was judged."""
        if self.unjudged or self.failure:
            return 2
        return 1 if self.count("refused") and self.asked != "yes" else 0
