"""What each commit did to a model: the versions in order, each compared with the one before and with the first."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import translate

from diffai.cache.codec import decode, encode
from diffai.cache.store import Store
from diffai.comparison.models import Input, compare_models
from diffai.comparison.result import CompareOptions, ModelDiff
from diffai.errors import SourceError
from diffai.history.entries import Kind, Level, LogEntry, LogOptions, ModelLog, Progress
from diffai.history.figures import Figures, Movement, decode_figures, encode_figures, figures_of, movement_of
from diffai.history.model_path import ModelPath, near_models
from diffai.history.version import Step, Version
from diffai.history.versions import Versions
from diffai.history.walk import is_shallow, list_commits, renamed_from
from diffai.model import Absent, Checkpoint, State, TensorSpec, Unreadable
from diffai.sources.git_program import Repository

_MOST_RENAMES = 100


@dataclass(slots=True)
class _Chain:
    """Of the versions walked so far, by content: what each was compared with, and the names it changed."""

    base: dict[str, Version] = field(default_factory=dict)
    renames: dict[str, Mapping[str, str]] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)
    home: dict[str, Version] = field(default_factory=dict)

    def label(self, version: Version) -> str:
        """A version named by the commit that brought it."""
        return self.home.get(version.content, version).label


def log_model(
    repository: Repository,
    model: ModelPath,
    options: LogOptions,
    store: Store,
    progress: Progress | None = None,
    *,
    until: Callable[[LogEntry], bool] = lambda _: False,
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
    """
    versions = Versions(repository, options.limits, store)
    steps, earlier = find_steps(repository, versions, model, options)
    if not steps:
        raise SourceError(_nothing(repository, model, options))
    try:
        walk = _Walk(repository, versions, options, store, steps)
        entries = walk.run(progress, until)
    finally:
        versions.close()
    entries = [entry for entry in entries if not _is_about_others(entry)]
    kept = [entry for entry in entries if _wanted(entry, options)]
    shown = tuple(kept[: options.limit or None])
    return ModelLog(
        _path_of(steps), options.level, shown, len(entries), len(entries) - len(kept),
        earlier, options.compare_to,
    )  # fmt: skip


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


def _is_about_others(entry: LogEntry) -> bool:
    """Whether a commit changed a DVC pointer that is also that of other files, and left the model alone."""
    dvc = entry.version is not None and entry.version.holder == "dvc"
    return dvc and entry.kind == "same" and not entry.moved_from and not entry.renamed_from


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
) -> tuple[list[Step], str]:
    """The commits that changed the model, newest first, and the path it had before, where that was not followed."""
    chosen = options.range
    steps: list[Step] = []
    seen = set[str]()
    while True:
        logged = list_commits(repository, chosen, model.pathspecs())
        found = versions.steps(model, logged, first_parent=chosen.first_parent)
        if steps and found and found[0].new is not None:
            steps[-1] = dataclasses.replace(steps[-1], old=found[0].new)
        steps += found
        seen.add(model.path)
        last = steps[-1] if steps else None
        if last is None or last.old is not None or last.new is None or len(seen) > _MOST_RENAMES:
            return steps, ""
        part = last.new.parts[0]
        earlier = renamed_from(repository, last.logged.commit, part.oid)
        if not earlier or earlier in seen:
            return steps, ""
        if not options.follow:
            return steps, earlier
        model = ModelPath(earlier.removesuffix(".dvc") if part.path.endswith(".dvc") else earlier)
        chosen = dataclasses.replace(chosen, revisions=(f"{last.logged.commit.hash}^1",), every_ref=False)


class _Walk:
    """One pass over the versions, oldest first, so that each is read once and few are open."""

    def __init__(
        self, repository: Repository, versions: Versions, options: LogOptions, store: Store, steps: Sequence[Step]
    ) -> None:
        self._versions, self._options, self._store = versions, options, store
        self._steps = steps
        self._chain = _Chain()
        self._cut = is_shallow(repository)
        self._first: Version | None = None
        self._fixed = self._revision(repository)
        translated = f"\\A{translate(options.tensor)}" if options.tensor else ""
        self._compare = CompareOptions(filter=translated, threads=options.threads, statistics="none")

    def _revision(self, repository: Repository) -> Version | None:
        """The version that ``--compare-to REV`` names."""
        word = self._options.compare_to
        if word in ("previous", "first"):
            return None
        newest = self._steps[0].new or self._steps[0].old
        assert newest is not None
        found = self._versions.at(newest.model, [repository.commit(word)])[0]
        if found is None:
            raise SourceError(f"{newest.model.path}: {word} (--compare-to) does not have it")
        return found

    def run(self, progress: Progress | None, until: Callable[[LogEntry], bool]) -> list[LogEntry]:
        """All entries up to the one for which ``until`` holds, newest first."""
        entries = []
        for done, step in enumerate(reversed(self._steps)):
            if progress is not None:
                progress(done, len(self._steps))
            entries.append(self._entry(step))
            if until(entries[-1]):
                break
        if progress is not None:
            progress(len(self._steps), len(self._steps))
        entries.reverse()
        return entries

    def _entry(self, step: Step) -> LogEntry:
        commit = step.logged.commit
        old, new = step.old, step.new
        if new is None:
            assert old is not None
            figures, diff, _ = self._compared(old, None, "header")
            return LogEntry(commit, "removed", None, figures, diff=diff if self._options.detail else None)
        try:
            return self._version(step, new)
        except SourceError as error:
            self._chain.unreadable.add(new.content)
            return LogEntry(commit, "unreadable", new, state=Unreadable(str(error)))

    def _version(self, step: Step, new: Version) -> LogEntry:
        commit, old = step.logged.commit, step.old
        self._chain.home.setdefault(new.content, new)
        base, compared_with = self._base(old)
        figures, diff, state = self._compared(base, new, self._options.level)
        while state is not None and base is not None and self._is_unreadable(base):
            base = self._chain.base.get(base.content)
            compared_with = f"the last readable version, {self._chain.label(base)}" if base else ""
            figures, diff, state = self._compared(base, new, self._options.level)
        if state is not None or figures is None:
            self._chain.unreadable.add(new.content)
            if base is not None:
                self._chain.base.setdefault(new.content, base)
            return LogEntry(commit, "unreadable", new, state=state)
        if base is not None:
            self._chain.base.setdefault(new.content, base)
        self._chain.renames.setdefault(new.content, {now: before for before, now in figures.renames})
        self._first = self._first or new
        kind: Kind = "added" if base is None else "changed" if figures.differs else "same"
        return LogEntry(
            commit, kind, new, figures, None, compared_with,
            old.path if old is not None and old.path != new.path and "sharded" not in (old.holder, new.holder) else "",
            old.holder if old is not None and old.holder != new.holder else "",
            commit.hash in self._cut and old is None,
            diff if self._options.detail else None,
        )  # fmt: skip

    def _base(self, old: Version | None) -> tuple[Version | None, str]:
        """What a version is compared with, and a word for it where it is not the version before."""
        word = self._options.compare_to
        if word == "previous":
            return old, ""
        base = self._first if word == "first" else self._fixed
        return (
            base,
            "" if base is None else f"{'the first version' if word == 'first' else word}, {self._chain.label(base)}",
        )

    def _is_unreadable(self, version: Version) -> bool:
        return version.content in self._chain.unreadable or self._versions.header(version).checkpoint is None

    # ------------------------------------------------------------ comparing

    def _compared(
        self, old: Version | None, new: Version | None, level: Level
    ) -> tuple[Figures | None, ModelDiff | None, State | None]:
        """Figures and, where asked for, the whole comparison; or why there are none."""
        before = self._chain.base.get(old.content) if old is not None else None
        before = before if self._options.compare_to == "previous" else None
        key = self._key(old, new, before, level)
        kept = self._kept(key)
        if kept is not None:
            return *kept, None
        sides = [Input("", state=Absent()) if v is None else self._versions.header(v) for v in (old, new)]
        for side in sides:
            if side.state is not None and not isinstance(side.state, Absent):
                return None, None, side.state
        diff = self._diff(old, new, sides[0], sides[1], level)
        movement = self._movement(diff, old, new, before) if level == "values" and new is not None else None
        figures = figures_of(diff, level, movement)
        self._keep(key, figures, diff)
        return figures, diff, None

    def _diff(self, old: Version | None, new: Version | None, a: Input, b: Input, level: Level) -> ModelDiff:
        options = self._compare
        if level == "header" or old is None or new is None:
            return compare_models(a, b, dataclasses.replace(options, shape_only=True))
        if level == "digest":
            from diffai.history.digests import digest_diff, digest_version

            threads = self._options.threads
            found = [digest_version(self._versions, v, self._store, threads=threads) for v in (old, new)]
            for each in found:
                if each.state is not None:
                    raise SourceError(getattr(each.state, "reason", "") or str(each.state))
            self._versions.keep_only(())
            return digest_diff(a, b, (found[0], found[1]), options)
        if self._options.detail:
            options = dataclasses.replace(options, statistics="few")
        opened = [self._versions.open(version, keep=True) for version in (old, new)]
        diff = compare_models(opened[0], opened[1], options)
        if not options.filter:
            return diff
        why = f"do not match --tensor {self._options.tensor}"  # in the user's words, not as our regular expression
        return dataclasses.replace(diff, left_out=tuple(dataclasses.replace(n, reason=why) for n in diff.left_out))

    def _movement(self, diff: ModelDiff, old: Version | None, new: Version, before: Version | None) -> Movement:
        """How far the weights moved; opens what is still closed."""
        from diffai.history.trajectory import Checkpoints, Row, measure

        first = self._first if self._first is not None and self._first.content != new.content else None
        current, previous, earlier, origin = (
            None if version is None else self._opened(version) for version in (new, old, before, first)
        )
        assert current is not None
        to_before = self._chain.renames.get(old.content, {}) if old is not None else {}
        names = self._first_names(old) if first is not None else {}
        rows = []
        for change in diff.tensors:
            if change.new is None or change.new.role != "weight" or change.new.alias_of:
                continue
            if not change.new.is_parameter:
                rows.append(Row(change.name, change.new))
                continue
            name = change.old.name if change.old is not None else change.name
            rows.append(Row(
                change.name, change.new,
                _alike(previous, name, change.new) if change.old is not None else None,
                _alike(earlier, to_before.get(name, name), change.new) if change.old is not None else None,
                _alike(origin, names.get(name, name), change.new),
            ))  # fmt: skip
        sums = measure(rows, Checkpoints(current, previous, earlier, origin), threads=self._options.threads)
        self._versions.keep_only((new, old, self._first, self._fixed))
        pairs = list(zip(rows, sums, strict=True))
        return movement_of(
            [(row.name, each) for row, each in pairs if row.current.is_parameter],
            [each for row, each in pairs if not row.current.is_parameter],
        )

    def _opened(self, version: Version) -> Checkpoint:
        opened = self._versions.open(version, keep=True)
        if opened.checkpoint is None:
            raise SourceError(f"{version.label}: {getattr(opened.state, 'reason', '') or opened.state}")
        return opened.checkpoint

    def _first_names(self, version: Version | None) -> dict[str, str]:
        """Name in the first version by name in ``version``, where they differ."""
        names: dict[str, str] = {}
        seen = set[str]()
        while version is not None and version.content not in seen:
            seen.add(version.content)
            renames = self._chain.renames.get(version.content, {})
            names = {now: renames.get(then, then) for now, then in names.items()} | {
                now: then for now, then in renames.items() if now not in names
            }
            version = self._chain.base.get(version.content)
        return names

    # ------------------------------------------------------------ remembering

    def _key(self, old: Version | None, new: Version | None, before: Version | None, level: Level) -> tuple[str, ...]:
        """All that the figures depend on; empty when a content has no name."""
        involved = [old, new, *((before, self._first) if level == "values" else ())]
        if any(version is not None and not version.content for version in involved):
            return ()
        size = str(new.size if new is not None else -1)
        return ("log", level, self._options.tensor, size, *(v.content if v is not None else "-" for v in involved))

    def _kept(self, key: tuple[str, ...]) -> tuple[Figures, ModelDiff | None] | None:
        if not key:
            return None
        try:
            figures = self._store.get("pair", *key)
            if figures is None:
                return None
            diff = self._store.get("pair", "diff", *key) if self._options.detail else None
            if self._options.detail and diff is None:
                return None
            return decode_figures(figures), decode(diff)
        except ValueError:
            return None

    def _keep(self, key: tuple[str, ...], figures: Figures, diff: ModelDiff) -> None:
        if key:
            self._store.put("pair", *key, value=encode_figures(figures))
            if self._options.detail:
                self._store.put("pair", "diff", *key, value=encode(diff))


def _alike(checkpoint: Checkpoint | None, name: str, spec: TensorSpec) -> TensorSpec | None:
    """The tensor of that name, where it has the same shape."""
    found = checkpoint.tensors.get(name) if checkpoint is not None else None
    return found if found is not None and found.shape == spec.shape else None
