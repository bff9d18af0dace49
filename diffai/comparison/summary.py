"""One checkpoint by itself: what ``diffai show`` and ``diffai check`` say."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from diffai.comparison.selection import compiled, nearest_name, nothing_chosen
from diffai.comparison.tensors import count_dtypes
from diffai.errors import DiffaiError
from diffai.formats.base import Limits
from diffai.frozen import frozen
from diffai.model import Problem, Scalar, State, TensorSpec, TensorSummary, natural_key
from diffai.models.inputs import open_input


class NotOpenedError(DiffaiError):
    """A file that is there holds no readable checkpoint; ``state`` says why."""

    def __init__(self, label: str, state: State) -> None:
        super().__init__(label)
        self.label = label
        self.state = state


@frozen
class ModelSummary:
    """One model: what it is, and each tensor with its statistics (where asked for) in natural order.

    ``left_out`` counts tensors that the pattern did not match; ``valued`` tells whether values were read.
    """

    label: str
    format: str
    size: int
    specs: tuple[TensorSpec, ...]
    summaries: tuple[TensorSummary, ...]
    metadata: Mapping[str, Scalar]
    training: Mapping[str, Scalar]
    classes: Mapping[str, str]
    graph: Mapping[str, str]
    problems: tuple[Problem, ...]
    dtypes: tuple[tuple[str, int], ...]
    left_out: int = 0
    valued: bool = True
    facts: Mapping[str, Scalar] = MappingProxyType({})

    @property
    def parameters(self) -> int:
        """Parameters of the tensors shown."""
        return sum(spec.elements for spec in self.specs if spec.is_parameter)

    @property
    def elements(self) -> int:
        """Elements of the tensors shown."""
        return sum(spec.elements for spec in self.specs)


def show_model(
    word: str,
    limits: Limits,
    *,
    input_format: str = "",
    pattern: str = "",
    statistics: bool = True,
    digests: bool = False,
    threads: int = 0,
) -> ModelSummary:
    """Open and summarise one model.

    Raises:
        NotOpenedError: it is no readable checkpoint.
        SourceError: it does not exist, or changed while being read.
        UsageError: the pattern is no regular expression, or matches no tensor.

    """
    wanted = compiled(pattern, "--filter")
    side = open_input(word, limits, input_format)
    if side.checkpoint is None:
        assert side.state is not None
        raise NotOpenedError(side.label, side.state)
    checkpoint = side.checkpoint
    try:
        specs = [spec for name, spec in checkpoint.tensors.items() if wanted.search(name)]
        if not specs and checkpoint.tensors:
            raise nothing_chosen("--filter", pattern, nearest_name(pattern, checkpoint.tensors))
        specs.sort(key=lambda spec: natural_key(spec.name))
        summaries = [TensorSummary()] * len(specs)
        if statistics or digests:
            from diffai.tensors.engine import summarise

            summaries = summarise(checkpoint, specs, statistics=statistics, digest=digests, threads=threads)
            checkpoint.verify_unchanged()
        return ModelSummary(
            side.label, checkpoint.format, side.size, tuple(specs), tuple(summaries), dict(checkpoint.metadata),
            dict(checkpoint.training), dict(checkpoint.classes), dict(checkpoint.graph), checkpoint.problems,
            count_dtypes({s.name: s for s in specs}), len(checkpoint.tensors) - len(specs), statistics,
            dict(checkpoint.facts),
        )  # fmt: skip
    finally:
        checkpoint.close()
