"""What running a model costs, from its shapes: floating-point operations a token or position, and roofline times.

FLOPs = 2 x the parameters of matrices that a position goes through (Kaplan et al. 2020, section 2.1: a multiplication
and an addition each), without embedding tables, which are looked up. Of experts only the active ones count; how many
these are stands in ``config.json``. Convolutions run at as many places as their input is large, which no weight file
says. The roofline (Williams et al. 2009) is the longer of what arithmetic and of what reading the weights once takes.
"""

from __future__ import annotations

import re

from diffai.analyses.beside import CONFIGURATION, count_of, object_beside
from diffai.analyses.finding import Finding, brief, times_text
from diffai.analyses.memory import stored_bytes
from diffai.analyses.modules import kind_of
from diffai.comparison.result import ModelDiff
from diffai.frozen import frozen
from diffai.model import TensorSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from diffai.analyses.context import Context, Which
    from diffai.finding import Fields, Value
    from diffai.model import Checkpoint

NAME = "inference_speed_estimate"
_EXPERT = re.compile(r"(?<=experts[./])\d+(?=[./])")
_STACKED = re.compile(r"(^|[._/])experts?[._/]|_exps([._/]|$)")


_SPEAKING = ("ForCausalLM", "LMHeadModel", "ForMaskedLM", "ForConditionalGeneration")
"""Ends of the names of classes that give words: whose head is not in the file, has that of the embedding."""


@frozen
class Cost:
    """What one position costs.

    Attributes:
        matrix_parameters: of matrices that it goes through, active experts alone; None where that is not known.
        flops: 2 x these.
        bytes_read: of the same matrices as they are stored; None where that is not known.
        missing: what would have to be known.
    """

    matrix_parameters: int | None = None
    flops: int | None = None
    bytes_read: int | None = None
    missing: tuple[str, ...] = ()


class _Matrices:
    """What a position goes through, as it is counted."""

    def __init__(self, checkpoint: Checkpoint | None) -> None:
        self._checkpoint = checkpoint
        self._elements = self._experts = self._convolutions = 0
        self._bytes: int | None = 0
        self._expert_bytes: int | None = 0
        self._numbers = set[str]()  # of experts
        self._embedding: TensorSpec | None = None
        self._found = self._head = False

    def add(self, spec: TensorSpec) -> None:
        """Count one tensor."""
        if spec.role != "weight" or not spec.is_parameter or len(spec.shape) < 2 or not spec.elements:
            self._head = self._head or bool(spec.alias_of and kind_of(spec) == "head")
            return
        kind = kind_of(spec)
        if kind == "embedding":
            if len(spec.shape) == 2 and (self._embedding is None or spec.elements > self._embedding.elements):
                self._embedding = spec
        elif kind == "convolution":
            self._convolutions += 1
        elif kind != "trees" and not (len(spec.shape) == 3 and spec.shape[0] == 1):  # a token, such as cls_token
            self._found, self._head = True, self._head or kind == "head"
            self._add_matrix(spec)

    def _add_matrix(self, spec: TensorSpec) -> None:
        count, expert = _experts_of(spec)
        size = stored_bytes(spec, self._checkpoint)
        if count or expert:
            self._experts += spec.elements
            self._expert_bytes = _sum(self._expert_bytes, size)
            self._numbers |= {expert} if expert else {str(number) for number in range(count)}
        else:
            self._elements += spec.elements
            self._bytes = _sum(self._bytes, size)

    def cost(self, told: Mapping[str, object]) -> Cost:
        """The cost of all of them; ``told`` is what the configuration beside the model says."""
        missing = []
        elements, stored = self._elements, self._bytes
        if self._embedding is not None and not self._head and _is_tied(told):  # the table is the head, too
            elements += self._embedding.elements
            stored = _sum(stored, stored_bytes(self._embedding, self._checkpoint))
        if self._experts:
            active = count_of(told, "num_experts_per_tok", "num_experts_per_token", "moe_top_k", "top_k_experts")
            if active is None:
                missing.append("how many experts are active (num_experts_per_tok of config.json)")
            else:
                all_bytes = self._expert_bytes
                elements += self._experts * active // len(self._numbers)
                stored = _sum(stored, None if all_bytes is None else all_bytes * active // len(self._numbers))
        if self._convolutions:
            word = "convolution runs" if self._convolutions == 1 else "convolutions run"
            missing.append(f"the spatial size that {self._convolutions:,} {word} over")
        if not self._found:
            missing.append("a matrix that a position goes through")
        return Cost(missing=tuple(missing)) if missing else Cost(elements, 2 * elements, stored)


def _sum(one: int | None, other: int | None) -> int | None:
    """Both together; None where one is not known."""
    return None if one is None or other is None else one + other


def cost_of(specs: Iterable[TensorSpec], told: Mapping[str, object], checkpoint: Checkpoint | None = None) -> Cost:
    """What one position costs; ``told`` is what the configuration beside the model says."""
    matrices = _Matrices(checkpoint)
    for spec in specs:
        matrices.add(spec)
    return matrices.cost(told)


def _is_tied(told: Mapping[str, object]) -> bool:
    """Whether the word embedding of a model without a head of its own is its head, by its configuration."""
    tied = told.get("tie_word_embeddings")
    if isinstance(tied, bool):
        return tied
    named = told.get("architectures")
    return any(str(name).endswith(_SPEAKING) for name in named) if isinstance(named, list) else False


def _experts_of(spec: TensorSpec) -> tuple[int, str]:
    """(experts in one tensor, number of the expert that it belongs to); (0, "") where it is no expert's."""
    one = _EXPERT.search(spec.name)
    if one is not None:
        return 0, one[0]
    return (spec.shape[0], "") if len(spec.shape) == 3 and _STACKED.search(spec.name) else (0, "")


def costs(diff: ModelDiff, context: Context) -> tuple[Cost, Cost]:
    """What one position costs on both sides."""
    sides: tuple[tuple[Which, list[TensorSpec]], ...] = (
        ("old", [change.old for change in diff.tensors if change.old is not None]),
        ("new", [change.new for change in diff.tensors if change.new is not None]),
    )
    old, new = (
        cost_of(specs, object_beside(context, which, CONFIGURATION), context.checkpoint(which))
        for which, specs in sides
    )
    return old, new


def ratio(old: float | None, new: float | None) -> float | None:
    """New over old; None where one is not known or the old one is 0."""
    return None if old is None or new is None or not old else new / old


def find(diff: ModelDiff, context: Context) -> Finding | None:
    """The cost of both sides, their ratio, and roofline times where the machine is given."""
    if not diff.comparable:
        return None
    old, new = costs(diff, context)
    tflops, bandwidth = context.number("tflops"), context.number("gb_per_s")
    times = [_seconds(cost, tflops, bandwidth) for cost in (old, new)]
    flops = ratio(old.flops, new.flops)
    fields: Fields = {
        "flops_ratio": flops, "bytes_ratio": ratio(old.bytes_read, new.bytes_read),
        "time_ratio": ratio(times[0], times[1]), "old": _side(old, times[0]), "new": _side(new, times[1]),
    }  # fmt: skip
    evidence = [
        "2 FLOPs a matrix parameter and position (Kaplan et al. 2020); attention over the context is not counted",
        *(f"not recorded: {what} (old side)" for what in old.missing),
        *(f"not recorded: {what} (new side)" for what in new.missing),
    ]
    if not (tflops and bandwidth):
        evidence.append("times: not recorded without tflops and gb_per_s under [analyses.inference_speed_estimate]")
    if new.bytes_read is None and not new.missing:
        evidence.append("stored bytes of a packed kind are not known")
    text = brief({
        "flops_per_token": None if new.flops is None else _flops(new.flops),
        "ratio": None if flops is None else times_text(flops),
        **({} if times[1] is None else {"time": f"{times[1] * 1e3:.3g} ms"}),
    })  # fmt: skip
    lacking = next(iter((*new.missing, *old.missing)), "")
    return Finding(NAME, "info", "estimate", fields, tuple(evidence), f"{text} ({lacking})" if lacking else text)


def _side(cost: Cost, seconds: float | None) -> dict[str, Value]:
    return {
        "flops_per_token": cost.flops, "matrix_parameters": cost.matrix_parameters, "bytes_read": cost.bytes_read,
        "seconds_per_token": seconds,
    }  # fmt: skip


def _seconds(cost: Cost, tflops: float, bandwidth: float) -> float | None:
    """The roofline time of one position, read alone; None where the machine or the cost is not known."""
    if not (tflops and bandwidth) or cost.flops is None or cost.bytes_read is None:
        return None
    return max(cost.flops / (tflops * 1e12), cost.bytes_read / (bandwidth * 1e9))


def _flops(count: int) -> str:
    """``13.4 GFLOP``."""
    value = float(count)
    for unit in ("FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP"):
        if value < 1000 or unit == "TFLOP":
            return f"{value:,.3g} {unit}"
        value /= 1000
    raise AssertionError
