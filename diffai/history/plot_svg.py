"""The drawing of a history as SVG, without any library: updates, drift, norms, and a heatmap of the layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape as escape_xml

from diffai.history.series import Series, scale_of
from diffai.views.style import escape, ratio

_WIDTH, _LEFT, _RIGHT, _HEIGHT, _GAP, _ROW = 920, 210, 30, 130, 46, 16
_COLORS = {"update": "#1f6feb", "drift": "#d1570b", "norm": "#2da44e"}


def svg(series: Series) -> str:
    """One SVG document, readable on white and on dark ground."""
    parts: list[str] = []
    top = 40
    for title, values, color in (
        ("update size: from the version before", series.update, _COLORS["update"]),
        ("drift: the same from the first version", series.drift, _COLORS["drift"]),
        ("norm: L2 of all parameters", series.norm, _COLORS["norm"]),
    ):
        if any(value is not None for value in values):
            parts.append(_line(series, values, title, color, top))
            top += _HEIGHT + _GAP
    if series.groups:
        parts.append(_heatmap(series, top))
        top += _ROW * len(series.groups) + _GAP
    parts.append(_dates(series, top - 14))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top + 6}" width="{_WIDTH}" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="#57606a">'
    )
    ground = f'<rect width="{_WIDTH}" height="{top + 6}" fill="#ffffff"/>'
    name = f'<text x="12" y="22" font-size="15" fill="#24292f">{_text(series.title)}</text>'
    return "\n".join([head, ground, name, *parts, "</svg>\n"])


def _text(text: str) -> str:
    return escape_xml(escape(text))


def _x(series: Series, place: int) -> float:
    """The middle of a commit's column."""
    width = (_WIDTH - _LEFT - _RIGHT) / max(1, len(series.commits))
    return _LEFT + width * (place + 0.5)


def _line(series: Series, values: Sequence[float | None], title: str, color: str, top: int) -> str:
    """One line chart; the axis begins at zero unless it is logarithmic, a gap is a version without a value."""
    scale = scale_of(values)
    title += " (logarithmic)" if scale.logarithmic else ""
    bottom = top + _HEIGHT
    out = [f'<text x="12" y="{top + 14}" fill="#24292f">{_text(title.partition(":")[0])}</text>']
    out.append(f'<text x="12" y="{top + 30}" font-size="10">{_text(title.partition(": ")[2])}</text>')
    for share in (0.0, 0.5, 1.0):
        y = bottom - share * (_HEIGHT - 12)
        out.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#d8dee4"/>')
        out.append(
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" font-size="10">{ratio(scale.value(share))}</text>'
        )
    run: list[str] = []
    for place, value in enumerate([*values, None]):
        if value is not None and math.isfinite(value):
            y = bottom - scale.height(value) * (_HEIGHT - 12)
            x = _x(series, place)
            run.append(f"{x:.1f},{y:.1f}")
            note = f"{series.commits[place]} {series.days[place]} {series.subjects[place]}: {ratio(value)}"
            out.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"><title>{_text(note)}</title></circle>')
        elif run:
            points = " ".join(run)
            out.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.6"/>')
            run = []
    return "\n".join(out)


def _heatmap(series: Series, top: int) -> str:
    """A row a layer, a column a commit; darker = larger relative update, on a logarithmic scale."""
    known = [v for row in series.heat for v in row if v is not None and v > 0 and math.isfinite(v)]
    low, high = (math.log(min(known)), math.log(max(known))) if known else (0.0, 1.0)
    width = (_WIDTH - _LEFT - _RIGHT) / max(1, len(series.commits))
    more = f" ({series.left_out:,} calmer ones left out)" if series.left_out else ""
    out = [f'<text x="12" y="{top - 8}" fill="#24292f">update size by layer{more}</text>']
    for row, (name, values) in enumerate(zip(series.groups, series.heat, strict=True)):
        y = top + row * _ROW
        label = name if len(name) <= 32 else "…" + name[-31:]
        out.append(f'<text x="{_LEFT - 6}" y="{y + 12}" text-anchor="end" font-size="10">{_text(label)}</text>')
        for place, value in enumerate(values):
            note = f"{name} at {series.commits[place]}: {ratio(value) if value is not None else 'no figure'}"
            shade = _shade(value, low, high)
            out.append(
                f'<rect x="{_LEFT + place * width:.1f}" y="{y}" width="{width:.1f}" height="{_ROW}" '
                f'fill="{shade}" stroke="#ffffff" stroke-width="0.5"><title>{_text(note)}</title></rect>'
            )
    return "\n".join(out)


def _shade(value: float | None, low: float, high: float) -> str:
    if value is None:
        return "#eeeeee"
    if value <= 0:
        return "#f6f8fa"
    share = 1.0 if not math.isfinite(value) or high <= low else (math.log(value) - low) / (high - low)
    first, last = (221, 236, 255), (9, 58, 130)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(first, last, strict=True))


def _dates(series: Series, y: int) -> str:
    """The first and the last day, and some between."""
    count = len(series.days)
    step = max(1, math.ceil(count / 8))
    return "\n".join(
        f'<text x="{_x(series, place):.1f}" y="{y}" text-anchor="middle" font-size="10">{series.days[place]}</text>'
        for place in range(0, count, step)
    )
