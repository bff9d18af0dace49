"""The frame of map and table, and the first rows as they are read without script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from diffai.analyses.update import shares
from diffai.comparison.result import ModelDiff, TensorChange
from diffai.model import element_count
from diffai.views.html.present import Links, inert
from diffai.views.lines import symbol
from diffai.views.style import plural, shape, share_text, short

FIRST_ROWS = 200
_HEADS = (
    ("name", "name"), ("status", "status"), ("type", "dtype and shape"), ("size", "elements"), ("rel", "relative L2"),
    ("share", "share"), ("count", "values changed"), ("", ""),
)  # fmt: skip
_WIDTHS = ("", "9rem", "11rem", "7.5rem", "6.5rem", "5.5rem", "8.5rem", "6.5rem")
_KEYS = (
    ("k0", "identical"), ("k1", "< 0.0001"), ("k2", "< 0.001"), ("k3", "< 0.01"), ("k4", "< 0.1"), ("k5", "< 1"),
    ("k6", "1 or more"), ("kp", "added"), ("km", "removed"), ("kn", "no figure"),
)  # fmt: skip


def tensor_table(diffs: Sequence[ModelDiff | None], links: Sequence[Links], *, named: bool) -> list[str]:
    """Map, tools and table; the table holds the first rows, whose models are ``named`` where there are several."""
    rows = list(_rows(diffs, links, named))
    total = sum(len(diff.tensors) for diff in diffs if diff is not None)
    left = plural(total - len(rows), "more tensor")
    more = (
        f'<p class="soft no-js">{left}: shown where scripts run; --format json has all</p>' if total > len(rows) else ""
    )
    heads = "".join(
        f'<th scope="col" data-key="{key}">{word}'
        if word
        else '<th scope="col" aria-label="relative L2 on a logarithmic scale"><span class="soft">.0001 … 1</span>'
        for key, word in _HEADS
    )
    columns = "".join(f'<col style="width:{width}">' if width else "<col>" for width in _WIDTHS)
    return [
        *_map(),
        '<h2 id="tensors">Tensors</h2>',
        *_tools(),
        f'<div id="f"><table id="g"><colgroup>{columns}</colgroup><thead><tr>{heads}</thead><tbody>',
        *rows,
        "</table></div>",
        more,
    ]


def _map() -> list[str]:
    keys = "".join(
        f'<span><svg aria-hidden="true"><rect width="12" height="12" class="{kind}"/></svg>{word}</span>'
        for kind, word in _KEYS
    )
    return [
        '<section class="js-only" id="maps"><h2>Map of the network</h2>',
        (
            '<p class="soft">A column a layer, a row a role, coloured by relative L2. A click leads to the row; '
            "so do the arrow keys and Enter.</p>"
        ),
        f'<div class="key" aria-hidden="true">{keys}</div>',
        (
            '<div id="map" tabindex="0" role="group" aria-label="Map of the network: a column a layer, a row a role; '
            'the table below says the same"></div><p id="say" role="status" aria-live="polite"></p></section>'
        ),
    ]


def _tools() -> list[str]:
    return [
        (
            '<div class="tools" role="search"><input id="q" type="search" placeholder="filter by name ( / )" '
            'aria-label="Filter by name" spellcheck="false" autocomplete="off">'
            '<select id="s" aria-label="Which tensors"></select>'
            '<button id="tree" type="button" aria-pressed="true">modules</button>'
            '<button id="all" type="button">expand all</button><button id="none" type="button">collapse</button>'
            '<span id="count" class="soft" role="status" aria-live="polite"></span></div>'
        ),
        (
            '<p class="js-only keys soft"><kbd>/</kbd> filter <kbd>j</kbd> <kbd>k</kbd> down, up <kbd>e</kbd> or '
            "<kbd>Enter</kbd> open <kbd>←</kbd> <kbd>→</kbd> close, open <kbd>Esc</kbd> back</p>"
        ),
    ]


def _rows(diffs: Sequence[ModelDiff | None], links: Sequence[Links], named: bool) -> Iterator[str]:
    """The first rows: what differs, by its share of the update, then the rest in order of names."""
    share_of: dict[int, float] = {}
    every: list[tuple[TensorChange, int]] = []
    for place, diff in enumerate(diffs):
        if diff is not None:
            share_of |= {id(change): share for change, share in shares(diff)}
            every += [(change, place) for change in diff.tensors]
    if by_magnitude(diffs):
        every.sort(key=lambda row: -row[0].relative_l2)
    else:
        every.sort(key=lambda row: (-share_of.get(id(row[0]), 0.0), not row[0].differs, -row[0].relative_l2))
    for change, place in every[:FIRST_ROWS]:
        link = links[place].get(change.name)
        mark = f' id="{inert(link[1:], 0)}"' if link else ""
        diff = diffs[place]
        label = f"{diff.new.label}: " if named and diff is not None else ""
        yield f"<tr{mark}><td>{inert(label + change.name, 200)}{_cells(change, share_of.get(id(change), 0.0))}"


def by_magnitude(diffs: Sequence[ModelDiff | None]) -> bool:
    """Whether rows are to stand by relative L2, as a list."""
    return any(diff is not None and diff.options.by_magnitude for diff in diffs)


def _cells(change: TensorChange, share: float) -> str:
    relative = change.relative_l2 if change.figures is not None and change.figures.delta is not None else None
    words = f"{symbol(change)} {', '.join(change.status)}"
    return (
        f"<td>{inert(words)}<td>{inert(kind_of(change), 80)}<td>{element_count(change.spec.shape):,}"
        f"<td>{short(relative) if relative is not None else ''}"
        f"<td>{inert(share_text(share))}"
    )


def kind_of(change: TensorChange) -> str:
    """``F32 [64, 9] -> [64, 31]``."""
    old, new = change.old, change.new
    if old is None or new is None:
        return f"{change.spec.dtype} {shape(change.spec.shape)}"
    dtype = old.dtype if old.dtype == new.dtype else f"{old.dtype} -> {new.dtype}"
    shapes = shape(old.shape) if old.shape == new.shape else f"{shape(old.shape)} -> {shape(new.shape)}"
    return f"{dtype} {shapes}"
