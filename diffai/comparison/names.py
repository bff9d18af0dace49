"""Names of tensors: natural order, similarity, and the prefix or suffix change that many names share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from diffai.model import natural_key

__all__ = ["common_renames", "natural_key", "shared_ends"]


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


def common_renames(
    old: Mapping[str, tuple[int, ...]], new: Mapping[str, tuple[int, ...]]
) -> tuple[dict[str, str], str]:
    """Pair names that differ by one common prefix, or one common suffix, over many names.

    Args:
        old: unmatched names of the old side with their shapes.
        new: the same of the new side.

    Returns:
        (old name -> new name, "prefix" or "suffix"); empty when no single change explains at least three
        names, or all names of both sides where there are only two. A change explains a name only when the
        shapes agree, and it is dropped if it leads any other name to a partner of another shape.

    """
    best: dict[str, str] = {}
    kind = ""
    for candidate_kind in ("prefix", "suffix"):
        for change in _candidates(old, new, candidate_kind):
            pairs = _apply(change, candidate_kind, old, new)
            enough = len(pairs) >= 3 or (len(pairs) == 2 == len(old) == len(new))
            if enough and len(pairs) > len(best):
                best, kind = pairs, candidate_kind
    return best, kind


def _candidates(
    old: Mapping[str, tuple[int, ...]], new: Mapping[str, tuple[int, ...]], kind: str
) -> list[tuple[str, str]]:
    """Changes (old part, new part) voted for by a sample of the names, most votes first."""
    by_anchor: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for name, shape in new.items():
        by_anchor.setdefault((_anchor(name, kind), shape), []).append(name)
    votes: dict[tuple[str, str], int] = {}
    for name in _sample(old):
        for other in by_anchor.get((_anchor(name, kind), old[name]), ())[:200]:
            change = _difference(name, other, kind)
            votes[change] = votes.get(change, 0) + 1
    return sorted(votes, key=lambda change: (-votes[change], len(change[0]) + len(change[1]), change))[:8]


def _sample(names: Mapping[str, object], most: int = 64) -> Iterable[str]:
    """At most ``most`` names, evenly spread."""
    ordered = list(names)
    return ordered[:: max(1, len(ordered) // most)]


def _anchor(name: str, kind: str) -> str:
    """The part of a name that such a change leaves alone."""
    return name.rpartition(".")[2] if kind == "prefix" else name.partition(".")[0]


def _difference(a: str, b: str, kind: str) -> tuple[str, str]:
    """What remains at the front (or the end) of two names after their longest common dotted end."""
    left, right = a.split("."), b.split(".")
    if kind == "prefix":
        left, right = left[::-1], right[::-1]
    same = 0
    while same < min(len(left), len(right)) and left[same] == right[same]:
        same += 1
    rest_a, rest_b = left[same:], right[same:]
    if kind == "prefix":
        rest_a, rest_b = rest_a[::-1], rest_b[::-1]
        return "".join(part + "." for part in rest_a), "".join(part + "." for part in rest_b)
    return "".join("." + part for part in rest_a), "".join("." + part for part in rest_b)


def _apply(
    change: tuple[str, str], kind: str, old: Mapping[str, tuple[int, ...]], new: Mapping[str, tuple[int, ...]]
) -> dict[str, str]:
    """All pairs the change leads to; none when it leads anywhere to another shape."""
    before, after = change
    pairs: dict[str, str] = {}
    for name, shape in old.items():
        if kind == "prefix" and name.startswith(before):
            other = after + name[len(before) :]
        elif kind == "suffix" and name.endswith(before):
            other = name[: len(name) - len(before)] + after
        else:
            continue
        if other in new:
            if new[other] != shape:
                return {}
            pairs[name] = other
    return pairs
