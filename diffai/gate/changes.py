"""Which files a commit or a range changes, asked of git alone. This is all that runs when no model is among them.

Nothing here may load numpy, rich, click or GitPython.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from diffai.errors import SourceError
from diffai.frozen import frozen
from diffai.globs import path_matches
from diffai.models.names import is_model_name
from diffai.repository.runner import GitError, Repository
from diffai.repository.trees import Changed, changed_paths
from diffai.stores.dvc import is_pointer_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.snapshots.snapshot import Snapshot

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

    def snapshot(self, repository: Repository) -> Snapshot:
        """The moment with its stores."""
        from diffai.snapshots.snapshot import snapshot_of

        return snapshot_of(repository, self.tree or ":", self.label if self.tree else "")


def staged_entries(repository: Repository) -> tuple[Point, list[Changed]]:
    """What is about to be committed: the index against HEAD, or against nothing in a repository without commit."""
    try:
        return Point("HEAD", "HEAD"), changed_paths(repository, "HEAD", ":")
    except GitError:
        try:
            repository.ask("rev-parse", "--verify", "-q", "HEAD^{commit}")
        except GitError:  # no commit yet, or no repository at all, which the next call says
            return Point(empty_tree(repository), "nothing"), changed_paths(repository, empty_tree(repository), ":")
        raise


def empty_tree(repository: Repository) -> str:
    """Object name of the empty tree in the repository's own hash."""
    return repository.ask("hash-object", "-t", "tree", "--stdin").decode("ascii").strip()


def from_top(path: str, prefix: str) -> str:
    """A path as the user wrote it, from the top of the work tree; "." is the top."""
    return os.path.normpath(os.path.join(prefix, path)).replace(os.sep, "/")


def below(path: str, wanted: str) -> bool:
    """Whether a path is the wanted one, or lies in it."""
    return path == wanted or path.startswith(wanted + "/")


def may_be_model(path: str, include: Sequence[str] = ()) -> bool:
    """Whether a model may be behind a path, judged by its name: a model file, a DVC pointer, or an included glob."""
    return is_model_name(path) or is_pointer_name(path) or (bool(include) and path_matches(path, include))


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
