"""A comparison of two models as blocks, in the order in which a reviewer asks: what kind of change, is anything wrong,
what to look at first, where and how big, then the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from diffai.analyses.casts import casts
from diffai.analyses.change_kind import ChangeKind, change_kind
from diffai.analyses.look_first import look_first
from diffai.analyses.renames import rename_rules
from diffai.analyses.training import training_state
from diffai.analyses.update import shares, update_size
from diffai.comparison.result import ModelDiff, Side, TensorChange
from diffai.frozen import frozen
from diffai.model import Absent, element_count
from diffai.views.blocks import (
    Bar,
    Block,
    Cell,
    Column,
    Gap,
    Labelled,
    Line,
    Spark,
    Table,
    Tone,
    View,
    Word,
    few,
    line,
    said,
)
from diffai.views.findings import findings_view
from diffai.views.fold import fold, pattern_text
from diffai.views.graph import graph_lines
from diffai.views.grouping import MOST, Group, grouped
from diffai.views.lines import (
    beside_text,
    fact_line,
    fact_lines,
    figure,
    is_small,
    left_text,
    parts_lines,
    small_text,
    structure_line,
)
from diffai.views.style import change_percent, plural, shape, share_text, short, size

_FEW_ROWS = 12
_MOST_STRUCTURE = 12
_MOST_VALUES = 6
_CASTS = frozenset(("cast", "cast with loss", "quantized", "dequantized"))
_SIGNS: dict[str, Tone] = {"+": "added", "-": "removed", "~": "changed", ">": "renamed"}


@frozen
class TableOptions:
    """What is shown: ``verbose`` every group and more columns, ``details`` every tensor, under what ``title``.

    Of tensors whose relative L2 is below ``threshold`` no more than their number; 0 = none hidden.
    """

    verbose: bool = False
    details: bool = False
    title: str = ""
    threshold: float = 0.0


def model_view(diff: ModelDiff, options: TableOptions = TableOptions()) -> View:
    """The blocks of one model's comparison; both sides are models, or one is absent."""
    blocks: list[Block] = [_headline(diff, options.title)]
    kind = change_kind(diff)
    if kind is not None:
        head, _, rest = kind.phrase.partition(" (")
        tone: Tone = "problem" if "diverged" in kind.kinds else "strong"
        blocks.append(line(Word(head.upper() + (f" ({rest}" if rest else ""), tone), indent=1, wraps=True))
        blocks += _sizes(diff)
    looks = look_first(diff)
    if looks:
        rows = tuple(
            (Word(look.name, "problem" if look.severity == "critical" else "name"), Word(look.text)) for look in looks
        )
        blocks.append(Labelled("LOOK AT", rows, "problem" if looks[0].severity == "critical" else "strong"))
    blocks += _problems(diff)
    blocks += _structure(diff, options)
    table = _values(diff, options, kind)
    if table is not None:
        blocks += [Gap(), table]
    blocks += _adapters(diff, options)
    blocks += findings_view(diff, verbose=options.verbose)
    blocks += _texts(diff, options)
    small = sum(is_small(c, options.threshold) for c in diff.tensors if c.role != "training")
    notes = [left_text(left) for left in diff.left_out] + ([small_text(small, options.threshold)] if small else [])
    blocks += [said(f"({note})", "…", indent=1) for note in notes]
    return tuple(blocks)


# ---------------------------------------------------------------- the head


def _headline(diff: ModelDiff, title: str) -> Line:
    """File, dtype, tensors, parameters and size with their change."""
    new, old = diff.new, diff.old
    side = old if isinstance(new.state, Absent) else new
    parts = [Word(title or side.label or "model", "name"), Word("   "), Word(_dtypes(side))]
    parts.append(Word(f" · {plural(side.tensors, 'tensor')} · {plural(side.parameters, 'param')}"))
    if old.state is None and new.state is None:
        parts.append(Word(f" ({_change(old.parameters, new.parameters)})"))
    if side.size >= 0:
        parts.append(Word(f" · {size(side.size)}"))
        if old.size >= 0 and new.size >= 0 and old.state is None and new.state is None:
            parts.append(Word(f" ({_change(old.size, new.size)})"))
    if isinstance(old.state, Absent) or isinstance(new.state, Absent):
        added = isinstance(old.state, Absent)
        parts.append(Word("  added" if added else "  removed", "added" if added else "removed"))
    return Line(tuple(parts))


def _dtypes(side: Side) -> str:
    names = [name for name, _ in side.dtypes]
    return "/".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _change(old: int, new: int) -> str:
    return "=" if old == new else change_percent(old, new).removesuffix(" change")


def _sizes(diff: ModelDiff) -> Iterable[Block]:
    """``128 changed, 8 identical   update 0.183   cosine 0.984``."""
    totals, found = diff.totals, update_size(diff)
    words = []
    if totals.changed:
        words.append(Word(f"{totals.changed:,} changed, {totals.unchanged:,} identical"))
    if found.update and found.relative_l2 is not None:
        words.append(Word(f"   update {short(found.relative_l2)}", "changed"))
        if found.cosine is not None:
            words.append(Word(f"   cosine {cosine(found.cosine)}"))
    elif totals.changed and totals.changed_relative_l2 is not None:
        words.append(Word(f"   relative L2 of the changed tensors {short(totals.changed_relative_l2)}", "changed"))
    if words:
        yield Line(tuple(words), indent=1, wraps=not found.update)
    if found.update and found.relative_l2 is not None and not found.comparable:  # a line of its own: never cut
        text = f"update and cosine are over {found.parameters:,} of {plural(found.parameters_new, 'parameter')} only"
        yield line(Word(text, "strong"), indent=1, wraps=True)


def _problems(diff: ModelDiff) -> Iterable[Block]:
    seen = set()
    for which, side in (("old", diff.old), ("new", diff.new)):
        for problem in side.problems:
            if problem.severity == "error" and problem.message not in seen:
                seen.add(problem.message)
                both = problem in diff.old.problems and problem in diff.new.problems
                where = "both sides" if both else which
                yield line(Word(f"! {where}: {problem.message} ({problem.code})", "problem"), indent=1, wraps=True)


# ---------------------------------------------------------------- structure


def _structure(diff: ModelDiff, options: TableOptions) -> Iterable[Block]:
    totals = diff.totals
    weights = [change for change in diff.tensors if change.role != "training" and change.differs]
    alone = isinstance(diff.old.state, Absent) or isinstance(diff.new.state, Absent)
    moved = [] if alone else [c for c in weights if not {"added", "removed", "reshaped"}.isdisjoint(c.status)]
    if moved:
        counts = ((totals.added, "+"), (totals.removed, "-"), (totals.reshaped, "~"))
        words = [Word(f" {sign}{count:,}", _SIGNS[sign]) for count, sign in counts if count]
        yield Line((Word("STRUCTURE ", "strong"), *words), indent=1)
        yield _structure_table(moved, options)
    rules = rename_rules(weights)
    if rules:
        shown = [f"{plural(count, 'tensor')}: {text}" for text, count in rules]
        yield few("RENAMED", shown, len(shown) if options.verbose else _MOST_STRUCTURE, tone_of=lambda _: "renamed")
    training = training_state(diff)
    if training is not None:
        yield Labelled("TRAINING STATE", ((Word(training.text),),))


def _structure_table(moved: Sequence[TensorChange], options: TableOptions) -> Table:
    """Structural changes by pattern, shapes in columns."""
    folds = fold(moved)
    most = len(folds) if options.details or options.verbose else _MOST_STRUCTURE
    rows = []
    for group in folds[:most]:
        first = group.changes[0]
        sign = group.kind[0] if group.kind[0] in _SIGNS else "~"
        tone = _SIGNS[sign]
        count = f"x{len(group.changes):,}" if len(group.changes) > 1 else ""
        shapes = {(c.old.shape if c.old else None, c.new.shape if c.new else None) for c in group.changes}
        rows.append(
            (Word(sign, tone), Word(pattern_text(group), tone), Word(count), Word(_shapes(first, len(shapes))))
        )
    hidden = ""
    if len(folds) > most:
        tensors = sum(len(group.changes) for group in folds[most:])
        hidden = f"{len(folds) - most:,} more rows ({plural(tensors, 'tensor')})"
    columns = (Column(""), Column("", shrinks=True, literal=True), Column("", "right"),
               Column("", rank=1, literal=True))  # fmt: skip
    return Table(columns, tuple(rows), hidden, "-v shows them", indent=2)


def _shapes(change: TensorChange, different: int) -> str:
    if different > 1:
        return f"{different} shapes"
    if change.old is not None and change.new is not None:
        return f"{shape(change.old.shape)} -> {shape(change.new.shape)}"
    return shape(change.spec.shape)


# ---------------------------------------------------------------- values, by layer pattern


def _values(diff: ModelDiff, options: TableOptions, kind: ChangeKind | None) -> Table | None:
    """One aligned table of all parts of the model in which values can have changed, the greatest share first."""
    pairs = [c for c in diff.tensors if c.role != "training" and c.old and c.new and "reshaped" not in c.status]
    rows = [change for change in pairs if not is_small(change, options.threshold)]
    moved = [change for change in rows if "changed" in change.status or "cast" in change.status]
    if not moved:
        return None
    share_of = {change.name: share for change, share in shares(diff)}
    by_name = {change.name: change for change in rows}
    one_each = options.details or len(moved) <= _FEW_ROWS
    groups = [Group((c.name,), (c.name,)) for c in moved] if one_each else grouped(list(by_name), share_of)
    # A cast that the headline tells of and that all have is not repeated in each row, where it would cut the name.
    told = kind is not None and not _CASTS.isdisjoint(kind.kinds) and len(casts(diff)) == 1
    named = _bare_name if told and all("cast" in change.status for change in moved) else _one_name
    lines = [(_row(group, by_name, share_of, options, named), _order(group, by_name, share_of)) for group in groups]
    lines.sort(key=lambda item: item[1][::-1] if diff.options.by_magnitude else item[1])
    most = len(lines) if options.verbose or options.details else MOST
    hidden = f"{len(lines) - most:,} more below" if len(lines) > most else ""
    how = "-v shows all groups, --tensor-details all tensors" if hidden else ""
    same = sum(1 for change in rows if not change.differs)
    if one_each and same:
        hidden = f"{plural(same, 'tensor')} unchanged" + (f"; {hidden}" if hidden else "")
    if any(change.over_finite for change in moved):
        hidden = "; ".join(filter(None, (hidden, "figures are over the finite values")))
    columns = [
        Column("tensor" if one_each else "layer", shrinks=True, literal=True),
        Column("" if one_each else "changed", "right", rank=4), Column("parameters", "right", rank=5),
        Column("rel L2", "right"), Column("1e-4 … 1", rank=3), Column("" if one_each else "by layer", rank=2),
        Column("share", "right", rank=1),
    ]  # fmt: skip
    if options.verbose or options.details:
        columns += [Column(title, "right", rank) for title, rank in (("cosine", 6), ("changed %", 7), ("max |d|", 8))]
    used = [n for n, column in enumerate(columns) if column.title]
    shown = tuple(tuple(row[n] for n in used) for row, _ in lines[:most])
    return Table(tuple(columns[n] for n in used), shown, hidden, how)


def _order(group: Group, by_name: Mapping[str, TensorChange], share_of: Mapping[str, float]) -> tuple[float, float]:
    share = sum(share_of.get(name, 0.0) for name in group.names)
    return -share, -(relative_of([by_name[name] for name in group.names]) or 0.0)


def _row(
    group: Group, by_name: Mapping[str, TensorChange], share_of: Mapping[str, float], options: TableOptions,
    named: Callable[[TensorChange], str],
) -> tuple[Cell, ...]:
    changes = [by_name[name] for name in group.names]
    moved = [change for change in changes if "changed" in change.status or "cast" in change.status]
    changed = len(moved)
    parameters = sum(element_count(c.spec.shape) for c in changes if c.is_parameter)
    places = all(change.role == "index" for change in changes)  # where values stand: no size to be told of
    relative = None if places else relative_of(changes)
    share = sum(share_of.get(name, 0.0) for name in group.names)
    name = group.title if len(changes) > 1 else named(changes[0])
    cells: list[Cell] = [
        Word(name, "changed" if changed else "faint"), Word(f"{changed:,}/{len(changes):,}"), Word(f"{parameters:,}"),
        Word(_size_text(relative, moved, places)), Bar(relative),
        _small_multiples(group, by_name), Word(share_text(share)),
    ]  # fmt: skip
    if options.verbose or options.details:
        cells += _more(changes)
    return tuple(cells)


def _size_text(relative: float | None, changed: Sequence[TensorChange], places: bool) -> str:
    if relative is not None:
        return short(relative)
    if changed and all(change.over_finite and not change.relative_l2 for change in changed):
        return "0"  # NaN or infinity came, and nothing else
    return "=" if not changed else "changed" if places else "n/a"


def _bare_name(change: TensorChange) -> str:
    return change.name


def _one_name(change: TensorChange) -> str:
    if "cast" in change.status and change.old is not None and change.new is not None:
        return f"{change.name} ({change.old.dtype} -> {change.new.dtype})"
    return change.name


def _more(changes: Sequence[TensorChange]) -> list[Cell]:
    """Cosine, share of changed values, greatest distance."""
    deltas = [c.figures.delta for c in changes if c.figures is not None and c.figures.delta is not None]
    old = math.hypot(*(d.old_l2 for d in deltas)) if deltas else 0.0
    new = math.hypot(*(d.new_l2 for d in deltas)) if deltas else 0.0
    apart = math.hypot(*(d.l2 for d in deltas)) if deltas else 0.0
    angle = (old * old + new * new - apart * apart) / (2 * old * new) if old and new else None
    count, whole = sum(d.changed_count for d in deltas), sum(element_count(c.spec.shape) for c in changes)
    largest = max((d.max_abs for d in deltas), default=0.0)
    return [
        Word("n/a" if angle is None else cosine(max(-1.0, min(1.0, angle)))),
        Word(share_text(count / whole) if whole else ""), Word(short(largest)),
    ]  # fmt: skip


def relative_of(changes: Sequence[TensorChange]) -> float | None:
    """Relative L2 of some tensors together; None where a norm is not known, or is zero."""
    apart = near = 0.0
    for change in changes:
        figures = change.figures
        if figures is None or figures.as_bytes:
            return None
        if figures.delta is not None:
            apart, near = math.hypot(apart, figures.delta.l2), math.hypot(near, figures.delta.old_l2)
        elif figures.norm is not None:
            near = math.hypot(near, figures.norm)
    if not apart:
        return None
    return apart / near if near else math.inf


def _small_multiples(group: Group, by_name: Mapping[str, TensorChange]) -> Spark:
    """Layers beside each other, on two decades below the largest, so that one that stands out is seen."""
    layers = group.by_index()
    values = tuple((relative_of([by_name[name] for name in names]) or 0.0) if names else None for names in layers)
    most = max((value for value in values if value is not None and math.isfinite(value)), default=0.0)
    return Spark(values, most / 100, most) if most else Spark(values)


def _adapters(diff: ModelDiff, options: TableOptions) -> Iterable[Block]:
    """A row a low-rank adapter: how far its product of factors moved, the farthest first."""
    if not diff.products:
        return
    rows = []
    for product in sorted(diff.products, key=lambda p: -(p.relative_l2 if p.relative_l2 is not None else math.inf)):
        ranks, scales = product.ranks, product.scales
        rows.append((
            Word(product.name, "changed"), Word("n/a" if product.relative_l2 is None else short(product.relative_l2)),
            Bar(product.relative_l2), Word("n/a" if product.cosine is None else cosine(product.cosine)),
            Word(f"{ranks[0]} -> {ranks[1]}" if ranks[0] != ranks[1] else f"{ranks[0]}"),
            Word(" -> ".join(dict.fromkeys("not known" if scale is None else f"{scale:g}" for scale in scales))),
        ))  # fmt: skip
    most = len(rows) if options.verbose or options.details else MOST
    hidden = f"{len(rows) - most:,} more below" if len(rows) > most else ""
    what = "rel L2 of B·A" if any(None in product.scales for product in diff.products) else "rel L2 of B·A·scale"
    columns = (
        Column("adapter", shrinks=True, literal=True), Column(what, "right"), Column("1e-4 … 1", rank=4),
        Column("cosine", "right", rank=3), Column("rank", "right", rank=1), Column("scale", "right", rank=2),
    )  # fmt: skip
    known = any(product.scales != (None, None) for product in diff.products)
    used = len(columns) if known else len(columns) - 1
    yield Gap()
    yield Table(columns[:used], tuple(row[:used] for row in rows[:most]), hidden, "-v shows all")
    if any(None in product.scales for product in diff.products):
        yield said("(the scale is not known: adapter_config.json is not beside the file)", "…", indent=1)


# ---------------------------------------------------------------- what is not tensors


def _texts(diff: ModelDiff, options: TableOptions) -> Iterable[Block]:
    """Classes, graph, facts, metadata and training values: some lines each, the rest counted."""
    whole = options.verbose or options.details
    graph = [structure_line(v) for v in diff.graph] if whole else graph_lines(diff.graph)
    facets = (
        ("CLASSES", [structure_line(v) for v in diff.classes]), ("GRAPH", graph),
        ("PARTS", parts_lines(diff)), ("FACTS", fact_lines(diff)), ("METADATA", [fact_line(v) for v in diff.metadata]),
        ("TRAINING", [fact_line(v) for v in diff.training] if whole or not _one_sided(diff) else []),
    )  # fmt: skip
    for label, lines in facets:
        if lines:
            most = len(lines) if whole else _MOST_VALUES
            yield few(label, lines, most, tone_of=lambda text: _SIGNS.get(text[0], "plain"))
    if diff.beside:
        most = 1000 if whole else 3
        rows = [(Word(one.name, "changed"), Word(beside_text(one, most, figure))) for one in diff.beside]
        yield Labelled("BESIDE", tuple(rows))


def _one_sided(diff: ModelDiff) -> bool:
    """Whether training state came or went as a whole, which the line that counts it says."""
    return bool(diff.old.training) != bool(diff.new.training)


def cosine(value: float) -> str:
    """Three decimals, and near 1 two digits of the distance from it: ``0.999977``."""
    apart = 1.0 - value
    if apart >= 0.0005:
        return f"{value:.3f}"
    return f"{value:.{1 - math.floor(math.log10(apart))}f}" if apart > 1e-12 else "1"
