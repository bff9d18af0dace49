"""Where the cache of a repository is, and by what its entries are named."""

from __future__ import annotations

import os

from diffai.cache.store import DEFAULT_LIMIT, Store
from diffai.repository.place import GitPlace, find_repository

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.sources.base import Source

_BLOCK = 1 << 20
CACHE_FOLDER = os.path.join("diffai", "cache")


def open_store(place: GitPlace | None = None, limit: int = DEFAULT_LIMIT) -> Store:
    """The cache of a repository, shared by its linked work trees; outside a repository one that keeps nothing.

    Args:
        place: the repository; that of the working directory by default.
        limit: bytes it may hold; 0 switches it off.
    """
    place = place or find_repository()
    if place is None:
        return Store("", 0)
    return Store(os.path.join(os.path.abspath(place.common_dir), CACHE_FOLDER), limit)


def content_id(source: Source) -> str:
    """A name that only these bytes have.

    A resolved object's own name where it has one: a git blob's (the blob that was read, never a pointer to it), or
    the sha256 of an LFS object. Otherwise the digest and the length of the bytes, which are read for it.
    """
    identity = source.identity
    if identity.startswith(("git:", "sha256:")):
        return identity
    return f"xxh3:{digest_of(source)}:{source.size}"


def digest_of(source: Source) -> str:
    """xxh3-128 of all bytes of a source, 32 hexadecimal digits."""
    import xxhash

    state = xxhash.xxh3_128()
    buffer = memoryview(bytearray(min(_BLOCK, max(source.size, 1))))
    offset = 0
    while offset < source.size:
        part = buffer[: min(len(buffer), source.size - offset)]
        source.read_into(offset, part)
        state.update(part)
        offset += len(part)
    return state.hexdigest()
