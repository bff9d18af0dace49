"""From changed DVC pointers to the models behind them, each a unit of its own under its own path."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from diffai.errors import SourceError
from diffai.gate.changes import Point, below
from diffai.gate.units import Unit
from diffai.models.names import is_model_name
from diffai.stores.dvc.items import DvcItem, entries_of, entry_item, items_of
from diffai.stores.dvc.pointers import DvcTextError, is_pointer_name, parse_dvc_file
from diffai.stores.dvc.tracked import DvcHistory, work_tree_text

Items = dict[str, DvcItem]


def expand_pointers(
    units: Iterable[Unit], old: Point, new: Point, wanted: Mapping[str, bool] = MappingProxyType({})
) -> Iterator[Unit]:
    """The units, with those of DVC pointers replaced by the models that the pointers speak of and that changed.

    A pointer that cannot be read stays a unit, so that opening it says why.

    Args:
        units: changed files.
        old, new: both sides.
        wanted: limit models behind pointers to these paths from the top, which name pointers, models behind them, or
            folders of either; empty = all. True where nothing else has the path, so that a pointer has to.

    Raises:
        SourceError: a path is neither on disk, nor in git, nor behind a pointer that changed.
    """
    missing = {name for name, alone in wanted.items() if alone}
    with DvcHistory() as history:
        for unit in units:
            if not is_pointer_name(unit.path):  # chosen by its own files already
                yield unit
                continue
            for model in _models(history, unit, old, new):
                names = {model.old_path, model.new_path, unit.old_path, unit.new_path} - {""}
                meant = {want for want in wanted for name in names if want == "." or below(name, want)}
                missing -= meant
                if meant or not wanted:
                    yield model
    for name in missing:
        raise SourceError(f"{name}: no such file, and none that changed")


def _models(history: DvcHistory, unit: Unit, old: Point, new: Point) -> Iterator[Unit]:
    """The models behind one pointer that changed."""
    try:
        before = _items(history, old.tree, unit.old_path)
        after = _items(history, new.tree, unit.new_path)
    except DvcTextError:
        yield unit
        return
    yield from _changed(unit, before, after)


def _changed(unit: Unit, before: Items, after: Items) -> Iterator[Unit]:
    for path in sorted({**before, **after}):
        pair = before.get(path), after.get(path)
        if pair[0] is not None and pair[1] is not None and _content(pair[0]) == _content(pair[1]):
            continue
        yield Unit(path if pair[0] else "", path if pair[1] else "", items=pair, file=unit.path)


def _content(item: DvcItem) -> tuple[object, ...]:
    """Equal for equal content, as far as the pointer tells; an output without hash equals nothing."""
    if item.entry is not None:
        return (item.entry.md5, item.entry.version)
    return item.out.same_as if item.out.value else (object(),)


def _items(history: DvcHistory, commit: str, pointer: str) -> Items:
    """The models of a pointer by path; of a directory whose list is not here, the directory itself."""
    if not pointer:
        return {}
    text = history.read(commit, pointer) or b""
    file = parse_dvc_file(text, pointer)
    beside = posixpath.join(posixpath.dirname(pointer), "dvc.yaml")
    yaml = (history.read(commit, beside) or b"") if file.lock else b""
    found: Items = {}
    elsewhere = text != work_tree_text(pointer)
    for item in items_of(file, pointer, history.place(pointer), yaml=yaml, elsewhere=elsewhere):
        if not item.is_directory:
            if item.out.model or is_model_name(item.label):
                found[item.label] = item
            continue
        entries = entries_of(item)
        if entries is None:
            found[item.label] = item
            continue
        each = (entry_item(item, entry) for entry in entries)
        found |= {one.label: one for one in each if is_model_name(one.label)}
    return found
