"""Which files are DVC pointers, by name alone: asked for every file that git hands over, so it loads nothing."""

from __future__ import annotations

MAX_POINTER_BYTES = 64 << 20
"""A longer text is no pointer: a ``dvc.lock`` of a thousand stages takes less than one megabyte."""

def is_pointer_name(path: str) -> bool:
    """Whether a file of this name is read as a DVC pointer: ``*.dvc`` (not a bare ``.dvc``) or ``dvc.lock``."""
    name = path.replace("\\", "/").rpartition("/")[2]
    return name == "dvc.lock" or (name.endswith(".dvc") and name != ".dvc")
