"""The report: one object that says everything about a comparison, described by ``report.schema.json``."""

from __future__ import annotations

import os
from collections.abc import Iterable

from diffai.analyses.table import find
from diffai.analyses.update import UpdateSize, update_size
from diffai.comparison.result import (
    BesideChange,
    DirectoryDiff,
    FileChange,
    ModelDiff,
    ProductChange,
    Side,
    TensorChange,
    ValueChange,
)
from diffai.comparison.tensors import count
from diffai.model import Absent, NotRead
from diffai.views import values
from diffai.views.lines import statistics_of
from diffai.views.state import describe_state
from diffai.views.values import Json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.comparison.documents.result import DocumentChange

SCHEMA = "diffai.report/1"


def schema_path(name: str = "report") -> str:
    """Path of a JSON Schema file of the package: ``report`` or ``changes``."""
    return os.path.join(os.path.dirname(__file__), f"{name}.schema.json")


def report(diff: ModelDiff | DirectoryDiff, *, automatic: bool = True) -> dict[str, Json]:
    """The report of a model diff or of a directory diff; without ``automatic`` only findings that were asked for."""
    if isinstance(diff, DirectoryDiff):
        return _directory(diff, automatic)
    comparison = _comparison([diff])
    return {
        "schema": SCHEMA,
        "kind": "model",
        "equal": diff.equal,
        "old": _side(diff.old),
        "new": _side(diff.new),
        "options": _options(diff),
        "comparison": comparison,
        "param_diff": comparison["param_diff"],
        "tensors": [_tensor(change) for change in diff.ordered],
        "metadata": [_value(v) for v in diff.metadata],
        "training": [_value(v) for v in diff.training],
        "classes": [_value(v) for v in diff.classes],
        "graph": [_value(v) for v in diff.graph],
        "facts": [_value(v) for v in diff.facts],
        "parts": [{"kind": p.kind, "old": p.old, "new": p.new, "identical": p.identical} for p in diff.parts],
        "products": [_product(p) for p in diff.products],
        "beside": [_beside(b) for b in diff.beside],
        "not_expressible": list(diff.not_expressible),
        "findings": [values.finding(found) for found in (find(diff) if automatic else diff.findings)],
        "not_compared": _not_compared(diff),
    }


def comparison_of(diff: ModelDiff) -> dict[str, Json]:
    """The ``comparison`` of one model diff: its counts, and nothing of single tensors."""
    return _comparison([diff])


def _directory(diff: DirectoryDiff, automatic: bool) -> dict[str, Json]:
    diffs = [file.diff for file in diff.files if file.diff is not None]
    comparison = _comparison(diffs)
    equal, different, gone, come = diff.other_files
    return {
        "schema": SCHEMA,
        "kind": "directory",
        "equal": diff.equal,
        "old": {"label": values.text(diff.old)},
        "new": {"label": values.text(diff.new)},
        "comparison": comparison,
        "param_diff": comparison["param_diff"],
        "files": [_file(file, automatic) for file in diff.files],
        "documents": [_document(one) for one in diff.documents],
        "other_files": {"equal": equal, "different": different, "removed": gone, "added": come},
        "findings": [],
        "not_compared": [
            *({"what": n.what, "count": n.count, "reason": values.text(n.reason)} for n in diff.left_out),
            *({"what": values.text(f.path), "count": 1, "reason": values.text(f.reason)}
              for f in diff.files if f.unread),
            *({"what": values.text(one.path), "count": 1, "reason": values.text(one.reason)}
              for one in diff.documents if one.status == "unreadable"),
        ],
    }  # fmt: skip


def _file(file: FileChange, automatic: bool) -> dict[str, Json]:
    return {
        "path": values.text(file.path),
        "status": file.status,
        "reason": values.text(file.reason),
        "report": report(file.diff, automatic=automatic) if file.diff else None,
    }


def _document(one: DocumentChange) -> dict[str, Json]:
    from diffai.views.document_records import document_report

    return {
        "path": values.text(one.path),
        "status": one.status,
        "reason": values.text(one.reason),
        "report": document_report(one.diff) if one.diff is not None else None,
    }


def _side(side: Side) -> dict[str, Json]:
    return {
        "label": values.text(side.label),
        "state": "opened" if side.state is None else type(side.state).__name__,
        "reason": "" if side.state is None else describe_state(side.state),
        "format": side.format,
        "size": side.size if side.size >= 0 else None,
        "identity": values.text(side.identity),
        "digest": f"xxh3:{side.state.digest}" if isinstance(side.state, NotRead) and side.state.digest else None,
        "tensors": side.tensors,
        "parameters": side.parameters,
        "elements": side.elements,
        "dtypes": {values.text(name): elements for name, elements in side.dtypes},
        "problems": [values.problem(p) for p in side.problems],
    }


def _options(diff: ModelDiff) -> dict[str, Json]:
    o = diff.options
    return {
        "epsilon": o.epsilon,
        "rtol": o.rtol,
        "shape_only": o.shape_only,
        "filter": values.text(o.filter),
        "path": values.text(o.path),
        "ignore": [values.text(pattern) for pattern in o.ignore],
    }


def _comparison(diffs: Iterable[ModelDiff]) -> dict[str, Json]:
    """Counts over one or many model diffs; all integers but the shares and sizes at the end.

    The size of an update is one model's, so that it is null over several.
    """
    diffs = list(diffs)
    totals = count(change for diff in diffs for change in diff.tensors)
    size = update_size(diffs[0]) if len(diffs) == 1 else UpdateSize(reason="of several models")
    old = sum(diff.old.parameters for diff in diffs)
    new = sum(diff.new.parameters for diff in diffs)
    return {
        "param_diff": new - old,
        "parameters_old": old,
        "parameters_new": new,
        "structure_changes": sum(diff.structure_changes for diff in diffs),
        "tensors_added": totals.added,
        "tensors_removed": totals.removed,
        "tensors_renamed": totals.renamed,
        "tensors_reshaped": totals.reshaped,
        "dtype_changes": totals.cast,
        "tensors_changed": totals.changed,
        "tensors_unchanged": totals.unchanged,
        "tensors_not_compared": totals.uncompared,
        "equal_by_value": totals.equal_by_value,
        "metadata_changes": sum(len(diff.metadata) for diff in diffs),
        "training_changes": sum(len(diff.training) for diff in diffs),
        "training_tensors_added": totals.training.added,
        "training_tensors_removed": totals.training.removed,
        "training_tensors_changed": totals.training.changed,
        "class_changes": sum(len(diff.classes) for diff in diffs),
        "graph_changes": sum(len(diff.graph) for diff in diffs),
        "significant_changes": totals.significant,
        "parameters_compared": totals.comparable,
        "parameters_modified": totals.modified,
        "values_tolerated": totals.tolerated,
        "modified_share": totals.modified / totals.comparable if totals.comparable else None,
        "relative_l2_of_changed_tensors": values.finite(totals.changed_relative_l2),
        "update_size": values.finite(size.relative_l2),
        "update_cosine": values.finite(size.cosine),
        "update_size_reason": size.reason,
    }


def _tensor(change: TensorChange) -> dict[str, Json]:
    old, new = statistics_of(change)
    if change.old is None and change.new_summary:
        new = change.new_summary.statistics
    figures = change.figures
    record: dict[str, Json] = {
        "name": values.text(change.name),
        "status": list(change.status),
        "old_name": values.text(change.old.name) if change.old else None,
        "old": values.statistics(change.old, old) if change.old else None,
        "new": values.statistics(change.new, new) if change.new else None,
        "delta": values.delta(figures.delta) if figures and figures.delta else None,
        "cast": values.cast(figures.cast) if figures and figures.cast else None,
        "role": change.role,
    }
    if change.evidence:
        record["rename_evidence"] = change.evidence
    if change.spec.alias_of:
        record["tied_to"] = values.text(change.spec.alias_of)
    if figures and figures.as_bytes:
        record["compared_as"] = "bytes"
    elif change.spec.values:
        record["compared_as"] = f"decoded {change.spec.values}"
    if change.axes:
        record["permuted_axes"] = list(change.axes)
    if change.reason:
        record["reason"] = values.text(change.reason)
    return record


def _beside(change: BesideChange) -> dict[str, Json]:
    changes = [_value(value) for value in change.changes]
    return {"file": change.name, "changes": changes, "more": change.more, "problem": values.text(change.problem)}


def _product(change: ProductChange) -> dict[str, Json]:
    return {
        "name": values.text(change.name),
        "factors": [values.text(name) for name in change.factors],
        "old_rank": change.ranks[0],
        "new_rank": change.ranks[1],
        "old_scale": values.finite(change.scales[0]),
        "new_scale": values.finite(change.scales[1]),
        "old_l2": change.old_l2,
        "new_l2": change.new_l2,
        "l2": change.l2,
        "relative_l2": change.relative_l2,
        "cosine": change.cosine,
    }


def _value(change: ValueChange) -> dict[str, Json]:
    return {
        "key": values.text(change.key),
        "status": change.status,
        "old": values.finite(change.old),
        "new": values.finite(change.new),
    }


def _not_compared(diff: ModelDiff) -> list[dict[str, Json]]:
    entries = [{"what": n.what, "count": n.count, "reason": values.text(n.reason)} for n in diff.left_out]
    for which, side in (("old", diff.old), ("new", diff.new)):
        if side.state is not None and not isinstance(side.state, Absent):
            entries.append({"what": f"{which} side", "count": 1, "reason": describe_state(side.state)})
    return entries
