"""Which paths of a repository are one model: its own, a shard index with shards, a DVC pointer beside it."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator

from diffai.errors import SourceError
from diffai.frozen import frozen
from diffai.history.walk import Range, commits_of
from diffai.models.at import folders_below, may_have_companions, models_of, owner_of
from diffai.models.names import find_models, model_key, packaged_model, single_model
from diffai.repository.runner import Repository
from diffai.snapshots.snapshot import Snapshot, snapshot_of
from diffai.sources.directory import Directory
from diffai.stores.dvc.tracked import pointer_paths

_FIVE = "[0-9]" * 5


@frozen
class ModelPath:
    """Where a model may lie.

    Attributes:
        path: relative to the top of the tree; of a sharded model the single file it could be.
        named: more files (from the top) that the model is known to name, whatever they are called.
    """

    path: str
    named: frozenset[str] = frozenset()

    @property
    def folder(self) -> str:
        """Its directory."""
        return posixpath.dirname(self.path)

    def pathspecs(self) -> list[str]:
        """All that it may be made of, for git: what turns out to be something else is left out later."""
        specs = [*_literally(self.path, f"{self.path}.index.json", *pointer_paths(self.path), *sorted(self.named))]
        stem, suffix = posixpath.splitext(self.path)
        specs.append(f":(top,glob){_literal(stem)}-{_FIVE}-of-{_FIVE}{_literal(suffix)}*")
        below = [posixpath.join(self.folder, name) for name in folders_below(self.path)]
        folders = [self.folder, *below] if may_have_companions(self.path) else []
        specs += [f":(top,glob){posixpath.join(_literal(folder), '*')}" for folder in folders]
        return specs + [f":(top,literal){file}.dvc" for file in (f"{self.path}.index.json", *self.named)]


def _literally(*paths: str) -> Iterator[str]:
    return (f":(top,literal){path}" for path in paths)


def _literal(text: str) -> str:
    """``text`` for a pathspec with glob magic."""
    return re.sub(r"([\\*?\[\]])", r"\\\1", text)


def model_path(repository: Repository, word: str, chosen: Range) -> ModelPath:
    """The model that a path of the command line means: a file, a shard, an index, a ``.dvc`` file, a folder of one.

    The path is relative to the working directory and need not exist any more.

    Raises:
        SourceError: it leads out of the repository, or is a folder with no model or several.
    """
    path = from_top(repository, word).removesuffix(".dvc")
    tip = _tip(repository, chosen)
    names = _names_in(tip, path) if tip is not None else None
    if path and names is None:
        return ModelPath(owner_of(tip, path) if tip is not None else model_key(path))
    models = find_models(names or ())
    single = single_model(names or ())
    if single:
        return ModelPath(posixpath.join(path, single))
    marker, packaged = packaged_model(names or ())
    folder, name = posixpath.split(posixpath.join(path, packaged))
    if marker and tip is not None and name in (_names_in(tip, folder) or ()):
        return ModelPath(posixpath.join(folder, name))
    if len(models) != 1:
        what = f"holds several: {', '.join(m.title for m in models)}" if models else "holds no model, or several"
        raise SourceError(f"{word}: is a folder that {what}; name one model file, or use --all-models")
    name = models[0].index or models[0].shards[0]
    return ModelPath(model_key(posixpath.join(path, name)))


def _names_in(tip: Snapshot, path: str) -> tuple[str, ...] | None:
    """The files of a folder, what DVC's pointers in it speak of by its own name; None when it is no folder."""
    found = tip.tree.entry(path)
    if found is None or found.is_directory:
        opened = tip.open(path)
        names = opened.names() if isinstance(opened, Directory) else None
        return None if names is None else tuple(dict.fromkeys(name.removesuffix(".dvc") for name in names))
    return None


def from_top(repository: Repository, word: str) -> str:
    """A path relative to the working directory as one relative to the top of the tree.

    Raises:
        SourceError: it leads out of the repository, or there is none.
    """
    if "\0" in word or not word:
        raise SourceError(f"{word!r}: is no path")
    if repository.place() is None:
        raise SourceError(f"{word}: not in a git repository, so it has no history")
    if os.path.isabs(word):
        place = repository.place()
        top = os.path.realpath(place.top) if place is not None and place.top else ""
        inside = os.path.relpath(os.path.join(os.path.realpath(os.path.dirname(word)), os.path.basename(word)), top)
        if not top or inside.startswith(os.pardir + os.sep):
            raise SourceError(f"{word}: is outside the repository")
        return "" if inside == os.curdir else inside.replace(os.sep, "/")
    prefix = os.fsdecode(repository.ask("rev-parse", "--show-prefix").removesuffix(b"\n"))
    path = posixpath.normpath(posixpath.join(prefix, word.replace(os.sep, "/")))
    if path.startswith("../") or path == "..":
        raise SourceError(f"{word}: is outside the repository")
    return "" if path == "." else path


def all_models(repository: Repository, chosen: Range) -> list[ModelPath]:
    """Every model that the tips of the range hold, in order of their paths."""
    found = {path for tip in _tips(repository, chosen) for path in models_of(_snapshot(repository, tip))}
    return [ModelPath(path) for path in sorted(found)]


def _tips(repository: Repository, chosen: Range) -> list[str]:
    names = [name for name in commits_of(repository, chosen) if not name.startswith("^")]
    return names or [repository.commit("HEAD")]


def _tip(repository: Repository, chosen: Range) -> Snapshot | None:
    """The first revision; None before the first commit."""
    tips = _tips(repository, chosen)
    return _snapshot(repository, tips[0]) if tips else None


def _snapshot(repository: Repository, commit: str) -> Snapshot:
    return snapshot_of(repository, repository.tree(commit), commit)


def near_models(repository: Repository, chosen: Range, path: str) -> str:
    """A hint with models of the tip whose names look alike; "" when there are none."""
    import difflib

    known = [model.path for model in all_models(repository, chosen)]
    near = difflib.get_close_matches(path, known, 2, 0.6)
    return f"; did you mean {' or '.join(near)}?" if near else ""

