"""Run the gate: find what changed, judge each model by its policy, collect one report."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from shlex import quote

from diffai.frozen import replace
from diffai.gate import sides
from diffai.gate.approvals import Approval, read_approvals, read_from_disk
from diffai.gate.changes import APPROVALS, changed_entries, sought, within, work_prefix
from diffai.gate.judgement import Request, Standing, find_approval, judge_sides
from diffai.gate.policies import load_named, load_policy, policy_changed
from diffai.gate.ranges import Range, Words, find_range, from_framework
from diffai.gate.tracked import expand_pointers
from diffai.gate.units import Unit, units_of
from diffai.policy.rules import Effective, OnMissing, Policy, on_missing
from diffai.policy.verdicts import GateReport, Verdict
from diffai.repository.runner import GitError, Repository
from diffai.views.style import plural


def run_gate(request: Request) -> GateReport:
    """Judge the index, or a range.

    Raises:
        UsageError: the policy or the approvals are wrong.
        SourceError: no repository, no such revision, a shallow clone.
    """
    repository = Repository()
    words = from_framework(request.words)
    found = find_range(repository, words)
    policy = load_named(request.config_file) if request.config_file else load_policy(repository, found.policy)
    notes = [found.note] if found.note else []
    changed = policy_changed(repository, found.old, found.new)
    if changed:
        used = "it is judged by the new one" if found.staged else f"it is judged by that of {found.policy.label}"
        notes.append(f"the policy itself changes ({changed}): {used}")
    prefix = work_prefix(repository) if request.paths else ""
    units = units_of(within(found.changes, request.paths, prefix), policy.include)
    wanted = sought(found.changes, request.paths, prefix)
    if found.staged:
        units, merged = _without_merged(repository, units)
        if merged:
            notes.append(f"{plural(merged, 'model')} taken unchanged from the merged branch: not judged again")
    hooked = found.staged or bool(words.hook)
    judge_one = _Gate(repository, request, found, policy, "warn" if hooked else "fail")
    models = expand_pointers(units, found.old, found.new, wanted)
    verdicts = tuple(verdict for unit in models if (verdict := judge_one.verdict(unit)) is not None)
    notes += _loosened(verdicts)
    return GateReport(
        found.old.label, found.new.label, policy.source, verdicts, tuple(notes), _commands(words, found, policy),
        os.environ.get("GIT_PREFIX") or work_prefix(repository), ask=policy.ask and hooked,
    )  # fmt: skip


def _commands(words: Words, found: Range, policy: Policy) -> dict[str, str]:
    """What the advice of a refusal names."""
    base = "" if found.staged else f" --base {quote(words.base) if words.hook == '' else _cut(found.old.tree)}"
    old, new = (point.word("") if found.staged else f"{_cut(point.tree)}:" for point in (found.old, found.new))
    commands = {
        "approve": f"diffai gate approve {{path}} --why '...'{base}",
        "compare": f"diffai {old}{{old}} {new}{{new}}",
        "old": f"diffai show {old}{{old}}",
        "new": f"diffai show {new}{{new}}",
    }
    if found.staged:
        commands |= {"skip": "DIFFAI_GATE=off git commit ...", "stage": f"git add :/{APPROVALS}"}
    elif words.hook:
        commands["skip"] = "DIFFAI_GATE=off git push ..."
    file = policy.source.removesuffix(" (not tracked)").rpartition(":")[2] or ".diffai.toml"
    commands["policy"] = file if found.staged else f"{file} (that of {found.policy.label} counts)"
    return commands


def _loosened(verdicts: Iterable[Verdict]) -> list[str]:
    """What passes only because the policy is looser than the built-in one, rule by rule."""
    found: dict[tuple[str, str], list[str]] = {}
    for verdict in verdicts:
        for rule, origin in dict.fromkeys((v.rule, v.origin) for v in verdict.allowed):
            found.setdefault((rule, origin), []).append(verdict.path)
    return [
        f"allowed by {origin}, though not by default: {rule} in "
        f"{paths[0] if len(paths) == 1 else plural(len(paths), 'model')}"
        for (rule, origin), paths in found.items()
    ]


def _without_merged(repository: Repository, units: Sequence[Unit]) -> tuple[list[Unit], int]:
    """A merge in the making brings in what was committed, and judged, on the other branch."""
    try:
        heads = repository.ask("rev-parse", "-q", "--verify", "MERGE_HEAD").decode("ascii").split()
    except GitError:
        return list(units), 0
    differing = {change.path for head in heads for change in changed_entries(repository, head, "")}
    kept = [unit for unit in units if unit.sharded or unit.path in differing]
    return kept, len(units) - len(kept)


class _Gate:
    """Judges the models of one range."""

    def __init__(
        self, repository: Repository, request: Request, found: Range, policy: Policy, missing: OnMissing
    ) -> None:
        self._repository, self._request, self._range, self._policy = repository, request, found, policy
        self._missing: OnMissing = "fail" if request.on_missing == "fail" else missing
        if request.on_missing == "warn":
            self._missing = "warn"
        self._opener = sides.Opener(repository, request.limits)
        self._known: tuple[Approval, ...] | None = None
        self._pending: set[str] = set()
        self._base: Policy | None = None

    def verdict(self, unit: Unit) -> Verdict | None:
        """What the policy says of one model; None when it is a model on neither side."""
        effective = self._effective(unit)
        blank = Verdict(unit.path, unit.status, unit.old_path, must_judge=self._fails(effective), file=unit.file)
        if unit.unmerged:
            return replace(blank, not_judged="it is in conflict: resolve it and git add it", must_judge=True)
        old = self._opener.old(unit, self._range.old)
        try:
            new = self._opener.new(unit, self._range.new)
            try:
                verdict = judge_sides(blank, old, new, effective, self._request, self._approval)
                return replace(verdict, pending=unit.path in self._pending) if verdict is not None else None
            finally:
                sides.closing(new)
        finally:
            sides.closing(old)

    def _effective(self, unit: Unit) -> Effective:
        """What holds for a model. What it may import to be loaded is always the base's word, also for a commit."""
        effective = self._policy.for_path(unit.old_path, unit.new_path)
        if not self._range.staged or self._request.config_file or not effective.values["allow_globals"]:
            return effective
        if self._base is None:
            self._base = load_policy(self._repository, self._range.old)
        before = self._base.for_path(unit.old_path, unit.new_path).values["allow_globals"]
        both = tuple(name for name in effective.values["allow_globals"] if name in before)
        return replace(effective, values={**effective.values, "allow_globals": both})

    def _fails(self, effective: Effective) -> bool:
        chosen = on_missing(effective, self._missing) if not self._request.on_missing else self._missing
        return chosen == "fail"

    def _approval(self, verdict: Verdict) -> Standing:
        if self._known is None:
            self._known = read_approvals(self._repository, self._range.new)
        found = find_approval(verdict, self._known)
        if not found.approvals and verdict.refusing and self._range.staged:
            on_disk = find_approval(verdict, read_from_disk(self._repository))
            if on_disk.approvals:
                self._pending.add(verdict.path)
                return Standing(note=f"it is approved in {on_disk.approvals[0].file}, but that is not staged")
        return found


def _cut(oid: str) -> str:
    return oid[:12] if len(oid) >= 40 else oid
