"""What one commit did to a model, in figures small enough to remember: counts, changes of structure, movement."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import islice
from typing import Any

from diffai.analyses.casts import casts
from diffai.analyses.nonfinite import EventKind, events, groups
from diffai.analyses.structure import structure
from diffai.analyses.training import TrainingState, training_state
from diffai.analyses.update import COMPARABLE, UpdateSize, matched, norms_of, update_size
from diffai.comparison.result import ModelDiff, Side
from diffai.finding import Severity
from diffai.frozen import frozen
from diffai.model import Absent, Statistics, TensorSpec

_MOST_NAMED = 6
_MOST_METRICS = 12


@frozen
class Group:
    """The parameters of one layer or module: L2 of their update, and of what they were, over the same elements."""

    name: str
    update: float
    old_norm: float

    @property
    def relative(self) -> float | None:
        """The size of its update, L2(new - old) / L2(old); None where the weights before are all zero."""
        return self.update / self.old_norm if self.old_norm else None


@frozen
class Figure:
    """One figure over the parameters that the versions it compares have in the same shape.

    Attributes:
        value: None where it is not defined, not known, or not comparable.
        parameters: how many it is of.
        comparable: False where these are less than half of the version's parameters.
    """

    value: float | None = None
    parameters: int = 0
    comparable: bool = True


@frozen
class Movement:
    """How far the weights moved.

    Attributes:
        update: the update size (see :mod:`diffai.analyses.update`); cosine: of old and new as vectors.
        drift: the same figure as the update size, from the first version.
        turn: cosine of this update and the one before it; near 1 it goes on, near -1 it turns back.
        norm: L2 of all parameters of this version.
        nonfinite: elements of this version's weights that are NaN or infinite.
        events: kinds of non-finite event and tensors to which it happened (see :mod:`diffai.analyses.nonfinite`).
        groups: by layer or module, in the order of the model.
    """

    update: Figure = Figure()
    cosine: Figure = Figure()
    drift: Figure = Figure()
    turn: Figure = Figure()
    norm: float | None = None
    nonfinite: int = 0
    events: tuple[tuple[EventKind, int], ...] = ()
    groups: tuple[Group, ...] = ()

    @property
    def largest(self) -> Group | None:
        """The group with the largest relative update; None where nothing moved."""
        moved = [group for group in self.groups if group.update > 0]
        return max(moved, key=lambda g: math.inf if g.relative is None else g.relative, default=None)

    @property
    def not_comparable(self) -> tuple[str, ...]:
        """The figures that are none because they would be of less than half of the parameters."""
        figures = (("update_size", self.update), ("drift", self.drift), ("update_cosine", self.turn))
        return tuple(name for name, figure in figures if not figure.comparable)


@frozen
class Found:
    """What one analysis says of a change: its finding, without the figures; ``judged``: False = it was not computed."""

    name: str
    severity: Severity
    text: str
    judged: bool = True


@frozen
class CommitFigures:
    """A version of a model, and what changed in it since the version it is compared with.

    Attributes:
        format, size, tensors, parameters, dtypes: of this version (of the last one, when it was removed).
        parameters_before, tensors_before: 0 where there was none.
        added, removed, changed, renamed, reshaped, cast, unchanged: tensors.
        modified, compared: parameters whose values differ, of those compared.
        casts: (old dtype, new dtype, tensors).
        reshapes: (name, old shape, new shape), the first few.
        kinds: of the change, the leading one first (see :mod:`diffai.analyses.change_kind`).
        metadata: keys whose values differ; classes, graph: the same of these facets, which are structure.
        training: what happened to training state; None for nothing.
        renames: (name before, name now).
        movement: None where values were not looked at.
        metrics: that this version records, its own before the best so far.
        learning_rate: of the first group; epoch: how far training had come; None where they are not recorded.
        findings: what the analyses that were asked for found in the change.
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
    classes: int = 0
    graph: int = 0
    kinds: tuple[str, ...] = ()
    training: TrainingState | None = None
    renames: tuple[tuple[str, str], ...] = ()
    movement: Movement | None = None
    metrics: tuple[tuple[str, float], ...] = ()
    learning_rate: float | None = None
    epoch: float | None = None
    findings: tuple[Found, ...] = ()

    @property
    def structural(self) -> bool:
        """Whether tensors of the model came, went, or changed name, shape or dtype, or its classes or graph changed."""
        tensors = self.added or self.removed or self.renamed or self.reshaped or self.cast
        return bool(tensors or self.classes or self.graph)

    @property
    def differs(self) -> bool:
        """Whether anything is different."""
        return self.structural or bool(self.changed or self.metadata or self.training)


def figures_of(
    diff: ModelDiff, level: str, movement: Movement | None, findings: tuple[Found, ...] = ()
) -> CommitFigures:
    """The figures of a comparison, with what analyses found in it."""
    from diffai.analyses.change_kind import change_kind

    side = diff.old if isinstance(diff.new.state, Absent) else diff.new
    reshapes = [
        (change.name, change.old.shape, change.new.shape)
        for change in diff.tensors
        if "reshaped" in change.status and change.role != "training" and change.old and change.new
    ]
    found, totals = structure(diff), diff.totals
    kinds = change_kind(diff) if level == "values" else None
    renamed = tuple((c.old.name, c.name) for c in diff.tensors if c.old is not None and c.status[0] == "renamed")
    return CommitFigures(
        level, side.format, side.size, side.tensors, side.parameters, side.dtypes,
        diff.old.parameters, diff.old.tensors, found.added, found.removed,
        totals.changed, found.renamed, found.reshaped, totals.cast, totals.unchanged,
        totals.modified, totals.comparable, tuple((c.old, c.new, c.tensors) for c in casts(diff)),
        tuple(reshapes[:_MOST_NAMED]), len(diff.metadata), found.classes, found.graph,
        kinds.kinds if kinds is not None else (), training_state(diff), renamed, movement, *_recorded(diff.new),
        findings,
    )  # fmt: skip


def _recorded(side: Side) -> tuple[tuple[tuple[str, float], ...], float | None, float | None]:
    """Metrics, learning rate and epoch that a version records."""
    if not (side.recorded or side.series or side.metadata):
        return (), None, None
    from diffai.analyses.training_run import run_of

    run = run_of(side)
    metrics = tuple(islice(run.metrics.items(), _MOST_METRICS))
    return metrics, next(iter(run.learning_rates), None), run.epoch


def movement_of(
    diff: ModelDiff, drift: UpdateSize | None, turn: Figure | None, weights: Iterable[tuple[TensorSpec, Statistics]]
) -> Movement:
    """How far the weights moved.

    Args:
        diff: of the previous version and this one.
        drift: of the first version and this one; None where there is none.
        turn: cosine of two successive updates; None where there is only one.
        weights: of this version.
    """
    norm, nonfinite = 0.0, 0
    for spec, s in weights:
        strange = s.nan_count + s.pos_inf_count + s.neg_inf_count
        nonfinite += strange
        if spec.is_parameter and s.mean is not None and s.std is not None:
            norm = math.hypot(norm, math.sqrt(s.element_count - strange) * math.hypot(s.mean, s.std))
    fewest = COMPARABLE * diff.new.parameters

    def figure(value: float | None, over: int) -> Figure:
        return Figure(value if over >= fewest else None, over, over >= fewest)

    update = update_size(diff) if diff.old.state is None else None
    return Movement(
        figure(update.relative_l2, update.parameters) if update else Figure(),
        figure(update.cosine, update.parameters) if update else Figure(),
        figure(drift.relative_l2, drift.parameters) if drift else Figure(),
        figure(turn.value, turn.parameters) if turn else Figure(),
        norm, nonfinite, tuple((kind, len(some)) for kind, some in groups(events(diff))), groups_of(diff),
    )  # fmt: skip


def groups_of(diff: ModelDiff) -> tuple[Group, ...]:
    """The update of each layer or module."""
    found: dict[str, tuple[float, float]] = {}
    for change in diff.tensors:
        norms = norms_of(change) if matched(change) else ""
        if not isinstance(norms, str):
            name = group_of(change.name)
            update, old = found.get(name, (0.0, 0.0))
            found[name] = math.hypot(update, norms[0]), math.hypot(old, norms[1])
    return tuple(Group(name, *sums) for name, sums in found.items())


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


def encode_figures(figures: CommitFigures) -> Any:
    """As plain values for the cache."""
    return [_plain(getattr(figures, name)) for name in CommitFigures.__slots__]  # type: ignore[attr-defined]


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    names = getattr(type(value), "__slots__", ())
    return [_plain(getattr(value, name)) for name in names] if names else value


def decode_figures(value: Any) -> CommitFigures:
    """What :func:`encode_figures` was given.

    Raises:
        ValueError: it is not of that making.
    """
    try:
        *rest, training, renames, moved, metrics, rate, epoch, findings = value
        movement = None
        if moved is not None:
            update, cosine, drift, turn, norm, nonfinite, events_, groups_ = moved
            movement = Movement(
                Figure(*update), Figure(*cosine), Figure(*drift), Figure(*turn), norm, nonfinite, _tuples(events_),
                tuple(Group(*each) for each in groups_),
            )  # fmt: skip
        state = TrainingState(*training) if training is not None else None
        names = CommitFigures.__slots__[: len(rest)]  # type: ignore[attr-defined]
        known = {name: _tuples(item) for name, item in zip(names, rest, strict=True)}
        return CommitFigures(
            **known, training=state, renames=_tuples(renames), movement=movement, metrics=_tuples(metrics),
            learning_rate=rate, epoch=epoch, findings=tuple(Found(*each) for each in findings),
        )  # fmt: skip
    except (TypeError, ValueError) as error:
        raise ValueError(f"no figures: {error}") from error


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
