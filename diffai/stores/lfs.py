"""git-LFS, without git-lfs and without the network: what a pointer says, and where its object lies.

Sources: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md, ``lfs/pointer.go`` there (what git-lfs really
accepts) and ``fs/fs.go``. The store is ``lfs.storage``, else ``lfs`` in the common git directory; objects lie at
``objects/aa/bb/<oid>`` in it and in the ``lfs`` folder beside each alternate object directory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache

from diffai.frozen import frozen
from diffai.model import FetchCommand, LfsPointer
from diffai.repository.place import GitPlace
from diffai.stores.store import PointerAt, StoredObject

MAX_BYTES = 1024
"""A pointer is shorter; longer files are never read for one."""

_VERSIONS = frozenset(
    ("https://git-lfs.github.com/spec/v1", "https://hawser.github.com/spec/v1", "http://git-media.io/v/2")
)
# Patterns are kept as text: this module is loaded for every file, and hardly any file is a pointer.
_EXTENSION = r"ext-\d-\w+"
_HEXADECIMAL = frozenset("0123456789abcdef")
_OID = r"[0-9a-f]{64}"


@frozen
class LfsText:
    """What a pointer says: ``oid`` is a sha256, 64 lower-case hexadecimal digits; ``size`` in bytes."""

    oid: str
    size: int


def recognise(head: bytes, size: int, name: str) -> LfsText | None:
    """The pointer that a file is; see :class:`diffai.stores.table.Store`."""
    if head.startswith((b"version ", b"\n", b"\r", b" ")) and size < MAX_BYTES:
        return parse_lfs(head[:size])
    return None


def parse_lfs(data: bytes) -> LfsText | None:
    """Parse the whole content of a git-LFS pointer; None when it is none.

    As strict as git-lfs itself: below 1024 bytes, a known version first, then ``ext-`` lines, ``oid`` and
    ``size`` in this order and nothing else; blank lines and CRLF are let pass.
    """
    if len(data) >= MAX_BYTES:
        return None
    try:
        lines = [line for line in data.decode("utf-8").strip().splitlines() if line]
    except UnicodeDecodeError:
        return None
    pairs = [line.split(" ", 1) for line in lines]
    if any(len(pair) != 2 for pair in pairs):
        return None
    import re

    keys = [key for key, _ in pairs if not re.fullmatch(_EXTENSION, key)]
    if keys != ["version", "oid", "size"] or pairs[0][0] != "version":
        return None
    values = {pair[0]: pair[1] for pair in pairs}
    kind, _, oid = values["oid"].partition(":")
    if values["version"] not in _VERSIONS or kind != "sha256" or not re.fullmatch(_OID, oid):
        return None
    size = values["size"]
    return LfsText(oid, int(size)) if re.fullmatch(r"[0-9]{1,19}", size) else None


def open_pointer(pointer: LfsText, at: PointerAt) -> StoredObject | LfsPointer:
    """The object of a pointer, or the state that says what brings it."""
    stored = find_object(pointer.oid, pointer.size, at.place)
    if not stored:
        return LfsPointer(pointer.oid, pointer.size, at.path, fetch_commands(at))
    return StoredObject(stored, f"sha256:{pointer.oid}", label=at.label, sibling=at.sibling)


def find_object(oid: str, size: int, place: GitPlace | None) -> str:
    """Path of the local LFS object ``oid``; "" when it is not here, or is not ``size`` bytes long.

    Raises:
        ValueError: ``oid`` is not 64 lower-case hexadecimal digits.

    """
    if len(oid) != 64 or not _HEXADECIMAL.issuperset(oid):
        raise ValueError(f"no sha256: {oid!r}")
    below = os.path.join("objects", oid[:2], oid[2:4], oid)
    for store in _stores(place):
        path = os.path.join(store, below)
        try:
            if os.path.isfile(path) and os.path.getsize(path) == size:
                return path
        except OSError:
            continue
    return ""


def _stores(place: GitPlace | None) -> Iterator[str]:
    """LFS stores, likeliest first; git is only asked for ``lfs.storage`` when the default place fails."""
    if place is None:
        return
    yield os.path.join(place.common_dir, "lfs")
    for objects in _alternates(place):
        yield os.path.join(os.path.dirname(objects.rstrip("/")), "lfs")
    configured = _configured_storage(place)
    if configured:
        yield os.path.join(place.common_dir, configured)  # absolute stays absolute


def _alternates(place: GitPlace) -> Iterator[str]:
    """Alternate object directories, from the environment and from the repository."""
    for entry in os.environ.get("GIT_ALTERNATE_OBJECT_DIRECTORIES", "").split(os.pathsep):
        if entry.strip():
            yield entry.strip().strip('"')
    objects = os.path.join(place.common_dir, "objects")
    for line in _text(os.path.join(objects, "info", "alternates")).splitlines():
        if line.strip() and not line.startswith("#"):
            yield os.path.join(objects, line.strip().strip('"'))


def _configured_storage(place: GitPlace) -> str:
    """``lfs.storage`` of git's configuration (never of a committed ``.lfsconfig``); "" when not set."""
    from diffai.repository.runner import git_config

    return git_config("lfs.storage", git_dir=place.git_dir)


# ---------------------------------------------------------------- what brings it


def fetch_commands(at: PointerAt) -> tuple[FetchCommand, ...]:
    """What brings the object of a pointer: of the work tree git-lfs also checks it out; nothing without a remote."""
    if at.place is None or not at.is_known:
        return ()
    remote = _remote(at.place.git_dir)
    if not remote:
        return ()
    known = at.revision not in ("", ":")
    revision = at.revision if known else "" if _is_in_work_tree(at) else _commit_with(at.place.top, at.path, at.data)
    pattern = (_pattern(at.path),)
    all_paths = ("--exclude=",) if _excludes(at.place.git_dir) else ()
    if revision:
        command = ("git", "lfs", "fetch", *all_paths, remote)
        return (FetchCommand("git-lfs", command, pattern, (_short(revision),), "-I", ","),)
    return (FetchCommand("git-lfs", ("git", "lfs", "pull", *all_paths), pattern, (), "-I", ","),)


def _short(revision: str) -> str:
    """An object name as people have it; any other name as it is."""
    return revision[:12] if len(revision) in (40, 64) and _HEXADECIMAL.issuperset(revision) else revision


def _pattern(path: str) -> str:
    """Exactly this path, from the top, for git-lfs: a comma would end it, and ``?`` stands for any character."""
    return "/" + "".join("?" if character in "\\*?[],!" else character for character in path)


@lru_cache(maxsize=16)
def _configuration(git_dir: str) -> dict[str, str]:
    """What git's configuration says of remotes, and of paths that git-lfs is not to fetch."""
    from diffai.repository.runner import GitError, Repository

    keys = r"^(remote\.lfsdefault|branch\..*\.remote|remote\..*\.(lfs)?url|lfs\.fetchexclude)$"
    try:
        answer = Repository().ask("--git-dir", git_dir, "config", "-z", "--get-regexp", keys)
    except GitError:  # none is set
        return {}
    pairs = (os.fsdecode(entry).partition("\n") for entry in answer.split(b"\0") if entry)
    return {key: value for key, _, value in pairs}


def _excludes(git_dir: str) -> bool:
    return bool(_configuration(git_dir).get("lfs.fetchexclude"))


def _remote(git_dir: str) -> str:
    """The remote that git-lfs would take by itself, which has to be named before a revision; "" when there is none."""
    known = _configuration(git_dir)
    for key in ("remote.lfsdefault", f"branch.{_branch(git_dir)}.remote"):
        if known.get(key):
            return known[key]
    names = [key[len("remote.") : key.rindex(".")] for key in known if key.endswith("url")]
    return "origin" if "origin" in names else next(iter(names), "")


def _branch(git_dir: str) -> str:
    head = _text(os.path.join(git_dir, "HEAD")).strip()
    return head.removeprefix("ref: refs/heads/") if head.startswith("ref: ") else ""


def _is_in_work_tree(at: PointerAt) -> bool:
    """Whether the work tree holds this very pointer at this path, or git's index would put it there."""
    assert at.place is not None
    if not at.place.top or not at.data:
        return True
    return _text(os.path.join(at.place.top, at.path)).encode("utf-8", "surrogateescape") == at.data


@lru_cache(maxsize=64)
def _commit_with(top: str, path: str, data: bytes) -> str:
    """The newest commit that brought this pointer, where only its text is known (a driver's copy); "" without one."""
    from diffai.repository.runner import GitError, Repository

    repository = Repository(top)
    try:
        oid = repository.ask("hash-object", "--stdin", "--no-filters", data=data).decode("ascii").strip()
        options = ("--all", "HEAD", "-m", "--raw", "--no-abbrev", "--no-renames", "--format=commit %H")
        answer = repository.ask("log", *options, f"--find-object={oid}", "--", f":(top,literal){path}")
    except GitError:  # no commit yet
        return ""
    commit = ""
    for line in answer.decode("utf-8", "replace").splitlines():
        words = line.split()
        commit = words[1] if words[:1] == ["commit"] else commit
        if words[3:4] == [oid]:
            return commit[:12]
    return ""


def _text(path: str) -> str:
    """Content of a small file; "" when it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read(1 << 20)
    except OSError:
        return ""
