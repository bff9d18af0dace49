"""Tensors by their digests: what changed between two versions without arithmetic, and what is the same for blame."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b

from diffai.cache.store import Store
from diffai.comparison.codec import RecordedCheckpoint, decode_summaries, encode_summaries
from diffai.comparison.models import Input, compare_models, one_role
from diffai.comparison.numbered import Agreeing, Numbered
from diffai.comparison.pairing import Alike, Pairing, pair_tensors
from diffai.comparison.result import CompareOptions, ModelDiff, TensorChange
from diffai.comparison.tensors import classify, count, values_changed
from diffai.errors import SourceError
from diffai.frozen import frozen
from diffai.history.version import Version
from diffai.history.versions import Versions
from diffai.model import Checkpoint, PairFigures, State, TensorSpec, TensorSummary, Unreadable, natural_key

_IDENTICAL = PairFigures(identical=True)

Pair = tuple[TensorSpec, TensorSpec]


@frozen
class Digested:
    """A version's tensors with their digests, by name; or the ``state`` that says why there are none."""

    header: RecordedCheckpoint | None
    summaries: Mapping[str, TensorSummary]
    state: State | None = None


def digest_version(versions: Versions, version: Version, store: Store, *, threads: int = 0) -> Digested:
    """Digests of all tensors of a version, out of the cache, or read in one pass; values then are not kept."""
    side = versions.header(version)
    if side.checkpoint is None:
        assert side.state is not None
        return Digested(None, {}, side.state)
    assert isinstance(side.checkpoint, RecordedCheckpoint)
    specs = list(side.checkpoint.tensors.values())
    kept = store.get("side", "digests", *version.named_content) if version.content else None
    if kept is not None:
        try:
            return Digested(side.checkpoint, _by_name(specs, decode_summaries(kept)))
        except ValueError:
            pass
    from diffai.tensors.engine import summarise

    opened = versions.open(version, keep=False)
    if opened.checkpoint is None:
        return Digested(None, {}, opened.state)
    try:
        found = summarise(opened.checkpoint, specs, statistics=False, digest=True, threads=threads)
    except SourceError as error:
        return Digested(None, {}, Unreadable(str(error)))
    if opened.identity:  # it names all that was read
        store.put("side", "digests", *version.named_content, value=encode_summaries(found))
    return Digested(side.checkpoint, _by_name(specs, found))


def _by_name(specs: Sequence[TensorSpec], summaries: Sequence[TensorSummary]) -> dict[str, TensorSummary]:
    return {spec.name: summary for spec, summary in zip(specs, summaries, strict=True)}


def pair_digested(old: Digested, new: Digested, alike: Alike, agreeing: Agreeing) -> Pairing:
    """Pair the tensors of two versions as a comparison does."""
    assert old.header is not None and new.header is not None

    def digests(
        left: Sequence[TensorSpec], right: Sequence[TensorSpec]
    ) -> tuple[list[TensorSummary], list[TensorSummary]]:
        return [old.summaries[s.name] for s in left], [new.summaries[s.name] for s in right]

    uses = old.header.uses, new.header.uses
    numbered = Numbered(*uses, agreeing) if all(uses) else None
    return pair_tensors(*one_role(old.header.tensors, new.header.tensors), digests, alike, numbered=numbered)


def same_tensor(old: TensorSpec, new: TensorSpec, before: TensorSummary, after: TensorSummary) -> bool:
    """Whether dtype, shape and bytes are equal; of values that are not at hand it is not known."""
    if old.lacking or new.lacking:
        return False
    return (old.dtype, old.shape, before.digest) == (new.dtype, new.shape, after.digest)


class Survivors:
    """Which tensors have the values that they had, by digests or, where these may mislead, by the values.

    Args:
        open_both: gives the version before and the version itself with their values.
        store: where the verdicts on equal dtypes are remembered.
        threads: 0 = as many as help.
    """

    def __init__(self, open_both: Callable[[], tuple[Checkpoint, Checkpoint]], store: Store, threads: int) -> None:
        self._open_both, self._store, self._threads = open_both, store, threads

    def among(
        self, pairs: Sequence[Pair], before: Sequence[TensorSummary], after: Sequence[TensorSummary]
    ) -> set[str]:
        """Names of the tensors, among pairs of the same shape, that have the values that they had.

        Raises:
            SourceError: values that a cast needs are not to be had.
        """
        kept, casts, others, digests = set[str](), list[Pair](), list[Pair](), list[str]()
        for (was, spec), a, b in zip(pairs, before, after, strict=True):
            if same_tensor(was, spec, a, b):
                kept.add(spec.name)
            elif was.shape != spec.shape or was.lacking or spec.lacking:
                continue
            elif was.dtype != spec.dtype:
                casts.append((was, spec))
            elif spec.dtype[0] not in "IU":  # of two zeros, or several NaN, one is as good as another
                others.append((was, spec))
                digests.append(f"{spec.dtype} {a.digest} {b.digest}")
        return kept | self._compared(casts) | self._remembered(others, digests)

    def _remembered(self, pairs: Sequence[Pair], digests: Sequence[str]) -> set[str]:
        key = ("values", blake2b(" ".join(digests).encode(), digest_size=20).hexdigest())
        known = self._store.get("pair", *key) if pairs else []
        if not isinstance(known, list):
            try:
                found = self._compared(pairs)
            except SourceError:  # bytes that are gone, of which the digest is remembered: they differ
                return set()
            known = [spec.name in found for _, spec in pairs]
            self._store.put("pair", *key, value=known)
        return {spec.name for (_, spec), same in zip(pairs, known, strict=False) if same is True}

    def _compared(self, pairs: Sequence[Pair]) -> set[str]:
        """By their values, as a comparison does: what a cast rounded is no change."""
        from diffai.tensors.engine import NumericOptions, compare_pairs

        if not pairs:
            return set()
        figures = compare_pairs(*self._open_both(), pairs, NumericOptions(threads=self._threads, statistics=False))
        return {spec.name for (_, spec), found in zip(pairs, figures, strict=True) if not values_changed(found)}


def digest_diff(
    old: Input, new: Input, sides: tuple[Digested, Digested], options: CompareOptions, alike: Alike,
    agreeing: Agreeing,
) -> ModelDiff:  # fmt: skip
    """A comparison in which a changed tensor is known to differ, but not by how much.

    Args:
        old, new: headers of both versions.
        sides: their digests.
        options: of the comparison.
        alike: pairs tensors by their values, where nothing else tells which is which.
        agreeing: keeps the pairs whose values agree.
    """
    diff = compare_models(old, new, replace(options, shape_only=True, find_renames=False))
    before, after = sides
    if before.header is None or after.header is None:
        return replace(diff, left_out=(), options=options)
    pairing = pair_digested(before, after, alike, agreeing)
    wanted = {change.name for change in diff.tensors}
    changes: list[TensorChange] = []
    for a, b, evidence in (*((a, b, "") for a, b in pairing.same_name), *pairing.renamed):
        if b.name not in wanted:
            continue
        same = same_tensor(a, b, before.summaries[a.name], after.summaries[b.name])
        reason = a.lacking or b.lacking
        change = classify(a, b, _IDENTICAL if same else None, evidence=evidence, reason=reason)
        if not same and not reason and a.shape == b.shape and a.dtype == b.dtype:
            status = tuple(s for s in change.status if s != "uncompared")
            change = replace(change, status=(*status, "changed"))
        changes.append(change)
    changes += [TensorChange(s.name, ("added",), new=s) for s in pairing.added if s.name in wanted]
    changes += [TensorChange(s.name, ("removed",), old=s) for s in pairing.removed if s.name in wanted]
    changes.sort(key=lambda change: natural_key(change.name))
    left_out = tuple(note for note in diff.left_out if note.what != "tensor pairs")
    return replace(diff, options=options, tensors=tuple(changes), left_out=left_out, totals=count(changes))
