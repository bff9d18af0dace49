"""The change list: an array, one record a change, each an object with one key and positional values.

``[]`` means equal in all that was compared; ``uncompared_note`` says what was not. Made for
``jq '.[] | select(.TensorShapeChanged)'`` and ``len(changes)``.
"""

from __future__ import annotations

from collections.abc import Collection

from diffai.analyses.row import record_of
from diffai.comparison.result import DirectoryDiff, LeftOut, ModelDiff, TensorChange
from diffai.model import Absent
from diffai.views import values
from diffai.views.lines import left_text, statistics_of
from diffai.views.state import describe_state
from diffai.views.values import Json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.comparison.documents.result import DocumentChange


def change_list(
    diff: ModelDiff | DirectoryDiff, *, findings: Collection[str] = ()
) -> list[dict[str, Json]]:
    """All records of a model diff or of a directory diff (names as ``relpath:tensor``).

    Of the findings only those of the analyses named in ``findings``, behind the changes of their model.
    """
    if isinstance(diff, ModelDiff):
        return [*_model(diff, ""), *_findings(diff, "", findings)]
    records: list[dict[str, Json]] = []
    for file in diff.files:
        path = values.text(file.path)
        if file.status == "added":
            records.append({"FileAdded": [path]})
        elif file.status == "removed":
            records.append({"FileRemoved": [path]})
        elif file.diff is None:
            records.append({"FileUnreadable": [path, values.text(file.reason)]})
        else:
            records += _model(file.diff, f"{path}:")
        if file.diff is not None:
            records += _findings(file.diff, path, findings)
    for one in diff.documents:
        records += _document(one)
    return records


def uncompared_note(diff: ModelDiff | DirectoryDiff) -> str:
    """What the change list has no record of: values that were not compared, and why; "" where all were."""
    diffs = [diff] if isinstance(diff, ModelDiff) else [file.diff for file in diff.files if file.diff is not None]
    counts: dict[str, int] = {}
    for left in (left for each in diffs for left in each.left_out if left.what == "tensor pairs"):
        counts[left.reason] = counts.get(left.reason, 0) + left.count
    return "; ".join(left_text(LeftOut("tensor pairs", count, reason)) for reason, count in counts.items())


def _document(one: DocumentChange) -> list[dict[str, Json]]:
    from diffai.views.document_records import document_changes

    path = values.text(one.path)
    if one.status == "unreadable":
        return [{"FileUnreadable": [path, values.text(one.reason)]}]
    if one.diff is None:
        return [{"FileAdded" if one.status == "added" else "FileRemoved": [path]}]
    return document_changes(one.diff, f"{path}:")


def _findings(diff: ModelDiff, path: str, names: Collection[str]) -> list[dict[str, Json]]:
    """Findings that were asked for, each a record of its own kind; ``file`` says of which model, among several."""
    where = {"file": path} if path else {}
    return [{record_of(found.name): [{**where, **values.finding(found)}]}
            for found in diff.findings if found.name in names]  # fmt: skip


def _model(diff: ModelDiff, prefix: str) -> list[dict[str, Json]]:
    records: list[dict[str, Json]] = []
    for side in (diff.old, diff.new):
        if side.state is not None and not isinstance(side.state, Absent) and not diff.equal:
            label = prefix.removesuffix(":") or values.text(side.label)
            records.append({"FileUnreadable": [label, describe_state(side.state)]})
    for change in diff.ordered:
        if change.differs:
            records += _tensor(change, prefix)
    for kind, changed in (("ClassChanged", diff.classes), ("GraphChanged", diff.graph)):
        for value in changed:
            key = prefix + values.text(value.key)
            records.append({kind: [key, values.finite(value.old), values.finite(value.new)]})
    for value in diff.metadata:
        records.append(
            {"MetadataChanged": [prefix + values.text(value.key), values.finite(value.old), values.finite(value.new)]}
        )
    for value in diff.training:
        key = prefix + values.text(value.key)
        records.append({"TrainingStateChanged": [key, values.finite(value.old), values.finite(value.new)]})
    return records


def _tensor(change: TensorChange, prefix: str) -> list[dict[str, Json]]:
    name = prefix + values.text(change.name)
    if change.role == "training":
        return [{"TrainingStateChanged": [name, *_both_sides(change)]}]
    if change.status[0] == "added":
        return [{"TensorAdded": [name, _alone(change)]}]
    if change.status[0] == "removed":
        return [{"TensorRemoved": [name, _alone(change)]}]
    assert change.old is not None and change.new is not None
    records: list[dict[str, Json]] = []
    for status in change.status:
        if status == "renamed":
            records.append({"TensorRenamed": [prefix + values.text(change.old.name), name]})
        elif status == "reshaped":
            records.append({"TensorShapeChanged": [name, list(change.old.shape), list(change.new.shape)]})
        elif status == "cast":
            records.append({"TensorDtypeChanged": [name, values.text(change.old.dtype), values.text(change.new.dtype)]})
        elif status == "changed":
            assert change.figures is not None and change.figures.delta is not None
            old, new = values.both_statistics(change)
            records.append({"TensorStatsChanged": [name, old, new, values.delta(change.figures.delta)]})
    return records


def _both_sides(change: TensorChange) -> list[dict[str, Json] | None]:
    """A tensor of training state on both sides, with the statistics that are known; None where it is not."""
    old, new = statistics_of(change)
    return [
        values.statistics(spec, figures) if spec is not None else None
        for spec, figures in ((change.old, old), (change.new, new))
    ]


def _alone(change: TensorChange) -> dict[str, Json]:
    summary = change.new_summary or change.old_summary
    return values.statistics(change.spec, summary.statistics if summary else None)
