"""The drawings of a comparison: the change of each part of the model, and what findings have to draw."""

from __future__ import annotations

from diffai.analyses.update import shares
from diffai.comparison.result import ModelDiff
from diffai.views.blocks import Bars, Drawing, Histogram
from diffai.views.findings import drawings
from diffai.views.grouping import grouped
from diffai.views.model_table import relative_of
from diffai.views.style import share_text, short

_MOST_HISTOGRAMS = 6


def charts(diff: ModelDiff) -> tuple[Drawing, ...]:
    """All drawings of a comparison; of the histograms those of the tensors that went farthest."""
    others = tuple(block for block in drawings(diff) if not isinstance(block, Histogram))
    return (*change_per_layer(diff), *others, *counted(diff)[:_MOST_HISTOGRAMS])


def counted(diff: ModelDiff) -> list[Histogram]:
    """The values of tensors, counted on both sides, those that went farthest first; nothing where none were."""
    return [block for block in drawings(diff) if isinstance(block, Histogram)]


def change_per_layer(diff: ModelDiff) -> tuple[Drawing, ...]:
    """A bar a part of the model: relative L2 on a logarithmic scale, the greatest share of the update first."""
    rows = [c for c in diff.tensors if c.role == "weight" and c.old and c.new and "reshaped" not in c.status]
    share_of = {change.name: share for change, share in shares(diff)}
    by_name = {change.name: change for change in rows}
    if not share_of:
        return ()
    bars = []
    for group in grouped(list(by_name), share_of):
        share = sum(share_of.get(name, 0.0) for name in group.names)
        bars.append((share, group.title, relative_of([by_name[name] for name in group.names])))
    bars.sort(key=lambda item: (-item[0], item[1]))
    note = "Relative L2, logarithmic; in brackets the share of the squared update."
    shown = tuple((title, relative, _said(relative, share)) for share, title, relative in bars)
    return (Bars("Change per layer", shown, note),)


def _said(relative: float | None, share: float) -> str:
    text = short(relative) if relative is not None else "="
    return f"{text} ({share_text(share)})" if share_text(share) else text
