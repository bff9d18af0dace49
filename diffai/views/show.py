"""``diffai show``: one model as an aligned table, or as one object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from diffai.comparison.summary import ModelSummary
from diffai.model import Statistics, TensorSpec, TensorSummary, natural_key
from diffai.views import values
from diffai.views.lines import scalar
from diffai.views.style import escape, known_mean, number, paint, plural, shape, size
from diffai.views.values import Json

SCHEMA = "diffai.show/1"
_WIDEST_NAME = 60
_MOST_VALUES = 40


def show_text(model: ModelSummary, *, color: bool = False, verbose: bool = False) -> list[str]:
    """A heading, problems, metadata, then one line a tensor."""
    dtypes = ", ".join(f"{escape(name)} {elements:,}" for name, elements in model.dtypes)
    heading = f"{escape(model.label)}: {model.format}, {plural(len(model.specs), 'tensor')}, "
    heading += plural(model.parameters, "parameter")
    heading += f", {size(model.size)}" if model.size >= 0 else ""
    lines = [paint(heading, "#", color)]
    if len(model.dtypes) > 1:
        lines.append(f"  elements by dtype: {dtypes}")
    for problem in model.problems:
        if problem.severity == "error" or verbose:
            lines.append(paint(f"! {escape(problem.message, longest=500)} ({problem.code})", "!", color))
    classes = (f"class {escape(path)} = {escape(name)}" for path, name in _in_order(model.classes))
    lines += _values(classes, "classes", verbose)
    graph = (f"{escape(key)} = {escape(text)}" for key, text in model.graph.items())
    lines += _values(graph, "entries of the graph", verbose)
    facts = (f"{escape(key)} = {scalar(value)}" for key, value in model.facts.items())
    lines += _values(facts, "facts", verbose)
    metadata = (f"__metadata__.{escape(key)} = {scalar(value)}" for key, value in model.metadata.items())
    lines += _values(metadata, "metadata keys", verbose)
    training = (f"{escape(key)} = {scalar(value)}" for key, value in model.training.items())
    lines += _values(training, "training values", verbose)
    lines += _table(model)
    if model.left_out:
        lines.append(f"({plural(model.left_out, 'tensor')} not matching --filter left out)")
    if not model.valued:
        lines.append("(headers only: values were not read)")
    return lines


def _in_order(classes: Mapping[str, str]) -> list[tuple[str, str]]:
    """By natural order of the paths, so that an object stands before its parts."""
    return sorted(classes.items(), key=lambda item: natural_key(item[0]))


def _values(texts: Iterable[str], what: str, verbose: bool) -> list[str]:
    """One line each; of very many only the first ones, and how many more there are."""
    lines = [f"  {text}" for text in texts]
    if len(lines) <= _MOST_VALUES or verbose:
        return lines
    return [*lines[:_MOST_VALUES], f"  … {len(lines) - _MOST_VALUES:,} more {what} (-v lists them)"]


def _table(model: ModelSummary) -> list[str]:
    rows = [_row(spec, summary) for spec, summary in zip(model.specs, model.summaries, strict=True)]
    if not rows:
        return []
    header = ["name", "dtype", "shape"] + (["mean", "std", "min", "max", ""] if model.valued else [""])
    rows = [[*row[:-1], *[""] * (len(header) - len(row)), row[-1]] for row in rows]  # of values that are not at hand
    rows.insert(0, header)
    columns = [_aligned(column, place) for place, column in enumerate(zip(*rows, strict=True))]
    return ["  " + "  ".join(cells).rstrip() for cells in zip(*columns, strict=True)]


def _aligned(column: Sequence[str], place: int) -> list[str]:
    """Names, dtypes and shapes to the left, figures to the right; a very long name makes no wide column."""
    width = max(map(len, column))
    if 3 <= place <= 6:
        return [cell.rjust(width) for cell in column]
    width = width if place else min(width, _WIDEST_NAME)
    return [cell.ljust(width) for cell in column]


def _row(spec: TensorSpec, summary: TensorSummary) -> list[str]:
    cells = [escape(spec.name), escape(spec.dtype), shape(spec.shape)]
    notes = []
    if summary.statistics is not None:
        s = summary.statistics
        cells += [number(known_mean(s, spec.values_dtype)), number(s.std), number(s.min), number(s.max)]
        notes += strange_counts(s)
    if spec.lacking:
        notes.append(escape(spec.lacking))
    if spec.role == "training":
        notes.append("training state")
    if spec.alias_of:
        notes.append(f"tied to {escape(spec.alias_of)}")
    if spec.encoding:
        notes.append(escape(spec.encoding))
    if summary.digest:
        notes.append(f"xxh3:{summary.digest}")
    return [*cells, ", ".join(notes)]


def strange_counts(s: Statistics) -> list[str]:
    """``2 NaN``, ``1 +Inf``; nothing for a tensor of finite values."""
    pairs = (("NaN", s.nan_count), ("+Inf", s.pos_inf_count), ("-Inf", s.neg_inf_count))
    return [f"{count:,} {label}" for label, count in pairs if count]


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
