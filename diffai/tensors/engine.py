"""The numeric core's front door: figures of pairs of tensors, summaries of single ones.

Memory is bounded by the blocks of the threads, whatever the size of a tensor. Results do not depend on the number
of threads: tensors are cut at the same places and the pieces merged in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from diffai.frozen import replace
from diffai.model import Checkpoint, Delta, NonFinite, PairFigures, Statistics, TensorSpec, TensorSummary
from diffai.tensors import blocks
from diffai.tensors.blocks import Batch, Chunk, Pair, Piece, Workspace
from diffai.tensors.delta import Difference
from diffai.tensors.digest import Summariser, Summary, empty_summary
from diffai.tensors.dtypes import has_values
from diffai.tensors.joined import IDENTICAL
from diffai.tensors.pairs import Comparer, Figures, Kind
from diffai.tensors.pairs import NumericOptions as NumericOptions
from diffai.tensors.statistics import Moments
from diffai.tensors.workers import run, thread_count

Progress = Callable[[int], None]
_FINITE = NonFinite()


def compare_pairs(
    old: Checkpoint,
    new: Checkpoint,
    pairs: Sequence[Pair],
    options: NumericOptions,
    progress: Progress | None = None,
) -> list[PairFigures]:
    """Compare the values of pairs of tensors.

    Args:
        old, new: where the values are read.
        pairs: specs of both sides, equal in shape; dtypes may differ.
        options: tolerance, threads, what to compute.
        progress: called on the calling thread with further bytes done, of both sides together.

    Returns:
        One result a pair, in the order of ``pairs``.

    Raises:
        SourceError: bytes are gone.
    """
    sizes = blocks.SIZES
    random_access = old.random_access and new.random_access
    comparer = Comparer(old, new, pairs, options)
    # A stream decides the order; two of them are taken to be in the same order.
    leader = 1 if old.random_access and not new.random_access else 0
    order = blocks.file_order((old, new)[leader], [pair[leader] for pair in pairs])
    groups = [id(kind) if kind.joinable else None for kind in comparer.kinds]
    pieces = blocks.plan(comparer.counts, groups, order, sizes, join=random_access)
    threads = thread_count(options.threads, _threadable(pieces, pairs)) if random_access else 1
    done = run(pieces, comparer.compare, lambda: Workspace(sizes), threads, _reporter(pairs, progress))

    results: list[PairFigures | None] = [None] * len(pairs)
    parts: dict[int, list[tuple[Chunk, Figures]]] = {}
    for piece, figures in zip(pieces, done, strict=True):
        if isinstance(piece, Batch):
            for index, each in zip(piece.indices, figures, strict=True):
                results[index] = each.result
        else:
            parts.setdefault(piece.index, []).append((piece, figures[0]))

    # Equal chunks of tensors that differ elsewhere: their bytes count in the figures after all.
    owed = [
        (chunk, figures)
        for row in parts.values()
        if not all(figures.same for _, figures in row)
        for chunk, figures in row
        if figures.difference is None
    ]
    paid = run(owed, lambda item, space: comparer.summarise_same(item[0], space), lambda: Workspace(sizes),
               threads, lambda _: None)  # fmt: skip
    for (_, part), known in zip(owed, paid, strict=True):
        part.difference, part.old, part.new = known.difference, known.old, known.new
    return [
        finish_pair(pair, kind, [figures for _, figures in parts.get(index, ())], options) if result is None else result
        for index, (pair, kind, result) in enumerate(zip(pairs, comparer.kinds, results, strict=True))
    ]


def finish_pair(pair: Pair, kind: Kind, parts: list[Figures], options: NumericOptions) -> PairFigures:
    """Merge the pieces of one pair; the first of them is changed."""
    if len(parts) == 1 and parts[0].result is not None:
        return parts[0].result
    old, new = pair
    if kind.may_be_same and old.nbytes == new.nbytes and all(part.same for part in parts):
        return _identical(parts) if options.norms else IDENTICAL
    if kind.as_bytes:
        return _finish_bytes(pair, parts, statistics=options.statistics)
    total = parts[0] if parts else Figures(True, Difference(), Moments(), Moments())
    for part in parts[1:]:
        total.add(part)
    assert total.difference is not None and total.old is not None and total.new is not None
    elements = old.elements
    delta = total.difference.delta(elements)
    cast = total.difference.cast() if kind.rule.target else None
    before, after = (_nonfinite(side) for side in (total.old, total.new))
    strange = (before, after) if before != _FINITE or after != _FINITE else None
    if not options.statistics:
        return PairFigures(False, delta, cast, nonfinite=strange)
    return PairFigures(
        False, delta, cast, total.old.statistics(kind.old, elements), total.new.statistics(kind.new, elements),
        nonfinite=strange,
    )  # fmt: skip


def _nonfinite(side: Moments) -> NonFinite:
    return NonFinite(side.nans, side.positive_infs, side.negative_infs)


def _identical(parts: list[Figures]) -> PairFigures:
    """Of equal bytes, with their norm where every part was summed up."""
    sides = [part.old for part in parts if part.old is not None]
    if not sides or len(sides) < len(parts):
        return IDENTICAL
    for other in sides[1:]:
        sides[0].add(other)
    return PairFigures(identical=True, norm=sides[0].norm)


def _finish_bytes(pair: Pair, parts: list[Figures], *, statistics: bool) -> PairFigures:
    """A pair without values: bytes that differ, and those that only one side has."""
    changed = sum(part.difference.changed for part in parts if part.difference is not None)
    sizes = [spec.nbytes for spec in pair]
    changed += max(sizes) - min(sizes)
    delta = Delta(max(sizes), changed, 0, 0, 0.0, 0.0, 0.0, 0.0, None, None)
    unknown: list[Statistics | None] = [None, None]
    if statistics:
        unknown = [Moments().statistics(spec.values_dtype, spec.elements) for spec in pair]
    return PairFigures(False, delta, None, unknown[0], unknown[1], as_bytes=True)


def summarise(
    checkpoint: Checkpoint,
    specs: Sequence[TensorSpec],
    *,
    statistics: bool,
    digest: bool,
    threads: int = 0,
    progress: Progress | None = None,
) -> list[TensorSummary]:
    """Summarise tensors, each in one pass over its bytes.

    Args:
        checkpoint: where the values are read.
        specs: tensors of it.
        statistics, digest: what to compute.
        threads: 0 chooses by the processors and the amount of work.
        progress: called on the calling thread with further bytes done.

    Returns:
        One summary a tensor, in the order of ``specs``; an empty one of values that are not at hand.

    Raises:
        SourceError: bytes are gone.
    """
    if any(spec.lacking for spec in specs):
        held = [spec for spec in specs if not spec.lacking]
        rest = iter(summarise(checkpoint, held, statistics=statistics, digest=digest, threads=threads,
                              progress=progress))  # fmt: skip
        return [TensorSummary() if spec.lacking else next(rest) for spec in specs]
    sizes = blocks.SIZES
    rows = [(spec,) for spec in specs]
    counts = [spec.elements if has_values(spec.values_dtype) else spec.nbytes for spec in specs]
    # A digest runs through a tensor from its first byte to its last.
    cut = replace(sizes, chunk=max(counts, default=1) or 1) if digest else sizes
    groups = [
        spec.values_dtype if has_values(spec.values_dtype) and spec.values_dtype != "F4" else None for spec in specs
    ]
    order = blocks.file_order(checkpoint, specs)
    pieces = blocks.plan(counts, groups, order, cut, join=checkpoint.random_access)
    used = thread_count(threads, _threadable(pieces, rows)) if checkpoint.random_access else 1
    summariser = Summariser(checkpoint, specs, statistics=statistics, digest=digest)
    done = run(pieces, summariser.summarise, lambda: Workspace(sizes), used, _reporter(rows, progress))

    found: list[Summary | None] = [None] * len(specs)
    for piece, summaries in zip(pieces, done, strict=True):
        for index, summary in zip(_indices(piece), summaries, strict=True):
            before = found[index]
            if before is None:
                found[index] = summary
            else:
                before.add(summary)
    return [
        empty_summary(spec, statistics=statistics, digest=digest)
        if summary is None
        else summary.summary(spec, statistics=statistics)
        for spec, summary in zip(specs, found, strict=True)
    ]


def _indices(piece: Piece) -> tuple[int, ...]:
    return piece.indices if isinstance(piece, Batch) else (piece.index,)


def _threadable(pieces: Sequence[Piece], rows: Sequence[Sequence[TensorSpec]]) -> int:
    """Bytes that several threads would do faster than one: those of large arrays. Joined tensors are mostly Python."""
    large = {piece.index for piece in pieces if isinstance(piece, Chunk)}
    return sum(spec.nbytes for index in large for spec in rows[index])


def _reporter(rows: Sequence[Sequence[TensorSpec]], progress: Progress | None) -> Callable[[Piece], None]:
    """Turn pieces done into bytes done."""
    if progress is None:
        return lambda _: None

    def report(piece: Piece) -> None:
        if isinstance(piece, Batch):
            progress(sum(spec.nbytes for index in piece.indices for spec in rows[index]))
        else:
            progress(sum(blocks.span(blocks.unit_bits(spec), piece.start, piece.stop)[1] for spec in rows[piece.index]))

    return report
