"""Files of the work tree that stand in for blobs: reading one is cheaper than to have git inflate the same bytes."""

from __future__ import annotations

import os
from collections.abc import Callable

from diffai.errors import SourceError
from diffai.models.reference import File
from diffai.repository.runner import Repository
from diffai.sources.base import Source
from diffai.stores.store import StoredObject


class WorkFiles:
    """Finds work-tree files with exactly the bytes of a blob."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._staged: dict[str, list[str]] = {}

    def same(self, part: File, size: int, sibling: Callable[[str], Source]) -> Source | None:
        """The work-tree file when it has exactly the blob's bytes: cheaper than to inflate the blob.

        Args:
            part: the file of a version.
            size: bytes of its blob.
            sibling: opens the files beside it, which are those of the version and not of the work tree.
        """
        place = self._repository.place()
        if place is None or not place.top or part.entry is None:
            return None
        path = os.path.join(place.top, part.path)
        try:
            if os.path.islink(path) or os.path.getsize(path) != size or not self._is_staged(part.path, part.entry.oid):
                return None
            source = StoredObject(path, f"git:{part.entry.oid}", label=part.path, sibling=sibling)
        except (OSError, SourceError):
            return None
        if _blob_name(source, len(part.entry.oid)) == part.entry.oid:
            return source
        source.close()
        return None

    def _is_staged(self, path: str, oid: str) -> bool:
        """Whether the index has this object at this path: then the file is worth hashing."""
        if path not in self._staged:
            answer = self._repository.ask("ls-files", "-s", "-z", "--", f":(top,literal){path}")
            self._staged[path] = answer.partition(b"\t")[0].decode("ascii", "replace").split()
        return oid in self._staged[path]


def _blob_name(source: Source, digits: int) -> str:
    """The object name that git gives these bytes."""
    import hashlib

    digest = hashlib.sha256() if digits == 64 else hashlib.sha1(usedforsecurity=False)
    digest.update(b"blob %d\0" % source.size)
    with source.open_stream() as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
