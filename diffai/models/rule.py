"""What is a model: one rule for directories, revisions, DVC, the gate and everything that looks for models.

A file is one when its name is that of a format's row, when the attribute ``diff=diffai`` or an ``include`` glob says
so, or when its first bytes are recognised and there are at least 1 KiB of them. Plain arrays are data unless somebody
says otherwise. Nothing is downloaded to find out: of what is not here the name decides.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence

from diffai.formats.table import may_be_named_so
from diffai.frozen import frozen
from diffai.globs import name_matches
from diffai.models.names import is_model_name
from diffai.repository.runner import GitError, Repository

HEAD_BYTES = 4096
LEAST_BYTES = 1024

Head = Callable[[], "tuple[bytes, int] | None"]
"""The first bytes of a file and its size; None when they are not here."""


@frozen
class ModelRule:
    """The rule with what the user says beside it.

    Attributes:
        include: globs of a path or a last name; what matches is a model. Where ``only`` is set, nothing else is.
        exclude: globs; what matches is left out.
        only: whether ``include`` limits what is looked at, as on the command line; in a gate it adds.
        attributed: paths that git's attributes call ``diff=diffai``.

    """

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    only: bool = True
    attributed: frozenset[str] = frozenset()

    def wants(self, path: str) -> bool:
        """Whether the globs let a path pass."""
        return (not self.only or not self.include or matches(path, self.include)) and not matches(path, self.exclude)

    def named(self, path: str) -> bool:
        """Whether a path is a model whatever it holds: by its name, an attribute, or ``include``."""
        return is_model_name(path) or path in self.attributed or matches(path, self.include)

    def is_model(self, path: str, head: Head) -> bool:
        """Whether the file at ``path`` is a model; ``head`` is asked only where nothing else decides."""
        if self.named(path):
            return True
        found = head()
        if found is None:
            return may_be_named_so(path)
        return found[1] >= LEAST_BYTES and is_model_head(*found, path)


EVERY = ModelRule()
"""The rule where the user says nothing."""


def matches(path: str, globs: Sequence[str]) -> bool:
    """Whether a path, or its last name, matches a glob."""
    return bool(globs) and (name_matches(path, globs) or name_matches(path.rpartition("/")[2], globs))


def is_text(head: bytes) -> bool:
    """Whether content begins like a text."""
    return head[:1].isascii() and b"\0" not in head and not any(byte < 9 or 13 < byte < 32 for byte in head)


def is_model_head(head: bytes, size: int, path: str) -> bool:
    """Whether content begins like a model: of a format that is read, or of one that is known and not read yet."""
    if not head or is_text(head):
        return False  # which a model is by its name alone
    from diffai.formats.registry import recognised

    return recognised(head, size, path)


def attributed(repository: Repository, paths: Iterable[str]) -> frozenset[str]:
    """Those of the paths (from the top of the work tree) that git's attributes call ``diff=diffai``."""
    data = b"".join(os.fsencode(path) + b"\0" for path in paths)
    if not data:
        return frozenset()
    try:
        top = os.fsdecode(repository.ask("rev-parse", "--show-cdup").removesuffix(b"\n"))
        where = Repository(os.path.join(repository.directory or os.curdir, top)) if top else repository
        fields = os.fsdecode(where.ask("check-attr", "-z", "--stdin", "diff", data=data)).split("\0")
    except GitError:  # a bare repository of an old git
        return frozenset()
    triples = zip(fields[::3], fields[2::3], strict=False)
    return frozenset(path for path, value in triples if value == "diffai")
