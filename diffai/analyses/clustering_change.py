"""Whether the rows of embeddings still fall into the clusters they fell into."""

from __future__ import annotations

import numpy as np

from diffai.analyses.embeddings import Embedding, embeddings, why_none
from diffai.analyses.finding import Finding, counted, not_computed, nothing
from diffai.analyses.second_pass import rounded, sides_of
from diffai.comparison.result import ModelDiff
from diffai.frozen import frozen
from diffai.tensors.clusters import adjusted_rand, cluster_number, followed, k_means
from diffai.tensors.dtypes import Array
from diffai.tensors.reading import some_rows, spread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.analyses.context import Context
    from diffai.finding import Fields

NAME = "clustering_change"

FEWEST_ROWS = 10
_MOST_SAMPLE = 2 << 20  # elements on each side


@frozen
class Clusters:
    """Clusters of one embedding.

    Attributes:
        k: how many, chosen on the old side.
        silhouette: of the old side's.
        agreement: adjusted Rand index of both sides' clusters.
        by_chance: the same of two runs on the old side alone, from other first centres.
        rows: in the sample.
    """

    embedding: Embedding
    k: int
    silhouette: float
    agreement: float
    by_chance: float
    rows: int


def find(diff: ModelDiff, context: Context) -> Finding | None:
    """The clusters of every embedding; one line about the one that agrees least."""
    if context.unread:
        return not_computed(NAME, context.unread)
    both = embeddings(diff)
    if not both:
        return nothing(NAME, why_none(diff))
    found = []
    for place, each in enumerate(both):
        clusters = _clusters(each, context)
        found += [clusters] if clusters is not None else []
        context.progress(place + 1, len(both))
    if not found:
        return nothing(NAME, f"no embedding has {FEWEST_ROWS} rows that are finite and not all equal on both sides")
    least = min(found, key=lambda each: each.agreement)
    weak = least.silhouette < context.number("clear_silhouette")
    fields: Fields = {
        "k": least.k, "adjusted_rand": rounded(least.agreement, 5), "silhouette": rounded(least.silhouette, 5),
        "by_chance_of_the_start": rounded(least.by_chance, 5), "clear": not weak,
        "embeddings": tuple(_row(each) for each in found),
    }  # fmt: skip
    evidence = [f"two runs on the old side alone, from other first centres, agree to {least.by_chance:.2g}"]
    if weak:
        evidence.append(f"a silhouette of {least.silhouette:.2g} means that the rows hardly form clusters")
    more = f" and {counted(len(found) - 1, 'more embedding')}" if len(found) > 1 else ""
    shown = f"silhouette {least.silhouette:.2g}"
    note = f"; no clear clusters ({shown})" if weak else f", {shown}"
    text = f"{least.embedding.change.name}{more}: adjusted Rand {least.agreement:.2f}, k={least.k}{note}"
    changed = not weak and least.agreement < min(context.number("changed_below"), least.by_chance)
    return Finding(NAME, "notice" if changed else "info", "fact", fields, tuple(evidence), text)


def _clusters(embedding: Embedding, context: Context) -> Clusters | None:
    assert context.old is not None and context.new is not None
    common = min(embedding.rows)
    size = min(context.count("sample"), _MOST_SAMPLE // max(embedding.width, 1))
    places = spread(common, size)
    old, new = sides_of(embedding.change)
    before = _scaled(some_rows(context.old, old, places))
    after = _scaled(some_rows(context.new, new, places))
    if before is None or after is None or len(places) < FEWEST_ROWS:
        return None
    if len(places) < common:
        context.cap(f"{len(places):,} of {common:,} rows were clustered, evenly spread")
    chosen = before[spread(len(before), context.count("choice_sample"))]
    k, silhouette = cluster_number(chosen, context.count("most_clusters"))
    labels = k_means(before, k)
    return Clusters(
        embedding, k, silhouette, adjusted_rand(labels, followed(after, labels)),
        adjusted_rand(labels, k_means(before, k, start=1)), len(places),
    )  # fmt: skip


def _scaled(rows: Array) -> Array | None:
    """Rows with the greatest magnitude 1; None where they are not all finite, or all equal."""
    if not len(rows) or not np.isfinite(rows).all() or (rows == rows[0]).all():
        return None
    power = int(np.frexp(np.abs(rows).max())[1])
    return np.asarray(np.ldexp(rows, -power))


def _row(each: Clusters) -> Fields:
    return {
        "name": each.embedding.change.name, "k": each.k, "adjusted_rand": rounded(each.agreement, 5),
        "silhouette": rounded(each.silhouette, 5), "by_chance_of_the_start": rounded(each.by_chance, 5),
        "rows": each.rows,
    }  # fmt: skip
