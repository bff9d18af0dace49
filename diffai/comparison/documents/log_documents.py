"""Plain logs, which are counted: lines, levels, words of trouble, and how many lines are on one side only."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from diffai.comparison.documents.reading import CODE, Document
from diffai.errors import LimitError
from diffai.formats.base import Limits
from diffai.sources.base import Source

_CHUNK = 1 << 20
_LEVELS = ("TRACE", "DEBUG", "INFO", "NOTICE", "WARN", "ERROR", "CRITICAL", "FATAL")
_LEVEL = re.compile(rb"\b(TRACE|DEBUG|INFO|NOTICE|WARN|ERROR|CRITICAL|FATAL)(?:ING)?\b")
_WORDS = re.compile(
    rb"\b(error|exception|traceback|nan|inf|out of memory|oom|killed|failed|failure|timeout|overflow|diverged)\b", re.I
)
_MOST_LINES = 1_000_000
"""Different lines that are told apart; beyond, the digest alone says whether there are others."""


def read(source: Source, limits: Limits) -> Document:
    """Count one log.

    Raises:
        LimitError: a line is longer than memory may be.
    """
    from xxhash import xxh3_128

    lines = 0
    levels = _Counts()
    words = _Counts()
    digest = xxh3_128()
    for block in _blocks(source, limits):
        digest.update(block)
        lines += block.count(b"\n") + (not block.endswith(b"\n"))
        levels.add(block, _LEVEL, together=True)
        words.add(block, _WORDS, together=False)
    found = levels.found
    value = {
        "lines": lines,
        "levels": {name: found[name] for name in _LEVELS if name in found},
        "words": {word.lower(): count for word, count in sorted(words.found.items())},
        "xxh3": digest.hexdigest(),
    }
    return Document(value, "")


class _Counts:
    """In how many lines each word stands; of several words ``together`` the first of a line counts."""

    def __init__(self) -> None:
        self.found: dict[str, int] = {}

    def add(self, block: bytes, pattern: re.Pattern[bytes], *, together: bool) -> None:
        """Count in a block of whole lines."""
        last: dict[str, int] = {}
        for match in pattern.finditer(block):
            word = match[1].decode() if together else match[1].decode().lower()
            before = last.get("" if together else word, -1)
            last["" if together else word] = match.end()
            if before < 0 or block.find(b"\n", before, match.start()) >= 0:
                self.found[word] = self.found.get(word, 0) + 1


def one_sided(old: Source, new: Source, limits: Limits) -> str:
    """How many lines stand on one side only, as a sentence; each line as often as it stands."""
    counts: dict[int, int] = {}
    for source, sign in ((old, -1), (new, 1)):
        for block in _blocks(source, limits):
            for line, count in Counter(block.removesuffix(b"\n").split(b"\n")).items():
                mark = hash(line)
                counts[mark] = counts.get(mark, 0) + sign * count
            if len(counts) > _MOST_LINES:
                return f"more than {_MOST_LINES:,} different lines: which of them are on one side only was not counted"
    gone = sum(-count for count in counts.values() if count < 0)
    come = sum(count for count in counts.values() if count > 0)
    if not gone and not come:
        return "the same lines in another order, or with another end"
    return f"{gone:,} line{'' if gone == 1 else 's'} only in the old one, {come:,} only in the new one"


def _blocks(source: Source, limits: Limits) -> Iterator[bytes]:
    """Blocks of whole lines; the last one may lack its end."""
    pieces: list[bytes] = []
    held = 0
    with source.open_stream() as stream:
        while chunk := stream.read(_CHUNK):
            end = chunk.rfind(b"\n") + 1
            if end:
                yield b"".join([*pieces, chunk[:end]])
                pieces, held = [], 0
            pieces.append(chunk[end:])
            held += len(chunk) - end
            if held > limits.max_made:
                raise LimitError(f"has a line longer than {limits.max_made:,} bytes (limit diffai.maxMade)", code=CODE)
    if held:
        yield b"".join(pieces)
