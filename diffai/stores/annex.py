"""git-annex, without git-annex and without the network: what a pointer says, and where its object lies.

Sources: https://git-annex.branchable.com/internals/, .../internals/pointer_file/, .../internals/key_format/ and
.../internals/hashing/. Objects lie at ``annex/objects/<hash>/<key>/<key>`` in the git directory; the two hash folders
are made of the md5 of the key, mixed case in an ordinary repository and lower case in a bare one, and either may be
met in both.
"""

from __future__ import annotations

import os
import stat

from diffai.frozen import frozen
from diffai.model import FetchCommand, NotPulled
from diffai.repository.place import GitPlace
from diffai.stores.store import PointerAt, StoredObject, no_option

MAX_BYTES = 32 * 1024
"""git-annex looks no further into a file for a pointer."""

_KEY = r"[A-Z0-9_]+(-[a-zA-Z]\d+)*--[^/\n\r\0]+"
_LETTERS = "0123456789zqjxkmvwgpfZQJXKMVWGPF"
_SHA256 = r"SHA256E?(?:-[a-zA-Z]\d+)*--([0-9a-f]{64})(?:\.[^/]*)?"


@frozen
class AnnexText:
    """What a pointer says: its key, and the size in bytes that stands in it, -1 when none does."""

    key: str
    size: int


def recognise(head: bytes, size: int, name: str) -> AnnexText | None:
    """The pointer that a file is; see :class:`diffai.stores.table.Store`."""
    return parse_annex(head) if b"/annex/objects/" in head and size <= MAX_BYTES else None


def parse_annex(data: bytes) -> AnnexText | None:
    """Parse a git-annex pointer file, or the target of an annexed symbolic link; None when it is neither."""
    line = data.split(b"\n", 1)[0].decode("utf-8", "surrogateescape").replace("\\", "/").rstrip("\r")
    before, found, rest = line.rpartition("/annex/objects/")
    if not found or (before and not before.endswith(".git") and "/.git/" not in before):
        return None
    key = rest.rpartition("/")[2]
    import re

    if not re.fullmatch(_KEY, key):
        return None
    size = re.search(r"-s(\d+)", key.partition("--")[0])
    return AnnexText(key, int(size[1]) if size else -1)


def open_pointer(pointer: AnnexText, at: PointerAt) -> StoredObject | NotPulled:
    """The object of a pointer, or the state that says what brings it."""
    stored = find_key(pointer.key, pointer.size, at.place)
    if not stored:
        return not_here(pointer, at.path if _is_in_work_tree(pointer, at) else "")
    oid = sha256_of(pointer.key, stored)
    return StoredObject(stored, f"sha256:{oid}" if oid else "", label=at.label, sibling=at.sibling)


def not_here(pointer: AnnexText, path: str = "") -> NotPulled:
    """The state of a key without object; ``path`` from the top where the work tree has the pointer.

    A key is brought by itself whatever names it now; of the work tree its file comes to life as well.
    """
    command = FetchCommand("git-annex", ("git", "annex", "get"), (f"--key={pointer.key}",), joined="each")
    if path:
        command = FetchCommand("git-annex", ("git", "annex", "get", "--"), (no_option(path),))
    return NotPulled(f"git-annex object {pointer.key}", pointer.size, (command,))


def _is_in_work_tree(pointer: AnnexText, at: PointerAt) -> bool:
    """Whether the work tree has this very key at the path."""
    if at.place is None or not at.place.top or at.revision:
        return False
    path = os.path.join(at.place.top, at.path)
    try:
        if os.path.islink(path):
            found = parse_annex(os.fsencode(os.readlink(path)))
        else:
            with open(path, "rb") as file:
                found = parse_annex(file.read(MAX_BYTES))
    except OSError:
        return False
    return found is not None and found.key == pointer.key


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
    import hashlib  # loads OpenSSL, for annexed files alone

    digest = hashlib.md5(os.fsencode(key), usedforsecurity=False).digest()
    word = int.from_bytes(digest[:4], "little")
    a, b, c, d = (_LETTERS[word >> (6 * place) & 31] for place in range(4))
    lower = digest.hex()
    return f"{b}{a}/{d}{c}", f"{lower[:3]}/{lower[3:6]}"


def sha256_of(key: str, path: str) -> str:
    """The sha256 that a key says its object has; "" when it says none, or when the object may have been edited.

    ``annex.thin`` makes the object and the work-tree file one writable file; only a read-only one is what it was.
    """
    import re

    match = re.fullmatch(_SHA256, key)
    return match[1] if match and not os.stat(path).st_mode & 0o222 else ""
