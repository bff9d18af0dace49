"""Run the gate: find what changed, judge each model by its policy, collect one report."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from shlex import quote

from diffai.errors import SourceError
from diffai.frozen import replace
from diffai.gate import sides
from diffai.gate.approvals import Approval, read_approvals, read_from_disk
from diffai.gate.changes import APPROVALS, below, from_top, work_prefix
from diffai.gate.judgement import Request, Sides, Standing, find_approval, judge_sides
from diffai.gate.policies import load_named, load_policy, policy_changed
from diffai.gate.ranges import Range, Words, find_range, from_framework
from diffai.model import State
from diffai.models.pairs import ModelPair, Pairs, pairs
from diffai.models.rule import ModelRule
from diffai.policy.rules import Effective, OnMissing, Policy, on_missing
from diffai.policy.verdicts import FileStatus, GateReport, Verdict
from diffai.repository.objects import reader_of
from diffai.repository.runner import GitError, Repository
from diffai.repository.trees import changed_paths
from diffai.stores.dvc.items import HERE, Reach
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
    judge_one = _Gate(repository, request, found, policy)
    changed_models = judge_one.models()
    if found.staged:
        changed_models, merged = _without_merged(repository, changed_models)
        if merged:
            notes.append(f"{plural(merged, 'model')} taken unchanged from the merged branch: not judged again")
    reader_of(repository).announce(_blobs(changed_models))
    verdicts = tuple(verdict for pair in changed_models if (verdict := judge_one.verdict(pair)) is not None)
    verdicts += judge_one.unlooked
    notes += _loosened(verdicts)
    return GateReport(
        found.old.label, found.new.label, policy.source, verdicts, tuple(notes), _commands(words, found, policy),
        os.environ.get("GIT_PREFIX") or work_prefix(repository), ask=policy.ask and judge_one.hooked,
    )  # fmt: skip


def _commands(words: Words, found: Range, policy: Policy) -> dict[str, str]:
    """What the advice of a refusal names."""
    base = "" if found.staged else f" --base {quote(words.base) if words.hook == '' else _cut(found.old.tree)}"
    old, new = (point.word("") if found.staged else f"{_cut(point.tree)}:" for point in (found.old, found.new))
    commands = {
        "approve": f"diffai gate approve {{path}} --why '...'{base}",
        "compare": f"diffai {old}{{old}} {new}{{new}}",
        "model": f"diffai {'--staged' if found.staged else f'{old[:-1]} {new[:-1]}'} -- {{path}}",
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


def _blobs(models: Iterable[ModelPair]) -> Iterator[str]:
    """The blobs of models in the order in which they are opened."""
    for pair in models:
        for model in (pair.old, pair.new):
            for file in model.files if model is not None else ():
                if file.entry is not None and file.entry.is_file and file.entry.oid:
                    yield file.entry.oid


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


def _without_merged(repository: Repository, models: Sequence[ModelPair]) -> tuple[list[ModelPair], int]:
    """A merge in the making brings in what was committed, and judged, on the other branch."""
    try:
        heads = repository.ask("rev-parse", "-q", "--verify", "MERGE_HEAD").decode("ascii").split()
    except GitError:
        return list(models), 0
    differing = {change.path for head in heads for change in changed_paths(repository, head, ":")}
    kept = [pair for pair in models if not differing.isdisjoint(pair.held_by)]
    return kept, len(models) - len(kept)


def _reach(request: Request) -> Reach:
    """What may be brought from DVC's remotes; nothing of them is loaded where nothing may."""
    if request.remote == "never":
        return HERE
    from diffai.stores.dvc.remote import reach_of

    return reach_of(request.remote, request.limits.max_spool)


class _Gate:
    """Judges the models of one range.

    Attributes:
        hooked: a person is about to commit or push; nobody is when CI asks.
        unlooked: what could not be looked at, as verdicts.
    """

    def __init__(self, repository: Repository, request: Request, found: Range, policy: Policy) -> None:
        self._repository, self._request, self._range, self._policy = repository, request, found, policy
        self.hooked = found.staged or bool(request.words.hook) or bool(from_framework(request.words).hook)
        self._missing: OnMissing = "warn" if self.hooked else "fail"
        if request.on_missing in ("warn", "fail"):
            self._missing = "warn" if request.on_missing == "warn" else "fail"
        self._opener = sides.Opener(request.limits, _reach(request))
        self._known: tuple[Approval, ...] | None = None
        self._pending: set[str] = set()
        self._folders: set[str] = set()  # whose other files were told of
        self._base: Policy | None = None
        self.unlooked: tuple[Verdict, ...] = ()

    def models(self) -> list[ModelPair]:
        """What changed, after what is missing was brought where the user asked for that.

        Raises:
            SourceError: a path of the request is neither on disk nor among what changed.
        """
        if self._request.fetch:
            from diffai.stores.fetching import fetch_missing

            fetch_missing(self._states)
        found = self._pairs()
        prefix = work_prefix(self._repository) if self._request.paths else ""
        for path in self._request.paths:
            name = from_top(path, prefix)
            changed = any(pair.touches(name) for pair in found.changed) or any(
                below(entry.name, name) for c in self._range.changes for entry in (c.old, c.new) if entry is not None
            )
            if name != "." and not changed and not os.path.lexists(path):  # a slip of the pen must not look like a pass
                raise SourceError(f"{path}: no such file, and none that changed")
        self.unlooked = tuple(
            Verdict(path, "changed", path, not_judged=reason, must_judge=True) for path, reason in found.problems
        )
        return found.changed

    def _pairs(self) -> Pairs:
        prefix = work_prefix(self._repository) if self._request.paths else ""
        wanted = [from_top(path, prefix) for path in self._request.paths]
        old, new = (point.snapshot(self._repository) for point in (self._range.old, self._range.new))
        return pairs(old, new, ModelRule(self._policy.include, only=False), wanted, reach=self._opener.reach)

    def _states(self) -> Iterator[State | None]:
        for pair in self._pairs().changed:
            for model in (pair.old, pair.new):
                side, _ = self._opener.open(model)
                sides.closing(side)
                yield side.state

    def verdict(self, pair: ModelPair) -> Verdict | None:
        """What the policy says of one model; None when it is a model on neither side."""
        effective = self._effective(pair)
        old_path, new_path = pair.old_path, pair.new_path
        status: FileStatus = "added" if not old_path else "deleted" if not new_path else "changed"
        if status == "changed" and old_path != new_path:
            status = "renamed"
        holder = pair.new or pair.old
        file = holder.held_by[0] if holder is not None and pair.path not in holder.held_by else ""
        blank = Verdict(pair.path, status, old_path, must_judge=self._fails(effective), file=file)
        if pair.unmerged:
            return replace(blank, not_judged="it is in conflict: resolve it and git add it", must_judge=True)
        old, far_old = self._opener.open(pair.old)
        try:
            new, far_new = self._opener.open(pair.new)
            try:
                both = Sides(old, new, far_old or far_new)
                verdict = judge_sides(blank, both, effective, self._request, self._approval)
                if verdict is None:
                    return None
                return replace(self._with_beside(verdict, pair), pending=pair.path in self._pending)
            finally:
                sides.closing(new)
        finally:
            sides.closing(old)

    def _with_beside(self, verdict: Verdict, pair: ModelPair) -> Verdict:
        """What lies beside a model is told of where somebody reads more than a word: in CI, and of what is refused."""
        if verdict.diff is None or not (self._request.full or verdict.refusing):
            return verdict
        from diffai.comparison.directories import with_beside

        rule = ModelRule(self._policy.include, only=False)
        return replace(verdict, diff=with_beside(verdict.diff, pair, self._request.limits, rule, self._folders))

    def _effective(self, pair: ModelPair) -> Effective:
        """What holds for a model. What it may import to be loaded is always the base's word, also for a commit."""
        effective = self._policy.for_path(pair.old_path, pair.new_path)
        if not self._range.staged or self._request.config_file or not effective.values["allow_globals"]:
            return effective
        if self._base is None:
            self._base = load_policy(self._repository, self._range.old)
        before = self._base.for_path(pair.old_path, pair.new_path).values["allow_globals"]
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
