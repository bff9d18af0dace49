"""Comparisons of documents for programs: the change list, and the report that ``document.schema.json`` describes."""

from __future__ import annotations

from diffai.comparison.documents.paths import path_text
from diffai.comparison.documents.result import (
    Change,
    Column,
    ColumnChange,
    DocumentDiff,
    DocumentSide,
    Key,
    Special,
    TableChange,
    Value,
    type_of,
)
from diffai.views import values
from diffai.views.values import Json

SCHEMA = "diffai.document/1"


def document_changes(diff: DocumentDiff, prefix: str = "") -> list[dict[str, Json]]:
    """``Added: [path, new]``, ``Removed: [path, old]``, ``Modified`` and ``TypeChanged: [path, old, new]``."""
    records: list[dict[str, Json]] = []
    for change in diff.changes:
        path = prefix + values.text(path_text(change.path))
        sides = {"Added": [change.new], "Removed": [change.old]}.get(change.kind, [change.old, change.new])
        records.append({change.kind: [path, *map(plain, sides)]})
    if diff.uncounted:
        records.append({"NotListed": [prefix.removesuffix(":") or ".", diff.uncounted]})
    return records


def document_report(diff: DocumentDiff) -> dict[str, Json]:
    """The whole comparison as one object."""
    told = diff.options.compare
    kinds = [change.kind for change in diff.changes]
    return {
        "schema": SCHEMA,
        "kind": "document",
        "equal": diff.equal,
        "old": _side(diff.old),
        "new": _side(diff.new),
        "options": {
            "epsilon": told.epsilon,
            "rtol": told.rtol,
            "filter": values.text(told.filter),
            "path": values.text(told.path),
            "ignore": [values.text(pattern) for pattern in told.ignore],
            "array_id_key": values.text(diff.options.array_id_key),
        },
        "comparison": {
            "added": kinds.count("Added"),
            "removed": kinds.count("Removed"),
            "modified": kinds.count("Modified"),
            "type_changed": kinds.count("TypeChanged"),
            "not_listed": diff.uncounted,
            "tolerated": diff.tolerated,
        },
        "changes": [_change(change) for change in diff.changes],
        "table": _table(diff.table) if diff.table is not None else None,
        "notes": [values.text(note) for note in diff.notes],
        "findings": [],
        "not_compared": [
            {"what": left.what, "count": left.count, "reason": values.text(left.reason)} for left in diff.left_out
        ],
    }


def plain(value: Value) -> Json:
    """A value for JSON and YAML; NaN and infinities are null, dates and the like are text."""
    if isinstance(value, dict):
        return {values.text(key.text if isinstance(key, Key) else key): plain(inside) for key, inside in value.items()}
    if isinstance(value, list):
        return [plain(inside) for inside in value]
    return values.text(value.text) if isinstance(value, Special) else values.finite(value)


def _change(change: Change) -> dict[str, Json]:
    record: dict[str, Json] = {"path": values.text(path_text(change.path)), "kind": change.kind}
    for side, value, lacks in (("old", change.old, "Added"), ("new", change.new, "Removed")):
        record[side] = plain(value)
        record[f"{side}_type"] = None if change.kind == lacks else type_of(value)
    return record


def _side(side: DocumentSide) -> dict[str, Json]:
    return {
        "label": values.text(side.label),
        "kind": side.kind,
        "size": side.size if side.size >= 0 else None,
        "identity": values.text(side.identity),
        "encoding": side.encoding,
        "values": side.values,
        "notes": [values.text(note) for note in side.notes],
    }


def _table(table: TableChange) -> dict[str, Json]:
    return {
        "rows": list(table.rows),
        "rows_added": table.added,
        "rows_removed": table.removed,
        "rows_changed": table.changed,
        "rows_equal": table.equal,
        "cells_changed": table.cells,
        "matched": table.how,
        "columns": [_column(column) for column in table.columns],
    }


def _column(column: ColumnChange) -> dict[str, Json]:
    found = column.shift
    return {
        "name": values.text(column.name),
        "old": _figures(column.old),
        "new": _figures(column.new),
        "distribution": None
        if found is None
        else {
            "edges": list(found.edges), "old": list(found.old), "new": list(found.new),
            "kolmogorov_smirnov": found.ks, "population_stability_index": found.psi, "jensen_shannon": found.js,
            "exact": found.exact,
        },
    }  # fmt: skip


def _figures(column: Column | None) -> dict[str, Json] | None:
    if column is None:
        return None
    return {
        "type": column.type,
        "count": column.count,
        "missing": column.missing,
        "nan_count": column.nan,
        "mean": values.finite(column.mean),
        "std": values.finite(column.std),
        "min": values.finite(column.minimum),
        "max": values.finite(column.maximum),
        "shortest": column.shortest,
        "longest": column.longest,
    }

