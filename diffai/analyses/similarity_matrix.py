"""How alike the layers of both sides are, each with each: linear CKA, and cosine of those that belong together."""

from __future__ import annotations

from collections import Counter
from statistics import median

from diffai.analyses.finding import Finding, counted, not_computed, nothing
from diffai.analyses.second_pass import rounded, say_wide
from diffai.comparison.result import ModelDiff, TensorChange
from diffai.model import Checkpoint, TensorSpec
from diffai.tensors.dtypes import Array
from diffai.tensors.reading import is_matrix
from diffai.tensors.similarity import EXAMPLES, FEWEST_EXAMPLES, alignments, example_sizes, products

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.analyses.context import Context
    from diffai.finding import Fields

NAME = "similarity_matrix"

_ALIKE = 0.2
"""How much more like another layer than like its own a layer must be for a word about it."""


def find(diff: ModelDiff, context: Context) -> Finding | None:
    """The matrix, and what stands out in it."""
    if context.unread:
        return not_computed(NAME, context.unread)
    say_wide(diff, context)
    size = _dimension(diff)
    if size is None:
        return nothing(NAME, f"no dimension of {FEWEST_EXAMPLES} or more is common to a matrix of either side")
    most = context.count("layers")
    olds = [change for change in diff.tensors if change.old is not None and _has(change.old, size)]
    news = [change for change in diff.tensors if change.new is not None and _has(change.new, size)]
    for which, layers in (("old", olds), ("new", news)):
        if len(layers) > most:
            context.cap(f"{most:,} of {len(layers):,} layers of the {which} side were looked at, in their order")
    if size > EXAMPLES:
        context.cap(f"{EXAMPLES:,} of {size:,} examples of each layer were compared, evenly spread")
    assert context.old is not None and context.new is not None
    whole = sum(c.spec.nbytes for c in (*olds[:most], *news[:most]))
    left = _kernels(context.old, [(c, c.old) for c in olds[:most] if c.old], size, (context, 0, whole))
    done = sum(c.spec.nbytes for c in olds[:most])
    right = _kernels(context.new, [(c, c.new) for c in news[:most] if c.new], size, (context, done, whole))
    if not left or not right:
        return nothing(NAME, f"no layer of dimension {size:,} has values that are finite and not zero on both sides")
    table = alignments([kernel for _, kernel in left], [kernel for _, kernel in right])
    omitted = len(olds[:most]) + len(news[:most]) - len(left) - len(right)
    return _finding(size, [change for change, _ in left], [change for change, _ in right], table, omitted)


def _dimension(diff: ModelDiff) -> int | None:
    """The size that most matrices of both sides have as a side; of equal ones the greatest."""
    sides: list[Counter[int]] = [Counter(), Counter()]
    for change in diff.tensors:
        for count, spec in zip(sides, (change.old, change.new), strict=True):
            if spec is not None and is_matrix(spec):
                count.update(example_sizes(spec))
    common = {size: min(sides[0][size], sides[1][size]) for size in sides[0].keys() & sides[1].keys()}
    return max(common, key=lambda size: (common[size], size), default=None)


def _has(spec: TensorSpec, size: int) -> bool:
    return is_matrix(spec) and size in example_sizes(spec) and not spec.alias_of


def _kernels(
    checkpoint: Checkpoint,
    layers: list[tuple[TensorChange, TensorSpec]],
    size: int,
    progress: tuple[Context, int, int],
) -> list[tuple[TensorChange, Array]]:
    """Products of the layers that have some."""
    context, done, whole = progress
    found = []
    for change, spec in layers:
        kernel = products(checkpoint, spec, size)
        if kernel is not None:
            found.append((change, kernel))
        done += spec.nbytes
        context.progress(done, whole)
    return found


def _finding(
    size: int, olds: list[TensorChange], news: list[TensorChange], table: Array, omitted: int
) -> Finding:
    places = {id(change): place for place, change in enumerate(olds)}
    matched: list[tuple[tuple[float, str], Fields]] = []
    others: list[Fields] = []
    for column, change in enumerate(news):
        row = places.get(id(change))
        own = float(table[row, column]) if row is not None else float("nan")
        if own == own:
            delta = change.figures.delta if change.figures is not None else None
            same = change.figures is not None and change.figures.identical
            cosine = 1.0 if same else delta.cosine if delta is not None else None
            matched.append(((own, change.name), {"name": change.name, "cka": rounded(own, 5), "cosine": cosine}))
            best = int(_best(table[:, column]))
            if table[best, column] > own + _ALIKE and table[best, column] > 0.5:
                figure = rounded(float(table[best, column]), 5)
                others.append({"name": change.name, "most_like": olds[best].name, "cka": figure})
    values = [each for each, _ in matched]
    lowest = min(values, default=None)
    middle = median([value for value, _ in values]) if values else None
    fields: Fields = {
        "dimension": size, "median_cka": rounded(middle, 5) if middle is not None else None,
        "least_cka": rounded(lowest[0], 5) if lowest else None, "least": lowest[1] if lowest else None,
        "matched": tuple(row for _, row in sorted(matched, key=lambda each: each[0])), "like_others": tuple(others),
        "layers_old": tuple(change.old.name for change in olds if change.old),
        "layers_new": tuple(change.name for change in news),
        "cka": tuple(tuple(rounded(value, 4) for value in row) for row in table.tolist()),
    }  # fmt: skip
    evidence = [f"{counted(omitted, 'layer')} left out: values not finite, or all zero"] if omitted else []
    if not values:
        evidence.append("no layer of one side belongs to one of the other")
    layers = f"{counted(len(values), 'layer')} of dimension {size:,}"
    text = f"{layers}: CKA median {middle:.3g}" if middle is not None else f"no pair of layers of dimension {size:,}"
    if lowest is not None and lowest[0] < 0.9995:
        text += f", least {lowest[0]:.3g} ({lowest[1]})"
    if others:
        text += f"; {counted(len(others), 'layer')} more like another one"
    return Finding(NAME, "notice" if others else "info", "fact", fields, tuple(evidence), text)


def _best(column: Array) -> int:
    """The place of the greatest value of a column that has one."""
    values = [(value if value == value else float("-inf")) for value in column.tolist()]
    return values.index(max(values))
