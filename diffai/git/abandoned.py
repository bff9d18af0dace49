"""What a program that was killed left beside the files it was writing: found by name, and its writer is no more."""

from __future__ import annotations

import contextlib
import glob
import os
import re

_WRITER = re.compile(r"\.(\d{1,10})\.tmp$")


def temporary_beside(path: str) -> str:
    """The name under which this process writes what shall stand at ``path``."""
    return f"{path}.{os.getpid()}.tmp"


def abandoned_beside(path: str) -> list[str]:
    """Temporary files for ``path`` whose writers are gone."""
    found = []
    for name in glob.glob(f"{glob.escape(path)}.*.tmp"):
        match = _WRITER.search(name)
        if match and name == f"{path}{match[0]}" and not _runs(int(match[1])):
            found.append(name)
    return found


def abandoned_lock(path: str) -> str:
    """The lock of ``path`` where one of ours took it and was killed; "" where there is none, or another holds it.

    Ours are hard links (where there are none: copies) of a temporary file, which carries the number of its writer.
    """
    lock = f"{path}.lock"
    for name in abandoned_beside(path):
        with contextlib.suppress(OSError):
            if os.path.samefile(lock, name) or _same_content(lock, name):
                return lock
    return ""


def _same_content(a: str, b: str) -> bool:
    with open(a, "rb") as first, open(b, "rb") as second:
        content = first.read()
        return bool(content) and content == second.read()


def remove_abandoned(path: str) -> None:
    """Remove what killed writers of ``path`` left, a lock of theirs included."""
    lock = abandoned_lock(path)
    for name in ([lock] if lock else []) + abandoned_beside(path):
        with contextlib.suppress(OSError):
            os.unlink(name)


def _runs(process: int) -> bool:
    if process == os.getpid():
        return False  # a number that is used again: it is not this call that left it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
