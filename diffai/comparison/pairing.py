"""Which tensor of the old side is which tensor of the new side: by name, by digest, by common prefix or suffix."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from diffai.comparison.names import common_renames, shared_ends
from diffai.comparison.result import RenameEvidence
from diffai.frozen import frozen
from diffai.model import Checkpoint, TensorSpec, TensorSummary

Summarise = Callable[[Checkpoint, Sequence[TensorSpec]], list[TensorSummary]]


@frozen
class Pairing:
    """Pairs in no particular order, and what has no partner.

    ``names`` are those that both sides have, in the old side's file order. ``renamed`` holds
    (old, new, evidence); pairs with evidence ``digest`` have equal bytes.
    """

    old: Mapping[str, TensorSpec]
    new: Mapping[str, TensorSpec]
    names: tuple[str, ...]
    renamed: tuple[tuple[TensorSpec, TensorSpec, RenameEvidence], ...]
    removed: tuple[TensorSpec, ...]
    added: tuple[TensorSpec, ...]

    @property
    def same_name(self) -> Iterator[tuple[TensorSpec, TensorSpec]]:
        """The pairs of one name; made when asked for, since there may be 100,000."""
        return ((self.old[name], self.new[name]) for name in self.names)


def pair_tensors(
    old: Mapping[str, TensorSpec],
    new: Mapping[str, TensorSpec],
    digests: Callable[[Sequence[TensorSpec], Sequence[TensorSpec]], tuple[list[TensorSummary], list[TensorSummary]]]
    | None,
    *,
    find_renames: bool = True,
) -> Pairing:
    """Pair two sets of specs.

    Args:
        old, new: specs by name.
        digests: computes summaries (with digest) of candidates of both sides; None when values may not be read.
        find_renames: whether unmatched names are looked at at all.

    """
    if old is new:
        return Pairing(old, new, tuple(old), (), (), ())
    same = tuple([name for name in old if name in new])
    gone = {name: spec for name, spec in old.items() if name not in new}
    come = {name: spec for name, spec in new.items() if name not in old}
    renamed: list[tuple[TensorSpec, TensorSpec, RenameEvidence]] = []
    if find_renames and gone and come:
        if digests is not None:
            renamed += _by_digest(gone, come, digests)
        pairs, kind = common_renames(
            {name: spec.shape for name, spec in gone.items()}, {name: spec.shape for name, spec in come.items()}
        )
        evidence: RenameEvidence = "prefix" if kind == "prefix" else "suffix"
        for before, after in pairs.items():
            renamed.append((gone.pop(before), come.pop(after), evidence))
    return Pairing(old, new, same, tuple(renamed), tuple(gone.values()), tuple(come.values()))


def _by_digest(
    gone: dict[str, TensorSpec],
    come: dict[str, TensorSpec],
    digests: Callable[[Sequence[TensorSpec], Sequence[TensorSpec]], tuple[list[TensorSummary], list[TensorSummary]]],
) -> list[tuple[TensorSpec, TensorSpec, RenameEvidence]]:
    """Pair by equal dtype, shape and digest, one to one; takes the paired ones out of ``gone`` and ``come``."""
    kinds = {(s.dtype, s.shape) for s in gone.values()} & {(s.dtype, s.shape) for s in come.values()}
    left = [s for s in gone.values() if (s.dtype, s.shape) in kinds and s.nbytes]
    right = [s for s in come.values() if (s.dtype, s.shape) in kinds and s.nbytes]
    if not left or not right:
        return []
    left_summaries, right_summaries = digests(left, right)
    by_content: dict[tuple[str, tuple[int, ...], str], tuple[list[TensorSpec], list[TensorSpec]]] = {}
    for side, specs, summaries in ((0, left, left_summaries), (1, right, right_summaries)):
        for spec, summary in zip(specs, summaries, strict=True):
            if not summary.constant:
                key = (spec.dtype, spec.shape, summary.digest)
                by_content.setdefault(key, ([], []))[side].append(spec)
    found: list[tuple[TensorSpec, TensorSpec, RenameEvidence]] = []
    for olds, news in by_content.values():
        for before, after in _closest(olds, news):
            found.append((gone.pop(before.name), come.pop(after.name), "digest"))
    return found


def _closest(olds: list[TensorSpec], news: list[TensorSpec]) -> list[tuple[TensorSpec, TensorSpec]]:
    """One-to-one pairs of equal content, the most similar names first."""
    if len(olds) == 1 == len(news):
        return [(olds[0], news[0])]
    if len(olds) * len(news) > 250_000:  # thousands of copies of one tensor: similarity would take minutes
        return list(zip(olds, news, strict=False))
    ranked = sorted(
        ((-shared_ends(a.name, b.name), i, j) for i, a in enumerate(olds) for j, b in enumerate(news)),
    )
    used_old: set[int] = set()
    used_new: set[int] = set()
    pairs = []
    for _, i, j in ranked:
        if i not in used_old and j not in used_new:
            used_old.add(i)
            used_new.add(j)
            pairs.append((olds[i], news[j]))
    return pairs
