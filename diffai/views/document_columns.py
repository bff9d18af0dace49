"""The columns of two tables, for people: figures of each on both sides, and how far their distributions lie apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from diffai.comparison.documents.result import Column, ColumnChange, TableChange
from diffai.views.blocks import MARKS, Block, Gap, Labelled, Word, said
from diffai.views.blocks import Column as BlockColumn
from diffai.views.blocks import Table as BlockTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.tensors.distribution import Shift


def columns_blocks(change: TableChange, *, figures: bool, table: bool) -> Iterable[Block]:
    """Blocks of all columns where ``figures`` are asked for, as a ``table`` or as lines; of distributions always."""
    shown = change.columns if figures else ()
    if shown and table:
        yield Gap()
        yield _columns_table(shown)
    else:
        yield from (said(_column_line(column), _column_sign(column), indent=1) for column in shown)
    shifts = [(column.name, column.shift) for column in change.columns if column.shift is not None]
    if shifts:
        rows = tuple((Word(name), Word(shift_text(found))) for name, found in shifts)
        yield Labelled("DISTRIBUTION", rows)


def shift_text(shift: Shift) -> str:
    """How far two distributions lie apart, in one line."""
    text = f"KS {shift.ks:.4g}, PSI {shift.psi:.4g}, JS {shift.js:.4g}"
    return text if shift.exact else f"{text} (KS at most {shift.ks_most:.4g})"


def _column_sign(column: ColumnChange) -> str:
    if column.old is None or column.new is None:
        return "+" if column.old is None else "-"
    return "=" if column.old == column.new else "~"


def _column_line(column: ColumnChange) -> str:
    old, new = (_figures(side) for side in (column.old, column.new))
    pairs = [
        f"{name}={old.get(name, '')}->{new.get(name, '')}" if old.get(name) != new.get(name) and old and new
        else f"{name}={(new or old)[name]}"
        for name in dict.fromkeys((*old, *new))
    ]  # fmt: skip
    return f"{_column_sign(column)} {column.name}: {', '.join(pairs)}"


def _columns_table(columns: Sequence[ColumnChange]) -> BlockTable:
    names = ("type", "missing", "NaN", "mean", "std", "min", "max")
    rows = []
    for column in columns:
        old, new = (_figures(side) for side in (column.old, column.new))
        cells = []
        for name in names:
            before, after = old.get(name, ""), new.get(name, "")
            cells.append(Word(f"{before} -> {after}" if before != after and old and new else after or before))
        sign = _column_sign(column)
        rows.append((Word(f"{sign} {column.name}", MARKS[sign]), *cells))
    heads = (
        BlockColumn("column", shrinks=True, literal=True),
        *(BlockColumn(name, "right", rank=place) for place, name in enumerate(names)),
    )
    return BlockTable(heads, tuple(rows))


def _figures(column: Column | None) -> dict[str, str]:
    if column is None:
        return {}
    found = {"type": column.type, "missing": f"{column.missing:,}"}
    if column.nan:
        found["NaN"] = f"{column.nan:,}"
    for name, value in (("mean", column.mean), ("std", column.std), ("min", column.minimum), ("max", column.maximum)):
        if value is not None:
            found[name] = f"{value:.6g}"
    if column.longest:
        found["length"] = f"{column.shortest}-{column.longest}"
    return found
