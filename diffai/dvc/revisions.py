"""What changed between two revisions as ``dvc diff`` has it, out of git without DVC.

Revisions are git's, and names of experiments. Source: ``dvc/scm.py`` (``resolve_rev``) and
``dvc/repo/experiments/utils.py`` of DVC 3.67; an experiment NAME on a commit SHA is
``refs/exps/<2 digits>/<38 digits>/NAME``.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping, Sequence

from diffai.dvc.changes import Changes, Entry, models_of, read_json, run_dvc
from diffai.errors import DiffaiError, SourceError
from diffai.models.names import is_model_name
from diffai.repository.runner import GitError, Repository
from diffai.snapshots.outputs import Outputs
from diffai.snapshots.snapshot import Snapshot, snapshot_of
from diffai.stores.dvc import is_pointer_name
from diffai.stores.dvc.cache import DvcPlace, find_dvc
from diffai.stores.dvc.items import DvcItem, entries_of, entry_item
from diffai.stores.dvc.pointers import DvcTextError
from diffai.stores.store import command_line


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


class _Side:
    """Everything that DVC tracks at one revision, by path from the DVC root; a folder's path ends in ``/``."""

    def __init__(self) -> None:
        self.items: dict[str, DvcItem] = {}
        self.unlisted: dict[str, DvcItem] = {}
        self.problems: list[str] = []


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
    old, new = (_tracked_at(snapshot_of(repository, commit), place) for commit in commits)
    wanted = [(target, _target(target, place, directory)) for target in targets]
    for target, path in wanted:
        if not any(_is_of(target, path, shown, item) for side in (old, new) for shown, item in side.items.items()):
            raise SourceError(f"{path}: neither revision tracks this path with DVC, nor has it a stage of this name")
    for side in (old, new) if wanted else ():
        side.items = {
            shown: item for shown, item in side.items.items() if any(_is_of(t, path, shown, item) for t, path in wanted)
        }
    lists = _compare(old, new)
    missing = [
        f"{item.label}/: its list of files at {rev} is not here, so which files changed is not known; "
        f"bring it with: {command_line(item.fetch)}"
        for rev, side in ((a, old), (b, new))
        for path, item in side.unlisted.items()
        if any(entry.path == path for name in ("added", "deleted", "modified") for entry in lists[name])
    ]
    problems = tuple(dict.fromkeys((*old.problems, *new.problems, *missing)))
    return Changes(lists, place, problems=problems, models=(models_of(old.items), models_of(new.items)))


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


def _tracked_at(snapshot: Snapshot, place: DvcPlace) -> _Side:
    """All outputs of all pointers at a commit, below the DVC root but not in other DVC repositories inside it."""
    prefix = f"{place.folder}/" if place.folder else ""
    names = snapshot.tree.list(("*.dvc", "dvc.lock", "*/.dvc/config"))
    nested = [name.removesuffix(".dvc/config") for name in names if name.endswith("/.dvc/config")]
    nested = [folder for folder in nested if folder.startswith(prefix) and folder != prefix]
    side, outputs = _Side(), Outputs(snapshot, is_model_name)
    for name in names:
        if not is_pointer_name(name) or not name.startswith(prefix) or name.startswith(tuple(nested) or ("\0",)):
            continue
        try:
            for item in outputs.cached(name):
                _put(side, item, place)
        except DvcTextError as error:
            side.problems.append(f"{snapshot.label}:{name}: {error}")
    outputs.close()
    return side


def _put(side: _Side, item: DvcItem, place: DvcPlace) -> None:
    """Add an output, and the files of a directory.

    Raises:
        DvcTextError: the directory's list of files makes no sense; it then counts as one that is not here.
    """
    path = _shown(item, place)
    side.items[path] = item
    if not item.is_directory:
        return
    side.unlisted[path] = item
    entries = entries_of(item)
    if entries is not None:
        del side.unlisted[path]
        side.items |= {path + entry.relpath: entry_item(item, entry) for entry in entries}


def _shown(item: DvcItem, place: DvcPlace) -> str:
    """The path as DVC prints it: from the DVC root, a folder's with ``/`` behind it."""
    path = posixpath.relpath(item.path, place.folder) if place.folder else item.path
    return f"{path}/" if item.is_directory else path


def _hash(item: DvcItem | None) -> str:
    return item.address if item is not None else ""


def _compare(before: _Side, now: _Side) -> dict[str, tuple[Entry, ...]]:
    """Added, deleted, modified, and files that moved without a change."""
    old, new = before.items, now.items
    added = [path for path in new if path not in old and _hash(new[path])]
    deleted = [path for path in old if path not in new and _hash(old[path])]
    modified = [p for p in old if p in new and _differ(old[p], new[p])]
    # Folders that both sides have and whose files one side does not know: nothing is said of single files there.
    unlisted = tuple(p for p in (*before.unlisted, *now.unlisted) if p in old and p in new) or ("\0",)
    added = [path for path in added if not path.startswith(unlisted)]
    deleted = [path for path in deleted if not path.startswith(unlisted)]
    gone: dict[str, list[str]] = {}
    for path in sorted(deleted):
        gone.setdefault(_hash(old[path]), []).append(path)
    renamed: list[Entry] = []
    for path in sorted(added):
        sources = gone.get(_hash(new[path]))
        if sources:
            source = sources.pop(0)
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


def _entries(paths: Sequence[str], old: Mapping[str, DvcItem], new: Mapping[str, DvcItem]) -> tuple[Entry, ...]:
    return tuple(
        Entry(path, "", old.get(path), new.get(path), (_hash(old.get(path)), _hash(new.get(path))))
        for path in sorted(paths)
    )


# ---------------------------------------------------------------- words for revisions


def resolve(repository: Repository, word: str) -> str:
    """Full name of the commit that a word means.

    Raises:
        SourceError: it means none, or experiments of this name stand on several commits and none of them on HEAD.
    """
    try:
        return repository.commit(word)
    except GitError:
        raise
    except SourceError as error:
        found = _experiment(repository, word)
        if not found:
            raise error
        return found


def _experiment(repository: Repository, name: str) -> str:
    """The commit of an experiment, that on HEAD where several have the name; "" when there is none."""
    refs = [ref for ref in _refs(repository, "refs/exps/") if ref[1].split("/", 4)[4:] == [name] and _is_based(ref[1])]
    if len(refs) > 1:
        head = repository.commit("HEAD")
        refs = [ref for ref in refs if ref[1].startswith(f"refs/exps/{head[:2]}/{head[2:]}/")]
        if not refs:
            raise SourceError(f"{name}: several experiments have this name, and none of them is based on HEAD")
    return refs[0][0] if refs else ""


def _is_based(ref: str) -> bool:
    """Whether it names an experiment's base; other names below ``refs/exps`` are DVC's own (``exec``, ``stash``)."""
    parts = ref.split("/")
    return len(parts[2]) == 2 and len(parts[3]) in (38, 62)


def _refs(repository: Repository, below: str) -> list[tuple[str, str]]:
    """(full object name, name) of the references below a prefix."""
    answer = os.fsdecode(repository.ask("for-each-ref", "--format=%(objectname) %(refname)", below))
    return [(oid, ref) for oid, _, ref in (line.partition(" ") for line in answer.splitlines())]
