"""What each commit of a walk did: two versions compared as far as was asked, and remembered."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from diffai.cache.store import Store
from diffai.comparison.codec import decode, encode
from diffai.comparison.models import Input, compare_models
from diffai.comparison.result import CompareOptions, ModelDiff
from diffai.errors import SourceError
from diffai.frozen import frozen
from diffai.globs import name_regex
from diffai.history.entries import Level, LogOptions
from diffai.history.figures import (
    CommitFigures,
    Found,
    Movement,
    decode_figures,
    encode_figures,
    figures_of,
    movement_of,
)
from diffai.history.plan import Coming, Need
from diffai.history.version import Version
from diffai.history.versions import Versions
from diffai.model import Absent, Checkpoint, State, TensorSpec
from diffai.snapshots.files import sentence

if TYPE_CHECKING:
    from diffai.history.together import Together


@frozen
class Compared:
    """Figures and, where they were asked for, the whole comparison; or the ``state`` for which there are none."""

    figures: CommitFigures | None = None
    diff: ModelDiff | None = None
    state: State | None = None


class Comparisons:
    """Compares versions, and remembers the figures.

    Args:
        versions: opens them.
        options: how far to look.
        store: where figures are remembered.
        growing: the walk may end at any commit, so that little should be computed ahead.
    """

    def __init__(self, versions: Versions, options: LogOptions, store: Store, *, growing: bool) -> None:
        self._versions, self._options, self._store = versions, options, store
        self._compare = CompareOptions(
            filter=name_regex(options.tensor), threads=options.threads, statistics="few" if options.detail else "pairs",
            update_size=options.level == "values",
        )  # fmt: skip
        self._growing = growing
        self._together: Together | None = None

    def compare(self, need: Need, level: Level, coming: Coming, progress: Callable[[float], None] | None) -> Compared:
        """What one commit did.

        Args:
            need: the commit.
            level: how far to look.
            coming: what follows, which is computed together with it where that saves reading.
            progress: called with the number of commits that the values read so far are worth.

        Raises:
            SourceError: bytes are gone or damaged.
        """
        kept = self.known(need, level)
        if kept is not None:
            return kept
        sides = [Input("", state=Absent()) if v is None else self._versions.header(v) for v in (need.old, need.new)]
        for side in sides:
            if side.state is not None and not isinstance(side.state, Absent):
                return Compared(state=side.state)
        if level == "values" and need.new is not None:
            diff, movement = self._values(need, sides[0], sides[1], coming, progress)
        else:
            diff, movement = self._without_values(need, sides[0], sides[1], level), None
        figures = figures_of(diff, level, movement, _found(diff, self._options.findings))
        self._keep(need, level, figures, diff)
        return Compared(figures, diff)

    def _without_values(self, need: Need, a: Input, b: Input, level: Level) -> ModelDiff:
        old, new = need.old, need.new
        if level == "header" or old is None or new is None:
            return compare_models(a, b, dataclasses.replace(self._compare, shape_only=True))
        from diffai.history.digests import digest_diff, digest_version

        threads = self._options.threads
        found = [digest_version(self._versions, v, self._store, threads=threads) for v in (old, new)]
        for each in found:
            if each.state is not None:
                raise SourceError(sentence(each.state))
        self._versions.keep_only(())

        def by_values(olds: Sequence[TensorSpec], news: Sequence[TensorSpec]) -> list[tuple[TensorSpec, TensorSpec]]:
            from diffai.tensors.likeness import alike

            return alike(self._opened(old), self._opened(new), olds, news)

        def agreeing(pairs: Sequence[tuple[TensorSpec, TensorSpec]]) -> list[tuple[TensorSpec, TensorSpec]]:
            from diffai.tensors.likeness import agreeing

            return agreeing(self._opened(old), self._opened(new), pairs)

        try:
            return digest_diff(a, b, (found[0], found[1]), self._compare, by_values, agreeing)
        finally:
            self._versions.keep_only(())

    # ------------------------------------------------------------ values

    def _values(
        self, need: Need, a: Input, b: Input, coming: Coming, progress: Callable[[float], None] | None
    ) -> tuple[ModelDiff, Movement]:
        """The comparison, and how far the weights moved: together with coming commits, or by itself."""
        from diffai.history.together import Together

        if self._together is None:
            self._together = Together(self._versions, self._compare, growing=self._growing)
        options = self._compare if need.old is not None else dataclasses.replace(self._compare, shape_only=True)
        found = self._together.find(need, coming, progress)
        if found is not None:
            # Also of equal bytes the norms are wanted, which were computed.
            diff = compare_models(a, dataclasses.replace(b, identity=""), options, values=found.figures)
            diff = dataclasses.replace(diff, new=dataclasses.replace(diff.new, identity=b.identity))
        else:
            opened = {v.key: self._opened(v) for v in need.versions if v is not None}
            sides = [
                side if version is None else dataclasses.replace(side, checkpoint=opened[version.key])
                for version, side in ((need.old, a), (need.new, b))
            ]
            diff = compare_models(sides[0], sides[1], options)
            found = self._together.alone(need, diff, opened)
            self._versions.keep_only((need.new, need.old, need.first))
        return self._in_users_words(diff), movement_of(diff, found.drift, found.turn, found.weights)

    def _opened(self, version: Version) -> Checkpoint:
        opened = self._versions.open(version, keep=True)
        if opened.checkpoint is None:
            reason = sentence(opened.state) if opened.state is not None else "holds no model"
            raise SourceError(f"{version.label}: {reason}")
        return opened.checkpoint

    def _in_users_words(self, diff: ModelDiff) -> ModelDiff:
        """The glob that was given, not the regular expression that it became."""
        if not self._options.tensor or not diff.left_out:
            return diff
        why = f"not matching --tensor {self._options.tensor}"
        left_out = tuple(dataclasses.replace(n, reason=why) if "--filter" in n.reason else n for n in diff.left_out)
        return dataclasses.replace(diff, left_out=left_out)

    # ------------------------------------------------------------ remembering

    def known(self, need: Need, level: Level) -> Compared | None:
        """What is remembered of a commit; None when it has to be computed."""
        key = self._key(need, level)
        if not key:
            return None
        try:
            figures = self._store.get("pair", *key)
            if figures is None:
                return None
            diff = self._store.get("pair", "diff", *key) if self._options.detail else None
            if self._options.detail and diff is None:
                return None
            return Compared(decode_figures(figures), decode(diff))
        except ValueError:
            return None

    def _keep(self, need: Need, level: Level, figures: CommitFigures, diff: ModelDiff) -> None:
        key = self._key(need, level)
        if key:
            self._store.put("pair", *key, value=encode_figures(figures))
            if self._options.detail:
                self._store.put("pair", "diff", *key, value=encode(diff))

    def _key(self, need: Need, level: Level) -> tuple[str, ...]:
        """All that the figures depend on; empty when a content has no name."""
        involved = (need.old, need.new, *((need.before, need.first) if level == "values" else ()))
        if any(version is not None and not version.content for version in involved):
            return ()
        size = str(need.new.size if need.new is not None else -1)
        names = repr((need.names_before, need.names_first)) if level == "values" else ""
        contents = (" ".join(version.named_content) if version is not None else "-" for version in involved)
        asked = " ".join(self._options.findings)
        return ("log", level, self._options.tensor, size, names, asked, *contents)


def _found(diff: ModelDiff, names: Sequence[str]) -> tuple[Found, ...]:
    """What the analyses of these names find in a change."""
    if not names or diff.old.state is not None or diff.new.state is not None:
        return ()
    from diffai.analyses.context import Context
    from diffai.analyses.table import row_of

    # Asked for, so that it says why it says nothing; no file is open, so that it speaks of what the versions record.
    asked = (row.find(diff, Context(row, asked=True)) for row in map(row_of, names))
    return tuple(
        Found(each.name, each.severity, each.text, each.status != "not computed")
        for each in asked
        if each is not None and each.status != "nothing"
    )
