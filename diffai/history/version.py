"""A model as one commit has it, and what a commit did to it, as frozen data."""

from __future__ import annotations

import posixpath
from typing import Literal

from diffai.frozen import frozen
from diffai.history.model_path import ModelPath
from diffai.history.walk import Logged
from diffai.models.reference import File

Holder = Literal["git", "git-lfs", "git-annex", "dvc", "sharded", "link"]


@frozen
class Version:
    """A model as one commit has it.

    Attributes:
        commit: a commit that holds it.
        path: where it lies there.
        holder: what its bytes are kept in.
        content: identity of all its files: equal for equal bytes; "" = not known without reading.
        size: bytes, of all shards together; -1 when not known.
        files: the files that are it, as :class:`diffai.models.reference.ModelRef` has them.
        companions: files beside it that hold values of it.
        model: the paths it was looked for at.
    """

    commit: str
    path: str
    holder: Holder
    content: str
    size: int
    files: tuple[File, ...]
    companions: tuple[File, ...]
    model: ModelPath

    @property
    def parts(self) -> tuple[File, ...]:
        """All files that hold anything of it."""
        return (*self.files, *self.companions)

    @property
    def key(self) -> str:
        """Equal for equal bytes, as far as that is known without reading."""
        return self.content or self.commit

    @property
    def named_content(self) -> tuple[str, ...]:
        """What is known of it is remembered by this: content, and the suffix that decides where content says nothing.

        Empty where the content is not known.
        """
        return (self.content, posixpath.splitext(self.path)[1].lower()) if self.content else ()

    @property
    def label(self) -> str:
        """How messages name it: ``1f2e3d4c5b:model.pt``, with ``^`` for the commit before that one."""
        return f"{short(self.commit)}:{self.path}"


def short(commit: str) -> str:
    """The first ten digits of a commit's name, with ``^`` for the commit before that one."""
    name, caret, _ = commit.partition("^")
    return f"{name[:10]}{caret}"


@frozen
class Step:
    """A commit and the model before and after it (before: in its first parent); None where there was none."""

    logged: Logged
    old: Version | None
    new: Version | None


def touches(step: Step) -> bool:
    """Whether a commit did anything to the model: gave, took or changed its bytes, or what holds them."""
    return not same(step.old, step.new)


def same(old: Version | None, new: Version | None) -> bool:
    """Whether two commits hold the same model, as far as names tell."""
    if old is None or new is None:
        return old is new
    return bool(old.content) and old.content == new.content and old.holder == new.holder
