"""Which tensor of the old side is which tensor of the new side: by name, by a rule of names, by digest, by values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from diffai.comparison.result import RenameEvidence
from diffai.frozen import frozen
from diffai.model import TensorSpec, TensorSummary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.comparison.numbered import Numbered

Specs = Mapping[str, TensorSpec]
Digests = Callable[[Sequence[TensorSpec], Sequence[TensorSpec]], tuple[list[TensorSummary], list[TensorSummary]]]
Alike = Callable[[Sequence[TensorSpec], Sequence[TensorSpec]], list[tuple[TensorSpec, TensorSpec]]]
Permuted = Callable[[Sequence[TensorSpec], Sequence[TensorSpec]], list[tuple[TensorSpec, TensorSpec, tuple[int, ...]]]]
Renamed = tuple[TensorSpec, TensorSpec, RenameEvidence]
_Kind = tuple[str, tuple[int, ...], str]
_Content = tuple[TensorSpec, tuple[_Kind, str]]


@frozen
class Pairing:
    """Pairs in no particular order, and what has no partner.

    ``names`` are those that both sides have, in the old side's file order. ``renamed`` holds
    (old, new, evidence); pairs with evidence ``digest`` have equal bytes. ``axes``: by new name, the order of axes of
    pairs with evidence ``permuted``. ``idle``: rules of a map that gave no pair.
    """

    old: Mapping[str, TensorSpec]
    new: Mapping[str, TensorSpec]
    names: tuple[str, ...]
    renamed: tuple[Renamed, ...]
    removed: tuple[TensorSpec, ...]
    added: tuple[TensorSpec, ...]
    axes: Mapping[str, tuple[int, ...]] = {}
    idle: tuple[tuple[str, str], ...] = ()

    @property
    def same_name(self) -> Iterator[tuple[TensorSpec, TensorSpec]]:
        """The pairs of one name; made when asked for, since there may be 100,000."""
        return ((self.old[name], self.new[name]) for name in self.names)


def pair_tensors(
    old: Specs,
    new: Specs,
    digests: Digests | None,
    alike: Alike | None = None,
    *,
    permuted: Permuted | None = None,
    name_map: Sequence[tuple[str, str]] = (),
    find_renames: bool = True,
    numbered: Numbered | None = None,
) -> Pairing:
    """Pair two sets of specs; the same pairs come out when both are exchanged.

    First by the map that the user gave, whatever else the names say; then by name, unless a name is one that every
    export gives anew; then by rules of names (:mod:`diffai.comparison.rules`), whatever their values; of the rest
    those of equal bytes, those of numbered names that are used alike, those equal after permuting axes, then those
    whose values are each other's best.

    Args:
        old, new: specs by name.
        digests: computes summaries (with digest) of candidates of both sides; None when values may not be read.
        alike: finds the pairs among candidates that are alike enough in their values; None when values may not be read.
        permuted: finds the pairs that are equal after permuting axes; None when values may not be read.
        name_map: rules (old, new) as :mod:`diffai.comparison.name_map` has them.
        find_renames: whether unmatched names are looked at at all.
        numbered: what is known of names that every export gives anew; None where there are none.

    """
    if old is new and not name_map:
        return Pairing(old, new, tuple(old), (), (), ())
    given: list[tuple[str, str]] = []
    idle: list[tuple[str, str]] = []
    if name_map:
        from diffai.comparison.name_map import mapped

        given, idle = mapped(old, new, name_map)
    taken = [{pair[side] for pair in given} for side in (0, 1)]
    same = tuple([name for name in old if name in new and name not in taken[0] and name not in taken[1]])
    loose = {name for name in same if numbered.loose(name)} if find_renames and numbered is not None else ()
    if loose:
        same = tuple([name for name in same if name not in loose])
    kept = set(same)
    gone = {name: spec for name, spec in old.items() if name not in kept and name not in taken[0]}
    come = {name: spec for name, spec in new.items() if name not in kept and name not in taken[1]}
    same += tuple(before for before, after in given if before == after)
    renamed: list[Renamed] = [(old[before], new[after], "map") for before, after in given if before != after]
    axes: dict[str, tuple[int, ...]] = {}
    if find_renames and gone and come:
        from diffai.comparison.rules import renamings

        sides = (gone, come) if given else (old, new)
        if numbered is not None:  # a rule of numbers is chance
            left = {name: spec for name, spec in sides[0].items() if name not in numbered.old}
            sides = left, {name: spec for name, spec in sides[1].items() if name not in numbered.new}
        for kind, names in renamings(*sides):
            renamed += [(gone.pop(before), come.pop(after), kind) for before, after in names]
        if digests is not None:
            renamed += _by_digest(gone, come, digests, numbered, renamed)
        if gone and come and numbered is not None:
            renamed += _by_use(gone, come, numbered)
        if permuted is not None and gone and come:
            for before, after, order in permuted(tuple(gone.values()), tuple(come.values())):
                renamed.append((gone.pop(before.name), come.pop(after.name), "permuted"))
                axes[after.name] = order
        if alike is not None and gone and come:
            renamed += _by_values(gone, come, alike)
    if loose:
        renamed, same = _settled(renamed, same, gone, come)
    return Pairing(old, new, same, tuple(renamed), tuple(gone.values()), tuple(come.values()), axes, tuple(idle))


def _settled(
    renamed: list[Renamed], same: tuple[str, ...], gone: dict[str, TensorSpec], come: dict[str, TensorSpec]
) -> tuple[list[Renamed], tuple[str, ...]]:
    """What kept its numbered name after all is no rename; of what nothing else tells, the name does."""
    kept = [before.name for before, after, _ in renamed if before.name == after.name]
    rest = [name for name in gone if name in come]
    for name in rest:
        del gone[name], come[name]
    return [each for each in renamed if each[0].name != each[1].name], (*same, *kept, *rest)


def _by_use(gone: dict[str, TensorSpec], come: dict[str, TensorSpec], numbered: Numbered) -> list[Renamed]:
    """Pair what is used alike and whose values agree; takes the pairs out of ``gone`` and ``come``."""
    pairs = [(gone[before], come[after]) for before, after in numbered.pairs(gone, come)]
    if numbered.agreeing is not None:
        pairs = numbered.agreeing(pairs)
    return [(gone.pop(before.name), come.pop(after.name), "use") for before, after in pairs]


def _by_values(gone: dict[str, TensorSpec], come: dict[str, TensorSpec], alike: Alike) -> list[Renamed]:
    """Pair by likeness; takes the paired ones out of ``gone`` and ``come``. Training state is no one's likeness."""
    kinds = {s.shape for s in gone.values()} & {s.shape for s in come.values()}
    sides = [[s for s in side.values() if s.shape in kinds and s.role == "weight"] for side in (gone, come)]
    if not all(sides):
        return []
    return [(gone.pop(before.name), come.pop(after.name), "values") for before, after in alike(*sides)]


def _by_digest(
    gone: dict[str, TensorSpec], come: dict[str, TensorSpec], digests: Digests, numbered: Numbered | None,
    renamed: Sequence[Renamed],
) -> list[Renamed]:  # fmt: skip
    """Pair by equal dtype, shape, role and digest, one to one; takes the paired ones out of ``gone`` and ``come``.

    Constants only inside layers that these pairs, or those of rules of names (``renamed``), prove to be one.
    """
    kinds = {_kind(s) for s in gone.values()} & {_kind(s) for s in come.values()}
    left = [s for s in gone.values() if _kind(s) in kinds and s.nbytes and not s.lacking]
    right = [s for s in come.values() if _kind(s) in kinds and s.nbytes and not s.lacking]
    if not left or not right:
        return []
    left_summaries, right_summaries = digests(left, right)
    constants: tuple[list[_Content], list[_Content]] = ([], [])
    by_content: dict[tuple[_Kind, str], tuple[list[TensorSpec], list[TensorSpec]]] = {}
    for side, specs, summaries in ((0, left, left_summaries), (1, right, right_summaries)):
        for spec, summary in zip(specs, summaries, strict=True):
            if summary.constant:
                constants[side].append((spec, (_kind(spec), summary.digest)))
            else:
                by_content.setdefault((_kind(spec), summary.digest), ([], []))[side].append(spec)
    found: list[Renamed] = []
    for olds, news in by_content.values():
        for before, after in _closest(olds, news, numbered):
            found.append((gone.pop(before.name), come.pop(after.name), "digest"))
    proven = [(before.name, after.name) for before, after, _ in (*renamed, *found)]
    if proven and all(constants):
        from diffai.comparison.constants import pair_constants

        for before, after in pair_constants(proven, *constants):
            found.append((gone.pop(before.name), come.pop(after.name), "digest"))
    return found


def _kind(spec: TensorSpec) -> _Kind:
    return spec.dtype, spec.shape, spec.role


def _closest(
    olds: list[TensorSpec], news: list[TensorSpec], numbered: Numbered | None
) -> list[tuple[TensorSpec, TensorSpec]]:
    """One-to-one pairs of equal content: those used alike first, then the most similar names, on whichever side."""
    from diffai.comparison.rules import shared_ends

    if len(olds) == 1 == len(news):
        return [(olds[0], news[0])]
    if len(olds) * len(news) > 250_000:  # thousands of copies of one tensor: similarity would take minutes
        return list(zip(olds, news, strict=False))
    ranked = sorted(
        (
            -numbered.alike(a.name, b.name) if numbered is not None else 0,
            -shared_ends(a.name, b.name), min(a.name, b.name), max(a.name, b.name), i, j,
        )
        for i, a in enumerate(olds)
        for j, b in enumerate(news)
    )
    used_old: set[int] = set()
    used_new: set[int] = set()
    pairs = []
    for *_, i, j in ranked:
        if i not in used_old and j not in used_new:
            used_old.add(i)
            used_new.add(j)
            pairs.append((olds[i], news[j]))
    return pairs
