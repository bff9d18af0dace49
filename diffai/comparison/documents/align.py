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
Run = tuple[int, int, int]
"""Neighbours that are equal on both sides: their first places, and how many they are."""

_MOST_STEPS = 2_000_000
_MANY = 50_000
"""Elements from which on numpy finds the anchors, in a tenth of the memory that dictionaries take."""


class Aligner:
    """Aligns lists of fingerprints; one for a whole comparison, since the budget of exact steps is shared."""

    def __init__(self) -> None:
        self._steps = _MOST_STEPS

    def equal_runs(self, old: Sequence[int], new: Sequence[int]) -> list[Run]:
        """Runs of equal elements, both ascending, which do not touch each other; each element is used once."""
        start = _equal_from(old, new, (0, 0), (len(old), len(new)))
        stop = _equal_before(old, new, (start, start), (len(old), len(new)))
        ends = (len(old) - stop, len(new) - stop)
        runs: list[Run] = [(0, 0, start)]
        at = (start, start)
        for i, j, length in [*_anchors(old, new, at, ends), (*ends, 0)]:
            over = max(0, at[0] - i, at[1] - j)  # an anchor that the run before has reached
            if over and over >= length:
                continue
            i, j, length = i + over, j + over, length - over
            back = _equal_before(old, new, at, (i, j))
            runs += self._exact(old, new, at, (i - back, j - back))
            ahead = _equal_from(old, new, (i + length, j + length), ends)
            runs.append((i - back, j - back, back + length + ahead))
            at = (i + length + ahead, j + length + ahead)
        return _joined([*runs, (*ends, stop)])

    def _exact(self, old: Sequence[int], new: Sequence[int], begin: Pair, end: Pair) -> list[Run]:
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
        found: list[Run] = []
        i = j = 0
        while i < rows and j < columns:
            if old[begin[0] + i] == new[begin[1] + j]:
                found.append((begin[0] + i, begin[1] + j, 1))
                i, j = i + 1, j + 1
            elif lengths[i + 1][j] >= lengths[i][j + 1]:
                i += 1
            else:
                j += 1
        return found


def gaps(runs: Sequence[Run], old: int, new: int) -> list[tuple[Pair, Pair]]:
    """What lies between runs in lists of these lengths: (first of both, end of both), none of them empty."""
    found = []
    at = (0, 0)
    for i, j, length in [*runs, (old, new, 0)]:
        if i > at[0] or j > at[1]:
            found.append((at, (i, j)))
        at = (i + length, j + length)
    return found


def _equal_from(old: Sequence[int], new: Sequence[int], begin: Pair, end: Pair) -> int:
    """How many elements are equal from two places on."""
    most = min(end[0] - begin[0], end[1] - begin[1])
    count = 0
    while count < most and old[begin[0] + count] == new[begin[1] + count]:
        count += 1
    return count


def _equal_before(old: Sequence[int], new: Sequence[int], begin: Pair, end: Pair) -> int:
    """How many elements are equal before two places."""
    most = min(end[0] - begin[0], end[1] - begin[1])
    count = 0
    while count < most and old[end[0] - count - 1] == new[end[1] - count - 1]:
        count += 1
    return count


def _joined(runs: Sequence[Run]) -> list[Run]:
    """Runs without empty ones, those that touch made one."""
    found: list[Run] = []
    for i, j, length in runs:
        if not length:
            continue
        if found and (found[-1][0] + found[-1][2], found[-1][1] + found[-1][2]) == (i, j):
            found[-1] = (found[-1][0], found[-1][1], found[-1][2] + length)
        else:
            found.append((i, j, length))
    return found


def _anchors(old: Sequence[int], new: Sequence[int], begin: Pair, end: Pair) -> list[Run]:
    """Elements that stand once on either side, as many as keep their order."""
    if max(end[0] - begin[0], end[1] - begin[1]) > _MANY:
        return _many_anchors(old, new, begin, end)
    before = Counter(old[begin[0] : end[0]])
    after = {value: place for place, value in enumerate(new[begin[1] : end[1]], begin[1])}
    once = Counter(new[begin[1] : end[1]])
    pairs = [
        (place, after[old[place]])
        for place in range(begin[0], end[0])
        if before[old[place]] == 1 and once.get(old[place]) == 1
    ]
    return _joined([(i, j, 1) for i, j in _longest_increasing(pairs)])


def _many_anchors(old: Sequence[int], new: Sequence[int], begin: Pair, end: Pair) -> list[Run]:
    """The same by sorting, as runs from the start."""
    import numpy as np

    sides = []
    for values, first, last in ((old, begin[0], end[0]), (new, begin[1], end[1])):
        unique, places, counts = np.unique(
            np.asarray(values[first:last], np.int64), return_index=True, return_counts=True
        )
        sides.append((unique[counts == 1], places[counts == 1] + first))
    _, i, j = np.intersect1d(sides[0][0], sides[1][0], assume_unique=True, return_indices=True)
    before, after = sides[0][1][i], sides[1][1][j]
    order = np.argsort(before)
    before, after = before[order], after[order]
    if len(after) and not bool((np.diff(after) > 0).all()):
        kept = _longest_increasing(list(zip(before.tolist(), after.tolist(), strict=True)))
        before, after = np.array(kept, np.int64).reshape(-1, 2).T
    breaks = np.flatnonzero((np.diff(before) != 1) | (np.diff(after) != 1)) + 1
    firsts = np.concatenate(([0], breaks)) if len(before) else breaks
    lengths = np.diff(np.concatenate((firsts, [len(before)])))
    return list(zip(before[firsts].tolist(), after[firsts].tolist(), lengths.tolist(), strict=True))


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
