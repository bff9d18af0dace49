"""``diffai dvc stage``: a comparison as files that DVC can keep, plot and compare: metrics, plots data, reports.

The same inputs give the same bytes. Metrics are few and finite, since ``dvc metrics diff`` shows every one of them,
and rounds to five decimals: small figures stand there a second time as logarithms.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence

from diffai.comparison.result import ModelDiff, TensorChange
from diffai.errors import SourceError
from diffai.model import Delta
from diffai.views.markdown import render_markdown
from diffai.views.report import report
from diffai.views.values import Json, dump, text

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

    ``*_log10`` is the decimal logarithm, :data:`LOG_FLOOR` for 0. ``relative_l2`` is L2(update) / L2(old).
    """
    totals = diff.totals
    changed = [change for change in diff.tensors if change.figures is not None and change.figures.delta is not None]
    ratios = [change.relative_l2 for change in changed if math.isfinite(change.relative_l2)]
    total = totals.changed_relative_l2 or 0.0
    total = total if math.isfinite(total) else 0.0
    largest = max(ratios, default=0.0)
    return {
        "tensors": {
            "changed": totals.changed,
            "added": totals.added,
            "removed": totals.removed,
            "renamed": totals.renamed,
            "reshaped": totals.reshaped,
            "cast": totals.cast,
            "not_finite": sum(1 for change in changed if _nonfinite(change)),
        },
        "parameters": diff.new.parameters,
        "parameters_delta": diff.new.parameters - diff.old.parameters,
        "modified_percent": 100.0 * totals.modified / totals.comparable if totals.comparable else 0.0,
        "relative_l2": total,
        "relative_l2_log10": _log10(total),
        "max_relative_l2": largest,
        "max_relative_l2_log10": _log10(largest),
        "min_cosine": min(_cosines(changed), default=1.0),
        "max_abs": max((_finite(_delta(change).max_abs) for change in changed), default=0.0),
    }


def tensor_rows(diff: ModelDiff) -> list[Json]:
    """One row for each tensor whose values were compared, in natural order; ``index`` is the x axis of a plot."""
    rows: list[Json] = []
    for change in diff.tensors:
        if change.figures is None and change.status[0] != "identical":
            continue
        delta = change.figures.delta if change.figures is not None else None
        ratio = _finite(change.relative_l2) if delta is not None else 0.0
        row: dict[str, Json] = {
            "index": len(rows),
            "tensor": text(change.name),
            "relative_l2": ratio,
            "relative_l2_log10": _log10(ratio),
            "cosine": delta.cosine if delta is not None and delta.cosine is not None else 1.0,
            "max_abs": _finite(delta.max_abs) if delta is not None else 0.0,
            "changed_percent": _changed_percent(delta),
        }
        rows.append(row)
    return rows


def _changed_percent(delta: Delta | None) -> float:
    return 100.0 * delta.changed_count / delta.element_count if delta is not None and delta.element_count else 0.0


def _delta(change: TensorChange) -> Delta:
    assert change.figures is not None and change.figures.delta is not None
    return change.figures.delta


def _nonfinite(change: TensorChange) -> bool:
    return bool(_delta(change).nonfinite_count)


def _cosines(changes: Sequence[TensorChange]) -> list[float]:
    cosines = (_delta(change).cosine for change in changes)
    return [cosine for cosine in cosines if cosine is not None]


def _finite(value: float) -> float:
    """DVC's JSON readers know no infinity: the largest number stands for it."""
    return value if math.isfinite(value) else 1.7976931348623157e308


def _log10(value: float) -> float:
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
