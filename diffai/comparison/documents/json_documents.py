"""JSON and JSON lines. What is not quite JSON (NaN, a key twice, several values) is read and said."""

from __future__ import annotations

import json
import re

from diffai.comparison.documents.reading import CODE, Document, DocumentError, read_text, twice
from diffai.comparison.documents.result import Special
from diffai.errors import LimitError
from diffai.formats.base import Budget, Limits
from diffai.sources.base import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_LONG = re.compile(r"(?<!\d)\d{300}|[eE][+-]?\d{3}")
_SPACE = re.compile(r"[ \t\r\n]*")
_MOST_DIGITS = 4300
"""Digits of a whole number that Python reads by default; longer ones are compared as they are written."""


def read(source: Source, limits: Limits) -> Document:
    """Read one value, or several behind one another (JSON lines), which become a list.

    Raises:
        DocumentError: it is not JSON, with line and column.
        LimitError: it holds too much.
    """
    told = read_text(source, limits)
    text = told.text
    _require_few(text, limits)
    parser = _Parser(text)
    values: list[Any] = []
    at = _past_space(text, 0)
    if at == len(text):
        raise DocumentError("is empty, which is no JSON")
    while at < len(text):
        value, at = parser.value(at)
        values.append(value)
        at = _past_space(text, at)
    several = source.label.lower().endswith((".jsonl", ".ndjson"))
    notes = [*told.notes, *twice(parser.twice)]
    if parser.constants:
        times = "once" if parser.constants == 1 else f"{parser.constants:,} times"
        notes.append(f"{times} NaN or Infinity, which is no JSON")
    if len(values) > 1 and not several:
        notes.append(f"{len(values):,} values behind one another, compared as a list")
        several = True
    return Document(values if several else values[0], told.encoding, tuple(notes), several)


class _Parser:
    """The parser of the standard library, which sees what it would pass over."""

    def __init__(self, text: str) -> None:
        self.twice: list[str] = []
        self.constants = 0
        self._text = text
        long = _LONG.search(text) is not None
        self._scan = json.JSONDecoder(
            object_pairs_hook=self._mapping,
            parse_constant=self._constant,
            parse_int=_whole if long else None,
            parse_float=_float if long else None,
        ).scan_once  # type: ignore[attr-defined]

    def value(self, at: int) -> tuple[Any, int]:
        """The value at a place, and the place behind it."""
        try:
            value, end = self._scan(self._text, at)
        except StopIteration as error:
            raise self._wrong("a value is missing", error.value if error.value is not None else at) from None
        except json.JSONDecodeError as error:
            raise self._wrong(error.msg[:1].lower() + error.msg[1:].removesuffix(" starting at"), error.pos) from None
        except RecursionError:
            raise LimitError("has objects nested too deeply to be read", code=CODE) from None
        return value, end

    def _wrong(self, reason: str, at: int) -> DocumentError:
        line = self._text.count("\n", 0, at) + 1
        return DocumentError(f"is not JSON: {reason}", line=line, column=at - self._text.rfind("\n", 0, at))

    def _mapping(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) != len(pairs):
            seen = set[str]()
            for key, _ in pairs:
                if key in seen:
                    self.twice.append(key)
                seen.add(key)
        return members

    def _constant(self, word: str) -> float:
        self.constants += 1
        return float(word)


def _require_few(text: str, limits: Limits) -> None:
    """Refuse what holds too many values before they are made.

    Raises:
        LimitError: there are.
    """
    budget = Budget(limits, CODE)
    if sum(map(text.count, ",[{")) > limits.max_values:
        budget.value(sum(map(_STRINGS.sub("", text).count, ",[{")))


def _past_space(text: str, at: int) -> int:
    return _SPACE.match(text, at).end()  # type: ignore[union-attr]


def _whole(digits: str) -> int | Special:
    return int(digits) if len(digits) <= _MOST_DIGITS else Special("number", digits)


def _float(digits: str) -> float | Special:
    value = float(digits)
    return Special("number", digits) if value in (float("inf"), float("-inf")) else value
