"""Tensors that are the old ones times one number, within rounding."""

from __future__ import annotations

import math

from diffai.comparison.result import TensorChange

_UNIT_ROUNDOFF = {"F64": 2.0**-53, "F32": 2.0**-24, "F16": 2.0**-11, "BF16": 2.0**-8}


def factor_of(change: TensorChange) -> float | None:
    """C where new = c * old within rounding; None otherwise, and where statistics were not computed.

    The squares of the first pass know c to about 1e-6; then mean, standard deviation and both ends of the values must
    be c times what they were, and every value but zeros must have changed.
    """
    figures = change.figures
    delta = None if figures is None or figures.as_bytes else figures.delta
    if delta is None or figures is None or not delta.old_l2 or delta.nonfinite_count or delta.tolerated_count:
        return None
    old, new = figures.old_statistics, figures.new_statistics
    if old is None or new is None or old.element_count < 4 or delta.changed_count != old.element_count - old.zero_count:
        return None
    squares = delta.old_l2 * delta.old_l2
    factor = (squares + delta.new_l2 * delta.new_l2 - delta.l2 * delta.l2) / (2 * squares)
    ends = (old.min, old.max) if factor > 0 else (old.max, old.min)
    near = 1e-5 + 4 * _UNIT_ROUNDOFF.get(change.spec.values_dtype, 0.0)
    for before, after in ((old.mean, new.mean), (ends[0], new.min), (ends[1], new.max)):
        if before is None or after is None or abs(after - factor * before) > near * delta.new_l2 / math.sqrt(
            old.element_count
        ) + near * abs(after):
            return None
    if old.std is None or new.std is None or abs(new.std - abs(factor) * old.std) > near * new.std:
        return None
    return factor if abs(delta.new_l2 - abs(factor) * delta.old_l2) <= near * delta.new_l2 else None
