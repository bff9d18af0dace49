"""What DVC tracks as it is on disk now, which ``dvc add`` or ``dvc commit`` has perhaps not seen yet.

DVC remembers the md5 of files by their times in a database of its own; here files that are called like models are
hashed, unless they are the cache's own file under another name.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterator

from diffai.frozen import replace
from diffai.stores.dvc.cache import find_object, md5_of, work_tree_file
from diffai.stores.dvc.items import DvcItem, entries_of
from diffai.stores.dvc.pointers import DvcEntry


def as_on_disk(item: DvcItem, is_model: Callable[[str], bool]) -> DvcItem:
    """The output with the content that its file, or the models among its files, have in the work tree.

    What is not checked out stays as the pointer has it; so do files that are no models.

    Args:
        item: an output of a pointer of the work tree.
        is_model: whether a file is one, by its path.
    """
    if item.place is None or not item.place.top or not item.path:
        return item
    if not item.is_directory:
        if not (item.out.model or is_model(item.path)):
            return item
        address, size = _on_disk(item, item.path, item.address)
        return item if address == item.address else _changed(item, value=address, size=size)
    folder = os.path.join(item.place.top, item.path)
    known = entries_of(item)
    if known is None or not os.path.isdir(folder) or os.path.islink(folder):
        return item
    entries = {entry.relpath: entry for entry in known if not is_model(entry.relpath)}
    for relpath in _models_below(folder, is_model):
        before = next((entry.md5 for entry in known if entry.relpath == relpath), "")
        address, size = _on_disk(item, posixpath.join(item.path, relpath), before)
        if address:
            entries[relpath] = DvcEntry(relpath, address, size)
    now = tuple(entries[name] for name in sorted(entries))
    same = {(entry.relpath, entry.md5) for entry in now} == {(entry.relpath, entry.md5) for entry in known}
    return item if same else _changed(item, files=now)


def _changed(item: DvcItem, **facts: object) -> DvcItem:
    out = replace(item.out, **{"key": "md5", "size": -1, "nfiles": -1, "legacy": False, **facts})
    return replace(item, out=out)


def _on_disk(item: DvcItem, path: str, address: str) -> tuple[str, int]:
    """md5 and size of a file of the work tree; what the pointer says where there is none."""
    assert item.place is not None
    file = work_tree_file(item.place, path)
    if not file:
        return address, -1
    try:
        stored = find_object(address, item.out.legacy, item.place)
        if stored and os.path.samefile(stored, file):
            return address, -1
        return md5_of(file), os.path.getsize(file)
    except OSError:
        return address, -1


def _models_below(folder: str, is_model: Callable[[str], bool]) -> Iterator[str]:
    """Relative paths of the models in a folder, links to other folders not followed."""
    for at, _, names in os.walk(folder):
        for name in sorted(names):
            relpath = os.path.relpath(os.path.join(at, name), folder).replace(os.sep, "/")
            if is_model(relpath):
                yield relpath
