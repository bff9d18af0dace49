"""Judge two opened sides: what can be compared, what can only be judged by the new side, what cannot be judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from diffai.comparison.models import Input, Progress, compare_models
from diffai.comparison.result import CompareOptions
from diffai.errors import SourceError
from diffai.formats.base import Limits
from diffai.frozen import frozen
from diffai.gate import sides
from diffai.gate.approvals import Approval, steps
from diffai.gate.ranges import Words
from diffai.model import Absent, LfsPointer, NotPulled, NotRead, State, Unreadable
from diffai.policy.judging import Case, judge, judge_size
from diffai.policy.rules import Effective
from diffai.policy.structure import structure_change
from diffai.policy.verdicts import FileStatus, Verdict, Violation
from diffai.views.state import describe_state
from diffai.views.style import plural

if TYPE_CHECKING:
    from diffai.config.keys import Remote
    from diffai.finding import Finding

# A gate answers by the policy alone: no tolerance, no ignored names, whatever [compare] in a clone says.
HEADERS = CompareOptions(shape_only=True, find_renames=True, statistics="none")
VALUES = CompareOptions(statistics="all")


@frozen
class Sides:
    """Both sides of a model as they were opened; ``headers``: the values of one may not be read."""

    old: Input
    new: Input
    headers: bool = False


def _options(policy: Effective, request: Request, status: FileStatus, *, headers: bool) -> CompareOptions:
    """What must be compared to judge by this policy."""
    values = (policy.needs_values or request.full) and status != "deleted" and not headers
    size = (policy.values["max_update"] is not None or request.full) and values
    options = replace(VALUES if values else HEADERS, threads=request.threads, update_size=size)
    names = policy.analyses(pair=status != "added") if status != "deleted" else frozenset[str]()
    if not names:
        return options
    from diffai.analyses.run import Asked, with_analyses

    # Thresholds are the built-in ones: what [analyses] in a clone says decides nothing here.
    return with_analyses(options, Asked(names, threads=request.threads))


@frozen
class Standing:
    """What the approvals say of a change: those that let it pass, in their order, and what else to say."""

    approvals: tuple[Approval, ...] = ()
    note: str = ""

    @property
    def shown(self) -> str:
        """Who approved it and why, step by step; "" = nobody."""
        return "; then ".join(approval.shown for approval in self.approvals)


Approve = Callable[[Verdict], Standing]

_ONE_BY_ONE = frozenset({"max_param_change"})
"""Rules that several approvals of small steps do not lift together; only somebody who saw the whole change does."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be judged, and how.

    Attributes:
        words: which sides.
        paths: limit to these, relative to the working directory; empty = everything.
        on_missing: what the command line says; "" = as the policy says, else warn in hooks and fail in CI.
        config_file: a policy file named by the user; "" = the one of the repository.
        threads: worker threads, 0 = as many as help.
        full: compare values even where the policy can be judged by headers (for summaries).
        limits: of reading; torch is never the fallback, because a gate reads what others wrote.
        remote: what may be read from a DVC remote: nothing, headers, or everything.
        fetch: bring the objects that are missing first.
        progress: called while values are read.
    """

    words: Words = field(default_factory=Words)
    paths: tuple[str, ...] = ()
    on_missing: str = ""
    config_file: str = ""
    threads: int = 0
    full: bool = False
    limits: Limits = field(default_factory=lambda: Limits(allow_torch=False))
    remote: Remote = "never"
    fetch: bool = False
    progress: Progress | None = None


def find_approval(verdict: Verdict, approvals: Sequence[Approval]) -> Standing:
    """What the approvals say of the change of a verdict."""
    change = verdict.structure
    mine = [entry for entry in approvals if entry.path == verdict.path]
    if change is None or not mine:
        return Standing()
    found = steps(verdict.path, change, mine)
    if found:
        return Standing(found)
    stale = [entry for entry in mine if entry.new not in (change.old, change.new)]
    if not stale:
        return Standing()
    are = "is" if len(stale) == 1 else "are"
    return Standing(note=f"{plural(len(stale), 'approval')} of this model {are} for another change (stale)")


def judge_sides(
    blank: Verdict, both: Sides, policy: Effective, request: Request, approve: Approve
) -> Verdict | None:
    """Judge two opened sides; what cannot be compared is judged as far as it can be."""
    old, new = both.old, both.new
    if sides.is_nothing(old.state) and sides.is_nothing(new.state):
        return None
    if new.state is not None and not sides.is_nothing(new.state):
        return _unjudged(blank, both, policy)
    if new.checkpoint is None:
        if new.state is not None and not isinstance(new.state, Absent):
            reason = f"it was a model and is none any more: {describe_state(new.state)}"
            return replace(blank, not_judged=reason, must_judge=True)
        blank = replace(blank, status="deleted")
        if old.state is not None:
            return _deleted_unseen(blank, old.state, policy)
    alone = old.state is not None and not sides.is_nothing(old.state)
    if old.checkpoint is None and not alone:
        blank = replace(blank, status="added", old_path="")
    before = Input(old.label, state=Absent()) if old.checkpoint is None else old
    after = new if new.checkpoint is not None else Input(new.label, state=Absent())
    options = _options(policy, request, blank.status, headers=both.headers)
    try:
        diff = compare_models(before, after, options, request.progress)
    except SourceError as error:
        return replace(blank, not_judged=str(error), must_judge=True)
    metadata = new.checkpoint.metadata if new.checkpoint is not None else {}
    diff = replace(diff, findings=tuple(map(_worth_showing, diff.findings)))
    found = judge(Case(diff, blank.status, metadata, alone=alone, headers=both.headers), policy)
    verdict = replace(
        blank, diff=diff, violations=found.violations, allowed=found.allowed, not_judged="; ".join(found.unjudged)
    )
    if alone:
        assert old.state is not None
        foreign = _explicit(policy) if isinstance(old.state, Unreadable) else blank.must_judge
        reason = f"only the new side was judged, not the change; the old side: {describe_state(old.state)}"
        reason = "; ".join([reason, *found.unjudged])
        return replace(verdict, not_judged=reason, missing=old.state, must_judge=foreign)
    change = structure_change(diff, before.checkpoint, after.checkpoint)
    return _with_approval(replace(verdict, structure=change), approve)


def _worth_showing(found: Finding) -> Finding:
    """A finding that the policy named; only one that found something stands in the outputs."""
    said = found.status == "found" and found.severity != "info"
    return found if said else replace(found, asked=False)


def _with_approval(verdict: Verdict, approve: Approve) -> Verdict:
    if not any(violation.approvable for violation in verdict.violations):
        return verdict
    found = approve(verdict)
    if not found.approvals:
        return replace(verdict, note=found.note)
    alone = len(found.approvals) == 1
    violations = tuple(
        replace(v, approved=v.approvable and (alone or v.rule not in _ONE_BY_ONE)) for v in verdict.violations
    )
    return replace(verdict, violations=violations, approval=found.shown)


def _deleted_unseen(blank: Verdict, state: State, policy: Effective) -> Verdict:
    """A deleted pointer: that it is gone can be judged without its bytes, unless tensors in it are guarded."""
    nothing = compare_models(Input("", state=Absent()), Input("", state=Absent()))
    violations = judge(Case(nothing, "deleted", {}), policy).violations
    if not (policy.frozen or policy.protected):
        return replace(blank, violations=violations)
    reason = f"whether it held frozen or protected tensors: {describe_state(state)}"
    return replace(blank, violations=violations, not_judged=reason, missing=state)


def _unjudged(blank: Verdict, both: Sides, policy: Effective) -> Verdict:
    """The new side is not here, or cannot be read."""
    state = both.new.state
    assert state is not None
    violations: tuple[Violation, ...] = ()
    if isinstance(state, LfsPointer | NotPulled) and state.size >= 0:
        violations = judge_size(state.size, policy)
    here = sides.is_missing(state) or sides.is_foreign(state)
    must = blank.must_judge if here else _explicit(policy)
    reason = describe_state(state)
    if isinstance(state, NotRead) and isinstance(both.old.state, NotRead):
        reason += f"; before: {both.old.state.fingerprint}"
    return replace(blank, not_judged=reason, missing=state, violations=violations, must_judge=must)


def _explicit(policy: Effective) -> bool:
    """A broken file must be judged, unless the policy itself says that it need not be."""
    return bool(policy.values["on_missing"] != "warn")
