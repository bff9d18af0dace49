"""What is shown, as data: blocks that a room with a result builds once, and that presenters turn into any look.

A presenter knows blocks and nothing of models. Texts are raw: names may hold any character, presenters escape them.
"""

from __future__ import annotations

import math

from diffai.frozen import frozen, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Literal

    Tone = Literal["plain", "strong", "name", "faint", "changed", "added", "removed", "renamed", "problem"]
    Align = Literal["left", "right"]
else:
    Tone = Align = str


@frozen
class Word:
    """A piece of text in one tone; ``name``: it is the name of a thing, and stands out."""

    text: str
    tone: Tone = "plain"


@frozen
class Bar:
    """A size on a logarithmic scale from ``least`` to ``most``, or a share of 1 that is ``linear``; None = no size."""

    value: float | None
    least: float = 1e-4
    most: float = 1.0
    linear: bool = False


@frozen
class Spark:
    """Small multiples: sizes in a row, on the same kind of scale; None = a gap."""

    values: tuple[float | None, ...]
    least: float = 1e-4
    most: float = 1.0


Cell = Word | Bar | Spark


def placed(value: float | None, least: float, most: float) -> float:
    """Where a size lies on the logarithmic scale of a bar, 0 to 1."""
    if value is None or not value > 0:
        return 0.0
    if math.isinf(value):
        return 1.0
    return max(0.0, min(1.0, math.log(value / least) / math.log(most / least)))


@frozen
class Column:
    """A column: its title and how it is aligned.

    Attributes:
        rank: how soon it goes where there is little room, the greatest first; 0 = never.
        shrinks: whether it is the one whose texts are cut.
        sentence: texts are cut at their end, not, as names are, in their middle.
        least: how narrow it may become before others go; 0 = two fifths of the screen.
        literal: texts are names, types or shapes, as programs spell them.
    """

    title: str
    align: Align = "left"
    rank: int = 0
    shrinks: bool = False
    least: int = 0
    sentence: bool = False
    literal: bool = False


@frozen
class Table:
    """Rows of cells under columns. ``hidden``: what is left out, "" = nothing; ``how``: the options that show it."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    hidden: str = ""
    how: str = ""
    indent: int = 1


@frozen
class Line:
    """One line of words; where it is too long its first word is cut, and the rest at its end.

    Attributes:
        wraps: it goes on in further lines instead, in the tone of its first word.
        whole: it is a command or a path to be copied, and stays as it is, however long.
    """

    words: tuple[Word, ...]
    indent: int = 0
    wraps: bool = False
    whole: bool = False


@frozen
class Labelled:
    """Lines under one label: ``LOOK AT  name  text``; the names are one column.

    Attributes:
        wraps: rows of one word go on in further lines rather than be cut.
        hidden, how: what is left out, and the options that show it.
    """

    label: str
    rows: tuple[tuple[Word, ...], ...]
    tone: Tone = "strong"
    indent: int = 1
    wraps: bool = False
    hidden: str = ""
    how: str = ""


@frozen
class Curve:
    """One row of figures over the places of a chart; None = there is none."""

    name: str
    values: tuple[float | None, ...]
    explained: str = ""


@frozen
class Chart:
    """Curves over the same places, one below the other, and a heat map of parts over them.

    Attributes:
        title: of the whole.
        places: what stands below each place, a day.
        notes: what is said of each place, a commit.
        curves: each with an axis of its own.
        heat: rows of the map; the greatest value is the darkest, on a logarithmic scale.
        heat_title: what the map shows.
        note: what the places are, and what the curves say together.
        shares: values of the map are shares, 0 to 1, and stand on a linear scale.
    """

    title: str
    places: tuple[str, ...]
    notes: tuple[str, ...]
    curves: tuple[Curve, ...]
    heat: tuple[Curve, ...] = ()
    heat_title: str = ""
    note: str = ""
    indent: int = 0
    shares: bool = False


@frozen
class Bars:
    """Bars with their names to the left and their figures to the right, on a logarithmic scale."""

    title: str
    rows: tuple[tuple[str, float | None, str], ...]
    note: str = ""
    least: float = 1e-4
    most: float = 1.0
    indent: int = 0


@frozen
class Histogram:
    """Counts of two sides between the same edges, one more than there are bars; a side can have none."""

    title: str
    edges: tuple[float, ...]
    old: tuple[int, ...]
    new: tuple[int, ...]
    note: str = ""
    indent: int = 0


@frozen
class Gap:
    """An empty line."""


Drawing = Chart | Bars | Histogram
Block = Table | Line | Labelled | Gap | Chart | Bars | Histogram
View = tuple[Block, ...]


MARKS: dict[str, Tone] = {
    "~": "changed", "+": "added", "-": "removed", ">": "renamed", "!": "problem", "=": "faint", "…": "faint",
    "#": "strong",
}  # fmt: skip
"""The tones of the signs that lines begin with."""


def said(text: str, mark: str = "", *, indent: int = 0) -> Line:
    """A sentence in the tone of a sign, which wraps."""
    return Line((Word(text, MARKS.get(mark, "plain")),), indent, wraps=True)


def line(*parts: str | Word, indent: int = 0, wraps: bool = False) -> Line:
    """A line out of plain texts and words."""
    return Line(tuple(part if isinstance(part, Word) else Word(part) for part in parts), indent, wraps)


def said_columns(block: Table) -> Table:
    """The table without columns of which no row says anything; names stay, even if all are blank."""
    used = [n for n, column in enumerate(block.columns) if column.literal or any(_says(row[n]) for row in block.rows)]
    if len(used) == len(block.columns) or not block.rows:
        return block
    columns = tuple(block.columns[n] for n in used)
    return replace(block, columns=columns, rows=tuple(tuple(row[n] for n in used) for row in block.rows))


def _says(cell: Cell) -> bool:
    if isinstance(cell, Word):
        return bool(cell.text.strip())
    if isinstance(cell, Bar):
        return cell.value is not None
    return any(value is not None for value in cell.values)


def left_out(block: Table | Labelled) -> str:
    """What a block hides, for who can say options: ``7 more below: -v shows them``."""
    return f"{block.hidden}: {block.how}" if block.hidden and block.how else block.hidden


def few(label: str, texts: Sequence[str], most: int, *, tone_of: Callable[[str], Tone] | None = None) -> Labelled:
    """Sentences under a label, the first ones of very many."""
    rows = tuple((Word(text, tone_of(text) if tone_of is not None else "plain"),) for text in texts[:most])
    rest = len(texts) - len(rows)
    hidden = f"{rest:,} more" if rest else ""
    return Labelled(label, rows, wraps=True, hidden=hidden, how="-v shows them" if rest else "")


def indented(view: Iterable[Block], by: int) -> View:
    """The blocks further to the right by so many steps of two columns."""
    return tuple(block if isinstance(block, Gap) else replace(block, indent=block.indent + by) for block in view)
