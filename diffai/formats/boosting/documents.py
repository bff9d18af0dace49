"""JSON and UBJSON as nested values, where arrays of numbers are arrays: a model of trees is mostly these.

Specifications: RFC 8259 (with ``NaN`` and ``Infinity``, which XGBoost writes) and https://ubjson.org, draft 12.
"""

from __future__ import annotations

import re
import struct
from json.decoder import scanstring  # type: ignore[attr-defined]

from diffai.errors import FormatError
from diffai.formats.base import Budget

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    import numpy as np

_NUMBERS = re.compile(r"\[[0-9eE+.,\-NaInfity \t\r\n]*\]")
_NUMBER = re.compile(r"-?(?:[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|Infinity)|NaN")
_WHOLE = re.compile(r"[0-9,\- \t\r\n\[\]]*\Z")
_SPACE = re.compile(r"[ \t\r\n]*")
_WORDS = {"t": ("true", True), "f": ("false", False), "n": ("null", None)}
_SIZES = {"i": ("b", 1), "U": ("B", 1), "I": (">h", 2), "l": (">i", 4), "L": (">q", 8), "d": (">f", 4), "D": (">d", 8)}
_KINDS = {"i": "i1", "U": "u1", "I": ">i2", "l": ">i4", "L": ">i8", "d": ">f4", "D": ">f8"}


def wrong(reason: str, offset: int = -1) -> FormatError:
    """A refusal of a document."""
    return FormatError(reason, code="XB01", offset=offset, format="xgboost")


class Json:
    """One JSON text."""

    def __init__(self, text: str, budget: Budget) -> None:
        self._text, self._budget = text, budget

    def parse(self) -> object:
        """The value of the whole text. Raises FormatError (XB01)."""
        try:
            value, at = self._value(self._skip(0), 0)
        except (ValueError, OverflowError) as error:
            raise wrong(f"is no JSON ({str(error)[:100]})") from error
        if self._skip(at) != len(self._text):
            raise wrong("goes on behind its end", at)
        return value

    def _skip(self, at: int) -> int:
        found = _SPACE.match(self._text, at)
        return found.end() if found else at

    def _value(self, at: int, depth: int) -> tuple[object, int]:
        self._budget.deep(depth)
        self._budget.value()
        first = self._text[at : at + 1]
        if first == "{":
            return self._object(at, depth)
        if first == "[":
            return self._array(at, depth)
        if first == '"':
            text: tuple[str, int] = scanstring(self._text, at + 1, True)
            return text
        if first in _WORDS and self._text.startswith(_WORDS[first][0], at):
            return _WORDS[first][1], at + len(_WORDS[first][0])
        number = _NUMBER.match(self._text, at)
        if number is None:
            raise wrong("has a value that is none", at)
        word = number.group()
        return (int(word) if word.lstrip("-").isdigit() else float(word)), number.end()

    def _object(self, at: int, depth: int) -> tuple[object, int]:
        found: dict[str, object] = {}
        at = self._skip(at + 1)
        while self._text[at : at + 1] != "}":
            if found:
                at = self._skip(self._expect(at, ","))
            self._expect(at, '"')
            key, at = scanstring(self._text, at + 1, True)
            if key in found:
                raise wrong(f"has {key[:100]!r} twice", at)
            at = self._skip(self._expect(self._skip(at), ":"))
            found[key], at = self._value(at, depth + 1)
            at = self._skip(at)
        return found, at + 1

    def _array(self, at: int, depth: int) -> tuple[object, int]:
        numbers = _NUMBERS.match(self._text, at)
        if numbers is not None:
            return self._numbers(numbers.group()), numbers.end()
        found: list[object] = []
        at = self._skip(at + 1)
        while self._text[at : at + 1] != "]":
            if found:
                at = self._skip(self._expect(at, ","))
            value, at = self._value(at, depth + 1)
            found.append(value)
            at = self._skip(at)
        return found, at + 1

    def _numbers(self, text: str) -> object:
        import numpy as np

        self._budget.make(4 * len(text))
        words = text[1:-1].split(",")
        if not text[1:-1].strip():
            return np.empty(0, np.int64)
        if _WHOLE.match(text):
            return np.array([int(word) for word in words], np.int64)
        return np.array([float(word) for word in words], np.float64)

    def _expect(self, at: int, character: str) -> int:
        if self._text[at : at + 1] != character:
            raise wrong(f"misses {character!r}" if at < len(self._text) else "breaks off", at)
        return at + 1


class Ubjson:
    """One UBJSON document."""

    def __init__(self, data: bytes, budget: Budget) -> None:
        self._data, self._budget, self._at = data, budget, 0

    def parse(self) -> object:
        """The value of the whole document. Raises FormatError (XB01)."""
        value = self._value(self._mark(), 0)
        if self._at != len(self._data):
            raise wrong("goes on behind its end", self._at)
        return value

    def _take(self, count: int) -> bytes:
        data = self._data[self._at : self._at + count]
        if count < 0 or len(data) != count:
            raise wrong("breaks off", self._at)
        self._at += count
        return data

    def _mark(self) -> str:
        mark = self._take(1)
        while mark == b"N":  # no operation
            mark = self._take(1)
        return mark.decode("latin-1")

    def _value(self, mark: str, depth: int) -> object:
        self._budget.deep(depth)
        self._budget.value()
        if mark in _SIZES:
            code, size = _SIZES[mark]
            return struct.unpack(code, self._take(size))[0]
        plain: dict[str, Callable[[], object]] = {
            "Z": lambda: None, "T": lambda: True, "F": lambda: False, "S": self._text, "H": self._text,
            "C": lambda: self._take(1).decode("latin-1"),
        }  # fmt: skip
        if mark in plain:
            return plain[mark]()
        if mark == "[":
            return self._array(depth)
        if mark == "{":
            return self._object(depth)
        raise wrong(f"has a value of type {mark!r}, which is not known", self._at - 1)

    def _length(self) -> int:
        mark = self._mark()
        length = self._value(mark, 0) if mark in "iUIlL" else -1
        if not isinstance(length, int) or not 0 <= length <= len(self._data):
            raise wrong("has an impossible length", self._at)
        return length

    def _text(self) -> str:
        return self._take(self._length()).decode("utf-8", "backslashreplace")

    def _size(self) -> tuple[str, int]:
        """The type of all values and their number, where they stand before a container; "" and -1 where not."""
        kind, count = "", -1
        if self._data[self._at : self._at + 1] == b"$":
            self._at += 1
            kind = self._take(1).decode("latin-1")
        if self._data[self._at : self._at + 1] == b"#":
            self._at += 1
            count = self._length()
        elif kind:
            raise wrong("has a container of one type without a number", self._at)
        return kind, count

    def _array(self, depth: int) -> object:
        kind, count = self._size()
        if kind in _KINDS:
            return self._typed(kind, count)
        found: list[object] = []
        while len(found) != count:
            if count < 0 and self._data[self._at : self._at + 1] == b"]":
                self._at += 1
                break
            found.append(self._value(kind or self._mark(), depth + 1))
        if found and all(isinstance(item, (int, float)) and not isinstance(item, bool) for item in found):
            import numpy as np

            return np.array(found)
        return found

    def _typed(self, kind: str, count: int) -> np.ndarray[Any, np.dtype[Any]]:
        import numpy as np

        stored = np.dtype(_KINDS[kind])
        self._budget.make(count * stored.itemsize)
        return np.frombuffer(self._take(count * stored.itemsize), stored)

    def _object(self, depth: int) -> object:
        kind, count = self._size()
        found: dict[str, object] = {}
        while len(found) != count:
            if count < 0 and self._data[self._at : self._at + 1] == b"}":
                self._at += 1
                break
            key = self._text()
            if key in found:
                raise wrong(f"has {key[:100]!r} twice", self._at)
            found[key] = self._value(kind or self._mark(), depth + 1)
        return found
