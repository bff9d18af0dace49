"""A model's history for programs: JSON and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence

from diffai.analyses.training import TrainingState
from diffai.history.entries import LogEntry, ModelLog
from diffai.history.figures import CommitFigures, Figure, Movement
from diffai.views import values
from diffai.views.overview import NOT_COMPARABLE
from diffai.views.report import report
from diffai.views.state import describe_state
from diffai.views.style import escape
from diffai.views.values import Json, dump

SCHEMA = "diffai.log/1"


def as_json(logs: Sequence[ModelLog]) -> str:
    """One object; a list of such where there are several models."""
    reports = [log_report(log) for log in logs]
    return dump(reports[0] if len(reports) == 1 else reports, "json")


def log_report(log: ModelLog, *, details: bool = True) -> dict[str, Json]:
    """A history as one object, entries newest first; with ``details`` the comparisons that were asked for."""
    return {
        "schema": SCHEMA,
        "path": values.text(log.path),
        "level": log.level,
        "compare_to": values.text(log.compare_to),
        "versions": log.versions,
        "left_out": log.left_out,
        "earlier_path": values.text(log.earlier_path) or None,
        "earlier_by": _by(log.earlier_exactly) if log.earlier_path else None,
        "entries": [entry_record(entry, details=details) for entry in log.entries],
    }


def entry_record(entry: LogEntry, *, details: bool = True) -> dict[str, Json]:
    """One commit. Figures that were not looked at, or are not defined, are null."""
    commit, version = entry.commit, entry.version
    record: dict[str, Json] = {
        "commit": commit.hash,
        "parents": list(commit.parents),
        "author": values.text(commit.author),
        "email": values.text(commit.email),
        "date": commit.date,
        "subject": values.text(commit.subject),
        "kind": entry.kind,
        "path": values.text(version.path) if version is not None else None,
        "holder": version.holder if version is not None else None,
        "content": values.text(version.content) if version is not None else None,
        "renamed_from": values.text(entry.renamed_from) or None,
        "renamed_by": _by(entry.renamed_exactly) if entry.renamed_from else None,
        "moved_from": entry.moved_from or None,
        "compared_with": values.text(entry.compared_with) or None,
        "history_cut": entry.cut,
        "state": type(entry.state).__name__ if entry.state is not None else "opened",
        "reason": describe_state(entry.state) if entry.state is not None else "",
        **_figures(entry.figures),
    }
    if details and entry.diff is not None:
        record["report"] = report(entry.diff)
    return record


def _by(exactly: bool) -> str:
    """How a renamed file was known."""
    return "content" if exactly else "tensors"


def _figures(figures: CommitFigures | None) -> dict[str, Json]:
    if figures is None:
        return {"figures": None}
    moved = figures.movement
    return {
        "figures": {
            "level": figures.level,
            "kinds": list(figures.kinds),
            "format": figures.format,
            "size": figures.size if figures.size >= 0 else None,
            "tensors": figures.tensors,
            "parameters": figures.parameters,
            "param_diff": figures.parameters - figures.parameters_before,
            "dtypes": {values.text(name): count for name, count in figures.dtypes},
            "added": figures.added,
            "removed": figures.removed,
            "changed": figures.changed if figures.level != "header" else None,
            "renamed": figures.renamed,
            "reshaped": figures.reshaped,
            "cast": figures.cast,
            "dtype_changes": [{"old": o, "new": n, "tensors": count} for o, n, count in figures.casts],
            "shape_changes": [
                {"name": values.text(name), "old": list(old), "new": list(new)} for name, old, new in figures.reshapes
            ],
            "metadata": figures.metadata,
            "classes": figures.classes,
            "graph": figures.graph,
            "training": _training(figures.training),
            "parameters_modified": figures.modified if figures.level == "values" else None,
            "parameters_compared": figures.compared if figures.level == "values" else None,
            **_movement(moved),
            "largest": _group(moved.largest.name, moved.largest.relative) if moved and moved.largest else None,
            "epoch": values.finite(figures.epoch),
            "learning_rate": values.finite(figures.learning_rate),
            "metrics": {values.text(name): values.finite(value) for name, value in figures.metrics},
            "findings": [
                {"name": each.name, "severity": each.severity, "text": values.text(each.text), "judged": each.judged}
                for each in figures.findings
            ],
            "groups": [_group(group.name, group.relative) for group in moved.groups] if moved else [],
        }
    }


def _movement(moved: Movement | None) -> dict[str, Json]:
    """The figures of the whole model, and of how many parameters each of them is."""
    named = (
        ("update_size", "update_parameters", moved.update if moved else Figure()),
        ("cosine", "", moved.cosine if moved else Figure()),
        ("drift", "drift_parameters", moved.drift if moved else Figure()),
        ("update_cosine", "update_cosine_parameters", moved.turn if moved else Figure()),
    )
    record: dict[str, Json] = {}
    for name, count, figure in named:
        record[name] = values.finite(figure.value)
        if count:
            record[count] = figure.parameters if moved else None
    events: Json = [{"event": kind, "tensors": tensors} for kind, tensors in moved.events] if moved else []
    return record | {
        "not_comparable": list(moved.not_comparable) if moved else [],
        "norm": values.finite(moved.norm) if moved else None,
        "nonfinite": moved.nonfinite if moved else None,
        "nonfinite_events": events,
    }


def _training(state: TrainingState | None) -> Json:
    return {"change": state.kind, "tensors": state.tensors, "values": state.values} if state is not None else None


def _group(name: str, relative: float | None) -> dict[str, Json]:
    return {"name": values.text(name), "update_size": values.finite(relative)}


_COLUMNS = (
    "path", "commit", "date", "author", "subject", "kind", "holder", "size", "tensors", "parameters", "added",
    "removed", "changed", "renamed", "reshaped", "cast", "update_size", "cosine", "drift", "update_cosine", "norm",
    "nonfinite", "largest", "epoch", "learning_rate", "reason",
)  # fmt: skip


def as_csv(logs: Sequence[ModelLog]) -> str:
    """One row a commit, with a heading; empty where there is no figure."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for log in logs:
        for entry in log.entries:
            record = entry_record(entry)
            flat = record | (record["figures"] or {})
            flat["path"] = flat["path"] or log.path
            flat["largest"] = flat["largest"]["name"] if flat.get("largest") else None
            writer.writerow([_cell(flat.get(column)) for column in _COLUMNS])
    return out.getvalue()


def _cell(value: Json) -> Json:
    """A cell that no spreadsheet takes for a formula."""
    if value is None:
        return ""
    if isinstance(value, str):
        text = escape(value, longest=0)
        return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text
    return value


def shown(figure: Figure, written: Callable[[float], str]) -> str:
    """A figure as it is written; ``n/c`` where it is not comparable, "" where there is none."""
    if not figure.comparable:
        return NOT_COMPARABLE
    return written(figure.value) if figure.value is not None else ""
