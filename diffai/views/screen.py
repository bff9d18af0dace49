"""Where blocks are shown: its width, its colours, the signs that it has, and texts that fit it."""

from __future__ import annotations

import os

from diffai.frozen import frozen
from diffai.views.blocks import Word
from diffai.views.style import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from diffai.views.blocks import Tone

_RESET = "\x1b[m"
_TONES: dict[Tone, str] = {
    "strong": "\x1b[1m", "name": "\x1b[1m", "faint": "\x1b[2m", "changed": "\x1b[33m", "added": "\x1b[32m",
    "removed": "\x1b[31m", "renamed": "\x1b[36m", "problem": "\x1b[1;31m",
}  # fmt: skip
_NARROWEST, _NARROWEST_SENTENCE = 40, 20


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
        return Screen(max(_NARROWEST, self.width - columns), self.color, self.unicode)


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
    return Screen(min(240, max(_NARROWEST, width or 80)), color, unicode)


def paint(text: str, tone: Tone, screen: Screen) -> str:
    """A text in the colour of its tone, where the screen has colours."""
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


def cut_path(path: str, width: int, screen: Screen) -> str:
    """A path in at most ``width`` columns: without its first folders, as long as its last name fits."""
    parts, rest = path.split("/"), path
    while width_of(rest) > width and len(parts) > 1:
        del parts[0]
        rest = ("…/" if screen.unicode else "~/") + "/".join(parts)
    return rest if width_of(rest) <= width else cut(path, width, screen)


def cut_end(text: str, width: int, screen: Screen) -> str:
    """A sentence in at most ``width`` columns, cut at its end."""
    if width_of(text) <= width:
        return text
    while text and width_of(text) >= width:
        text = text[:-1]
    return text.rstrip() + ("…" if screen.unicode else "~")


def known(text: str, screen: Screen) -> str:
    """Text that the screen can show."""
    shown = escape(text, longest=0)
    if screen.unicode or shown.isascii():
        return shown
    for ours, plain in ((" · ", " | "), (" … ", " .. "), ("·", "*")):
        shown = shown.replace(ours, plain)
    return shown.encode("ascii", "backslashreplace").decode()


def wrapped(sentence: Sequence[Word], room: int, screen: Screen) -> list[str]:
    """A sentence over several lines of at most ``room`` columns; each word keeps its tone."""
    room = max(_NARROWEST_SENTENCE, room)
    lines: list[list[Word]] = [[]]
    used = 0
    for word in sentence:
        for number, piece in enumerate(known(word.text, screen).split(" ")):
            joint = " " if number else ""
            if used + len(joint) + width_of(piece) > room and used and joint:
                lines.append([Word("  ")])
                joint, used = "", 2
            piece = joint + cut(piece, room - 2, screen)
            used += width_of(piece)
            lines[-1].append(Word(piece, word.tone))
    return [_joined(words, screen).rstrip() for words in lines]


def _joined(words: Sequence[Word], screen: Screen) -> str:
    """Words beside each other; those of one tone are painted together."""
    parts: list[Word] = []
    for word in words:
        if parts and parts[-1].tone == word.tone:
            parts[-1] = Word(parts[-1].text + word.text, word.tone)
        else:
            parts.append(word)
    return "".join(paint(word.text, word.tone, screen) for word in parts)
