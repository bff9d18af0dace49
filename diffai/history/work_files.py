"""Files of the work tree that stand in for blobs: reading one is cheaper than to have git inflate the same bytes."""

from __future__ import annotations

import os

from diffai.errors import SourceError
from diffai.history.version import Part
from diffai.repository.runner import Repository
from diffai.sources.base import Source
from diffai.sources.local import LocalFile


class WorkFiles:
    """Finds work-tree files with exactly the bytes of a blob."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._staged: dict[str, list[str]] = {}

    def same(self, part: Part, size: int) -> Source | None:
        """The work-tree file when it has exactly the blob's bytes: cheaper than to inflate the blob."""
        place = self._repository.place()
        if place is None or not place.top:
            return None
        path = os.path.join(place.top, part.path)
        try:
            if os.path.islink(path) or os.path.getsize(path) != size or not self._is_staged(part):
                return None
            source = LocalFile(path)
        except (OSError, SourceError):
            return None
        if _blob_name(source, len(part.oid)) == part.oid:
            return source
        source.close()
        return None

    def _is_staged(self, part: Part) -> bool:
        """Whether the index has this object at this path: then the file is worth hashing."""
        if part.path not in self._staged:
            answer = self._repository.ask("ls-files", "-s", "-z", "--", f":(top,literal){part.path}")
            self._staged[part.path] = answer.partition(b"\t")[0].decode("ascii", "replace").split()
        return part.oid in self._staged[part.path]


def _blob_name(source: Source, digits: int) -> str:
    """The object name that git gives these bytes."""
    import hashlib

    digest = hashlib.sha256() if digits == 64 else hashlib.sha1(usedforsecurity=False)
    digest.update(b"blob %d\0" % source.size)
    with source.open_stream() as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
