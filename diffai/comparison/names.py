"""Names of tensors: natural order and similarity."""

from __future__ import annotations

from diffai.model import natural_key

__all__ = ["natural_key", "shared_ends"]


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
