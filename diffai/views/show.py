"""``diffai show`` for programs: one model as one object."""

from __future__ import annotations

from diffai.comparison.summary import ModelSummary
from diffai.model import TensorSpec, TensorSummary
from diffai.views import values
from diffai.views.values import Json

SCHEMA = "diffai.show/1"


def show_report(model: ModelSummary) -> dict[str, Json]:
    """The same as one object."""
    return {
        "schema": SCHEMA,
        "label": values.text(model.label),
        "format": model.format,
        "size": model.size if model.size >= 0 else None,
        "parameters": model.parameters,
        "elements": model.elements,
        "dtypes": {values.text(name): elements for name, elements in model.dtypes},
        "metadata": {values.text(k): values.finite(v) for k, v in model.metadata.items()},
        "training": {values.text(k): values.finite(v) for k, v in model.training.items()},
        "classes": {values.text(path): values.text(name) for path, name in model.classes.items()},
        "graph": {values.text(key): values.text(text) for key, text in model.graph.items()},
        "facts": {values.text(k): values.finite(v) for k, v in model.facts.items()},
        "problems": [values.problem(p) for p in model.problems],
        "tensors": [_tensor(spec, summary) for spec, summary in zip(model.specs, model.summaries, strict=True)],
        "left_out": model.left_out,
    }


def _tensor(spec: TensorSpec, summary: TensorSummary) -> dict[str, Json]:
    record: dict[str, Json] = {"name": values.text(spec.name), **values.statistics(spec, summary.statistics)}
    record["role"] = spec.role
    if spec.alias_of:
        record["tied_to"] = values.text(spec.alias_of)
    if summary.digest:
        record["xxh3"] = summary.digest
    return record
