"""``diffai dvc stage``: a comparison as files that DVC can keep, plot and compare: metrics, plots data, reports.

The same inputs give the same bytes. Metrics are few and finite, since ``dvc metrics diff`` shows every one of them,
and rounds to five decimals: small figures stand there a second time as logarithms.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Literal

from diffai.analyses.nonfinite import worse as became_worse
from diffai.analyses.table import find
from diffai.analyses.update import matched, update_size
from diffai.comparison.result import ModelDiff, TensorChange
from diffai.errors import SourceError
from diffai.model import Delta
from diffai.views.markdown import render_markdown
from diffai.views.report import report
from diffai.views.values import Json, dump, finite, text

FILES = ("metrics.json", "tensors.json", "report.md", "report.json")

LOG_FLOOR = -20.0
"""In place of the logarithm of 0: smaller than that of any figure that a change of floating-point values has."""


def stage_files(diff: ModelDiff) -> dict[str, str]:
    """The content of each file by its name."""
    return {
        "metrics.json": dump(metrics(diff), "json"),
        "tensors.json": dump(tensor_rows(diff), "json"),
        "report.md": "\n".join(render_markdown(diff)).rstrip("\n") + "\n",
        "report.json": dump(_without_inode(report(diff)), "json"),
    }


def write_stage(diff: ModelDiff, folder: str) -> list[str]:
    """Write the files into ``folder``, which is made; their paths.

    Raises:
        SourceError: a file cannot be written.
    """
    paths = []
    try:
        os.makedirs(folder, exist_ok=True)
        for name, content in stage_files(diff).items():
            path = os.path.join(folder, name)
            temporary = f"{path}.tmp"
            with open(temporary, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
                file.write(content)
            os.replace(temporary, path)
            paths.append(path)
    except OSError as error:
        raise SourceError(f"{folder}: cannot write there: {(error.strerror or str(error)).lower()}") from error
    return paths


def metrics(diff: ModelDiff) -> dict[str, Json]:
    """The figures of the whole comparison: counts, the size of the update, and what must never grow unseen.

    ``update_size`` is L2(new - old) / L2(old) over all parameters that both sides have in one shape, of which
    ``compared_percent`` tells how many of the new side's that are; ``max_relative_l2``, ``min_cosine`` and ``max_abs``
    are the worst of any single parameter tensor. Training state and buffers take no part. A figure that is not
    defined (relative to zero, the cosine of a zero tensor) is null, which DVC leaves out, and never stands for a
    number: ``from_zero`` and ``to_zero`` count such tensors. ``*_log10`` is the decimal logarithm,
    :data:`LOG_FLOOR` for 0.
    """
    totals, size = diff.totals, update_size(diff)
    moved = [change for change in diff.tensors if matched(change) and _delta(change) is not None]
    ratios = [ratio for change in moved if (ratio := _relative_l2(change)) is not None]
    cosines = [cosine for change in moved if (cosine := _cosine(change)) is not None]
    known = bool(size.parameters) or bool(ratios)
    largest = max(ratios, default=0.0 if known else None)
    return {
        "tensors": {
            "changed": totals.changed,
            "added": totals.added,
            "removed": totals.removed,
            "renamed": totals.renamed,
            "reshaped": totals.reshaped,
            "cast": totals.cast,
            "not_finite": sum(1 for event in became_worse(diff) if event.change.role == "weight"),
            "from_zero": sum(1 for change in moved if _is_zero(change, "old") and not _is_zero(change, "new")),
            "to_zero": sum(1 for change in moved if _is_zero(change, "new") and not _is_zero(change, "old")),
        },
        "parameters": diff.new.parameters,
        "parameters_delta": diff.new.parameters - diff.old.parameters,
        "compared_percent": 100.0 * size.parameters / size.parameters_new if size.parameters_new else 0.0,
        "modified_percent": 100.0 * totals.modified / totals.comparable if totals.comparable else None,
        "update_size": finite(size.relative_l2),
        "update_size_log10": _log10(size.relative_l2),
        "cosine": finite(size.cosine),
        "max_relative_l2": finite(largest),
        "max_relative_l2_log10": _log10(largest),
        "min_cosine": min(cosines, default=1.0 if known and not moved else None),
        "max_abs": finite(max((delta.max_abs for c in moved if (delta := _delta(c)) is not None),
                              default=0.0 if known else None)),
        "findings": _findings(diff),
    }  # fmt: skip


_RISKS = {"low": 0, "medium": 1, "high": 2}


def _findings(diff: ModelDiff) -> dict[str, Json]:
    """What the analyses say, in numbers: of what the two models themselves hold, since these are all that DVC watches.

    ``anomalies`` counts them; ``risk`` is 0 (low), 1 (medium) or 2 (high), null where it could not be judged;
    ``metrics_worse`` counts recorded metrics that became worse, null where none is recorded on both sides.
    """
    names = ("anomaly_detection", "risk_assessment", "metric_comparison")
    found = {each.name: each for each in find(diff, names) if each.status == "found"}
    anomalies, metrics_ = found.get("anomaly_detection"), found.get("metric_comparison")
    listed = anomalies.fields["anomalies"] if anomalies is not None else ()
    risk = found["risk_assessment"].fields["level"] if "risk_assessment" in found else None if diff.unread else "low"
    worse = metrics_.fields["worse"] if metrics_ is not None else None
    return {
        "anomalies": len(listed) if isinstance(listed, tuple) and not diff.unread else None,
        "risk": _RISKS[str(risk)] if risk is not None else None,
        "metrics_worse": worse if isinstance(worse, int) else None,
    }


def tensor_rows(diff: ModelDiff) -> list[Json]:
    """One row for each tensor of the model on either side, in natural order; ``index`` is the x axis of a plot.

    Rows without figures (added, removed, reshaped, not compared) stand there with nulls, so that the same index is
    the same tensor as long as the model has the same names. Training state is left out.
    """
    rows: list[Json] = []
    for change in diff.tensors:
        if change.role == "training":
            continue
        same, delta = change.status[0] == "identical", _delta(change)
        ratio = 0.0 if same else _relative_l2(change)
        row: dict[str, Json] = {
            "index": len(rows),
            "tensor": text(change.name),
            "status": " ".join(change.status),
            "relative_l2": finite(ratio),
            "relative_l2_log10": _log10(ratio),
            "cosine": 1.0 if same else _cosine(change),
            "max_abs": 0.0 if same else finite(delta.max_abs) if delta is not None else None,
            "changed_percent": 0.0 if same else _changed_percent(delta),
        }
        rows.append(row)
    return rows


def _changed_percent(delta: Delta | None) -> float | None:
    return 100.0 * delta.changed_count / delta.element_count if delta is not None and delta.element_count else None


def _delta(change: TensorChange) -> Delta | None:
    """Figures of a pair of equal shape whose values were compared as numbers and are not the same bytes."""
    figures = change.figures
    return figures.delta if figures is not None and not figures.as_bytes else None


def _relative_l2(change: TensorChange) -> float | None:
    """Relative to the old values; None where those are all zero, or nothing was compared."""
    delta = _delta(change)
    if delta is None:
        return None
    return 0.0 if delta.relative_l2 is None and not delta.l2 else delta.relative_l2


def _cosine(change: TensorChange) -> float | None:
    delta = _delta(change)
    return delta.cosine if delta is not None else None


def _is_zero(change: TensorChange, side: Literal["old", "new"]) -> bool:
    """Whether all (jointly finite) elements of a side are zero."""
    delta = _delta(change)
    return delta is not None and not (delta.old_l2 if side == "old" else delta.new_l2)


def _log10(value: float | None) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return max(math.log10(value), LOG_FLOOR) if value > 0 else LOG_FLOOR


def _without_inode(data: dict[str, Json]) -> dict[str, Json]:
    """The report without what depends on the machine: a file's identity is its inode and times."""
    for name in ("old", "new"):
        side = data.get(name)
        if isinstance(side, dict) and str(side.get("identity", "")).startswith("file:"):
            data[name] = {key: value for key, value in side.items() if key != "identity"}
    return data


def stage_definition(
    name: str, baseline: str, model: str, folder: str, options: Sequence[str] = ()
) -> dict[str, Mapping[str, object]]:
    """The stage and its plots as they stand in a ``dvc.yaml``: ``{"stages": ..., "plots": ...}``.

    The baseline is a dependency, so that DVC knows when the comparison is out of date; outputs are small text for
    git (``cache: false``), which also keeps DVC's run cache out of it.
    """
    import shlex

    out = folder.rstrip("/")
    command = shlex.join(["diffai", "dvc", "stage", baseline, model, "--out", out, *options])
    plain = {"cache": False}
    stage = {
        "cmd": command,
        "deps": [baseline, model],
        "metrics": [{f"{out}/metrics.json": plain}],
        "outs": [{f"{out}/{file}": plain} for file in ("report.json", "report.md", "tensors.json")],
    }
    plot = {"x": "index", "y": "relative_l2_log10", "title": "update of each tensor (log10 of its relative L2)",
            "template": "linear"}  # fmt: skip
    return {"stages": {name: stage}, "plots": {f"{out}/tensors.json": plot}}
