"""How the values of every tensor that moved are distributed on both sides, and how far the distributions lie apart."""

from __future__ import annotations

import math

from diffai.analyses.finding import Finding, counted, not_computed, nothing
from diffai.analyses.second_pass import rounded, sides_of, within
from diffai.analyses.update import norms_of
from diffai.comparison.result import ModelDiff, TensorChange
from diffai.frozen import frozen
from diffai.tensors.distribution import EXACT, Shift, distribution, shift
from diffai.tensors.reading import has_numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.analyses.context import Context
    from diffai.finding import Fields

NAME = "show_distribution"


@frozen
class Shifted:
    """One tensor and how far its distribution went."""

    change: TensorChange
    shift: Shift

    @property
    def critical(self) -> float:
        """The statistic that two samples of one distribution exceed in one of a thousand cases (Smirnov 1948)."""
        old, new = sum(self.shift.old), sum(self.shift.new)
        return 1.95 * math.sqrt((old + new) / (old * new))

    def is_shifted(self, least: float) -> bool:
        """Whether the distribution is another one: by ``least``, and by more than so few elements are by chance."""
        return self.shift.ks >= max(least, self.critical)

    def has_too_few(self, least: float) -> bool:
        """Whether it went by ``least``, which so few elements do by chance as well: nothing can be told."""
        return least <= self.shift.ks < self.critical


def find(diff: ModelDiff, context: Context) -> Finding | None:
    """Histograms and distances of the tensors that differ, the farthest first."""
    if context.unread:
        return not_computed(NAME, context.unread)
    pairs = [change for change in diff.tensors if _both(change)]
    moved = sorted((change for change in pairs if _has_other_values(change)), key=lambda change: -_update(change))
    if not moved:
        return nothing(NAME, "no tensor that both sides have differs in its values")
    looked = within(context, moved, context.count("tensors"), "tensors")
    assert context.old is not None and context.new is not None
    found: list[Shifted] = []
    empty: list[str] = []
    done, whole = 0, sum(change.spec.nbytes for change in looked)
    for change in looked:
        old, new = sides_of(change)
        apart = shift(distribution(context.old, old), distribution(context.new, new), max(context.count("bins"), 2))
        if apart is None:
            empty.append(change.name)
        else:
            found.append(Shifted(change, apart))
        done += change.spec.nbytes
        context.progress(done, whole)
    if not found:
        return nothing(NAME, "no tensor that differs has a finite value on both sides")
    coarse = sum(not each.shift.exact for each in found)
    if coarse:
        context.cap(f"{counted(coarse, 'tensor')} of more than {EXACT:,} elements counted by 20 bits of their codes")
    return _finding(found, empty, context.number("shifted_ks"), len(moved) - len(looked))


def _both(change: TensorChange) -> bool:
    old, new = change.old, change.new
    if old is None or new is None or change.role != "weight" or not old.elements or not new.elements or new.alias_of:
        return False
    return has_numbers(old) and has_numbers(new)


def _has_other_values(change: TensorChange) -> bool:
    """Whether values or shapes differ: another name, or a dtype that holds the values, is no other distribution."""
    figures = change.figures
    if figures is None:
        return change.differs
    return not figures.identical and not (figures.cast is not None and figures.cast.exact)


def _update(change: TensorChange) -> float:
    norms = norms_of(change)
    return 0.0 if isinstance(norms, str) else norms[0]


def _finding(found: list[Shifted], empty: list[str], least: float, left: int) -> Finding:
    found.sort(key=lambda each: (not each.is_shifted(least), -each.shift.ks / each.critical, each.change.name))
    most = found[0]
    far = [each for each in found if each.is_shifted(least)]
    few = sum(each.has_too_few(least) for each in found)
    fields: Fields = {
        "tensors": len(found), "shifted": len(far), "too_few_values": few, "not_looked_at": left,
        "ks": rounded(most.shift.ks, 5), "psi": rounded(most.shift.psi, 5), "js": rounded(most.shift.js, 5),
        "most": most.change.name, "histograms": tuple(_row(each) for each in found),
    }  # fmt: skip
    evidence = tuple(f"{name}: no finite value on a side" for name in empty[:3])
    verdict = f"{len(far) or 'none'} of {counted(len(found), 'tensor')} shifted"
    if few == len(found):
        verdict = f"too few values to tell whether {counted(few, 'tensor')} shifted"
    elif few:
        verdict += f", {few:,} with too few values to tell"
    text = (
        f"{verdict}; most {most.change.name}: "
        f"KS {most.shift.ks:.3g}, PSI {most.shift.psi:.3g}, JS {most.shift.js:.3g}"
    )
    return Finding(NAME, "notice" if far else "info", "fact", fields, evidence, text)


def _row(each: Shifted) -> Fields:
    apart = each.shift
    return {
        "name": each.change.name, "ks": rounded(apart.ks, 5), "psi": rounded(apart.psi, 5), "js": rounded(apart.js, 5),
        "ks_at_most": rounded(apart.ks_most, 5), "exact": apart.exact,
        "not_finite_old": apart.nonfinite[0], "not_finite_new": apart.nonfinite[1],
        "edges": tuple(apart.edges), "old": apart.old, "new": apart.new,
    }  # fmt: skip
