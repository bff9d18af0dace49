"""Globs, matched in time that grows with the length of glob and name alone, whatever a clone writes into them.

Every ``*`` but the last of a stretch takes the nearest place that fits and never goes back (an atomic group of a
regular expression): what stands between two stars has a fixed length, so that the nearest place leaves the most.
"""

from __future__ import annotations

import re
from functools import lru_cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_LENGTH = 1000
"""Characters of a glob; a longer one is refused where it is read, and matches nothing."""


def path_matches(path: str, globs: Sequence[str]) -> bool:
    """Whether a path (``/`` between names) matches one of the globs, as .gitignore has them.

    A glob without ``/`` matches the last name at any depth; one with ``/`` the whole path. ``*`` and ``?`` stop at
    ``/``; ``**`` between slashes stands for any number of folders; a trailing ``/`` means everything below it.
    """
    return any(_path_pattern(glob).fullmatch(path) is not None for glob in globs)


def name_matches(name: str, globs: Sequence[str]) -> bool:
    """Whether a whole tensor name matches one of the globs; ``*`` matches dots and slashes too (``encoder.*``)."""
    return any(_name_pattern(glob).fullmatch(name) is not None for glob in globs)


def name_regex(glob: str) -> str:
    """What matches at the start of the names, and of no others, that a glob matches; "" for no glob."""
    return f"\\A(?s:{_name_pattern(glob).pattern})\\Z" if glob else ""


@lru_cache(maxsize=256)
def _path_pattern(glob: str) -> re.Pattern[str]:
    if len(glob) > MAX_LENGTH:
        return _NOTHING
    text = glob + "**" if glob.endswith("/") else glob
    anchored = "/" in text
    segments = text.removeprefix("/").split("/") if anchored else ["**", text]
    segments = [s for at, s in enumerate(segments) if s != "**" or segments[at - 1 : at] != ["**"]]
    out, group, free = "", list[str](), False
    for at, segment in enumerate(segments):
        if segment != "**":
            group.append(_translate(segment, "[^/]") + r"(?=/|\Z)")
            continue
        if group:
            out, group = out + _stretch(group, free) + "/", []
        free = True
        if at == len(segments) - 1:  # at the end: everything below
            return re.compile(out + ".*", re.DOTALL)
    return re.compile(out + _stretch(group, free, r"\Z"), re.DOTALL)


def _stretch(group: list[str], free: bool, end: str = "") -> str:
    """Neighbouring segments; behind ``**`` at the first place that fits, which for the last ones is the ``end``."""
    body = "/".join(group) + end
    return f"(?>(?:[^/]*/)*?{body})" if free else body


@lru_cache(maxsize=256)
def _name_pattern(glob: str) -> re.Pattern[str]:
    if len(glob) > MAX_LENGTH:
        return _NOTHING
    return re.compile(_translate(glob, "."), re.DOTALL)


def _translate(glob: str, any_: str) -> str:
    """A glob in which every run of stars is one ``*``; ``any_`` is what a star or a question mark stands for."""
    pieces = [""]
    at = 0
    while at < len(glob):
        character = glob[at]
        at += 1
        if character == "*":
            if pieces[-1] or len(pieces) == 1:
                pieces.append("")
        elif character == "?":
            pieces[-1] += any_
        elif character == "[" and (end := _class_end(glob, at)) > 0:
            pieces[-1] += _class(glob[at:end], any_)
            at = end + 1
        else:
            pieces[-1] += re.escape(character)
    if len(pieces) == 1:
        return pieces[0]
    middle = "".join(f"(?>{any_}*?{piece})" for piece in pieces[1:-1])
    return f"{pieces[0]}{middle}{any_}*{pieces[-1]}"


def _class_end(glob: str, start: int) -> int:
    """Where the ``]`` of a class that begins at ``start`` is, which is not its first character; -1 = no class."""
    first = start + 1 if glob[start : start + 1] in ("!", "^") else start
    return glob.find("]", first + 1)


def _class(inside: str, any_: str) -> str:
    """``[a-z]`` or ``[!a-z]``; a range the wrong way round holds nothing, and no class holds what ``any_`` does not."""
    negated = inside[:1] in ("!", "^")
    text, parts, at = inside[1:] if negated else inside, [], 0
    while at < len(text):
        low, high = text[at], text[at]
        if text[at + 1 : at + 2] == "-" and at + 2 < len(text):
            high, at = text[at + 2], at + 2
        at += 1
        if low <= high:
            parts.append(re.escape(low) + ("-" + re.escape(high) if high != low else ""))
    kept = "".join(parts)
    within = f"(?={any_})" if any_ != "." else ""
    if not kept:
        return any_ if negated else "(?!)"
    return f"{within}[{'^' if negated else ''}{kept}]"


_NOTHING = re.compile("(?!)")
