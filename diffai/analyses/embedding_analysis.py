"""How far the rows of embeddings turned, and whether each still has the neighbours it had."""

from __future__ import annotations

import math

import numpy as np

from diffai.analyses.embeddings import Embedding, embeddings, pairs_of_rows, tokens, why_none
from diffai.analyses.finding import Finding, counted, not_computed, nothing
from diffai.analyses.second_pass import rounded, sides_of
from diffai.comparison.result import ModelDiff
from diffai.frozen import frozen
from diffai.tensors.dtypes import Array
from diffai.tensors.neighbours import Turned, nearest, overlap, turned
from diffai.tensors.pairs import unit_roundoff
from diffai.tensors.reading import BLOCK, some_rows, spread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from diffai.analyses.context import Context
    from diffai.finding import Fields, Severity

NAME = "embedding_analysis"

_TURNED = 0.05
_KEPT = 0.9
_SHOWN = 10
_MOST_SAMPLE = 2 << 20  # elements of the sample, on each side


@frozen
class Drift:
    """What happened to one embedding; figures are None where no row has a direction on both sides.

    ``rounding``: the drift that rounding to the coarser dtype of both sides can make.
    """

    embedding: Embedding
    by_token: bool
    pairs: int
    mean: float | None
    median: float | None
    p99: float | None
    most: float | None
    rows: tuple[tuple[int, str, float], ...]
    norm_change: float | None
    neighbours: float | None
    sample: int
    rounding: float

    @property
    def turned_as_one(self) -> bool:
        """Whether rows drifted, and neighbours did not: what a rotation of the whole space does."""
        return (self.mean or 0.0) >= _TURNED and (self.neighbours or 0.0) >= _KEPT

    @property
    def added(self) -> int:
        """Rows of the new side without one on the old side."""
        return self.embedding.rows[1] - self.pairs

    @property
    def removed(self) -> int:
        """Rows of the old side without one on the new side."""
        return self.embedding.rows[0] - self.pairs


def find(diff: ModelDiff, context: Context) -> Finding | None:
    """The drift of every embedding; one line about the one that drifted most."""
    if context.unread:
        return not_computed(NAME, context.unread)
    both = embeddings(diff)
    if not both:
        return nothing(NAME, why_none(diff))
    words = tokens(context, "old"), tokens(context, "new")
    largest = max(each.rows for each in both)
    found = []
    for place, each in enumerate(both):
        known = words if each.rows == largest else ((), ())  # positions and the like have no tokens
        found.append(_drift(each, known, context))
        context.progress(place + 1, len(both))
    most = max(found, key=lambda each: each.mean or 0.0)
    fields: Fields = {
        "mean_drift": rounded(most.mean, 5) if most.mean is not None else None,
        "neighbours_kept": rounded(most.neighbours, 5) if most.neighbours is not None else None,
        "embeddings": tuple(_row(each) for each in found),
    }  # fmt: skip
    evidence = []
    if not any(words):
        evidence.append("tokens are not recorded: no tokenizer beside the models")
    if most.mean is None:
        evidence.append(f"{most.embedding.change.name}: no row has a direction on both sides")
    if most.neighbours is None:
        evidence.append(f"{most.embedding.change.name}: fewer than three rows can have neighbours")
    severity: Severity = "notice" if (most.most or 0.0) > most.rounding else "info"
    return Finding(NAME, severity, "fact", fields, tuple(evidence), _text(most, len(found)))


def _drift(embedding: Embedding, words: tuple[Sequence[str], Sequence[str]], context: Context) -> Drift:
    old_rows, new_rows, by_token = pairs_of_rows(embedding, *words)
    found = _turns(embedding, old_rows, new_rows, context)
    there = np.flatnonzero(np.isfinite(found.drift))
    drift = found.drift[there]
    neighbours, sample = _neighbours(embedding, old_rows[there], new_rows[there], context)
    mean = median = p99 = most = norm = None
    rows: tuple[tuple[int, str, float], ...] = ()
    if len(there):
        mean, most = float(drift.mean()), float(drift.max())
        median, p99 = (float(np.quantile(drift, share)) for share in (0.5, 0.99))
        order = np.argsort(-drift, kind="stable")[:_SHOWN]
        rows = tuple((int(new_rows[there[i]]), _token(words[1], int(new_rows[there[i]])), float(drift[i]))
                     for i in order if drift[i] > 0)  # fmt: skip
        lengths = found.old[there], found.new[there]
        scale = max(float(lengths[0].max()), float(lengths[1].max()))
        before, after = (float((side / scale).mean()) for side in lengths)
        norm = after / before - 1 if before else None
    rounding = unit_roundoff(sides_of(embedding.change)) ** 2
    return Drift(embedding, by_token, len(old_rows), mean, median, p99, most, rows, norm, neighbours, sample, rounding)


def _turns(embedding: Embedding, old_rows: Array, new_rows: Array, context: Context) -> Turned:
    """How far each pair of rows turned, read some rows at a time."""
    assert context.old is not None and context.new is not None
    old, new = sides_of(embedding.change)
    step = max(1, BLOCK // embedding.width)
    parts = []
    for start in range(0, len(old_rows), step):
        before = some_rows(context.old, old, old_rows[start : start + step].tolist())
        after = some_rows(context.new, new, new_rows[start : start + step].tolist())
        parts.append(turned(before, after))
    if not parts:
        return Turned(np.empty(0), np.empty(0), np.empty(0))
    return Turned(
        np.concatenate([part.drift for part in parts]), np.concatenate([part.old for part in parts]),
        np.concatenate([part.new for part in parts]),
    )  # fmt: skip


def _neighbours(embedding: Embedding, old_rows: Array, new_rows: Array, context: Context) -> tuple[float | None, int]:
    """The share of nearest neighbours that rows of a sample kept, and the size of the sample."""
    k, most = context.count("neighbours"), context.count("sample")
    size = min(most, max(3, _MOST_SAMPLE // max(embedding.width, 1)))
    places = spread(len(old_rows), size)
    k = min(k, len(places) - 2)
    if k < 1:
        return None, len(places)
    if len(places) < len(old_rows):
        context.cap(f"neighbours were looked for among {len(places):,} of {len(old_rows):,} rows, evenly spread")
    assert context.old is not None and context.new is not None
    old, new = sides_of(embedding.change)
    before = some_rows(context.old, old, old_rows[places].tolist())
    known = nearest(before, k)
    del before
    return overlap(known, nearest(some_rows(context.new, new, new_rows[places].tolist()), k)), len(places)


def _token(words: Sequence[str], row: int) -> str:
    return words[row] if row < len(words) else ""


def _row(each: Drift) -> Fields:
    shown = tuple(
        {"row": row, **({"token": token} if token else {}), "drift": rounded(drift, 5)}
        for row, token, drift in each.rows
    )
    return {
        "name": each.embedding.change.name, "drift_mean": _figure(each.mean), "drift_max": _figure(each.most),
        "neighbours_kept": _figure(each.neighbours), "norm_change": _figure(each.norm_change),
        "drift_median": _figure(each.median), "drift_p99": _figure(each.p99),
        "rows_added": each.added, "rows_removed": each.removed, "rows_old": each.embedding.rows[0],
        "rows_new": each.embedding.rows[1], "paired_by": "token" if each.by_token else "number",
        "neighbours_sample": each.sample, "most_drifted": shown,
    }  # fmt: skip


def _figure(value: float | None) -> float | None:
    return rounded(value, 5) if value is not None else None


def _floor(share: float) -> str:
    """A share that is not all, to a tenth of a percent below."""
    return f"{math.floor(share * 1000) / 10:g}%"


def _text(most: Drift, number: int) -> str:
    name = most.embedding.change.name
    parts = []
    if most.mean is None:
        parts.append("no row has a direction on both sides")
    elif not most.most:
        parts.append("no row turned")
    elif most.most <= most.rounding:
        parts.append("no row turned by more than rounding")
    else:
        row, token, drift = most.rows[0]
        said = f" {token!r}" if token else ""
        parts.append(f"drift mean {most.mean:.3g}, max {drift:.3g} (row {row:,}{said})")
    if most.neighbours is not None:
        kept = "all neighbours kept" if most.neighbours == 1 else f"{_floor(most.neighbours)} of neighbours kept"
        parts.append(kept + (": it turned as one" if most.turned_as_one else ""))
    if most.norm_change is not None and abs(most.norm_change) >= 0.0005:
        parts.append(f"norms {most.norm_change:+.1%}")
    parts += [
        f"{counted(count, 'row')} {word}" for count, word in ((most.added, "added"), (most.removed, "removed")) if count
    ]
    more = f" and {counted(number - 1, 'more embedding')}" if number > 1 else ""
    return f"{name}{more}: {', '.join(parts)}"
