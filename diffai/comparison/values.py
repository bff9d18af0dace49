"""The values of two checkpoints: tensors paired, their values streamed once, each pair classified."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import compress, islice, pairwise

from diffai.comparison.pairing import Pairing, pair_tensors
from diffai.comparison.result import (
    MOST_JUDGED,
    CompareOptions,
    LeftOut,
    ProductChange,
    RenameEvidence,
    TensorChange,
)
from diffai.comparison.tensors import classify
from diffai.frozen import replace
from diffai.model import Checkpoint, PairFigures, TensorSpec, TensorSummary, natural_key
from diffai.models.inputs import Input

Values = Callable[[Sequence[tuple[TensorSpec, TensorSpec]]], list[PairFigures]]
"""Figures of pairs of tensors of equal shape, from someone who has read the values already."""

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all) while values are read."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.comparison.numbered import Numbered

_Pair = tuple[TensorSpec, TensorSpec, RenameEvidence]
Specs = Mapping[str, TensorSpec]

_BATCH = 4096
"""Pairs whose values are compared in one go; models with fewer tensors are one batch."""

_NO_SUMMARY = TensorSummary()
_IDENTICAL = PairFigures(identical=True)
SHAPES_ONLY = "only headers were read (--shape-only): values were not compared"


class Comparison:
    """One run over the values of two checkpoints."""

    def __init__(
        self, old: Input, new: Input, options: CompareOptions, progress: Progress | None, values: Values | None
    ) -> None:
        self._old, self._new = old, new
        self._options = options
        self._progress = progress
        self._values = values
        self._done = self._total = 0
        self._lacking: dict[str, int] = {}
        self.left_out: list[LeftOut] = []

    def run(self, old: Mapping[str, TensorSpec], new: Mapping[str, TensorSpec]) -> tuple[TensorChange, ...]:
        """What happened to each tensor of the selected ones of both sides, in natural order."""
        self._same_bytes = bool(self._old.identity) and self._old.identity == self._new.identity
        reason = self._why_not_values(old, new)
        pairing = pair_tensors(
            old, new, None if reason else self._digests, None if reason else self._alike,
            permuted=None if reason else self._permuted, name_map=self._options.name_map,
            find_renames=self._options.find_renames, numbered=self._numbered(values=not reason),
        )  # fmt: skip
        for before, after in pairing.idle:
            self.left_out.append(LeftOut("rule of --map", 1, f"gave no pair: {before} -> {after}"))
        if reason:
            count = len(pairing.names) + len(pairing.renamed)
            if count:
                self.left_out.append(LeftOut("tensor pairs", count, reason))
        changes = self._pairs(pairing, reason)
        self.left_out += (LeftOut("tensor pairs", number, why) for why, number in self._lacking.items())
        changes += self._alone(pairing.added, self._new.checkpoint, "added", reason)
        changes += self._alone(pairing.removed, self._old.checkpoint, "removed", reason)
        # Keys of 100,000 names take 10 MB: none are kept of names that are in order.
        if not all(a <= b for a, b in pairwise(natural_key(change.name) for change in changes)):
            changes.sort(key=lambda change: natural_key(change.name))
        return tuple(changes)

    def products(self, old: Specs, new: Specs, changes: Sequence[TensorChange]) -> tuple[ProductChange, ...]:
        """What changed in low-rank adapters as a whole, where there are such and values may be read here."""
        left, right = self._old.checkpoint, self._new.checkpoint
        if left is None or right is None or self._values is not None or self._why_not_values(old, new):
            return ()
        if not any(".lora_" in name for name in new):
            return ()
        from diffai.comparison.adapters import compare_products

        return compare_products(left, right, (old, new), changes)

    def _why_not_values(self, old: Mapping[str, TensorSpec], new: Mapping[str, TensorSpec]) -> str:
        """The reason why values may not be read; empty when they may."""
        if self._options.shape_only:
            return SHAPES_ONLY
        total = sum(s.nbytes for s in old.values()) + sum(s.nbytes for s in new.values())
        self._total = total
        limit = self._options.max_bytes
        if limit and total > limit and not self._same_bytes:
            return (
                f"{total:,} bytes of values are over the limit of {limit:,}: values were not compared"
                " (git config diffai.maxBytes 0 lifts it)"
            )
        return ""

    def _digests(
        self, old: Sequence[TensorSpec], new: Sequence[TensorSpec]
    ) -> tuple[list[TensorSummary], list[TensorSummary]]:
        return self._summarise(self._old, old, digest=True), self._summarise(self._new, new, digest=True)

    def _alike(self, old: Sequence[TensorSpec], new: Sequence[TensorSpec]) -> list[tuple[TensorSpec, TensorSpec]]:
        from diffai.tensors.likeness import alike

        assert self._old.checkpoint is not None and self._new.checkpoint is not None
        return alike(self._old.checkpoint, self._new.checkpoint, old, new)

    def _numbered(self, *, values: bool) -> Numbered | None:
        """What is known of tensors whose names every export gives anew."""
        left, right = self._old.checkpoint, self._new.checkpoint
        if left is None or right is None or not (left.uses and right.uses):
            return None
        from diffai.comparison.numbered import Numbered

        def agreeing(pairs: Sequence[tuple[TensorSpec, TensorSpec]]) -> list[tuple[TensorSpec, TensorSpec]]:
            from diffai.tensors.likeness import agreeing

            return agreeing(left, right, pairs)

        return Numbered(left.uses, right.uses, agreeing if values else None)

    def _permuted(
        self, old: Sequence[TensorSpec], new: Sequence[TensorSpec]
    ) -> list[tuple[TensorSpec, TensorSpec, tuple[int, ...]]]:
        from diffai.tensors.permuted import permuted

        assert self._old.checkpoint is not None and self._new.checkpoint is not None
        return permuted(self._old.checkpoint, self._new.checkpoint, old, new)

    def _with_axes(self, changes: list[TensorChange], pairing: Pairing) -> list[TensorChange]:
        """Say of what was reshaped whether it is the same after permuting axes; nothing where values are not read."""
        left, right = self._old.checkpoint, self._new.checkpoint
        if self._values is not None or left is None or right is None:
            return changes
        reshaped = ((c.old, c.new) for c in changes if "reshaped" in c.status)
        if not any(a and b and sorted(a.shape) == sorted(b.shape) for a, b in reshaped):
            return changes
        return _with_axes(left, right, changes, pairing.axes)

    def _summarise(self, side: Input, specs: Sequence[TensorSpec], *, digest: bool) -> list[TensorSummary]:
        from diffai.tensors.engine import summarise

        assert side.checkpoint is not None
        return summarise(side.checkpoint, specs, statistics=not digest, digest=digest, threads=self._options.threads)

    def _pairs(self, pairing: Pairing, reason: str) -> list[TensorChange]:
        if reason:
            return [classify(a, b, None, evidence=how, reason=reason) for a, b, how in _all_pairs(pairing)]
        judged = sum(a.role == "weight" for a, _, _ in _all_pairs(pairing)) <= MOST_JUDGED
        statistics = self._options.statistics == "all" or (self._options.statistics != "none" and judged)
        changes: list[TensorChange] = []
        pairs = _all_pairs(pairing)
        # In batches, because what is in the works for one tensor is several times what is kept of it.
        while batch := list(islice(pairs, _BATCH)):
            changes += self._batch(batch, statistics)
        return self._with_norms(self._with_axes(self._with_statistics(changes), pairing))

    def _batch(self, pairs: Sequence[_Pair], statistics: bool) -> list[TensorChange]:
        """Compare the values of some pairs: those of equal shape whose bytes are not known to be equal."""
        pairs, lacking = self._apart(pairs)
        unknown = [a.shape == b.shape and how != "digest" and not self._same_bytes for a, b, how in pairs]
        for place in self._made_of_the_same(pairs, unknown):
            unknown[place] = False
        figures = iter(self._figures([(a, b) for a, b, _ in compress(pairs, unknown)], statistics))
        changes = []
        for (a, b, how), to_compare in zip(pairs, unknown, strict=True):
            known = _IDENTICAL if a.shape == b.shape else None
            changes.append(classify(a, b, next(figures) if to_compare else known, evidence=how))
        return changes + lacking

    def _apart(self, pairs: Sequence[_Pair]) -> tuple[Sequence[_Pair], list[TensorChange]]:
        """The pairs whose values are at hand; the others, as not compared."""
        if self._same_bytes or not any(a.lacking or b.lacking for a, b, _ in pairs):
            return pairs, []
        apart = [(a, b, how, a.lacking or b.lacking) for a, b, how in pairs if a.lacking or b.lacking]
        for *_, why in apart:
            self._lacking[why] = self._lacking.get(why, 0) + 1
        changes = [classify(a, b, None, evidence=how, reason=why) for a, b, how, why in apart]
        return [pair for pair in pairs if not pair[0].lacking and not pair[1].lacking], changes

    def _made_of_the_same(self, pairs: Sequence[_Pair], unknown: Sequence[bool]) -> list[int]:
        """Numbers of the pairs that are stored in parts of equal bytes."""
        left, right = self._old.checkpoint, self._new.checkpoint
        if self._values is not None or left is None or right is None:
            return []
        wanted = {place: (a, b) for place, (a, b, _) in enumerate(pairs) if unknown[place] and a.values}
        if not wanted:
            return []
        return _made_of_the_same(left, right, wanted, self._options.threads)

    def _figures(self, pairs: Sequence[tuple[TensorSpec, TensorSpec]], statistics: bool) -> list[PairFigures]:
        if not pairs:
            return []
        if self._values is not None:
            return self._values(pairs)
        from diffai.tensors.engine import NumericOptions, compare_pairs

        assert self._old.checkpoint is not None and self._new.checkpoint is not None
        options = self._options
        return compare_pairs(
            self._old.checkpoint,
            self._new.checkpoint,
            pairs,
            NumericOptions(
                options.epsilon, options.rtol, options.threads, statistics, norms=options.update_size,
                rtol_at_roundoff=options.rtol_at_roundoff,
            ),
            self._tick if self._progress else None,
        )

    def _tick(self, count: int) -> None:
        self._done += count
        if self._progress:
            self._progress(self._done, self._total)

    def _with_statistics(self, changes: list[TensorChange]) -> list[TensorChange]:
        """Add the statistics that the first pass did not compute: of reshaped pairs, and of the few changed ones."""
        if self._options.statistics in ("none", "pairs"):
            return changes
        most = self._options.few_limit if self._options.statistics == "few" else len(changes)
        lacking = list(islice((i for i, c in enumerate(changes) if _lacks_statistics(c)), most + 1))
        if len(lacking) > most:
            # Of values that were not compared it is always told whether they are finite.
            lacking = [i for i, c in enumerate(changes) if "reshaped" in c.status]
        if not lacking:
            return changes
        olds = self._summarise(self._old, [_spec(changes[i].old) for i in lacking], digest=False)
        news = self._summarise(self._new, [_spec(changes[i].new) for i in lacking], digest=False)
        for i, before, after in zip(lacking, olds, news, strict=True):
            c = changes[i]
            changes[i] = TensorChange(c.name, c.status, c.old, c.new, c.figures, before, after, c.evidence, c.reason)
        return changes

    def _with_norms(self, changes: list[TensorChange]) -> list[TensorChange]:
        """Add the norms of identical parameters that no pass over the values met, where these are asked for."""
        if not self._options.update_size or self._values is not None:
            return changes
        lacking = [i for i, c in enumerate(changes) if c.is_parameter and c.figures == _IDENTICAL]
        if not lacking:
            return changes
        for i, summary in zip(
            lacking, self._summarise(self._new, [_spec(changes[i].new) for i in lacking], digest=False), strict=True
        ):
            statistics = summary.statistics
            if statistics is not None and statistics.mean is not None and statistics.std is not None:
                finite = statistics.element_count - statistics.nan_count - statistics.pos_inf_count
                finite -= statistics.neg_inf_count
                norm = math.sqrt(finite) * math.hypot(statistics.mean, statistics.std)
                changes[i] = replace(changes[i], figures=PairFigures(identical=True, norm=norm))
        return changes

    def _alone(
        self, specs: Sequence[TensorSpec], checkpoint: Checkpoint | None, status: str, reason: str
    ) -> list[TensorChange]:
        """Added or removed tensors, with statistics where wanted."""
        if not specs or checkpoint is None:
            return []
        few = self._options.statistics == "few"
        # Of what came to a model that was there before, it is always told whether it is finite.
        grown = status == "added" and self._old.checkpoint is not None
        wanted = not reason and (
            self._options.statistics == "all" or (few and (grown or len(specs) <= self._options.few_limit))
        )
        side = self._new if status == "added" else self._old
        summaries = self._summarise(side, specs, digest=False) if wanted else [_NO_SUMMARY] * len(specs)
        if status == "added":
            return [
                TensorChange(s.name, ("added",), new=s, new_summary=summary)
                for s, summary in zip(specs, summaries, strict=True)
            ]
        return [
            TensorChange(s.name, ("removed",), old=s, old_summary=summary)
            for s, summary in zip(specs, summaries, strict=True)
        ]


def _all_pairs(pairing: Pairing) -> Iterator[_Pair]:
    """Pairs of one name in file order, then renamed ones, which come from wherever they stood."""
    yield from ((a, b, "") for a, b in pairing.same_name)
    yield from pairing.renamed


def _lacks_statistics(change: TensorChange) -> bool:
    figures = change.figures
    if not change.differs or (figures is not None and (figures.identical or figures.as_bytes)):
        return False
    return figures is None or figures.old_statistics is None


def _spec(spec: TensorSpec | None) -> TensorSpec:
    assert spec is not None
    return spec


def _made_of_the_same(
    old: Checkpoint, new: Checkpoint, pairs: Mapping[int, tuple[TensorSpec, TensorSpec]], threads: int
) -> list[int]:
    """Numbers of the pairs whose stored parts (codes, scales, ...) all have equal bytes: none of them need be decoded.

    Raises:
        SourceError: bytes are gone.

    """
    from diffai.tensors.engine import NumericOptions, compare_pairs

    flat: list[tuple[TensorSpec, TensorSpec]] = []
    owners: list[int] = []
    for place, (a, b) in pairs.items():
        olds, news = old.made_of(a), new.made_of(b)
        kinds = [[(part.dtype, part.shape) for part in side] for side in (olds, news)]
        if olds and kinds[0] == kinds[1] and (a.dtype, a.encoding) == (b.dtype, b.encoding):
            flat += zip(olds, news, strict=True)
            owners += [place] * len(olds)
    if not flat:
        return []
    figures = compare_pairs(old, new, flat, NumericOptions(threads=threads, statistics=False))
    differing = {place for place, found in zip(owners, figures, strict=True) if not found.identical}
    return sorted(set(owners) - differing)


def _with_axes(
    old: Checkpoint, new: Checkpoint, changes: Sequence[TensorChange], known: Mapping[str, tuple[int, ...]]
) -> list[TensorChange]:
    """The changes, those of reshaped tensors with the order of axes that makes them equal, where there is one.

    Args:
        old, new: where values are read.
        changes: of tensors of both.
        known: orders that were found already, by new name.

    Raises:
        SourceError: bytes are gone.

    """
    from diffai.tensors.permuted import order_of_axes

    told = []
    for change in changes:
        axes: tuple[int, ...] | None = None
        if "reshaped" in change.status and change.old is not None and change.new is not None:
            axes = known.get(change.name) or order_of_axes(old, new, change.old, change.new)
        told.append(replace(change, axes=axes) if axes else change)
    return told
