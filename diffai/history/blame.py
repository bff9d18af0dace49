"""Which commit each tensor comes from: its values, its shape and dtype, its name.

Three questions a tensor are handed from a commit to the first parent that has the same answer, newest to oldest,
until every one has stopped somewhere; a merge asks all its parents. Headers are enough for most of it; digests are
computed once a version and kept.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from diffai.cache.store import Store
from diffai.comparison.codec import RecordedCheckpoint, record
from diffai.comparison.models import one_role
from diffai.comparison.numbered import Numbered
from diffai.comparison.pairing import pair_tensors
from diffai.comparison.selection import require_globs
from diffai.errors import SourceError
from diffai.formats.base import Limits
from diffai.frozen import frozen
from diffai.globs import name_matches
from diffai.history.digests import Digested, Survivors, digest_version
from diffai.history.model_path import ModelPath, near_models
from diffai.history.renames import find_earlier
from diffai.history.uncommitted import STAGED, WORK_TREE, uncommitted
from diffai.history.version import Step, Version
from diffai.history.versions import Versions, steps_of
from diffai.history.walk import Commit, Range, is_shallow
from diffai.model import Checkpoint, NotAModel, State, TensorSpec, TensorSummary, Unreadable, natural_key
from diffai.repository.runner import Repository

Question = Literal["values", "structure", "introduced"]
QUESTIONS: tuple[Question, ...] = ("values", "structure", "introduced")
_MOST_RENAMES = 100


@frozen
class Origin:
    """Where an answer was found.

    Attributes:
        commit: the commit; or :data:`WORK_TREE`, :data:`STAGED`.
        name: what the tensor is called there.
        boundary: older history is not here, so it may come from further back (a shallow clone).
        skipped: commits between it and its nearest readable ancestor, whose versions could not be read: the change
            may be theirs.
    """

    commit: Commit
    name: str
    boundary: bool = False
    skipped: tuple[str, ...] = ()


@frozen
class TensorBlame:
    """One tensor of the model and where it comes from: last change of values, of shape or dtype, introduction."""

    spec: TensorSpec
    values: Origin
    structure: Origin
    introduced: Origin


@frozen
class ModelBlame:
    """All tensors that were asked for, in natural order. ``at`` names the version; ``left_out`` counts the others."""

    path: str
    at: str
    tensors: tuple[TensorBlame, ...]
    left_out: int = 0


@frozen
class _Node:
    """One commit of the graph; its version is None where the model is not in it."""

    commit: Commit
    parents: tuple[str, ...]
    version: Version | None


@frozen
class _Query:
    """A question about a tensor of the final version, under the name that it has at some commit."""

    question: Question
    tensor: str
    name: str


def blame_model(
    repository: Repository,
    model: ModelPath,
    rev: str,
    store: Store,
    *,
    globs: Sequence[str] = (),
    limits: Limits = Limits(),
    first_parent: bool = False,
    threads: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> ModelBlame:
    """Where each tensor of a model comes from.

    Args:
        repository: where.
        model: which.
        rev: a revision; "" is the work tree over HEAD.
        store: where digests are remembered.
        globs: names of tensors; empty means all.
        first_parent: whether merges are seen from their first parent only.
        threads: 0 = as many as help.
        progress: called with (tensors answered, tensors).

    Raises:
        SourceError: the revision does not have the model, or it cannot be read there.
        UsageError: a glob is of no tensor.
    """
    chosen = Range((rev,) if rev else (), first_parent=first_parent)
    versions = Versions(repository, limits, store)
    blame: _Blame | None = None
    try:
        nodes = _graph(repository, versions, model, chosen)
        blame = _Blame(versions, store, nodes, is_shallow(repository), threads)
        top = "" if rev else _put_above(repository, model, blame, limits)
        start = top or next(iter(nodes), "")
        tip = blame.digested(start) if start else None
        if tip is None:
            where = rev or "HEAD"
            raise SourceError(f"{model.path}: {where} does not have it{near_models(repository, chosen, model.path)}")
        if tip.header is None:
            assert tip.state is not None
            from diffai.comparison.summary import NotOpenedError

            raise NotOpenedError(f"{model.path} at {rev or 'HEAD'}", tip.state)
        require_globs(globs, tip.header.tensors)
        names = [name for name in tip.header.tensors if not globs or name_matches(name, globs)]
        answers = blame.run(start, names, progress)
    finally:
        if blame is not None:
            blame.close()
        versions.close()
    rows = [
        TensorBlame(tip.header.tensors[name], *(answers[question, name] for question in QUESTIONS))
        for name in sorted(names, key=natural_key)
    ]
    left_out = len(tip.header.tensors) - len(names)
    at = {WORK_TREE.author: "work tree", STAGED.author: "index"}.get(top, rev or "HEAD")
    return ModelBlame(model.path, at, tuple(rows), left_out)


def _graph(repository: Repository, versions: Versions, model: ModelPath, chosen: Range) -> dict[str, _Node]:
    """The commits that touched the model, newest first, joined where the file was renamed."""
    nodes: dict[str, _Node] = {}
    seen = set[str]()
    born: Step | None = None
    while True:
        seen.add(model.path)
        model, steps = steps_of(repository, versions, model, chosen, joined=True)
        if born is not None and steps:
            commit = born.logged.commit.hash
            nodes[commit] = dataclasses.replace(nodes[commit], parents=(steps[0].logged.commit.hash,))
        for step in steps:
            commit = step.logged.commit.hash
            nodes.setdefault(commit, _Node(step.logged.commit, step.logged.commit.parents, step.new))
        born = next((step for step in reversed(steps) if step.new is not None), None)
        if born is None or born.old is not None or len(seen) > _MOST_RENAMES:
            return nodes
        earlier = find_earlier(repository, versions, born)
        if earlier is None or earlier.path in seen:
            return nodes
        model = ModelPath(earlier.path)
        chosen = dataclasses.replace(chosen, revisions=(f"{born.logged.commit.hash}^1",))


def _put_above(repository: Repository, model: ModelPath, blame: _Blame, limits: Limits) -> str:
    """Put what is staged and the work tree above the newest commit, where they differ; the topmost node, else "".

    Raises:
        NotOpenedError: what lies there is damaged.
    """
    from diffai.comparison.summary import NotOpenedError

    top, names = "", []
    for commit, side in uncommitted(repository, model, limits):
        if side.checkpoint is None:
            if isinstance(side.state, Unreadable | NotAModel):
                raise NotOpenedError(side.label, side.state)
            continue  # a pointer to what is not here: that was committed, or is looked at as staged
        blame.add_open(commit.author, record(side.checkpoint, side.size), side.checkpoint)
        names.append(commit)
        top = top or commit.author
    below = next(iter(blame.nodes), "")
    for commit in reversed(names):
        blame.nodes = {commit.author: _Node(commit, (below,) if below else (), None)} | blame.nodes
        below = commit.author
    return top


class _Blame:
    """One walk down the graph."""

    def __init__(
        self, versions: Versions, store: Store, nodes: dict[str, _Node], cut: frozenset[str], threads: int
    ) -> None:
        self.nodes = nodes
        self._versions, self._store, self._cut, self._threads = versions, store, cut, threads
        self._known: dict[str, Digested] = {}
        self._headers: dict[str, RecordedCheckpoint | State] = {}
        self._open: dict[str, Checkpoint] = {}

    def close(self) -> None:
        """Close what was taken in open."""
        while self._open:
            self._open.popitem()[1].close()

    def _values(self, name: str) -> Checkpoint:
        """A commit's version with its values; SourceError when they are not to be had."""
        if name in self._open:
            return self._open[name]
        version = self.nodes[name].version
        assert version is not None
        opened = self._versions.open(version, keep=True)
        if opened.checkpoint is None:
            raise SourceError(f"{version.label}: {opened.state}")
        return opened.checkpoint

    def add_open(self, name: str, header: RecordedCheckpoint, checkpoint: Checkpoint) -> None:
        """Take in a version that is open already, to be closed with this walk."""
        from diffai.tensors.engine import summarise

        self._open[name] = checkpoint
        specs = list(header.tensors.values())
        found = summarise(checkpoint, specs, statistics=False, digest=True, threads=self._threads)
        self._headers[name] = header
        self._known[name] = Digested(header, {s.name: f for s, f in zip(specs, found, strict=True)})

    def header(self, name: str) -> RecordedCheckpoint | State | None:
        """What a commit's version says of itself; None where the model is not in the commit."""
        if name not in self._headers:
            version = self.nodes[name].version
            if version is None:
                return None
            side = self._versions.header(version)
            assert side.checkpoint is None or isinstance(side.checkpoint, RecordedCheckpoint)
            state = side.state or Unreadable("not read")
            self._headers[name] = side.checkpoint if side.checkpoint is not None else state
        return self._headers[name]

    def digested(self, name: str) -> Digested | None:
        """Digests of a commit's version; None where the model is not in the commit."""
        if name not in self._known:
            version = self.nodes[name].version
            if version is None:
                return None
            self._known[name] = digest_version(self._versions, version, self._store, threads=self._threads)
            self._versions.keep_only(())
        return self._known[name]

    def run(
        self, start: str, names: Sequence[str], progress: Callable[[int, int], None] | None
    ) -> dict[tuple[Question, str], Origin]:
        """The origin of every question about every tensor."""
        answers: dict[tuple[Question, str], Origin] = {}
        pending = {start: [_Query(question, name, name) for name in names for question in QUESTIONS]}
        for name in self.nodes:
            queries = pending.pop(name, [])
            if not queries:
                continue
            for parent, left, handed in self._hand_on(name, queries):
                if parent:
                    pending.setdefault(parent, []).extend(handed)
                else:
                    for query in handed:
                        boundary = name in self._cut
                        origin = Origin(self.nodes[name].commit, query.name, boundary, left)
                        answers[query.question, query.tensor] = origin
            # Two versions are looked at together; what lies behind is not needed again.
            self._forget(name)
            if progress is not None:
                progress(len(answers), len(names) * len(QUESTIONS))
            if not pending:
                break
        return answers

    def _forget(self, name: str) -> None:
        self._known.pop(name, None)
        self._headers.pop(name, None)

    def _hand_on(self, name: str, queries: list[_Query]) -> list[tuple[str, tuple[str, ...], list[_Query]]]:
        """(parent, (), queries it takes over), and ("", skipped commits, queries that stop here)."""
        result: list[tuple[str, tuple[str, ...], list[_Query]]] = []
        skipped_here: tuple[str, ...] = ()
        for parent, skipped in self._readable_parents(name):
            skipped_here += skipped
            if not parent or not queries:
                continue
            try:
                taken = self._taken(name, parent, queries)
            except SourceError:  # its header is sound, its values are not: as if it could not be read at all
                self._headers[parent] = Unreadable("its values cannot be read")
                return self._hand_on(name, queries)
            rest = [query for query in queries if query not in taken]
            if taken:
                result.append((parent, (), list(taken.values())))
            queries = rest
        return [*result, ("", skipped_here, queries)]

    def _readable_parents(self, name: str) -> list[tuple[str, tuple[str, ...]]]:
        """The nearest ancestors whose versions can be read, each with the unreadable commits on the way to it."""
        found: list[tuple[str, tuple[str, ...]]] = []
        stack: list[tuple[str, tuple[str, ...]]] = [(parent, ()) for parent in reversed(self.nodes[name].parents)]
        seen = set[str]()
        while stack:
            parent, skipped = stack.pop()
            if parent in seen or parent not in self.nodes:
                continue
            seen.add(parent)
            header = self.header(parent)
            if isinstance(header, RecordedCheckpoint):
                found.append((parent, skipped))
            elif header is not None:
                further = (*skipped, parent)
                above = self.nodes[parent].parents
                stack += [(each, further) for each in reversed(above)]
                if not above:
                    found.append(("", further))
        return found

    def _taken(self, name: str, parent: str, queries: list[_Query]) -> dict[_Query, _Query]:
        """The questions that a parent answers in the same way, as they are asked there."""
        new, old = self.header(name), self.header(parent)
        assert isinstance(new, RecordedCheckpoint) and isinstance(old, RecordedCheckpoint)

        def summaries(of: str, specs: Sequence[TensorSpec]) -> list[TensorSummary]:
            known = self.digested(of)
            assert known is not None
            if known.header is None:
                raise SourceError(str(known.state))
            return [known.summaries[spec.name] for spec in specs]

        def by_values(a: Sequence[TensorSpec], b: Sequence[TensorSpec]) -> list[tuple[TensorSpec, TensorSpec]]:
            return likeness.alike(self._values(parent), self._values(name), a, b)

        from diffai.tensors import likeness

        specs = one_role(old.tensors, new.tensors)

        def agreeing(pairs: Sequence[tuple[TensorSpec, TensorSpec]]) -> list[tuple[TensorSpec, TensorSpec]]:
            return likeness.agreeing(self._values(parent), self._values(name), pairs)

        numbered = Numbered(old.uses, new.uses, agreeing) if old.uses and new.uses else None
        pairing = pair_tensors(
            *specs, lambda a, b: (summaries(parent, a), summaries(name, b)), by_values, numbered=numbered
        )
        before: Mapping[str, TensorSpec] = {b.name: a for a, b in pairing.same_name} | {
            b.name: a for a, b, _ in pairing.renamed
        }
        pairs = ((query, new.tensors[query.name], before.get(query.name)) for query in queries)
        asked = [(query, spec, was) for query, spec, was in pairs if was is not None]
        values = [(was, spec) for query, spec, was in asked if query.question == "values"]
        kept = set[str]()
        if values:  # else digests are not needed
            sides = summaries(parent, [was for was, _ in values]), summaries(name, [spec for _, spec in values])
            survivors = Survivors(lambda: (self._values(parent), self._values(name)), self._store, self._threads)
            kept = survivors.among(values, *sides)
        taken: dict[_Query, _Query] = {}
        for query, spec, was in asked:
            same = (was.dtype, was.shape) == (spec.dtype, spec.shape)
            if (spec.name in kept) if query.question == "values" else (same or query.question == "introduced"):
                taken[query] = dataclasses.replace(query, name=was.name)
        return taken
