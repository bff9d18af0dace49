"""Drawings as PNG by matplotlib, the extra ``plot``: the same blocks as in SVG."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from typing import Any

from diffai.errors import DiffaiError
from diffai.views.blocks import Bars, Chart, Drawing, Histogram
from diffai.views.scale import scale_of
from diffai.views.style import escape

_WIDE, _DPI = 10.0, 120
_MOST_DATES = 16


def require_png(what: str) -> None:
    """Refuse early what cannot be drawn.

    Raises:
        DiffaiError: matplotlib is not installed; the extra is named.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise DiffaiError(f"{what}: PNG needs matplotlib: pip install 'diffai[plot]' (.svg and .html need nothing)")


def write_png(blocks: Sequence[Drawing], path: str) -> None:
    """All drawings below each other in one picture.

    Raises:
        OSError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heights = [height for block in blocks for height in _heights(block)]
    figure = Figure(figsize=(_WIDE, sum(heights) + 1), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(heights), 1, gridspec_kw={"height_ratios": heights}, squeeze=False)[:, 0]
    axes = list(grid)
    for block in blocks:
        own, axes = axes[: len(_heights(block))], axes[len(_heights(block)) :]
        if isinstance(block, Chart):
            _chart(figure, own, block)
        elif isinstance(block, Bars):
            _bars(own[0], block)
        else:
            _histogram(own[0], block)
        own[0].set_title(_label(block.title), fontsize=10)
    figure.savefig(path, dpi=_DPI)


def _heights(block: Drawing) -> list[float]:
    """Inches of each of its axes."""
    if isinstance(block, Chart):
        return [2.0] * len(block.curves) + ([max(1.5, 0.22 * len(block.heat))] if block.heat else [])
    return [0.25 * len(block.rows) + 0.6] if isinstance(block, Bars) else [2.0]


def _chart(figure: Any, axes: Sequence[Any], block: Chart) -> None:
    places = range(len(block.places))
    for axis, curve in zip(axes, block.curves, strict=False):
        values = _plain(curve.values)
        axis.plot(places, values, marker="o", markersize=3)
        axis.set_ylabel(_label(curve.name), fontsize=8)
        axis.set_xlim(-0.5, len(places) - 0.5)
        axis.set_xticks([])
        if scale_of(curve.values).logarithmic:
            axis.set_yscale("log")
        else:
            axis.set_ylim(0, 1.08 * max((v for v in values if v > 0), default=1.0))
        axis.grid(visible=True, alpha=0.3)
    if block.heat:
        from matplotlib.colors import LogNorm, Normalize

        heat = [_plain(row.values) for row in block.heat]
        known = [v for row in heat for v in row if v > 0]
        varied = bool(known) and min(known) < max(known)
        norm = Normalize(0, 1) if block.shares else LogNorm(min(known), max(known)) if varied else None
        image = axes[-1].imshow(heat, aspect="auto", interpolation="nearest", cmap="Oranges", norm=norm)
        axes[-1].set_yticks(range(len(block.heat)), [_label(row.name) for row in block.heat], fontsize=6)
        figure.colorbar(image, ax=axes[-1], label=_label(block.heat_title))
    step = max(1, math.ceil(len(block.places) / _MOST_DATES))
    dates = [_label(place) for place in block.places[::step]]
    axes[-1].set_xticks(list(places)[::step], dates, rotation=60, fontsize=7)


def _bars(axis: Any, block: Bars) -> None:
    rows = block.rows[::-1]
    lengths = [block.least if value is None else min(max(value, block.least), block.most) for _, value, _ in rows]
    axis.barh(range(len(rows)), lengths, left=block.least / 10, color="#e0763a")
    axis.set_xscale("log")
    axis.set_xlim(block.least / 2, block.most)
    axis.set_yticks(range(len(rows)), [_label(name) for name, _, _ in rows], fontsize=7)
    for place, (_, _, text) in enumerate(rows):
        axis.annotate(_label(text), (1.01, place), xycoords=("axes fraction", "data"), fontsize=7, va="center")


def _histogram(axis: Any, block: Histogram) -> None:
    for counts, color, filled in ((block.old, "#8c959f", True), (block.new, "#d1570b", False)):
        total = sum(counts)
        if total:
            shares = [count / total for count in counts]
            axis.stairs(shares, block.edges, fill=filled, color=color, alpha=0.6 if filled else 1.0)
    axis.tick_params(labelsize=7)


def _label(text: str) -> str:
    """Text that matplotlib takes as it is: ``$`` would begin a formula."""
    return escape(text).replace("$", r"\$")


def _plain(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None or not math.isfinite(value) else value for value in values]
