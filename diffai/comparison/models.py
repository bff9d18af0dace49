"""Compare two opened checkpoints: pair, stream the values once, classify, count."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import compress, islice, pairwise

from diffai.comparison.facets import compare_facets
from diffai.comparison.pairing import Pairing, pair_tensors
from diffai.comparison.result import (
    MOST_JUDGED,
    CompareOptions,
    LeftOut,
    ModelDiff,
    ProductChange,
    RenameEvidence,
    Side,
    TensorChange,
)
from diffai.comparison.selection import Selection, within_tolerance
from diffai.comparison.tensors import classify, count, count_elements
from diffai.frozen import replace
from diffai.model import (
    Absent,
    Checkpoint,
    LfsPointer,
    NotRead,
    PairFigures,
    Scalar,
    TensorSpec,
    TensorSummary,
    natural_key,
)
from diffai.models.inputs import Input

__all__ = ["SHAPES_ONLY", "Input", "Progress", "Values", "compare_models"]

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


def compare_models(
    old: Input,
    new: Input,
    options: CompareOptions = CompareOptions(),
    progress: Progress | None = None,
    values: Values | None = None,
) -> ModelDiff:
    """Compare two sides.

    A side without checkpoint is kept as its state; the other side's tensors are then added or removed when the
    state is ``Absent``, and only counted otherwise. With ``values`` no tensor is read here: headers are enough.

    Raises:
        SourceError: a file changed or ended early while its values were read.
        UsageError: a regular expression in the options is wrong.

    """
    if values is None and _seen_differently(old, new):  # with values they are of these very tensors
        from diffai.comparison.agreement import seen_alike

        old, new = seen_alike(old, new)
    if options.while_open is None:
        return _compared(old, new, options, progress, values)
    diff = _compared(old, new, replace(options, while_open=None), progress, values)
    if progress is not None:
        progress(1, 1)  # this work is done, and what follows has a bar of its own
    return options.while_open(diff, old, new)


def _compared(
    old: Input, new: Input, options: CompareOptions, progress: Progress | None, values: Values | None
) -> ModelDiff:
    """The comparison of two sides that are seen alike."""
    selection = Selection(options, old.checkpoint, new.checkpoint)
    left_specs, right_specs = one_role(selection.specs(old.checkpoint), selection.specs(new.checkpoint))
    readable = not options.shape_only
    left_side = _side(old, left_specs, readable=readable)
    same = left_side if right_specs is left_specs else None
    sides = left_side, _side(new, right_specs, same, readable=readable)
    if any(side.checkpoint is None and not isinstance(side.state, Absent) for side in (old, new)) or (
        old.checkpoint is None and new.checkpoint is None
    ):
        # Nothing can be said of the tensors: no invented "removed".
        return ModelDiff(*sides, options, same_bytes=_same_bytes(old, new))
    place = None
    if options.cache_size and values is None:
        from diffai.comparison.remembered import remembered

        place = remembered(old, new, options)
    known = place.get() if place is not None else None
    if known is not None:
        return replace(known, old=sides[0], new=sides[1], options=options)
    work = _Comparison(old, new, options, progress, values)
    tensors = work.run(left_specs, right_specs)
    facets = compare_facets(old.checkpoint or Checkpoint(), new.checkpoint or Checkpoint(), tensors, selection.keys)
    for side in (old, new):
        if side.checkpoint is not None and not options.shape_only:
            side.checkpoint.verify_unchanged()
    totals = count(tensors)
    left_out = (*selection.left_out(), *work.left_out, *facets.left_out, *within_tolerance(options, totals))
    diff = ModelDiff(
        *sides, options, tensors, facets.metadata, facets.training, left_out, totals, facets.classes,
        facets.graph, facets.facts, facets.parts, facets.not_expressible,
        True if old.identity and old.identity == new.identity else None, selection.nearest(left_specs, right_specs),
        work.products(left_specs, right_specs, tensors),
    )  # fmt: skip
    if place is not None:
        place.put(diff)
    return diff


def _seen_differently(old: Input, new: Input) -> bool:
    """Whether the formats differ, or codes of one side could be decoded and those of the other not."""
    left, right = old.checkpoint, new.checkpoint
    if left is None or right is None:
        return False
    return left.format != right.format or bool(left.undecoded or right.undecoded)


def _same_bytes(old: Input, new: Input) -> bool | None:
    """Whether two sides of which at least one could not be read have the same bytes; None where that is not known."""
    if old.identity and old.identity == new.identity:
        return True
    if isinstance(old.state, LfsPointer) and isinstance(new.state, LfsPointer):
        return old.state.oid == new.state.oid
    if old.size >= 0 and new.size >= 0 and old.size != new.size:
        return False
    states = [side.state for side in (old, new) if isinstance(side.state, NotRead)]
    if states and (old.checkpoint or new.checkpoint):
        return False  # content decides what is read
    digests = {state.digest for state in states}
    if len(digests) == 2 and all(digests):
        return False
    if old.path and new.path:
        import filecmp

        try:
            return filecmp.cmp(old.path, new.path, shallow=False)
        except OSError:
            return None
    return True if len(states) == 2 and len(digests) == 1 and all(digests) else None


def one_role(old: Specs, new: Specs) -> tuple[Specs, Specs]:
    """Both sides' specs, in which a tensor that only one of them takes for training state is a weight."""
    if old is new:
        return old, new
    apart = [name for name, spec in old.items() if name in new and new[name].role != spec.role]
    if not apart:
        return old, new
    weights = [{name: replace(side[name], role="weight") for name in apart} for side in (old, new)]
    return {**old, **weights[0]}, {**new, **weights[1]}


def _side(side: Input, specs: Mapping[str, TensorSpec], same: Side | None = None, *, readable: bool) -> Side:
    """One side; ``same`` is one of the very same specs, whose counts hold for this one."""
    if side.checkpoint is None:
        return Side(side.label, size=side.size, state=side.state, identity=side.identity)
    parameters, dtypes = (same.parameters, same.dtypes) if same else count_elements(specs)
    training = bool(side.checkpoint.training) or any(spec.role == "training" for spec in specs.values())
    return Side(
        side.label,
        side.checkpoint.format,
        side.size,
        len(specs),
        parameters,
        sum(elements for _, elements in dtypes),
        dtypes,
        side.checkpoint.problems,
        identity=side.identity,
        training=training,
        recorded=_recorded(side.checkpoint, values=readable) if training or side.checkpoint.metadata else (),
        series=tuple(side.checkpoint.series.items()),
    )


def _recorded(checkpoint: Checkpoint, *, values: bool) -> tuple[tuple[str, Scalar], ...]:
    from diffai.comparison.recorded import recorded

    return recorded(checkpoint, values=values)


class _Comparison:
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
        from diffai.comparison.stored import with_axes

        return with_axes(left, right, changes, pairing.axes)

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
        from diffai.comparison.stored import made_of_the_same

        return made_of_the_same(left, right, wanted, self._options.threads)

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
