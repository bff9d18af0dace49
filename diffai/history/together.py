"""Values of the coming commits of a walk, computed together, so that each version is read once and none is copied.

A version is wanted up to four times: compared with the one before and with the one after, for the turn of the update
after that, and, when it is the first, for every drift. Read abreast, all of these are fed from one reading. What
cannot be read forward (packed as a delta, a torch archive, tensors in another order) and what needs digests first
(tensors that may be renamed) is left to the walk, which then copies these versions to private temporary files.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence

from diffai.comparison.models import Input, compare_models
from diffai.comparison.result import CompareOptions, ModelDiff
from diffai.errors import SourceError
from diffai.frozen import frozen
from diffai.history.compared import Coming, Need
from diffai.history.trajectory import Checkpoints, Row, RowWork, rows_of
from diffai.history.version import Version
from diffai.history.versions import Versions
from diffai.model import Absent, PairFigures, TensorSpec
from diffai.tensors.abreast import (
    Column,
    Key,
    PairWork,
    Work,
    file_order,
    key_of,
    merged_order,
    read_abreast,
    same_place,
)
from diffai.tensors.engine import NumericOptions
from diffai.tensors.workers import thread_count

_MOST_OPEN = 40  # files and git processes at once
_MOST_OF_ONE = 160  # the same for a single commit of a model in many shards
_MOST_FIGURES = 20_000  # pairs of tensors whose figures are kept until the walk comes to them
_Pair = tuple[TensorSpec, TensorSpec]


@frozen
class Found:
    """The values of one commit: figures by (name before, name now), and the sums of the rows of its movement."""

    pairs: dict[tuple[str, str], PairFigures]
    rows: list[Row]
    sums: list[list[float]]

    def figures(self, pairs: Sequence[_Pair]) -> list[PairFigures]:
        """Those of some pairs, as :func:`diffai.comparison.models.compare_models` asks for them."""
        return [self.pairs[old.name, new.name] for old, new in pairs]


@frozen
class _Job:
    """A commit that can be computed with others, and the keys of what is read for it."""

    need: Need
    pairs: list[_Pair]
    pair_keys: list[Key]
    rows: list[Row]
    row_keys: list[Key]

    def entries(self) -> Iterator[tuple[Version, Key, TensorSpec]]:
        """Every tensor that is read: the version it is in, its key, and where it lies."""
        old, new, before, first = self.need.old, self.need.new, self.need.before, self.need.first
        assert new is not None
        for key, row in zip(self.row_keys, self.rows, strict=True):
            yield new, key, row.current
            for version, spec in ((old, row.previous), (before, row.before), (first, row.first)):
                if version is not None and spec is not None:
                    yield version, key, spec
        if old is not None:
            for key, pair in zip(self.pair_keys, self.pairs, strict=True):
                yield old, key, pair[0]
                yield new, key, pair[1]


class Together:
    """Computes the values of several commits in one go.

    Args:
        versions: opens them.
        options: how to compare.
        growing: begin with few commits, because the walk may end at any of them.
    """

    def __init__(self, versions: Versions, options: CompareOptions, *, growing: bool) -> None:
        self._versions, self._options = versions, options
        self._room = 6 if growing else _MOST_OPEN
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
            if group.files(need) > (self._room if group.jobs else _MOST_OF_ONE):
                break
            job = self._job(need)
            if job is None or (group.jobs and group.figures + len(job.rows) > _MOST_FIGURES):
                break
            if not group.add(job, self._versions):
                break
        return group.jobs

    def _job(self, need: Need) -> _Job | None:
        if need.new is None or not all(
            v.content and self._versions.reads_forward(v) for v in _by_content(need).values()
        ):
            return None
        sides = [Input("", state=Absent()) if v is None else self._versions.header(v) for v in (need.old, need.new)]
        if any(side.checkpoint is None and not isinstance(side.state, Absent) for side in sides):
            return None
        options = dataclasses.replace(self._options, shape_only=True, find_renames=False)
        diff = compare_models(sides[0], sides[1], options)
        if need.old is not None and self._needs_more(diff):
            return None
        pairs = [
            (change.old, change.new)
            for change in diff.tensors
            if change.old is not None and change.new is not None and change.old.shape == change.new.shape
        ]
        rows = self._rows(need, diff)
        if any(_apart(old, new) for old, new in pairs) or any(
            _apart(row.current, spec) for row in rows for spec in row.specs if spec is not None
        ):
            return None
        return _Job(need, pairs, [self._key(new) for _, new in pairs], rows, [self._key(row.current) for row in rows])

    def _key(self, spec: TensorSpec) -> Key:
        """The key of a tensor, the same object in all versions: there may be very many."""
        key = key_of(spec)
        return self._keys.setdefault(key, key)

    def _needs_more(self, diff: ModelDiff) -> bool:
        """Whether something is asked of single tensors: digests to find renames, statistics of what came and went."""
        totals = diff.totals
        if self._options.statistics == "none":
            return bool(totals.added and totals.removed)
        return bool(totals.added or totals.removed or totals.reshaped)

    def _rows(self, need: Need, diff: ModelDiff) -> list[Row]:
        headers = [None if v is None else self._versions.header(v).checkpoint for v in need.versions]
        current, *others = headers
        assert current is not None
        return rows_of(diff, Checkpoints(current, *others), dict(need.names_before), dict(need.names_first))

    # ------------------------------------------------------------ computing

    def _compute(self, jobs: Sequence[_Job], progress: Callable[[float], None] | None) -> bool:
        """Read all versions of some commits once; False when they cannot be read together."""
        columns: dict[str, Column] = {}
        for job in jobs:
            for content, version in _by_content(job.need).items():
                if content not in columns:
                    opened = self._versions.open(version, keep=False).checkpoint
                    if opened is None:
                        return False
                    columns[content] = Column(opened)
        options = NumericOptions(threads=self._options.threads, statistics=self._options.statistics != "none")
        work: list[Work] = []
        results: list[tuple[PairWork | None, RowWork]] = []
        for job in jobs:
            if not all(columns[version.content].add(key, spec) for version, key, spec in job.entries()):
                return False
            side = [columns[v.content] if v is not None else None for v in job.need.versions]
            assert side[0] is not None
            rows = RowWork(job.rows, job.row_keys, Checkpoints(side[0], *side[1:]))
            pairs = PairWork(side[1], side[0], job.pairs, job.pair_keys, options) if side[1] is not None else None
            work += [rows] if pairs is None else [pairs, rows]
            results.append((pairs, rows))
        size = sum(spec.nbytes for column in columns.values() for spec in column.specs.values())
        tell = None if progress is None else lambda part: progress(part * len(jobs))
        if not read_abreast(list(columns.values()), work, thread_count(self._options.threads, size), tell):
            return False
        for job, (pairs, rows) in zip(jobs, results, strict=True):
            figures = pairs.result() if pairs is not None else []
            names = [(old.name, new.name) for old, new in job.pairs]
            self._found[_key_of(job.need)] = Found(dict(zip(names, figures, strict=True)), job.rows, rows.result())
        return True


def _apart(one: TensorSpec, other: TensorSpec) -> bool:
    """Whether a tensor has elements in one version and only bytes in another, so that no block is that of both."""
    return one.values_dtype != other.values_dtype and key_of(one)[2] != key_of(other)[2]


def _by_content(need: Need) -> dict[str, Version]:
    return {version.content: version for version in need.versions if version is not None}


def _key_of(need: Need) -> tuple[str, ...]:
    return tuple(version.content if version is not None else "" for version in need.versions)


class _Group:
    """Commits that can be computed together: their versions can be read forward side by side."""

    def __init__(self) -> None:
        self.jobs: list[_Job] = []
        self.figures = 0
        self._versions: dict[str, Version] = {}
        self._specs: dict[str, dict[Key, TensorSpec]] = {}
        self._orders: dict[tuple[Key, ...], None] = {}

    def files(self, need: Need) -> int:
        """Files that would be open with this commit."""
        return sum(max(1, len(version.parts)) for version in (self._versions | _by_content(need)).values())

    def add(self, job: _Job, versions: Versions) -> bool:
        """Take a commit in; False when its tensors lie in another order, or one has several names."""
        fresh: dict[str, dict[Key, TensorSpec]] = {}
        nothing: dict[Key, TensorSpec] = {}
        for version, key, spec in job.entries():
            known = self._specs.get(version.content, nothing).get(key)
            if known is None:
                known = fresh.setdefault(version.content, {}).setdefault(key, spec)
            if not same_place(known, spec):
                return False
        involved = _by_content(job.need)
        orders = dict(self._orders)
        for content, specs in fresh.items():
            if specs and versions.streams(involved[content]):
                orders[file_order(self._specs.get(content, {}) | specs)] = None
        if len(orders) > len(self._orders) and merged_order(orders) is None:
            return False
        self._orders = orders
        for content, specs in fresh.items():
            self._specs.setdefault(content, {}).update(specs)
        self._versions |= involved
        self.figures += len(job.rows)
        self.jobs.append(job)
        return True
