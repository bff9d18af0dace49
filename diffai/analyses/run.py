"""Analyses that were asked for, run where both checkpoints of a comparison are open: one seam for every surface.

:func:`while_open` makes what ``CompareOptions.while_open`` takes; the comparison calls it with its result and both
sides, and keeps what it says in ``ModelDiff.findings``.
"""

from __future__ import annotations

from diffai.analyses.context import Context, Sides
from diffai.analyses.finding import not_computed, nothing
from diffai.analyses.options import AnalysisOptions
from diffai.analyses.table import ANALYSES, Analysis
from diffai.comparison.result import ModelDiff
from diffai.errors import FormatError, SourceError
from diffai.frozen import frozen, replace
from diffai.model import Absent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from diffai.analyses.context import Progress
    from diffai.comparison.result import CompareOptions, WhileOpen
    from diffai.finding import Finding
    from diffai.models.inputs import Input

_NO_OPTIONS = AnalysisOptions({})
_FIRST = ("low_rank", "change_kind")
"""Analyses that decide the kind of change, each before what rests on it: whatever quotes the kind comes after them."""


@frozen
class Asked:
    """What is to be run.

    Attributes:
        names: of the analyses that were asked for.
        automatic: run the automatic ones too, so that they can use what lies beside the models.
        options: what the configuration says of them.
        base: a third model, opened by the caller, who closes it.
        threads: worker threads; 0 = as many as help.
        cache_size: bytes that the cache may hold, where findings of second passes are remembered; 0 = none are.
        progress: makes what is called with (bytes done, bytes in all) of one analysis; None = nobody wants to know.
    """

    names: frozenset[str] = frozenset()
    automatic: bool = False
    options: AnalysisOptions = _NO_OPTIONS
    base: Input | None = None
    threads: int = 0
    cache_size: int = 0
    progress: Callable[[str], Progress] | None = None

    def rows(self) -> list[Analysis]:
        """The analyses that run, in the order of the table."""
        return [row for row in ANALYSES if row.name in self.names or (self.automatic and row.automatic)]


def while_open(asked: Asked) -> WhileOpen | None:
    """What a comparison calls while both its sides are open; None where nothing was asked for."""
    rows = asked.rows()
    if not rows:
        return None

    def run(diff: ModelDiff, old: Input, new: Input) -> ModelDiff:
        found: dict[str, Finding] = {}
        for row in sorted(rows, key=lambda row: _FIRST.index(row.name) if row.name in _FIRST else len(_FIRST)):
            finding = _found(row, asked, diff, old, new)
            if finding is not None:
                found[row.name] = replace(finding, asked=row.name in asked.names)
            if finding is not None and row.name in _FIRST:
                diff = replace(diff, findings=(*diff.findings, found[row.name]))
        findings = tuple(found[row.name] for row in rows if row.name in found)
        return replace(diff, findings=findings, analysed=asked.automatic)

    return run


def with_analyses(options: CompareOptions, asked: Asked) -> CompareOptions:
    """The options of a comparison that runs analyses; those that were asked for get all figures of the first pass."""
    options = replace(options, while_open=while_open(asked))
    if not asked.names:
        return options
    norms = options.update_size or any("norms" in row.needs for row in asked.rows() if row.name in asked.names)
    return replace(options, statistics="all", update_size=norms)


def _found(row: Analysis, asked: Asked, diff: ModelDiff, old: Input, new: Input) -> Finding | None:
    wanted = row.name in asked.names
    if not diff.comparable:
        return not_computed(row.name, "a side could not be read") if wanted else None
    progress = asked.progress(row.name) if asked.progress is not None and row.second_pass else None
    sides = Sides(old, new, asked.base, _unread(diff), asked.threads, progress)
    place = None
    if row.second_pass and sides.unread:
        return not_computed(row.name, sides.unread) if wanted else None
    if row.second_pass:
        from diffai.analyses.remembered import remembered

        place = remembered(row, asked, diff, sides)
    known = place.get() if place is not None else None
    if known is not None:
        return _noted(row, asked, known)
    context = Context(row, asked.options.of(row.name), sides, asked=wanted)
    try:
        finding = row.find(diff, context)
    except (SourceError, FormatError) as error:
        return not_computed(row.name, str(error)) if wanted else None
    finally:
        if progress is not None:
            progress(1, 1)  # no bar is left standing
    if finding is None:
        finding = nothing(row.name) if wanted else None
    if finding is None:
        return None
    finding = replace(finding, notes=(*finding.notes, *context.caps))
    if place is not None:
        place.put(finding)
    return _noted(row, asked, finding)


def _noted(row: Analysis, asked: Asked, finding: Finding) -> Finding:
    """The finding with the thresholds of it that a committed file loosened."""
    loosened = tuple(each.text for each in asked.options.loosened if each.analysis == row.name)
    return replace(finding, notes=(*finding.notes, *loosened)) if loosened else finding


def _unread(diff: ModelDiff) -> str:
    """Why a second pass over the values of this comparison reads nothing."""
    from diffai.comparison.models import SHAPES_ONLY

    if diff.options.shape_only:
        return SHAPES_ONLY
    for which, side in (("old", diff.old), ("new", diff.new)):
        if isinstance(side.state, Absent):
            return f"there is no model on the {which} side"
    limit, whole = diff.options.max_bytes, sum(c.spec.nbytes for c in diff.tensors)
    if limit and whole > limit:
        return f"{whole:,} bytes of values are over the limit of {limit:,} (git config diffai.maxBytes 0 lifts it)"
    return ""
