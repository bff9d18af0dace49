"""What one commit did to a model, in figures small enough to remember: counts, changes of structure, movement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

from diffai.comparison.result import ModelDiff
from diffai.frozen import frozen
from diffai.model import Absent

_MOST_NAMED = 6
_NEAR = 0.1  # of squares


@frozen
class Group:
    """The weights of one layer or module: squared norms of the update, of the version before, and of this one."""

    name: str
    update: float
    previous: float
    current: float

    @property
    def relative(self) -> float | None:
        """Relative L2 of the update; None where the weights before are all zero."""
        return ratio_of(self.update, self.previous)


@frozen
class Movement:
    """How far the weights moved, over the parameters that both versions have in the same shape.

    Attributes:
        relative_l2: L2(new - old) / L2(old).
        cosine: of old and new as vectors.
        norm: L2 of all parameters of this version.
        drift: L2(new - first) / L2(first), over the parameters that both have in the same shape.
        update_cosine: of this update and the one before it; near 1 it goes on, near -1 it turns back.
        nonfinite: elements of this version that are NaN or infinite.
        groups: by layer or module, in the order of the model.
        drift_over: parameters that the drift is of; -1 = not known.
    """

    relative_l2: float | None = None
    cosine: float | None = None
    norm: float | None = None
    drift: float | None = None
    update_cosine: float | None = None
    nonfinite: int = 0
    groups: tuple[Group, ...] = ()
    drift_over: int = -1

    @property
    def largest(self) -> Group | None:
        """The group with the largest relative update; None where nothing moved."""
        moved = [group for group in self.groups if group.update > 0]
        return max(moved, key=lambda g: math.inf if g.relative is None else g.relative, default=None)


@frozen
class Figures:
    """A version of a model, and what changed in it since the version it is compared with.

    Attributes:
        format, size, tensors, parameters, dtypes: of this version (of the last one, when it was removed).
        parameters_before, tensors_before: 0 where there was none.
        added, removed, changed, renamed, reshaped, cast, unchanged: tensors.
        modified, compared: parameters whose values differ, of those compared.
        casts: (old dtype, new dtype, tensors).
        reshapes: (name, old shape, new shape), the first few.
        metadata, training: keys whose values differ.
        renames: (name before, name now).
        movement: None where values were not looked at.
        level: how far was looked: ``header``, ``digest`` or ``values``.
    """

    level: str
    format: str
    size: int
    tensors: int
    parameters: int
    dtypes: tuple[tuple[str, int], ...] = ()
    parameters_before: int = 0
    tensors_before: int = 0
    added: int = 0
    removed: int = 0
    changed: int = 0
    renamed: int = 0
    reshaped: int = 0
    cast: int = 0
    unchanged: int = 0
    modified: int = 0
    compared: int = 0
    casts: tuple[tuple[str, str, int], ...] = ()
    reshapes: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = ()
    metadata: int = 0
    training: int = 0
    renames: tuple[tuple[str, str], ...] = ()
    movement: Movement | None = None

    @property
    def structural(self) -> bool:
        """Whether tensors came, went, or changed name, shape or dtype."""
        return bool(self.added or self.removed or self.renamed or self.reshaped or self.cast)

    @property
    def differs(self) -> bool:
        """Whether anything is different."""
        return self.structural or bool(self.changed or self.metadata or self.training)


def figures_of(diff: ModelDiff, level: str, movement: Movement | None) -> Figures:
    """The figures of a comparison."""
    side = diff.old if isinstance(diff.new.state, Absent) else diff.new
    casts: dict[tuple[str, str], int] = {}
    reshapes: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = []
    for change in diff.tensors:
        if change.old is None or change.new is None:
            continue
        if "cast" in change.status:
            kind = (change.old.dtype, change.new.dtype)
            casts[kind] = casts.get(kind, 0) + 1
        if "reshaped" in change.status and len(reshapes) < _MOST_NAMED:
            reshapes.append((change.name, change.old.shape, change.new.shape))
    totals = diff.totals
    return Figures(
        level, side.format, side.size, side.tensors, side.parameters, side.dtypes,
        diff.old.parameters, diff.old.tensors, totals.added, totals.removed,
        totals.changed, totals.renamed, totals.reshaped, totals.cast, totals.unchanged,
        totals.modified, totals.comparable, tuple((*kind, count) for kind, count in casts.items()), tuple(reshapes),
        len(diff.metadata), len(diff.training),
        tuple((c.old.name, c.name) for c in diff.tensors if c.old is not None and c.status[0] == "renamed"), movement,
    )  # fmt: skip


def movement_of(rows: Sequence[tuple[str, Sequence[float]]], buffers: Sequence[Sequence[float]] = ()) -> Movement:
    """Figures out of each parameter's name and sums (see :mod:`diffai.history.trajectory`).

    Of ``buffers``, which do not learn, only the non-finite values count.
    """
    groups: dict[str, list[list[float]]] = {}
    for name, sums in rows:
        groups.setdefault(group_of(name), []).append(list(sums))
    columns: list[list[float]] = [list(column) for column in zip(*(sums for _, sums in rows), strict=True)]
    if not columns:
        return Movement(nonfinite=int(math.fsum(sums[-1] for sums in buffers)))
    update, previous, current, dot, drift, first, turn, earlier, later, shared, strange = (
        math.fsum(column) for column in columns
    )
    # Of two vectors that are near, the distance tells more of the angle than the dot product does.
    near = update < _NEAR * max(previous, shared)
    return Movement(
        ratio_of(update, previous),
        _cosine_of_near(update, previous, shared) if near else _cosine(dot, previous, shared),
        math.sqrt(current),
        ratio_of(drift, first),
        _cosine(turn, later, earlier),
        int(strange + math.fsum(sums[-1] for sums in buffers)),
        tuple(
            Group(name, math.fsum(s[0] for s in all_sums), math.fsum(s[1] for s in all_sums),
                  math.fsum(s[2] for s in all_sums))
            for name, all_sums in groups.items()
        ),
    )  # fmt: skip


def ratio_of(square: float, base: float) -> float | None:
    """The root of ``square / base``; None where the base is 0 (then no ratio means anything)."""
    return math.sqrt(square / base) if base > 0 else None


def _cosine(dot: float, a: float, b: float) -> float | None:
    if a <= 0 or b <= 0:
        return None
    return max(-1.0, min(1.0, dot / math.sqrt(a) / math.sqrt(b)))


def _cosine_of_near(distance: float, a: float, b: float) -> float | None:
    """Cosine of two vectors from their squared distance and norms.

    1 - cos = (|a - b|^2 - (|a| - |b|)^2) / (2 |a| |b|): of vectors that are nearly the same, a dot product would leave
    no digit of the angle between them.
    """
    if a <= 0 or b <= 0:
        return None
    left, right = math.sqrt(a), math.sqrt(b)
    return max(-1.0, min(1.0, 1.0 - (distance - (left - right) ** 2) / (2 * left * right)))


def group_of(name: str, depth: int = 0) -> str:
    """The layer or module of a tensor: its name up to the first number, or to ``depth`` parts.

    >>> group_of("model.layers.12.mlp.up_proj.weight"), group_of("fc1.weight"), group_of("scale")
    ('model.layers.12', 'fc1', 'scale')
    """
    parts = name.split(".")
    if depth:
        return ".".join(parts[: max(1, min(depth, len(parts) - 1))])
    for place, part in enumerate(parts[:-1]):
        if part.isdigit():
            return ".".join(parts[: place + 1])
    return ".".join(parts[:-1]) or name


def encode_figures(figures: Figures) -> Any:
    """As plain values for the cache."""
    return asdict(figures)


def decode_figures(value: Any) -> Figures:
    """What :func:`encode_figures` was given.

    Raises:
        ValueError: it is not of that making.
    """
    try:
        moved = value.pop("movement")
        movement = None
        if moved is not None:
            groups = tuple(Group(**group) for group in moved.pop("groups"))
            movement = Movement(**moved, groups=groups)
        names = {f.name for f in fields(Figures)}
        return Figures(**{n: _tuples(v) for n, v in value.items() if n in names}, movement=movement)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"no figures: {error}") from error


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
