"""The models behind a word that names several: a directory, one that DVC tracks, a DVC pointer with many outputs."""

from __future__ import annotations

import os
import posixpath

from diffai.errors import SourceError
from diffai.model import DvcPointer
from diffai.models.names import is_model_name, is_shard, model_key
from diffai.stores.dvc import is_pointer_name


def models_behind(word: str) -> list[str]:
    """Words for the models in a directory, or that DVC keeps behind ``word``; the word itself where it is one model."""
    if os.path.isdir(word):
        from diffai.models.pairs import models_in
        from diffai.snapshots.snapshot import folder_snapshot

        listed, _ = models_in(folder_snapshot(word))
        return [os.path.join(word, model.files[0].path) for model in listed] if len(listed) > 1 else [word]
    rev, path = word[: word.rfind(":") + 1], word[word.rfind(":") + 1 :]
    if is_model_name(path) or (os.path.lexists(word) and not is_pointer_name(path)):
        return [word]
    from diffai.snapshots.resolve import open_source
    from diffai.stores.dvc.items import DvcDirectory

    try:
        found = open_source(word)
    except SourceError:  # opening it again says what is wrong
        return [word]
    if isinstance(found, DvcPointer):
        outs = [rev + _from_here(out, rev) for out in found.outs]
        models = [name for out in outs for name in models_behind(out) if name != out or is_model_name(out)]
        return models or [word]
    if not isinstance(found, DvcDirectory):
        found.close() if hasattr(found, "close") else None
        return [word]
    names = [posixpath.join(found.inside, name) for name in found.below() if is_model_name(name)]
    chosen = {model_key(name): name for name in sorted(names, key=is_shard, reverse=True)}  # an index before its shards
    if len(chosen) < 2:
        return [word]
    return [rev + _from_here(name, rev) for name in sorted(chosen.values())]


def _from_here(path: str, rev: str) -> str:
    """A path from the top of the repository as a word has it: with a revision it is, without it is a file's."""
    if rev:
        return path
    from diffai.repository.place import find_repository

    place = find_repository()
    return os.path.relpath(os.path.join(place.top, path)) if place is not None and place.top else path
