"""Approvals: a text file in the repository that says who let exactly which structure change pass, and why."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence

from diffai.errors import DiffaiError, UsageError
from diffai.frozen import frozen
from diffai.gate.changes import APPROVALS_FILE, Point, read_texts, top
from diffai.policy.structure import StructureChange
from diffai.repository.runner import Repository

_HEAD = """\
# Structure changes of model files that somebody looked at and let pass; `diffai gate` reads this file.
# Each entry is good for exactly the change from `old` to `new` (sha256 over names, dtypes and shapes), and no other.
# Written by: diffai gate approve PATH --why TEXT
"""
_KEYS = ("path", "old", "new", "who", "when", "why", "what")


@frozen
class Approval:
    """One entry: the change of the model at ``path`` from structure ``old`` to ``new``; the rest is for people."""

    path: str
    old: str
    new: str
    who: str = ""
    when: str = ""
    why: str = ""
    what: str = ""

    def covers(self, path: str, change: StructureChange) -> bool:
        """Whether this approves that change."""
        return (self.path, self.old, self.new) == (path, change.old, change.new)

    def text(self) -> str:
        """The entry as it stands in the file."""
        values = (getattr(self, key) for key in _KEYS)
        lines = [f"{key} = {_quoted(value)}" for key, value in zip(_KEYS, values, strict=True) if value]
        return "\n[[approval]]\n" + "\n".join(lines) + "\n"

    @property
    def shown(self) -> str:
        """``approved by A U Thor on 2024-01-01: 12 classes``."""
        return f"approved by {self.who or 'somebody'}" + (f" on {self.when}" if self.when else "") + (
            f": {self.why}" if self.why else ""
        )  # fmt: skip


def parse_approvals(data: bytes, label: str) -> tuple[Approval, ...]:
    """The entries of the file.

    Raises:
        UsageError: it is not such a file; an approval that cannot be read must not look like one that was not given.
    """
    import tomllib

    try:
        table = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{label}: not valid TOML: {error}") from error
    entries = table.pop("approval", [])
    if table or not isinstance(entries, list):
        raise UsageError(f"{label}: expected nothing but [[approval]] entries")
    found = []
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("path", "old", "new")):
            raise UsageError(f"{label}: approval {number} needs path, old and new, as diffai gate approve writes them")
        unknown = [key for key in entry if key not in _KEYS]
        if unknown:
            raise UsageError(f"{label}: approval {number}: unknown key {unknown[0]!r}; known: {', '.join(_KEYS)}")
        found.append(Approval(**{key: str(value) for key, value in entry.items()}))
    return tuple(found)


def read_approvals(repository: Repository, point: Point) -> tuple[Approval, ...]:
    """The approvals at a point: those of the index or of the head, never of the work tree alone.

    Raises:
        UsageError: as :func:`parse_approvals`.
    """
    text = read_texts(repository, [point.word(APPROVALS_FILE)])[0]
    label = f"{point.label}:{APPROVALS_FILE}" if point.tree else APPROVALS_FILE
    return parse_approvals(text, label) if text is not None else ()


def read_work_file(repository: Repository) -> tuple[Approval, ...]:
    """The approvals of the file on disk."""
    data = _read(os.path.join(top(repository), APPROVALS_FILE))
    return parse_approvals(data, APPROVALS_FILE) if data is not None else ()


def add_approvals(repository: Repository, entries: Sequence[Approval]) -> str:
    """Append entries to the file on disk, made if there is none; returns its path. Entries that stand there are kept.

    Raises:
        UsageError: the file there is none of ours.
        DiffaiError: it cannot be written.
    """
    path = os.path.join(top(repository), APPROVALS_FILE)
    before = _read(path)
    known = parse_approvals(before, APPROVALS_FILE) if before is not None else ()
    text = (before or b"").decode("utf-8") or _HEAD
    text += "" if text.endswith("\n") else "\n"
    for entry in entries:
        if not any(old.covers(entry.path, StructureChange(entry.old, entry.new)) for old in known):
            text += entry.text()
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "x", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError as error:
        raise DiffaiError(f"cannot write {path}: {error.strerror}") from error
    return path


def author(repository: Repository) -> tuple[str, str]:
    """(name and address, date) of the one who approves, as git would write them into a commit.

    Raises:
        SourceError: git knows no author.
    """
    ident = repository.ask("var", "GIT_AUTHOR_IDENT").decode("utf-8", "replace").strip()
    who, seconds, zone = ident.rsplit(" ", 2)
    offset = (int(zone[1:3]) * 60 + int(zone[3:5])) * 60 * (-1 if zone[0] == "-" else 1)
    return who, time.strftime("%Y-%m-%d", time.gmtime(int(seconds) + offset))


def _read(path: str) -> bytes | None:
    if os.path.islink(path):
        raise UsageError(f"{path}: is a symbolic link; approvals are kept in a file of the repository itself")
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DiffaiError(f"{path}: {(error.strerror or str(error)).lower()}") from error


def _quoted(text: str) -> str:
    """A TOML basic string: JSON's escapes are a part of TOML's, except that DEL must be escaped too."""
    clean = text.encode("utf-8", "replace").decode("utf-8")
    return json.dumps(clean, ensure_ascii=False).replace("\x7f", "\\u007f")
