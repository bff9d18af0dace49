"""What each commit did to a model: the versions in order, each compared with the one before and with the first."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

from diffai.cache.store import Store
from diffai.comparison.selection import require_globs
from diffai.errors import SourceError
from diffai.history.chain import Chain
from diffai.history.compared import Compared, Comparisons
from diffai.history.entries import Kind, LogEntry, LogOptions, ModelLog, Progress
from diffai.history.figures import CommitFigures
from diffai.history.model_path import ModelPath, near_models
from diffai.history.plan import Need
from diffai.history.renames import Earlier, find_earlier
from diffai.history.version import Step, Version
from diffai.history.versions import Versions, steps_of
from diffai.history.walk import is_shallow
from diffai.model import Unreadable
from diffai.repository.runner import Repository

_MOST_RENAMES = 100
_NOTHING = "nothing: no version before it can be read"


def log_model(
    repository: Repository,
    model: ModelPath,
    options: LogOptions,
    store: Store,
    progress: Progress | None = None,
    *,
    until: Callable[[LogEntry], bool] | None = None,
) -> ModelLog:
    """The history of a model.

    Args:
        repository: where.
        model: which.
        options: what is asked.
        store: where figures are remembered.
        progress: called with (versions done, versions in all).
        until: ends the walk, which goes from the oldest version on, at the entry for which it holds.

    Raises:
        SourceError: no such revision, or no commit in the range has the model.
        UsageError: the glob of ``options`` is of no tensor in any version.
    """
    versions = Versions(repository, options.limits, store)
    steps, earlier = find_steps(repository, versions, model, options)
    if not steps:
        raise SourceError(_nothing(repository, model, options))
    try:
        entries, passed = _entries(_Walk(repository, versions, options, store, steps), progress, until)
        if options.tensor and not any(entry.figures is not None and entry.figures.tensors for entry in entries):
            _refuse_glob(versions, entries, options.tensor)
    finally:
        versions.close()
    kept = [entry for entry in entries if _wanted(entry, options)]
    shown = tuple(kept[: options.limit or None])
    return ModelLog(
        _path_of(steps), options.level, shown, passed + len(entries), len(entries) - len(kept),
        earlier.path if earlier is not None else "", options.compare_to, earlier is None or earlier.exact,
    )  # fmt: skip


def _entries(
    walk: _Walk, progress: Progress | None, until: Callable[[LogEntry], bool] | None
) -> tuple[list[LogEntry], int]:
    """The entries, newest first, and how many older versions were passed over because nobody asked for them."""
    options, steps = walk.options, walk.count
    wanted = options.limit if until is None and not options.tensor and not options.only_structure else 0
    while 0 < wanted < steps:
        begin = steps - wanted
        # The turn of an update needs the one before it, which is that of the first version passed over.
        entries = walk.run(progress, until, max(0, begin - 1))
        known = entries[:wanted] if begin else entries
        before = entries[wanted:]
        settled = not before or before[0].kind in ("added", "changed", "removed")
        if settled and walk.names_hold():
            return known, begin
        wanted *= 2
    return walk.run(progress, until), 0


def _refuse_glob(versions: Versions, entries: Sequence[LogEntry], glob: str) -> None:
    headers = [versions.header(entry.version).checkpoint for entry in entries if entry.version and entry.figures]
    names = dict.fromkeys(name for header in headers if header is not None for name in header.tensors)
    if names:
        require_globs((glob,), names)


def _path_of(steps: Sequence[Step]) -> str:
    version = steps[0].new or steps[0].old
    assert version is not None
    return version.model.path


def _nothing(repository: Repository, model: ModelPath, options: LogOptions) -> str:
    where = " ".join(options.range.revisions) or ("any branch" if options.range.every_ref else "HEAD")
    narrowed = any((options.range.since, options.range.until, options.range.author))
    if narrowed:
        return f"{model.path}: no commit that matches --since, --until and --author touches it"
    return f"{model.path}: no commit of {where} has it{near_models(repository, options.range, model.path)}"


def _wanted(entry: LogEntry, options: LogOptions) -> bool:
    """Whether an entry says something about what was asked."""
    figures = entry.figures
    if figures is None or entry.kind == "removed":
        return True
    if options.only_structure:
        return figures.structural
    if options.tensor:
        return figures.structural or figures.changed > 0
    return True


def find_steps(
    repository: Repository, versions: Versions, model: ModelPath, options: LogOptions
) -> tuple[list[Step], Earlier | None]:
    """The commits that changed the model, newest first, and the path it had before, where that was not followed."""
    chosen = options.range
    steps: list[Step] = []
    seen = set[str]()
    while True:
        model, found = steps_of(repository, versions, model, chosen)
        if steps and found and found[0].new is not None:
            steps[-1] = dataclasses.replace(steps[-1], old=found[0].new)
        steps += found
        seen.add(model.path)
        last = steps[-1] if steps else None
        if last is None or last.old is not None or last.new is None or len(seen) > _MOST_RENAMES:
            return steps, None
        earlier = find_earlier(repository, versions, last)
        if earlier is None or earlier.path in seen:
            return steps, None
        if not options.follow:
            return steps, earlier
        model = ModelPath(earlier.path)
        chosen = dataclasses.replace(chosen, revisions=(f"{last.logged.commit.hash}^1",), every_ref=False)


class _Walk:
    """One pass over the versions, oldest first, so that each is read once and few are open."""

    def __init__(
        self, repository: Repository, versions: Versions, options: LogOptions, store: Store, steps: Sequence[Step]
    ) -> None:
        self._versions, self.options = versions, options
        self._steps = list(reversed(steps))
        self._at = 0
        self._chain = Chain()
        self._cut = is_shallow(repository)
        self._first: Version | None = None
        self._fixed = self._revision(repository)
        self._store = store
        self._progress: Progress | None = None

    def _revision(self, repository: Repository) -> Version | None:
        """The version that ``--compare-to REV`` names."""
        word = self.options.compare_to
        if word in ("previous", "first"):
            return None
        newest = self._steps[-1].new or self._steps[-1].old
        assert newest is not None
        found = self._versions.finder.at(newest.model, [repository.commit(word)])[0]
        if found is None:
            raise SourceError(f"{newest.model.path}: {word} (--compare-to) does not have it")
        return found

    @property
    def count(self) -> int:
        """Versions in all."""
        return len(self._steps)

    def run(
        self, progress: Progress | None, until: Callable[[LogEntry], bool] | None, begin: int = 0
    ) -> list[LogEntry]:
        """All entries up to the one for which ``until`` holds, newest first; the first ``begin`` versions are passed
        over, and only remembered as what came before.
        """
        self._progress = progress
        self._comparisons = Comparisons(self._versions, self.options, self._store, growing=until is not None)
        self._chain, self._first, entries = Chain(), None, []
        self._versions.expect(side for step in self._steps[begin:] for side in (step.old, step.new))
        for step in self._steps[:begin]:
            self._pass(step)
        for at, step in enumerate(self._steps[begin:], begin):
            self._at = at
            self._tell(0)
            entries.append(self._entry(step))
            if until is not None and until(entries[-1]):
                break
        self._at = len(self._steps)
        self._tell(0)
        entries.reverse()
        return entries

    def _pass(self, step: Step) -> None:
        """Go on over a version that nobody asked for."""
        if step.new is None:
            return
        self._chain.come_home(step.new)
        self._chain.add(step.new, step.old)
        if self._first is None and not self._is_unreadable(step.new, self._chain):
            self._first = step.new

    def names_hold(self) -> bool:
        """Whether a tensor that keeps its name is the same one all the way from the first version that was passed over.

        It is where no name both came and went: else one may have become another on the way.
        """
        newest = next((step.new for step in reversed(self._steps) if step.new is not None), None)
        if self.options.level != "values" or newest is None or self._first is None:
            return True
        sides = [self._versions.header(version).checkpoint for version in (self._first, newest)]
        if sides[0] is None or sides[1] is None:
            return False
        old, new = sides[0].tensors.keys(), sides[1].tensors.keys()
        return old <= new or new <= old

    def _tell(self, ahead: float) -> None:
        """Report progress: the versions behind us, and those for which the values are read."""
        if self._progress is not None:
            self._progress(min(len(self._steps), self._at + int(ahead)), len(self._steps))

    def _entry(self, step: Step) -> LogEntry:
        commit = step.logged.commit
        if step.new is None:
            found = self._comparisons.compare(Need(step.old, None), "header", tuple, None)
            return LogEntry(commit, "removed", None, found.figures, diff=found.diff if self.options.detail else None)
        try:
            return self._version(step, step.new)
        except SourceError as error:
            self._chain.add_unreadable(step.new, step.old)
            return LogEntry(commit, "unreadable", step.new, state=Unreadable(str(error)))

    def _version(self, step: Step, new: Version) -> LogEntry:
        commit, old = step.logged.commit, step.old
        self._chain.come_home(new)
        base, compared_with = self._base(old)
        found = self._compared(base, new)
        if found.state is not None and base is not None and self._is_unreadable(base, self._chain):
            base = self._readable(base, self._chain)
            compared_with = f"the last readable version, {self._chain.label(base)}" if base else _NOTHING
            found = self._compared(base, new)
        if found.figures is None:
            self._chain.add_unreadable(new, base)
            return LogEntry(commit, "unreadable", new, state=found.state)
        figures = found.figures
        self._chain.add(new, base, _by_new_name(figures), same=not figures.differs)
        self._first = self._first or new
        kind: Kind = "added" if base is None else "changed" if figures.differs else "same"
        return LogEntry(
            commit, kind, new, figures, None, compared_with,
            old.path if old is not None and old.path != new.path and "sharded" not in (old.holder, new.holder) else "",
            old.holder if old is not None and old.holder != new.holder else "",
            commit.hash in self._cut and old is None,
            found.diff if self.options.detail else None,
            old is None or old.content == new.content,
        )  # fmt: skip

    def _base(self, old: Version | None) -> tuple[Version | None, str]:
        """What a version is compared with, and a word for it where it is not the version before."""
        word = self.options.compare_to
        if word == "previous":
            return old, ""
        base = self._first if word == "first" else self._fixed
        return (
            base,
            "" if base is None else f"{'the first version' if word == 'first' else word}, {self._chain.label(base)}",
        )

    def _is_unreadable(self, version: Version, chain: Chain) -> bool:
        return chain.is_unreadable(version) or self._versions.header(version).checkpoint is None

    def _readable(self, version: Version | None, chain: Chain) -> Version | None:
        return chain.readable(version, lambda each: self._is_unreadable(each, chain))

    def _compared(self, base: Version | None, new: Version) -> Compared:
        need = self._need(base, new, self._chain, self._first)
        return self._comparisons.compare(need, self.options.level, self._coming, self._tell)

    def _need(self, base: Version | None, new: Version, chain: Chain, first: Version | None) -> Need:
        """What the figures of a version depend on."""
        previous = self.options.compare_to == "previous"
        before = chain.before(base) if previous else None
        names_first = chain.names_in_first(base) if first is not None else {}
        return Need(base, new, before, first, tuple(chain.names_before(base).items()), tuple(names_first.items()))

    def _coming(self) -> Iterator[Need]:
        """The version at hand and those that follow, oldest first, but for those whose figures are remembered."""
        chain, first = self._chain.copy(), self._first
        for step in self._steps[self._at :]:
            new, base = step.new, step.old
            if new is None:
                continue
            if self.options.compare_to != "previous":
                base = first if self.options.compare_to == "first" else self._fixed
            base = self._readable(base, chain)
            if self._is_unreadable(new, chain):
                chain.add_unreadable(new, base)
                continue
            need = self._need(base, new, chain, first)
            known = self._comparisons.known(need, self.options.level)
            if known is None:
                yield need
                chain.add(new, base)
            elif known.figures is not None:
                chain.add(new, base, _by_new_name(known.figures), same=not known.figures.differs)
            first = first or new


def _by_new_name(figures: CommitFigures) -> dict[str, str]:
    return {now: before for before, now in figures.renames}
