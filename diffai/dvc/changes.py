"""What changed between two revisions as ``dvc diff`` has it: from DVC's own JSON, or out of git without DVC."""

from __future__ import annotations

import json
import os
import posixpath
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from diffai.dvc.revisions import resolve
from diffai.errors import DiffaiError, SourceError, UsageError
from diffai.frozen import frozen
from diffai.repository.runner import Repository
from diffai.stores.dvc.cache import DvcPlace, find_dvc
from diffai.stores.dvc.items import DvcItem, entries_of, entry_item, items_of
from diffai.stores.dvc.pointers import (
    DvcOut,
    DvcTextError,
    is_pointer_name,
    parse_dvc_file,
    uncached_paths,
)
from diffai.stores.dvc.tracked import DvcHistory
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


@frozen
class Changes:
    """The result of one ``dvc diff``.

    Attributes:
        lists: entries by DVC's own state names, sorted by path.
        hashed: whether addresses are known; without them nothing can be opened.
        problems: pointers that could not be read, and folders whose list of files is missing.
        place: the DVC repository.
    """

    lists: Mapping[str, tuple[Entry, ...]]
    place: DvcPlace | None
    hashed: bool = True
    problems: tuple[str, ...] = ()

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


# ---------------------------------------------------------------- out of git


@dataclass(slots=True)
class _Side:
    """Everything that DVC tracks at one revision, by path from the DVC root; a folder's path ends in ``/``."""

    items: dict[str, DvcItem] = field(default_factory=dict)
    unlisted: list[DvcItem] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def diff_revisions(a: str, b: str, targets: Sequence[str], directory: str = "") -> Changes:
    """What ``dvc diff A B`` prints, out of git's objects and the DVC cache; DVC is not started.

    Args:
        a, b: revisions as the user wrote them.
        targets: paths of tracked files or folders, relative to the working directory; empty = everything.
        directory: a folder of the DVC repository; "" is the working directory.

    Raises:
        SourceError: not in a DVC repository, no such revision, or a target that neither revision has.
    """
    repository = Repository(directory)
    commits = [resolve(repository, a), resolve(repository, b)]
    place = find_dvc(directory or os.curdir, repository.place())
    if place is None:
        raise SourceError("not inside a DVC repository (there is no .dvc folder here or above)")
    with DvcHistory(directory) as history:
        old, new = (_tracked_at(repository, history, commit, place) for commit in commits)
    wanted = [(target, _target(target, place, directory)) for target in targets]
    for target, path in wanted:
        if not any(_is_of(target, path, shown, item) for side in (old, new) for shown, item in side.items.items()):
            raise SourceError(f"{path}: neither revision tracks this path with DVC, nor has it a stage of this name")
    for side in (old, new) if wanted else ():
        side.items = {
            shown: item for shown, item in side.items.items() if any(_is_of(t, path, shown, item) for t, path in wanted)
        }
    lists = _compare(old.items, new.items)
    missing = [
        f"{item.label}/: its list of files at {rev} is not here, so which files changed is not known; "
        f"bring it with: {command_line(item.fetch)}"
        for rev, side, other in ((a, old, new), (b, new, old))
        for item in side.unlisted
        if any(e.path == _shown(item, place) for name in ("added", "deleted", "modified") for e in lists[name])
    ]
    return Changes(lists, place, problems=tuple(dict.fromkeys((*old.problems, *new.problems, *missing))))


def _target(target: str, place: DvcPlace, directory: str) -> str:
    full = os.path.realpath(os.path.join(directory, target))
    return os.path.relpath(full, os.path.realpath(place.root)).replace(os.sep, "/").removesuffix(".dvc")


def _is_of(target: str, path: str, shown: str, item: DvcItem) -> bool:
    """Whether an output is meant by a target: a path, or ``stage``, ``stage@item``, ``folder/dvc.yaml:stage``."""
    if _under(shown, path):
        return True
    file, _, name = target.rpartition(":")
    stages = (item.out.stage, item.out.stage.partition("@")[0])
    folder = posixpath.dirname(file.replace(os.sep, "/"))
    return bool(item.out.stage) and name in stages and posixpath.dirname(item.pointer).endswith(folder)


def _under(path: str, target: str) -> bool:
    return target == "." or path.rstrip("/") == target or path.startswith(target + "/")


def _tracked_at(repository: Repository, history: DvcHistory, commit: str, place: DvcPlace) -> _Side:
    """All outputs of all pointers at a commit, below the DVC root but not in other DVC repositories inside it."""
    prefix = f"{place.folder}/" if place.folder else ""
    names = [
        os.fsdecode(name)
        for name in repository.ask("ls-tree", "-r", "-z", "--name-only", "--full-tree", commit).split(b"\0")
        if name
    ]
    nested = [name.removesuffix(".dvc/config") for name in names if name.endswith("/.dvc/config")]
    nested = [folder for folder in nested if folder.startswith(prefix) and folder != prefix]
    side = _Side()
    for name in names:
        if not is_pointer_name(name) or not name.startswith(prefix) or name.startswith(tuple(nested) or ("\0",)):
            continue
        try:
            for item in _items_at(history, commit, name, place):
                _put(side, item, place)
        except DvcTextError as error:
            side.problems.append(f"{commit[:7]}:{name}: {error}")
    return side


def _items_at(history: DvcHistory, commit: str, pointer: str, place: DvcPlace) -> Iterator[DvcItem]:
    """The cached outputs of one pointer."""
    file = parse_dvc_file(history.read(commit, pointer) or b"", pointer)
    yaml = history.read(commit, posixpath.join(posixpath.dirname(pointer), "dvc.yaml")) or b"" if file.lock else b""
    left_to_git = uncached_paths(yaml) if file.lock else frozenset()
    for item in items_of(file, pointer, place, yaml=yaml, elsewhere=True):
        if item.out.cached and (item.out.stage.partition("@")[0], item.out.path) not in left_to_git:
            yield item


def _put(side: _Side, item: DvcItem, place: DvcPlace) -> None:
    """Add an output, and the files of a directory."""
    path = _shown(item, place)
    side.items[path] = item
    if not item.is_directory:
        return
    entries = entries_of(item)
    if entries is None:
        side.unlisted.append(item)
        return
    for entry in entries:
        side.items[path + entry.relpath] = entry_item(item, entry)


def _shown(item: DvcItem, place: DvcPlace) -> str:
    """The path as DVC prints it: from the DVC root, a folder's with ``/`` behind it."""
    path = posixpath.relpath(item.path, place.folder) if place.folder else item.path
    return f"{path}/" if item.is_directory else path


def _hash(item: DvcItem | None) -> str:
    return item.address if item is not None else ""


def _compare(old: Mapping[str, DvcItem], new: Mapping[str, DvcItem]) -> dict[str, tuple[Entry, ...]]:
    """Added, deleted, modified, and files that moved without a change."""
    added = [path for path in new if path not in old and _hash(new[path])]
    deleted = [path for path in old if path not in new and _hash(old[path])]
    modified = [p for p in old if p in new and _differ(old[p], new[p])]
    unlisted = _unknown_below(old, new)
    added = [path for path in added if not path.startswith(unlisted)]
    deleted = [path for path in deleted if not path.startswith(unlisted)]
    gone: dict[str, list[str]] = {}
    for path in sorted(deleted):
        gone.setdefault(_hash(old[path]), []).append(path)
    renamed: list[Entry] = []
    for path in sorted(added):
        before = gone.get(_hash(new[path]))
        if before:
            source = before.pop(0)
            deleted.remove(source)
            added.remove(path)
            renamed.append(Entry(path, source, old[source], new[path], (_hash(old[source]), _hash(new[path]))))
    return {
        "added": _entries(added, {}, new),
        "deleted": _entries(deleted, old, {}),
        "modified": _entries(modified, old, new),
        "renamed": tuple(sorted(renamed, key=lambda entry: entry.old_path)),
    }


def _differ(old: DvcItem, new: DvcItem) -> bool:
    """Whether the content of one path differs; cloud-versioned folders have no address of their own."""
    if old.entry is not None or new.entry is not None:
        return old.address != new.address
    return old.out.same_as != new.out.same_as


def _unknown_below(old: Mapping[str, DvcItem], new: Mapping[str, DvcItem]) -> tuple[str, ...]:
    """Folders that both sides have and whose files one side does not know: nothing is said of single files there."""
    found = []
    for path, item in old.items():
        if path.endswith("/") and path in new:
            known = [entries_of(side) is not None for side in (item, new[path])]
            if not all(known):
                found.append(path)
    return tuple(found) or ("\0",)


def _entries(paths: Sequence[str], old: Mapping[str, DvcItem], new: Mapping[str, DvcItem]) -> tuple[Entry, ...]:
    return tuple(
        Entry(path, "", old.get(path), new.get(path), (_hash(old.get(path)), _hash(new.get(path))))
        for path in sorted(paths)
    )


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


def changes_between(a: str, b: str, targets: Sequence[str]) -> Changes:
    """What ``dvc diff A [B] --targets ...`` finds: out of git where both are revisions that are understood here.

    The work tree ("" or ``workspace``), and whatever is not understood, is DVC's to say.

    Raises:
        DiffaiError: there is no such revision or target, or dvc is not installed or failed.
    """
    words = [a, *([b] if b else []), *(["--targets", *targets] if targets else [])]
    if "workspace" in (a, b) or not b:
        return read_json(run_dvc(words))
    try:
        return diff_revisions(a, b, targets)
    except SourceError as error:
        try:
            return read_json(run_dvc(words))
        except DiffaiError:
            raise error from None


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
    return Changes(lists, place, hashed, tuple(_missing_lists(lists, hashed)))


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


def _missing_lists(lists: Mapping[str, tuple[Entry, ...]], hashed: bool) -> Iterator[str]:
    """Modified folders of which no single file is told: DVC says nothing when it has no list of their files."""
    told = [entry.path for state in STATES[:4] for entry in lists.get(state, ())]
    for entry in lists.get("modified", ()) if hashed else ():
        if not entry.path.endswith("/") or any(path != entry.path and path.startswith(entry.path) for path in told):
            continue
        for which, item in (("old", entry.old), ("new", entry.new)):
            if item is not None and entries_of(item) is None and not _is_here(item):
                yield (
                    f"{entry.path}: its list of files on the {which} side is not here, so which files changed is not "
                    f"known; bring it with: {command_line(item.fetch)}"
                )


def _is_here(item: DvcItem) -> bool:
    """Whether the folder of the work tree may be what is meant: its list is not in the cache before dvc commit."""
    return not item.elsewhere and item.place is not None and os.path.isdir(os.path.join(item.place.top, item.path))


__all__ = ["STATES", "Changes", "Entry", "changes_between", "diff_revisions", "read_json", "run_dvc"]
