"""What kind of network each side is, with the evidence, and what differs in its structure.

A type is read from names, shapes, the operators of a graph and parts that repeat (trees), never guessed from sizes:
the first rule that holds decides. Where none does it is not recorded. Configurations beside the models are compared.
"""

from __future__ import annotations

import re

from diffai.analyses.beside import CONFIGURATION, object_beside
from diffai.analyses.finding import NOT_RECORDED, Finding
from diffai.analyses.modules import kind_of, pattern_of, stacks, top_of
from diffai.comparison.result import ModelDiff
from diffai.frozen import frozen
from diffai.model import TensorSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from diffai.analyses.context import Context
    from diffai.finding import Fields, Severity
    from diffai.model import Checkpoint

NAME = "architecture_comparison"
_MOST_ROWS = 200
_SHOWN = 3
_KEYS = (
    "model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size",
    "vocab_size", "num_experts_per_tok", "num_local_experts", "max_position_embeddings",
)  # fmt: skip

_ATTENTION = (
    r"(^|[._/])((q|k|v|qkv|query|key|value)(_proj|_lin)?[._/](weight|kernel|qweight|base_layer)"
    r"|c_attn|in_proj_weight|query_key_value|attn_(q|k|v|qkv)|self_attn)([._/]|$)"
)
# Type, what a name of it holds, and the operators of a graph that say the same; the first that holds.
_RULES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("diffusion u-net", r"(^|\.)(down_blocks|input_blocks)\.\d+\..*|(^|\.)(up_blocks|output_blocks)\.\d+\.", ()),
    ("mixture of experts", r"(^|[._/])experts?[._/]\d+[._/]|block_sparse_moe|_exps(\.|$)|(^|\.)experts\.(gate_up|down)",
     ("MoE",)),
    ("state space", r"(^|[._/])(A_log|ssm_(a|dt|in|out|conv1d))([._/]|$)", ()),
    ("recurrent", r"(weight|bias)_(ih|hh)_l\d|recurrent_kernel", ("LSTM", "GRU", "RNN")),
    ("transformer", _ATTENTION, ("Attention", "MultiHeadAttention", "GroupQueryAttention")),
)  # fmt: skip
_TIME = re.compile(r"(^|\.)(time_embed\w*|time_proj|time_emb\w*)\.")


@frozen
class Architecture:
    """What kind of network it is.

    Attributes:
        type: one of the words of the documentation; "" where no rule holds.
        evidence: what decided.
        stacks: modules that are counted, by name: how many.
        parameters: by module, the most first.
        experts: how many of a layer, in a mixture of experts.
    """

    type: str
    evidence: tuple[str, ...]
    stacks: Mapping[str, int]
    parameters: Mapping[str, int]
    experts: int = 0


def architecture(specs: Sequence[TensorSpec], checkpoint: Checkpoint | None = None) -> Architecture:
    """The architecture of one side; ``checkpoint`` knows its graph and the parts that repeat."""
    weights = [spec for spec in specs if spec.role == "weight"]
    counts: dict[str, int] = {}
    for spec in weights:
        if spec.is_parameter:
            top = top_of(spec.name)
            counts[top] = counts.get(top, 0) + spec.elements
    names = [spec.name for spec in weights]
    kind, evidence = _type(weights, checkpoint)
    experts = {match[1] for name in names if (match := re.search(r"experts?[._/](\d+)[._/]", name))}
    ordered = dict(sorted(counts.items(), key=lambda row: -row[1]))
    return Architecture(kind, tuple(evidence), stacks(names), ordered, len(experts))


def _type(weights: Sequence[TensorSpec], checkpoint: Checkpoint | None) -> tuple[str, list[str]]:
    graph = checkpoint.graph if checkpoint is not None else {}
    parts = checkpoint.parts if checkpoint is not None else {}
    for kind, digests in parts.items():
        if "tree" in kind:
            return "tree ensemble", [f"{len(digests):,} {kind}"]
    operators = {key.removeprefix("operator ") for key in graph if key.startswith("operator ")}
    trees = sorted(name for name in operators if "TreeEnsemble" in name)
    if trees:
        return "tree ensemble", [f"operator {trees[0]}"]
    if weights and all(kind_of(spec) == "adapter" for spec in weights):
        return "adapter", [f"nothing but factors: {weights[0].name}"]
    for kind, pattern, named in _RULES:
        found = [spec.name for spec in weights if re.search(pattern, spec.name)]
        said = sorted(operators & set(named))
        if kind == "diffusion u-net" and not any(_TIME.search(spec.name) for spec in weights):
            continue
        if found or said:
            return kind, [f"operator {said[0]}"] if not found else _names(found)
    return _by_shapes(weights, operators)


def _by_shapes(weights: Sequence[TensorSpec], operators: set[str]) -> tuple[str, list[str]]:
    """What shapes say where no name does."""
    convolutions = [spec.name for spec in weights if kind_of(spec) == "convolution" and len(spec.shape) >= 3]
    if convolutions or operators & {"Conv", "ConvTranspose", "CONV_2D", "Conv2D", "Convolution"}:
        return "cnn", [f"convolutions: {', '.join(_names(convolutions)) or 'operators'}"]
    matrices = [spec for spec in weights if len(spec.shape) == 2 and min(spec.shape) > 0 and spec.is_parameter]
    dense = [spec.name for spec in matrices if kind_of(spec) != "embedding"]
    if len(dense) >= 2:
        return "mlp", [f"{len(dense):,} matrices and nothing else: {', '.join(_names(dense))}"]
    if len(dense) == 1 or any(spec.name.rpartition(".")[2] in ("coef_", "coef") for spec in weights):
        return "linear", [f"one matrix: {dense[0]}" if dense else "coefficients of a linear model"]
    if matrices:
        return "embedding", [f"a table alone: {matrices[0].name}"]
    return "", []


def _names(names: Sequence[str]) -> list[str]:
    shown = list(dict.fromkeys(pattern_of(name) for name in names))
    return [*shown[:_SHOWN], *([f"and {len(shown) - _SHOWN:,} more patterns"] if len(shown) > _SHOWN else [])]


def find(diff: ModelDiff, context: Context) -> Finding | None:
    """Both architectures and what differs between them."""
    if not diff.comparable:
        return None
    old, new = (
        architecture([spec for spec in specs if spec is not None], checkpoint)
        for specs, checkpoint in (
            ([change.old for change in diff.tensors], context.old),
            ([change.new for change in diff.tensors], context.new),
        )
    )
    differences = [*_configured(context), *_stacks(old, new), *_modules(diff)]
    evidence = [f"{side}: {'; '.join(each.evidence)}" for side, each in (("old", old), ("new", new)) if each.evidence]
    lacking = [side for side, each in (("old", old), ("new", new)) if not each.type]
    evidence += [f"type of the {side} side not recorded: no name, shape or graph says it" for side in lacking]
    fields: Fields = {
        "type1": old.type or None, "type2": new.type or None, "same": old.type == new.type and not differences,
        "layers_old": dict(old.stacks), "layers_new": dict(new.stacks),
        "parameters_old": _first(old.parameters), "parameters_new": _first(new.parameters),
        "differences": tuple(differences[:_MOST_ROWS]),
    }  # fmt: skip
    severity: Severity = "notice" if old.type and new.type and old.type != new.type else "info"
    if len(differences) > _MOST_ROWS:
        evidence.append(f"{len(differences) - _MOST_ROWS:,} further differences")
    text = f"type1={_said(old)}, type2={_said(new)}, differences={len(differences):,}"
    shown = "; ".join(differences[:_SHOWN])
    return Finding(NAME, severity, "fact", fields, tuple(evidence), f"{text} ({shown})" if shown else text)


def _said(found: Architecture) -> str:
    depth = max(found.stacks.values(), default=0)
    words = [f"{depth:,} {'trees' if found.type == 'tree ensemble' else 'layers'}"] if depth else []
    words += [f"{found.experts:,} experts"] if found.experts else []
    return (found.type or NOT_RECORDED) + (f" ({', '.join(words)})" if words and found.type else "")


def _first(parameters: Mapping[str, int]) -> dict[str, int]:
    """The modules with the most parameters."""
    return dict(list(parameters.items())[:_MOST_ROWS])


def _configured(context: Context) -> list[str]:
    """What the configurations beside the models say differently, where both are there."""
    old, new = (object_beside(context, which, CONFIGURATION) for which in ("old", "new"))
    if not (old and new):
        return []
    return [f"config.json {key}: {old.get(key)} -> {new.get(key)}" for key in _KEYS
            if old.get(key) != new.get(key) and _plain(old.get(key)) and _plain(new.get(key))]  # fmt: skip


def _plain(value: object) -> bool:
    return value is None or (isinstance(value, (str, int, float)) and len(str(value)) < 100)


def _stacks(old: Architecture, new: Architecture) -> list[str]:
    names = dict.fromkeys((*old.stacks, *new.stacks))
    pairs = [(name, old.stacks.get(name, 0), new.stacks.get(name, 0)) for name in names]
    return [f"{name}: {a:,} -> {b:,} modules" for name, a, b in pairs if a and b and a != b]


def _modules(diff: ModelDiff) -> list[str]:
    """Tensors that came, went or have another shape, one line a pattern."""
    groups: dict[str, int] = {}
    for change in diff.tensors:
        if change.role != "weight":
            continue
        if change.status[0] in ("added", "removed"):
            line = f"{change.status[0]} {pattern_of(change.name)} {list(change.spec.shape)}"
        elif "reshaped" in change.status and change.old is not None and change.new is not None:
            line = f"{pattern_of(change.name)} {list(change.old.shape)} -> {list(change.new.shape)}"
        else:
            continue
        groups[line] = groups.get(line, 0) + 1
    return [line if count == 1 else f"{line} x{count:,}" for line, count in groups.items()]
