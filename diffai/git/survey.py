"""The model files that a repository tracks, and the diff driver that git uses for each."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Sequence

from diffai.frozen import frozen
from diffai.git.attributes import DEFAULT_GLOBS, DRIVER, ask_git
from diffai.git.call import ask
from diffai.git.scopes import Repository
from diffai.git.winners import Rule, find_rules, find_sources

_REGULAR = ("100644", "100755")
# Suffixes that are sometimes torch files; their first bytes decide.
_PERHAPS = (".bin", ".tar", ".h5", ".pkl", ".pickle", ".pt2", ".model", ".weights", ".mdl", ".torch")
_TORCH_LEGACY = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
_SNIFFED = 128


@frozen
class ModelFile:
    """A tracked file that is, or looks like, a model.

    Attributes:
        path: relative to the top of the work tree.
        oid: of the blob in the index (in a bare repository: in HEAD).
        driver: the winning ``diff`` attribute: a driver's name, ``set``, ``unset`` or ``unspecified``.
        filter: the winning ``filter`` attribute.
        rule: the line that decides ``driver``; None when no line speaks of it, or none was found.

    """

    path: str
    oid: str
    driver: str
    filter: str
    rule: Rule | None

    @property
    def covered(self) -> bool:
        """Whether git would call diffai for it."""
        return self.driver == DRIVER


def survey(repository: Repository) -> tuple[ModelFile, ...]:
    """All model files: those that diffai is registered for, and those that look like models.

    One call of git lists the files, one asks for their attributes, and a few find the deciding lines.

    Raises:
        GitError: git cannot read the index.

    """
    base = repository.top or repository.common
    tracked = _tracked(repository, base)
    found = ask_git(list(tracked), cwd=base)
    paths = [
        path for path in tracked
        if path in found and (found[path].diff == DRIVER or _looks_like_model(path, repository.top))
    ]  # fmt: skip
    rules = find_rules(paths, repository, find_sources(base))
    return tuple(
        ModelFile(path, tracked[path], found[path].diff, found[path].filter, rules.get(path)) for path in paths
    )


def _tracked(repository: Repository, base: str) -> dict[str, str]:
    """Regular files and their blobs."""
    if repository.top:
        answer = ask("ls-files", "-s", "-z", cwd=base)
    else:
        answer = ask("ls-tree", "-r", "-z", "--full-tree", "HEAD", cwd=base)
    files: dict[str, str] = {}
    for entry in answer.output.split(b"\0")[:-1]:
        head, _, path = entry.partition(b"\t")
        words = head.decode("ascii", "replace").split()
        if words[0] in _REGULAR:
            files[os.fsdecode(path)] = words[1] if repository.top else words[2]
    return files


def _looks_like_model(path: str, top: str) -> bool:
    name = os.path.basename(path)
    if any(fnmatch.fnmatchcase(name.lower(), glob) for glob in DEFAULT_GLOBS):
        return True
    return bool(top) and name.lower().endswith(_PERHAPS) and _holds_model(os.path.join(top, path))


def _holds_model(path: str) -> bool:
    """By its first bytes: a torch archive, a torch legacy file, or safetensors."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        start = os.read(descriptor, _SNIFFED)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    zipped = start.startswith(b"PK\x03\x04") and b"/data.pkl" in start
    return zipped or start.startswith(_TORCH_LEGACY) or start[8:10] == b'{"'


def example_of(files: Sequence[ModelFile]) -> str:
    """A model file to try things on; "" where there is none."""
    return next((file.path for file in files if not file.path.endswith(".json")), "")
