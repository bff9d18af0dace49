"""What kind of change it is, in one phrase: the first that holds, joined by "and" to independent ones.

Nothing here is guessed from one figure alone: each kind names what it rests on, and where the first pass did not have
what a kind needs (statistics are left out where very many tensors differ under git), that kind is not claimed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from diffai.analyses import nonfinite
from diffai.analyses.casts import casts, explained_by_cast
from diffai.analyses.growth import factor_of, judged
from diffai.analyses.resizes import is_factor, resized
from diffai.analyses.update import is_moved, update_size
from diffai.comparison.result import ModelDiff, TensorChange
from diffai.frozen import frozen
from diffai.model import Delta

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.analyses.context import Context
    from diffai.analyses.finding import Fields, Finding, Severity

NAME = "change_kind"

PRUNED_POINTS = 0.10
OTHER_WEIGHTS_COSINE = 0.3
STEP_UPDATE = 0.5
NEARLY_ALL = 0.9
_SHOWN = 3


@frozen
class ChangeKind:
    """The kinds that hold, the leading one first, each with its phrase.

    Attributes:
        kinds: words of the table in docs: ``training step``, ``diverged``, ``cast``, ...
        phrase: for people: ``DIVERGED and fine-tune of head``.
        evidence: names of tensors or modules that it rests on.
    """

    kinds: tuple[str, ...]
    phrase: str
    evidence: tuple[str, ...] = ()


def change_kind(diff: ModelDiff, between: float | None = None) -> ChangeKind | None:
    """The kind of a change; None where a side is no model or is absent, or where values decide and were not compared.

    Args:
        diff: the comparison.
        between: how far the new model went on a line from the old one to a third; None where there is no third, or
            no such line (see :mod:`diffai.analyses.interpolation`), and where a finding of the comparison says it.
    """
    said = ""
    if diff.findings:
        from diffai.analyses.reread import low_rank_said, share_of_base

        between = share_of_base(diff, NAME) if between is None else between
        said = low_rank_said(diff)
    if diff.old.state is not None or diff.new.state is not None:
        return None
    changes = [change for change in diff.tensors if change.role == "weight"]
    moved = [change for change in changes if change.differs]
    if not moved and not diff.classes and not diff.graph:
        return _beside_weights(diff)
    found: list[ChangeKind] = []
    for rule in _INDEPENDENT:
        kind = rule(diff, changes)
        if kind is not None:
            found.append(kind)
    explained = explained_by_cast(diff)
    values = [change for change in moved if "changed" in change.status and not explained(change)]
    rules = (rule(diff, changes, values) for rule in _LEADING)
    leading = next((kind for kind in rules if kind is not None), None)
    if between is not None and values:
        leading = _interpolated(between)
    low = ChangeKind(("low-rank update",), f"low-rank update ({said})") if said else None
    if leading is not None and leading.kinds == ("fine-tune",) and all(is_factor(change.name) for change in moved):
        leading = None  # of the factors of an adapter, of which _adapter tells
    if leading is not None and (low is None or "fine-tune" in leading.kinds):  # a part can move, and by a low rank
        found.append(leading)
    if low is not None:
        found.append(low)
    if not found:
        found.append(ChangeKind(("changed",), "changed"))
    return ChangeKind(
        tuple(word for kind in found for word in kind.kinds),
        " and ".join(kind.phrase for kind in found),
        tuple(name for kind in found for name in kind.evidence)[:_SHOWN],
    )


def _interpolated(t: float) -> ChangeKind:
    if abs(t - 1) < 1e-9:
        return ChangeKind(("interpolated",), "interpolated (the base itself)")
    word = "interpolated" if 0 < t < 1 else "extrapolated"
    return ChangeKind((word,), f"{word} ({1 - t:.4g} of the old, {t:.4g} of the base)")


def _beside_weights(diff: ModelDiff) -> ChangeKind | None:
    """No weight differs, and nothing of the structure; None where their values were not compared."""
    same = diff.old.identity and diff.old.identity == diff.new.identity
    if diff.totals.uncompared and not same:
        return None
    rescaled = [product.name for product in diff.products if product.scales[0] != product.scales[1]]
    if rescaled:  # the factors are the same, what they add is not
        count = f"{len(rescaled)} product{'s' if len(rescaled) > 1 else ''}"
        return ChangeKind(("adapter",), f"adapter rescaled ({count})", tuple(rescaled))
    training = bool(diff.training) or any(change.differs for change in diff.tensors)
    parts = [word for word, holds in (("metadata", bool(diff.metadata)), ("training state", training)) if holds]
    if parts:
        return ChangeKind(tuple(f"{word} only" for word in parts), f"{' and '.join(parts)} only")
    if same or not (diff.totals.equal_by_value or diff.old.format != diff.new.format or diff.old.size != diff.new.size):
        return ChangeKind(("identical",), "identical")
    if diff.old.format != diff.new.format:
        return ChangeKind(("container only",), f"container only ({diff.old.format} -> {diff.new.format})")
    return ChangeKind(("container only",), "container only (the same values in other bytes)")


# ---------------------------------------------------------------- kinds that stand beside others


def _diverged(diff: ModelDiff, changes: Sequence[TensorChange]) -> ChangeKind | None:
    """Values of parameters that were finite before are so no more."""
    worse = [
        event.change.name
        for event in nonfinite.events(diff)
        if event.worse and event.parameter and event.change.old is not None
    ]
    if not worse:
        return None
    return ChangeKind(("diverged",), f"diverged ({_named(worse, 'tensor')} became NaN or Inf)", tuple(worse))


def _cast(diff: ModelDiff, changes: Sequence[TensorChange]) -> ChangeKind | None:
    """Casts whose every value is the old one rounded; quantized kinds and others are told apart."""
    words, kinds = [], []
    for group in casts(diff):
        packed = [c for c in changes if "cast" in c.status and c.old and c.new
                  and (c.old.dtype, c.new.dtype) == (group.old, group.new)]  # fmt: skip
        coded = any(change.new is not None and change.new.values for change in packed)
        back = any(change.old is not None and change.old.values for change in packed)
        change = f"{group.old} -> {group.new}"
        if coded or back:
            kinds.append("quantized" if coded else "dequantized")
            words.append(f"{kinds[-1]} {change}{_decoded_error(packed)}")
        elif group.effect == "with loss":
            kinds.append("cast with loss")
            words.append(f"cast {change} with loss")
        elif group.effect in ("lossless", "rounded"):
            kinds.append("cast")
            words.append(f"cast {change}" + (" without loss" if group.effect == "lossless" else ""))
        else:
            kinds.append("cast")
            words.append(f"cast {change}")
    if not words:
        return None
    shown = words[:_SHOWN] + ([f"{len(words) - _SHOWN} more casts"] if len(words) > _SHOWN else [])
    return ChangeKind(tuple(dict.fromkeys(kinds)), ", ".join(shown))


def _decoded_error(packed: Sequence[TensorChange]) -> str:
    """`` (relative L2 0.0044)``: of the decoded values, over all tensors together; "" where it is not known."""
    error = base = 0.0
    for change in packed:
        delta = _delta(change)
        if delta is None:
            return ""
        error, base = math.hypot(error, delta.l2), math.hypot(base, delta.old_l2)
    return f" (relative L2 {error / base:.2g})" if base else ""


def _renamed(diff: ModelDiff, changes: Sequence[TensorChange]) -> ChangeKind | None:
    """Names that changed, by the rule that explains most of them."""
    if not any("renamed" in change.status for change in changes):
        return None
    from diffai.analyses.renames import rename_rules

    rules = rename_rules(changes)
    if not rules:
        return None
    count = sum(number for _, number in rules)
    rule, most = rules[0]
    more = f", {count - most:,} more" if most < count else ""
    names = tuple(change.name for change in changes if "renamed" in change.status)
    return ChangeKind(("renamed",), f"renamed ({rule.removesuffix(' (identical)')}{more})", names)


def _classes(diff: ModelDiff, changes: Sequence[TensorChange]) -> ChangeKind | None:
    """Classes of modules, or entries of a graph, that are others."""
    words = []
    if diff.classes:
        words.append(f"{len(diff.classes):,} class{'' if len(diff.classes) == 1 else 'es'} changed")
    if diff.graph:
        words.append("graph changed")
    if not words:
        return None
    return ChangeKind(("structure changed",), " and ".join(words), tuple(v.key for v in (*diff.classes, *diff.graph)))


def _adapter(diff: ModelDiff, changes: Sequence[TensorChange]) -> ChangeKind | None:
    """Nothing but low-rank factors came or changed; or all of them went, maybe into the weights that changed."""
    moved = [change for change in changes if change.differs]
    factors = [change for change in moved if is_factor(change.name)]
    words = {change.status for change in factors}
    what = "changed" if len(words) != 1 else {"added": "added", "removed": "removed"}.get(words.pop()[0], "changed")
    if not factors or (len(factors) < len(moved) and what != "removed"):
        return None
    return ChangeKind(("adapter",), f"adapter {what} ({len(factors):,} low-rank factors)", (factors[0].name,))


def _resized(diff: ModelDiff, changes: Sequence[TensorChange]) -> ChangeKind | None:
    """Rows, layers or width."""
    words, names = resized(changes, _named)
    return ChangeKind(("resized",), f"resized ({', '.join(words)})", tuple(names)) if words else None


_INDEPENDENT: tuple[Callable[[ModelDiff, Sequence[TensorChange]], ChangeKind | None], ...] = (
    _diverged, _classes, _renamed, _adapter, _resized, _cast,
)  # fmt: skip


# ---------------------------------------------------------------- what happened to the values: the first that holds


def _pruned(diff: ModelDiff, changes: Sequence[TensorChange], moved: Sequence[TensorChange]) -> ChangeKind | None:
    """The share of zeros rose by ten points or more in most matrices."""
    if not judged(diff):
        return None
    matrices = [change for change in moved if _is_matrix(change)]
    risen = [change for change in matrices if (rise := _zeros_rise(change)) is not None and rise >= PRUNED_POINTS]
    if not risen or len(risen) * 2 <= len(matrices):
        return None
    kept = [c.figures.new_statistics for c in risen if c.figures is not None and c.figures.new_statistics is not None]
    share = sum(one.zero_count for one in kept) / sum(one.element_count for one in kept)
    names = [change.name for change in risen]
    from diffai.analyses.finding import share_text

    return ChangeKind(("pruned",), f"pruned ({share_text(share)} of {_named(names, 'matrix')} is zero)", tuple(names))


def _zeros_rise(change: TensorChange) -> float | None:
    """By how much the share of zeros rose; None where it was not counted."""
    figures = change.figures
    if figures is None or figures.old_statistics is None or figures.new_statistics is None:
        return None
    count = figures.new_statistics.element_count
    return (figures.new_statistics.zero_count - figures.old_statistics.zero_count) / count if count else None


def _scaled(diff: ModelDiff, changes: Sequence[TensorChange], moved: Sequence[TensorChange]) -> ChangeKind | None:
    """Every parameter is the old one times one number, within rounding."""
    if not judged(diff):
        return None
    factors = []
    for change in moved:
        factor = factor_of(change)
        if factor is None:
            return None
        factors.append(factor)
    if not factors or max(factors) - min(factors) > 1e-4 * abs(factors[0]):
        return None
    still = [c.name for c in changes if c.is_parameter and not is_moved(c) and not _all_zero(c)]
    if len(still) > len(factors):  # one tensor that was scaled is a changed tensor
        return None
    left = f" (all but {_named(still, 'tensor')})" if still else ""
    from statistics import median  # which loads fractions and decimals: 2 ms of every call by git

    return ChangeKind(("scaled",), f"scaled by {median(factors):.6g}{left}", tuple(change.name for change in moved))


def _all_zero(change: TensorChange) -> bool:
    return bool(change.figures and change.figures.norm == 0)


def _fine_tune(diff: ModelDiff, changes: Sequence[TensorChange], moved: Sequence[TensorChange]) -> ChangeKind | None:
    """At least a fifth of the parameters, in whole modules, is equal, and the rest moved."""
    if not moved or not any(change.is_parameter and not is_moved(change) for change in changes):
        return None  # nothing was left alone
    from diffai.analyses.finding import share_text
    from diffai.analyses.fine_tune import fine_tuned

    found = fine_tuned(diff, changes, moved)
    if found is None:
        return None
    parts = found.parts
    text = ", ".join(parts[:_SHOWN]) + (f" and {len(parts) - _SHOWN} more" if len(parts) > _SHOWN else "")
    left = f"{share_text(found.untouched)} of the parameters {found.how}"
    return ChangeKind(("fine-tune",), f"fine-tune of {text} ({left})", parts)


def _other_weights(
    diff: ModelDiff, changes: Sequence[TensorChange], moved: Sequence[TensorChange]
) -> ChangeKind | None:
    """The median cosine of mean-centred matrices says that these are not the same weights any more."""
    means = judged(diff)

    def cosines() -> Iterator[float]:
        found = (_centred_cosine(change, means=means) for change in moved if _is_matrix(change))
        return (cosine for cosine in found if cosine is not None)

    count = sum(1 for _ in cosines())
    if count * 2 <= sum(map(_is_matrix, moved)) or not count:
        return None
    if 2 * sum(cosine < OTHER_WEIGHTS_COSINE for cosine in cosines()) < count:
        return None  # so is the median; of 100,000 no list is kept
    from statistics import median

    middle = median(cosines())
    if middle >= OTHER_WEIGHTS_COSINE:
        return None
    which = "1 matrix" if count == 1 else f"{count:,} matrices"
    return ChangeKind(("other weights",), f"other weights (median cosine of {which} {middle:.2f})")


def _centred_cosine(change: TensorChange, *, means: bool) -> float | None:
    """Cosine of both sides about their means; about zero where there are too many tensors for means."""
    delta = _delta(change)
    if delta is None or not delta.old_l2 or not delta.new_l2:
        return None
    figures = change.figures
    assert figures is not None
    a2, b2 = delta.old_l2**2, delta.new_l2**2
    ab = (a2 + b2 - delta.l2**2) / 2
    old, new = figures.old_statistics, figures.new_statistics
    if means and old is not None and new is not None and old.mean is not None and new.mean is not None:
        count = delta.element_count - delta.nonfinite_count
        ab -= count * old.mean * new.mean
        a2 -= count * old.mean**2
        b2 -= count * new.mean**2
    if a2 <= 1e-12 * delta.old_l2**2 or b2 <= 1e-12 * delta.new_l2**2:
        return None
    return max(-1.0, min(1.0, ab / math.sqrt(a2 * b2)))


def _step(diff: ModelDiff, changes: Sequence[TensorChange], moved: Sequence[TensorChange]) -> ChangeKind | None:
    """Nearly all matrices moved, and not far."""
    matrices = [c for c in changes if c.old is not None and c.new is not None and _is_matrix(c)]
    same = [change.name for change in matrices if "changed" not in change.status]
    if not moved or not matrices or len(matrices) - len(same) < NEARLY_ALL * len(matrices):
        return None
    size = update_size(diff).relative_l2
    size = diff.totals.changed_relative_l2 if size is None else size
    if size is None or size >= STEP_UPDATE:
        return None
    left = f" (all but {_named(same, 'matrix')})" if same else ""
    return ChangeKind(("training step",), f"training step{left}", tuple(same))


def _changed(diff: ModelDiff, changes: Sequence[TensorChange], moved: Sequence[TensorChange]) -> ChangeKind | None:
    """Values moved, in some other way; indices of sparse tensors and of trees are counted as the totals count them."""
    if not moved:
        return None
    names = [c.name for c in diff.tensors if c.role == "index" and "changed" in c.status]
    names = [*(change.name for change in moved), *names]
    return ChangeKind(("changed",), f"{_named(names, 'tensor')} changed", tuple(names))


_LEADING: tuple[
    Callable[[ModelDiff, Sequence[TensorChange], Sequence[TensorChange]], ChangeKind | None], ...
] = (_pruned, _scaled, _fine_tune, _other_weights, _step, _changed)


def _is_matrix(change: TensorChange) -> bool:
    return len(change.spec.shape) >= 2 and change.is_parameter


def _delta(change: TensorChange) -> Delta | None:
    figures = change.figures
    return None if figures is None or figures.as_bytes else figures.delta


def _named(names: Sequence[str], noun: str) -> str:
    """One name, or how many there are."""
    plural = {"matrix": "matrices"}.get(noun, f"{noun}s")
    return names[0] if len(names) == 1 else f"{len(names):,} {plural}"


def find(diff: ModelDiff, context: Context) -> Finding | None:
    """The kind as a finding; with a base, whether the new model lies between it and the old one."""
    from diffai.analyses.finding import Finding, not_computed

    between: float | None = None
    evidence: tuple[str, ...] = ()
    if context.asked and context.base is not None:
        from diffai.analyses.interpolation import interpolated

        between = interpolated(diff, context)
        evidence = () if between is not None else ("the new model lies on no line from the old one to the base",)
    found = change_kind(diff, between)
    if found is None and context.asked and diff.totals.uncompared:
        return not_computed(NAME, "values were not compared")
    if found is None or (found.kinds == ("identical",) and not context.asked):
        return None
    severity: Severity = "critical" if "diverged" in found.kinds else "info"
    fields: Fields = {"kinds": found.kinds, "phrase": found.phrase}
    if between is not None:
        fields = {**fields, "share_of_base": between}
    return Finding(NAME, severity, "fact", fields, (*found.evidence, *evidence), found.phrase)
