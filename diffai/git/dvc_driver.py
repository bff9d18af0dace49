"""``git diff`` and textconv of DVC pointers: git's own text, then the tensors of what the pointer stands for.

The summary is indented and stands behind the whole text diff, so that the output can still be applied as a patch.
Everything needed is read from the pointers, the DVC cache and the work tree; DVC is never loaded or started.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Sequence

from diffai.errors import SourceError
from diffai.frozen import frozen, replace
from diffai.git.environment import Change, GitEnvironment
from diffai.git.plain import ask_plain, plain_diff
from diffai.repository.place import GitPlace, find_repository
from diffai.repository.runner import GitError, Repository
from diffai.stores.dvc.cache import DvcPlace, find_dvc
from diffai.stores.dvc.items import HERE, DvcItem, items_of
from diffai.stores.dvc.pointers import MAX_POINTER_BYTES, DvcFile, parse_dvc_file
from diffai.views.style import escape, paint, plural

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.comparison.tracked import OutChange, TrackedOptions

_INDENT = "  "
_NO_FILE = DvcFile(False)


@frozen
class _Side:
    """One side of a pointer: its text, what it says, and its outputs; ``problem`` says why there are none."""

    data: bytes = b""
    file: DvcFile = _NO_FILE
    items: tuple[DvcItem, ...] = ()
    problem: str = ""


# ---------------------------------------------------------------- git diff


def with_object_name(change: Change) -> Change:
    """The change with the object name of a work-tree pointer, which git leaves as zeros, as its own diff prints it."""
    if change.new_absent or set(change.new_hex) != {"0"} or change.new_mode == "120000":
        return change
    try:
        data = read(change.new_file)
    except SourceError:
        return change
    import hashlib  # loads OpenSSL, for work-tree files alone

    content = b"blob %d\0" % len(data) + data
    algorithm = hashlib.sha256 if len(change.new_hex) == 64 else hashlib.sha1
    return replace(change, new_hex=algorithm(content, usedforsecurity=False).hexdigest())


def pointer_diff(change: Change, environment: GitEnvironment) -> Iterator[str]:
    """The lines below the header, as they become known."""
    asked = ask_plain(change, environment)  # git works while the next modules are loaded
    import diffai.comparison.tracked
    import diffai.views.tracked  # noqa: F401

    yield from plain_diff(change, environment, asked)
    git = git_place()
    path = _real_path(change, git)
    place = place_of(path, git)
    if os.environ.get("GIT_PREFIX"):  # the path may be one of two; see _real_path
        place = _with_caches_of(place, place_of(posixpath.join(os.environ["GIT_PREFIX"], change.old_path), git))
    current = _current(git, path)
    old = _side(change.old_file, path, place, git, current, absent=change.old_absent)
    renamed = change.new_path != change.old_path
    new_path = _real_name(change.new_path, change.old_path, path) if renamed else path
    new_place = place_of(new_path, git) if renamed else place
    new = _side(change.new_file, new_path, new_place, git, current, absent=change.new_absent)
    for which, side in (("old", old), ("new", new)):
        if side.problem:
            yield paint(f"{_INDENT}! {which}: {escape(side.problem, longest=500)}", "!", environment.color)
    if old.problem or new.problem:
        yield paint(f"{_INDENT}! models behind this pointer are not compared", "!", environment.color)
        return
    yield from _compared(old, new, environment, place)


def _compared(old: _Side, new: _Side, environment: GitEnvironment, place: DvcPlace | None) -> Iterator[str]:
    from diffai.comparison.tracked import compare_outs, pair_outs
    from diffai.views.tracked import render_imports, render_out

    yield from render_imports(old.file.imports, new.file.imports)
    pairs = pair_outs(old.items, new.items)
    look = environment.text_options()
    skipped: dict[str, int] = {}
    for change in compare_outs(pairs, _options(environment, place), (old.items, new.items)):
        if change.kind and not change.item.out.model:
            _count(skipped, change)
            continue
        yield from render_out(change, look)
    notes = [f"{plural(count, 'output')} {word}, no model" for word, count in skipped.items()]
    if pairs.unchanged:
        notes.append(f"{plural(pairs.unchanged, 'output')} unchanged")
    if notes:
        yield paint(f"{_INDENT}({'; '.join(notes)})", "…", environment.color)


def _count(skipped: dict[str, int], change: OutChange) -> None:
    word = "added" if change.old is None else "removed" if change.new is None else "changed"
    skipped[word] = skipped.get(word, 0) + 1


def _options(environment: GitEnvironment, place: DvcPlace | None) -> TrackedOptions:
    from diffai.comparison.tracked import TrackedOptions

    mode, reach = environment.settings.remote, HERE
    if mode != "never" and place is not None:
        from diffai.stores.dvc.remote import reach_of

        reach = reach_of(mode, environment.settings.max_spool)
    return TrackedOptions(environment.compare_options(), environment.limits(), reach)


# ---------------------------------------------------------------- which pointer, and what it says


def _side(
    file: str, path: str, place: DvcPlace | None, git: GitPlace | None, current: bytes, *, absent: bool
) -> _Side:
    """Read and parse one side."""
    if absent:
        return _Side()
    try:
        data = read(file)
        parsed = parse_dvc_file(data, path)
        yaml = beside(git, path) if parsed.lock else b""
        items = items_of(parsed, path, place, yaml=yaml, elsewhere=False)
    except SourceError as error:
        return _Side(problem=str(error))
    marked = tuple(replace(item, elsewhere=(item.out.value.encode() or data) not in current) for item in items)
    return _Side(data, parsed, marked)


def read(path: str) -> bytes:
    """A whole pointer; SourceError when it cannot be read or is too long for one."""
    from diffai.sources.local import LocalFile

    source = LocalFile(path)
    try:
        if source.size > MAX_POINTER_BYTES:
            raise SourceError(f"longer than {MAX_POINTER_BYTES >> 20} MB, too long for a DVC pointer")
        return source.read(0, source.size)
    finally:
        source.close()


def _current(git: GitPlace | None, path: str) -> bytes:
    """The pointer as it is in the work tree; empty when it is not there."""
    try:
        return read(os.path.join(git.top, path)) if git is not None and git.top else b""
    except SourceError:
        return b""


def beside(git: GitPlace | None, path: str) -> bytes:
    """The ``dvc.yaml`` beside a lock file in the work tree, which says where the stages work."""
    try:
        folder = os.path.join(git.top, posixpath.dirname(path)) if git is not None and git.top else ""
        return read(os.path.join(folder, "dvc.yaml")) if folder else b""
    except SourceError:
        return b""


def git_place() -> GitPlace | None:
    """The repository that git called us in; in a linked work tree GIT_DIR is set, and hides where its top is."""
    place = find_repository()
    if place is not None and not place.top and os.path.lexists(".git"):
        return GitPlace(place.git_dir, place.common_dir, os.getcwd())
    return place


def place_of(path: str, git: GitPlace | None) -> DvcPlace | None:
    """The DVC repository of a pointer."""
    start = os.path.join(git.top, posixpath.dirname(path)) if git is not None and git.top else ""
    return find_dvc(start, git, committed=_committed_config)


def _committed_config() -> str | None:
    """``.dvc/config`` of HEAD, for a bare repository."""
    try:
        return Repository().ask("cat-file", "blob", "HEAD:.dvc/config").decode("utf-8", "replace")
    except GitError:
        return None


def _real_path(change: Change, git: GitPlace | None) -> str:
    """The pointer's path from the top: ``git diff --relative`` strips the user's folder from what it tells.

    A pointer of the same name can lie at the top and in the folder, so names alone do not decide: the work-tree file
    that git passed does, else the object names in the index and in HEAD.
    """
    path, prefix = change.old_path, os.environ.get("GIT_PREFIX", "")
    if not prefix or git is None or not git.top:
        return path
    below = posixpath.join(prefix, path)
    for file in (change.new_file, change.old_file):
        if not os.path.isabs(file) and file.replace(os.sep, "/") in (path, below):
            return file.replace(os.sep, "/")
    known = _object_names((path, below))
    wanted = {name for name in (change.old_hex, change.new_hex) if set(name) != {"0"}}
    score = {candidate: len(wanted & known.get(candidate, set())) for candidate in (path, below)}
    if score[path] != score[below]:
        return max(score, key=lambda candidate: score[candidate])
    exists = os.path.lexists(os.path.join(git.top, path)) or path in known
    return path if exists or below not in known else below


def _with_caches_of(place: DvcPlace | None, other: DvcPlace | None) -> DvcPlace | None:
    """A place that is also searched in the other's caches: an address means the same content in each."""
    if place is None or other is None:
        return place or other
    return replace(place, caches=tuple(dict.fromkeys((*place.caches, *other.caches))))


def _real_name(new: str, old: str, real_old: str) -> str:
    """The new path of a rename, with the folder that ``--relative`` stripped from the old one."""
    stripped = real_old[: len(real_old) - len(old)] if real_old.endswith(old) else ""
    return stripped + new


def _object_names(paths: Sequence[str]) -> dict[str, set[str]]:
    """Object names of paths in the index and in HEAD."""
    repository, found = Repository(), dict[str, set[str]]()
    for command in (("ls-files", "-z", "-s", "--full-name"), ("ls-tree", "-z", "--full-tree", "HEAD")):
        try:
            answer = repository.ask("--literal-pathspecs", *command, "--", *paths)
        except GitError:  # no commit yet
            continue
        for record in answer.split(b"\0"):
            if record:
                facts, _, name = record.partition(b"\t")
                words = facts.decode("ascii").split()
                found.setdefault(os.fsdecode(name), set()).add(words[1] if command[0] == "ls-files" else words[2])
    return found
