"""Results as plain values that JSON can hold, and back: the same objects, field for field.

A list is a tuple, an object with one key is an instance of the class of that name, everything else is itself. Only
the classes named below are ever made.
"""

from __future__ import annotations

from collections.abc import Sequence

from diffai.comparison.result import (
    CompareOptions,
    LeftOut,
    ModelDiff,
    PartsChange,
    ProductChange,
    Side,
    TensorChange,
    Totals,
    TrainingTotals,
    ValueChange,
)
from diffai.errors import SourceError
from diffai.model import (
    Absent,
    Cast,
    Checkpoint,
    Delta,
    NonFinite,
    PairFigures,
    Problem,
    Statistics,
    TensorSpec,
    TensorSummary,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CLASSES: dict[str, type] = {
    cls.__name__: cls
    for cls in (
        Absent, Cast, CompareOptions, Delta, LeftOut, ModelDiff, NonFinite, PairFigures, Problem, Side,
        Statistics, PartsChange, ProductChange, TensorChange, TensorSpec, TensorSummary, Totals, TrainingTotals,
        ValueChange,
    )
}  # fmt: skip
_FIELDS: dict[type, tuple[str, ...]] = {cls: cls.__slots__ for cls in _CLASSES.values()}  # type: ignore[attr-defined]


def encode(value: Any) -> Any:
    """A frozen result (or tuple, or scalar) as lists, objects of one key, and scalars.

    Raises:
        TypeError: something in it is of a class that is never kept, such as a state that can change.
    """
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, (tuple, list)):
        return [encode(item) for item in value]
    names = _FIELDS.get(type(value))
    if names is None:
        raise TypeError(f"{type(value).__name__} is not kept")
    return {type(value).__name__: [encode(getattr(value, name)) for name in names]}


def decode(value: Any) -> Any:
    """What :func:`encode` was given.

    Raises:
        ValueError: it is not of that making.
    """
    if isinstance(value, list):
        return tuple([decode(item) for item in value])
    if isinstance(value, dict):
        (name, arguments), *rest = value.items()
        if rest or name not in _CLASSES or not isinstance(arguments, list):
            raise ValueError(f"no kept object: {name}")
        try:
            return _CLASSES[name](*[decode(item) for item in arguments])
        except TypeError as error:
            raise ValueError(str(error)) from error
    return value


_TEXTS = ("metadata", "training", "classes", "graph", "facts", "beside")
"""What a checkpoint says beside its tensors, each a mapping of plain values."""


class RecordedCheckpoint(Checkpoint):
    """A checkpoint without its values: all that its headers say. ``size`` in bytes, -1 where unknown."""

    size: int = -1

    def read_into(self, spec: TensorSpec, offset: int, buffer: memoryview) -> None:
        """There are no values here: SourceError."""
        raise SourceError(f"{spec.name}: only the header is at hand")

    def read_file_into(self, file: int, offset: int, buffer: memoryview) -> None:
        """There are no values here: SourceError."""
        raise SourceError("only the header is at hand")


def record(checkpoint: Checkpoint, size: int) -> RecordedCheckpoint:
    """What an opened checkpoint's headers say."""
    recorded = RecordedCheckpoint()
    recorded.format, recorded.size, recorded.tensors = checkpoint.format, size, dict(checkpoint.tensors)
    for name in _TEXTS:
        setattr(recorded, name, dict(getattr(checkpoint, name)))
    recorded.requires_grad, recorded.asides = checkpoint.requires_grad, dict(checkpoint.asides)
    recorded.parts, recorded.not_expressible = dict(checkpoint.parts), checkpoint.not_expressible
    recorded.problems, recorded.uses = tuple(checkpoint.problems), dict(checkpoint.uses)
    recorded.series = dict(checkpoint.series)
    if any(spec.role == "training" for spec in recorded.tensors.values()):
        from diffai.comparison.recorded import numbers

        recorded.lone_numbers = numbers(checkpoint)
    return recorded


def encode_checkpoint(recorded: RecordedCheckpoint) -> Any:
    """A recorded checkpoint as plain values; one list a tensor, because there may be very many."""
    return [
        recorded.format, recorded.size,
        [[getattr(spec, name) for name in _FIELDS[TensorSpec]] for spec in recorded.tensors.values()],
        [list(getattr(recorded, name).items()) for name in _TEXTS],
        [[kind, list(digests)] for kind, digests in recorded.parts.items()],
        [[path, list(row)] for path, row in recorded.series.items()], list(recorded.lone_numbers.items()),
        sorted(recorded.requires_grad), list(recorded.asides.items()), sorted(recorded.not_expressible),
        encode(recorded.problems), [[name, *keys] for name, keys in recorded.uses.items()],
    ]  # fmt: skip


def decode_checkpoint(value: Any) -> RecordedCheckpoint:
    """What :func:`encode_checkpoint` was given.

    Raises:
        ValueError: it is not of that making.
    """
    recorded = RecordedCheckpoint()
    try:
        recorded.format, recorded.size, specs, texts, parts, series, lone, *rest_of = value
        grad, asides, facets, problems, uses = rest_of
        recorded.tensors = {name: TensorSpec(name, dtype, tuple(shape), *rest) for name, dtype, shape, *rest in specs}
        for name, items in zip(_TEXTS, texts, strict=True):
            setattr(recorded, name, dict(items))
        recorded.parts = {kind: tuple(digests) for kind, digests in parts}
        recorded.series, recorded.lone_numbers = {path: tuple(row) for path, row in series}, dict(lone)
        recorded.requires_grad, recorded.asides = frozenset(grad), dict(asides)
        recorded.not_expressible, recorded.problems = frozenset(facets), decode(problems)
        recorded.uses = {name: tuple(keys) for name, *keys in uses}
        return recorded
    except (TypeError, ValueError) as error:
        raise ValueError(f"no recorded checkpoint: {error}") from error


def encode_summaries(summaries: Sequence[TensorSummary]) -> Any:
    """Digests and statistics of many tensors, one list a tensor."""
    return [[s.digest, s.constant, encode(s.statistics)] for s in summaries]


def decode_summaries(value: Any) -> list[TensorSummary]:
    """What :func:`encode_summaries` was given; ValueError when it is not of that making."""
    try:
        return [TensorSummary(decode(statistics), digest, constant) for digest, constant, statistics in value]
    except TypeError as error:
        raise ValueError(f"no summaries: {error}") from error
