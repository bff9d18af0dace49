"""Compare two directories: models paired by relative path, a sharded model as one, nothing skipped silently."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from diffai.comparison.models import Input, Progress, compare_models
from diffai.comparison.names import natural_key
from diffai.comparison.result import CompareOptions, DirectoryDiff, FileChange, LeftOut, ModelDiff
from diffai.errors import FormatError, SourceError
from diffai.formats.base import Limits
from diffai.model import Absent, NotAModel
from diffai.models.inputs import open_input, unreadable
from diffai.models.names import is_model_name, is_shard, model_key
from diffai.snapshots.resolve import sentence


class Listing:
    """What lies below a directory: models by the path they are paired by, other files, and what was left out.

    A sharded model stands under the name its single file would have (``model.safetensors``), so that it pairs
    with one.
    """

    __slots__ = ("excluded", "models", "others", "problems")

    def __init__(self) -> None:
        self.models: dict[str, str] = {}
        self.others: dict[str, str] = {}
        self.problems: list[tuple[str, str]] = []
        self.excluded = 0


def list_models(top: str, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Listing:
    """Walk ``top``, following symbolic links once.

    Args:
        include: globs; files whose relative path or name matches none of them are left out (empty = all).
        exclude: globs; files whose relative path or name matches one are left out.

    Raises:
        SourceError: ``top`` cannot be listed.

    """
    listing = Listing()
    for relative, path in _walk(top, "", [], listing):
        if not wanted(relative, include, exclude):
            listing.excluded += 1
            continue
        _place(listing, relative, path)
    return listing


def _walk(folder: str, prefix: str, above: list[tuple[int, int]], listing: Listing) -> Iterator[tuple[str, str]]:
    """(relative path, path) of every file; a link back to a folder that it lies in is reported and not followed."""
    try:
        status = os.stat(folder)
        here = (status.st_dev, status.st_ino)
        if here in above:
            listing.problems.append((prefix.rstrip("/"), "symbolic link to a folder that contains it: not followed"))
            return
        entries = sorted(os.scandir(folder), key=lambda entry: natural_key(entry.name))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        if not prefix:
            raise SourceError(f"{folder}: {reason}") from error
        listing.problems.append((prefix.rstrip("/"), reason))
        return
    for entry in entries:
        relative = prefix + entry.name
        try:
            if entry.is_dir():
                if entry.name not in (".git", ".dvc"):
                    yield from _walk(entry.path, relative + "/", [*above, here], listing)
            elif entry.is_file():
                yield relative, entry.path
            elif entry.is_symlink():
                listing.problems.append((relative, "symbolic link to nothing"))
        except OSError as error:  # a link that leads in a circle
            listing.problems.append((relative, (error.strerror or str(error)).lower()))


def wanted(relative: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    """Whether a relative path matches an include glob (or there is none) and no exclude glob."""
    name = relative.rpartition("/")[2]

    def matches(globs: Sequence[str]) -> bool:
        return any(fnmatchcase(relative, glob) or fnmatchcase(name, glob) for glob in globs)

    return (not include or matches(include)) and not matches(exclude)


def _place(listing: Listing, relative: str, path: str) -> None:
    """Sort a file in; the index is what is opened of a sharded model when there is one."""
    key = model_key(relative)
    if key == relative and not is_model_name(relative):
        listing.others[relative] = path
        return
    taken = listing.models.get(key)
    if is_shard(path):
        listing.models.setdefault(key, path)
    elif taken is None or is_shard(taken):
        listing.models[key] = path
    else:  # a single file and an index of the same name lie side by side: two models
        listing.models[relative] = path


def compare_directories(
    old: str,
    new: str,
    options: CompareOptions = CompareOptions(),
    *,
    limits: Limits = Limits(),
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    progress: Progress | None = None,
) -> DirectoryDiff:
    """Compare all models of two directories.

    Raises:
        SourceError: one of the directories cannot be listed. Anything below is reported in place.

    """
    left, right = list_models(old, include, exclude), list_models(new, include, exclude)
    files = []
    for name in sorted({**left.models, **right.models}, key=natural_key):
        before, after = left.models.get(name), right.models.get(name)
        file = _pair(name, before, after, options, limits, progress)
        if file is not None:
            files.append(file)
        else:
            for side, path in ((left, before), (right, after)):
                if path is not None:
                    side.others[name] = path
    for label, listing in ((old, left), (new, right)):
        files += [FileChange(path, "unreadable", reason=f"{label}: {why}") for path, why in listing.problems]
    left_out = []
    if left.excluded or right.excluded:
        what = " ".join([*(f"--include {g}" for g in include), *(f"--exclude {g}" for g in exclude)])
        left_out.append(LeftOut("files", left.excluded + right.excluded, f"left out by {what}"))
    return DirectoryDiff(old, new, tuple(files), tuple(left_out), _other_files(left.others, right.others))


def _pair(
    name: str,
    old: str | None,
    new: str | None,
    options: CompareOptions,
    limits: Limits,
    progress: Progress | None,
) -> FileChange | None:
    """The change of one path; None when it is a model on neither side (text named ``.bin``)."""
    sides = _open(old, limits), _open(new, limits)
    try:
        if all(isinstance(side.state, (Absent, NotAModel)) for side in sides):
            return None
        return compare_files(name, *sides, options, progress)
    finally:
        for side in sides:
            if side.checkpoint is not None:
                side.checkpoint.close()


def compare_files(
    name: str, old: Input, new: Input, options: CompareOptions, progress: Progress | None = None
) -> FileChange:
    """The change of one path out of its two opened sides."""
    try:
        diff = compare_models(old, new, options, progress)
    except SourceError as error:
        return FileChange(name, "unreadable", reason=str(error))
    if isinstance(old.state, Absent):
        return FileChange(name, "added", diff)
    if isinstance(new.state, Absent):
        return FileChange(name, "removed", diff)
    if not diff.comparable:
        return FileChange(name, "unreadable", diff, why_not_comparable(diff))
    return FileChange(name, "compared", diff)


def why_not_comparable(diff: ModelDiff) -> str:
    """Why a side of a comparison could not be opened."""
    sides = (("old", diff.old.state), ("new", diff.new.state))
    return "; ".join(f"{which}: {sentence(s)}" for which, s in sides if s is not None and not isinstance(s, Absent))


def _open(path: str | None, limits: Limits) -> Input:
    if path is None:
        return Input("", state=Absent())
    try:
        if is_shard(path):
            return _open_shards(path, limits)
        return open_input(path, limits)
    except (SourceError, FormatError) as error:
        return Input(path, state=unreadable(error))


def _open_shards(path: str, limits: Limits) -> Input:
    """A set of shards without index: the folder is the checkpoint when the set is all it holds."""
    folder = os.path.dirname(path)
    sets = {model_key(name) for name in os.listdir(folder) if is_shard(name)}
    return open_input(folder if len(sets) == 1 else path, limits)


def _other_files(old: dict[str, str], new: dict[str, str]) -> tuple[int, int, int, int]:
    """(equal, different, only old, only new) over files that are no models."""
    equal = different = 0
    for name in old.keys() & new.keys():
        if _same_bytes(old[name], new[name]):
            equal += 1
        else:
            different += 1
    return equal, different, len(old.keys() - new.keys()), len(new.keys() - old.keys())


def _same_bytes(a: str, b: str) -> bool:
    import filecmp

    try:
        return filecmp.cmp(a, b, shallow=False)
    except OSError:
        return False
