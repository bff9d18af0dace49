"""Compare two documents by what they say, whatever kind each is."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from typing import cast

from diffai.comparison.documents.paths import path_text
from diffai.comparison.documents.reading import Document, DocumentError, Reader, count_values, with_text_keys
from diffai.comparison.documents.result import DocumentDiff, DocumentOptions, DocumentSide, NumberPair, Path, Value
from diffai.comparison.documents.structure import Comparison, leaves, number_in
from diffai.comparison.documents.table import Kind, kind_called, kind_of, kinds
from diffai.comparison.result import CompareOptions, LeftOut
from diffai.comparison.selection import nearest_name
from diffai.errors import FormatError, LimitError, SourceError, UsageError
from diffai.sources.base import Source

_HEAD = 4096
_CHUNK = 1 << 20
_MOST_NUMBERS = 10_000
_MOST_NAMED = 2000


def compare_documents(
    old: Source, new: Source, options: DocumentOptions, kind: str = "", *, alone: bool = True
) -> DocumentDiff:
    """Compare two opened files; both are closed.

    Args:
        old, new: the files.
        options: how.
        kind: what both are, whatever they look like; "" = by their names, then their first bytes.
        alone: whether they are all that is compared, so that an option which chooses nothing of them is refused.

    Raises:
        SourceError: one cannot be read as what it is; the text names it, with line or offset.
        UsageError: an option chooses nothing, or is none.
    """
    try:
        rows = [_kind(source, kind) for source in (old, new)]
        if rows[0].is_table and rows[1].is_table:
            return _tables(old, new, rows, options, alone=alone)
        diff, values, comparison = _structures(old, new, rows, options)
        if alone:
            _require_choice(options.compare, comparison, (path_text(p) for value in values for p, _ in leaves(value)))
        return diff
    except RecursionError:
        raise SourceError(f"{old.label} or {new.label}: is nested too deeply to be compared") from None
    finally:
        old.close()
        new.close()


def is_document(source: Source) -> bool:
    """Whether a file is of a kind that is compared as a document."""
    return kind_of(source.label, source.read(0, min(source.size, _HEAD))) is not None


def _kind(source: Source, kind: str) -> Kind:
    found = kind_called(kind) if kind else kind_of(source.label, source.read(0, min(source.size, _HEAD)))
    if found is None:
        raise SourceError(f"{source.label}: is no document of a known kind ({kinds()})")
    return found


def _structures(
    old: Source, new: Source, rows: list[Kind], options: DocumentOptions
) -> tuple[DocumentDiff, tuple[Value, Value], Comparison]:
    sources = (old, new)
    if (rows[0].name == "log") != (rows[1].name == "log"):
        log, other = (0, 1) if rows[0].name == "log" else (1, 0)
        raise SourceError(
            f"{sources[log].label} is a log and {sources[other].label} is {rows[other].title}: they have no keys in "
            "common (--input-format says what both are)"
        )
    same = _same_bytes(old, new)
    documents = [_read(source, row, options) for source, row in zip(sources, rows, strict=True)]
    sides = tuple(
        _side(source, row, document, count_values(document.value, options.limits))
        for source, row, document in zip(sources, rows, documents, strict=True)
    )
    values = _alike(documents, rows)
    comparison = Comparison(options, text_only=rows[0].text_only != rows[1].text_only)
    comparison.compare(*values)
    notes = list(comparison.notes)
    if rows[0].text_only != rows[1].text_only:
        notes.append(f"{next(row for row in rows if row.text_only).title} holds text only: values compared as text")
    if rows[0].name == "log" and not same:
        from diffai.comparison.documents.log_documents import one_sided

        notes.append(one_sided(old, new, options.limits))
    numbers = _number_pairs(values, comparison) if options.numbers else ()
    diff = DocumentDiff(
        sides[0], sides[1], options, tuple(comparison.changes), _left_out(comparison, options), same,
        comparison.tolerated, None, 0, tuple(dict.fromkeys(notes)), numbers,
    )  # fmt: skip
    return diff, values, comparison


def _tables(old: Source, new: Source, rows: list[Kind], options: DocumentOptions, *, alone: bool) -> DocumentDiff:
    from diffai.comparison.documents.tables import TableComparison, open_table

    tables = []
    for source, row in zip((old, new), rows, strict=True):
        with _Named(source):
            tables.append(open_table(source, row.name, options.limits))
    found = TableComparison(tables[0], tables[1], options)
    with _Named(old, new):
        table = found.run()
    if alone and not options.compare.path.startswith("rows["):
        parts: tuple[Path, ...] = (("columns",), ("rows", 0))
        names = (path_text((*part, name)) for part in parts for one in tables for name in one.names)
        _require_choice(options.compare, found.comparison, names)
    sides = [
        DocumentSide(source.label, row.name, source.size, source.identity, one.encoding.removesuffix("-sig"),
                     table.rows[place] * len(one.names), one.notes)
        for place, (source, row, one) in enumerate(zip((old, new), rows, tables, strict=True))
    ]  # fmt: skip
    numbers = tuple(
        NumberPair(column.name, *(side.last if side is not None else None for side in (column.old, column.new)))
        for column in table.columns
        if any(side is not None and side.last is not None for side in (column.old, column.new))
    )
    return DocumentDiff(
        sides[0], sides[1], options, tuple(found.comparison.changes), _left_out(found.comparison, options),
        _same_bytes(old, new), found.comparison.tolerated, table, found.uncounted, tuple(found.comparison.notes),
        numbers[:_MOST_NUMBERS],
    )  # fmt: skip


class _Named:
    """Errors inside name the file that they are of; of two, the one that is being read is not known."""

    def __init__(self, *sources: Source) -> None:
        self._label = " or ".join(dict.fromkeys(source.label for source in sources))

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: object, _traceback: object) -> None:
        if isinstance(error, FormatError):
            raise SourceError(f"{self._label}: {error}") from error


def _read(source: Source, row: Kind, options: DocumentOptions) -> Document:
    with _Named(source):
        if row.is_table:
            return _rows_as_list(source, row, options)
        reader = cast(Reader, importlib.import_module(row.module))
        return reader.read(source, options.limits)


def _rows_as_list(source: Source, row: Kind, options: DocumentOptions) -> Document:
    """A table beside a document of another kind: a list of its rows."""
    from diffai.comparison.documents.tables import open_table

    table = open_table(source, row.name, options.limits)
    most = options.limits.max_values // max(1, len(table.names))
    found: list[Value] = []
    for cells in table.rows():
        if len(found) >= most:
            raise LimitError(f"holds more than {options.limits.max_values:,} values (limit diffai.maxValues)")
        found.append(dict(zip(table.names, cells, strict=False)))
    return Document(found, table.encoding.removesuffix("-sig"), table.notes, several=True)


def _side(source: Source, row: Kind, document: Document, values: int) -> DocumentSide:
    return DocumentSide(
        source.label, row.name, source.size, source.identity, document.encoding, values, document.notes
    )


def _alike(documents: list[Document], rows: list[Kind]) -> tuple[Value, Value]:
    """Both values where they can be compared: the same kinds of keys, one document or a list of them on both sides."""
    old, new = (document.value for document in documents)
    if (rows[0].name == "yaml") != (rows[1].name == "yaml"):
        old, new = with_text_keys(old), with_text_keys(new)
    if documents[0].several != documents[1].several:
        old, new = (value if d.several or isinstance(value, list) else [value]
                    for value, d in zip((old, new), documents, strict=True))  # fmt: skip
    return old, new


def _same_bytes(old: Source, new: Source) -> bool:
    if old.size != new.size:
        return False
    if old.identity and old.identity == new.identity:
        return True
    return all(old.read(at, _CHUNK) == new.read(at, _CHUNK) for at in range(0, old.size, _CHUNK))


def _left_out(comparison: Comparison, options: DocumentOptions) -> tuple[LeftOut, ...]:
    """What options and settings left out; a tolerance that a file of the clone set is one of these."""
    found = comparison.chosen.left_out()
    told = options.compare
    committed = [told.committed_origin(n) for n in ("epsilon", "rtol") if told.committed_origin(n)]
    if comparison.tolerated and committed:
        found += (LeftOut("values", comparison.tolerated, f"differ within a tolerance ({committed[0]})", committed[0]),)
    return found


def _require_choice(options: CompareOptions, comparison: Comparison, paths: Iterable[str]) -> None:
    """Refuse a ``--path`` or ``--filter`` that chooses none of these paths, which are all that there are.

    Raises:
        UsageError: it does, with the nearest path that there is.
    """
    if comparison.changes or comparison.tolerated or not (options.path or options.filter):
        return
    texts = list(paths)
    if any(comparison.chosen.wanted(text) for text in texts):
        return
    option, given = ("--path", options.path) if options.path else ("--filter", options.filter)
    near = nearest_name(given, [re.sub(r"\[[^]]*\]", "", text) for text in texts[:_MOST_NAMED]])
    raise UsageError(f"{option} {given} selects nothing{f'; did you mean {near}?' if near else ''}")


def _number_pairs(values: tuple[Value, Value], comparison: Comparison) -> tuple[NumberPair, ...]:
    """Numbers that either document holds, by path; of a list the last that there are."""
    sides: list[dict[str, float]] = [{}, {}]
    for side, value in zip(sides, values, strict=True):
        _gather_numbers(value, (), side)
    order = [*sides[1], *(name for name in sides[0] if name not in sides[1])]
    return tuple(
        NumberPair(name, sides[0].get(name), sides[1].get(name)) for name in order if comparison.chosen.reaches(name)
    )


def _gather_numbers(value: Value, path: Path, found: dict[str, float]) -> None:
    if isinstance(value, dict):
        for key, inside in value.items():
            _gather_numbers(inside, (*path, key), found)
    elif isinstance(value, list):
        for inside in value:
            _gather_numbers(inside, (*path, -1), found)
    else:
        number = number_in(value)
        name = path_text(path) if number is not None else ""
        if number is not None and (name in found or len(found) < _MOST_NUMBERS):
            found[name] = number


__all__ = ["DocumentError", "compare_documents", "is_document"]
