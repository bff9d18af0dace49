"""Small texts that stand for large files: git-LFS, git-annex and DVC pointers.

Sources: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md and ``lfs/pointer.go`` there (what git-lfs really
accepts); https://git-annex.branchable.com/internals/pointer_file/ and .../internals/key_format/;
https://dvc.org/doc/user-guide/project-structure/dvc-files.
"""

from __future__ import annotations

import re

from diffai.frozen import frozen

#: A pointer is shorter than this many bytes; longer files are never read for one.
LFS_MAX_BYTES = 1024
_ANNEX_MAX_BYTES = 32 * 1024
#: Read this much of a file to recognise any pointer.
HEAD_BYTES = 4096

_LFS_VERSIONS = frozenset(
    ("https://git-lfs.github.com/spec/v1", "https://hawser.github.com/spec/v1", "http://git-media.io/v/2")
)
# Patterns are kept as text: this module is loaded for every file, and hardly any file is a pointer.
_LFS_EXTENSION = r"ext-\d-\w+"
_OID = r"[0-9a-f]{64}"
_ANNEX_KEY = r"[A-Z0-9_]+(-[a-zA-Z]\d+)*--[^/\n\r\0]+"
_DVC_OUTS = r"(?m)^ *outs:\s*$"  # indented: of a stage, in a lock file of schema 1.0
_DVC_HASH = r"(?m)^[ -]*(md5|hash|etag|checksum): *\S"
_DVC_LOCK = r"(?m)\Aschema: *['\"]2\.\d['\"]\s*\n(\s*\n)*stages:\s*$"


@frozen
class LfsText:
    """What a git-LFS pointer says: ``oid`` is a sha256, 64 lower-case hexadecimal digits; ``size`` in bytes."""

    oid: str
    size: int


@frozen
class AnnexText:
    """What a git-annex pointer says: its key, and the size in bytes that stands in it, -1 when none does."""

    key: str
    size: int


@frozen
class DvcText:
    """A DVC pointer file (``*.dvc`` or ``dvc.lock``); its content is not looked at further."""


PointerText = LfsText | AnnexText | DvcText


def parse_pointer(head: bytes, size: int, name: str = "") -> PointerText | None:
    """The pointer that a file is; None when it is none.

    Args:
        head: the first ``HEAD_BYTES`` of the file (all, when shorter).
        size: bytes of the file.
        name: its name; DVC pointers are only looked for in ``*.dvc`` and ``dvc.lock`` files.

    """
    if head.startswith((b"version ", b"\n", b"\r", b" ")) and size < LFS_MAX_BYTES:
        return parse_lfs(head[:size])
    if b"/annex/objects/" in head and size <= _ANNEX_MAX_BYTES:
        return parse_annex(head)
    if name.endswith((".dvc", "dvc.lock")):
        return parse_dvc(head)
    return None


def parse_lfs(data: bytes) -> LfsText | None:
    """Parse the whole content of a git-LFS pointer; None when it is none.

    As strict as git-lfs itself: below 1024 bytes, a known version first, then ``ext-`` lines, ``oid`` and
    ``size`` in this order and nothing else; blank lines and CRLF are let pass.
    """
    if len(data) >= LFS_MAX_BYTES:
        return None
    try:
        lines = [line for line in data.decode("utf-8").strip().splitlines() if line]
    except UnicodeDecodeError:
        return None
    pairs = [line.split(" ", 1) for line in lines]
    if any(len(pair) != 2 for pair in pairs):
        return None
    keys = [key for key, _ in pairs if not re.fullmatch(_LFS_EXTENSION, key)]
    if keys != ["version", "oid", "size"] or pairs[0][0] != "version":
        return None
    values = {pair[0]: pair[1] for pair in pairs}
    kind, _, oid = values["oid"].partition(":")
    if values["version"] not in _LFS_VERSIONS or kind != "sha256" or not re.fullmatch(_OID, oid):
        return None
    size = values["size"]
    return LfsText(oid, int(size)) if re.fullmatch(r"[0-9]{1,19}", size) else None


def parse_annex(data: bytes) -> AnnexText | None:
    """Parse a git-annex pointer file, or the target of an annexed symbolic link; None when it is neither."""
    line = data.split(b"\n", 1)[0].decode("utf-8", "surrogateescape").replace("\\", "/").rstrip("\r")
    before, found, rest = line.rpartition("/annex/objects/")
    if not found or (before and not before.endswith(".git") and "/.git/" not in before):
        return None
    key = rest.rpartition("/")[2]
    if not re.fullmatch(_ANNEX_KEY, key):
        return None
    size = re.search(r"-s(\d+)", key.partition("--")[0])
    return AnnexText(key, int(size[1]) if size else -1)


def parse_dvc(data: bytes) -> DvcText | None:
    """Whether a text is a DVC pointer: outputs with a hash, or the stages of a lock file."""
    text = data.decode("utf-8", "replace").replace("\r\n", "\n")
    if (re.search(_DVC_OUTS, text) and re.search(_DVC_HASH, text)) or re.search(_DVC_LOCK, text):
        return DvcText()
    return None
