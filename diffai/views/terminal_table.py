"""Tables on a terminal: rows that fit its width, bars, small multiples."""

from __future__ import annotations

from diffai.views.blocks import Bar, Cell, Column, Spark, Table, Word, left_out, placed, said_columns
from diffai.views.scale import ASCII_LEVELS, LEVELS
from diffai.views.screen import cut, cut_end, known, paint, width_of, wrapped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from diffai.views.blocks import Tone
    from diffai.views.screen import Screen

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_BAR, _NARROW_BAR, _WIDE = 15, 8, 110
_MOST_SPARK = 16
_NARROWEST = 12


def table_lines(block: Table, screen: Screen) -> list[str]:
    """The lines of a table."""
    block = said_columns(block)
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
        lines.append(lead + paint("  ".join(titles).rstrip(), "faint", screen))
    shortened = [
        _names([row[n][0] for row in cells], widths[n], screen) if column.literal else {}
        for n, column in enumerate(columns)
    ]
    for number, row in enumerate(cells):
        parts = []
        for n, column in enumerate(columns):
            text, size = row[n]
            if size > widths[n]:
                text = shortened[n].get(text) or (cut_end if column.sentence else cut)(text, widths[n], screen)
                size = width_of(text)
            blank = " " * (widths[n] - size)
            cell = block.rows[number][kept[n]]
            tone = cell.tone if isinstance(cell, Word) else "changed"
            painted = paint(text, tone, screen) if isinstance(cell, Word) else _heat(cell, text, screen)
            parts.append(blank + painted if column.align == "right" else painted + blank)
        lines.append(lead + "  ".join(parts).rstrip())
    if block.hidden:
        lines += [lead + text for text in wrapped((Word(left_out(block), "faint"),), room, screen)]
    return lines


def _names(names: Sequence[str], width: int, screen: Screen) -> dict[str, str]:
    """Names that are too long, without their first parts; none where that would make two of them one."""
    mark = "…" if screen.unicode else "~"
    found: dict[str, str] = {}
    for name in names:
        parts, rest = name.split("."), ""
        while width_of(name) > width and len(parts) > 1 and (not rest or width_of(rest) > width):
            del parts[0]
            rest = mark + ".".join(parts)
        if rest and width // 2 <= width_of(rest) <= width:
            found[name] = rest
    return found if len({found.get(name, name) for name in names}) == len(set(names)) else {}


def _title(column: Column, screen: Screen) -> str:
    return known(column.title, screen)


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
        text = known(cell.text, screen)
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
    levels = LEVELS if screen.unicode else ASCII_LEVELS
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
        return paint(text, "renamed" if isinstance(cell, Bar) else "changed", screen)
    place = placed(cell.value, cell.least, cell.most)
    tone: Tone = "problem" if place >= 0.995 else "changed" if place >= 0.5 else "added"
    return paint(text, tone, screen)
