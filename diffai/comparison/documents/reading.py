"""What all readers of documents share: the bytes as text, the error that names a line, the budget."""

from __future__ import annotations

from diffai.comparison.documents.result import Key, Value
from diffai.errors import FormatError, LimitError
from diffai.formats.base import Budget, Limits
from diffai.frozen import frozen, slotted
from diffai.sources.base import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object

CODE = "DOC01"
_BOMS: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32"), (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"),
)  # fmt: skip


class DocumentError(FormatError):
    """A document that cannot be read; the text says why, and at which line and column, both from 1."""

    def __init__(self, reason: str, *, line: int = 0, column: int = 0, offset: int = -1) -> None:
        where = f" at line {line}" if line else ""
        where += f", column {column}" if line and column else ""
        where += f" at byte {offset}" if offset >= 0 else ""
        super().__init__(f"{reason}{where}", code=CODE, offset=offset)
        self.line = line


@frozen
class Text:
    """The text of a document and the encoding that it was in."""

    text: str
    encoding: str
    notes: tuple[str, ...] = ()


@slotted
class Document:
    """What a reader makes of a document: its value, and what is odd about it.

    ``several``: whether the value is a list because the file holds several values behind one another.
    """

    value: Value
    encoding: str = ""
    notes: tuple[str, ...] = ()
    several: bool = False


class Reader(Protocol):
    """A module of this shape reads one kind of document; its row stands in :mod:`.table`."""

    @staticmethod
    def read(source: Source, limits: Limits) -> Document:
        """Read a whole document. Raises DocumentError, LimitError, SourceError."""


def read_bytes(source: Source, limits: Limits) -> bytes:
    """All bytes of a document.

    Raises:
        LimitError: there are more than are parsed.
    """
    if source.size > limits.max_header:
        raise LimitError(f"is larger than {limits.max_header:,} bytes (limit diffai.maxHeader)", code=CODE)
    return source.read(0, source.size)


def read_text(source: Source, limits: Limits) -> Text:
    """All of a document as text; see :func:`decoded`."""
    return decoded(read_bytes(source, limits))


def decoded(data: bytes) -> Text:
    """Bytes as text: by their byte order mark, as UTF-8, as UTF-16 where every other byte is 0, else as Latin-1.

    Raises:
        DocumentError: a byte order mark promises what the bytes do not hold, or they are binary.
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            try:
                return Text(data.decode(encoding), encoding.removesuffix("-sig"))
            except UnicodeDecodeError as error:
                raise DocumentError(f"is not {encoding.upper().removesuffix('-SIG')}", offset=error.start) from error
    wide = _without_mark(data)
    try:
        return Text(data.decode(wide or "utf-8"), wide or "utf-8")
    except UnicodeDecodeError as error:
        if b"\0" in data:
            raise DocumentError("is binary, not text", offset=data.index(b"\0")) from error
        note = f"is not UTF-8 (byte {error.start:,}); read as Latin-1"
        return Text(data.decode("latin-1"), "latin-1", (note,))


def _without_mark(data: bytes) -> str:
    """UTF-16 without a byte order mark, as the zeros beside ASCII show; "" for anything else."""
    head = data[:64]
    if len(data) % 2 or len(head) < 2 or b"\0" not in head:
        return ""
    if not any(head[1::2]) and all(head[::2]):
        return "utf-16-le"
    return "utf-16-be" if not any(head[::2]) and all(head[1::2]) else ""


def count_values(value: Value, limits: Limits) -> int:
    """Keys and elements of a value; what is reached twice counts twice.

    Raises:
        LimitError: there are too many, or they are nested too deeply.
    """
    budget = Budget(limits, CODE)
    level: list[Value] = [value]
    depth = 0
    while level:
        inside: list[Value] = []
        for one in level:
            if isinstance(one, dict):
                budget.value(len(one))
                inside += one.values()
            elif isinstance(one, list):
                budget.value(len(one))
                inside += one
        level = [one for one in inside if isinstance(one, dict | list)]
        depth += 1
        budget.deep(depth)
    return budget.values


def twice(keys: list[str]) -> tuple[str, ...]:
    """A note about keys that stood more than once in their mapping; () where there are none."""
    if not keys:
        return ()
    named = ", ".join(repr(key[:60]) for key in dict.fromkeys(keys[:3]))
    more = f" and {len(keys) - 3:,} more" if len(keys) > 3 else ""
    return (f"a key stands more than once, and the last one counts: {named}{more}",)


def with_text_keys(value: Value) -> Value:
    """A copy in which all keys are text, as kinds have it that know no others."""
    if isinstance(value, dict):
        return {key.text if isinstance(key, Key) else key: with_text_keys(inside) for key, inside in value.items()}
    return [with_text_keys(inside) for inside in value] if isinstance(value, list) else value
