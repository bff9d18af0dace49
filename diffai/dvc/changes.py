"""What changed as ``dvc diff`` has it, as data, and read from DVC's own JSON."""

from __future__ import annotations

import json
import os
import posixpath
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from diffai.comparison.tracked import models_among
from diffai.errors import DiffaiError, UsageError
from diffai.frozen import frozen
from diffai.models.reference import ModelRef
from diffai.repository.runner import Repository
from diffai.stores.dvc.cache import DvcPlace, find_dvc
from diffai.stores.dvc.items import DvcItem, entries_of, entry_item
from diffai.stores.dvc.pointers import DvcEntry, DvcOut, DvcTextError
from diffai.stores.store import command_line

STATES = ("added", "deleted", "renamed", "modified", "not in cache")
_KEYS = ("added", "deleted", "modified", "renamed", "not in cache")


@frozen
class Entry:
    """One line of ``dvc diff``.

    Attributes:
        path: new path (old one where it is gone), relative to the DVC root; a folder's ends in ``/``.
        old_path: the path that a renamed file had.
        old, new: what stood there, None on a side that has nothing or is not known.
        hashes: address of both sides; "" where DVC did not tell.
    """

    path: str
    old_path: str = ""
    old: DvcItem | None = None
    new: DvcItem | None = None
    hashes: tuple[str, str] = ("", "")

    def comparable(self, state: str) -> bool:
        """Whether it is a file whose content changed, and is known on a side."""
        moved = state in ("renamed", "not in cache")
        return not moved and not self.path.endswith("/") and (self.old is not None or self.new is not None)


@frozen
class Models:
    """The models of one side: by the name that each is paired by, and which of several files is part of which."""

    refs: Mapping[str, ModelRef] = MappingProxyType({})
    parts: Mapping[str, str] = MappingProxyType({})


def models_of(items: Mapping[str, DvcItem]) -> Models:
    """The models among some files, by the paths that are shown."""
    refs = models_among(items)
    several = {key: ref for key, ref in refs.items() if ref.sharded or ref.companions}
    return Models(refs, {f.path: key for key, ref in several.items() for f in (*ref.files, *ref.companions)})


@frozen
class Changes:
    """The result of one ``dvc diff``.

    Attributes:
        lists: entries by DVC's own state names, sorted by path.
        hashed: whether addresses are known; without them nothing can be opened.
        problems: pointers that could not be read, and folders whose list of files is missing.
        place: the DVC repository.
        models: those of both sides.
    """

    lists: Mapping[str, tuple[Entry, ...]]
    place: DvcPlace | None
    hashed: bool = True
    problems: tuple[str, ...] = ()
    models: tuple[Models, Models] = (Models(), Models())

    @property
    def empty(self) -> bool:
        """Whether nothing changed."""
        return not any(self.lists.values())

    def as_json(self, *, show_hash: bool) -> dict[str, Any]:
        """As ``dvc diff --json`` writes it."""
        if self.empty:
            return {}
        keys = [key for key in _KEYS if key in self.lists]
        return {key: [_record(key, entry, show_hash) for entry in self.lists[key]] for key in keys}


def _record(state: str, entry: Entry, show_hash: bool) -> dict[str, Any]:
    path: Any = {"old": entry.old_path, "new": entry.path} if state == "renamed" else entry.path
    record: dict[str, Any] = {"path": path}
    if show_hash:
        old, new = entry.hashes
        record["hash"] = {"old": old, "new": new} if state == "modified" else (new or old)
    return record


# ---------------------------------------------------------------- out of DVC's JSON


def run_dvc(arguments: Sequence[str], directory: str = "") -> str:
    """What ``dvc diff --json --show-hash`` prints; it hashes the files of the work tree and keeps the results.

    Raises:
        DiffaiError: dvc is not installed, or failed; with its own words.
    """
    beside = os.path.join(os.path.dirname(os.path.abspath(sys.executable)), "dvc")
    program = beside if os.access(beside, os.X_OK) else "dvc"
    try:
        done = subprocess.run(
            [program, "diff", "--json", "--show-hash", *arguments],
            cwd=directory or None, stdin=subprocess.DEVNULL, capture_output=True, check=False,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise DiffaiError(
            "comparing with the work tree needs dvc, which is not installed (pip install 'diffai[dvc]'); "
            "two revisions need none: diffai dvc diff A_REV B_REV"
        ) from error
    if done.returncode:
        lines = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
        reason = next((line for line in lines if line.startswith("ERROR")), lines[0] if lines else "")
        raise DiffaiError(f"dvc diff failed with exit code {done.returncode}: {reason.removeprefix('ERROR: ')}")
    return done.stdout.decode("utf-8", "surrogateescape")


def read_json(text: str, directory: str = "") -> Changes:
    """The output of ``dvc diff --json``, with addresses where it was asked for them (``--show-hash``).

    Raises:
        UsageError: it is not such an output.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"standard input is not the JSON of dvc diff --json --show-hash ({error})") from error
    if not isinstance(data, dict) or not all(isinstance(value, list) for value in data.values()):
        raise UsageError("standard input is not the JSON of dvc diff --json --show-hash (expected an object of lists)")
    repository = Repository(directory)
    place = find_dvc(directory or os.curdir, repository.place())
    lists = {
        state: tuple(_entry_of(state, record, place) for record in data[state]) for state in STATES if state in data
    }
    entries = [entry for state, found in lists.items() if state != "not in cache" for entry in found]
    hashed = not entries or any(any(entry.hashes) for entry in entries)
    problems = tuple(_missing_lists(lists, hashed))
    old, new = _files(lists) if hashed else ({}, {})
    return Changes(lists, place, hashed, problems, (models_of(old), models_of(new)))


def _entry_of(state: str, record: object, place: DvcPlace | None) -> Entry:
    if not isinstance(record, dict):
        raise UsageError("standard input is not the JSON of dvc diff --json --show-hash (an entry is no object)")
    path, value = record.get("path"), record.get("hash")
    old_path, new_path = (path.get("old"), path.get("new")) if isinstance(path, dict) else (path, path)
    if not isinstance(old_path, str) or not isinstance(new_path, str):
        raise UsageError("standard input is not the JSON of dvc diff --json --show-hash (an entry has no path)")
    old_path, new_path = old_path.replace(os.sep, "/"), new_path.replace(os.sep, "/")
    old, new = (value.get("old"), value.get("new")) if isinstance(value, dict) else (value, value)
    if state == "added":
        old = None
    if state in ("deleted", "not in cache"):
        new = None
    hashes = (old if isinstance(old, str) else "", new if isinstance(new, str) else "")
    return Entry(
        new_path, old_path if state == "renamed" else "",
        _item(old_path, hashes[0], place, elsewhere=True), _item(new_path, hashes[1], place), hashes,
    )  # fmt: skip


def _item(path: str, address: str, place: DvcPlace | None, *, elsewhere: bool = False) -> DvcItem | None:
    """A path with its address. Which pointer it is in, and which version of DVC wrote it, is not told."""
    if not address:
        return None
    folder = place.folder if place is not None else ""
    name = path.rstrip("/")
    full = posixpath.normpath(posixpath.join(folder, name))
    if full.startswith(("../", "/")):
        raise UsageError(f"{path}: lies outside the repository")
    out = DvcOut(name, key="md5", value=address)
    return DvcItem(out, full, posixpath.join(folder, _pointer_of(name, place)), place, elsewhere=elsewhere)


def _pointer_of(name: str, place: DvcPlace | None) -> str:
    """The pointer in the work tree that a path most likely stands in, for the command of a hint."""
    at = name
    while at and place is not None:
        if os.path.isfile(os.path.join(place.root, f"{at}.dvc")):
            return f"{at}.dvc"
        at = posixpath.dirname(at)
    return name


def _files(lists: Mapping[str, tuple[Entry, ...]]) -> tuple[dict[str, DvcItem], dict[str, DvcItem]]:
    """Every file of the folders that changed, on both sides; of others DVC tells only what changed."""
    sides = dict[str, DvcItem](), dict[str, DvcItem]()
    folders = [entry for state in STATES[:4] for entry in lists.get(state, ()) if entry.path.endswith("/")]
    for entry in folders:
        paths = (entry.old_path or entry.path, entry.path)
        for side, path, item in zip(sides, paths, (entry.old, entry.new), strict=True):
            if item is not None:
                side |= {path + found.relpath: entry_item(item, found) for found in _listed(item) or ()}
    return sides


def _listed(item: DvcItem) -> tuple[DvcEntry, ...] | None:
    """The files of a folder; None where its list is not here or makes no sense."""
    try:
        return entries_of(item)
    except DvcTextError:
        return None


def _missing_lists(lists: Mapping[str, tuple[Entry, ...]], hashed: bool) -> Iterator[str]:
    """Modified folders of which no single file is told: DVC says nothing when it has no list of their files."""
    told = [entry.path for state in STATES[:4] for entry in lists.get(state, ())]
    for entry in lists.get("modified", ()) if hashed else ():
        if not entry.path.endswith("/") or any(path != entry.path and path.startswith(entry.path) for path in told):
            continue
        for which, item in (("old", entry.old), ("new", entry.new)):
            if item is not None and _listed(item) is None and not _is_here(item):
                yield (
                    f"{entry.path}: its list of files on the {which} side is not here, so which files changed is not "
                    f"known; bring it with: {command_line(item.fetch)}"
                )


def _is_here(item: DvcItem) -> bool:
    """Whether the folder of the work tree may be what is meant: its list is not in the cache before dvc commit."""
    return not item.elsewhere and item.place is not None and os.path.isdir(os.path.join(item.place.top, item.path))
