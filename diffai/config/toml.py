"""TOML that came with a clone: looked at before it is parsed, since the standard parser has no limits.

A key of n dotted parts takes it time and memory that grow with the square of n (40 kB of them take 1.5 GB). Nor does it
tell on which line a key stands, and a message without a line helps little.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from diffai.errors import UsageError

MAX_BYTES = 1 << 20
MAX_PARTS = 32
"""Parts of a dotted key; a configuration that people write has four at most."""

# A string, closed or not, or a comment: none of their dots is a key's. Possessive, so that nothing is tried twice.
_TEXTS = re.compile(
    r'"""(?:\\.|(?!""").)*+(?:"{3,5}|\Z)'
    r"|'''(?:(?!''').)*+(?:'{3,5}|\Z)"
    r'|"(?:\\.|[^"\\\n])*+(?:"|$)'
    r"|'[^'\n]*+(?:'|$)"
    r"|\#[^\n]*+",
    re.DOTALL | re.MULTILINE,
)
_RUN = re.compile(r"[\w.\-' \t]+")


def parse_toml(data: bytes, label: str) -> dict[str, object]:
    """The tables of a TOML text.

    Args:
        data: the whole file.
        label: how messages name it.

    Raises:
        UsageError: not UTF-8, not TOML, too large, nested too deeply, or with keys of too many parts.
    """
    import tomllib

    if len(data) > MAX_BYTES:
        raise UsageError(f"{label}: larger than {MAX_BYTES:,} bytes")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{label}: not UTF-8 at byte {error.start}") from error
    line = crowded(text)
    if line:
        raise UsageError(f"{label}:{line}: a key of more than {MAX_PARTS} dotted parts")
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise UsageError(f"{label}: not valid TOML: {error}") from error
    except RecursionError as error:
        raise UsageError(f"{label}: nested too deeply") from error


def crowded(text: str) -> int:
    """The line of the first key with too many parts; 0 when there is none."""
    if text.count(".") < MAX_PARTS:
        return 0
    bare = _TEXTS.sub(lambda found: "''" + "\n" * found[0].count("\n"), text)
    for found in _RUN.finditer(bare):
        if found[0].count(".") >= MAX_PARTS:
            return bare.count("\n", 0, found.start()) + 1
    return 0


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
