"""Values of single tensors for the second pass: decoded by the numeric core, only what is asked for."""

from __future__ import annotations

import math

import numpy as np

from diffai.model import Checkpoint, TensorSpec
from diffai.tensors.blocks import span, unit_bits
from diffai.tensors.dtypes import Array, decode64


def read_elements(checkpoint: Checkpoint, spec: TensorSpec, start: int, stop: int) -> Array:
    """Elements ``start`` to ``stop`` of a tensor that has values, as float64; moduli of complex ones.

    Raises:
        SourceError: bytes are gone.
    """
    bits = unit_bits(spec)
    extra = start % max(1, 8 // bits)  # packed elements are read from a whole byte on
    offset, length = span(bits, start - extra, stop)
    raw = np.empty(length, np.uint8)
    checkpoint.read_into(spec, offset, raw.data)
    with np.errstate(all="ignore"):
        values = decode64(spec.values_dtype, raw, stop - start + extra)
        found = values.high if values.imag is None else np.hypot(values.high, values.imag)
    return found[extra:].astype(np.float64, copy=False)


def rows_within(spec: TensorSpec, most: int) -> Array | None:
    """Numbers of evenly spread rows (first axis) that hold at most ``most`` elements; None where one row is above."""
    count = spec.shape[0] if spec.shape else 1
    width = math.prod(spec.shape[1:])
    if width > most:
        return None
    kept = min(count, most // max(width, 1))
    return np.unique(np.linspace(0, count - 1, kept).round().astype(np.int64)) if kept < count else np.arange(count)


def read_rows(checkpoint: Checkpoint, spec: TensorSpec, rows: Array) -> Array:
    """Rows (first axis) of a tensor by their numbers, ascending: float64 of shape (rows, ...), () for a scalar.

    Raises:
        SourceError: bytes are gone.
    """
    if not spec.shape:
        return read_elements(checkpoint, spec, 0, 1).reshape(())
    width = math.prod(spec.shape[1:])
    made = np.empty((len(rows), width))
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    for run in np.split(np.arange(len(rows)), breaks):  # neighbours are read at once
        if len(run):
            first, last = int(rows[run[0]]), int(rows[run[-1]]) + 1
            made[run[0] : run[-1] + 1] = read_elements(checkpoint, spec, first * width, last * width).reshape(-1, width)
    return made.reshape(len(rows), *spec.shape[1:])
