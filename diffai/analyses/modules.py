"""Names of tensors as modules, layers and kinds of layer: how all analyses of structure read a name.

Names are conventions (PyTorch, Hugging Face, timm, diffusers, Keras, GGUF), so a kind is what the name says, and
``other`` where it says nothing that is known.
"""

from __future__ import annotations

import re
from functools import lru_cache

from diffai.model import TensorSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

NUMBER = re.compile(r"(?<![^./])\d+(?![^./])|(?<=_)\d+(?=[./])")
"""A piece of a name that counts repeated modules: ``layers.3.``, ``block_3/``."""

_MLP = (
    "mlp ffn ff feed_forward feedforward fc fc1 fc2 fc3 c_fc linear linear1 linear2 intermediate dense wi wo w1 w2 w3"
    " lin1 lin2 gate_proj up_proj down_proj"
)
# Kind, pieces of a name that say so, and parts of a piece that do; the first kind that holds decides.
_KINDS: tuple[tuple[str, frozenset[str], tuple[str, ...]], ...] = tuple(
    (kind, frozenset(pieces.split()), tuple(parts.split()))
    for kind, pieces, parts in (
        ("adapter", "ia3", "lora_"),
        ("trees", "trees tree", ""),
        ("norm", "ln gamma beta running_mean running_var", "norm ln_ bn"),
        ("experts", "expert experts", "block_sparse_moe _exps"),
        ("attention", "q k v qkv query key value q_proj k_proj v_proj o_proj out_proj q_lin k_lin v_lin out_lin",
         "attn attention in_proj_"),
        ("mlp", _MLP, "ffn_ dense_"),
        ("embedding", "wte wpe", "embed embd"),
        ("head", "lm_head head classifier score output cls predictions logits", ""),
        ("recurrent", "lstm gru rnn", "weight_ih weight_hh bias_ih bias_hh recurrent_kernel"),
        ("convolution", "downsample", "conv"),
    )
)  # fmt: skip


def kind_of_name(name: str) -> str:
    """What kind of layer a name says a tensor belongs to; ``other`` where it says nothing that is known."""
    return _kind_of_pattern(pattern_of(name))


@lru_cache(4096)
def _kind_of_pattern(name: str) -> str:
    """The same of a name without its numbers: 10,000 names have a few dozen patterns."""
    pieces = re.split(r"[./]", name.lower())
    for kind, words, parts in _KINDS:
        if any(piece in words or any(part in piece for part in parts) for piece in pieces):
            return kind
    return "other"


def kind_of(spec: TensorSpec) -> str:
    """The kind of layer of a tensor; a kernel of three dimensions or more is a convolution whatever it is called.

    One row of three dimensions is a token or a table of positions (``cls_token``, ``pos_embed``), nodes are of trees.
    """
    kind = kind_of_name(spec.name)
    kernel = len(spec.shape) >= 4 or (len(spec.shape) == 3 and spec.shape[0] > 1)
    return "convolution" if kernel and kind in ("other", "mlp", "embedding", "head") else kind


def pattern_of(name: str) -> str:
    """A name with ``*`` for the numbers of repeated modules: ``model.layers.*.mlp.up_proj.weight``."""
    return NUMBER.sub("*", name)


def stacks(names: Iterable[str]) -> dict[str, int]:
    """How many modules are counted in a row, by the name in front of the number: ``{"model.layers": 32}``.

    Only the first number of a name counts (an expert in a layer is no layer), and only from two modules on.
    """
    found: dict[str, set[str]] = {}
    for name in names:
        match = NUMBER.search(name)
        if match is not None and match.end() < len(name):
            found.setdefault(name[: match.start()].rstrip("._/"), set()).add(match[0])
    return {prefix: len(numbers) for prefix, numbers in found.items() if len(numbers) > 1}


def top_of(name: str) -> str:
    """The module in a table of parameters: the repeated one as a pattern, ``model.layers.*``, or the top-level one."""
    found = NUMBER.search(name)
    if found is not None and found.end() < len(name):
        return f"{name[: found.start()]}*"
    pieces = name.split(".")
    return ".".join(pieces[: max(1, len(pieces) - 1)])
