"""One line a tensor: what happened to it, with the figures that show it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from diffai.comparison.result import BesideChange, LeftOut, ModelDiff, ProductChange, TensorChange, ValueChange
from diffai.model import Cast, Scalar, Statistics
from diffai.views.style import escape, known_mean, number, percent, plural, ratio, shape, transition, visibly_moved

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.analyses.nonfinite import Event, EventKind

_MOST_NAMED = 3
OVER_FINITE = " over the finite values"
"""After a figure of a tensor that holds NaN or infinity."""
METADATA = "metadata "
"""Before a key of the metadata, in lines that tell it from other values."""
_EVIDENCE = {
    "prefix": "by common prefix", "suffix": "by common suffix", "segment": "by common part of names",
    "values": "by likeness of values", "use": "by its use in the graph", "map": "by --map",
}  # fmt: skip


_COUNTED = {"files": "file", "tensors or keys": "tensor or key", "tensor pairs": "tensor pair", "values": "value",
            "differences": "difference"}  # fmt: skip


def left_text(left: LeftOut) -> str:
    """What was not compared: ``3 tensor pairs: REASON``, ``1 file left out by --include``."""
    one = _COUNTED.get(left.what)
    if one is None:
        return f"{left.what} {left.reason}"
    colon = ":" if left.what == "tensor pairs" else ""
    return f"{left.count:,} {one if left.count == 1 else left.what}{colon} {left.reason}"


def is_small(change: TensorChange, limit: float) -> bool:
    """Whether nothing but values changed, and by a relative L2 below ``limit``, which hides it (0 = never)."""
    return change.status == ("changed",) and change.relative_l2 < limit


def small_text(count: int, limit: float) -> str:
    """``3 small changes below relative L2 0.001 hidden (filter_small_changes)``."""
    return f"{plural(count, 'small change')} below relative L2 {limit:g} hidden (filter_small_changes)"


def symbol(change: TensorChange) -> str:
    """``+ - > ~ =``: the strongest thing that happened."""
    first = change.status[0]
    return {"added": "+", "removed": "-", "renamed": ">", "equal": "=", "identical": "=", "uncompared": "="}.get(
        first, "~"
    )


def tensor_line(change: TensorChange, *, verbose: bool = False) -> str:
    """The line without indent and colour, beginning with its symbol."""
    spec = change.spec
    name = escape(change.name)
    match change.status[0]:
        case "added" | "removed":
            return f"{symbol(change)} {name}: shape={shape(spec.shape)}, dtype={spec.dtype}" + _alone(change, verbose)
        case "identical":
            return f"= {name}: identical"
        case "equal":
            return f"= {name}: {_equal(change)}"
        case "uncompared":
            return f"= {name}: shape={shape(spec.shape)}, dtype={spec.dtype}, values not compared"
    parts = _parts(change, verbose)
    if change.status[0] != "renamed":
        return f"~ {name}: {', '.join(parts)}"
    old = escape(change.old.name) if change.old else ""
    how = _rename_note(change)
    return f"> {old} -> {name}{how}" + (f": {', '.join(parts)}" if parts else "")


def _rename_note(change: TensorChange) -> str:
    figures = change.figures
    if figures is not None and figures.identical:
        return " (identical)"
    how = _EVIDENCE.get(change.evidence, "")
    if figures is None and change.old and change.new and change.old.shape == change.new.shape:
        how += "; values not read" if how else "values not read"
    elif change.status == ("renamed",):
        how = "equal values" + (f", {how}" if how else "")
    return f" ({how})" if how else ""


def _equal(change: TensorChange) -> str:
    delta = change.figures.delta if change.figures else None
    if delta is not None and delta.tolerated_count:
        return f"equal within tolerance (max |d| {number(delta.max_abs)})"
    return "bytes differ, values equal"


def _parts(change: TensorChange, verbose: bool) -> list[str]:
    parts: list[str] = []
    old, new = change.old, change.new
    assert old is not None and new is not None
    if "reshaped" in change.status:
        same = f" (equal after permuting axes ({','.join(map(str, change.axes))}))" if change.axes else ""
        parts.append(f"shape={shape(old.shape)} -> {shape(new.shape)}{same}")
    if "cast" in change.status:
        parts.append(f"dtype={old.dtype} -> {new.dtype}" + _cast_note(change))
    if "changed" in change.status:
        parts += _value_parts(change, verbose)
    if new.encoding != old.encoding:
        parts.append(f"{escape(old.encoding) or 'plain'} -> {escape(new.encoding) or 'plain'}")
    return parts


def _cast_note(change: TensorChange) -> str:
    cast = change.figures.cast if change.figures else None
    return f" ({describe_cast(cast)})" if cast else ""


def describe_cast(cast: Cast) -> str:
    """``exactly rounded, relative L2 0.0017, SQNR 55.4 dB``."""
    if cast.exact:
        return "lossless"
    words = ["exactly rounded" if cast.rounded else "not just rounding"]
    if cast.relative_l2 is not None:
        words.append(f"relative L2 {ratio(cast.relative_l2)}")
    if cast.sqnr_db is not None:
        words.append(f"SQNR {cast.sqnr_db:.1f} dB")
    if cast.overflow_count:
        words.append(f"{cast.overflow_count:,} overflowed")
    if cast.underflow_count:
        words.append(f"{cast.underflow_count:,} underflowed to 0")
    return ", ".join(words)


def describe_events(kind: EventKind, events: Sequence[Event], show: Callable[[str], str] = escape) -> str:
    """``NaN or Inf appeared in 2 tensors: fc1.bias, fc2.bias``; ``show`` makes a name fit to be printed."""
    from diffai.analyses.nonfinite import WORDS

    names = ", ".join(show(event.change.name) for event in events[:_MOST_NAMED])
    more = f" and {len(events) - _MOST_NAMED:,} more" if len(events) > _MOST_NAMED else ""
    return f"{WORDS[kind]} in {plural(len(events), 'tensor')}: {names}{more}"


def statistics_of(change: TensorChange) -> tuple[Statistics | None, Statistics | None]:
    """Both sides' statistics, wherever they were computed."""
    figures = change.figures
    old = figures.old_statistics if figures else None
    new = figures.new_statistics if figures else None
    if old is None and change.old_summary:
        old = change.old_summary.statistics
    if new is None and change.new_summary:
        new = change.new_summary.statistics
    return old, new


def _value_parts(change: TensorChange, verbose: bool) -> list[str]:
    figures = change.figures
    assert figures is not None and figures.delta is not None
    delta = figures.delta
    if figures.as_bytes:
        dtype = change.spec.dtype
        why = f": {escape(change.spec.encoding)}" if change.spec.encoding else ""
        counts = f"{delta.changed_count:,} of {change.spec.nbytes:,} bytes differ"
        return [f"{counts} ({escape(dtype)} compared as bytes{why})"]
    old, new = statistics_of(change)
    parts: list[str] = []
    moved = False
    if old is not None and new is not None:
        assert change.old is not None and change.new is not None
        means = known_mean(old, change.old.values_dtype), known_mean(new, change.new.values_dtype)
        mean, std = transition(*means), transition(old.std, new.std)
        parts = [f"mean={mean}", f"std={std}"]
        moved = visibly_moved(mean) or visibly_moved(std)
        parts += _nonfinite(old, new)
    counts = f"{delta.changed_count:,} of {delta.element_count:,} values"
    if verbose or not moved:
        parts.append(f"{counts} changed")
        parts.append(f"max |d|={number(delta.max_abs)}")
    if verbose or old is None:
        parts.append(f"relative L2 {ratio(delta.relative_l2)}{OVER_FINITE if change.over_finite else ''}")
    if verbose:
        near = delta.new_l2 < 2 * delta.old_l2 and delta.old_l2 < 2 * delta.new_l2
        parts.append(f"cosine {cosine(delta.cosine, near=near)}")
        if delta.tolerated_count:
            parts.append(f"{delta.tolerated_count:,} more within tolerance")
    if change.spec.values:
        parts.append(f"{escape(change.spec.dtype)}, decoded")
    return parts


def product_line(change: ProductChange) -> str:
    """``~ layers.0.q_proj: B·A·scale relative L2 0.012, cosine 0.9999, rank 8 -> 16, scale 2 -> 1``."""
    known = None not in change.scales
    what = "B·A·scale" if known else "B·A (its scale is not known: adapter_config.json is not beside the file)"
    if change.l2 is None:
        parts = [f"{what} is not finite"]
    elif change.old_l2 == 0:
        parts = [f"{what} was zero, L2 is {number(change.new_l2 or 0.0)}"]
    else:
        parts = [f"{what} relative L2 {ratio(change.relative_l2)}", f"cosine {cosine(change.cosine)}"]
    if change.ranks[0] != change.ranks[1]:
        parts.append(f"rank {change.ranks[0]} -> {change.ranks[1]}")
    if change.scales[0] != change.scales[1]:
        old, new = ("not known" if scale is None else f"{scale:g}" for scale in change.scales)
        parts.append(f"scale {old} -> {new}")
    return f"~ {escape(change.name)}: {', '.join(parts)}"


def cosine(value: float | None, *, near: bool = True) -> str:
    """Cosine with the digits that hold: six decimals, and near 1 three digits of the distance from it.

    ``near``: the norms are within a factor of two; only then is that distance known so well.
    """
    if value is None:
        return "n/a"
    if value < 0.9999995 or not near:
        return f"{value:.6f}"
    if value >= 1.0:
        return "1"
    return f"{value:.{min(12, 3 - math.frexp(1.0 - value)[1] * 3 // 10)}f}".rstrip("0").rstrip(".")


def _nonfinite(old: Statistics, new: Statistics) -> list[str]:
    parts = []
    for label, before, after in (
        ("NaN", old.nan_count, new.nan_count),
        ("+Inf", old.pos_inf_count, new.pos_inf_count),
        ("-Inf", old.neg_inf_count, new.neg_inf_count),
    ):
        if before or after:
            parts.append(f"{label} {before:,}->{after:,}")
    return parts


def _alone(change: TensorChange, verbose: bool) -> str:
    summary = change.new_summary or change.old_summary
    statistics = summary.statistics if summary else None
    if statistics is None:
        return ""
    text = "".join(
        f", {count:,} {label}"
        for label, count in (
            ("NaN", statistics.nan_count), ("+Inf", statistics.pos_inf_count), ("-Inf", statistics.neg_inf_count),
        )
        if count
    )  # fmt: skip
    if verbose and statistics.mean is not None:
        text += f", mean={number(known_mean(statistics, change.spec.values_dtype))}, std={number(statistics.std)}"
        text += f", {percent(statistics.zero_count, statistics.element_count)} zeros" if statistics.zero_count else ""
    return text


def value_line(change: ValueChange, prefix: str = "") -> str:
    """``~ epoch: 3 -> 4``, ``+ metadata author: "me"``."""
    key = escape(prefix + change.key)
    match change.status:
        case "added":
            return f"+ {key}: {scalar(change.new)}"
        case "removed":
            return f"- {key}: {scalar(change.old)}"
    return f"~ {key}: {scalar(change.old)} -> {scalar(change.new)}"


def fact_line(change: ValueChange) -> str:
    """``~ importance f22: 0.173 -> 0.11``: what a file implies, so that digits that tell nothing are left out."""
    old, new = figure(change.old), figure(change.new)
    if old == new:  # which such digits would not tell apart
        return value_line(change)
    key = escape(change.key)
    match change.status:
        case "added":
            return f"+ {key}: {new}"
        case "removed":
            return f"- {key}: {old}"
    return f"~ {key}: {old} -> {new}"


def figure(value: Scalar) -> str:
    """A value as people read it: a float with four significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else scalar(value)


def fact_lines(diff: ModelDiff) -> list[str]:
    """What else the files imply, the figures that moved farthest first; what the line of the parts says is left out."""
    said = {part.kind for part in diff.parts}
    return [fact_line(change) for change in _by_size([change for change in diff.facts if change.key not in said])]


def parts_lines(diff: ModelDiff) -> list[str]:
    """``~ trees: 10 -> 15, 0 identical``."""
    return [f"~ {escape(p.kind)}: {p.old:,} -> {p.new:,}, {p.identical:,} identical" for p in diff.parts]


def _by_size(changes: Sequence[ValueChange]) -> list[ValueChange]:
    """Figures that changed by the distance, the farthest first, behind all that are no such pairs."""

    def moved(change: ValueChange) -> float:
        old, new = change.old, change.new
        if not (isinstance(old, float) and isinstance(new, float)) or change.status != "changed":
            return -math.inf
        return -abs(new - old) if math.isfinite(new - old) else -math.inf

    return sorted(changes, key=moved)


def beside_line(change: BesideChange, most: int = 3) -> str:
    """A file beside a model: ``~ config.json: hidden_size 768 -> 1024, 2 more``."""
    return f"~ {escape(change.name)}: {beside_text(change, most)}"


def beside_text(change: BesideChange, most: int = 3, show: Callable[[Scalar], str] | None = None) -> str:
    """The same without the name; ``show`` writes a value, exactly by default."""
    show = show or scalar
    if change.problem:
        return escape(change.problem, longest=500)
    parts = []
    for one in change.changes[:most]:
        key = escape(one.key)
        if one.status == "changed":
            moved = f"{show(one.old)} -> {show(one.new)}" if one.old is not None else _bare(one.new)
            parts.append(f"{key} {moved}")
        else:
            sign, value = ("+", one.new) if one.status == "added" else ("-", one.old)
            parts.append(f"{sign}{key} {_bare(value)}")
    rest = len(change.changes[most:]) + change.more
    return ", ".join([*parts, f"{rest:,} more"] if rest else parts)


def _bare(value: Scalar) -> str:
    return escape(value) if isinstance(value, str) else scalar(value)


def structure_line(change: ValueChange, prefix: str = "") -> str:
    """``~ class Sequential.1: torch.nn.Tanh -> torch.nn.Sigmoid``: names, which need no quotes."""
    key, old, new = (escape(text) for text in (prefix + change.key, str(change.old), str(change.new)))
    match change.status:
        case "added":
            return f"+ {key}: {new}"
        case "removed":
            return f"- {key}: {old}"
    return f"~ {key}: {old} -> {new}"


def scalar(value: Scalar) -> str:
    """A metadata or training value: text quoted and escaped, numbers exactly."""
    if isinstance(value, str):
        return f'"{escape(value)}"'
    return repr(value)
