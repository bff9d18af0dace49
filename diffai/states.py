"""Why a side has no checkpoint, and what would bring it, as frozen data."""

from __future__ import annotations

from diffai.frozen import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal


@frozen
class Absent:
    """There is nothing at this path on this side (added or deleted file)."""


@frozen
class FetchCommand:
    """A program that would bring objects, as data; nothing here runs it.

    Attributes:
        store: what keeps the objects and has to be installed: ``git``, ``git-lfs``, ``git-annex``, ``dvc``.
        arguments: the program and its first arguments, to be run at the top of the work tree.
        targets: what is brought; commands that differ in nothing else can be one.
        revisions: of which commits, behind ``arguments``; empty where the store does not ask.
        option: what stands before the targets; "" where nothing does.
        joined: ``,`` where the targets are one argument, ``each`` where each takes a run of its own.
        environment: variables that are set for it.
    """

    store: Literal["git", "git-lfs", "git-annex", "dvc"]
    arguments: tuple[str, ...]
    targets: tuple[str, ...] = ()
    revisions: tuple[str, ...] = ()
    option: str = ""
    joined: Literal["", ",", "each"] = ""
    environment: tuple[tuple[str, str], ...] = ()

    @property
    def runs(self) -> tuple[tuple[str, ...], ...]:
        """The words of each process that it takes."""
        before = (*self.arguments, *self.revisions, *((self.option,) if self.option else ()))
        if self.joined == "each":
            return tuple((*before, target) for target in self.targets)
        return ((*before, *((",".join(self.targets),) if self.joined else self.targets)),)


@frozen
class LfsPointer:
    """A git-LFS pointer whose object is not in the local store. ``size`` in bytes; ``path`` from the top."""

    oid: str
    size: int
    path: str = ""
    fetch: tuple[FetchCommand, ...] = ()


@frozen
class DvcPointer:
    """A DVC pointer file (``*.dvc``, ``dvc.lock``) given where a model was expected; ``outs`` are what it tracks."""

    path: str = ""
    outs: tuple[str, ...] = ()


@frozen
class NotPulled:
    """Objects are known but not here (annex, DVC, partial clone, shards); ``fetch`` brings them, as far as known."""

    what: str
    size: int = -1
    fetch: tuple[FetchCommand, ...] = ()


@frozen
class Unreadable:
    """Bytes are there, of a format that is read, but no checkpoint could be made of them."""

    reason: str
    format: str = ""
    code: str = ""
    tensor: str = ""
    offset: int = -1


@frozen
class NotRead:
    """Content of a format that is recognised and not read, or of none that is known. Its bytes decide what is equal.

    Attributes:
        reason: a clause: ``is TensorRT, which diffai does not read``.
        size: bytes of the file; -1 where not known.
        digest: xxh3-128 of all bytes, 32 hexadecimal digits; "" where they were not read for it.
        code: stable number of the reason, "" when it has none.
    """

    reason: str
    size: int = -1
    digest: str = ""
    code: str = ""

    @property
    def fingerprint(self) -> str:
        """What the bytes tell: ``3,004 bytes, xxh3:86628b16ac8759af``."""
        known = [f"{self.size:,} bytes"] if self.size >= 0 else []
        known += [f"xxh3:{self.digest[:16]}"] if self.digest else []
        return ", ".join(known) or "size not known"

    @property
    def said(self) -> str:
        """The reason with the fingerprint: ``is TensorRT, which diffai does not read (3,004 bytes, xxh3:...)``."""
        return f"{self.reason} ({self.fingerprint})"


@frozen
class NotAModel:
    """Content of no model format; ``kind`` says so: ``is an HTML page, not a model``."""

    kind: str


@frozen
class TooLarge:
    """A limit was reached; ``key`` is the option or git config key that lifts it."""

    limit: str
    key: str


State = Absent | LfsPointer | DvcPointer | NotPulled | Unreadable | NotRead | NotAModel | TooLarge
