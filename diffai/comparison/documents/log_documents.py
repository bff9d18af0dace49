"""Plain logs, which are counted: lines, levels, words of trouble, and how many lines are on one side only."""

from __future__ import annotations

import re
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
    levels: dict[str, int] = {}
    words: dict[str, int] = {}
    digest = xxh3_128()
    for line in _lines(source, limits):
        digest.update(line)
        lines += 1
        level = _LEVEL.search(line)
        if level is not None:
            name = level[1].decode()
            levels[name] = levels.get(name, 0) + 1
        for word in {found.decode().lower() for found in _WORDS.findall(line)}:
            words[word] = words.get(word, 0) + 1
    value = {
        "lines": lines,
        "levels": {name: levels[name] for name in _LEVELS if name in levels},
        "words": dict(sorted(words.items())),
        "xxh3": digest.hexdigest(),
    }
    return Document(value, "")


def one_sided(old: Source, new: Source, limits: Limits) -> str:
    """How many lines stand on one side only, as a sentence; each line as often as it stands."""
    counts: dict[int, int] = {}
    for source, step in ((old, -1), (new, 1)):
        for line in _lines(source, limits):
            mark = hash(line)
            counts[mark] = counts.get(mark, 0) + step
            if len(counts) > _MOST_LINES:
                return f"more than {_MOST_LINES:,} different lines: which of them are on one side only was not counted"
    gone = sum(-count for count in counts.values() if count < 0)
    come = sum(count for count in counts.values() if count > 0)
    if not gone and not come:
        return "the same lines in another order"
    return f"{gone:,} line{'' if gone == 1 else 's'} only in the old one, {come:,} only in the new one"


def _lines(source: Source, limits: Limits) -> Iterator[bytes]:
    """Lines with their ends."""
    pieces: list[bytes] = []
    held = 0
    with source.open_stream() as stream:
        while chunk := stream.read(_CHUNK):
            *whole, rest = chunk.split(b"\n")
            for line in whole:
                yield b"".join([*pieces, line, b"\n"])
                pieces, held = [], 0
            pieces.append(rest)
            held += len(rest)
            if held > limits.max_made:
                raise LimitError(f"has a line longer than {limits.max_made:,} bytes (limit diffai.maxMade)", code=CODE)
    if held:
        yield b"".join(pieces)
