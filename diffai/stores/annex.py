"""Find the object of a git-annex key in the local store, without git-annex and without the network.

Source: https://git-annex.branchable.com/internals/ and .../internals/hashing/. Objects lie at
``annex/objects/<hash>/<key>/<key>`` in the git directory; the two hash folders are made of the md5 of the key, mixed
case in an ordinary repository and lower case in a bare one, and either may be met in both.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat

from diffai.stores.lfs import GitPlace

_LETTERS = "0123456789zqjxkmvwgpfZQJXKMVWGPF"
_SHA256 = re.compile(r"SHA256E?(?:-[a-zA-Z]\d+)*--([0-9a-f]{64})(?:\.[^/]*)?")


def find_key(key: str, size: int, place: GitPlace | None) -> str:
    """Path of the object of ``key``; "" when it is not here, or is not ``size`` bytes long (-1 = not known)."""
    if place is None or "/" in key or key in ("", ".", ".."):
        return ""
    for folder in hash_folders(key):
        path = os.path.join(place.common_dir, "annex", "objects", folder, key, key)
        try:
            status = os.stat(path)
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode) and size in (-1, status.st_size):
            return path
    return ""


def hash_folders(key: str) -> tuple[str, str]:
    """The mixed and the lower-case hash folders of a key.

    >>> hash_folders("SHA256E-s0--e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")[1]
    'f87/4d5'
    """
    digest = hashlib.md5(os.fsencode(key), usedforsecurity=False).digest()
    word = int.from_bytes(digest[:4], "little")
    a, b, c, d = (_LETTERS[word >> (6 * place) & 31] for place in range(4))
    lower = digest.hex()
    return f"{b}{a}/{d}{c}", f"{lower[:3]}/{lower[3:6]}"


def sha256_of(key: str, path: str) -> str:
    """The sha256 that a key says its object has; "" when it says none, or when the object may have been edited.

    ``annex.thin`` makes the object and the work-tree file one writable file; only a read-only one is what it was.
    """
    match = _SHA256.fullmatch(key)
    return match[1] if match and not os.stat(path).st_mode & 0o222 else ""
