"""Blocks on a terminal: rows that fit its width, bars, colours that never say anything alone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from diffai.frozen import frozen, replace
from diffai.views.blocks import (
    Bar,
    Bars,
    Block,
    Cell,
    Chart,
    Column,
    Gap,
    Histogram,
    Labelled,
    Line,
    Spark,
    Table,
    Tone,
    View,
    Word,
    left_out,
    placed,
)
from diffai.views.style import escape

_RESET = "\x1b[m"
_TONES: dict[Tone, str] = {
    "strong": "\x1b[1m", "name": "\x1b[1m", "faint": "\x1b[2m", "changed": "\x1b[33m", "added": "\x1b[32m",
    "removed": "\x1b[31m", "renamed": "\x1b[36m", "problem": "\x1b[1;31m",
}  # fmt: skip
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_BAR, _NARROW_BAR, _WIDE = 15, 8, 110
_MOST_SPARK = 16
_NARROWEST, _NARROWEST_FIRST = 12, 24
_SHORTEST = 8
_UNBOUNDED, _NARROWEST_SCREEN = 1 << 20, 40


@frozen
class Screen:
    """Where blocks are shown.

    Attributes:
        width: columns; lines are never longer.
        color: whether tones are escape sequences; without, words and signs say the same.
        unicode: whether bars are drawn with block characters, else with ASCII.
    """

    width: int = 80
    color: bool = False
    unicode: bool = True

    def narrower(self, columns: int) -> Screen:
        """What is left of it beside an indentation."""
        return Screen(max(_NARROWEST_SCREEN, self.width - columns), self.color, self.unicode)


def screen_of(environment: Mapping[str, str], *, color: bool) -> Screen:
    """The screen that a program's environment describes: its width, and whether it shows more than ASCII.

    Git and pagers hand the width on in ``COLUMNS``; else the terminal is asked, standard error's where output is piped
    to a pager.
    """
    width = 0
    if environment.get("COLUMNS", "").isdecimal():
        width = int(environment["COLUMNS"])
    else:
        for descriptor in (1, 2):
            try:
                width = os.get_terminal_size(descriptor).columns
            except OSError:
                continue
            break
    locale = environment.get("LC_ALL") or environment.get("LC_CTYPE") or environment.get("LANG") or ""
    unicode = "utf-8" in locale.lower() or "utf8" in locale.lower()
    return Screen(min(240, max(_NARROWEST_SCREEN, width or 80)), color, unicode)


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
                lines += ["  " * block.indent + block.title, *_table(_as_table(block), screen)]
            case _:
                from diffai.views.sketch import sketch

                room = max(0, screen.width - 2 * block.indent)
                lines += ["  " * block.indent + text for text in sketch(block, room, _levels(screen))]
    return lines


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
            words = [_paint(escape(word.text, longest=0), word.tone, screen) for word in block.words]
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


def _paint(text: str, tone: Tone, screen: Screen) -> str:
    code = _TONES.get(tone, "") if screen.color else ""
    return f"{code}{text}{_RESET}" if code and text else text


def width_of(text: str) -> int:
    """Columns that a text takes: wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def cut(text: str, width: int, screen: Screen) -> str:
    """A text in at most ``width`` columns; what is cut out of its middle is marked."""
    if width_of(text) <= width:
        return text
    mark = "…" if screen.unicode else "~"
    if width <= 4:
        return text[: max(0, width)]
    head = (width - 1) // 2
    tail = width - 1 - head
    shown = text[:head] + mark + text[-tail:]
    while width_of(shown) > width and head > 0:  # wide characters
        head -= 1
        shown = text[:head] + mark + text[-tail:]
    return shown if width_of(shown) <= width else mark


def cut_end(text: str, width: int, screen: Screen) -> str:
    """A sentence in at most ``width`` columns, cut at its end."""
    if width_of(text) <= width:
        return text
    while text and width_of(text) >= width:
        text = text[:-1]
    return text.rstrip() + ("…" if screen.unicode else "~")


def _known(text: str, screen: Screen) -> str:
    """Text that the screen can show."""
    shown = escape(text, longest=0)
    if screen.unicode or shown.isascii():
        return shown
    for ours, plain in ((" · ", " | "), (" … ", " .. ")):
        shown = shown.replace(ours, plain)
    return shown.encode("ascii", "backslashreplace").decode()


def _line(block: Line, screen: Screen) -> list[str]:
    left = screen.width - 2 * block.indent
    lead = "  " * block.indent
    if block.wraps:
        return _wrapped(block, screen, lead)
    if block.whole:
        return [lead + "".join(_paint(_known(word.text, screen), word.tone, screen) for word in block.words)]
    texts = [_known(word.text, screen) for word in block.words]
    if texts:
        rest = sum(map(width_of, texts[1:]))
        texts[0] = cut(texts[0], max(_NARROWEST_FIRST, left - rest), screen)
    parts = []
    for word, text in zip(block.words, texts, strict=True):
        if width_of(text) > left and left < _SHORTEST:  # a stump says nothing
            break
        text = cut(text, left, screen)
        left -= width_of(text)
        parts.append(_paint(text, word.tone, screen))
    return [(lead + "".join(parts)).rstrip()]


def _wrapped(block: Line, screen: Screen, lead: str) -> list[str]:
    """A sentence over several lines, each in the tone of its first word."""
    text, room = _known("".join(word.text for word in block.words), screen), max(20, screen.width - len(lead))
    lines, here = [], ""
    for piece in text.split(" "):
        joined = f"{here} {piece}" if here else piece
        if width_of(joined) > room and here:
            lines.append(here)
            here = "  " + piece
        else:
            here = joined
    tone = block.words[0].tone if block.words else "plain"
    return [lead + _paint(cut(each, room, screen), tone, screen) for each in [*lines, here]]


def _labelled(block: Labelled, screen: Screen) -> list[str]:
    if block.hidden:
        block = replace(block, rows=(*block.rows, (Word(left_out(block), "faint"),)), hidden="")
    lead, label = "  " * block.indent, f"{block.label}  "
    room = screen.width - len(lead) - len(label)
    shown = [[_known(word.text, screen) for word in row] for row in block.rows]
    columns = max((len(row) for row in shown), default=0)
    widths = [max((width_of(row[n]) for row in shown if len(row) > n), default=0) for n in range(columns)]
    if block.wraps and columns == 1:
        return _wrapped_rows(block, screen, lead, room)
    below = columns > 1 and sum(widths) + 2 * (columns - 1) > room  # texts go below their names
    lines = []
    if below:
        for number, (row, texts) in enumerate(zip(block.rows, shown, strict=True)):
            head = _paint(label.rstrip(), block.tone, screen) + "  " if not number else " " * len(label)
            lines.append((lead + head + _paint(cut(texts[0], room, screen), row[0].tone, screen)).rstrip())
            rest = Line(tuple(Word(text, word.tone) for text, word in zip(texts[1:], row[1:], strict=True)), wraps=True)
            inner = Screen(max(20, room - 2), screen.color, screen.unicode)
            lines += [" " * (len(lead) + len(label) + 2) + each for each in _wrapped(rest, inner, "")]
        return lines
    for number, row in enumerate(block.rows):
        head = _paint(label.rstrip(), block.tone, screen) + "  " if not number else " " * len(label)
        left, parts = room, []
        for place, word in enumerate(row):
            last = place == len(row) - 1
            text = cut(shown[number][place], left if last else min(widths[place], left), screen)
            pad = 0 if last else widths[place] - width_of(text) + 2
            left -= width_of(text) + pad
            parts.append(_paint(text, word.tone, screen) + " " * pad)
        lines.append((lead + head + "".join(parts)).rstrip())
    return lines


def _wrapped_rows(block: Labelled, screen: Screen, lead: str, room: int) -> list[str]:
    """A label and sentences, each over several lines where it is long."""
    lines: list[str] = []
    inner = Screen(max(20, room), screen.color, screen.unicode)
    for row in block.rows:
        lines += _wrapped(Line(row, wraps=True), inner, "")
    blank = " " * (len(block.label) + 2)
    first = _paint(block.label, block.tone, screen) + "  "
    return [(lead + (blank if n else first) + text).rstrip() for n, text in enumerate(lines)]


# ---------------------------------------------------------------- tables


def _table(block: Table, screen: Screen) -> list[str]:
    lead = "  " * block.indent
    room = screen.width - len(lead)
    kept = _fitting(block, room, screen)
    columns = [block.columns[n] for n in kept]
    cells = [[_cell(row[n], screen) for n in kept] for row in block.rows]
    widths = [
        max([width_of(_title(column, screen)), *(row[n][1] for row in cells)]) for n, column in enumerate(columns)
    ]
    over = sum(widths) + 2 * (len(widths) - 1) - room
    if over > 0 and widths:
        place = next((n for n, column in enumerate(columns) if column.shrinks), 0)
        widths[place] = max(_NARROWEST, widths[place] - over)
    lines = []
    if any(column.title for column in columns):
        titles = [_aligned(_title(column, screen), widths[n], column, screen) for n, column in enumerate(columns)]
        lines.append(lead + _paint("  ".join(titles).rstrip(), "faint", screen))
    for number, row in enumerate(cells):
        parts = []
        for n, column in enumerate(columns):
            text, size = row[n]
            if size > widths[n]:
                text = (cut_end if column.sentence else cut)(text, widths[n], screen)
                size = width_of(text)
            blank = " " * (widths[n] - size)
            cell = block.rows[number][kept[n]]
            tone = cell.tone if isinstance(cell, Word) else "changed"
            painted = _paint(text, tone, screen) if isinstance(cell, Word) else _heat(cell, text, screen)
            parts.append(blank + painted if column.align == "right" else painted + blank)
        lines.append(lead + "  ".join(parts).rstrip())
    if block.hidden:
        rest = Line((Word(left_out(block), "faint"),), wraps=True)
        lines += [lead + text for text in _wrapped(rest, Screen(room, screen.color, screen.unicode), "")]
    return lines


def _title(column: Column, screen: Screen) -> str:
    return _known(column.title, screen)


def _aligned(text: str, width: int, column: Column, screen: Screen) -> str:
    text = cut(text, width, screen)
    blank = " " * (width - width_of(text))
    return blank + text if column.align == "right" else text + blank


def _fitting(block: Table, room: int, screen: Screen) -> list[int]:
    """Columns that fit; those of the highest rank go first."""
    kept = list(range(len(block.columns)))
    sizes = {
        n: max([width_of(_title(block.columns[n], screen)), *(_cell(row[n], screen)[1] for row in block.rows)])
        for n in kept
    }
    for n in kept:
        if block.columns[n].shrinks:
            sizes[n] = min(sizes[n], block.columns[n].least or max(24, room * 2 // 5))
    while sum(sizes[n] for n in kept) + 2 * (len(kept) - 1) > room:
        candidates = [n for n in kept if block.columns[n].rank]
        if not candidates:
            break
        kept.remove(max(candidates, key=lambda n: block.columns[n].rank))
    return kept


def _cell(cell: Cell, screen: Screen) -> tuple[str, int]:
    """A cell's text without colour, and its width."""
    if isinstance(cell, Word):
        text = _known(cell.text, screen)
    elif isinstance(cell, Bar):
        text = bar(cell, screen)
    else:
        text = spark(cell, screen)
    return text, width_of(text)


def bar(cell: Bar, screen: Screen) -> str:
    """``██████▌``; in ASCII ``######``. The smallest size that is none keeps a mark."""
    if cell.value is None or not cell.value > 0:
        return ""
    place = min(1.0, cell.value) if cell.linear else placed(cell.value, cell.least, cell.most)
    cells = _BAR if screen.width >= _WIDE else _NARROW_BAR
    if not screen.unicode:
        return "#" * max(1, round(place * cells))
    eighths = max(1, round(place * cells * 8))
    return "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")


def spark(cell: Spark, screen: Screen) -> str:
    """``▃▃▄▅``: one sign a size; more than fit are joined by their largest."""
    values: Sequence[float | None] = cell.values
    if len(values) > _MOST_SPARK:
        step = len(values) / _MOST_SPARK
        groups = [values[int(n * step) : max(int(n * step) + 1, int((n + 1) * step))] for n in range(_MOST_SPARK)]
        values = [max((v for v in group if v is not None), default=None) for group in groups]
    levels = _levels(screen)
    signs = []
    for value in values:
        if value is None:
            signs.append(" ")
        elif not value > 0:
            signs.append("_")
        else:
            signs.append(levels[min(7, int(placed(value, cell.least, cell.most) * 8))])
    return "".join(signs)


def _heat(cell: Bar | Spark, text: str, screen: Screen) -> str:
    """A bar in the colour of its size: the length says the same."""
    if isinstance(cell, Spark) or cell.linear:
        return _paint(text, "renamed" if isinstance(cell, Bar) else "changed", screen)
    place = placed(cell.value, cell.least, cell.most)
    tone: Tone = "problem" if place >= 0.995 else "changed" if place >= 0.5 else "added"
    return _paint(text, tone, screen)
