"""On which line of a TOML text a key stands. tomllib does not tell, and a message without a line helps little."""

from __future__ import annotations

import re
from collections.abc import Sequence

Path = tuple[str | int, ...]

_NAME = r"(?:[\w-]+|\"[^\"]*\"|'[^']*')"
_DOTTED = rf"({_NAME}(?:\s*\.\s*{_NAME})*)"
_HEADER = re.compile(rf"\s*(\[\[?)\s*{_DOTTED}\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(rf"\s*{_DOTTED}\s*=")


class Lines:
    """Lines of tables and keys by path; a table of an array is named by its number from 0."""

    def __init__(self, text: str) -> None:
        self._lines: dict[Path, int] = {}
        self._arrays: dict[Path, int] = {}
        table: Path = ()
        depth = 0  # inside a list that goes over several lines nothing is a header or a key
        for number, line in enumerate(text.splitlines(), 1):
            if depth == 0 and (header := _HEADER.match(line)):
                table = self._table(_parts(header[2]), array=header[1] == "[[")
                self._lines.setdefault(table, number)
                continue
            if depth == 0 and (key := _KEY.match(line)):
                self._lines.setdefault((*table, *_parts(key[1])), number)
            depth = max(0, depth + _opened(line))

    def find(self, path: Sequence[str | int]) -> int:
        """The line of a key or table, or of the nearest one above it; 0 when there is none."""
        for length in range(len(path), 0, -1):
            line = self._lines.get(tuple(path[:length]))
            if line is not None:
                return line
        return 0

    def _table(self, parts: tuple[str, ...], *, array: bool) -> Path:
        path: Path = ()
        for part in parts[:-1]:
            path = (*path, part)
            if path in self._arrays:
                path = (*path, self._arrays[path])
        path = (*path, parts[-1])
        if array:
            self._arrays[path] = self._arrays.get(path, -1) + 1
            return (*path, self._arrays[path])
        return path


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in re.findall(r"\"[^\"]*\"|'[^']*'|[\w-]+", dotted))


def _opened(line: str) -> int:
    """Brackets that a line opens and does not close, strings and comments left out."""
    bare = re.sub(r"\"(?:\\.|[^\"\\])*+(?:\"|$)|'[^']*+(?:'|$)", "", line).partition("#")[0]
    return bare.count("[") - bare.count("]")
