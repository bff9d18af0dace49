"""What the way in which tensors are stored tells beside their values: equal parts, axes in another order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from diffai.comparison.result import TensorChange
from diffai.frozen import replace
from diffai.model import Checkpoint, TensorSpec
from diffai.tensors.engine import NumericOptions, compare_pairs
from diffai.tensors.permuted import order_of_axes


def made_of_the_same(
    old: Checkpoint, new: Checkpoint, pairs: Mapping[int, tuple[TensorSpec, TensorSpec]], threads: int
) -> list[int]:
    """Numbers of the pairs whose stored parts (codes, scales, ...) all have equal bytes: none of them need be decoded.

    Raises:
        SourceError: bytes are gone.

    """
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


def with_axes(
    old: Checkpoint, new: Checkpoint, changes: Iterable[TensorChange], known: Mapping[str, tuple[int, ...]]
) -> list[TensorChange]:
    """The changes, those of reshaped tensors with the order of axes that makes them equal, where there is one.

    Args:
        old, new: where values are read.
        changes: of tensors of both.
        known: orders that were found already, by new name.

    Raises:
        SourceError: bytes are gone.

    """
    told = []
    for change in changes:
        axes: tuple[int, ...] | None = None
        if "reshaped" in change.status and change.old is not None and change.new is not None:
            axes = known.get(change.name) or order_of_axes(old, new, change.old, change.new)
        told.append(replace(change, axes=axes) if axes else change)
    return told
