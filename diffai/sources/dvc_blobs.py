"""Outputs that DVC leaves to git (``cache: false``): the blob of a path that has the md5 that a pointer names."""

from __future__ import annotations

import hashlib
import os

from diffai.errors import SourceError
from diffai.sources.git import GitBlob
from diffai.sources.git_program import GitError, Repository
from diffai.sources.lfs import GitPlace

_MOST_VERSIONS = 5000
_BLOCK = 1 << 20


def find_blob(place: GitPlace, path: str, md5: str, size: int, label: str) -> GitBlob | None:
    """The version of ``path`` in git with this content; None when git does not keep the path or has no such version.

    Which commit a diff is about is not told to a driver, so all versions of the path are looked at: their sizes
    first, then the md5 of those of the right size.
    """
    repository = Repository(place.top)
    try:
        oids = _versions(repository, path)
        for oid in _of_size(repository, oids, size):
            if _md5(repository, oid, label) == md5:
                return GitBlob(repository, oid, label=label)
    except SourceError:
        return None
    return None


def _versions(repository: Repository, path: str) -> list[str]:
    """Object names of every version of a path, those of the index first; empty when git does not keep it now."""
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
    return list(names)[:_MOST_VERSIONS]


def _of_size(repository: Repository, oids: list[str], size: int) -> list[str]:
    """Those that are blobs of this size (any, when it is unknown)."""
    if not oids:
        return []
    answer = repository.ask("cat-file", "--batch-check", data="".join(f"{oid}\n" for oid in oids).encode())
    found = []
    for line in os.fsdecode(answer).splitlines():
        words = line.split()
        if len(words) == 3 and words[1] == "blob" and (size < 0 or int(words[2]) == size):
            found.append(words[0])
    return found


def _md5(repository: Repository, oid: str, label: str) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    blob = GitBlob(repository, oid, label=label)
    try:
        with blob.open_stream() as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    finally:
        blob.close()
    return digest.hexdigest()
