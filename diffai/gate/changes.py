"""Which files a commit or a range changes, asked of git alone. This is all that runs when no model is among them.

Nothing here may load numpy, rich, click or GitPython.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from diffai.errors import SourceError
from diffai.formats.table import may_be_named_so
from diffai.frozen import frozen
from diffai.globs import path_matches
from diffai.models.names import is_shard
from diffai.repository.runner import GitError, Repository

POLICY_FILES = (".diffai.toml", "pyproject.toml")
APPROVALS = ".diffai/approvals"
APPROVALS_FILE = ".diffai-approvals"  # where earlier versions kept all of them
_ZERO = "0" * 40


@frozen
class Point:
    """One side of what is judged.

    Attributes:
        tree: object name of a commit or tree; "" is the index.
        label: how people name it: ``HEAD``, ``the index``, ``1a2b3c4``.
    """

    tree: str
    label: str

    def word(self, path: str) -> str:
        """What names ``path`` there to git and to ``diffai``: ``HEAD:path``, ``:path``."""
        return f"{self.tree}:{path}"

    def label_of(self, path: str) -> str:
        """What names ``path`` there to people: ``HEAD:path``, and the plain path in the index."""
        return f"{self.label}:{path}" if self.tree else path


@frozen
class Entry:
    """A path on one side: git's mode and object name; ``path`` is "" where there is none."""

    path: str = ""
    mode: str = ""
    oid: str = ""


@frozen
class Change:
    """One changed path, or an exact rename; paths from the top of the work tree."""

    old: Entry
    new: Entry
    unmerged: bool = False

    @property
    def path(self) -> str:
        """The new path, or the old one of a deleted file."""
        return self.new.path or self.old.path


def changed_entries(repository: Repository, old: str, new: str) -> list[Change]:
    """Files that differ between two trees, or a tree and the index (``new`` = ""); submodules left out.

    Raises:
        SourceError: not in a repository, or git fails.
    """
    # Exact renames only: anything else would make git read every model to measure similarity.
    common = ("--raw", "-z", "--no-abbrev", "--find-renames=100%", "--no-ext-diff", "--no-textconv")
    if new:
        output = repository.ask("diff-tree", "-r", *common, old, new, "--")
    else:
        output = repository.ask("diff-index", "--cached", *common, old, "--")
    fields = os.fsdecode(output).split("\0")
    found, at = [], 0
    while at + 1 < len(fields) and fields[at].startswith(":"):
        old_mode, new_mode, old_oid, new_oid, kind = fields[at][1:].split(" ")
        renamed = kind[0] in "RC"
        before, after = fields[at + 1], fields[at + 2] if renamed else fields[at + 1]
        at += 3 if renamed else 2
        if "160000" in (old_mode, new_mode):
            continue
        found.append(
            Change(
                Entry(before, old_mode, old_oid) if kind != "A" else Entry(),
                Entry(after, new_mode, new_oid) if kind != "D" else Entry(),
                unmerged=kind == "U",
            )
        )
    return found


def staged_entries(repository: Repository) -> tuple[Point, list[Change]]:
    """What is about to be committed: the index against HEAD, or against nothing in a repository without commit."""
    try:
        return Point("HEAD", "HEAD"), changed_entries(repository, "HEAD", "")
    except GitError:
        try:
            repository.ask("rev-parse", "--verify", "-q", "HEAD^{commit}")
        except GitError:  # no commit yet, or no repository at all, which the next call says
            return Point(empty_tree(repository), "nothing"), changed_entries(repository, empty_tree(repository), "")
        raise


def empty_tree(repository: Repository) -> str:
    """Object name of the empty tree in the repository's own hash."""
    return repository.ask("hash-object", "-t", "tree", "--stdin").decode("ascii").strip()


def within(changes: Iterable[Change], paths: Sequence[str], prefix: str) -> list[Change]:
    """The changes at or below one of ``paths``; all of them when none is given.

    Filtered here and not by git, to which a renamed model limited to its new path is an added one.

    Args:
        changes: of the whole repository.
        paths: as the user or pre-commit wrote them, relative to the working directory.
        prefix: the working directory relative to the top, with ``/`` at the end; "" at the top.

    Raises:
        SourceError: a path is neither on disk nor changed: a slip of the pen must not look like a pass.
    """
    if not paths:
        return list(changes)
    every, kept = list(changes), dict[int, Change]()
    for path in paths:
        wanted = from_top(path, prefix)
        if wanted == ".":
            return every
        pointers = set(_pointers_to(wanted))
        found = {
            at: change for at, change in enumerate(every)
            if any(below(p, wanted) or p in pointers for p in (change.old.path, change.new.path))
        }  # fmt: skip
        if not found and not os.path.lexists(path):
            raise SourceError(f"{path}: no such file, and none that changed")
        kept |= found
    return [kept[at] for at in sorted(kept)]


def sought(changes: Sequence[Change], paths: Sequence[str], prefix: str) -> dict[str, bool]:
    """``paths`` from the top of the work tree, and whether neither the work tree nor a change has them."""
    found = {}
    for path in paths:
        name = from_top(path, prefix)
        changed = any(below(p, name) for change in changes for p in (change.old.path, change.new.path))
        found[name] = name != "." and not changed and not os.path.lexists(path)
    return found


def from_top(path: str, prefix: str) -> str:
    """A path as the user wrote it, from the top of the work tree; "." is the top."""
    return os.path.normpath(os.path.join(prefix, path)).replace(os.sep, "/")


def below(path: str, wanted: str) -> bool:
    """Whether a path is the wanted one, or lies in it."""
    return path == wanted or path.startswith(wanted + "/")


def _pointers_to(path: str) -> list[str]:
    """DVC's pointers that a model of this path can stand in; a change of it is a change of one of them."""
    folders = [path[:at] for at, character in enumerate(path) if character == "/"]
    return [f"{path}.dvc", *(f"{folder}.dvc" for folder in folders), "dvc.lock", *(f"{f}/dvc.lock" for f in folders)]


def is_candidate(change: Change, include: Sequence[str] = ()) -> bool:
    """Whether a model may be behind the change, judged by names: a model file, a DVC pointer, or an included glob."""
    for path in (change.old.path, change.new.path):
        lower = path.lower()
        if may_be_named_so(path) or is_shard(path) or lower.endswith(".dvc") or lower.rpartition("/")[2] == "dvc.lock":
            return True
        if path and include and path_matches(path, include):
            return True
    return False


def is_zero(oid: str) -> bool:
    """Whether this is git's name for no object (``pre-push`` hooks get it for a new branch)."""
    return len(oid) >= len(_ZERO) and not oid.strip("0")


def read_texts(repository: Repository, words: Sequence[str]) -> list[bytes | None]:
    """The content of small blobs by name (``HEAD:.diffai.toml``), in one call of git; None where there is none.

    Raises:
        SourceError: git fails.
    """
    asked = "".join(f"{word}\n" for word in words).encode("utf-8", "surrogateescape")
    output, found, at = repository.ask("cat-file", "--batch", data=asked), list[bytes | None](), 0
    for _ in words:
        end = output.index(b"\n", at)
        facts = output[at:end].split()
        at = end + 1
        if len(facts) == 3 and facts[1] == b"blob":
            size = int(facts[2])
            found.append(output[at : at + size])
            at += size + 1
        else:
            if len(facts) == 3 and facts[1] in (b"tree", b"commit", b"tag"):
                at += int(facts[2]) + 1
            found.append(None)
    return found


def read_small(repository: Repository, point: Point, folder: str, most: int) -> dict[str, bytes | None]:
    """The files of a folder by path from the top, sorted; None for one larger than ``most`` bytes, which is not read.

    Raises:
        SourceError: git fails.
    """
    if point.tree:
        listed = repository.ask("ls-tree", "-z", "--full-tree", point.tree, "--", f"{folder}/")
    else:
        listed = repository.ask("ls-files", "-z", "-s", "--full-name", "--", f":(top,literal){folder}")
    oids: dict[str, str] = {}
    for record in os.fsdecode(listed).split("\0"):
        facts, _, path = record.partition("\t")
        if facts.startswith("100") and path.startswith(f"{folder}/"):
            oids[path] = facts.split()[2 if point.tree else 1]
    if not oids:
        return {}
    asked = "".join(f"{oid}\n" for oid in oids.values()).encode("ascii")
    sizes = repository.ask("cat-file", "--batch-check=%(objectsize)", data=asked).split(b"\n")
    small = [path for path, size in zip(oids, sizes, strict=False) if size.isdigit() and int(size) <= most]
    texts = read_texts(repository, [oids[path] for path in small])
    return dict.fromkeys(sorted(oids)) | dict(zip(small, texts, strict=True))


def work_prefix(repository: Repository) -> str:
    """The working directory relative to the top of the work tree, ending in ``/``; "" at the top."""
    return os.fsdecode(repository.ask("rev-parse", "--show-prefix").removesuffix(b"\n"))


def top(repository: Repository) -> str:
    """Absolute path of the top of the work tree.

    Raises:
        SourceError: there is no work tree here.
    """
    try:
        return os.fsdecode(repository.ask("rev-parse", "--show-toplevel").removesuffix(b"\n"))
    except GitError as error:
        raise SourceError("not in the work tree of a git repository") from error
