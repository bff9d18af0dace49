"""Rules of renaming: one change of a prefix, a suffix or a segment that leads from many old names to new ones.

Names alone decide here. A rule is believed when it maps at least three names (or both of two), when what it maps agrees
in rank with few exceptions, when the neighbours of what it maps do not contradict it, and when most shapes agree or it
explains a whole side. Of two rules that explain as much and contradict each other neither is believed. Every step
treats both sides alike, so that the answer is the same in both directions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from diffai.frozen import frozen
from diffai.model import TensorSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    RuleKind = Literal["prefix", "suffix", "segment"]
else:
    RuleKind = str

KINDS: tuple[RuleKind, ...] = ("prefix", "suffix", "segment")
"""Of rules that give the same pairs the first one names them."""

Specs = Mapping[str, TensorSpec]
Names = Sequence[tuple[str, str]]

_SAMPLE = 64
_PARTNERS = 100
_TRIED = 8
_MANY = 5000
_SCANNED = 10_000
_ASKED = 4096
_MOST_RULES = 32
_FEWEST = 3
_CONTRADICTED = 0.25
"""Part of the names a rule maps whose rank differs, or whose neighbours', that does not yet refute it."""


@frozen
class Renaming:
    """A rule: ``old`` dotted parts at the front (prefix), at the end (suffix) or within (segment) become ``new``."""

    kind: RuleKind
    old: tuple[str, ...]
    new: tuple[str, ...]


def renamings(old: Specs, new: Specs) -> list[tuple[RuleKind, Names]]:
    """Pairs of names that only one side has, by the rules that explain them, the rule that explains most first.

    Args:
        old, new: all specs of both sides.
    """
    left = {name: spec for name, spec in old.items() if name not in new}
    right = {name: spec for name, spec in new.items() if name not in old}
    found: list[tuple[RuleKind, Names]] = []
    while len(left) > 1 and len(right) > 1 and len(found) < _MOST_RULES:
        best = _best(left, right, (old, new))
        if best is None:
            break
        found.append(best)
        for before, after in best[1]:
            del left[before], right[after]
    return found


def _best(old: Specs, new: Specs, whole: tuple[Specs, Specs]) -> tuple[RuleKind, Names] | None:
    """The believed rule that maps most, counting those of equal shape twice, and that no rule as good contradicts.

    Of rules that map as much the better one keeps more of the names.
    """
    believed: list[tuple[int, RuleKind, Names]] = []
    for rules in _candidates(old, new):
        for rule in rules:
            pairs = apply(rule, old, new)
            if _believed(pairs, old, new, whole) and not any(kept == pairs for _, _, kept in believed):
                believed.append((len(pairs) + sum(old[a].shape == new[b].shape for a, b in pairs), rule.kind, pairs))
        if len(old) > _MANY and any(size == 2 * min(len(old), len(new)) for size, _, _ in believed):
            break  # nothing can explain more
    alone = len(believed) == 1
    found = [((n, 0 if alone else sum(shared_ends(*p) for p in pairs)), k, pairs) for n, k, pairs in believed]
    found.sort(key=lambda item: item[0], reverse=True)
    for place, (score, _, pairs) in enumerate(found):
        rivals = [other for value, _, other in found if value >= score]
        if not _conflict_any(pairs, rivals):
            # Which of several such comes first must not depend on the direction.
            equal = [item for item in found[place:] if item[0] == score and not _conflict_any(item[2], rivals)]
            return min(((kind, each) for _, kind, each in equal), key=lambda item: _order(item[1]))
    return None


def _conflict_any(pairs: Names, others: Iterable[Names]) -> bool:
    return any(_conflict(pairs, other) for other in others)


def _conflict(pairs: Names, others: Names) -> bool:
    """Whether two rules pair one name differently."""
    if pairs is others:
        return False
    forth, back = dict(pairs), {b: a for a, b in pairs}
    return any(forth.get(a, b) != b or back.get(b, a) != a for a, b in others)


def _order(pairs: Names) -> list[tuple[str, str]]:
    """A key of pairs that does not tell the sides apart."""
    return sorted((min(pair), max(pair)) for pair in pairs)


# ---------------------------------------------------------------- applying


def apply(rule: Renaming, old: Specs, new: Specs) -> Names:
    """All pairs of names that a rule leads to, one to one; what it would lead to twice is left out.

    Tensors of different roles are never a pair.
    """
    found: list[tuple[str, str]] = []
    befores: dict[str, int] = {}
    afters: dict[str, int] = {}
    for name in old:
        for other in images(rule, name):
            if other in new and new[other].role == old[name].role:
                found.append((name, other))
                befores[name] = befores.get(name, 0) + 1
                afters[other] = afters.get(other, 0) + 1
    return [(a, b) for a, b in found if befores[a] == 1 == afters[b]]


def images(rule: Renaming, name: str) -> Iterable[str]:
    """What a rule makes of a name: nothing where it does not apply, several where a segment stands in it twice."""
    old, new = ".".join(rule.old), ".".join(rule.new)
    if rule.kind == "prefix":
        if not old or name.startswith(old + "."):
            yield (f"{new}." if new else "") + name[len(old) + 1 if old else 0 :]
    elif rule.kind == "suffix":
        if not old or name.endswith("." + old):
            yield name[: len(name) - len(old) - 1 if old else len(name)] + (f".{new}" if new else "")
    elif old in name:
        parts, size = name.split("."), len(rule.old)
        for place in range(len(parts) - size + 1):
            if tuple(parts[place : place + size]) == rule.old:
                yield ".".join([*parts[:place], *rule.new, *parts[place + size :]])


def _believed(pairs: Names, old: Specs, new: Specs, whole: tuple[Specs, Specs]) -> bool:
    """Whether names alone prove the rule that gave these pairs."""
    if len(pairs) < _FEWEST and not (len(pairs) == 2 == len(old) == len(new)):
        return False
    mine, theirs = whole
    asked = pairs if len(pairs) <= _ASKED else sorted(pairs, key=min)[:: len(pairs) // _ASKED]
    wrong = sum(_contradicted(a, b, mine, theirs) or _contradicted(b, a, theirs, mine) for a, b in asked)
    if wrong > _CONTRADICTED * len(asked):
        return False
    same = sum(old[a].shape == new[b].shape for a, b in pairs)
    return len(pairs) == min(len(old), len(new)) or 2 * same >= len(pairs)


def _contradicted(name: str, other: str, mine: Specs, theirs: Specs) -> bool:
    """Whether ranks differ between a pair, or between neighbours of the two that share a last part.

    The bias of a linear layer is not that of the normalisation that came in its place: their weights differ in rank.
    """
    if len(mine[name].shape) != len(theirs[other].shape):
        return True
    module, dot, leaf = name.rpartition(".")
    other_module, other_dot, _ = other.rpartition(".")
    for neighbour in ("weight", "bias"):
        if neighbour == leaf:
            continue
        a, b = mine.get(module + dot + neighbour), theirs.get(other_module + other_dot + neighbour)
        if a is not None and b is not None and len(a.shape) != len(b.shape):
            return True
    return False


# ---------------------------------------------------------------- guessing


def _candidates(old: Specs, new: Specs) -> list[list[Renaming]]:
    """Rules of each kind, voted for by a sample of the names of both sides, most votes first."""
    votes: dict[Renaming, int] = {}
    for a, b in {*_partners(old, new), *((a, b) for b, a in _partners(new, old))}:
        for rule in set(differences(a.split("."), b.split("."))):
            votes[rule] = votes.get(rule, 0) + 1
    found: dict[RuleKind, list[Renaming]] = {kind: [] for kind in KINDS}
    for rule, number in votes.items():
        if number > 1:
            found[rule.kind].append(rule)
    for rules in found.values():
        rules.sort(key=lambda rule: (-votes[rule], len(rule.old) + len(rule.new), _sides(rule), rule.old))
    return [rules[:_TRIED] for rules in found.values()]


def _sides(rule: Renaming) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return min(rule.old, rule.new), max(rule.old, rule.new)


def _partners(mine: Specs, theirs: Specs) -> Iterable[tuple[str, str]]:
    """Names of a sample of one side, each with those of the other that share its longest end or beginning."""
    ordered = sorted(mine)
    sample = [(name, _anchors(name)) for name in ordered[:: max(1, len(ordered) // _SAMPLE)]]
    wanted: dict[tuple[str, ...], list[str]] = {anchor: [] for _, anchors in sample for anchor in anchors}
    open_ = dict(wanted)
    for name in sorted(theirs)[:: max(1, len(theirs) // _SCANNED)]:
        if not open_:
            break
        for anchor in _anchors(name):
            near = open_.get(anchor)
            if near is not None:
                near.append(name)
                if len(near) == _PARTNERS:
                    del open_[anchor]
    for name, anchors in sample:
        for end in ("tail", "head"):
            for other in next((wanted[each] for each in anchors if each[0] == end and wanted[each]), ()):
                yield name, other


def _anchors(name: str) -> list[tuple[str, ...]]:
    """Ends and beginnings of a name, the longest first."""
    parts = tuple(name.split("."))
    sizes = [size for size in (4, 3, 2, 1) if size <= len(parts)]
    return [("tail", *parts[-size:]) for size in sizes] + [("head", *parts[:size]) for size in sizes]


def differences(a: Sequence[str], b: Sequence[str]) -> Iterable[Renaming]:
    """The rules that lead from one name to another: the part in which they differ, at the front, end or within."""
    shortest = min(len(a), len(b))
    tail = 0
    while tail < shortest and a[-1 - tail] == b[-1 - tail]:
        tail += 1
    head = 0
    while head < shortest and a[head] == b[head]:
        head += 1
    yield Renaming("prefix", tuple(a[: len(a) - tail]), tuple(b[: len(b) - tail]))
    yield Renaming("suffix", tuple(a[head:]), tuple(b[head:]))
    head = min(head, shortest - tail)
    old, new = tuple(a[head : len(a) - tail]), tuple(b[head : len(b) - tail])
    if old and new:
        yield Renaming("segment", old, new)
    else:  # something came or went: the part before or behind it says where
        if head and not a[head - 1].isdigit():
            yield Renaming("segment", (a[head - 1], *old), (b[head - 1], *new))
        if tail and not a[-tail].isdigit():
            yield Renaming("segment", (*old, a[-tail]), (*new, b[-tail]))


def shared_ends(a: str, b: str) -> int:
    """How alike two names are: characters of their common dotted suffix plus of their common prefix."""
    left, right = a.split("."), b.split(".")
    limit = min(len(left), len(right))
    tail = 0
    while tail < limit and left[-1 - tail] == right[-1 - tail]:
        tail += 1
    head = 0
    while head < limit - tail and left[head] == right[head]:
        head += 1
    return 2 * sum(map(len, left[len(left) - tail :])) + sum(map(len, left[:head]))
