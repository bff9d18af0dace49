"""A map of names that the user gives: lines ``old -> new``, each side a name or a glob whose stars go over in order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from diffai.errors import SourceError, UsageError
from diffai.model import TensorSpec

Rules = tuple[tuple[str, str], ...]

_MOST_BYTES = 10_000_000
_MOST_STARS = 6


def read_name_map(path: str) -> Rules:
    """The rules of a file, in order.

    Raises:
        UsageError: a line is no rule; SourceError: the file cannot be read.

    """
    try:
        with open(path, "rb") as file:
            data = file.read(_MOST_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise SourceError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"--map {path}: is not UTF-8 at offset {error.start}") from error
    if len(data) > _MOST_BYTES:
        raise UsageError(f"--map {path}: has more than {_MOST_BYTES:,} bytes")
    rules = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.strip()
        if not words or words.startswith("#"):
            continue
        old, arrow, new = (word.strip() for word in words.partition("->"))
        if not (old and arrow and new):
            raise UsageError(f"--map {path}: line {number} is not OLD -> NEW")
        if old.count("*") != new.count("*") or old.count("*") > _MOST_STARS:
            reason = f"needs the same number of * on both sides, at most {_MOST_STARS}"
            raise UsageError(f"--map {path}: line {number} {reason}")
        rules.append((old, new))
    return tuple(rules)


def mapped(
    old: Mapping[str, TensorSpec], new: Mapping[str, TensorSpec], rules: Sequence[tuple[str, str]]
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Pairs of names by the first rule that leads to a name there is, one to one; and the rules that gave none."""
    pairs: list[tuple[str, str]] = []
    taken: tuple[set[str], set[str]] = (set(), set())
    idle = []
    for before, after in rules:
        found = False
        for name, other in _images(before, after, old):
            if other in new and name not in taken[0] and other not in taken[1]:
                pairs.append((name, other))
                taken[0].add(name)
                taken[1].add(other)
                found = True
        if not found:
            idle.append((before, after))
    return pairs, idle


def _images(before: str, after: str, names: Iterable[str]) -> Iterable[tuple[str, str]]:
    """Names that a rule applies to, and what it makes of them."""
    if "*" not in before:
        return [(before, after)] if before in names else []
    pattern = re.compile("(.*?)".join(re.escape(part) for part in before.split("*")), re.DOTALL)
    parts = after.split("*")
    found = []
    for name in names:
        match = pattern.fullmatch(name)
        if match is not None:
            middle = "".join(text + part for text, part in zip(match.groups(), parts[1:], strict=True))
            found.append((name, parts[0] + middle))
    return found
