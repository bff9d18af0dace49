"""What running a model costs, from its shapes: floating-point operations a token or position, and roofline times.

FLOPs = 2 x the parameters of matrices that a position goes through (Kaplan et al. 2020, section 2.1: a multiplication
and an addition each), without embedding tables, which are looked up. Of experts only the active ones count; how many
these are stands in ``config.json``. Convolutions run at as many places as their input is large, which no weight file
says. The roofline (Williams et al. 2009) is the longer of what arithmetic and of what reading the weights once takes.
"""

from __future__ import annotations

import re

from diffai.analyses.beside import CONFIGURATION, count_of, object_beside
from diffai.analyses.finding import Finding, brief
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


def cost_of(specs: Iterable[TensorSpec], told: Mapping[str, object], checkpoint: Checkpoint | None = None) -> Cost:
    """What one position costs; ``told`` is what the configuration beside the model says."""
    elements = experts = expert_bytes = 0
    stored: int | None = 0
    numbers = set[str]()
    convolutions, found = 0, False
    embedding: TensorSpec | None = None
    headless = True
    for spec in specs:
        if spec.role != "weight" or not spec.is_parameter or len(spec.shape) < 2 or not spec.elements:
            headless = headless and not (spec.alias_of and kind_of(spec) == "head")
            continue
        kind = kind_of(spec)
        if kind == "embedding" and len(spec.shape) == 2:
            embedding = spec if embedding is None or spec.elements > embedding.elements else embedding
            continue
        if kind == "convolution":
            convolutions += 1
            continue
        found = True
        headless = headless and kind != "head"
        size = stored_bytes(spec, checkpoint)
        count, expert = _experts_of(spec)
        if count or expert:
            experts += spec.elements
            expert_bytes += size or 0
            numbers |= {expert} if expert else {str(n) for n in range(count)}
        else:
            elements += spec.elements
            stored = None if stored is None or size is None else stored + size
    missing = []
    if embedding is not None and headless and _is_tied(told):
        elements += embedding.elements  # the table is the head, too
        size = stored_bytes(embedding, checkpoint)
        stored = None if stored is None or size is None else stored + size
    if experts:
        active = count_of(told, "num_experts_per_tok", "num_experts_per_token", "moe_top_k", "top_k_experts")
        if active is None:
            missing.append("how many experts are active (num_experts_per_tok of config.json)")
        else:
            elements += experts * active // len(numbers)
            stored = None if stored is None else stored + expert_bytes * active // len(numbers)
    if convolutions:
        word = "convolution runs" if convolutions == 1 else "convolutions run"
        missing.append(f"the spatial size that {convolutions:,} {word} over")
    if not found:
        missing.append("a matrix that a position goes through")
    if missing:
        return Cost(missing=tuple(missing))
    return Cost(elements, 2 * elements, stored)


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
        "ratio": None if flops is None else f"{flops:.3g}x",
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
