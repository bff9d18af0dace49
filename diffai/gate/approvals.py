"""Approvals: small files in the repository that say who let exactly which structure change pass, and why.

Each approval is a file of its own, named by its content: branches that approve do not conflict, and two that approve at
once never lose one. Those in ``.diffai-approvals``, where earlier versions kept all of them, are read, too.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Sequence
from hashlib import sha256

from diffai.errors import DiffaiError, UsageError
from diffai.frozen import frozen
from diffai.gate.changes import APPROVALS, APPROVALS_FILE, Point, read_small, read_texts, top
from diffai.policy.structure import ABSENT, StructureChange
from diffai.repository.runner import Repository

_HEAD = """\
# A structure change of a model that somebody looked at and let pass; `diffai gate` reads this file. It is good for the
# change from `old` to `new` (sha256 over names, dtypes and shapes), alone or as a step of a longer one.
# Written by: diffai gate approve PATH --why TEXT
"""
_KEYS = ("path", "old", "new", "who", "when", "why", "what")
_MOST_BYTES = 1 << 16


@frozen
class Approval:
    """The change of the model at ``path`` from structure ``old`` to ``new``; the rest is for people.

    ``file`` is where it stands, from the top of the work tree.
    """

    __uncompared__ = ("file",)

    path: str
    old: str
    new: str
    who: str = ""
    when: str = ""
    why: str = ""
    what: str = ""
    file: str = ""

    def covers(self, path: str, change: StructureChange) -> bool:
        """Whether this approves that change by itself."""
        return (self.path, self.old, self.new) == (path, change.old, change.new)

    def text(self) -> str:
        """The file of this approval."""
        values = (self.path, self.old, self.new, self.who, self.when, self.why, self.what)
        lines = [f"{key} = {_quoted(value)}" for key, value in zip(_KEYS, values, strict=True) if value]
        return _HEAD + "\n".join(lines) + "\n"

    @property
    def shown(self) -> str:
        """``approved by A U Thor on 2024-01-01: 12 classes``."""
        return f"approved by {self.who or 'somebody'}" + (f" on {self.when}" if self.when else "") + (
            f": {self.why}" if self.why else ""
        )  # fmt: skip


def steps(path: str, change: StructureChange, approvals: Sequence[Approval]) -> tuple[Approval, ...]:
    """The approvals that lead from the old structure to the new one: one, or the fewest that follow each other.

    A step over ``absent`` does not count: who let a model go did not let another one come.
    """
    ways: dict[str, tuple[Approval, ...]] = {change.old: ()}
    found = [change.old]
    for structure in found:
        for entry in approvals:
            if entry.path == path and entry.old == structure and entry.new not in ways:
                ways[entry.new] = (*ways[structure], entry)
                if entry.new != ABSENT:
                    found.append(entry.new)
    return ways.get(change.new, ())


def read_approvals(repository: Repository, point: Point) -> tuple[Approval, ...]:
    """The approvals at a point: those of the index or of the head, never of the work tree alone.

    Raises:
        UsageError: an approval cannot be read, which must not look like one that was not given.
    """
    found: list[Approval] = []
    text = read_texts(repository, [point.word(APPROVALS_FILE)])[0]
    if text is not None:
        found += _parse_list(text, point.label_of(APPROVALS_FILE))
    for path, data in read_small(repository, point, APPROVALS, _MOST_BYTES).items():
        found += _parse_file(path, data, point.label_of(path))
    return tuple(found)


def read_from_disk(repository: Repository) -> tuple[Approval, ...]:
    """The approvals of the work tree.

    Raises:
        UsageError: as :func:`read_approvals`.
        DiffaiError: one cannot be read.
    """
    folder = top(repository)
    found: list[Approval] = []
    data = _read(os.path.join(folder, APPROVALS_FILE), APPROVALS_FILE)
    if data is not None:
        found += _parse_list(data, APPROVALS_FILE)
    for path in _names(_folder(folder)):
        data = _read(os.path.join(folder, path), path)
        found += _parse_file(path, data, path)
    return tuple(found)


def add_approvals(repository: Repository, entries: Iterable[Approval]) -> list[str]:
    """Write entries into the work tree, each a file, save those that stand there; returns where each stands.

    Raises:
        UsageError: the folder is none of the repository's own, or holds what is no approval.
        DiffaiError: one cannot be written.
    """
    place = _folder(top(repository))
    written = []
    known = read_from_disk(repository)
    for entry in entries:
        there = [old.file for old in known if old.covers(entry.path, StructureChange(entry.old, entry.new))]
        if there:
            written.append(there[0])
            continue
        text = entry.text().encode("utf-8")
        name = f"{sha256(text).hexdigest()[:32]}.toml"
        temporary = os.path.join(place, f".{name}.{os.getpid()}.tmp")
        try:
            os.makedirs(place, exist_ok=True)
            with open(temporary, "xb") as file:
                file.write(text)
            os.replace(temporary, os.path.join(place, name))  # the same name is the same content
        except OSError as error:
            raise DiffaiError(f"cannot write {os.path.join(place, name)}: {error.strerror}") from error
        written.append(f"{APPROVALS}/{name}")
    return written


def author(repository: Repository) -> tuple[str, str]:
    """(name and address, date) of the one who approves, as git would write them into a commit.

    Raises:
        SourceError: git knows no author.
    """
    ident = repository.ask("var", "GIT_AUTHOR_IDENT").decode("utf-8", "replace").strip()
    who, seconds, zone = ident.rsplit(" ", 2)
    offset = (int(zone[1:3]) * 60 + int(zone[3:5])) * 60 * (-1 if zone[0] == "-" else 1)
    return who, time.strftime("%Y-%m-%d", time.gmtime(int(seconds) + offset))


def _parse_list(data: bytes, label: str) -> list[Approval]:
    """The entries of the file in which all approvals stood."""
    table = _table(data, label)
    entries = table.pop("approval", [])
    if table or not isinstance(entries, list):
        raise UsageError(f"{label}: expected nothing but [[approval]] entries")
    return [_entry(entry, f"{label}: approval {number}", APPROVALS_FILE) for number, entry in enumerate(entries, 1)]


def _parse_file(path: str, data: bytes | None, label: str) -> list[Approval]:
    """The approval of one file; other files of the folder are nothing of ours."""
    if not path.endswith(".toml"):
        return []
    if data is None or len(data) > _MOST_BYTES:
        raise UsageError(f"{label}: larger than {_MOST_BYTES:,} bytes, which no approval is")
    return [_entry(_table(data, label), label, path)]


def _table(data: bytes, label: str) -> dict[str, object]:
    from diffai.config.toml import parse_toml

    return parse_toml(data, label)


def _entry(entry: object, label: str, file: str) -> Approval:
    if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("path", "old", "new")):
        raise UsageError(f"{label}: needs path, old and new, as diffai gate approve writes them")
    unknown = [key for key in entry if key not in _KEYS]
    if unknown:
        raise UsageError(f"{label}: unknown key {unknown[0]!r}; known: {', '.join(_KEYS)}")
    return Approval(**{key: str(value) for key, value in entry.items()}, file=file)


def _folder(folder: str) -> str:
    """The folder of approvals in a work tree.

    Raises:
        UsageError: a part of its path is a symbolic link, which could lead anywhere.
    """
    place = folder
    for part in APPROVALS.split("/"):
        place = os.path.join(place, part)
        if os.path.islink(place):
            raise UsageError(f"{place}: is a symbolic link; approvals are kept in files of the repository itself")
    return place


def _names(place: str) -> list[str]:
    try:
        return [f"{APPROVALS}/{name}" for name in sorted(os.listdir(place)) if name.endswith(".toml")]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DiffaiError(f"{place}: {(error.strerror or str(error)).lower()}") from error


def _read(path: str, label: str) -> bytes | None:
    if os.path.islink(path):
        raise UsageError(f"{label}: is a symbolic link; approvals are kept in files of the repository itself")
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DiffaiError(f"{label}: {(error.strerror or str(error)).lower()}") from error


def _quoted(text: str) -> str:
    """A TOML basic string: JSON's escapes are a part of TOML's, except that DEL must be escaped too."""
    clean = text.encode("utf-8", "replace").decode("utf-8")
    return json.dumps(clean, ensure_ascii=False).replace("\x7f", "\\u007f")
