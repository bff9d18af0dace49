"""Updates of low rank, as merging an adapter leaves them, told from noise; and the intruder dimensions they bring.

What a rank is, and why noise has none: :mod:`diffai.tensors.spectrum`. An update is judged after what rounding to the
coarser dtype of both sides leaves is set aside.
"""

from __future__ import annotations

import math
from statistics import median_low

import numpy as np

from diffai.analyses.finding import Finding, counted, not_computed, nothing
from diffai.analyses.second_pass import is_matrix_pair, moved_matrices, rounded, say_wide, sides_of, within
from diffai.comparison.result import ModelDiff, TensorChange
from diffai.frozen import frozen
from diffai.model import Checkpoint
from diffai.tensors.pairs import unit_roundoff
from diffai.tensors.reading import BLOCK, differences, exponent, matrix_shape, rows_of, some_rows, spread
from diffai.tensors.spectrum import GRAM_SIDE, SIDE, Rounding, Spectrum, gram, intruders, spectrum_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.analyses.context import Context
    from diffai.finding import Fields

NAME = "low_rank"

_ROUNDING = 0.5
"""Root mean square of a rounding error over the unit roundoff, of values whose leading digits are spread evenly."""

_MOST_GRAM = 1 << 24
_ROWS = 64


@frozen
class Judged:
    """One update and what its spectrum tells; ``intruders`` is None where that was not looked at."""

    change: TensorChange
    spectrum: Spectrum
    intruders: int | None


def find(diff: ModelDiff, context: Context) -> Finding | None:
    """Which updates are of low rank, and of which."""
    if context.unread:
        return not_computed(NAME, context.unread)
    say_wide(diff, context)
    moved = moved_matrices(diff)
    if not moved:
        broken = sum(is_matrix_pair(change) and "changed" in change.status for change in diff.tensors)
        return nothing(NAME, _not_finite(broken) if broken else "no matrix moved")
    looked = within(context, moved, context.count("matrices"), "matrices")
    found, left = [], 0
    whole, done = sum(change.spec.nbytes for change in looked), 0
    for change in looked:
        judged = _judged(change, context)
        left += judged is None
        found += [judged] if judged is not None else []
        done += change.spec.nbytes
        context.progress(done, whole)
    if not found:
        return nothing(NAME, _not_finite(left))
    if any(each.spectrum.folded for each in found):
        context.cap(f"matrices of more than {SIDE:,} rows or columns were folded to that: ranks up to it are seen")
    return _finding(found, left, len(moved))


def _not_finite(matrices: int) -> str:
    return f"{counted(matrices, 'matrix', 'matrices')} moved, all with NaN or infinity"


def _judged(change: TensorChange, context: Context) -> Judged | None:
    old, new = context.old, context.new
    assert old is not None and new is not None
    pair = sides_of(change)
    power = max(exponent(old, pair[0]), exponent(new, pair[1]))
    rows, columns = matrix_shape(pair[0])
    found = spectrum_of(rows, columns, differences(old, new, pair, power), _rounding(change, new, power))
    if found is None:
        return None
    number = None
    if found.low_rank and min(rows, columns) <= GRAM_SIDE and rows * columns <= _MOST_GRAM and not power:
        products = [gram(rows, columns, rows_of(side, spec)) for side, spec in zip((old, new), pair, strict=True)]
        if products[0] is not None and products[1] is not None:
            number = intruders(
                products[0], products[1], context.count("intruder_directions"), context.number("intruder_cosine")
            )
    elif found.low_rank:
        context.cap(f"intruder dimensions were not looked at in matrices of more than {GRAM_SIDE:,} rows and columns")
    return Judged(change, found, number)


def _rounding(change: TensorChange, new: Checkpoint, power: int) -> Rounding:
    """The errors of rounding to the coarser dtype, over 2**power; typical ones by the median of a few rows.

    Of normal values the root mean square is 1.4826 times the median of the magnitudes.
    """
    pair = sides_of(change)
    unit = _ROUNDING * unit_roundoff(pair)
    delta = change.figures.delta if change.figures is not None else None
    if not unit or delta is None:
        return Rounding()
    length = max(delta.old_l2, delta.new_l2)
    whole = math.ldexp(length, -power) / math.sqrt(pair[1].elements) if math.isfinite(length) else 0.0
    rows, columns = matrix_shape(pair[1])
    some = np.abs(some_rows(new, pair[1], spread(rows, min(_ROWS, max(1, BLOCK // columns)))))
    typical = 1.4826 * math.ldexp(float(np.median(some)), -power)
    return Rounding(unit * whole, unit * min(typical, whole))


def _finding(found: list[Judged], left: int, moved: int) -> Finding:
    low = [each for each in found if each.spectrum.low_rank]
    ranks = [each.spectrum.rank for each in low]
    intruding = [each.intruders for each in low if each.intruders is not None]
    rows = tuple(_row(each) for each in found)
    fields: Fields = {
        "low_rank": len(low), "matrices": len(found), "moved": moved, "not_finite": left,
        "rank": median_low(ranks) if ranks else None, "rank_min": min(ranks, default=None),
        "rank_max": max(ranks, default=None), "intruder_dimensions": sum(intruding) if intruding else None,
        "updates": rows,
    }  # fmt: skip
    evidence = [] if low else ["no update has a low rank: there is no rank to give"]
    if left:
        evidence.append(f"{counted(left, 'matrix', 'matrices')} left out: NaN or infinity")
    if not intruding:
        evidence.append("intruder dimensions are counted in matrices whose update is of low rank")
    return Finding(NAME, "notice" if low else "info", "fact", fields, tuple(evidence), _text(found, low, intruding))


def _text(found: list[Judged], low: list[Judged], intruding: list[int]) -> str:
    if not low:
        each = max(found, key=lambda one: one.change.spec.elements)
        small = all(min(one.spectrum.moved) < 16 for one in found)
        why = "too few rows or columns moved to tell" if small else (
            f"{each.change.name} has effective rank {each.spectrum.effective_rank:.3g}, "
            f"noise of its shape {each.spectrum.noise_effective_rank:.3g}"
        )  # fmt: skip
        return f"no low-rank update among {counted(len(found), 'matrix', 'matrices')}: {why}"
    ranks = sorted(each.spectrum.rank for each in low)
    shown = f"rank {ranks[0]}" if ranks[0] == ranks[-1] else f"ranks {ranks[0]} to {ranks[-1]}"
    text = f"{len(low):,} of {counted(len(found), 'update')} of low rank: {shown}"
    if intruding:
        text += f", {counted(sum(intruding), 'intruder dimension') if sum(intruding) else 'no intruder dimension'}"
    return text


def _row(each: Judged) -> Fields:
    spectrum = each.spectrum
    return {
        "name": each.change.name, "rank": spectrum.rank, "effective_rank": rounded(spectrum.effective_rank, 4),
        "noise_has": rounded(spectrum.noise_effective_rank, 4), "energy": rounded(spectrum.energy, 4),
        "low_rank": spectrum.low_rank, "full_rank": spectrum.full_rank,
        "stable_rank": rounded(spectrum.stable_rank, 4), "intruder_dimensions": each.intruders,
    }  # fmt: skip
