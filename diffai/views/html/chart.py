"""Drawings of a change as SVG, without any library and without script."""

from __future__ import annotations

from diffai.analyses.update import shares
from diffai.comparison.result import ModelDiff
from diffai.views.blocks import placed
from diffai.views.grouping import grouped
from diffai.views.html.present import inert
from diffai.views.model_table import relative_of, share_text, short

_ROW, _LEFT, _BAR, _RIGHT = 20, 300, 420, 170
_LEAST, _MOST = 1e-4, 1.0


def change_per_layer(diff: ModelDiff) -> list[str]:
    """A bar a part of the model: relative L2 on a logarithmic scale, the greatest share of the update first."""
    rows = [c for c in diff.tensors if c.role == "weight" and c.old and c.new and "reshaped" not in c.status]
    share_of = {change.name: share for change, share in shares(diff)}
    by_name = {change.name: change for change in rows}
    if not share_of:
        return []
    bars = []
    for group in grouped(list(by_name), share_of):
        share = sum(share_of.get(name, 0.0) for name in group.names)
        bars.append((share, group.title, relative_of([by_name[name] for name in group.names])))
    bars.sort(key=lambda item: (-item[0], item[1]))
    height, width = _ROW * (len(bars) + 1) + 8, _LEFT + _BAR + _RIGHT
    parts = [
        (
            f'<svg role="img" aria-label="Change per layer" viewBox="0 0 {width} {height}" width="{width}" '
            'style="max-width:100%;height:auto" font-size="12" fill="currentColor">'
        )
    ]
    for exponent in range(-4, 1):
        x = _LEFT + _BAR * placed(10.0**exponent, _LEAST, _MOST)
        parts.append(f'<path d="M{x:.0f} {_ROW}V{height - 4}" stroke="currentColor" opacity=".2"/>')
        parts.append(f'<text x="{x:.0f}" y="13" text-anchor="middle" opacity=".7">1e{exponent}</text>')
    for place, (share, name, relative) in enumerate(bars):
        y = _ROW * (place + 1) + 4
        label = inert(name if len(name) <= 42 else "…" + name[-41:])
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 12}" text-anchor="end">{label}</text>')
        if relative is not None:
            long = max(1, round(_BAR * placed(relative, _LEAST, _MOST)))
            parts.append(f'<rect x="{_LEFT}" y="{y + 2}" width="{long}" height="{_ROW - 7}" fill="#e0763a"/>')
        text = f"{short(relative) if relative is not None else '='} {share_text(share) and f'({share_text(share)})'}"
        parts.append(f'<text x="{_LEFT + _BAR + 10}" y="{y + 12}">{text.strip()}</text>')
    return ["<h2>Change per layer</h2>", "".join(parts) + "</svg>",
            '<p class="soft">Relative L2, logarithmic; in brackets the share of the squared update.</p>']  # fmt: skip
