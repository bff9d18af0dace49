"""Fold many tensor lines into few by the pattern of their names, so that a large model fits one screen.

``model.layers.0.self_attn.q_proj.weight`` … becomes ``model.layers.[0-31].self_attn.{k,q,v}_proj.weight``.
A folded line always carries its count: a pattern may cover more names than the model has.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from operator import attrgetter

from diffai.comparison.result import TensorChange
from diffai.frozen import slotted
from diffai.views.lines import OVER_FINITE, symbol
from diffai.views.style import escape, ratio, shape

_NUMBER = re.compile(r"\d+")
_MOST_ALTERNATIVES = 8
_AT_ONCE = 4096
_USUAL_KINDS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("changed",): ("~", "changed"), ("added",): ("+", "added"), ("removed",): ("-", "removed"),
}  # fmt: skip


Runs = tuple[tuple[int, int], ...]
"""Numbers as runs (first, last) in order: those of 100,000 layers in a row take no memory."""


@slotted
class Fold:
    """Changes of one kind whose names share one pattern; ``segments`` are dotted parts with ``\\0`` for a number."""

    kind: tuple[str, ...]
    segments: tuple[tuple[str, ...], ...]
    numbers: list[Runs]
    changes: list[TensorChange]


def fold(changes: Sequence[TensorChange]) -> list[Fold]:
    """Group by kind and pattern, in order of first appearance."""
    groups: dict[tuple[tuple[str, ...], str], Fold] = {}
    for start in range(0, len(changes), _AT_ONCE):
        _group(changes[start : start + _AT_ONCE], groups)
    return _merge_alternatives(list(groups.values()))


def _group(changes: Sequence[TensorChange], groups: dict[tuple[tuple[str, ...], str], Fold]) -> None:
    """Add some changes to their groups; numbers are taken out of the parts of names when these have met."""
    met: dict[tuple[tuple[str, ...], str], tuple[Fold, list[tuple[int, set[str]]]]] = {}
    for change in changes:
        kind, parts = _kind(change), change.name.split(".")
        key = kind, ".".join(map(_pattern, parts))
        known = met.get(key)
        if known is None:
            segments = key[1].split(".")
            group = groups.get(key)
            if group is None:
                slots: list[Runs] = [() for segment in segments for _ in range(segment.count("\0"))]
                group = groups[key] = Fold(kind, tuple((segment,) for segment in segments), slots, [])
            numbered = [(place, set[str]()) for place, segment in enumerate(segments) if "\0" in segment]
            known = met[key] = group, numbered
        for place, seen in known[1]:
            seen.add(parts[place])
        known[0].changes.append(change)
    for group, numbered in met.values():
        first = 0
        for _, seen in numbered:
            first += _take_numbers(seen, group.numbers, first)


def _kind(change: TensorChange) -> tuple[str, ...]:
    """What must agree for two tensors to share a line."""
    usual = _USUAL_KINDS.get(change.status)
    if usual:
        return usual
    kind: list[str] = [symbol(change), *change.status]
    if "cast" in change.status and change.old and change.new:
        kind += [change.old.dtype, change.new.dtype]
    if "reshaped" in change.status and change.old and change.new:
        kind += [shape(change.old.shape), shape(change.new.shape)]
    if change.status[0] == "renamed" and change.old:
        kind.append("\0".join(map(_pattern, change.old.name.split("."))))
    return tuple(kind)


@lru_cache(2048)
def _pattern(part: str) -> str:
    """A dotted part of a name with ``\\0`` for each number; 10,000 names are made of a few hundred parts."""
    return _NUMBER.sub("\0", part.replace("\0", "\u2400"))  # the mark must not come out of a name


def _take_numbers(parts: set[str], slots: list[Runs], first: int) -> int:
    """Add the numbers in parts of one pattern to the slots from ``first`` on; returns how many places there are."""
    found = [_NUMBER.findall(part) for part in parts]
    for place, column in enumerate(zip(*found, strict=False)):
        numbers = {int(digits[:4000]) for digits in column}  # Python refuses to convert longer ones
        joined: list[tuple[int, int]] = []
        for start, stop in sorted([*slots[first + place], *((number, number) for number in numbers)]):
            if joined and start <= joined[-1][1] + 1:
                joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
            else:
                joined.append((start, stop))
        slots[first + place] = tuple(joined)
    return len(found[0])


def _merge_alternatives(folds: list[Fold]) -> list[Fold]:
    """Join folds that differ in one segment only and run over the same numbers: ``{q,k,v,o}_proj``.

    The segment nearest to the end of the name is tried last, so that siblings in one block meet first.
    """
    longest = max((len(f.segments) for f in folds), default=0) if len(folds) > 1 else 0
    for position in range(longest):
        index: dict[tuple[object, ...], Fold] = {}
        kept: list[Fold] = []
        for f in folds:
            if position >= len(f.segments) or not f.numbers:
                kept.append(f)
                continue
            key = (
                f.kind,
                f.segments[:position],
                f.segments[position + 1 :],
                tuple(f.numbers),
                tuple(s.count("\0") for s in f.segments[position][:1]),
            )
            other = index.get(key)
            if other is not None and len(other.segments[position]) < _MOST_ALTERNATIVES:
                merged = (*other.segments[position], *f.segments[position])
                other.segments = (*other.segments[:position], merged, *other.segments[position + 1 :])
                other.changes += f.changes
            else:
                index[key] = f
                kept.append(f)
        folds = kept
    return folds


def fold_line(f: Fold) -> str:
    """The line of a fold: ``~ pattern  x128  relative L2 0.0012..0.0094 (most: layers.31.self_attn.v_proj)``."""
    count = f"  x{len(f.changes)}" if len(f.changes) > 1 else ""
    return f"{f.kind[0]} {pattern_text(f)}{count}{_figures(f)}"


def pattern_text(f: Fold) -> str:
    """The names as one pattern."""
    numbers = [_ranges(slot) for slot in f.numbers]
    position = 0
    parts = []
    for alternatives in f.segments:
        slots = alternatives[0].count("\0")
        for text in numbers[position : position + slots]:
            alternatives = tuple(one.replace("\0", text, 1) for one in alternatives)
        position += slots
        parts.append(_braces(alternatives))
    return escape(".".join(parts))


def _braces(alternatives: tuple[str, ...]) -> str:
    """``{q,k,v}_proj`` out of ``q_proj, k_proj, v_proj``: common ends are cut at an underscore."""
    if len(alternatives) == 1:
        return alternatives[0]
    words = [a.split("_") for a in alternatives]
    tail = 0
    while all(len(w) > tail + 1 for w in words) and len({w[-1 - tail] for w in words}) == 1:
        tail += 1
    head = 0
    while all(len(w) > tail + head + 1 for w in words) and len({w[head] for w in words}) == 1:
        head += 1
    middles = ["_".join(w[head : len(w) - tail]) for w in words]
    before = "".join(part + "_" for part in words[0][:head])
    after = "".join("_" + part for part in words[0][len(words[0]) - tail :])
    return f"{before}{{{','.join(middles)}}}{after}"


def _ranges(runs: Runs) -> str:
    """``[0-31]``, ``[0,2,5-7]``, a single number bare; long lists are cut and say so."""
    if len(runs) == 1 and runs[0][0] == runs[0][1]:
        return str(runs[0][0])
    words = [str(a) if a == b else f"{a}-{b}" for a, b in runs]
    if len(words) > 6:
        words = [*words[:5], "…", words[-1]]
    return f"[{','.join(words)}]"


def _figures(f: Fold) -> str:
    if len(f.changes) == 1:
        return ""
    first = f.changes[0]
    if first.status[0] in ("added", "removed"):
        shapes = {c.spec.shape for c in f.changes}
        dtypes = sorted({c.spec.dtype for c in f.changes})
        text = f"shape={shape(first.spec.shape)}" if len(shapes) == 1 else f"{len(shapes)} shapes"
        return f"  {text}, dtype={'/'.join(map(escape, dtypes))}"
    parts = []
    if "reshaped" in first.status and first.old and first.new:
        parts.append(f"shape={shape(first.old.shape)} -> {shape(first.new.shape)}")
    if "cast" in first.status and first.old and first.new:
        parts.append(f"dtype={first.old.dtype} -> {first.new.dtype}")
        casts = [c.figures.cast for c in f.changes if c.figures and c.figures.cast]
        if casts and all(cast.rounded for cast in casts):
            parts.append("lossless" if all(cast.exact for cast in casts) else "exactly rounded")
    if first.status[0] == "renamed" and first.old:
        same = all(c.figures is not None and c.figures.identical for c in f.changes)
        parts.append(f"from {escape(first.old.name)} …" + (" (identical)" if same else ""))
    parts += _spread(f)
    return f"  {', '.join(parts)}" if parts else ""


def _spread(f: Fold) -> list[str]:
    """``relative L2 0.0012..0.0094 (most: NAME)`` over the changes that have one."""
    if "changed" not in f.kind:
        return []
    known = [c for c in f.changes if math.isfinite(c.relative_l2)]
    if not known:
        return ["relative L2 n/a"]
    most = max(known, key=attrgetter("relative_l2"))
    low, high = min(c.relative_l2 for c in known), most.relative_l2
    # From all zeros there is no ratio; the others keep theirs.
    lacking = len(f.changes) - len(known)
    note = OVER_FINITE if any(change.over_finite for change in known) else ""
    note += f", n/a for {lacking:,}" if lacking else ""
    if ratio(low) == ratio(high):
        return [f"relative L2 {ratio(low)}{note}"]
    return [f"relative L2 {ratio(low)}..{ratio(high)} (most: {escape(_short(most.name))}){note}"]


def _short(name: str) -> str:
    """A name without its first words and its last: ``layers.31.self_attn.v_proj``."""
    parts = name.split(".")
    if parts[-1] in ("weight", "bias") and len(parts) > 2:
        parts = parts[:-1]
    return ".".join(parts[1:] if len(parts) > 3 else parts)
