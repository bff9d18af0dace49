"""Outputs that DVC leaves to git (``cache: false``): the blob of a path that has the md5 that a pointer names."""

from __future__ import annotations

import os
from functools import lru_cache

from diffai.errors import SourceError
from diffai.repository.place import GitPlace
from diffai.repository.runner import GitError, Repository

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.repository.blobs import GitBlob  # which is loaded only when git has a version of the right size

_MOST_VERSIONS = 5000
_BLOCK = 1 << 20


def find_blob(place: GitPlace, path: str, md5: str, size: int, label: str) -> GitBlob | None:
    """The version of ``path`` in git with this content; None when git does not keep the path or has no such version.

    Which commit a diff is about is not told to a driver, so all versions of the path are looked at: their sizes
    first, then the md5 of those of the right size.
    """
    repository = Repository(place.top)
    try:
        for oid, bytes_ in _versions(repository.directory, path, _stamp(place)):
            if (size < 0 or bytes_ == size) and _md5(repository.directory, oid) == md5:
                from diffai.repository.blobs import GitBlob

                return GitBlob(repository, oid, label=label)
    except SourceError:
        return None
    return None


def _stamp(place: GitPlace) -> tuple[int, ...]:
    """Changes with the index and with HEAD, so that what was found out before still holds while it does not."""
    found = []
    for name in ("index", "HEAD", "logs/HEAD", "packed-refs"):
        try:
            status = os.stat(os.path.join(place.git_dir, name))
            found += [status.st_mtime_ns, status.st_size]
        except OSError:
            found.append(-1)
    return tuple(found)


@lru_cache(maxsize=256)
def _versions(directory: str, path: str, _now: tuple[int, ...]) -> list[tuple[str, int]]:
    """Object name and size of every version of a path, those of the index first; empty when git does not keep it now.

    Asked once for a path: a history of hundreds of versions that are not pulled looks for each of them here.
    """
    repository = Repository(directory)
    literal = f":(top,literal){path}"
    oids = [record.split(b"\t")[0].split()[1] for record in
            repository.ask("ls-files", "-z", "-s", "--", literal).split(b"\0") if record]  # fmt: skip
    try:
        if not oids and not repository.ask("ls-tree", "-z", "--full-tree", "HEAD", "--", path):
            return []
        arguments = ("--all", "HEAD", "--format=", "--raw", "--no-abbrev", "--no-renames", "-z", "-m")
        for record in repository.ask("log", *arguments, "--", literal).split(b"\0"):
            words = record.split()
            if len(words) == 5 and words[0].startswith(b":"):
                oids += words[2:4]
    except GitError:  # no commit yet
        pass
    names = dict.fromkeys(oid.decode("ascii") for oid in oids if set(oid) != set(b"0"))
    return _blobs(repository, list(names)[:_MOST_VERSIONS])


def _blobs(repository: Repository, oids: list[str]) -> list[tuple[str, int]]:
    """Those that are blobs, with their sizes."""
    if not oids:
        return []
    answer = repository.ask("cat-file", "--batch-check", data="".join(f"{oid}\n" for oid in oids).encode())
    found = []
    for line in os.fsdecode(answer).splitlines():
        words = line.split()
        if len(words) == 3 and words[1] == "blob":
            found.append((words[0], int(words[2])))
    return found


@lru_cache(maxsize=_MOST_VERSIONS)
def _md5(directory: str, oid: str) -> str:
    import hashlib

    from diffai.repository.blobs import GitBlob

    digest = hashlib.md5(usedforsecurity=False)
    blob = GitBlob(Repository(directory), oid, label=oid)
    try:
        with blob.open_stream() as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    finally:
        blob.close()
    return digest.hexdigest()
