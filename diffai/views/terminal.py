"""Blocks on a terminal: rows that fit its width, bars, colours that never say anything alone."""

from __future__ import annotations

from diffai.frozen import replace
from diffai.views.blocks import (
    Bar,
    Bars,
    Block,
    Chart,
    Column,
    Gap,
    Histogram,
    Labelled,
    Line,
    Spark,
    Table,
    View,
    Word,
    left_out,
)
from diffai.views.screen import Screen, cut, cut_path, known, paint, width_of, wrapped
from diffai.views.style import escape

_NARROWEST_FIRST = 24
_SHORTEST = 24
_NARROWEST_TEXT = 40
_UNBOUNDED = 1 << 20


def present(view: View, screen: Screen) -> list[str]:
    """All lines, without newline."""
    lines: list[str] = []
    for block in view:
        match block:
            case Gap():
                lines.append("")
            case Line():
                lines += _line(block, screen)
            case Labelled():
                lines += _labelled(block, screen)
            case Table():
                lines += _table(block, screen)
            case Bars():
                lines += ["  " * block.indent + known(block.title, screen), *_table(_as_table(block), screen)]
            case _:
                from diffai.views.sketch import sketch

                room = max(0, screen.width - 2 * block.indent)
                lines += ["  " * block.indent + known(text, screen) for text in sketch(block, room, _levels(screen))]
    return lines


def _table(block: Table, screen: Screen) -> list[str]:
    from diffai.views.terminal_table import table_lines

    return table_lines(block, screen)


def _as_table(block: Bars) -> Table:
    rows = tuple((Word(name), Bar(value, block.least, block.most), Word(text)) for name, value, text in block.rows)
    return Table((Column("", shrinks=True), Column("", rank=1), Column("", "right")), rows, indent=block.indent + 1)


def _levels(screen: Screen) -> str:
    from diffai.views.scale import ASCII_LEVELS, LEVELS

    return LEVELS if screen.unicode else ASCII_LEVELS


def present_plain(view: View, *, color: bool = False, width: int = 0) -> list[str]:
    """The same for pipes and files: nothing cut or wrapped, characters as they are, drawings as wide as ``width``."""
    lines: list[str] = []
    screen = Screen(_UNBOUNDED, color)
    for block in view:
        if isinstance(block, Line):
            words = [paint(escape(word.text, longest=0), word.tone, screen) for word in block.words]
            lines.append(("  " * block.indent + "".join(words)).rstrip())
        elif isinstance(block, Chart | Bars | Histogram):
            lines += present((block,), Screen(width, color))
        else:
            lines += present((_without_bars(block),), screen)
    return lines


def _without_bars(block: Block) -> Block:
    if not isinstance(block, Table):
        return block
    drawn = [any(isinstance(row[n], Bar | Spark) for row in block.rows) for n in range(len(block.columns))]
    kept = [n for n, bars in enumerate(drawn) if not bars]
    columns = tuple(block.columns[n] for n in kept)
    return replace(block, columns=columns, rows=tuple(tuple(row[n] for n in kept) for row in block.rows))


def _line(block: Line, screen: Screen) -> list[str]:
    left = screen.width - 2 * block.indent
    lead = "  " * block.indent
    if block.wraps:
        return [lead + text for text in wrapped(block.words, left, screen)]
    if block.whole:
        return [lead + "".join(paint(known(word.text, screen), word.tone, screen) for word in block.words)]
    texts = [known(word.text, screen) for word in block.words]
    if texts:
        rest = sum(map(width_of, texts[1:]))
        fitting = cut_path if block.words[0].tone == "name" else cut
        texts[0] = fitting(texts[0], max(_NARROWEST_FIRST, left - rest), screen)
    parts: list[str] = []
    for word, text in zip(block.words, texts, strict=True):
        if parts and width_of(text) > left and width_of(text) < _SHORTEST:  # a stump says nothing
            break
        text = cut(text, left, screen)
        left -= width_of(text)
        parts.append(paint(text, word.tone, screen))
    return [(lead + "".join(parts)).rstrip()]


def _labelled(block: Labelled, screen: Screen) -> list[str]:
    if block.hidden:
        block = replace(block, rows=(*block.rows, (Word(left_out(block), "faint"),)), hidden="")
    lead, label = "  " * block.indent, f"{block.label}  "
    room = screen.width - len(lead) - len(label)
    shown = [[known(word.text, screen) for word in row] for row in block.rows]
    columns = max((len(row) for row in shown), default=0)
    widths = [max((width_of(row[n]) for row in shown if len(row) > n), default=0) for n in range(columns)]
    if block.wraps and columns == 1:
        return _wrapped_rows(block, screen, lead, room)
    below = columns > 1 and sum(widths) + 2 * (columns - 1) > room  # texts go below their names
    lines = []
    if below and columns == 2 and room - widths[0] - 2 >= _NARROWEST_TEXT:  # or on beside them
        for number, row in enumerate(block.rows):
            head = paint(label.rstrip(), block.tone, screen) + "  " if not number else " " * len(label)
            name = paint(shown[number][0], row[0].tone, screen) + " " * (widths[0] - width_of(shown[number][0]) + 2)
            texts = wrapped(row[1:], room - widths[0] - 2, screen) or [""]
            lines.append((lead + head + name + texts[0]).rstrip())
            lines += [" " * (screen.width - room + widths[0] + 2) + text for text in texts[1:]]
        return lines
    if below:
        for number, (row, texts) in enumerate(zip(block.rows, shown, strict=True)):
            head = paint(label.rstrip(), block.tone, screen) + "  " if not number else " " * len(label)
            lines.append((lead + head + paint(cut(texts[0], room, screen), row[0].tone, screen)).rstrip())
            lines += [" " * (len(lead) + len(label) + 2) + each for each in wrapped(row[1:], room - 2, screen)]
        return lines
    for number, row in enumerate(block.rows):
        head = paint(label.rstrip(), block.tone, screen) + "  " if not number else " " * len(label)
        left, parts = room, []
        for place, word in enumerate(row):
            last = place == len(row) - 1
            text = cut(shown[number][place], left if last else min(widths[place], left), screen)
            pad = 0 if last else widths[place] - width_of(text) + 2
            left -= width_of(text) + pad
            parts.append(paint(text, word.tone, screen) + " " * pad)
        lines.append((lead + head + "".join(parts)).rstrip())
    return lines


def _wrapped_rows(block: Labelled, screen: Screen, lead: str, room: int) -> list[str]:
    """A label and sentences, each over several lines where it is long."""
    lines = [text for row in block.rows for text in wrapped(row, room, screen)]
    blank = " " * (len(block.label) + 2)
    first = paint(block.label, block.tone, screen) + "  "
    return [(lead + (blank if n else first) + text).rstrip() for n, text in enumerate(lines)]
