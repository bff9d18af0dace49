"""What a comparison of two documents found, as frozen data.

A document's value is made of ``None``, ``bool``, ``int``, ``float``, ``str``, :class:`Special`, lists and dictionaries,
whose keys are ``str`` or :class:`Key`. Nothing else ever comes out of a reader.
"""

from __future__ import annotations

from diffai.comparison.result import CompareOptions, LeftOut
from diffai.formats.base import Limits
from diffai.frozen import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    from diffai.tensors.distribution import Shift

    ChangeKind = Literal["Added", "Removed", "Modified", "TypeChanged"]
    Value = Any
else:
    ChangeKind = Value = object  # of lists, too


@frozen
class Key:
    """A key of a mapping that is no text (YAML has such): its type and how it is written."""

    kind: str
    text: str


@frozen
class Special:
    """A scalar that JSON lacks a type for: ``date``, ``time``, ``datetime``, ``binary``, a ``number`` beyond floats."""

    kind: str
    text: str


@frozen
class Identified:
    """An element of a list that is known by the value of one of its keys, not by its place."""

    key: str
    value: str


class Children(list[Value]):
    """Children of one name in XML; where both sides have one alone, its place is no part of the path."""


Step = str | int | Key | Identified
"""One step of a path: a key, a place in a list, an element by its identity."""

Path = tuple[Step, ...]


@frozen
class Change:
    """One difference.

    A path leads through matched elements of lists by their places in the new document; its last step is a place in the
    old document where something was removed, and in the new one otherwise. ``old`` is None for what was added, ``new``
    for what was removed.
    """

    kind: ChangeKind
    path: Path
    old: Value = None
    new: Value = None


@frozen
class DocumentOptions:
    """How documents are compared.

    Attributes:
        compare: tolerances, ``filter``, ``path`` and ``ignore`` as for models, over paths of documents.
        array_id_key: elements of lists, and rows of tables, belong together by their values of it; "" = by place.
        distribution: whether the distributions of the numbers of each column of a table are compared.
        numbers: whether all numbers are kept, which a comparison of metrics looks at.
        limits: what reading may cost.
    """

    compare: CompareOptions = CompareOptions()
    array_id_key: str = ""
    distribution: bool = False
    numbers: bool = False
    limits: Limits = Limits()


@frozen
class DocumentSide:
    """One side.

    Attributes:
        label: how the user names it.
        kind: a name of the table of kinds, such as ``yaml``.
        size: bytes.
        identity: equal identities mean equal bytes; "" = unknown.
        encoding: of its text; "" where it is none.
        values: keys and elements counted, or the cells of a table.
        notes: what is odd about it, each one sentence: a key that stands twice, words that YAML 1.1 calls true.
    """

    label: str
    kind: str
    size: int = -1
    identity: str = ""
    encoding: str = ""
    values: int = 0
    notes: tuple[str, ...] = ()


@frozen
class Column:
    """Figures of one column of a table on one side, over the cells that are not missing.

    Attributes:
        type: ``integer``, ``float``, ``boolean``, ``date``, ``text``, or ``empty`` where all cells are missing.
        count: cells. ``missing``: those that are empty or say so (NA, null); ``nan``: of a float column.
        minimum, maximum, mean, std: of finite numbers (population); None where there are none.
        shortest, longest: characters of text cells.
        last: the last number.
    """

    name: str
    type: str
    count: int = 0
    missing: int = 0
    nan: int = 0
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    std: float | None = None
    shortest: int = 0
    longest: int = 0
    last: float | None = None


@frozen
class ColumnChange:
    """One column on both sides; None on the side that does not have it.

    ``shift``: how its numbers moved, where that was asked for and both sides have some.
    """

    name: str
    old: Column | None
    new: Column | None
    shift: Shift | None = None


@frozen
class TableChange:
    """What two tables have in common and what not.

    Attributes:
        rows: of both sides.
        added, removed, changed, equal: rows; a changed one differs in a cell of a column that both sides have.
        cells: cells that differ, all of them; the changes hold the first ones.
        columns: of both sides, in the order of the new one.
        how: how rows were matched: ``by key``, ``by content``, ``by position``.
    """

    rows: tuple[int, int]
    added: int
    removed: int
    changed: int
    equal: int
    cells: int
    columns: tuple[ColumnChange, ...]
    how: str


@frozen
class NumberPair:
    """A number of both documents, or the last one of a column; None on the side that has none."""

    name: str
    old: float | None
    new: float | None


@frozen
class DocumentDiff:
    """Everything a comparison of two documents found.

    Attributes:
        changes: in the order of the new document.
        left_out: what was not compared, and why.
        same_bytes: whether both have the same bytes; None where that was not looked at.
        tolerated: numbers that differ within the tolerance.
        table: of two tables.
        uncounted: changes beyond those that are listed.
        notes: what is said of the comparison as a whole, each one sentence.
        numbers: of either side, unchanged ones too; what a comparison of metrics looks at.
    """

    old: DocumentSide
    new: DocumentSide
    options: DocumentOptions
    changes: tuple[Change, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    same_bytes: bool | None = None
    tolerated: int = 0
    table: TableChange | None = None
    uncounted: int = 0
    notes: tuple[str, ...] = ()
    numbers: tuple[NumberPair, ...] = ()

    @property
    def differs(self) -> bool:
        """Whether anything that was compared differs."""
        return bool(self.changes or self.uncounted)

    @property
    def equal(self) -> bool | None:
        """Whether both say the same; None where something that a setting of a clone hides is not known."""
        if self.differs:
            return False
        return None if self.hidden else True

    @property
    def hidden(self) -> tuple[LeftOut, ...]:
        """What settings of the clone left out; the user did not ask for it."""
        return tuple(left for left in self.left_out if left.origin)


@frozen
class DocumentChange:
    """One document of two directories: on one side only, compared, or not readable (with the reason)."""

    path: str
    status: Literal["added", "removed", "compared", "unreadable"]
    diff: DocumentDiff | None = None
    reason: str = ""

    @property
    def differs(self) -> bool:
        """Whether there is a difference, or there may be one."""
        return self.diff.differs if self.diff is not None else True

    @property
    def equal(self) -> bool | None:
        """Whether both sides say the same; None where one could not be read."""
        if self.diff is not None:
            return self.diff.equal
        return None if self.status == "unreadable" else False


def type_of(value: Value) -> str:
    """The type of a value, in the words of the output."""
    if value is None:
        return "null"
    if isinstance(value, Special):
        return value.kind
    return "list" if isinstance(value, list) else _TYPES[type(value)]


_TYPES: dict[type, str] = {
    bool: "boolean", int: "integer", float: "float", str: "text", dict: "mapping",
}  # fmt: skip
