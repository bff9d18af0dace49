"""The textconv text: one checkpoint, one tensor a line, byte-for-byte deterministic, never coloured.

A line diff of two such texts is itself a readable tensor diff; the digest at the end of each line makes sure
that any change of any value is seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from diffai.model import Checkpoint, Statistics, TensorSpec, TensorSummary, natural_key
from diffai.views.lines import scalar
from diffai.views.style import escape, known_mean, plural, shape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    V = TypeVar("V")

_LONGEST = 1000
"""Characters of a key or a value that are printed whole."""
_SHOWN = 200


def render_header(checkpoint: Checkpoint, size: int, digest: str) -> list[str]:
    """What the file is: format, counts, size in bytes and xxh3-128 of the whole file."""
    specs = checkpoint.tensors.values()
    parameters = sum(spec.elements for spec in specs if spec.is_parameter)
    counts = f"{plural(len(checkpoint.tensors), 'tensor')}, {plural(parameters, 'parameter')}"
    lines = [f"# {checkpoint.format}: {counts}, {size} bytes, xxh3:{digest}"]
    for problem in checkpoint.problems:
        if problem.severity == "error":
            lines.append(f"! {escape(problem.message, longest=0)} ({problem.code})")
    return lines


def render_values(checkpoint: Checkpoint) -> list[str]:
    """One line a class, an entry of the graph, a fact, a metadata key and a training-state value."""
    return [
        *(f"class {_text(key)} = {_text(name)}" for key, name in _ordered(checkpoint.classes)),
        *(f"{_text(key)} = {_text(value)}" for key, value in _ordered(checkpoint.graph)),
        *(f"{_text(key)} = {_scalar(value)}" for key, value in _ordered(checkpoint.facts)),
        *(
            f"__metadata__.{_text(key)} = {_scalar(value)}{_type(checkpoint, key)}"
            for key, value in _ordered(checkpoint.metadata)
        ),
        *(f"{_text(key)} = {_scalar(value)}" for key, value in _ordered(checkpoint.training)),
        *(f"requires_grad {_text(name)}" for name in sorted(checkpoint.requires_grad, key=natural_key)),
    ]


def _type(checkpoint: Checkpoint, key: str) -> str:
    """The type that a value is stored as, where its text does not tell: a change of it alone is a difference."""
    title = checkpoint.metadata_types.get(key, "")
    return f"  ({title})" if title else ""


def _text(text: str, quote: str = "") -> str:
    """A key or a value; of a long one the beginning, with its length and digest, so that any change of it is seen."""
    if len(text) <= _LONGEST:
        return f"{quote}{escape(text, longest=0)}{quote}"
    import xxhash

    digest = xxhash.xxh3_128_hexdigest(text.encode("utf-8", "surrogatepass"))
    return f"{quote}{escape(text[:_SHOWN], longest=0)}…{quote} ({len(text):,} characters, xxh3:{digest})"


def render_tensors(specs: Sequence[TensorSpec], summaries: Sequence[TensorSummary]) -> list[str]:
    """``name  dtype  [shape]  mean std min max  xxh3:digest``, in the order given."""
    return [tensor_text(spec, summary) for spec, summary in zip(specs, summaries, strict=True)]


def tensor_text(spec: TensorSpec, summary: TensorSummary) -> str:
    """The line of one tensor; figures that were not computed are left out."""
    parts = [escape(spec.name, longest=0), escape(spec.dtype), shape(spec.shape)]
    if summary.statistics is not None:
        parts.append(_figures(summary.statistics, spec.values_dtype))
    if spec.lacking:
        parts.append(escape(spec.lacking))
    if spec.encoding:
        parts.append(escape(spec.encoding, longest=0))
    if spec.alias_of:
        parts.append(f"tied to {escape(spec.alias_of, longest=0)}")
    if summary.digest:
        parts.append(f"xxh3:{summary.digest}")
    return "  ".join(parts)


def in_order(specs: Mapping[str, TensorSpec]) -> list[TensorSpec]:
    """Specs in natural order of their names."""
    return [specs[name] for name in sorted(specs, key=natural_key)]


def _figures(s: Statistics, dtype: str) -> str:
    text = " ".join(f"{label}={_number(value)}" for label, value in
                    (("mean", known_mean(s, dtype)), ("std", s.std), ("min", s.min), ("max", s.max)))  # fmt: skip
    for label, count in (("NaN", s.nan_count), ("+Inf", s.pos_inf_count), ("-Inf", s.neg_inf_count)):
        if count:
            text += f" {label}={count}"
    return text


def _number(value: float | int | None) -> str:
    if value is None:
        return "n/a"
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def _scalar(value: object) -> str:
    if isinstance(value, str):
        return _text(value, '"')
    return scalar(value)  # type: ignore[arg-type]


def _ordered(values: Mapping[str, V]) -> list[tuple[str, V]]:
    return sorted(values.items(), key=lambda item: natural_key(item[0]))
