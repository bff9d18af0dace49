"""How many bits of the stored numbers differ (ZipLLM: Wang et al. 2026): what storing a difference could save."""

from __future__ import annotations

from diffai.analyses.finding import Finding, counted, not_computed, nothing
from diffai.analyses.second_pass import rounded
from diffai.comparison.result import ModelDiff, TensorChange
from diffai.frozen import frozen
from diffai.model import Checkpoint, TensorSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.analyses.context import Context
    from diffai.finding import Fields
    from diffai.tensors.bits import Read

NAME = "bit_distance"


@frozen
class _Stored:
    """The bytes of a tensor as they are stored, and the kind that they are of."""

    kind: tuple[str, tuple[int, ...]]
    size: int
    read: Read


def find(diff: ModelDiff, context: Context) -> Finding | None:
    """The share of bits that differ, over all weights that both sides store in one way."""
    if context.unread:
        return not_computed(NAME, context.unread)
    pairs = [c for c in diff.tensors if c.old is not None and c.new is not None and _is_weight(c)]
    rows: list[tuple[TensorChange, int, int]] = []
    left = done = 0
    whole = sum(change.spec.nbytes for change in pairs)
    for change in pairs:
        found = _bits(change, context)
        left += found is None
        rows += [(change, *found)] if found is not None else []
        done += change.spec.nbytes
        context.progress(done, whole)
    bits = sum(size for _, _, size in rows)
    if not bits:
        return nothing(NAME, "no weight is stored in the same way on both sides")
    apart = sum(count for _, count, _ in rows)
    elements = sum(change.spec.elements for change, _, _ in rows)
    order = sorted(rows, key=lambda row: (-row[1] / max(row[2], 1), row[0].name))
    fields: Fields = {
        "share": rounded(apart / bits), "bits_per_element": rounded(apart / elements), "bits_apart": apart,
        "bits": bits, "tensors": len(rows), "not_compared": left,
        "by_tensor": tuple(
            {"name": change.name, "share": rounded(count / max(size, 1)), "bits_per_element": _each(count, change)}
            for change, count, size in order
        ),
    }  # fmt: skip
    text = f"{_percent(apart / bits)} of the bits differ, {apart / elements:.3g} of {bits / elements:.3g} an element"
    if left:
        text += f", in {len(rows):,} of {counted(len(pairs), 'tensor')}: the others are stored in another way"
    evidence = (f"{counted(left, 'tensor')}: another dtype, shape or coding; their bits say nothing",) if left else ()
    return Finding(NAME, "info", "fact", fields, evidence, text)


def _is_weight(change: TensorChange) -> bool:
    return change.role == "weight" and not change.spec.alias_of and bool(change.spec.elements)


def _each(count: int, change: TensorChange) -> float | None:
    return rounded(count / max(change.spec.elements, 1))


def _percent(share: float) -> str:
    return "none" if not share else f"{share:.3g}" if share < 1e-4 else f"{100 * share:.3g}%"


def _bits(change: TensorChange, context: Context) -> tuple[int, int] | None:
    """Bits that differ and all bits of one pair; None where both sides are not stored in one way."""
    from diffai.tensors.bits import bits_apart

    assert change.old is not None and change.new is not None and context.old is not None and context.new is not None
    old, new = _stored(context.old, change.old), _stored(context.new, change.new)
    if not old or [(each.kind, each.size) for each in old] != [(each.kind, each.size) for each in new]:
        return None
    size = 8 * sum(each.size for each in old)
    if change.figures is not None and change.figures.identical:
        return 0, size
    return sum(bits_apart(a.read, b.read, a.size) for a, b in zip(old, new, strict=True)), size


def _stored(checkpoint: Checkpoint, spec: TensorSpec) -> list[_Stored]:
    """What a tensor is stored as; nothing where its bytes cannot be read as they are stored."""
    if spec.lacking:
        return []
    codes = checkpoint.codes(spec)
    if codes is not None:
        size = -(-spec.elements // codes.elements) * codes.size
        return [_Stored((codes.kind, spec.shape), size, _reading_codes(checkpoint, spec))]
    parts = checkpoint.made_of(spec) or ((spec,) if not spec.values else ())
    plain = [part for part in parts if not part.values]
    return [_Stored((part.dtype, part.shape), part.nbytes, _reading(checkpoint, part)) for part in plain]


def _reading(checkpoint: Checkpoint, spec: TensorSpec) -> Read:
    return lambda offset, buffer: checkpoint.read_into(spec, offset, buffer)


def _reading_codes(checkpoint: Checkpoint, spec: TensorSpec) -> Read:
    return lambda offset, buffer: checkpoint.read_codes_into(spec, offset, buffer)
