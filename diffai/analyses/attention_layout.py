"""Where the heads of attention lie in a model's tensors: by the names of the common families, and their head counts.

Separate projections (LLaMA, BERT, ViT, T5, DistilBERT, diffusers, GGUF, ...), fused ones in blocks (GPT-2, timm,
``torch.nn.MultiheadAttention``, Phi-3, MPT) and fused ones by head (GPT-NeoX, BLOOM, Falcon) are known. The number of
heads comes from ``config.json``, the file's metadata, hyper-parameters of the checkpoint, or the shape of a norm of
queries; else a head is taken to be 64 wide (128 from a width of 3,072 on), and that is an estimate.
"""

from __future__ import annotations

import re

from diffai.analyses.beside import CONFIGURATION, object_beside
from diffai.frozen import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from diffai.analyses.context import Context
    from diffai.model import Checkpoint, TensorSpec

    Json = Mapping[str, object]

PARTS = ("q", "k", "v", "o")
_SEPARATE = (
    (("q_proj", "k_proj", "v_proj"), ("o_proj", "out_proj", "dense")),
    (("query", "key", "value"), ("../output.dense", "out", "output")),
    (("query_proj", "key_proj", "value_proj"), ("../output.dense",)),
    (("q_lin", "k_lin", "v_lin"), ("out_lin",)),
    (("to_q", "to_k", "to_v"), ("to_out.0", "to_out")),
    (("linear_q", "linear_k", "linear_v"), ("linear_out",)),
    (("wq", "wk", "wv"), ("wo",)),
    (("attn_q", "attn_k", "attn_v"), ("attn_output",)),
    (("q", "k", "v"), ("o", "proj", "out")),
)
"""Names of the modules of queries, keys and values beside each other, and of that of the output."""
_FUSED = (
    ("in_proj_weight", ("out_proj",)),
    ("qkv.weight", ("proj", "out_proj", "o_proj")),
    ("Wqkv.weight", ("out_proj", "Wo")),
    ("qkv_proj.weight", ("o_proj", "out_proj")),
    ("attn_qkv.weight", ("attn_output",)),
    ("c_attn.weight", ("c_proj",)),
    ("query_key_value.weight", ("dense",)),
)
"""Names of tensors that hold queries, keys and values, and of the module of the output."""
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads")
_GROUPS = ("num_key_value_heads", "num_kv_heads", "n_head_kv", "n_kv_heads", "multi_query_group_num")
_WIDTH = ("head_dim", "d_kv", "kv_channels")
_WIDE, _NARROW_HEAD, _WIDE_HEAD = 3072, 64, 128


@frozen
class Piece:
    """Where the heads of one part lie.

    Attributes:
        tensor: its name on the new side.
        axis: of the matrix along which the heads lie.
        starts: first index of each head.
        width: indices a head.
    """

    tensor: str
    axis: int
    starts: tuple[int, ...]
    width: int


@frozen
class Layer:
    """One layer of attention.

    Attributes:
        name: of the module.
        heads: of queries; 0 where their number is not known (the parts are then whole).
        groups: heads of keys and values.
        parts: ``q``, ``k``, ``v``, ``o``, each where it lies.
        estimate: the number of heads is an assumption.
    """

    name: str
    heads: int
    groups: int
    parts: Mapping[str, Piece]
    estimate: bool = False

    def piece(self, part: str, head: int) -> tuple[Piece, int]:
        """Where a head of queries finds its part, and the first index there."""
        piece = self.parts[part]
        own = head if part in ("q", "o") else head * self.groups // max(self.heads, 1)
        return piece, piece.starts[own]


@frozen
class Counts:
    """What is recorded of heads: their number, that of keys and values, their width; 0 where it is not."""

    heads: int = 0
    groups: int = 0
    width: int = 0


def layers(specs: Mapping[str, TensorSpec], recorded: Recorded) -> list[Layer]:
    """All layers of attention of a model, in the order of its tensors."""
    found: dict[str, Layer] = {}
    for name, spec in specs.items():
        if len(spec.shape) != 2 or spec.role != "weight":
            continue
        layer = _separate(name, specs, recorded) or _fused(name, specs, recorded)
        if layer is not None:
            found.setdefault(layer.name, layer)
    return list(found.values())


def _separate(name: str, specs: Mapping[str, TensorSpec], recorded: Recorded) -> Layer | None:
    """The layer of which this tensor holds the queries."""
    for (query, key, value), outputs in _SEPARATE:
        prefix, mark, rest = name.rpartition(f".{query}.weight")
        if not mark or rest:
            continue
        names = [name, f"{prefix}.{key}.weight", f"{prefix}.{value}.weight"]
        output = _first(prefix, outputs, specs)
        if output is None or any(other not in specs or len(specs[other].shape) != 2 for other in names):
            continue
        rows = [specs[other].shape[0] for other in names]
        heads, groups, estimate = _split(rows[0], rows[1], recorded.of(prefix), _norm(prefix, specs))
        if heads and (rows[1] % groups or rows[2] % groups or specs[output].shape[1] % heads):
            heads, groups, estimate = 0, 0, False
        counts = dict(zip(PARTS, (heads, groups, groups, heads), strict=True))
        sizes = dict(zip(PARTS, (*rows, specs[output].shape[1]), strict=True))
        parts = {
            part: _even(tensor, axis, counts[part] or 1, sizes[part])
            for part, tensor, axis in zip(PARTS, (*names, output), (0, 0, 0, 1), strict=True)
        }
        return Layer(prefix, heads, groups, parts, estimate)
    return None


def _fused(name: str, specs: Mapping[str, TensorSpec], recorded: Recorded) -> Layer | None:
    """The layer of which this tensor holds queries, keys and values."""
    for suffix, outputs in _FUSED:
        if not (name == suffix or name.endswith(f".{suffix}")):
            continue
        prefix = name.removesuffix(suffix).rstrip(".")
        output = _first(prefix, outputs, specs)
        if output is None:
            return None
        rows, columns = specs[name].shape
        axis = 1 if suffix == "c_attn.weight" and columns > rows else 0  # GPT-2 keeps [in, out]
        whole, inner = (columns, rows) if axis else (rows, columns)
        counts = recorded.of(prefix)
        found = _split_fused(whole, inner, counts, _norm(prefix, specs))
        if found is None:
            return None
        heads, groups, width, estimate = found
        starts = _by_head(heads, groups, width) if "query_key_value" in suffix and not recorded.blocks else None
        starts = starts or _in_blocks(heads, groups, width)
        parts = {part: Piece(name, axis, starts[part], width) for part in "qkv"}
        parts["o"] = _even(output, 0 if axis else 1, heads, specs[output].shape[0 if axis else 1])
        return Layer(prefix, heads, groups, parts, estimate)
    return None


def _even(tensor: str, axis: int, heads: int, size: int) -> Piece:
    width = size // heads
    return Piece(tensor, axis, tuple(head * width for head in range(heads)), width)


def _in_blocks(heads: int, groups: int, width: int) -> dict[str, tuple[int, ...]]:
    """All queries, then all keys, then all values."""
    counts = {"q": (0, heads), "k": (heads, groups), "v": (heads + groups, groups)}
    return {part: tuple((first + n) * width for n in range(count)) for part, (first, count) in counts.items()}


def _by_head(heads: int, groups: int, width: int) -> dict[str, tuple[int, ...]]:
    """Group by group: its queries, its key, its value (GPT-NeoX and BLOOM with one query each, Falcon with more)."""
    if groups == 1 < heads:  # Falcon with one key for all
        return _in_blocks(heads, groups, width)
    each = heads // groups
    size = (each + 2) * width
    return {
        "q": tuple(head // each * size + head % each * width for head in range(heads)),
        "k": tuple(group * size + each * width for group in range(groups)),
        "v": tuple(group * size + (each + 1) * width for group in range(groups)),
    }


def _first(prefix: str, outputs: Sequence[str], specs: Mapping[str, TensorSpec]) -> str | None:
    for output in outputs:
        place = f"{prefix.rpartition('.')[0]}.{output[3:]}" if output.startswith("../") else f"{prefix}.{output}"
        name = f"{place}.weight".lstrip(".")
        if name in specs and len(specs[name].shape) == 2:
            return name
    return None


def _norm(prefix: str, specs: Mapping[str, TensorSpec]) -> int:
    """Width of a head by the norm of its queries (Qwen 3, Gemma 3, timm); 0 where there is none."""
    for name in ("q_norm.weight", "attn_q_norm.weight", "norm_q.weight"):
        spec = specs.get(f"{prefix}.{name}")
        if spec is not None and len(spec.shape) == 1:
            return spec.shape[0]
    return 0


def _split(queries: int, keys: int, counts: Counts, norm: int) -> tuple[int, int, bool]:
    """(heads, groups, whether by assumption) of separate projections; zeros where they cannot be told."""
    width = counts.width or (norm if norm < queries else 0)
    if counts.heads and queries % counts.heads == 0:
        width = queries // counts.heads
    estimate = not width
    if estimate:
        width = _WIDE_HEAD if queries >= _WIDE else _NARROW_HEAD
        if queries < 2 * width:
            return 0, 0, False
    if queries % width or keys % width or (queries // width) % (keys // width):
        return 0, 0, False
    return queries // width, keys // width, estimate


def _split_fused(whole: int, inner: int, counts: Counts, norm: int) -> tuple[int, int, int, bool] | None:
    """The same of a fused projection of ``inner`` inputs; None where it is none of that many heads."""
    heads, groups, width = counts.heads, counts.groups, counts.width or (norm if norm < inner else 0)
    if heads:
        groups = groups or (heads if whole % (3 * heads) == 0 else 1)
        if whole % (heads + 2 * groups) == 0 and heads % groups == 0:
            return heads, groups, whole // (heads + 2 * groups), False
        return None
    if whole % 3:
        return None
    estimate = not width
    width = width or (_WIDE_HEAD if whole // 3 >= _WIDE else _NARROW_HEAD)
    if whole // 3 % width or whole // 3 < 2 * width:
        return None
    return whole // 3 // width, whole // 3 // width, width, estimate


class Recorded:
    """What is recorded of a model's heads, and of its positions."""

    def __init__(self, configuration: Json, values: Mapping[str, object]) -> None:
        self._configuration, self._values = configuration, values
        self.blocks = configuration.get("model_type") == "chatglm"
        self.rotary = "rope_theta" in configuration or any("rope." in key for key in values)

    def of(self, layer: str) -> Counts:
        """What holds for a layer of this name."""
        for place in self._places(layer):
            heads = _number(place, self._side(layer)) or _number(place, _HEADS)
            if heads:
                groups = _number(place, _GROUPS)
                if place.get("multi_query") is True and not place.get("new_decoder_architecture"):
                    groups = 1
                return Counts(heads, groups, _number(place, _WIDTH))
        ends = {re.split(r"[./]", key)[-1]: value for key, value in self._values.items()}
        if any("attention.head_count" in key for key in self._values):  # GGUF
            ends |= {key.partition(".attention.")[2]: value for key, value in self._values.items()}
            return Counts(*(_number(ends, [key]) for key in ("head_count", "head_count_kv", "key_length")))
        return Counts(_number(ends, _HEADS), _number(ends, _GROUPS), _number(ends, _WIDTH))

    @staticmethod
    def _side(layer: str) -> list[str]:
        side = "encoder" if "encoder" in layer.split(".") else "decoder"
        return [f"{side}_attention_heads"]

    def _places(self, layer: str) -> list[Json]:
        sight = re.search(r"vis(ion|ual)", layer)
        nested = ["vision_config", "text_config"] if sight else ["text_config", "llm_config"]
        places = [self._configuration.get(name) for name in nested]
        return [place for place in (*places, self._configuration) if isinstance(place, dict)]


def _number(values: Json, names: Sequence[str]) -> int:
    """The first of some keys that holds a number of heads; 0 where none does."""
    for name in names:
        value = values.get(name)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 6:
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 100_000:
            return value
    return 0


def recorded(context: Context, checkpoint: Checkpoint) -> Recorded:
    """What the files of the new side say of heads; of the old one where those are silent."""
    configuration = object_beside(context, "new", CONFIGURATION) or object_beside(context, "old", CONFIGURATION)
    return Recorded(configuration, {**checkpoint.metadata, **checkpoint.training})
