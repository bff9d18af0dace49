"""Which paths of a repository are one model: its own, a shard index with shards, a DVC pointer beside it."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Mapping, Sequence

from diffai.errors import SourceError
from diffai.frozen import frozen
from diffai.history.walk import Range, commits_of
from diffai.models.names import find_models, is_model_name, model_key, single_model
from diffai.repository.runner import Repository
from diffai.repository.trees import CommitTree

_SHARDED = (".safetensors", ".bin", ".pt", ".pth")
_INDEXED = (".safetensors", ".bin")
_FIVE = "[0-9]" * 5


@frozen
class ModelPath:
    """Where a model may lie.

    Attributes:
        path: relative to the top of the tree; of a sharded model the single file it could be.
    """

    path: str

    @property
    def folder(self) -> str:
        """Its directory."""
        return posixpath.dirname(self.path)

    @property
    def index(self) -> str:
        """The shard index; "" where models of this name have none."""
        return f"{self.path}.index.json" if self.path.endswith(_INDEXED) else ""

    @property
    def dvc(self) -> str:
        """The DVC pointer file beside it."""
        return f"{self.path}.dvc"

    @property
    def shard(self) -> re.Pattern[str] | None:
        """What the paths of its shards match."""
        stem, suffix = posixpath.splitext(self.path)
        if suffix not in _SHARDED:
            return None
        return re.compile(rf"{re.escape(stem)}-\d{{5}}-of-\d{{5}}{re.escape(suffix)}")

    def pathspecs(self) -> list[str]:
        """All of it, for git."""
        specs = [f":(top,literal){path}" for path in (self.path, self.dvc, self.index) if path]
        stem, suffix = posixpath.splitext(self.path)
        if suffix in _SHARDED:
            specs.append(f":(top,glob){_literal(stem)}-{_FIVE}-of-{_FIVE}{_literal(suffix)}")
        above = self.folders_above()
        specs += [f":(top,literal){folder}.dvc" for folder in above if folder]
        return specs + [f":(top,literal){posixpath.join(folder, 'dvc.lock')}" for folder in above]

    def folders_above(self) -> list[str]:
        """Its directory and all above, up to the top."""
        folders, folder = [self.folder], self.folder
        while folder:
            folder = posixpath.dirname(folder)
            folders.append(folder)
        return folders


def _literal(text: str) -> str:
    """``text`` for a pathspec with glob magic."""
    return re.sub(r"([\\*?\[\]])", r"\\\1", text)


def model_path(repository: Repository, word: str, chosen: Range) -> ModelPath:
    """The model that a path of the command line means: a file, a shard, an index, a ``.dvc`` file, a folder of one.

    The path is relative to the working directory and need not exist any more.

    Raises:
        SourceError: it leads out of the repository, or is a folder with no model or several.
    """
    path = from_top(repository, word)
    if path.endswith(".dvc"):
        path = path.removesuffix(".dvc")
    listing = _tip(repository, chosen)
    entry = listing.entry(path) if listing is not None and path else None
    if path and (entry is None or not entry.is_directory):
        return ModelPath(model_key(path))
    assert listing is not None or not path
    names = tuple(listing.children(path)) if listing is not None else ()
    models = find_models(names)
    single = single_model(dict.fromkeys(name.removesuffix(".dvc") for name in names))
    if single:
        return ModelPath(posixpath.join(path, single))
    if len(models) != 1:
        what = f"holds several: {', '.join(m.title for m in models)}" if models else "holds no model, or several"
        raise SourceError(f"{word}: is a folder that {what}; name one model file, or use --all-models")
    name = models[0].index or models[0].shards[0]
    return ModelPath(model_key(posixpath.join(path, name)))


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
    found: dict[str, None] = {}
    for tip in _tips(repository, chosen):
        output = repository.ask("ls-tree", "-r", "-z", "--name-only", "--full-tree", tip)
        for path in output.decode("utf-8", "surrogateescape").split("\0"):
            key = model_key(path.removesuffix(".dvc"))
            if is_model_name(key):
                found[key] = None
    return [ModelPath(path) for path in sorted(found)]


def _tips(repository: Repository, chosen: Range) -> list[str]:
    names = [name for name in commits_of(repository, chosen) if not name.startswith("^")]
    return names or [repository.commit("HEAD")]


def _tip(repository: Repository, chosen: Range) -> CommitTree | None:
    """The tree of the first revision; None before the first commit."""
    tips = _tips(repository, chosen)
    return CommitTree(repository, repository.tree(tips[0]), tips[0]) if tips else None


def near_models(repository: Repository, chosen: Range, path: str) -> str:
    """A hint with models of the tip whose names look alike; "" when there are none."""
    import difflib

    known = [model.path for model in all_models(repository, chosen)]
    near = difflib.get_close_matches(path, known, 2, 0.6)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def entries_at(listing: Mapping[str, object] | Sequence[str], model: ModelPath) -> list[str]:
    """Names out of a folder's listing that belong to the model's shards, sorted."""
    shard = model.shard
    if shard is None:
        return []
    return sorted(name for name in listing if shard.fullmatch(posixpath.join(model.folder, name)))
