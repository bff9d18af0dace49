"""Values of the coming commits of a walk, computed together, so that each version is read once and none is copied.

A version is wanted up to four times: compared with the one before and with the one after, for the turn of the update
after that, and, when it is the first, for every drift. Read abreast, all of these are fed from one reading. What
cannot be read forward (packed as a delta, a torch archive, tensors in another order) and what needs digests first
(tensors that may be renamed) is left to the walk, which then copies these versions to private temporary files.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

from diffai.analyses.update import Norms, UpdateSize, size_of
from diffai.comparison.models import Input, compare_models
from diffai.comparison.numbered import Numbered
from diffai.comparison.result import CompareOptions, ModelDiff
from diffai.errors import SourceError
from diffai.frozen import frozen
from diffai.history.figures import Figure
from diffai.history.plan import Coming, Headers, Need, Plan, elements, plan_of
from diffai.history.turn import TurnWork, turn_of
from diffai.history.version import Version
from diffai.history.versions import Versions
from diffai.model import Absent, Checkpoint, PairFigures, Statistics, TensorSpec
from diffai.tensors.blocks import Pair
from diffai.tensors.engine import NumericOptions
from diffai.tensors.lockstep import (
    Column,
    Key,
    PairWork,
    SummaryWork,
    Work,
    file_order,
    key_of,
    merged_order,
    read_in_lockstep,
    same_place,
)
from diffai.tensors.workers import thread_count

_MOST_OPEN = 40.0  # files and git processes at once, or megabytes of versions that are held in memory
_MOST_OF_ONE = 160.0  # the same for a single commit of a model in many shards
_MOST_FIGURES = 20_000  # pairs of tensors whose figures are kept until the walk comes to them

@frozen
class Found:
    """The values of one commit.

    Attributes:
        pairs: figures by (name before, name now).
        drift: how far the version is from the first; None where that is not another one.
        turn: cosine of the update and the one before; None where there is only one.
        weights: statistics of the version's weights.
    """

    pairs: Mapping[tuple[str, str], PairFigures]
    drift: UpdateSize | None
    turn: Figure | None
    weights: Sequence[tuple[TensorSpec, Statistics]]

    def figures(self, pairs: Sequence[Pair]) -> list[PairFigures]:
        """Those of some pairs, as :func:`diffai.comparison.models.compare_models` asks for them."""
        return [self.pairs[old.name, new.name] for old, new in pairs]


@frozen
class _Job:
    """A commit and what is read for it."""

    need: Need
    plan: Plan
    parameters: int


class Together:
    """Computes the values of several commits in one go.

    Args:
        versions: opens them.
        options: how to compare.
        growing: begin with few commits, because the walk may end at any of them.
    """

    def __init__(self, versions: Versions, options: CompareOptions, *, growing: bool) -> None:
        self._versions, self._options = versions, options
        self._room = 6.0 if growing else _MOST_OPEN
        self._found: dict[tuple[str, ...], Found] = {}
        self._left: set[tuple[str, ...]] = set()
        self._keys: dict[Key, Key] = {}

    def find(self, need: Need, coming: Coming, progress: Callable[[float], None] | None = None) -> Found | None:
        """The values of a commit; None when they have to be computed by themselves.

        Args:
            need: the commit.
            coming: it and those that follow.
            progress: called with the number of commits that the values read so far are worth.
        """
        key = _key_of(need)
        if key not in self._found and key not in self._left:
            jobs = self._gather(coming())
            try:
                done = bool(jobs) and self._compute(jobs, progress)
            except SourceError:  # which version it is, the walk will find when it takes them one by one
                done = False
            finally:
                self._versions.keep_only(())
            if not done:
                self._left |= {key, *(_key_of(job.need) for job in jobs)}
            self._room = min(_MOST_OPEN, self._room * 2)
        return self._found.pop(key, None)

    # ------------------------------------------------------------ choosing

    def _gather(self, needs: Iterable[Need]) -> list[_Job]:
        """As many of the coming commits as fit, up to the first that has to be done by itself."""
        group = _Group()
        for need in needs:
            if group.room(need, self._versions) > (self._room if group.jobs else _MOST_OF_ONE):
                break
            job = self._job(need)
            if job is None or (group.jobs and group.figures + len(job.plan.weights) > _MOST_FIGURES):
                break
            if not group.add(job, self._versions):
                break
        return group.jobs

    def _job(self, need: Need) -> _Job | None:
        if need.new is None or not all(v.content and self._versions.reads_forward(v) for v in _by_key(need).values()):
            return None
        sides = [Input("", state=Absent()) if v is None else self._versions.header(v) for v in (need.old, need.new)]
        if any(side.checkpoint is None and not isinstance(side.state, Absent) for side in sides):
            return None
        old, new = sides[0].checkpoint, sides[1].checkpoint
        if old is not None and new is not None and old.uses and new.uses:
            numbered = Numbered(old.uses, new.uses)
            if any(name in new.tensors and numbered.loose(name) for name in old.tensors):
                return None  # equal names prove nothing here
        options = dataclasses.replace(self._options, shape_only=True, find_renames=False)
        diff = compare_models(sides[0], sides[1], options)
        if need.old is not None and self._needs_more(diff):
            return None
        current, *others = (None if v is None else self._versions.header(v).checkpoint for v in need.versions)
        assert current is not None
        plan = plan_of(diff, Headers(current, *others), need)
        if any(_apart(spec, now) for _, spec, now in plan.entries(need)):
            return None
        return _Job(need, plan, diff.new.parameters)

    def _needs_more(self, diff: ModelDiff) -> bool:
        """Whether something is asked of single tensors: digests to find renames, statistics of what came and went."""
        statuses = {status for change in diff.tensors for status in change.status}
        if self._options.statistics == "pairs":
            return {"added", "removed"} <= statuses
        return not statuses.isdisjoint(("added", "removed", "reshaped"))

    # ------------------------------------------------------------ computing

    def alone(self, need: Need, diff: ModelDiff, opened: Mapping[str, Checkpoint]) -> Found:
        """What the comparison of one commit does not tell, from versions that can be read in any order."""
        current, *others = (None if v is None else opened[v.key] for v in need.versions)
        assert current is not None
        plan = dataclasses.replace(plan_of(diff, Headers(current, *others), need), pairs=())
        (found,) = self._results([_Job(need, plan, diff.new.parameters)], opened, None) or (None,)
        if found is None:
            raise SourceError(f"{need.new.label if need.new else ''}: two tensors have one name")
        return found

    def _compute(self, jobs: Sequence[_Job], progress: Callable[[float], None] | None) -> bool:
        """Read all versions of some commits once; False when they cannot be read together."""
        opened: dict[str, Checkpoint] = {}
        for job in jobs:
            for key, version in _by_key(job.need).items():
                checkpoint = self._versions.open(version, keep=False).checkpoint
                if checkpoint is None:
                    return False
                opened[key] = checkpoint
        results = self._results(jobs, opened, progress)
        if results is None:
            return False
        self._found |= {_key_of(job.need): found for job, found in zip(jobs, results, strict=True)}
        return True

    def _results(
        self, jobs: Sequence[_Job], opened: Mapping[str, Checkpoint], progress: Callable[[float], None] | None
    ) -> list[Found] | None:
        """The values of some commits; None when their versions cannot be read forward together."""
        columns = {key: Column(checkpoint) for key, checkpoint in opened.items()}
        for job in jobs:
            for version, spec, now in job.plan.entries(job.need):
                if not columns[version.key].add(self._key(now), spec):
                    return None
        works = [self._works(job, columns) for job in jobs]
        flat: list[Work] = [work for some in works for work in some if work is not None]
        size = sum(spec.nbytes for column in columns.values() for spec in column.specs.values())
        tell = None if progress is None else lambda part: progress(part * len(jobs))
        if not read_in_lockstep(list(columns.values()), flat, thread_count(self._options.threads, size), tell):
            return None
        return [_found(job, *some) for job, some in zip(jobs, works, strict=True)]

    def _works(
        self, job: _Job, columns: Mapping[str, Column]
    ) -> tuple[SummaryWork, PairWork | None, PairWork | None, TurnWork | None]:
        """What is computed for one commit."""
        plan = job.plan
        new, old, before, first = (columns[v.key] if v is not None else None for v in job.need.versions)
        assert new is not None
        options = NumericOptions(
            threads=self._options.threads, statistics=True, norms=True
        )
        summaries = SummaryWork(new, plan.weights, [self._key(spec) for spec in plan.weights])
        pairs = PairWork(old, new, plan.pairs, self._keys_of(plan.pairs), options) if old is not None else None
        drift = turn = None
        if first is not None:
            few = dataclasses.replace(options, statistics=False)
            drift = PairWork(first, new, plan.drift, self._keys_of(plan.drift), few)
        if old is not None and before is not None:
            turn = TurnWork((before, old, new), plan.turns, self._keys_of(plan.turns))
        return summaries, pairs, drift, turn

    def _key(self, spec: TensorSpec) -> Key:
        """The key of a tensor, the same object in all versions: there may be very many."""
        key = key_of(spec)
        return self._keys.setdefault(key, key)

    def _keys_of(self, rows: Iterable[tuple[TensorSpec, ...]]) -> list[Key]:
        return [self._key(row[-1]) for row in rows]


def _found(
    job: _Job, summaries: SummaryWork, pairs: PairWork | None, drift: PairWork | None, turn: TurnWork | None
) -> Found:
    """What the works of a commit gave."""
    figures: dict[tuple[str, str], PairFigures] = {}
    if pairs is not None and job.plan.pairs:
        names = [(old.name, new.name) for old, new in job.plan.pairs]
        figures = dict(zip(names, pairs.result(), strict=True))
    away = None
    if drift is not None:
        known = [norms for each in drift.result() if (norms := _norms(each)) is not None]
        away = size_of(known, elements(job.plan.drift), job.parameters)
    turned = None if turn is None else Figure(turn_of(turn.result()), elements(job.plan.turns))
    weights = [
        (spec, summary.statistics)
        for spec, summary in zip(job.plan.weights, summaries.result(), strict=True)
        if summary.statistics is not None
    ]
    return Found(figures, away, turned, weights)


def _norms(figures: PairFigures) -> Norms | None:
    """L2 of the difference and of both sides; None where the dtype has no values."""
    if figures.delta is not None:
        return None if figures.as_bytes else (figures.delta.l2, figures.delta.old_l2, figures.delta.new_l2)
    return (0.0, figures.norm, figures.norm) if figures.norm is not None else None


def _apart(one: TensorSpec, other: TensorSpec) -> bool:
    """Whether a tensor has elements in one version and only bytes in another, so that no block is that of both."""
    return one.values_dtype != other.values_dtype and key_of(one)[2] != key_of(other)[2]


def _by_key(need: Need) -> dict[str, Version]:
    return {version.key: version for version in need.versions if version is not None}


def _key_of(need: Need) -> tuple[str, ...]:
    return tuple(version.content if version is not None else "" for version in need.versions)


class _Group:
    """Commits that can be computed together: their versions can be read forward side by side."""

    def __init__(self) -> None:
        self.jobs: list[_Job] = []
        self.figures = 0
        self._versions: dict[str, Version] = {}
        self._room = 0.0
        self._specs: dict[str, dict[Key, TensorSpec]] = {}
        self._orders: dict[tuple[Key, ...], None] = {}

    def room(self, need: Need, versions: Versions) -> float:
        """What would be open, or in memory, with this commit."""
        fresh = (version for key, version in _by_key(need).items() if key not in self._versions)
        return self._room + sum(versions.room(version) for version in fresh)

    def add(self, job: _Job, versions: Versions) -> bool:
        """Take a commit in; False when its tensors lie in another order, or one has several names."""
        fresh: dict[str, dict[Key, TensorSpec]] = {}
        nothing: dict[Key, TensorSpec] = {}
        for version, spec, now in job.plan.entries(job.need):
            key = key_of(now)
            known = self._specs.get(version.content, nothing).get(key)
            if known is None:
                known = fresh.setdefault(version.content, {}).setdefault(key, spec)
            if not same_place(known, spec):
                return False
        involved = _by_key(job.need)
        orders = dict(self._orders)
        for content, specs in fresh.items():
            if specs and versions.streams(involved[content]):
                orders[file_order(self._specs.get(content, {}) | specs)] = None
        if len(orders) > len(self._orders) and merged_order(orders) is None:
            return False
        self._orders = orders
        for content, specs in fresh.items():
            self._specs.setdefault(content, {}).update(specs)
        self._room = self.room(job.need, versions)
        self._versions |= involved
        self.figures += len(job.plan.weights)
        self.jobs.append(job)
        return True
