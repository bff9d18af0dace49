"""DVC: what its pointers say, where its objects lie. Here: which files are pointers, asked for every file."""

from __future__ import annotations

from diffai.frozen import frozen

MAX_POINTER_BYTES = 16 << 20
"""A longer text is no pointer: a ``dvc.lock`` of a thousand stages takes less than one megabyte."""

# Patterns are kept as text: hardly any file is a pointer.
_OUTS = r"(?m)^ *outs:\s*$"  # indented: of a stage, in a lock file of schema 1.0
_HASH = r"(?m)^[ -]*(md5|hash|etag|checksum): *\S"
_LOCK = r"(?m)\Aschema: *['\"]2\.\d['\"]\s*\nstages:\s*$"


@frozen
class DvcText:
    """A DVC pointer file (``*.dvc`` or ``dvc.lock``); its content is not looked at further."""


def recognise(head: bytes, size: int, name: str) -> DvcText | None:
    """The pointer that a file is; see :class:`diffai.stores.table.Store`."""
    return parse_dvc(head) if name.endswith((".dvc", "dvc.lock")) else None


def parse_dvc(data: bytes) -> DvcText | None:
    """Whether a text is a DVC pointer: outputs with a hash, or the stages of a lock file."""
    import re

    text = data.decode("utf-8", "replace").replace("\r\n", "\n")
    if (re.search(_OUTS, text) and re.search(_HASH, text)) or re.search(_LOCK, text):
        return DvcText()
    return None


def is_pointer_name(path: str) -> bool:
    """Whether a file of this name is read as a DVC pointer: ``*.dvc`` (not a bare ``.dvc``) or ``dvc.lock``."""
    name = path.replace("\\", "/").rpartition("/")[2]
    return name == "dvc.lock" or (name.endswith(".dvc") and name != ".dvc")
