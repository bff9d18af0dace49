"""``diffai show``: what a model is, what is wrong, then its parts with their share of the parameters; or one object."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from diffai.comparison.summary import ModelSummary
from diffai.model import Statistics, TensorSpec, TensorSummary, natural_key
from diffai.views import values
from diffai.views.blocks import Bar, Block, Cell, Column, Gap, Table, Tone, View, Word, few, line
from diffai.views.grouping import grouped
from diffai.views.lines import figure, scalar
from diffai.views.style import known_mean, number, plural, shape, share_text, short, size
from diffai.views.values import Json

SCHEMA = "diffai.show/1"
_MOST_VALUES = 8
_FEW = 16
"""Tensors that are all listed, without being asked for."""


def show_view(model: ModelSummary, *, tensors: bool = False, verbose: bool = False) -> View:
    """The blocks of one model; ``tensors``: list each instead of the parts."""
    statistics = {spec.name: each.statistics for spec, each in zip(model.specs, model.summaries, strict=True)}
    blocks: list[Block] = [_headline(model)]
    blocks += _problems(model, verbose)
    blocks += _strange(statistics)
    facets = (
        ("CLASSES", [f"{path} = {model.classes[path]}" for path in sorted(model.classes, key=natural_key)]),
        ("GRAPH", [f"{key} = {text}" for key, text in model.graph.items()]),
        ("FACTS", [f"{key} = {figure(value)}" for key, value in model.facts.items()]),
        ("METADATA", [f"{key} = {scalar(value)}" for key, value in model.metadata.items()]),
        ("TRAINING", [f"{key} = {scalar(value)}" for key, value in model.training.items()]),
    )  # fmt: skip
    for label, texts in facets:
        if texts:
            blocks.append(few(label, texts, len(texts) if verbose else _MOST_VALUES))
    if model.specs:
        listed = tensors or verbose or len(model.specs) <= _FEW
        blocks += [Gap(), _tensors(model, statistics) if listed else _parts(model, statistics)]
    if model.left_out:
        blocks.append(line(f"({plural(model.left_out, 'tensor')} not matching --filter left out)", indent=1))
    if not model.valued:
        blocks.append(line("(headers only: values were not read)", indent=1))
    return tuple(blocks)


def _headline(model: ModelSummary) -> Block:
    """``model.pt   torch · F32 · 136 tensors · 412,525 params · 1.7 MB``."""
    names = [name for name, _ in model.dtypes]
    dtypes = "/".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    facts = [model.format, dtypes, plural(len(model.specs), "tensor"), plural(model.parameters, "param")]
    facts += [size(model.size)] if model.size >= 0 else []
    return line(Word(model.label, "name"), "   " + " · ".join(fact for fact in facts if fact))


def _problems(model: ModelSummary, verbose: bool) -> Iterable[Block]:
    for problem in model.problems:
        if problem.severity == "error" or verbose:
            yield line(Word(f"! {problem.message} ({problem.code})", "problem"), indent=1, wraps=True)


def _strange_counts(s: Statistics) -> list[str]:
    """``2 NaN``, ``1 +Inf``; nothing for a tensor of finite values."""
    pairs = (("NaN", s.nan_count), ("+Inf", s.pos_inf_count), ("-Inf", s.neg_inf_count))
    return [f"{count:,} {label}" for label, count in pairs if count]


def _nonfinite(statistics: Statistics) -> int:
    return statistics.nan_count + statistics.pos_inf_count + statistics.neg_inf_count


def _strange(statistics: Mapping[str, Statistics | None]) -> Iterable[Block]:
    """Tensors with values that are no numbers, loud."""
    found = [(name, s) for name, s in statistics.items() if s is not None and _nonfinite(s)]
    for name, s in found[:_MOST_VALUES]:
        yield line(Word(f"! {name}: {', '.join(_strange_counts(s))}", "problem"), indent=1, wraps=True)
    if len(found) > _MOST_VALUES:
        yield line(Word(f"! {len(found) - _MOST_VALUES:,} more tensors with NaN or Inf", "problem"), indent=1)


def _norm(statistics: Iterable[Statistics | None]) -> float | None:
    """L2 of all finite values; None where a tensor's are not known."""
    total = 0.0
    for s in statistics:
        if s is None or s.mean is None or s.std is None:
            return None
        total = math.hypot(total, math.sqrt(s.element_count - _nonfinite(s)) * math.hypot(s.mean, s.std))
    return total


def _largest(statistics: Iterable[Statistics | None]) -> float | None:
    found: list[float] = []
    for s in statistics:
        if s is None or s.min is None or s.max is None:
            return None
        found.append(max(abs(s.min), abs(s.max)))
    return max(found, default=None)


def _parts(model: ModelSummary, statistics: Mapping[str, Statistics | None]) -> Table:
    """A row a part of the model, the largest first; the bar is its share of the parameters."""
    specs = {spec.name: spec for spec in model.specs}
    weights = [spec.name for spec in model.specs if spec.role != "training"]
    total = max(1, model.parameters)
    share_of = {name: specs[name].elements / total for name in weights if specs[name].is_parameter}
    rows = []
    for group in grouped(weights, share_of):
        some = [specs[name] for name in group.names]
        share = sum(share_of.get(name, 0.0) for name in group.names)
        known = [statistics[name] for name in group.names]
        rows.append((-share, natural_key(group.title), _part(group.title, some, share, known)))
    rows.sort(key=lambda row: row[:2])
    columns = (
        Column("module", shrinks=True, literal=True), Column("tensors", "right", rank=3), Column("params", "right"),
        Column("share", "right"), Column("", rank=4), Column("dtype", rank=5), Column("norm", "right", rank=1),
        Column("max|w|", "right", rank=2),
    )  # fmt: skip
    used = [n for n, column in enumerate(columns) if model.valued or column.title not in ("norm", "max|w|")]
    training = len(model.specs) - len(weights)
    hidden = f"{plural(training, 'tensor')} of training state; " if training else ""
    hidden += f"{plural(len(model.specs), 'tensor')} in all"
    cells = tuple(tuple(row[2][n] for n in used) for row in rows)
    return Table(tuple(columns[n] for n in used), cells, hidden, "--tensors lists them")


def _part(
    title: str, specs: Sequence[TensorSpec], share: float, known: Sequence[Statistics | None]
) -> tuple[Cell, ...]:
    parameters = sum(spec.elements for spec in specs if spec.is_parameter)
    dtypes = dict.fromkeys(spec.dtype for spec in specs)
    return (
        Word(title), Word(f"{len(specs):,}"), Word(f"{parameters:,}"), Word(share_text(share)),
        Bar(share or None, linear=True), Word("/".join(list(dtypes)[:2]) + ("…" if len(dtypes) > 2 else "")),
        Word(_short(_norm(known))), Word(_short(_largest(known))),
    )  # fmt: skip


def _number(value: float | None) -> str:
    return "" if value is None else number(value)


def _short(value: float | None) -> str:
    return "" if value is None else short(value)


def _tensors(model: ModelSummary, statistics: Mapping[str, Statistics | None]) -> Table:
    """A row a tensor, in natural order."""
    rows = []
    for spec, summary in zip(model.specs, model.summaries, strict=True):
        s = statistics[spec.name]
        mean, std = (_number(known_mean(s, spec.values_dtype)), _number(s.std)) if s is not None else ("", "")
        reach = f"{number(s.min)} .. {number(s.max)}" if s is not None and s.min is not None else ""
        notes = _strange_counts(s) if s is not None else []
        notes += [spec.lacking] if spec.lacking else []
        notes += ["training state"] if spec.role == "training" else []
        notes += [f"tied to {spec.alias_of}"] if spec.alias_of else []
        notes += [spec.encoding] if spec.encoding else []
        notes += [f"xxh3:{summary.digest}"] if summary.digest else []
        tone: Tone = "problem" if s is not None and _nonfinite(s) else "plain"
        cells: list[Cell] = [Word(spec.name, tone), Word(spec.dtype), Word(shape(spec.shape))]
        cells += [Word(text) for text in (f"{spec.elements:,}", mean, std, reach)]
        rows.append((*cells, Word(", ".join(notes), tone)))
    columns = (
        Column("tensor", shrinks=True, literal=True), Column("dtype"), Column("shape"),
        Column("elements", "right", rank=5), Column("mean", "right", rank=2), Column("std", "right", rank=1),
        Column("min .. max", "right", rank=3), Column(""),
    )  # fmt: skip
    figures = ("mean", "std", "min .. max")
    used = [n for n, column in enumerate(columns) if (model.valued or column.title not in figures)
            and (column.title or any(row[n] != Word("") for row in rows))]  # fmt: skip
    return Table(tuple(columns[n] for n in used), tuple(tuple(row[n] for n in used) for row in rows))


# ---------------------------------------------------------------- for programs


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
        "tensors": [_tensor_record(spec, summary) for spec, summary in zip(model.specs, model.summaries, strict=True)],
        "left_out": model.left_out,
    }


def _tensor_record(spec: TensorSpec, summary: TensorSummary) -> dict[str, Json]:
    record: dict[str, Json] = {"name": values.text(spec.name), **values.statistics(spec, summary.statistics)}
    record["role"] = spec.role
    if spec.alias_of:
        record["tied_to"] = values.text(spec.alias_of)
    if summary.digest:
        record["xxh3"] = summary.digest
    return record
