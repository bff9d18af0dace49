"""The commits that touched a model, out of one ``git log --raw``: names and objects, no content.

Words of a user reach git as object names that git itself printed, behind ``--``, or joined to their option.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from datetime import datetime

from diffai.errors import SourceError
from diffai.frozen import frozen
from diffai.repository.runner import GitError, Repository

_FORMAT = "%x01%H%x00%P%x00%an%x00%ae%x00%aI%x00%s"
_WORDS = 6  # of the format above
_ZERO = re.compile(r"0+")

# Configuration of the user's that would change what is listed, or how.
_PLAIN = (
    "-c", "log.showRoot=true", "-c", "log.showSignature=false", "-c", "log.follow=false", "-c", "core.quotePath=false",
    "-c", "log.mailmap=true", "-c", "i18n.logOutputEncoding=UTF-8",
)  # fmt: skip


@frozen
class Commit:
    """One commit. ``date`` is the author's, ISO 8601; ``parents`` are full names."""

    hash: str
    parents: tuple[str, ...]
    author: str
    email: str
    date: str
    subject: str

    @property
    def short(self) -> str:
        """The first ten digits of the name."""
        return self.hash[:10]

    @property
    def day(self) -> str:
        """The author's date without its time."""
        return self.date[:10]

    @property
    def time(self) -> datetime:
        """The author's date as such."""
        return datetime.fromisoformat(self.date)


@frozen
class Touch:
    """What a commit did to one path, seen from its first parent; modes and objects are "" where there is no file."""

    path: str
    old_mode: str
    old_oid: str
    new_mode: str
    new_oid: str


@frozen
class Logged:
    """A commit and the paths it touched, of those asked for."""

    commit: Commit
    touches: tuple[Touch, ...]


@frozen
class Range:
    """Which commits: the fields have the meaning of ``git log``'s options of the same names.

    Attributes:
        revisions: ``A``, ``A..B``, ``A...B``, ``^A``; empty means HEAD.
        every_ref: all branches and tags as well.
    """

    revisions: tuple[str, ...] = ()
    every_ref: bool = False
    first_parent: bool = False
    since: str = ""
    until: str = ""
    author: str = ""


def list_commits(
    repository: Repository, chosen: Range, pathspecs: Sequence[str], *, joined: bool = False
) -> list[Logged]:
    """Commits that touched a path, newest first, no commit before its children.

    A merge is seen from its first parent. Where it holds what one of its parents holds, it is left out and only that
    parent is gone down, as ``git log -- PATH`` does: what was thrown away in a merge is not part of the history.

    Args:
        repository: where.
        chosen: which commits.
        pathspecs: with git's magic, such as ``:(top,literal)model.pt``.
        joined: parents are the nearest commits that touched a path, so that the commits make one graph.

    Raises:
        SourceError: no such revision, or git fails.
    """
    command = [
        *_PLAIN, "log", "-z", "--raw", "--no-abbrev", "--no-relative", "--find-renames=100%", "--no-color",
        "--no-notes", "--topo-order", f"--format=format:{_FORMAT}",
    ]  # fmt: skip
    # Asked for a diff with the first parent, git goes down all parents of a merge, also where it took one side whole.
    command += ["--first-parent", "--diff-merges=first-parent"] if chosen.first_parent else ["-c"]
    command += [f"--{name}={value}" for name in ("since", "until", "author") if (value := getattr(chosen, name))]
    command += ["--parents"] if joined else []
    command += ["--all"] if chosen.every_ref else []
    command += ["--end-of-options", *commits_of(repository, chosen), "--", *pathspecs]
    try:
        return list(_parse(repository.ask(*command)))
    except GitError as error:
        if "does not have any commits yet" in str(error) or "bad default revision" in str(error):
            return []
        raise


def commits_of(repository: Repository, chosen: Range) -> list[str]:
    """The revisions as object names, ``^`` before those that are excluded.

    Raises:
        SourceError: a word names no commit.
    """
    names: list[str] = []
    for word in chosen.revisions:
        if word.startswith("^"):
            names.append("^" + repository.commit(word[1:]))
            continue
        left, dots, right = word.partition("..")
        if not dots:
            names.append(repository.commit(word))
            continue
        old = repository.commit(left or "HEAD")
        new = repository.commit(right.removeprefix(".") or "HEAD")
        if right.startswith("."):
            bases = repository.ask("merge-base", "--all", old, new).decode("ascii").split()
            names += [old, new, *(f"^{base}" for base in bases)]
        else:
            names += [new, f"^{old}"]
    if not names and not chosen.every_ref:
        try:
            names.append(repository.commit("HEAD"))
        except SourceError as error:
            if repository.place() is None or "dubious" in str(error):
                raise
            raise SourceError("this branch has no commits yet") from error
    return names


def _parse(output: bytes) -> Iterator[Logged]:
    fields = output.decode("utf-8", "surrogateescape").split("\0")
    at = 0
    while at < len(fields):
        if not fields[at].lstrip("\n").startswith("\x01"):
            at += 1
            continue
        words = fields[at : at + _WORDS]
        at += _WORDS
        # The first raw line follows the subject in the same field.
        subject, _, raw = words[-1].partition("\n:")
        touches = []
        if raw:
            at -= 1
            fields[at] = ":" + raw
        while at < len(fields) and fields[at].startswith(":"):
            touch, at = _touch(fields, at)
            if touch is not None:
                touches.append(touch)
        _, parents, author, email, date = words[:5]
        commit = Commit(words[0].lstrip("\n")[1:], tuple(parents.split()), author, email, date, subject)
        yield Logged(commit, tuple(touches))


def _touch(fields: list[str], at: int) -> tuple[Touch | None, int]:
    """One raw record and the place after it; None for a submodule. A merge has a mode and an object for each parent."""
    parents = len(fields[at]) - len(fields[at].lstrip(":"))
    *facts, kind = fields[at][parents:].split(" ")
    modes, oids = facts[: parents + 1], facts[parents + 1 :]
    paths = 2 if kind[0] in "RC" and parents == 1 else 1
    path = fields[at + paths]
    if "160000" in modes:
        return None, at + 1 + paths
    old = ("", "") if _ZERO.fullmatch(oids[0]) or kind[0] in "RC" else (modes[0], oids[0])
    new = ("", "") if _ZERO.fullmatch(oids[-1]) else (modes[-1], oids[-1])
    return Touch(path, *old, *new), at + 1 + paths


def is_shallow(repository: Repository) -> frozenset[str]:
    """Commits at which the history was cut off (a shallow clone)."""
    place = repository.place()
    if place is None:
        return frozenset()
    try:
        with open(os.path.join(place.common_dir, "shallow"), encoding="ascii") as file:
            return frozenset(file.read().split())
    except OSError:
        return frozenset()
