"""Tensors that are another one with its axes in another order: as other formats lay out the same kernel."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np

from diffai.model import Checkpoint, TensorSpec
from diffai.tensors.dtypes import Array, has_values

_MOST_HELD = 32 << 20  # bytes of one tensor; larger ones are not looked at
_MOST_RANK = 5
_BLOCK = 1 << 20
_SAMPLE = 256

Found = tuple[TensorSpec, TensorSpec, tuple[int, ...]]


def permuted(
    old: Checkpoint, new: Checkpoint, olds: Sequence[TensorSpec], news: Sequence[TensorSpec]
) -> list[Found]:
    """Pairs of which the new one is the old one after permuting its axes, one to one, with the order of axes.

    Only equal elements prove it: tensors are held against each other where sums over their elements, which no order
    changes, agree. Tensors of one value prove nothing and are in no pair.

    Raises:
        SourceError: bytes are gone.
    """
    waiting: dict[object, list[TensorSpec]] = {}
    kinds = {_kind(spec) for spec in olds if _may_be(spec)} & {_kind(spec) for spec in news if _may_be(spec)}
    for spec in olds:
        if _may_be(spec) and _kind(spec) in kinds:
            waiting.setdefault((_kind(spec), _sums(old, spec)), []).append(spec)
    found = []
    for spec in news:
        if not (_may_be(spec) and _kind(spec) in kinds):
            continue
        rows = waiting.get((_kind(spec), _sums(new, spec)), [])
        for place, other in enumerate(rows):
            axes = order_of_axes(old, new, other, spec)
            if axes is not None:
                found.append((rows.pop(place), spec, axes))
                break
    return found


def order_of_axes(old: Checkpoint, new: Checkpoint, a: TensorSpec, b: TensorSpec) -> tuple[int, ...] | None:
    """Axes of ``a`` in the order in which they are those of ``b``, where that makes all elements equal; else None.

    Raises:
        SourceError: bytes are gone.
    """
    if not (_may_be(a) and _may_be(b)) or _kind(a) != _kind(b) or a.shape == b.shape:
        return None
    left, right = _array(old, a), _array(new, b)
    if (right == right.reshape(-1)[0]).all():
        return None
    for axes in permutations(range(len(a.shape))):
        if tuple(a.shape[axis] for axis in axes) != b.shape:
            continue
        turned = left.transpose(axes)
        if np.array_equal(turned.flat[:_SAMPLE], right.flat[:_SAMPLE]) and np.array_equal(turned, right):
            return axes
    return None


def _may_be(spec: TensorSpec) -> bool:
    fits = 2 <= len(spec.shape) <= _MOST_RANK and 0 < spec.nbytes <= _MOST_HELD
    return fits and spec.role == "weight" and has_values(spec.values_dtype) and spec.nbytes % spec.elements == 0


def _kind(spec: TensorSpec) -> tuple[str, str, tuple[int, ...]]:
    return spec.dtype, spec.values, tuple(sorted(spec.shape))


def _words(spec: TensorSpec, data: Array) -> Array:
    """Elements as unsigned integers, or as pairs of them."""
    size = spec.nbytes // spec.elements
    return data.view(f"u{min(size, 8)}").reshape(-1, max(1, size // 8))


def _sums(checkpoint: Checkpoint, spec: TensorSpec) -> tuple[int, int]:
    """Sum and sum of squares of all elements' codes, modulo 2**64: no order of elements changes them."""
    total, squares = 0, 0
    for start in range(0, spec.nbytes, _BLOCK):
        data = np.empty(min(_BLOCK, spec.nbytes - start), np.uint8)
        checkpoint.read_into(spec, start, data.data)
        words = _words(spec, data).astype(np.uint64)
        total += int(np.add.reduce(words, axis=None))
        squares += int(np.add.reduce(words * words, axis=None))
    return total % (1 << 64), squares % (1 << 64)


def _array(checkpoint: Checkpoint, spec: TensorSpec) -> Array:
    """The whole tensor, its elements as they are in bytes."""
    data = np.empty(spec.nbytes, np.uint8)
    checkpoint.read_into(spec, 0, data.data)
    size = spec.nbytes // spec.elements
    return data.view(f"u{size}" if size in (1, 2, 4, 8) else f"V{size}").reshape(spec.shape)
