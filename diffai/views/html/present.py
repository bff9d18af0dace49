"""Blocks as HTML. Every text is escaped here, whoever wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape as escape_html

from diffai.views.blocks import Bar, Cell, Column, Gap, Labelled, Line, Spark, Table, View, Word, placed, said_columns
from diffai.views.style import escape
from diffai.views.svg import drawing

_LONGEST = 600
Links = Mapping[str, str]
"""Where texts lead that are names of rows: a text, and the address within the page."""


def inert(text: str, longest: int = _LONGEST) -> str:
    """Text that is nothing but text: control and bidirectional signs spelled out, markup escaped, of bounded length."""
    return escape_html(escape(text, longest=longest), quote=True)


def present(view: View, links: Links | None = None) -> list[str]:
    """The HTML of blocks, one string a block."""
    links = links or {}
    parts = []
    for block in view:
        if isinstance(block, Line):
            words = "".join(word_html(word, links) for word in block.words)
            parts.append(f'<p class="i{block.indent}">{words}</p>')
        elif isinstance(block, Labelled):
            parts.append(_labelled(block, links))
        elif isinstance(block, Table):
            parts.append(table(block, links))
        elif not isinstance(block, Gap):
            note = f'<p class="soft">{inert(block.note)}</p>' if block.note else ""
            parts.append(f'<figure><figcaption>{inert(block.title)}</figcaption>{drawing(block)}{note}</figure>')
    return parts


def word_html(word: Word, links: Links) -> str:
    """One piece of text in its tone; a link where it is the name of a row."""
    target = links.get(word.text)
    text = inert(word.text)
    if target:
        return f'<a class="n {word.tone}" href="{inert(target, 0)}">{text}</a>'
    return text if word.tone == "plain" else f'<span class="{word.tone}">{text}</span>'


def _labelled(block: Labelled, links: Links) -> str:
    rows = []
    for row in block.rows:
        first, *rest = (word_html(word, links) for word in row)
        name = bool(rest) or row[0].tone in ("added", "removed", "changed", "renamed")
        rows.append(f'<li><span class="n">{first}</span>{" ".join(rest)}' if name else f"<li>{first}")
    bad = " bad" if block.tone == "problem" else ""
    hidden = f'<p class="soft">{inert(block.hidden)}</p>' if block.hidden else ""
    return f'<section class="box{bad}"><h3>{inert(block.label)}</h3><ul>{"".join(rows)}</ul>{hidden}</section>'


def table(block: Table, links: Links) -> str:
    """A table with its heads; what it hides is said below."""
    block = said_columns(block)
    heads = "".join(f'<th scope="col"{_class(column, head=True)}>{inert(column.title)}' for column in block.columns)
    head = f"<thead><tr>{heads}</thead>" if any(column.title for column in block.columns) else ""
    rows = []
    for row in block.rows:
        cells = (
            f"<td{_class(column)}>{cell_html(cell, links)}"
            for column, cell in zip(block.columns, row, strict=True)
        )
        rows.append(f"<tr>{''.join(cells)}")
    hidden = f'<p class="soft">{inert(block.hidden)}</p>' if block.hidden else ""
    return f'<div class="wide"><table class="b">{head}<tbody>{"".join(rows)}</table></div>{hidden}'


def _class(column: Column, *, head: bool = False) -> str:
    """Figures to the right, names in a fixed width, sentences over several lines."""
    if column.align == "right":
        return ' class="r"'
    if head:
        return ""
    return ' class="f"' if column.literal else ' class="s"' if column.sentence else ""


def cell_html(cell: Cell, links: Links) -> str:
    """A cell: a text, a bar, or small multiples; figures of bars stand beside them, for those who see none."""
    if isinstance(cell, Word):
        return word_html(cell, links)
    if isinstance(cell, Bar):
        return bar(cell)
    return _spark(cell)


def bar(cell: Bar) -> str:
    """A bar on its scale; "" where there is no size."""
    if cell.value is None or not cell.value > 0:
        return ""
    place = min(1.0, cell.value) if cell.linear else placed(cell.value, cell.least, cell.most)
    width = max(2, round(100 * place))
    return f'<span class="bar" aria-hidden="true"><i style="width:{width}%"></i></span>'


def _spark(cell: Spark) -> str:
    """Bars beside each other, one a size."""
    if not cell.values:
        return ""
    step = max(2, min(6, 160 // len(cell.values)))
    bars = []
    for place, value in enumerate(cell.values):
        if value is not None:
            height = max(1, round(14 * placed(value, cell.least, cell.most)))
            bars.append(f"M{place * step + 1} 16V{16 - height}")
    return (
        f'<svg class="spark" width="{step * len(cell.values)}" height="16" aria-hidden="true">'
        f'<path d="{"".join(bars)}" stroke-width="{step - 1}"/></svg>'
    )
