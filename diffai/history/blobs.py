"""What objects are, asked of git for many at once: sizes of all, the text of the small ones, trees."""

from __future__ import annotations

import os
from collections.abc import Iterable

from diffai.frozen import frozen
from diffai.repository.runner import GitError, Repository

SMALL = 32 * 1024
"""Blobs of at most this many bytes may be pointers, and are read to see."""

_LARGEST_POINTER = 8 << 20  # a dvc.lock grows with its pipeline


@frozen
class Blob:
    """``size`` in bytes, -1 when the object is not here; ``text`` is the content of a small blob, else empty."""

    size: int
    text: bytes = b""


def look_at(repository: Repository, oids: Iterable[str], texts: Iterable[str] = ()) -> dict[str, Blob]:
    """Size, and content where it is small, of every object.

    Args:
        repository: where.
        oids: full object names.
        texts: those of them whose content is wanted even when it is not small.
    """
    names = sorted(set(oids))
    sizes = _sizes(repository, names)
    wanted = set(texts)
    readable = [name for name in names if 0 <= sizes[name] <= (_LARGEST_POINTER if name in wanted else SMALL)]
    contents = dict(zip(readable, read_objects(repository, readable), strict=True))
    return {name: Blob(sizes[name], contents.get(name) or b"") for name in names}


def _sizes(repository: Repository, names: list[str]) -> dict[str, int]:
    """Bytes of each object, -1 for one that is not here or cannot be read."""
    if not names:
        return {}
    data = "".join(f"{name}\n" for name in names).encode("ascii")
    try:
        lines = repository.ask("cat-file", "--batch-check=%(objectname) %(objectsize)", data=data).splitlines()
    except GitError:  # a damaged object, or one that a partial clone may not fetch, ends the whole answer
        if len(names) == 1:
            return {names[0]: -1}
        middle = len(names) // 2
        return _sizes(repository, names[:middle]) | _sizes(repository, names[middle:])
    sizes = {}
    for name, line in zip(names, lines, strict=True):
        number = line.split()[1]
        sizes[name] = int(number) if number.isdigit() else -1
    return sizes


def deltas(repository: Repository, oids: Iterable[str]) -> frozenset[str]:
    """Those of some objects that are packed as a delta of another one; all of them where git does not say."""
    names = sorted(oids)
    data = "".join(f"{name}\n" for name in names).encode("ascii")
    try:
        lines = repository.ask("cat-file", "--batch-check=%(objectname) %(deltabase)", data=data).split(b"\n")
    except GitError:  # a damaged object: each is then read by itself, and only that one fails
        return frozenset(names)
    found = set()
    for name, line in zip(names, lines, strict=False):
        base = line.split()[-1].decode("ascii", "replace") if line.split() else ""
        if base.strip("0"):  # all zeros: no delta
            found.add(name)
    return frozenset(found)


def read_objects(repository: Repository, names: list[str]) -> list[bytes | None]:
    """The whole content of some small objects, in order; None for one that is not here. ``REV:path`` is a name, too."""
    if not names:
        return []
    data = b"".join(os.fsencode(name) + b"\n" for name in names)
    try:
        output = repository.ask("cat-file", "--batch", data=data)
    except GitError:
        if len(names) == 1:
            return [None]
        middle = len(names) // 2
        return read_objects(repository, names[:middle]) + read_objects(repository, names[middle:])
    found: list[bytes | None] = []
    at = 0
    for _ in names:
        end = output.index(b"\n", at)
        words = output[at:end].rsplit(b" ", 2)
        at = end + 1
        if len(words) == 3 and words[1] in (b"blob", b"tree", b"commit", b"tag") and words[2].isdigit():
            size = int(words[2])
            found.append(output[at : at + size])
            at += size + 1
        else:
            found.append(None)
    return found

