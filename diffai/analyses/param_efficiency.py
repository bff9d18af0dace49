"""How much of its parameters a model uses: how many are not zero, and how many directions its matrices have."""

from __future__ import annotations

import math
from statistics import median

from diffai.analyses.finding import Finding, counted, not_computed, nothing
from diffai.analyses.memory import stored_bytes
from diffai.analyses.second_pass import rounded, say_wide
from diffai.comparison.result import ModelDiff, TensorChange
from diffai.frozen import frozen
from diffai.model import Checkpoint, TensorSpec
from diffai.tensors.engine import summarise
from diffai.tensors.reading import exponent, is_matrix, matrix_shape, rows_of
from diffai.tensors.spectrum import GRAM_SIDE, gram, spectral_norm

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.analyses.context import Context
    from diffai.finding import Fields

NAME = "param_efficiency_analysis"

_LONGEST = 1 << 24
_UNIT = 1_000_000_000


@frozen
class Efficiency:
    """One side.

    Attributes:
        parameters, zeros: elements of parameters whose values can be read, and those of them that are zero.
        parameters_per_mb: million parameters per MB (10**6 bytes) as they are stored; None where that is not known.
        ranks: stable rank over full rank of each matrix that was looked at, by name.
    """

    parameters: int
    zeros: int
    parameters_per_mb: float | None
    ranks: tuple[tuple[str, float], ...]

    @property
    def nonzero_share(self) -> float | None:
        """Share of the parameters that are not zero."""
        return 1 - self.zeros / self.parameters if self.parameters else None

    @property
    def rank_share(self) -> float | None:
        """Median of the stable rank over the full rank."""
        return median([share for _, share in self.ranks]) if self.ranks else None


def find(diff: ModelDiff, context: Context) -> Finding | None:
    """Both sides' efficiency."""
    if context.unread:
        return not_computed(NAME, context.unread)
    assert context.old is not None and context.new is not None
    sides = [
        [(change, spec) for change in diff.tensors if (spec := _spec(change, which)) is not None] for which in (0, 1)
    ]
    if not sides[0] and not sides[1]:
        return nothing(NAME, "neither model has parameters with values")
    say_wide(diff, context)
    chosen = _chosen(diff, context)
    progress = _Progress(context, sum(spec.nbytes for side in sides for _, spec in side))
    same: dict[str, tuple[int, float | None]] = {}
    old = _side(context.old, sides[0], chosen, progress, same)
    new = _side(context.new, sides[1], chosen, progress, same)
    ranks = dict(old.ranks), dict(new.ranks)
    rows = tuple(
        {"name": name, "stable_rank_share_old": _figure(ranks[0].get(name)), "stable_rank_share": _figure(after)}
        for name, after in {**dict.fromkeys(ranks[0]), **ranks[1]}.items()
    )
    fields: Fields = {"old": _fields(old), "new": _fields(new), "matrices": rows}
    evidence = () if rows else ("no matrix was small enough, finite and not zero: stable rank is not recorded",)
    return Finding(NAME, "info", "fact", fields, evidence, _text(old, new))


class _Progress:
    def __init__(self, context: Context, whole: int) -> None:
        self.context, self.done, self.whole = context, 0, whole

    def __call__(self, size: int) -> None:
        self.done += size
        self.context.progress(self.done, self.whole)


def _spec(change: TensorChange, which: int) -> TensorSpec | None:
    """A parameter of one side whose values can be read."""
    from diffai.tensors.reading import has_numbers

    spec = (change.old, change.new)[which]
    return spec if spec is not None and spec.is_parameter and spec.elements and has_numbers(spec) else None


def _chosen(diff: ModelDiff, context: Context) -> frozenset[int]:
    """Which matrices' singular values are looked at: those first that take least, until the work is used up."""
    works: list[tuple[int, int]] = []
    large = 0
    for place, change in enumerate(diff.tensors):
        spec = change.new or change.old
        if spec is None or not is_matrix(spec) or not spec.is_parameter or min(matrix_shape(spec)) < 2:
            continue
        if min(matrix_shape(spec)) > GRAM_SIDE or spec.elements > _LONGEST:
            large += 1
        else:
            works.append((spec.elements * min(matrix_shape(spec)), place))
    left = context.count("products") * _UNIT
    chosen = set()
    for work, place in sorted(works):
        left -= work
        if left >= 0:
            chosen.add(id(diff.tensors[place]))
    if large:
        context.cap(f"stable rank left out of {large:,} matrices with more than {GRAM_SIDE:,} rows and columns")
    if len(chosen) < len(works):
        late = len(works) - len(chosen)
        context.cap(f"stable rank left out of {late:,} matrices after {context.count('products'):,} billion products")
    return frozenset(chosen)


def _side(
    checkpoint: Checkpoint,
    specs: list[tuple[TensorChange, TensorSpec]],
    chosen: frozenset[int],
    progress: _Progress,
    same: dict[str, tuple[int, float | None]],
) -> Efficiency:
    """One side; what is identical on the other one is looked at once."""
    unknown = [spec for change, spec in specs if change.name not in same]
    found = summarise(checkpoint, unknown, statistics=True, digest=False, threads=progress.context.threads)
    pairs = zip(unknown, found, strict=True)
    zeros = {spec.name: each.statistics.zero_count if each.statistics else 0 for spec, each in pairs}
    total = parameters = 0
    sizes = [stored_bytes(spec, checkpoint) for _, spec in specs]
    ranks: list[tuple[str, float]] = []
    for change, spec in specs:
        if change.name in same:
            count, share = same[change.name]
        else:
            count = zeros[spec.name]
            share = _rank_share(checkpoint, spec) if id(change) in chosen else None
            if change.figures is not None and change.figures.identical:
                same[change.name] = count, share
        total += count
        parameters += spec.elements
        ranks += [(change.name, share)] if share is not None else []
        progress(spec.nbytes)
    stored = None if None in sizes else sum(size for size in sizes if size is not None)
    return Efficiency(parameters, total, parameters / stored if stored else None, tuple(ranks))


def _rank_share(checkpoint: Checkpoint, spec: TensorSpec) -> float | None:
    """Stable rank over full rank; None where values are not finite, or all zero."""
    import numpy as np

    if not is_matrix(spec):
        return None
    rows, columns = matrix_shape(spec)
    power = exponent(checkpoint, spec)
    products = gram(rows, columns, rows_of(checkpoint, spec, power))
    if products is None:
        return None
    squares, largest = float(np.trace(products)), spectral_norm(products)
    if not largest or not math.isfinite(squares):
        return None
    return squares / (largest * largest) / min(rows, columns)


def _fields(side: Efficiency) -> Fields:
    return {
        "parameters": side.parameters, "nonzero_share": _figure(side.nonzero_share),
        "parameters_per_mb": _figure(side.parameters_per_mb), "stable_rank_share": _figure(side.rank_share),
        "matrices": len(side.ranks),
    }  # fmt: skip


def _figure(value: float | None) -> float | None:
    return rounded(value, 5) if value is not None else None


def _text(old: Efficiency, new: Efficiency) -> str:
    parts = [
        _changed(f"{old.parameters:,}", counted(new.parameters, "parameter")) if old.parameters != new.parameters
        else counted(new.parameters, "parameter"),
        _changed(_percent(old.nonzero_share), _percent(new.nonzero_share)) + " non-zero",
    ]
    if old.parameters_per_mb and new.parameters_per_mb:
        parts.append(_changed(f"{old.parameters_per_mb:.3g}", f"{new.parameters_per_mb:.3g}") + " M per MB")
    if old.rank_share is not None and new.rank_share is not None:
        parts.append("stable rank " + _changed(_percent(old.rank_share), _percent(new.rank_share)) + " of full")
    return ", ".join(parts)


def _changed(before: str, after: str) -> str:
    return before if before == after else f"{before} -> {after}"


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.3g}%"
