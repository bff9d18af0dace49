"""A bounded folder of small entries, each a file that is whole or absent; stands in ``.git/diffai/cache``.

An entry is named by a digest of everything its value depends on, the schema and the program's version included, so
nothing in it ever becomes wrong: it is only ever missing. Entries are written beside their place and renamed into it;
whatever is damaged, half there or of another making is removed and counts as missing. A folder that cannot be
written is read only, without a word.

An entry carries the whole of its key, so that two keys of one file name are not taken for each other. The diff
driver, which starts once a file, looks here before it loads anything heavy; so nothing heavy is loaded here (hashlib
would bring OpenSSL).
"""

from __future__ import annotations

import os

from diffai.frozen import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, Literal

    Kind = Literal["side", "pair"]

SCHEMA = 7
"""Raised when the meaning or the layout of entries changes; older entries are then never found, and go in time."""

DEFAULT_LIMIT = 256 << 20
"""Bytes that the folder may hold by default (git config ``diffai.cacheSize``)."""

_MAGIC = b"diffai-cache 2\n"
_CHECK_BYTES = _LENGTH_BYTES = 4
_STALE_SECONDS = 3600
_LARGEST = 64 << 20  # an entry above this is not worth its place
_LARGEST_TEXT = 1 << 30  # what unpacks to more is cut there, so that it is no JSON
_AFTER_EVICTION = 0.8
_LOOK_EVERY = 64  # writes between two looks at the size of the whole folder,
_LOOK_AFTER = 1 / 8  # or this share of the limit written


@frozen
class Usage:
    """What lies in a cache folder: entries and bytes, by kind."""

    sides: int = 0
    pairs: int = 0
    bytes: int = 0


class Store:
    """The entries below one folder.

    Args:
        folder: where they lie; made at the first write.
        limit: bytes that may lie there; the oldest (least recently used) go first. 0 = keep nothing, read nothing.
    """

    def __init__(self, folder: str, limit: int = DEFAULT_LIMIT) -> None:
        self.folder = folder
        self.limit = limit
        self._writable = limit > 0
        self._written = self._fresh = 0

    def get(self, kind: Kind, *key: str) -> Any:
        """The value of an entry (what JSON can hold); None when there is none, or only a damaged one."""
        content = self.get_bytes(kind, *key)
        if content is None:
            return None
        import json

        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            return None

    def put(self, kind: Kind, *key: str, value: Any) -> None:
        """Keep a value; a folder that cannot be written is left as it is."""
        if self._writable:
            import json

            self.put_bytes(kind, *key, content=json.dumps(value, separators=(",", ":")).encode("ascii"))

    def get_bytes(self, kind: Kind, *key: str) -> bytes | None:
        """The content of an entry; None when there is none, or only a damaged one."""
        if not self.limit:
            return None
        path = self._path(kind, key)
        try:
            with open(path, "rb") as file:
                data = file.read(_LARGEST + 1)
        except OSError:
            return None
        entry = _decoded(data)
        if entry is None:
            self._discard(path)
            return None
        if entry[0] != _text_of(key):
            return None
        self._use(path)
        return entry[1]

    def put_bytes(self, kind: Kind, *key: str, content: bytes) -> None:
        """Keep some bytes; a folder that cannot be written is left as it is."""
        if not self._writable:
            return
        data = _encoded(_text_of(key), content)
        if len(data) > min(_LARGEST, self.limit // 4):
            return
        path = self._path(kind, key)
        try:
            _write_whole(path, data)
        except OSError:
            self._writable = False
            return
        self._written += 1
        self._fresh += len(data)
        # A driver writes one entry and ends, so the first write of a process looks as well, by chance.
        by_chance = self._written == 1 and os.urandom(1)[0] < 256 // 16
        if self._written % _LOOK_EVERY == 0 or self._fresh > self.limit * _LOOK_AFTER or by_chance:
            self._fresh = 0
            self.evict()

    def evict(self) -> int:
        """Remove the oldest entries until the folder is well below its limit; bytes removed."""
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        if total <= self.limit:
            return 0
        removed = 0
        for _, size, path in files:
            if total - removed <= self.limit * _AFTER_EVICTION:
                break
            if self._discard(path):
                removed += size
        return removed

    def usage(self) -> Usage:
        """Count what is there."""
        sides = pairs = total = 0
        for _, size, path in self._files():
            kind = os.path.basename(os.path.dirname(os.path.dirname(path)))
            sides += kind == "side"
            pairs += kind == "pair"
            total += size
        return Usage(sides, pairs, total)

    def clear(self) -> int:
        """Remove every entry; the number removed.

        Raises:
            OSError: an entry is there and cannot be removed.
        """
        count = 0
        for _, _, path in list(self._files()):
            try:
                os.unlink(path)
            except FileNotFoundError:
                continue
            count += 1
        for folder, _, _ in os.walk(self.folder, topdown=False):
            try:
                os.rmdir(folder)
            except OSError:
                continue
        return count

    def _path(self, kind: Kind, key: tuple[str, ...]) -> str:
        import xxhash

        from diffai.version import __version__

        name = xxhash.xxh3_128_hexdigest(_text_of((kind, str(SCHEMA), __version__, *key)))
        return os.path.join(self.folder, kind, name[:2], name[2:])

    def _files(self) -> Iterator[tuple[float, int, str]]:
        """(age, bytes, path) of all files; unfinished ones only once their writer must be gone."""
        import time

        now = time.time()
        for folder, _, names in os.walk(self.folder):
            for name in names:
                path = os.path.join(folder, name)
                try:
                    status = os.stat(path, follow_symlinks=False)
                except OSError:
                    continue
                if name.startswith(".tmp-"):
                    if now - status.st_mtime > _STALE_SECONDS:
                        self._discard(path)
                    continue
                yield status.st_mtime, status.st_size, path

    def _use(self, path: str) -> bool:
        """The oldest go first: what is used is young."""
        try:
            os.utime(path)
        except OSError:
            return False
        return True

    def _discard(self, path: str) -> bool:
        try:
            os.unlink(path)
        except OSError:
            return False
        return True


def _text_of(key: Sequence[str]) -> bytes:
    """A key as bytes, such that no two keys have the same."""
    return b"".join(f"{len(word)}:{word}".encode("utf-8", "surrogatepass") for word in key)


def _encoded(key: bytes, content: bytes) -> bytes:
    import zlib

    body = zlib.compress(len(key).to_bytes(_LENGTH_BYTES, "big") + key + content, 1)
    return _MAGIC + zlib.crc32(body).to_bytes(_CHECK_BYTES, "big") + body


def _decoded(data: bytes) -> tuple[bytes, bytes] | None:
    """Key and content; None when the entry is not as it was written."""
    import zlib

    start = len(_MAGIC) + _CHECK_BYTES
    body = data[start:]
    if not data.startswith(_MAGIC) or zlib.crc32(body).to_bytes(_CHECK_BYTES, "big") != data[len(_MAGIC) : start]:
        return None
    try:
        entry = zlib.decompressobj().decompress(body, _LARGEST_TEXT)
    except zlib.error:
        return None
    end = _LENGTH_BYTES + int.from_bytes(entry[:_LENGTH_BYTES], "big")
    return (entry[_LENGTH_BYTES:end], entry[end:]) if len(entry) >= end else None


def _write_whole(path: str, data: bytes) -> None:
    """Write beside and rename: a reader sees the whole entry or none, whoever else writes, and whenever we die."""
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    temporary = os.path.join(folder, f".tmp-{os.getpid()}-{os.urandom(6).hex()}")
    try:  # around the opening, too: ^C may come right behind it
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        from contextlib import suppress

        with suppress(OSError):
            os.unlink(temporary)
        raise
