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

_NUMBERS = re.compile(rb"\[[0-9eE+.,\-NaInfity \t\r\n]*\]")
_ONE = rb"-?(?:[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|Infinity)|NaN"
_NUMBER = re.compile(_ONE)
_LIST = re.compile(rb"\s*(?:%s)\s*(?:,\s*(?:%s)\s*)*" % (_ONE, _ONE))
_WHOLE = re.compile(rb"[0-9,\- \t\r\n]*")
_SPACE = re.compile(rb"[ \t\r\n]*")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_WORDS = {b"t": (b"true", True), b"f": (b"false", False), b"n": (b"null", None)}
_EXACT = 1 << 62
_PIECE = 1 << 16  # bytes of a list that are parsed at once
_SIZES = {"i": ("b", 1), "U": ("B", 1), "I": (">h", 2), "l": (">i", 4), "L": (">q", 8), "d": (">f", 4), "D": (">d", 8)}
_KINDS = {"i": "i1", "U": "u1", "I": ">i2", "l": ">i4", "L": ">i8", "d": ">f4", "D": ">f8"}


def wrong(reason: str, offset: int = -1) -> FormatError:
    """A refusal of a document."""
    return FormatError(reason, code="XB01", offset=offset, format="xgboost")


def _parsed(text: bytes, dtype: np.dtype[Any]) -> np.ndarray[Any, np.dtype[Any]]:
    """Numbers between commas, each known to be one. Raises OverflowError beyond int64."""
    import numpy as np

    found: np.ndarray[Any, np.dtype[Any]] = np.fromstring(text, dtype, sep=",")
    if dtype.kind == "i" and np.abs(found).max() >= _EXACT:  # what is beyond int64 comes out as its end
        return np.array([int(word) for word in text.split(b",")], np.int64)
    return found


class Json:
    """One JSON text.

    Args:
        data: UTF-8.
        budget: what it may cost.
        each: takes the items of lists called ``trees`` as they come, with their numbers, so that none need be kept; the
            list is then the number of them.
    """

    def __init__(self, data: bytes, budget: Budget, each: Callable[[int, object], None] | None = None) -> None:
        self._data, self._budget, self._each = data, budget, each

    def parse(self) -> object:
        """The value of the whole text. Raises FormatError (XB01)."""
        try:
            value, at = self._value(self._skip(0), 0)
        except (ValueError, OverflowError) as error:
            raise wrong(f"is no JSON ({str(error)[:100]})") from error
        if self._skip(at) != len(self._data):
            raise wrong("goes on behind its end", at)
        return value

    def _skip(self, at: int) -> int:
        found = _SPACE.match(self._data, at)
        return found.end() if found else at

    def _value(self, at: int, depth: int) -> tuple[object, int]:
        self._budget.deep(depth)
        self._budget.value()
        first = self._data[at : at + 1]
        if first == b"{":
            return self._object(at, depth)
        if first == b"[":
            return self._array(at, depth)
        if first == b'"':
            return self._string(at)
        if first in _WORDS and self._data.startswith(_WORDS[first][0], at):
            return _WORDS[first][1], at + len(_WORDS[first][0])
        number = _NUMBER.match(self._data, at)
        if number is None:
            raise wrong("has a value that is none", at)
        word = number.group()
        return (int(word) if word.lstrip(b"-").isdigit() else float(word)), number.end()

    def _string(self, at: int) -> tuple[str, int]:
        found = _STRING.match(self._data, at)
        if found is None:
            raise wrong("breaks off", at)
        text: str = scanstring(found.group().decode("utf-8"), 1, True)[0]
        return text, found.end()

    def _object(self, at: int, depth: int) -> tuple[object, int]:
        found: dict[str, object] = {}
        at = self._skip(at + 1)
        while self._data[at : at + 1] != b"}":
            if found:
                at = self._skip(self._expect(at, b","))
            self._expect(at, b'"')
            key, at = self._string(at)
            if key in found:
                raise wrong(f"has {key[:100]!r} twice", at)
            at = self._skip(self._expect(self._skip(at), b":"))
            streamed = key == "trees" and self._each is not None and self._data[at : at + 1] == b"["
            found[key], at = self._items(at, depth + 1) if streamed else self._value(at, depth + 1)
            at = self._skip(at)
        return found, at + 1

    def _items(self, at: int, depth: int) -> tuple[int, int]:
        """A list of which each item is given away."""
        assert self._each is not None
        count = 0
        at = self._skip(at + 1)
        while self._data[at : at + 1] != b"]":
            if count:
                at = self._skip(self._expect(at, b","))
            value, at = self._value(at, depth + 1)
            self._each(count, value)
            count += 1
            at = self._skip(at)
        return count, at + 1

    def _array(self, at: int, depth: int) -> tuple[object, int]:
        numbers = _NUMBERS.match(self._data, at)
        if numbers is not None:
            return self._numbers(at + 1, numbers.end() - 1), numbers.end()
        found: list[object] = []
        at = self._skip(at + 1)
        while self._data[at : at + 1] != b"]":
            if found:
                at = self._skip(self._expect(at, b","))
            value, at = self._value(at, depth + 1)
            found.append(value)
            at = self._skip(at)
        return found, at + 1

    def _numbers(self, at: int, stop: int) -> object:
        """A list of numbers: int64 where all are whole, else float64."""
        import numpy as np

        if self._skip(at) >= stop:
            return np.empty(0, np.int64)
        count = self._data.count(b",", at, stop) + 1
        whole = _WHOLE.fullmatch(self._data, at, stop) is not None
        found = np.empty(count, np.int64 if whole else np.float64)
        done = 0
        while done < count:  # pieces that end before a comma
            end = self._data.find(b",", min(at + _PIECE, stop), stop)
            text = self._data[at : end if end >= 0 else stop]
            if _LIST.fullmatch(text) is None:
                raise wrong("has a list of numbers that are none", at)
            part = _parsed(text, found.dtype)
            found[done : done + len(part)] = part
            done += len(part)
            at += len(text) + 1
        return found

    def _expect(self, at: int, character: bytes) -> int:
        if self._data[at : at + 1] != character:
            raise wrong(f"misses {character.decode()!r}" if at < len(self._data) else "breaks off", at)
        return at + 1


class Ubjson:
    """One UBJSON document; arguments as of :class:`Json`."""

    def __init__(self, data: bytes, budget: Budget, each: Callable[[int, object], None] | None = None) -> None:
        self._data, self._budget, self._each, self._at = data, budget, each, 0

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

    def _items(self, depth: int) -> int:
        """A list of which each item is given away."""
        assert self._each is not None
        kind, count = self._size()
        done = 0
        while done != count:
            if count < 0 and self._data[self._at : self._at + 1] == b"]":
                self._at += 1
                break
            self._each(done, self._value(kind or self._mark(), depth + 1))
            done += 1
        return done

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
            mark = kind or self._mark()
            streamed = key == "trees" and self._each is not None and mark == "["
            found[key] = self._items(depth + 1) if streamed else self._value(mark, depth + 1)
        return found
