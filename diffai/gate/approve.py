"""``diffai gate approve``: record that somebody looked at exactly this structure change, and let it pass."""

from __future__ import annotations

from collections.abc import Sequence

from diffai.comparison.models import compare_models
from diffai.errors import UsageError
from diffai.gate import sides
from diffai.gate.approvals import Approval, add_approvals, author, read_from_disk, steps
from diffai.gate.changes import APPROVALS, Point, empty_tree
from diffai.gate.check import run_gate
from diffai.gate.judgement import HEADERS, Request
from diffai.model import Absent
from diffai.models.inputs import Input
from diffai.models.pairs import pairs
from diffai.models.rule import ModelRule
from diffai.policy.structure import ABSENT, StructureChange, structure_change
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
    at_head = _structures_at_head(repository, {entry.path for entry in entries}, request)
    lines = []
    for entry in entries:
        lines += [f"{escape(entry.path)}: {_standing(entry, at_head.get(entry.path, ABSENT), entries)}",
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


def _structures_at_head(repository: Repository, paths: set[str], request: Request) -> dict[str, str]:
    """Fingerprints of the models at HEAD by path; "" where it is not known, and none where there is no model."""
    head = Point(repository.commit("HEAD"), "HEAD")
    nothing = Point(empty_tree(repository), "nothing")
    rule = ModelRule(tuple(paths), only=False)
    found = {}
    for pair in pairs(nothing.snapshot(repository), head.snapshot(repository), rule, sorted(paths)).changed:
        side, _ = sides.Opener(request.limits).open(pair.new)
        try:
            if side.checkpoint is not None:
                diff = compare_models(Input("", state=Absent()), side, HEADERS)
                found[pair.path] = structure_change(diff, None, side.checkpoint).new
            elif not sides.is_nothing(side.state):
                found[pair.path] = ""
        finally:
            sides.closing(side)
    return found
