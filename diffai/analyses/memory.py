"""Memory: bytes of weights by dtype on both sides, and estimates of what running and training them take.

Weight bytes are those of parameters and buffers as they are stored, tied tensors once, without training state (a fact).
Inference is estimated as 1.2 times the weight bytes (EleutherAI, "Transformer Math 101", 2023: up to 20 % overhead),
training as 16 bytes a trainable parameter (Rajbhandari et al., "ZeRO", 2020, section 3.1: mixed-precision Adam); no
activations are counted. Efficiency is million parameters per MB (10^6 bytes) of weights.
"""

from __future__ import annotations

from diffai.analyses.finding import Finding, brief, counted
from diffai.analyses.resizes import is_factor
from diffai.comparison.result import ModelDiff
from diffai.frozen import frozen
from diffai.model import DTYPE_BITS, Absent, TensorSpec, byte_count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from diffai.analyses.context import Context
    from diffai.finding import Fields, Value
    from diffai.model import Checkpoint

NAME = "memory_analysis"


@frozen
class Weights:
    """Weights of one side.

    Attributes:
        by_dtype: stored bytes by dtype, the most first.
        parameters: elements of parameters.
        unknown: tensors whose stored bytes are not known here.
        adapter: nothing but low-rank factors, whose model is elsewhere.
    """

    by_dtype: tuple[tuple[str, int], ...] = ()
    parameters: int = 0
    unknown: int = 0
    adapter: bool = False

    @property
    def bytes(self) -> int | None:
        """Of all of them; None where those of one are not known."""
        return None if self.unknown else sum(size for _, size in self.by_dtype)


def weights_of(specs: Iterable[TensorSpec], checkpoint: Checkpoint | None = None) -> Weights:
    """What the weights of a side take; ``checkpoint`` knows the blocks of packed kinds."""
    sizes: dict[str, int] = {}
    parameters = unknown = factors = tensors = 0
    for spec in specs:
        if spec.role != "weight" or spec.alias_of:
            continue
        tensors += 1
        factors += is_factor(spec.name)
        parameters += spec.elements if spec.is_parameter else 0
        size = stored_bytes(spec, checkpoint)
        unknown += size is None
        sizes[spec.dtype] = sizes.get(spec.dtype, 0) + (size or 0)
    by_dtype = tuple(sorted(sizes.items(), key=lambda row: (-row[1], row[0])))
    return Weights(by_dtype, parameters, unknown, bool(tensors) and factors == tensors)


def stored_bytes(spec: TensorSpec, checkpoint: Checkpoint | None = None) -> int | None:
    """Bytes that a tensor takes in its file, packed codes as such; None where that is not known."""
    if spec.dtype in DTYPE_BITS and not spec.values:
        return byte_count(spec.dtype, spec.elements)
    if checkpoint is not None:
        parts = checkpoint.made_of(spec)
        if parts:
            return sum(part.nbytes for part in parts)
        codes = checkpoint.codes(spec)
        if codes is not None:
            return -(-spec.elements // codes.elements) * codes.size
    return byte_count(spec.dtype, spec.elements) if spec.dtype in DTYPE_BITS else None


def find(diff: ModelDiff, context: Context) -> Finding | None:
    """The memory of both sides, where it differs or was asked for."""
    if not diff.comparable:
        return None
    old = weights_of((change.old for change in diff.tensors if change.old is not None), context.old)
    new = weights_of((change.new for change in diff.tensors if change.new is not None), context.new)
    if old.by_dtype == new.by_dtype and not context.asked:
        return None
    evidence = [
        f"inference: {context.number('inference_factor'):g} x bytes of weights (EleutherAI, Transformer Math 101)",
        f"training: {context.number('training_bytes'):g} bytes a trainable parameter (ZeRO; mixed-precision Adam)",
        "activations and caches are not counted",
    ]
    base = context.base
    extra = weights_of(base.tensors.values(), base) if base is not None else None
    if (old.adapter or new.adapter) and extra is None:
        evidence.append("an adapter alone: the memory of its model is not recorded (--base FILE names it)")
    if old.unknown or new.unknown:
        evidence.append(f"stored bytes of {counted(old.unknown + new.unknown, 'tensor')} are not known: a packed kind")
    sides = [
        None if isinstance(side.state, Absent) else _side(weights, extra, context)
        for side, weights in ((diff.old, old), (diff.new, new))
    ]
    delta = None if old.bytes is None or new.bytes is None else new.bytes - old.bytes
    fields: Fields = {"delta_bytes": delta, "old": sides[0], "new": sides[1]}
    shown = sides[1] or sides[0] or {}
    text = brief({
        "delta": None if delta is None else size_text(delta, sign=True),
        "gpu_est": _size(shown.get("inference_bytes")), "training_est": _size(shown.get("training_bytes")),
        "efficiency": shown.get("efficiency"),
    })  # fmt: skip
    if (old.adapter or new.adapter) and extra is None:
        text += " (an adapter alone; --base FILE names its model)"
    return Finding(NAME, "info", "estimate", fields, tuple(evidence), text)


def _side(weights: Weights, base: Weights | None, context: Context) -> dict[str, Value]:
    stored = weights.bytes
    whole: int | None = stored
    if weights.adapter:
        whole = None if base is None or base.bytes is None or stored is None else stored + base.bytes
    trained = round(weights.parameters * context.number("training_bytes"))
    if weights.adapter and whole is not None and stored is not None:  # its model is held, and not trained
        trained += whole - stored
    return {
        "weight_bytes": stored,
        "by_dtype": dict(weights.by_dtype),
        "parameters": weights.parameters,
        "inference_bytes": None if whole is None else round(whole * context.number("inference_factor")),
        "training_bytes": None if whole is None else trained,
        "efficiency": weights.parameters / stored if stored else None,
    }


def _size(value: Value) -> str | None:
    return size_text(int(value)) if isinstance(value, (int, float)) else None


def size_text(count: int, *, sign: bool = False) -> str:
    """Bytes in decimal units: ``13.5 GB``."""
    value, mark = float(abs(count)), "-" if count < 0 else "+" if sign and count else ""
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{mark}{value:.0f} {unit}" if unit == "B" else f"{mark}{value:,.3g} {unit}"
        value /= 1000
    raise AssertionError
