"""The YAML that DVC itself writes, read without PyYAML, which takes as long to load as Python to start.

Only block mappings and lists of plain words are understood, and no scalar has a type. Everything else (comments,
flow style, anchors, text over several lines, anything outside ASCII, any mistake) is left to PyYAML, so that what is
read here is what ``yaml.BaseLoader`` reads, which the tests hold it to.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_FIRST = frozenset(_LETTERS + "0123456789_./")  # of a word; what begins otherwise may mean something to YAML
_WORD = _FIRST | frozenset("-+@")
_WORDS = _WORD | frozenset(" =,")
_LONGEST_KEY = 100
_DEEPEST = 16


class NotPlainError(ValueError):
    """The text is not of the plain form; that says nothing of whether it is YAML."""


class _Line:
    """One line: where its dash stands (-1: it has none), and its key and value; "" where it lacks one."""

    __slots__ = ("column", "dash", "key", "value")

    def __init__(self, text: str) -> None:
        body = text.lstrip(" ")
        self.dash, self.column = -1, len(text) - len(body)
        if body.startswith("- "):
            self.dash, self.column, body = self.column, self.column + 2, body[2:]
        self.key, colon, value = body.partition(":")
        if not colon and self.dash >= 0:
            self.key, self.value = "", _scalar(body)
            return
        if not colon or not self.key or self.key[0] not in _FIRST or not _WORD.issuperset(self.key):
            raise NotPlainError
        if len(self.key) > _LONGEST_KEY:
            raise NotPlainError
        if value and (value[0] != " " or len(value) == 1):
            raise NotPlainError
        self.value = _scalar(value[1:]) if value else ""


def parse_plain(data: bytes) -> dict[str, Any]:
    """A document whose top is a mapping: dictionaries, lists and texts.

    Raises:
        NotPlainError: it is to be read by PyYAML.
    """
    if not data.endswith(b"\n") or not data.isascii():
        raise NotPlainError
    lines = [_Line(text) for text in data[:-1].decode("ascii").split("\n")]
    if lines[0].dash >= 0 or lines[0].column:
        raise NotPlainError
    found, at = _mapping(lines, 0, 0)
    if at < len(lines):
        raise NotPlainError
    return found


def _mapping(lines: list[_Line], at: int, depth: int) -> tuple[dict[str, Any], int]:
    """The mapping that begins with line ``at``, and the number of the line behind it."""
    found: dict[str, Any] = {}
    column, first = lines[at].column, at
    while at < len(lines) and lines[at].column == column and (at == first or lines[at].dash < 0):
        line = lines[at]
        if not line.key or line.key in found or depth > _DEEPEST:
            raise NotPlainError
        at += 1
        found[line.key] = line.value
        if not line.value and at < len(lines):
            following = lines[at]
            if following.dash >= column:
                found[line.key], at = _list(lines, at, depth + 1)
            elif following.dash < 0 and following.column > column:
                found[line.key], at = _mapping(lines, at, depth + 1)
    return found, at


def _list(lines: list[_Line], at: int, depth: int) -> tuple[list[Any], int]:
    """As :func:`_mapping`, for a list."""
    found: list[Any] = []
    dash = lines[at].dash
    while at < len(lines) and lines[at].dash == dash:
        if lines[at].key:
            item, at = _mapping(lines, at, depth + 1)
            found.append(item)
        else:
            found.append(lines[at].value)
            at += 1
    return found, at


def _scalar(text: str) -> str:
    """Plain words, or such in single quotes."""
    quoted = len(text) > 2 and text[0] == text[-1] == "'"
    inner = text[1:-1] if quoted else text
    if not _WORDS.issuperset(inner) or inner != inner.strip(" ") or "  " in inner:
        raise NotPlainError
    if not quoted and inner[:1] not in _FIRST:
        raise NotPlainError
    return inner
