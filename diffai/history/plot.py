"""A history drawn into a file: SVG and HTML by ourselves, PNG with matplotlib where it is installed."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

from diffai.errors import DiffaiError, UsageError
from diffai.history.entries import Level, ModelLog
from diffai.history.series import Series, scale_of, series_of

SUFFIXES = (".png", ".svg", ".html")


def check_plot(path: str, level: Level = "values") -> None:
    """Refuse early what cannot be drawn, before the versions are read.

    Raises:
        UsageError: the name's suffix is none of those that are written, or no values are looked at.
        DiffaiError: a PNG is asked for and matplotlib is not installed.
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"--plot {path}: expected a file name ending in {', '.join(SUFFIXES)}")
    if level != "values":
        raise UsageError("--plot needs the values: leave out --level and --only-structure")
    if suffix == ".png":
        import importlib.util

        if importlib.util.find_spec("matplotlib") is None:
            raise DiffaiError(
                f"--plot {path}: PNG needs matplotlib: pip install 'diffai[plot]' (.svg and .html need nothing)"
            )


def plot_log(log: ModelLog, path: str) -> None:
    """Draw a history; the file's suffix says how.

    Raises:
        DiffaiError: the file cannot be written, matplotlib is missing, or no values were looked at.
    """
    check_plot(path, log.level)
    suffix = os.path.splitext(path)[1].lower()
    try:
        if suffix == ".png":
            _draw(series_of(log), path)
            return
        if suffix == ".svg":
            from diffai.history.plot_svg import svg

            text = svg(series_of(log))
        else:
            from diffai.history.plot_html import as_html

            text = as_html([log])
        with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError as error:
        raise DiffaiError(f"{path}: cannot be written: {(error.strerror or str(error)).lower()}") from error


def _draw(series: Series, path: str) -> None:
    """Three lines and a heatmap, one below the other."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    rows = 3 + bool(series.groups)
    heights = [2.0, 2.0, 2.0, max(1.5, 0.22 * len(series.groups))][:rows]
    figure = Figure(figsize=(10, sum(heights) + 1), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, 1, sharex=True, gridspec_kw={"height_ratios": heights}, squeeze=False)[:, 0]
    places = range(len(series.commits))
    for axis, title, values in zip(
        axes,
        ("update size", "drift from the first", "norm (L2)"),
        (series.update, series.drift, series.norm),
        strict=False,
    ):
        axis.plot(places, _plain(values), marker="o", markersize=3)
        axis.set_ylabel(title, fontsize=8)
        if scale_of(values).logarithmic:
            axis.set_yscale("log")
        else:
            axis.set_ylim(0, 1.08 * max((v for v in _plain(values) if v > 0), default=1.0))
        axis.grid(visible=True, alpha=0.3)
    if series.groups:
        heat = [_plain(row) for row in series.heat]
        known = [v for row in heat for v in row if v > 0]
        norm = LogNorm(min(known), max(known)) if known and min(known) < max(known) else None
        image = axes[-1].imshow(heat, aspect="auto", interpolation="nearest", cmap="Blues", norm=norm)
        axes[-1].set_yticks(range(len(series.groups)), [_label(name) for name in series.groups], fontsize=6)
        figure.colorbar(image, ax=axes[-1], label="update size by layer")
    step = max(1, math.ceil(len(series.commits) / 16))
    axes[-1].set_xticks(list(places)[::step], series.commits[::step], rotation=60, fontsize=7)
    figure.suptitle(_label(series.title))
    figure.savefig(path, dpi=120)


def _label(text: str) -> str:
    """Text that matplotlib takes as it is: ``$`` would begin a formula."""
    from diffai.views.style import escape

    return escape(text).replace("$", r"\$")


def _plain(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None or not math.isfinite(value) else value for value in values]
