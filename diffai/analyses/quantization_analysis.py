"""What it cost to store weights in fewer bits: precision by tensor, and how many bits that saved."""

from __future__ import annotations

import math
from collections import Counter

from diffai.analyses.finding import Finding, counted, not_computed, nothing
from diffai.analyses.memory import stored_bytes
from diffai.analyses.second_pass import rounded, sides_of
from diffai.comparison.result import ModelDiff, TensorChange
from diffai.frozen import frozen
from diffai.model import Checkpoint, TensorSpec
from diffai.tensors.dtypes import INTEGERS
from diffai.tensors.reading import has_numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from diffai.analyses.context import Context
    from diffai.finding import Fields
    from diffai.tensors.dtypes import Array

NAME = "quantization_analysis"

_WORST = 5
_SAMPLE = 1 << 17


@frozen
class Precision:
    """One tensor that is stored otherwise than before.

    Attributes:
        change: the tensor.
        bits: an element, of both sides, with scales and zero points; None where that is not known.
        sqnr_db: signal to quantization noise; infinite without noise, None without a signal or where not compared.
        clipped: share of the elements (of a sample) that lie beyond what their block of codes can say.
        distinct: distinct values among those.
        parts: names of the stored tensors that it is made of: codes, scales, zero points.
    """

    change: TensorChange
    bits: tuple[float | None, float | None]
    sqnr_db: float | None
    clipped: float | None
    distinct: int | None
    parts: tuple[str, ...]


def find(diff: ModelDiff, context: Context) -> Finding | None:
    """Transitions of precision, what they saved and what they cost."""
    if context.unread:
        return not_computed(NAME, context.unread)
    assert context.old is not None and context.new is not None
    weights = [change for change in diff.tensors if change.role == "weight"]
    matched = [change for change in weights if change.old is not None and change.new is not None]
    moved = [change for change in matched if _stored_otherwise(change)]
    sides = _bits(context.old, (c.old for c in weights)), _bits(context.new, (c.new for c in weights))
    codes = [spec for c in weights for spec in (c.old, c.new) if spec is not None and spec.dtype.endswith(" codes")]
    if not moved:
        note = f"; {counted(len(codes), 'tensor')} of codes could not be decoded" if codes else ""
        each = f": {sides[1]:.3g} bits a parameter" if sides[1] is not None and sides[0] == sides[1] else ""
        return nothing(NAME, f"no tensor is stored in another precision{each}{note}")
    found, done, whole = [], 0, sum(change.spec.nbytes for change in moved)
    for change in moved:
        found.append(_precision(change, context))
        done += change.spec.nbytes
        context.progress(done, whole)
    if any(change.spec.elements > _SAMPLE for change in moved):
        context.cap(f"clipping and distinct values are of {_SAMPLE:,} elements a tensor, evenly spread rows")
    return _finding(found, weights, sides, codes, context.number("low_sqnr_db"))


def _stored_otherwise(change: TensorChange) -> bool:
    old, new = sides_of(change)
    return old.dtype != new.dtype or (old.encoding != new.encoding and bool(old.values or new.values))


def _bits(checkpoint: Checkpoint, specs: Iterable[TensorSpec | None]) -> float | None:
    """Stored bits a parameter; None where a size is not known, or there are none."""
    stored = parameters = 0
    for spec in specs:
        if spec is None or not spec.is_parameter:
            continue
        size = stored_bytes(spec, checkpoint)
        if size is None:
            return None
        stored += size
        parameters += spec.elements
    return 8 * stored / parameters if parameters else None


def _precision(change: TensorChange, context: Context) -> Precision:
    old, new = sides_of(change)
    assert context.old is not None and context.new is not None
    bits = []
    for checkpoint, spec in ((context.old, old), (context.new, new)):
        size = stored_bytes(spec, checkpoint)
        bits.append(8 * size / spec.elements if size is not None and spec.elements else None)
    parts = tuple(part.name for part in (context.new.made_of(new) or context.old.made_of(old)))
    clipped = distinct = None
    if _comparable(change):
        clipped, distinct = _range(old, new, context)
    return Precision(change, (bits[0], bits[1]), _sqnr(change), clipped, distinct, parts)


def _comparable(change: TensorChange) -> bool:
    """Whether both sides say the same numbers: whole ones without a scale are codes of no known meaning for floats."""
    old, new = sides_of(change)
    if old.shape != new.shape or not old.elements or not (has_numbers(old) and has_numbers(new)):
        return False
    return (old.values_dtype in INTEGERS) == (new.values_dtype in INTEGERS)


def _is_code_alone(change: TensorChange) -> bool:
    """Whether it is not comparable for the reason that one side is whole numbers without a scale."""
    old, new = sides_of(change)
    return (old.values_dtype in INTEGERS) != (new.values_dtype in INTEGERS)


def _sqnr(change: TensorChange) -> float | None:
    """20 log10(L2(old) / L2(new - old)) in dB; infinite without noise, None without a signal or where not compared."""
    figures = change.figures
    if figures is None or figures.as_bytes or not _comparable(change):
        return None
    if figures.identical or (figures.cast is not None and figures.cast.exact):
        return math.inf
    if figures.cast is not None:
        return figures.cast.sqnr_db
    delta = figures.delta
    if delta is None or not delta.old_l2 or not math.isfinite(delta.old_l2 + delta.l2):
        return None
    return 20 * (math.log10(delta.old_l2) - math.log10(delta.l2)) if delta.l2 else math.inf


def _range(old: TensorSpec, new: TensorSpec, context: Context) -> tuple[float | None, int | None]:
    """Share of clipped elements, and distinct values of the new side, among evenly spread rows."""
    import numpy as np

    from diffai.tensors.reading import matrix_shape, some_rows, spread

    assert context.old is not None and context.new is not None
    flat = len(new.shape) < 2
    rows, columns = (1, new.elements) if flat else matrix_shape(new)
    if columns > _SAMPLE or flat:
        return None, None
    places = spread(rows, max(1, _SAMPLE // columns))
    before, after = some_rows(context.old, old, places), some_rows(context.new, new, places)
    distinct = len(np.unique(after[np.isfinite(after)]))
    block = _block(context.new, new, columns)
    return (None if block is None else clipped_share(before, after, block)), distinct


def _block(checkpoint: Checkpoint, spec: TensorSpec, columns: int) -> int | None:
    """Elements of a row that share a scale; a whole row where nothing is known of scales; None where an index says."""
    codes = checkpoint.codes(spec)
    if codes is not None:
        return codes.elements if columns % codes.elements == 0 else columns
    parts = checkpoint.made_of(spec)
    if any(part.dtype == "I32" and part.shape == (columns,) for part in parts):
        return None  # groups of inputs in an order of their own
    scales = [part for part in parts if part.dtype[:1] in "FB" and 1 < part.elements < spec.elements]
    sizes = [spec.elements // part.elements for part in scales]
    fits = [size for size in sizes if 1 < size < columns and columns % size == 0]
    return min(fits, default=columns)


def clipped_share(old: Array, new: Array, block: int) -> float:
    """Share of the old elements that lie beyond the greatest new magnitude of their block by more than its last step.

    The last step is the distance of the two greatest magnitudes of a block. No rounding to a nearest code goes as far,
    even where codes lie farther apart the greater they are; so this is a lower bound.

    Args:
        old, new: float64 of shape (rows, columns).
        block: neighbours in a row that share a scale; a divisor of the columns.
    """
    import numpy as np

    before, after = np.abs(old.reshape(-1, block)), np.abs(new.reshape(-1, block))
    with np.errstate(invalid="ignore", over="ignore"):
        ends = after.max(axis=1, initial=0.0)[:, None]
        inner = np.where(after < ends, after, -np.inf).max(axis=1, initial=-np.inf)[:, None]
        clipped = before - ends > ends - inner  # an infinite step where all values of a block are equal
    return int(np.count_nonzero(clipped)) / max(old.size, 1)


def _finding(
    found: list[Precision],
    weights: list[TensorChange],
    sides: tuple[float | None, float | None],
    codes: list[TensorSpec],
    low: float,
) -> Finding:
    kinds = Counter((old.dtype, new.dtype) for old, new in (sides_of(each.change) for each in found))
    told = [each for each in found if each.sqnr_db is not None]
    order = sorted(told, key=lambda each: (_noise(each), each.change.name))
    overall = _overall(told)
    worst = order[0] if order and math.isfinite(_noise(order[0])) else None
    alone = {word: [c.name for c in weights if c.status == (word,)] for word in ("removed", "added")}
    old_bits, new_bits = sides
    fields: Fields = {
        "transitions": tuple({"old": a, "new": b, "tensors": n} for (a, b), n in kinds.items()),
        "bits_per_parameter_old": _figure(old_bits), "bits_per_parameter": _figure(new_bits),
        "compression": _figure(old_bits / new_bits) if old_bits and new_bits else None,
        "sqnr_db": _figure(overall), "lossless": sum(each.sqnr_db == math.inf for each in found),
        "worst_sqnr_db": _figure(worst.sqnr_db) if worst else None,
        "most_sensitive": tuple(each.change.name for each in order[:_WORST] if each.sqnr_db != math.inf),
        "tensors": tuple(_row(each) for each in (*order, *(each for each in found if each.sqnr_db is None))),
        "not_paired_old": tuple(alone["removed"]), "not_paired_new": tuple(alone["added"]),
        "not_decoded": tuple(spec.name for spec in codes),
    }  # fmt: skip
    undecoded = sum(_is_code_alone(each.change) for each in found)
    evidence = _evidence(alone, codes, worst, undecoded, None in sides)
    bad = worst is not None and _noise(worst) < low
    text = _text(kinds, fields, worst, undecoded, len(alone["removed"]) + len(alone["added"]))
    return Finding(NAME, "warning" if bad else "info", "fact", fields, evidence, text)


def _noise(each: Precision) -> float:
    """The SQNR, infinite where there is no noise or none is known."""
    return math.inf if each.sqnr_db is None else each.sqnr_db


def _overall(told: list[Precision]) -> float | None:
    """The same over all of them together; None without noise or signal."""
    deltas = [each.change.figures.delta for each in told if each.change.figures is not None]
    noise = math.hypot(*(delta.l2 for delta in deltas if delta is not None))
    signal = math.hypot(*(delta.old_l2 for delta in deltas if delta is not None))
    if not noise or not signal or not math.isfinite(noise + signal):
        return None
    return 20 * (math.log10(signal) - math.log10(noise))


def _evidence(
    alone: dict[str, list[str]], codes: list[TensorSpec], worst: Precision | None, undecoded: int, unknown: bool
) -> tuple[str, ...]:
    lines = [f"{counted(undecoded, 'tensor')} of whole numbers without a scale: not decoded"] if undecoded else []
    for word, side in (("removed", "old"), ("added", "new")):
        if alone[word]:
            more = f" and {len(alone[word]) - 3:,} more" if len(alone[word]) > 3 else ""
            lines.append(f"not paired, on the {side} side only: {', '.join(alone[word][:3])}{more}")
    for spec in codes[:3]:
        lines.append(f"{spec.name}: left as codes ({spec.encoding})")
    if worst is None:
        lines.append("no noise to measure: every value that was compared is the same, or none was")
    if unknown:
        lines.append("bits a parameter are not recorded where a kind of codes tells no size")
    return tuple(lines)


def _row(each: Precision) -> Fields:
    old, new = sides_of(each.change)
    exact = each.sqnr_db is not None and math.isinf(each.sqnr_db)
    row: dict[str, str | int | float | bool | tuple[str, ...] | None] = {
        "name": each.change.name, "new": new.dtype, "bits": _figure(each.bits[1]),
        "sqnr_db": None if exact or each.sqnr_db is None else rounded(each.sqnr_db, 4),
        "clipped_share": _figure(each.clipped), "distinct_values": each.distinct, "lossless": exact,
        "old": old.dtype, "bits_old": _figure(each.bits[0]),
    }  # fmt: skip
    if each.parts:
        row["made_of"] = each.parts
    return row


def _figure(value: float | None) -> float | None:
    return rounded(value, 5) if value is not None and math.isfinite(value) else None


def _text(
    kinds: Counter[tuple[str, str]], fields: Fields, worst: Precision | None, undecoded: int, alone: int
) -> str:
    (old, new), count = kinds.most_common(1)[0]
    more = f" and {len(kinds) - 1} more" if len(kinds) > 1 else ""
    parts = [f"{counted(count, 'tensor')} {old} -> {new}{more}"]
    before, after, ratio = fields["bits_per_parameter_old"], fields["bits_per_parameter"], fields["compression"]
    if isinstance(before, float) and isinstance(after, float) and isinstance(ratio, float):
        parts.append(f"{before:.3g} -> {after:.3g} bits a parameter ({ratio:.2g}x)")
    sqnr = fields["sqnr_db"]
    if isinstance(sqnr, float) and worst is not None:
        parts.append(f"SQNR {sqnr:.1f} dB (worst {worst.sqnr_db:.1f}: {worst.change.name})")
    elif fields["lossless"] == sum(kinds.values()):
        parts.append("lossless")
    if undecoded:
        parts.append(f"{undecoded:,} not decoded")
    if alone:
        parts.append(f"{counted(alone, 'tensor')} not paired")
    return ", ".join(parts)
