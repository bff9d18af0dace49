"""``diffai gate approve``: record that somebody looked at exactly this structure change, and let it pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from diffai.comparison.models import compare_models
from diffai.errors import UsageError
from diffai.gate import sides
from diffai.gate.approvals import Approval, add_approvals, author, read_from_disk, steps
from diffai.gate.changes import APPROVALS, Point
from diffai.gate.check import run_gate
from diffai.gate.judgement import HEADERS, Request
from diffai.gate.units import Unit
from diffai.model import Absent
from diffai.policy.structure import StructureChange, structure_change
from diffai.policy.verdicts import Verdict
from diffai.repository.runner import Repository
from diffai.views.lines import tensor_line
from diffai.views.style import escape

_MOST_CHANGES = 5


def approve(request: Request, why: str) -> list[str]:
    """Record the structure changes of the models at the request's paths; returns the lines to print.

    Raises:
        UsageError: nothing there needs an approval, or it cannot be approved because it cannot be compared.
        SourceError: no repository, no such revision.
    """
    repository = Repository()
    report = run_gate(request)
    if not report.verdicts:
        where = "between these revisions" if request.words.base else "staged"
        hint = "" if request.words.base else "; stage it with git add, or name a range: --base REV"
        raise UsageError(f"no model changes at {', '.join(request.paths)} {where}{hint}")
    broken = [verdict for verdict in report.verdicts if verdict.structure is None]
    if broken:
        raise UsageError(f"{broken[0].path}: cannot be approved, because it was not compared: {broken[0].not_judged}")
    open_ = [verdict for verdict in report.verdicts if any(v.approvable and not v.approved for v in verdict.violations)]
    if not open_:
        already = [verdict for verdict in report.verdicts if verdict.approval]
        if already:
            first = already[0]
            return [f"{escape(first.path)}: {escape(first.approval, longest=300)} already; nothing was written"]
        raise UsageError(
            f"{report.verdicts[0].path}: nothing to approve: the policy does not forbid a change of structure in it"
            " (what is no structure, such as NaN or a size, is allowed by the policy alone)"
        )
    who, day = author(repository)
    written = add_approvals(repository, [_entry(verdict, who, day, why) for verdict in open_])
    lines = [f"approved: {escape(verdict.shown)}" for verdict in open_]
    for verdict in open_:
        rest = [v for v in verdict.refusing if not v.approvable]
        lines += [f"  ! still refused: {v.rule}: {escape(v.message, longest=300)}" for v in rest]
    when = "committed" if request.words.base else "staged"
    it = "it counts once it is" if len(written) == 1 else "they count once they are"
    return [*lines, *(f"written to {path}" for path in written), f"{it} {when}: git add :/{APPROVALS}"]


def _entry(verdict: Verdict, who: str, day: str, why: str) -> Approval:
    assert verdict.structure is not None
    changes = [change for v in verdict.violations if v.approvable for change in v.changes]
    unique = list(dict.fromkeys(tensor_line(change) for change in changes))
    what = "; ".join(unique[:_MOST_CHANGES])
    if len(unique) > _MOST_CHANGES:
        what += f"; and {len(unique) - _MOST_CHANGES:,} more"
    return Approval(verdict.path, verdict.structure.old, verdict.structure.new, who, day, why, what or verdict.status)


def list_lines(request: Request) -> list[str]:
    """Every approval of the work tree: open, used up, or stale, judged by the model at HEAD.

    Raises:
        UsageError: a file among them is none of ours.
    """
    repository = Repository()
    entries = read_from_disk(repository)
    if not entries:
        return [f"no approvals ({APPROVALS} has none)"]
    at_head: dict[str, str] = {}
    lines = []
    for entry in entries:
        if entry.path not in at_head:
            at_head[entry.path] = _structure_at_head(repository, entry.path, request)
        lines += [f"{escape(entry.path)}: {_standing(entry, at_head[entry.path], entries)}",
                  f"  {escape(entry.shown, longest=300)}",
                  *([f"  {escape(entry.what, longest=500)}"] if entry.what else [])]  # fmt: skip
    return lines


def _standing(entry: Approval, now: str, entries: Sequence[Approval]) -> str:
    if now == entry.old:
        return "open (the change is not committed yet)"
    if now and (now == entry.new or steps(entry.path, StructureChange(entry.new, now), entries)):
        return f"used (the change is committed; {entry.file} may go)"
    if not now:
        return "unknown (the model at HEAD cannot be read here)"
    return f"STALE (the model at HEAD is neither the old nor the new one; {entry.file} may go)"


def _structure_at_head(repository: Repository, path: str, request: Request) -> str:
    """Fingerprint of the model at HEAD, ``absent``, or "" when it is not known."""
    opener = sides.Opener(repository, request.limits)
    unit = Unit(path, path, sharded=True)  # found by its name, whatever it is
    side = opener.old(unit, Point(repository.commit("HEAD"), "HEAD"))
    try:
        if side.checkpoint is None and not sides.is_nothing(side.state):
            return ""
        before = side if side.checkpoint is not None else replace(side, state=Absent())
        nothing = replace(before, checkpoint=None, state=Absent())
        return structure_change(compare_models(before, nothing, HEADERS), before.checkpoint, None).old
    finally:
        sides.closing(side)


