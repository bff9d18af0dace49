"""A model as one commit has it, and what a commit did to it, as frozen data."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from typing import Literal

from diffai.frozen import frozen
from diffai.history.model_path import ModelPath
from diffai.history.walk import Logged, Touch

Holder = Literal["git", "git-lfs", "git-annex", "dvc", "sharded", "link"]


@frozen
class Part:
    """One file that a tree has of a model."""

    path: str
    mode: str
    oid: str


@frozen
class Version:
    """A model as one commit has it.

    Attributes:
        commit: a commit that holds it.
        path: where it lies there.
        holder: what its bytes are kept in.
        content: equal for equal bytes; never the name of a pointer. "" = not known without reading.
        size: bytes, of all shards together; -1 when not known.
        parts: the files of the tree that make it up.
        model: the paths it was looked for at.
    """

    commit: str
    path: str
    holder: Holder
    content: str
    size: int
    parts: tuple[Part, ...]
    model: ModelPath

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
        name, caret, _ = self.commit.partition("^")
        return f"{name[:10]}{caret}:{self.path}"


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


def is_sharded(model: ModelPath, touch: Touch) -> bool:
    """Whether a commit touched the model as several files."""
    shard = model.shard
    return touch.path == model.index or (shard is not None and shard.fullmatch(touch.path) is not None)


def from_touches(model: ModelPath, touches: Sequence[Touch]) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
    """Sides out of ``git log --raw`` alone, for a model that never was in shards."""
    old = [Part(t.path, t.old_mode, t.old_oid) for t in touches if t.old_oid]
    new = [Part(t.path, t.new_mode, t.new_oid) for t in touches if t.new_oid]
    return _likeliest(model, old), _likeliest(model, new)


def _likeliest(model: ModelPath, parts: list[Part]) -> tuple[Part, ...]:
    """The file itself before its pointers, the nearest pointer first."""
    order = [model.path, model.dvc]
    rest = sorted((p for p in parts if p.path not in order), key=lambda part: -len(part.path))
    chosen = [part for path in order for part in parts if part.path == path][:1]
    return tuple(chosen or rest)


def is_dvc(path: str) -> bool:
    """Whether a file is one of DVC's pointers."""
    return path.endswith(".dvc") or posixpath.basename(path) == "dvc.lock"
