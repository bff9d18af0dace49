"""What is shown, as data: blocks that a room with a result builds once, and that presenters turn into any look.

A presenter knows blocks and nothing of models. Texts are raw: names may hold any character, presenters escape them.
"""

from __future__ import annotations

import math

from diffai.frozen import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Tone = Literal["plain", "strong", "faint", "changed", "added", "removed", "renamed", "problem"]
    Align = Literal["left", "right"]
else:
    Tone = Align = str


@frozen
class Word:
    """A piece of text in one tone."""

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
    """

    title: str
    align: Align = "left"
    rank: int = 0
    shrinks: bool = False
    least: int = 0
    sentence: bool = False


@frozen
class Table:
    """Rows of cells under columns. ``hidden``: what is left out, with the option that shows it; "" = nothing."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    hidden: str = ""
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
    """

    label: str
    rows: tuple[tuple[Word, ...], ...]
    tone: Tone = "strong"
    indent: int = 1
    wraps: bool = False


@frozen
class Gap:
    """An empty line."""


Block = Table | Line | Labelled | Gap
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
