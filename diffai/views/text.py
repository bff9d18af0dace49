"""The text output: a block that says what kind of change it is, then one line a tensor, folded when many."""

from __future__ import annotations

from diffai.comparison.result import STRUCTURAL, ModelDiff, TensorChange
from diffai.frozen import frozen
from diffai.model import Absent
from diffai.views.blocks import Block, View, indented, said
from diffai.views.lines import (
    METADATA,
    OVER_FINITE,
    beside_line,
    cosine,
    describe_cast,
    describe_events,
    fact_lines,
    is_small,
    left_text,
    parts_lines,
    product_line,
    small_text,
    structure_line,
    symbol,
    tensor_line,
    value_line,
)
from diffai.views.state import describe_side, dtypes_text, hidden_lines, problems_view, states_view
from diffai.views.style import change_percent, escape, percent, plural, ratio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from diffai.analyses.casts import CastGroup
    from diffai.views.fold import Fold
    from diffai.views.screen import Screen

_MOST_VALUES = 40
_FEWEST_FOLDED = 40
"""Folded lines that are always shown, however early folding begins."""


@frozen
class TextOptions:
    """How the text looks; fields have the meaning of the options of the same names.

    Attributes:
        fold_above: tensor lines above which names are folded by pattern; 0 = always (``tensor_details`` = never).
        max_lines: most tensor lines printed, 0 = all; what is hidden is counted.
        threshold: relative L2 below which a changed tensor's line is hidden (and counted); 0 = none hidden.
        screen: show a comparison as a table on this screen; None = the plain text of pipes and files.

    """

    color: bool = False
    verbose: bool = False
    diff_only: bool = False
    show_structure: bool = False
    stats: bool = False
    tensor_details: bool = False
    fold_above: int = 40
    max_lines: int = 0
    threshold: float = 0.0
    screen: Screen | None = None


def render_text(diff: ModelDiff, options: TextOptions = TextOptions()) -> list[str]:
    """All lines of a model diff, without newline."""
    return presented(comparison_view(diff, options), options)


def presented(view: View, options: TextOptions) -> list[str]:
    """Blocks as the options have them: on a screen, or as plain lines."""
    from diffai.views.terminal import present, present_plain

    return present(view, options.screen) if options.screen is not None else present_plain(view, color=options.color)


def comparison_view(diff: ModelDiff, options: TextOptions = TextOptions(), title: str = "") -> View:
    """A comparison as blocks: the table of a screen, or the lines that pipes and files are promised.

    Args:
        diff: the comparison.
        options: how it is shown.
        title: of one model among several; the head of a table says it, else it stands above.
    """
    if not title or is_table(diff, options):
        return (*_comparison(diff, options, title), *_findings(diff, options))
    return (said(escape(title), "#"), *indented((*_comparison(diff, options), *_findings(diff, options)), 1))


def _findings(diff: ModelDiff, options: TextOptions) -> Iterator[Block]:
    """The findings that were asked for; the table has them itself."""
    if not diff.findings or is_table(diff, options):
        return
    from diffai.views.findings import finding_lines

    for sign, text in finding_lines(diff, verbose=options.verbose):
        yield said(escape(text, longest=2000), sign)


def is_table(diff: ModelDiff, options: TextOptions) -> bool:
    """Whether it is shown as a table: two models that differ, and nobody asked for a part."""
    parts = options.stats or options.show_structure or options.diff_only
    return options.screen is not None and diff.comparable and diff.differs and not parts


def _comparison(diff: ModelDiff, options: TextOptions, title: str = "") -> View:
    states = [s for s in (diff.old, diff.new) if s.state is not None and not isinstance(s.state, Absent)]
    if states:
        return tuple(states_view(diff))
    lines = [*problems_view(diff, verbose=options.verbose), *hidden_lines(diff.hidden)]
    if not diff.differs:
        return (*lines, *_no_differences(diff, options))
    if is_table(diff, options):
        from diffai.views.model_table import TableOptions, model_view

        table = TableOptions(options.verbose, options.tensor_details, title, options.threshold)
        return (*hidden_lines(diff.hidden), *model_view(diff, table))
    body = _Body(diff, options)
    if options.stats:  # tensor lines only
        return (*lines, *body.tensor_lines(), *body.notes())
    lines += [said(body.title(), "#"), *body.block(), *body.tensor_lines(), *body.values()]
    if not (options.show_structure or options.diff_only):
        lines += _judgement(diff)
    return (*lines, *body.notes())


def document_view(diff: ModelDiff, *, verbose: bool = False) -> View:
    """The same for documents, whose readers see a table: the page, Markdown."""
    from diffai.views.screen import Screen

    return comparison_view(diff, TextOptions(verbose=verbose, screen=Screen()))


def _judgement(diff: ModelDiff) -> list[Block]:
    """What kind of change it is, and what to look at first, where there is something to say."""
    from diffai.analyses.change_kind import change_kind
    from diffai.analyses.look_first import look_first

    kind = change_kind(diff)
    known = kind is not None and kind.kinds != ("changed",)  # "changed" alone says nothing that stands not above
    lines = [said(f"Kind: {escape(kind.phrase, longest=400)}", "#", indent=1)] if kind is not None and known else []
    for look in look_first(diff):
        text = f"Look at {escape(look.name)}: {escape(look.text, longest=400)}"
        lines.append(said(text, "!" if look.severity == "critical" else "#", indent=1))
    return [*lines]


def _no_differences(diff: ModelDiff, options: TextOptions) -> list[Block]:
    totals = diff.totals
    if diff.hidden:  # nothing is said of what was compared with such a setting, or not at all
        text = no_other_differences(diff)
    elif totals.uncompared or totals.training.uncompared:
        text = "No differences found in names, shapes and dtypes (values were not compared)"
    elif totals.tolerated:
        text = "No differences found (within epsilon tolerance)"
    elif totals.equal_by_value:
        text = "No differences found (bytes differ, values equal)"
    else:
        text = "No differences found"
    lines: list[Block] = [said(text)]
    if options.verbose and diff.new.state is None:
        lines.append(said(describe_side(diff.new), indent=1))
    return lines + _Body(diff, options).notes(quiet_uncompared="values were not compared" in text)


def no_other_differences(diff: ModelDiff) -> str:
    """What can be said of a pair without difference of which settings of the clone hide something."""
    clean = sum(change.status[0] in ("identical", "equal") and not _tolerated(change) for change in diff.tensors)
    return f"No differences found in the other {plural(clean, 'tensor')}" if clean else "Nothing else was compared"


def _tolerated(change: TensorChange) -> bool:
    figures = change.figures
    return figures is not None and figures.delta is not None and figures.delta.tolerated_count > 0


class _Body:
    """The parts of the text of a model diff that differs."""

    def __init__(self, diff: ModelDiff, options: TextOptions) -> None:
        self.diff, self.options = diff, options
        self.changes = self._shown()
        within = {name for product in diff.products for name in product.factors}
        # What only moved the factors of an adapter is told of their product.
        own = [c for c in self.changes if c.name not in within or c.status != ("changed",)]
        weights = [c for c in own if c.role != "training"]
        self.unfold = options.tensor_details or len(self.changes) <= options.fold_above
        self.lines_of = self.changes if options.tensor_details or options.verbose else weights

    def _shown(self) -> list[TensorChange]:
        changes = [c for c in self.diff.ordered if c.differs]
        if self.options.show_structure and not self.options.stats:
            changes = [c for c in changes if not STRUCTURAL.isdisjoint(c.status)]
        kept = [change for change in changes if not is_small(change, self.options.threshold)]
        self.small = len(changes) - len(kept)
        return kept

    # -- the block

    def title(self) -> str:
        diff = self.diff
        for side, other, word in ((diff.old, diff.new, "added"), (diff.new, diff.old, "removed")):
            if isinstance(side.state, Absent):
                return f"Model Changes: {word}, {describe_side(other)}"
        if self.unfold or self.options.show_structure:
            return "Model Changes:"
        new = diff.new
        return (
            f"Model Changes: {dtypes_text(new)}, {plural(new.tensors, 'tensor')}, {plural(new.parameters, 'parameter')}"
        )

    def block(self) -> list[Block]:
        diff, totals = self.diff, self.diff.totals
        if diff.old.state is not None or diff.new.state is not None:
            return []
        lines = self._nonfinite()
        from diffai.analyses.structure import structure

        changed = structure(diff)
        if changed.any:
            lines.append(said(f"Structure: {changed.text}", indent=1))
        else:
            lines.append(said("No structural changes", indent=1))
        old, new = diff.old.parameters, diff.new.parameters
        if old != new or self.unfold or self.options.show_structure:
            lines.append(said(f"Parameters: {old:,} -> {new:,} ({change_percent(old, new)})", indent=1))
        if diff.old.format != diff.new.format and not self.options.diff_only:
            lines.append(said(f"Format: {diff.old.format} -> {diff.new.format}", indent=1))
        if totals.cast:
            from diffai.analyses.casts import casts

            lines += [said(f"Casts: {_cast_text(group)}", indent=1) for group in casts(diff)]
        if totals.comparable:
            lines += [said(self._updates(), indent=1), *self._update_size()]
        return lines + self._training()

    def _nonfinite(self) -> list[Block]:
        """A line for each kind of event, loud where something non-finite is there that was not there before."""
        from diffai.analyses import nonfinite

        lines: list[Block] = []
        for kind, group in nonfinite.groups(nonfinite.events(self.diff)):
            loud = "!" if group[0].worse else ""
            lines.append(said(f"{loud} {describe_events(kind, group)}".strip(), loud, indent=1))
        return lines

    def _updates(self) -> str:
        totals = self.diff.totals
        text = f"Weight updates: {percent(totals.modified, totals.comparable)} of parameters modified"
        if (self.unfold or self.options.show_structure) and not self.options.verbose:
            return text
        if totals.changed:
            text += f" ({totals.changed:,} of {plural(totals.pairs, 'tensor')}, "
            text += f"relative L2 of the changed tensors {ratio(totals.changed_relative_l2)})"
        return text

    def _update_size(self) -> list[Block]:
        """The size of the whole update, where it was asked for."""
        if not self.diff.options.update_size:
            return []
        from diffai.analyses.update import update_size

        size = update_size(self.diff)
        if size.reason:
            return [said(f"Update size: not known ({size.reason})", indent=1)]
        over = f", over {plural(size.parameters, 'parameter')}" if size.parameters != size.parameters_new else ""
        over += f",{OVER_FINITE}" if size.over_finite else ""
        return [said(f"Update size: {ratio(size.relative_l2)} (cosine {cosine(size.cosine)}{over})", indent=1)]

    def _training(self) -> list[Block]:
        """Tensors of training state in one line; their plain values have lines of their own."""
        counts = self.diff.totals.training
        whole = self.diff.old.training != self.diff.new.training
        if not (whole or counts.added or counts.removed or counts.changed):
            return []
        from diffai.analyses.training import training_state

        found = training_state(self.diff)
        return [said(f"Training state: {found.text}", indent=1)] if found is not None else []

    # -- tensor lines

    def tensor_lines(self) -> list[Block]:
        options = self.options
        cap = options.max_lines
        if self.unfold:
            lines = [(symbol(c), tensor_line(c, verbose=options.verbose)) for c in self.lines_of]
            counts = [1] * len(lines)
        else:
            from diffai.views.fold import fold

            folds = fold(self.lines_of)
            lines = [(f.kind[0], self._fold_line(f)) for f in folds]
            counts = [len(f.changes) for f in folds]
            cap = cap or max(options.fold_above, _FEWEST_FOLDED)
        out: list[Block] = [said(line, kind, indent=1) for kind, line in (lines[:cap] if cap else lines)]
        if cap and len(lines) > cap:
            out.append(self._hidden(sum(counts[cap:]), len(lines) - cap))
        if options.stats:
            out += self._training()
        return out + self._unchanged()

    def _fold_line(self, f: Fold) -> str:
        from diffai.views.fold import fold_line

        return tensor_line(f.changes[0], verbose=self.options.verbose) if len(f.changes) == 1 else fold_line(f)

    def _hidden(self, tensors: int, lines: int) -> Block:
        how = "[output] max_tensor_display lifts the limit" if self.options.max_lines else "--tensor-details shows all"
        text = f"… {plural(lines, 'more line')} hidden ({plural(tensors, 'changed tensor')}; {how})"
        return said(text, "…", indent=1)

    def _unchanged(self) -> list[Block]:
        options = self.options
        if options.diff_only or options.show_structure or options.stats:
            return []
        same = [c for c in self.diff.tensors if c.status[0] in ("identical", "equal")]
        if not same or (self.unfold and not (options.verbose or options.tensor_details)):
            return []
        if options.tensor_details:
            return [said(tensor_line(c), "=", indent=1) for c in same]
        more = f" and {len(same) - 1:,} more" if len(same) > 1 else ""
        return [said(f"= {escape(same[0].name)}{more} unchanged", "=", indent=1)]

    # -- what is not tensors

    def values(self) -> list[Block]:
        lines = self._values()
        if not self.options.show_structure:
            lines += [beside_line(c, 1000 if self.options.verbose else 3) for c in self.diff.beside]
        return [said(line, line[0], indent=1) for line in lines]

    def _values(self) -> list[str]:
        diff = self.diff
        lines = self._capped([structure_line(c, "class ") for c in diff.classes], "classes")
        lines += self._capped(self._graph(), "entries of the graph")
        if self.options.show_structure:
            return lines
        lines += self._capped([product_line(p) for p in diff.products], "adapters")
        lines += parts_lines(diff) + self._capped(fact_lines(diff), "facts")
        lines += self._capped([value_line(c, METADATA) for c in diff.metadata], "metadata keys")
        training = [value_line(c) for c in self.diff.training]
        both = diff.old.training and diff.new.training
        most = 10 if both else 3
        if len(training) > most and not (self.options.tensor_details or self.options.verbose):
            if not both:  # what came or went as a whole has a line that counts it
                return lines
            hidden = len(training) - most
            training = [*training[:most], f"… {hidden:,} more training state values changed (-v lists them)"]
        return lines + training

    def _graph(self) -> list[str]:
        """What changed in the graph: in few lines, or entry by entry where details were asked for."""
        if not self.diff.graph or self.options.tensor_details or self.options.verbose:
            return [structure_line(c) for c in self.diff.graph]
        from diffai.views.graph import graph_lines

        return graph_lines(self.diff.graph)

    def _capped(self, lines: list[str], what: str) -> list[str]:
        """The first lines of very many, and how many more there are; all where details were asked for."""
        most = _MOST_VALUES
        if len(lines) <= most or self.options.tensor_details or self.options.verbose:
            return lines
        return [*lines[:most], f"… {len(lines) - most:,} more {what} changed (-v lists them)"]

    def notes(self, *, quiet_uncompared: bool = False) -> list[Block]:
        """What was left out, tolerated or hidden: always said."""
        options, totals = self.options, self.diff.totals
        left_out = [
            n for n in self.diff.left_out
            if not n.origin and not (quiet_uncompared and n.what == "tensor pairs" and self.diff.options.shape_only)
        ]  # fmt: skip
        notes = [left_text(left) for left in left_out]
        if self.small:
            notes.append(small_text(self.small, options.threshold))
        if totals.tolerated and self.diff.differs and not any(n.what == "values" for n in self.diff.hidden):
            notes.append(f"{plural(totals.tolerated, 'value')} differ within the tolerance (epsilon, rtol)")
        return [said(f"({note})", "…", indent=1) for note in notes]


def _cast_text(group: CastGroup) -> str:
    """``2 tensors F32 -> BF16 (every value exactly rounded)``."""
    text = f"{plural(group.tensors, 'tensor')} {group.old} -> {group.new}"
    if group.effect == "not compared":
        return text
    if len(group.casts) == 1:
        return f"{text} ({describe_cast(group.casts[0])})"
    effects = {"lossless": "lossless", "rounded": "every value exactly rounded",
               "with loss": "not rounded to the nearest, but within a step of the dtype"}  # fmt: skip
    return f"{text} ({effects.get(group.effect) or f'{group.beyond_rounding:,} with changes beyond rounding'})"
