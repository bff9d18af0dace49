"""INI and its kin (``.cfg``, ``.properties``), as ``configparser`` reads them, and ``.env`` files; all values are text.

``configparser`` itself is not used on files of strangers: its pattern of a line takes time that grows with the square
of the line. Keys keep their case; interpolation is not done; keys before the first section stand at the top.
"""

from __future__ import annotations

import re

from diffai.comparison.documents.reading import Document, DocumentError, read_text, twice
from diffai.comparison.documents.result import Value
from diffai.formats.base import Limits
from diffai.sources.base import Source

_NAME = re.compile(r"[A-Za-z_][\w.-]*")
_COMMENT = re.compile(r"(?:^|\s)#")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$"}


def read(source: Source, limits: Limits) -> Document:
    """Read an INI file: sections of keys.

    Raises:
        DocumentError: a line is neither a section, a key nor a comment, with its number.
    """
    told = read_text(source, limits)
    reader = _Ini()
    for number, line in enumerate(told.text.splitlines(), 1):
        reader.line(line, number)
    return Document(reader.finished(), told.encoding, (*told.notes, *twice(reader.twice)))


class _Ini:
    """The lines so far. A line that is indented deeper than its key goes on with the value."""

    def __init__(self) -> None:
        self.twice: list[str] = []
        self._top: dict[str, Value] = {}
        self._section = self._top
        self._lines: list[str] = []
        self._key: str | None = None
        self._indent = 0

    def line(self, line: str, number: int) -> None:
        """Take one line."""
        bare = line.strip()
        if not bare or bare[0] in "#;!":
            if self._key is not None and not bare:
                self._lines.append("")
            return
        indent = len(line) - len(line.lstrip())
        if self._key is not None and indent > self._indent and self._lines:
            self._lines.append(bare)
            return
        self._finish()
        self._indent = indent
        end = bare.rfind("]") if bare[0] == "[" else 0
        if end > 1:
            self._open(bare[1:end])
        elif bare[0] == "[" and not {"=", ":"}.intersection(bare):
            raise DocumentError("has a section without a name, or without ']'", line=number)
        else:
            self._begin(bare, number)

    def finished(self) -> dict[str, Value]:
        """The whole document."""
        self._finish()
        return self._top

    def _open(self, name: str) -> None:
        known = self._top.get(name)
        if isinstance(known, dict):
            self.twice.append(f"[{name}]")
            self._section = known
            return
        if name in self._top:
            self.twice.append(name)
        self._section = self._top[name] = {}

    def _begin(self, bare: str, number: int) -> None:
        places = [place for place in (bare.find("="), bare.find(":")) if place >= 0]
        at = min(places, default=len(bare))
        key = bare[:at].rstrip()
        if not key:
            raise DocumentError("has a value without a key", line=number)
        if key in self._section:
            self.twice.append(key)
        self._key = key
        self._lines = [bare[at + 1 :].strip()] if places else []

    def _finish(self) -> None:
        if self._key is not None:
            while self._lines and not self._lines[-1] and len(self._lines) > 1:
                self._lines.pop()
            self._section[self._key] = "\n".join(self._lines) if self._lines else None
        self._key, self._lines = None, []


def read_env(source: Source, limits: Limits) -> Document:
    """Read a file of ``NAME=value`` lines, as shells and dotenv have them; nothing is expanded.

    Raises:
        DocumentError: a line is no such, or a quote is not closed, with its number.
    """
    told = read_text(source, limits)
    found: dict[str, Value] = {}
    repeated: list[str] = []
    lines = told.text.splitlines()
    at = 0
    while at < len(lines):
        number = at + 1
        bare = lines[at].strip()
        at += 1
        if not bare or bare.startswith("#"):
            continue
        name, equals, value = bare.removeprefix("export ").lstrip().partition("=")
        name = name.rstrip()
        if not _NAME.fullmatch(name):
            raise DocumentError("has a line that is not NAME=value", line=number)
        if name in found:
            repeated.append(name)
        value = value.lstrip()
        if value[:1] in ("'", '"'):
            found[name], at = _quoted(value, lines, at)
        else:
            comment = _COMMENT.search(value) if "#" in value else None
            found[name] = value[: comment.start() if comment else len(value)].rstrip() if equals else None
    return Document(found, told.encoding, (*told.notes, *twice(repeated)))


def _quoted(value: str, lines: list[str], at: int) -> tuple[str, int]:
    """A value in quotes, which may go on in the next lines; and the place of the line behind it."""
    quote, number = value[0], at
    pieces: list[str] = []
    rest = value[1:]
    while True:
        place = 0
        while place < len(rest) and rest[place] != quote:
            if rest[place] == "\\" and quote == '"' and place + 1 < len(rest):
                place += 1
                pieces.append(_ESCAPES.get(rest[place], f"\\{rest[place]}"))
            else:
                pieces.append(rest[place])
            place += 1
        if place < len(rest):
            return "".join(pieces), at
        if at == len(lines):
            raise DocumentError("has a quote that is not closed", line=number)
        pieces.append("\n")
        rest, at = lines[at], at + 1
