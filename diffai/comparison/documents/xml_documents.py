"""XML by expat. A document type declaration is refused, so that no entity is ever defined, expanded or fetched.

An element is a mapping of its attributes (``@name``), its text (``#text``) and lists of its children by their names;
one with neither attributes nor children is its text alone. The order among children of different names says nothing.
"""

from __future__ import annotations

from diffai.comparison.documents.reading import CODE, Document, DocumentError, read_bytes
from diffai.comparison.documents.result import Children, Value
from diffai.formats.base import Budget, Limits
from diffai.sources.base import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CHUNK = 1 << 20
_BETWEEN = "\0"
"""Between the runs of an element's text; no XML can hold it."""


def read(source: Source, limits: Limits) -> Document:
    """Read a document: a mapping of the root's name to the root.

    Raises:
        DocumentError: it is not well formed, or declares a document type, with line and column.
        LimitError: it holds too much.
    """
    from xml.parsers import expat

    data = read_bytes(source, limits)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    builder = _Builder(limits)
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    parser.StartDoctypeDeclHandler = lambda *_: _refuse(parser)
    parser.EntityDeclHandler = lambda *_: _refuse(parser)
    try:
        for at in range(0, len(data), _CHUNK):
            parser.Parse(data[at : at + _CHUNK], False)
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        reason = f"is not XML: {expat.errors.messages.get(error.code, str(error))}"
        raise DocumentError(reason, line=error.lineno, column=error.offset + 1) from None
    except (ValueError, LookupError) as error:  # an encoding that Python does not have
        raise DocumentError(f"is not XML: {error}") from None
    return Document(builder.root, "xml")


def _refuse(parser: Any) -> None:
    line, column = parser.CurrentLineNumber, parser.CurrentColumnNumber + 1
    raise DocumentError("declares a document type or entities, which are not read", line=line, column=column)


class _Builder:
    """The elements that are open, each as its mapping and its pieces of text."""

    def __init__(self, limits: Limits) -> None:
        self.root: dict[str, Value] = {}
        self._budget = Budget(limits, CODE)
        self._open: list[tuple[dict[str, Value], list[str]]] = [(self.root, [])]

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        self._budget.value(1 + len(attributes))
        self._budget.deep(len(self._open))
        self._open.append(({f"@{key}": value for key, value in attributes.items()}, []))

    def end(self, name: str) -> None:
        """An element ends."""
        element, pieces = self._open.pop()
        runs = "".join(pieces).split(_BETWEEN)
        text = " ".join(run for run in map(str.strip, runs) if run)
        value: Value = element
        if not element:
            value = text
        elif text:
            element["#text"] = text
        self._open[-1][0].setdefault(name, Children()).append(value)
        self._open[-1][1].append(_BETWEEN)

    def text(self, text: str) -> None:
        """Text inside the element that is open."""
        self._open[-1][1].append(text)
