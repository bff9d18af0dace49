"""Drawings as SVG by our own hand, without any library or script; they take the colour of the text around them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape as escape_xml

from diffai.views.blocks import Bars, Chart, Curve, Drawing, Histogram, placed
from diffai.views.scale import scale_of
from diffai.views.style import escape, number, ratio

_WIDTH, _LEFT, _RIGHT, _HEIGHT, _GAP, _ROW = 920, 230, 30, 120, 34, 16
_COLORS = ("#1f6feb", "#d1570b", "#2da44e", "#8250df")
_HEAT = "#d1570b"
_OLD, _NEW = "#8c959f", "#d1570b"
_BARS_LEFT, _BARS_WIDE, _BARS_ROW = 300, 420, 20
_HISTOGRAM, _HISTOGRAM_HIGH = 420, 110
_MOST_DATES = 8
_MOST_NOTED = 600
"""Marks of a map that each carry a note; more are drawn together."""
_STYLE = "svg{color:#24292f;background:#fff}@media(prefers-color-scheme:dark){svg{color:#e6edf3;background:#0d1117}}"


def drawing(block: Drawing) -> str:
    """An ``svg`` element for a page; each mark says its figure to who points at it."""
    width, height, parts = _parts(block)
    return _element(block.title, width, height, parts, "")


def document(blocks: Sequence[Drawing]) -> str:
    """A file of its own with all drawings, one below the other, each under its title."""
    parts, top, widest = [f"<style>{_STYLE}</style>"], 8, 0
    for block in blocks:
        width, height, inner = _parts(block)
        parts.append(f'<text x="12" y="{top + 18}" font-size="15">{_text(block.title)}</text>')
        parts.append(f'<g transform="translate(0 {top + 28})">')
        parts += [*inner, "</g>"]
        if block.note:
            note = _text(block.note)
            parts.append(f'<text x="12" y="{top + height + 38}" font-size="10" opacity=".75">{note}</text>')
            top += 16
        top, widest = top + height + 36, max(widest, width)
    return _element("", widest, top, parts, ' xmlns="http://www.w3.org/2000/svg"') + "\n"


def _element(title: str, width: int, height: int, parts: Sequence[str], more: str) -> str:
    label = f' role="img" aria-label="{_text(title)}"' if title else ""
    head = f'<svg{more}{label} viewBox="0 0 {width} {height}" width="{width}" style="max-width:100%;height:auto"'
    head += ' font-family="system-ui, sans-serif" font-size="12" fill="currentColor">'
    return "\n".join([head, *parts, "</svg>"])


def _parts(block: Drawing) -> tuple[int, int, list[str]]:
    """Width, height and the marks of one drawing."""
    if isinstance(block, Chart):
        return _chart(block)
    return _bars(block) if isinstance(block, Bars) else _histogram(block)


def _text(text: str, longest: int = 200) -> str:
    return escape_xml(escape(text, longest=longest))


# ---------------------------------------------------------------- curves and a heat map


def _chart(block: Chart) -> tuple[int, int, list[str]]:
    parts: list[str] = []
    top = 0
    for place, curve in enumerate(block.curves):
        if any(value is not None for value in curve.values):
            parts += _curve(block, curve, _COLORS[place % len(_COLORS)], top)
            top += _HEIGHT + _GAP
    if block.heat:
        parts += _heat(block, top + 12)
        top += _ROW * len(block.heat) + _GAP
    step = max(1, math.ceil(len(block.places) / _MOST_DATES))
    parts += [
        f'<text x="{_x(block, place):.1f}" y="{top - 8}" text-anchor="middle" font-size="10" opacity=".75">'
        f"{_text(block.places[place])}</text>"
        for place in range(0, len(block.places), step)
        if block.places[place]
    ]
    return _WIDTH, top + 6, parts


def _x(block: Chart, place: int) -> float:
    """The middle of a place's column."""
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) / max(1, len(block.places)) * (place + 0.5)


def _curve(block: Chart, curve: Curve, color: str, top: int) -> list[str]:
    """One line; its axis begins at zero unless it is logarithmic, and where there is no value there is a gap."""
    scale, bottom = scale_of(curve.values), top + _HEIGHT
    name = curve.name + (" (logarithmic)" if scale.logarithmic else "")
    out = [f'<text x="12" y="{top + 14}" font-weight="600">{_text(name)}</text>']
    out.append(f'<text x="12" y="{top + 30}" font-size="10" opacity=".75">{_text(curve.explained)}</text>')
    for share in (0.0, 0.5, 1.0):
        y = bottom - share * (_HEIGHT - 12)
        out.append(f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="currentColor" opacity=".2"/>')
        said = ratio(scale.value(share))
        out.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" font-size="10">{said}</text>')
    run: list[str] = []
    for place, value in enumerate([*curve.values, None]):
        if value is not None and math.isfinite(value):
            x, y = _x(block, place), bottom - scale.height(value) * (_HEIGHT - 12)
            run.append(f"{x:.1f},{y:.1f}")
            note = _text(f"{block.notes[place]}: {ratio(value)}")
            out.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"><title>{note}</title></circle>')
        elif run:
            out.append(f'<polyline points="{" ".join(run)}" fill="none" stroke="{color}" stroke-width="1.6"/>')
            run = []
    return out


def _heat(block: Chart, top: int) -> list[str]:
    """A row a part, a column a place; the stronger the larger. Of few marks each says its figure."""
    known = [v for row in block.heat for v in row.values if v is not None and v > 0 and math.isfinite(v)]
    low, high = (math.log(min(known)), math.log(max(known))) if known else (0.0, 1.0)
    width = (_WIDTH - _LEFT - _RIGHT) / max(1, len(block.places))
    out = [f'<text x="12" y="{top - 8}" font-weight="600">{_text(block.heat_title)}</text>']
    few = len(block.heat) * len(block.places) <= _MOST_NOTED
    alike: dict[tuple[str, str], list[str]] = {}
    for number_, row in enumerate(block.heat):
        y = top + number_ * _ROW
        label = row.name if len(row.name) <= 34 else "…" + row.name[-33:]
        out.append(f'<text x="{_LEFT - 6}" y="{y + 12}" text-anchor="end" font-size="10">{_text(label)}</text>')
        for place, value in enumerate(row.values):
            if value is None:
                continue
            share = value if block.shares else _share(value, low, high)
            look = (_HEAT if value else "currentColor", f"{_shade(share, value):.2f}")
            at, wide = _LEFT + place * width, max(1.0, width - 0.5)
            if few:
                note = _text(f"{row.name}, {block.notes[place]}: {ratio(value)}")
                place_ = f'x="{at:.1f}" y="{y}" width="{wide:.1f}" height="{_ROW - 0.5}"'
                fill = f'fill="{look[0]}" fill-opacity="{look[1]}"'
                out.append(f"<rect {place_} {fill}><title>{note}</title></rect>")
            else:
                alike.setdefault(look, []).append(f"M{at:.1f} {y}h{wide:.1f}v{_ROW - 0.5}h-{wide:.1f}z")
    for (color, shade), marks in alike.items():
        out.append(f'<path d="{"".join(marks)}" fill="{color}" fill-opacity="{shade}"/>')
    return out


def _share(value: float, low: float, high: float) -> float:
    """Where a size lies between the logarithms of the least and the greatest one."""
    if value <= 0:
        return 0.0
    return 1.0 if not math.isfinite(value) or high <= low else (math.log(value) - low) / (high - low)


def _shade(share: float, value: float) -> float:
    """How strong a mark is, in twentieths: a breath where it is zero."""
    return round(20 * (0.15 + 0.85 * max(0.0, min(1.0, share)))) / 20 if value > 0 else 0.06


# ---------------------------------------------------------------- bars


def _bars(block: Bars) -> tuple[int, int, list[str]]:
    height, width = _BARS_ROW * (len(block.rows) + 1) + 8, _BARS_LEFT + _BARS_WIDE + 170
    parts = []
    for exponent in range(round(math.log10(block.least)), round(math.log10(block.most)) + 1):
        x = _BARS_LEFT + _BARS_WIDE * placed(10.0**exponent, block.least, block.most)
        parts.append(f'<path d="M{x:.0f} {_BARS_ROW}V{height - 4}" stroke="currentColor" opacity=".2"/>')
        parts.append(f'<text x="{x:.0f}" y="13" text-anchor="middle" opacity=".7">1e{exponent}</text>')
    for place, (name, value, text) in enumerate(block.rows):
        y = _BARS_ROW * (place + 1) + 4
        label = _text(name if len(name) <= 42 else "…" + name[-41:])
        parts.append(f'<text x="{_BARS_LEFT - 8}" y="{y + 12}" text-anchor="end">{label}</text>')
        if value is not None:
            long = max(1, round(_BARS_WIDE * placed(value, block.least, block.most)))
            parts.append(f'<rect x="{_BARS_LEFT}" y="{y + 2}" width="{long}" height="{_BARS_ROW - 7}" fill="#e0763a"/>')
        parts.append(f'<text x="{_BARS_LEFT + _BARS_WIDE + 10}" y="{y + 12}">{_text(text)}</text>')
    return width, height, parts


# ---------------------------------------------------------------- histograms


def _histogram(block: Histogram) -> tuple[int, int, list[str]]:
    """The old side as an area, the new one as a line over it, each as a share of its own side."""
    parts = []
    tall = max([_most(block.old), _most(block.new)]) or 1.0
    base, left = _HISTOGRAM_HIGH + 6, 12
    for counts, color in ((block.old, _OLD), (block.new, _NEW)):
        total = sum(counts)
        if not total:
            continue
        step = _HISTOGRAM / len(counts)
        points = [f"M{left} {base}"]
        for place, count in enumerate(counts):
            y = base - _HISTOGRAM_HIGH * count / total / tall
            points.append(f"L{left + place * step:.1f} {y:.1f}H{left + (place + 1) * step:.1f}")
        path = " ".join([*points, f"L{left + _HISTOGRAM} {base}"])
        drawn = 'fill="{0}" fill-opacity=".45"' if color == _OLD else 'fill="none" stroke="{0}" stroke-width="1.5"'
        parts.append(f'<path d="{path}" {drawn.format(color)}/>')
    parts.append(f'<path d="M{left} {base}h{_HISTOGRAM}" stroke="currentColor" opacity=".4"/>')
    for place, anchor in ((0, "start"), (len(block.edges) // 2, "middle"), (len(block.edges) - 1, "end")):
        x = left + _HISTOGRAM * place / max(1, len(block.edges) - 1)
        said = number(block.edges[place])
        parts.append(f'<text x="{x:.0f}" y="{base + 14}" text-anchor="{anchor}" font-size="10">{said}</text>')
    return _HISTOGRAM + 24, base + 20, parts


def _most(counts: Sequence[int]) -> float:
    total = sum(counts)
    return max(counts) / total if total else 0.0
