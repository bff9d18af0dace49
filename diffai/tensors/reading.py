"""Numbers of one tensor for the second pass: in blocks, some of its rows, or all of it as a matrix.

What is read here is read again, after the comparison: in pieces of bounded size, in any order that a checkpoint with
random access allows. NaN and infinity are handed on as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from diffai.model import Checkpoint, TensorSpec
from diffai.tensors.blocks import span, unit_bits
from diffai.tensors.dtypes import COMPLEX, Array, decode64, has_values

BLOCK = 1 << 18
"""Elements read at once: 2 MiB of float64."""


def has_numbers(spec: TensorSpec) -> bool:
    """Whether a tensor's values are at hand and mean numbers."""
    return has_values(spec.values_dtype) and not spec.lacking


LONGEST_ROW = 1 << 21
"""Elements of the longest row that is held."""


def is_matrix(spec: TensorSpec) -> bool:
    """Whether a weight has two dimensions or more, real numbers, rows that are not too long, and can be read."""
    return _has_rows(spec) and matrix_shape(spec)[1] <= LONGEST_ROW


def is_too_wide(spec: TensorSpec) -> bool:
    """Whether it is no matrix for the sole reason that its rows are longer than :data:`LONGEST_ROW`."""
    return _has_rows(spec) and matrix_shape(spec)[1] > LONGEST_ROW


def _has_rows(spec: TensorSpec) -> bool:
    real = spec.values_dtype not in COMPLEX
    return len(spec.shape) >= 2 and spec.elements > 0 and real and spec.role == "weight" and has_numbers(spec)


def matrix_shape(spec: TensorSpec) -> tuple[int, int]:
    """Rows and columns of a tensor as a matrix: its first axis by all others, or all others by a longer last one.

    So filters of a convolution stand apart whether they are first (torch, ONNX) or last (Keras, Flax), and so do the
    inputs of experts that are stacked.
    """
    if filters_last(spec):
        return spec.elements // max(spec.shape[-1], 1), spec.shape[-1]
    return spec.shape[0], spec.elements // max(spec.shape[0], 1)


def filters_last(spec: TensorSpec) -> bool:
    """Whether a tensor of more than two dimensions is a matrix by its last axis."""
    return len(spec.shape) > 2 and spec.shape[-1] > spec.shape[0]


def values(checkpoint: Checkpoint, spec: TensorSpec, start: int, stop: int) -> Array:
    """Elements ``start`` to ``stop`` as float64, row-major; the moduli of complex ones.

    Raises:
        SourceError: bytes are gone.
    """
    bits = unit_bits(spec)
    odd = bits * start % 8 != 0  # two values of four bits share a byte
    first = start - odd
    offset, length = span(bits, first, stop)
    raw = np.empty(length, np.uint8)
    checkpoint.read_into(spec, offset, raw.data)
    with np.errstate(all="ignore"):
        found = decode64(spec.values_dtype, raw, stop - first)
        numbers: Array = found.high if found.imag is None else np.hypot(found.high, found.imag)
    return numbers[odd:]


def blocks(checkpoint: Checkpoint, spec: TensorSpec, size: int = BLOCK) -> Iterator[Array]:
    """All elements as float64, ``size`` at a time.

    Raises:
        SourceError: bytes are gone.
    """
    for start in range(0, spec.elements, size):
        yield values(checkpoint, spec, start, min(start + size, spec.elements))


def row_blocks(checkpoint: Checkpoint, spec: TensorSpec, size: int = BLOCK) -> Iterator[tuple[int, Array]]:
    """Whole rows of a tensor as a matrix, as many at a time as hold about ``size`` elements: (first row, rows).

    Raises:
        SourceError: bytes are gone.
    """
    rows, columns = matrix_shape(spec)
    step = max(1, size // max(columns, 1))
    for first in range(0, rows, step):
        last = min(first + step, rows)
        yield first, values(checkpoint, spec, first * columns, last * columns).reshape(last - first, columns)


def rows_of(checkpoint: Checkpoint, spec: TensorSpec, power: int = 0) -> Callable[[int, int], Array]:
    """What reads rows of a tensor as a matrix, over 2**power: from a first to before a last one.

    The result raises SourceError where bytes are gone.
    """
    columns = matrix_shape(spec)[1]

    def read(first: int, last: int) -> Array:
        found = values(checkpoint, spec, first * columns, last * columns).reshape(last - first, columns)
        return np.asarray(np.ldexp(found, -power)) if power else found

    return read


def some_rows(checkpoint: Checkpoint, spec: TensorSpec, rows: Sequence[int]) -> Array:
    """Rows of these ascending numbers, of a tensor as a matrix; neighbours are read together.

    Raises:
        SourceError: bytes are gone.
    """
    columns = matrix_shape(spec)[1]
    found = np.empty((len(rows), columns))
    place = 0
    while place < len(rows):
        end = place + 1
        while end < len(rows) and rows[end] == rows[end - 1] + 1 and (end - place + 1) * columns <= BLOCK:
            end += 1
        run = values(checkpoint, spec, rows[place] * columns, (rows[end - 1] + 1) * columns)
        found[place:end] = run.reshape(end - place, columns)
        place = end
    return found


def spread(count: int, most: int) -> list[int]:
    """At most ``most`` numbers below ``count``, ascending and evenly spread: the same for equal arguments."""
    if count <= most:
        return list(range(count))
    return [place * count // most for place in range(most)]


_WIDE = frozenset(("F64", "I64", "U64"))
_SAFE = 200


def exponent(checkpoint: Checkpoint, spec: TensorSpec) -> int:
    """A power of two by which values are divided so that sums of their squares neither overflow nor vanish; mostly 0.

    Raises:
        SourceError: bytes are gone.
    """
    if spec.values_dtype not in _WIDE:
        return 0
    largest = 0.0
    for block in blocks(checkpoint, spec):
        size = np.abs(block)
        largest = max(largest, float(size[np.isfinite(size)].max(initial=0.0)))
    power = int(np.frexp(largest)[1])
    return power if abs(power) > _SAFE else 0


def differences(
    old: Checkpoint, new: Checkpoint, pair: tuple[TensorSpec, TensorSpec], power: int = 0
) -> Iterator[tuple[int, Array]]:
    """What was added to each element of a matrix, over 2**power, in blocks of whole rows: (first row, rows).

    Raises:
        SourceError: bytes are gone.
    """
    before, after = (row_blocks(side, spec) for side, spec in zip((old, new), pair, strict=True))
    for (first, a), (_, b) in zip(before, after, strict=True):
        with np.errstate(invalid="ignore", over="ignore"):
            yield first, np.ldexp(b, -power) - np.ldexp(a, -power) if power else b - a
