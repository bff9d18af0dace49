"""Drawings in the characters of a terminal: curves and histograms as rows of small bars."""

from __future__ import annotations

from diffai.views.blocks import Chart, Histogram
from diffai.views.scale import scale_of, sparkline
from diffai.views.style import number, ratio

_FEWEST_FOR_CURVE = 3
_FEWEST_BARS = 8


def sketch(block: Chart | Histogram, width: int, levels: str) -> list[str]:
    """The lines of a drawing of at most ``width`` characters; 0 = as long as it has places."""
    return _histogram(block, levels) if isinstance(block, Histogram) else _curves(block, width, levels)


def _curves(block: Chart, width: int, levels: str) -> list[str]:
    """A row of bars a curve of some length, with its least and its greatest figure."""
    lines: list[str] = []
    most = 1
    for curve in block.curves:
        known = [value for value in curve.values if value is not None]
        if len(known) < _FEWEST_FOR_CURVE:
            continue
        how = " (logarithmic)" if scale_of(curve.values).logarithmic else ""
        tail = f"  {ratio(min(known))} .. {ratio(max(known))}{how}"
        bars = max(_FEWEST_BARS, width - 8 - len(tail)) if width else 0
        most = max(most, -(-len(curve.values) // bars)) if bars else 1
        lines.append(f"{curve.name:6}  {sparkline(curve.values, bars, levels)}{tail}")
    if lines and block.note:
        what, semicolon, course = block.note.partition("; ")
        each = f"; a bar is the largest of {most:,} commits" if most > 1 else ""
        lines.append(f"        ({what}{each}{semicolon}{course})")
    return lines


def _histogram(block: Histogram, levels: str) -> list[str]:
    sides = [(word, side) for word, side in (("old", block.old), ("new", block.new)) if side]
    lines = [f"{word}  {sparkline([float(count) for count in side], 0, levels)}" for word, side in sides]
    ends = f"     {number(block.edges[0])} .. {number(block.edges[-1])}"
    return [block.title, *lines, ends + (f"  ({block.note})" if block.note else "")]

