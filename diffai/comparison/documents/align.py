"""Which elements of two lists belong together, in time that grows hardly faster than the lists.

Elements that are equal and stand once on either side are anchors where their order agrees (a longest increasing
subsequence: patience diff); equal neighbours extend them; short gaps are solved exactly (longest common subsequence)
as long as a budget of steps lasts.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

Pair = tuple[int, int]

_MOST_STEPS = 2_000_000


class Aligner:
    """Aligns lists of fingerprints; one for a whole comparison, since the budget of exact steps is shared."""

    def __init__(self) -> None:
        self._steps = _MOST_STEPS

    def equal_pairs(self, old: Sequence[int], new: Sequence[int]) -> list[Pair]:
        """Places of equal elements, both ascending, each used once."""
        start, stop = 0, 0
        shorter = min(len(old), len(new))
        while start < shorter and old[start] == new[start]:
            start += 1
        while stop < shorter - start and old[-1 - stop] == new[-1 - stop]:
            stop += 1
        ends = (len(old) - stop, len(new) - stop)
        pairs = [(place, place) for place in range(start)]
        pairs += self._between(old, new, (start, start), ends)
        return pairs + [(ends[0] + place, ends[1] + place) for place in range(stop)]

    def _between(self, old: Sequence[int], new: Sequence[int], begin: Pair, end: Pair) -> list[Pair]:
        found: list[Pair] = []
        at = begin
        for anchor in [*_anchors(old, new, begin, end), end]:
            i, j = anchor
            back = 0
            while i - back > at[0] and j - back > at[1] and old[i - back - 1] == new[j - back - 1]:
                back += 1
            found += self._exact(old, new, at, (i - back, j - back))
            if anchor == end:
                found += [(i - n, j - n) for n in range(back, 0, -1)]
                break
            found += [(i - n, j - n) for n in range(back, -1, -1)]
            at = (i + 1, j + 1)
            while at[0] < end[0] and at[1] < end[1] and old[at[0]] == new[at[1]]:
                found.append(at)
                at = (at[0] + 1, at[1] + 1)
        return _ascending(found)

    def _exact(self, old: Sequence[int], new: Sequence[int], begin: Pair, end: Pair) -> list[Pair]:
        """The longest common subsequence of a gap; nothing where it would take more steps than are left."""
        rows, columns = end[0] - begin[0], end[1] - begin[1]
        if rows <= 0 or columns <= 0 or rows * columns > self._steps:
            return []
        self._steps -= rows * columns
        lengths = [[0] * (columns + 1) for _ in range(rows + 1)]
        for i in range(rows - 1, -1, -1):
            line, below, one = lengths[i], lengths[i + 1], old[begin[0] + i]
            for j in range(columns - 1, -1, -1):
                if one == new[begin[1] + j]:
                    line[j] = below[j + 1] + 1
                else:
                    line[j] = below[j] if below[j] >= line[j + 1] else line[j + 1]
        found: list[Pair] = []
        i = j = 0
        while i < rows and j < columns:
            if old[begin[0] + i] == new[begin[1] + j]:
                found.append((begin[0] + i, begin[1] + j))
                i, j = i + 1, j + 1
            elif lengths[i + 1][j] >= lengths[i][j + 1]:
                i += 1
            else:
                j += 1
        return found


def gaps(pairs: Sequence[Pair], old: int, new: int) -> list[tuple[Pair, Pair]]:
    """What lies between matched places of lists of these lengths: (first of both, end of both), none of them empty."""
    found = []
    at = (0, 0)
    for pair in [*pairs, (old, new)]:
        if pair[0] > at[0] or pair[1] > at[1]:
            found.append((at, pair))
        at = (pair[0] + 1, pair[1] + 1)
    return found


def _anchors(old: Sequence[int], new: Sequence[int], begin: Pair, end: Pair) -> list[Pair]:
    """Places of elements that stand once on either side, as many as keep their order."""
    before = Counter(old[begin[0] : end[0]])
    after = {value: place for place, value in enumerate(new[begin[1] : end[1]], begin[1])}
    once = Counter(new[begin[1] : end[1]])
    pairs = [
        (place, after[old[place]])
        for place in range(begin[0], end[0])
        if before[old[place]] == 1 and once.get(old[place]) == 1
    ]
    return _longest_increasing(pairs)


def _longest_increasing(pairs: list[Pair]) -> list[Pair]:
    """The longest choice of pairs, ascending in their first, that is ascending in their second, too."""
    tails: list[int] = []
    ends: list[int] = []
    previous: list[int] = []
    for place, (_, second) in enumerate(pairs):
        at = bisect_left(tails, second)
        previous.append(ends[at - 1] if at else -1)
        if at == len(tails):
            tails.append(second)
            ends.append(place)
        else:
            tails[at], ends[at] = second, place
    found = []
    place = ends[-1] if ends else -1
    while place >= 0:
        found.append(pairs[place])
        place = previous[place]
    return found[::-1]


def _ascending(pairs: list[Pair]) -> list[Pair]:
    """Those pairs that go on in both lists; an extended match may have run over the next anchor."""
    found: list[Pair] = []
    at = (-1, -1)
    for pair in pairs:
        if pair[0] > at[0] and pair[1] > at[1]:
            found.append(pair)
            at = pair
    return found
