"""Compare what two versions of a DVC pointer stand for: each output by itself, directories file by file.

Nothing is said to be unchanged unless the pointers prove it; what could not be opened is a state in the result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from diffai.comparison.directories import compare_files
from diffai.comparison.result import CompareOptions, DirectoryDiff, FileChange, ModelDiff
from diffai.errors import FormatError, SourceError
from diffai.formats.base import Limits
from diffai.frozen import frozen, replace, slotted
from diffai.model import Absent, NotAModel, State, Unreadable, natural_key
from diffai.models.inputs import Input, as_input, unreadable
from diffai.models.names import is_model_name, model_key
from diffai.sources.directory import Directory
from diffai.stores.dvc.items import (
    DvcItem,
    Fetch,
    ItemFolder,
    Where,
    entries_of,
    entry_item,
    is_complete,
    open_item,
)
from diffai.stores.dvc.pointers import DvcEntry, DvcImport, DvcTextError
from diffai.stores.store import Opened

Entries = Mapping[str, tuple[DvcEntry, ...]]


@frozen
class TrackedOptions:
    """How outputs are opened and compared.

    Attributes:
        compare: options of each comparison.
        limits: of reading.
        fetch: brings what is not here from a remote; None never does.
        header_only: what ``fetch`` brings is only good for headers, so values are not compared then.
    """

    compare: CompareOptions = CompareOptions()
    limits: Limits = Limits(allow_torch=False)
    fetch: Fetch | None = None
    header_only: bool = False


@frozen
class OutChange:
    """One output on both sides.

    Attributes:
        old, new: the output; None on the side that has none.
        diff: of a file that is a model on a side, or could not be opened; None for other files.
        files: of a directory; None when a list of files is missing, which ``state`` then tells.
        state: why a directory could not be compared, by side.
        kind: what a file looks like that is no model.
        where: where the bytes of each side were found.
        header_only: only headers were read, because a side came from a remote.
    """

    old: DvcItem | None
    new: DvcItem | None
    diff: ModelDiff | None = None
    files: DirectoryDiff | None = None
    state: tuple[State | None, State | None] = (None, None)
    kind: str = ""
    where: tuple[Where, Where] = ("", "")
    header_only: bool = False

    @property
    def item(self) -> DvcItem:
        """The output as it is now, or was."""
        item = self.new or self.old
        assert item is not None
        return item

    @property
    def label(self) -> str:
        """``path``, or ``stage: path`` where it is the output of a stage."""
        stage = self.item.out.stage
        return f"{stage}: {self.item.label}" if stage else self.item.label


@frozen
class Pairs:
    """The outputs of two pointers side by side; ``unchanged`` counts those with the same content address."""

    changed: tuple[tuple[DvcItem | None, DvcItem | None], ...]
    unchanged: int


def pair_outs(old: Sequence[DvcItem], new: Sequence[DvcItem]) -> Pairs:
    """Pair outputs by stage and path, then by path alone, then by equal content (a moved file)."""
    rest_old, rest_new = list(old), list(new)
    pairs: list[tuple[DvcItem | None, DvcItem | None]] = []
    unchanged = 0
    for key in (_by_stage, _by_path, _by_content):
        known = {key(item): item for item in rest_old if key(item) is not None}
        for item in list(rest_new):
            before = known.pop(key(item), None) if key(item) is not None else None
            if before is None:
                continue
            rest_old.remove(before)
            rest_new.remove(item)
            if before.out.same_as == item.out.same_as and item.out.value and key is not _by_content:
                unchanged += 1
            else:
                pairs.append((before, item))
    pairs += [(None, item) for item in rest_new]
    order = {id(item): at for at, item in enumerate(new)}
    pairs.sort(key=lambda pair: order[id(pair[1])])
    return Pairs((*pairs, *((item, None) for item in rest_old)), unchanged)


def _by_stage(item: DvcItem) -> tuple[object, ...] | None:
    return (item.out.stage, item.label)


def _by_path(item: DvcItem) -> tuple[object, ...] | None:
    return (item.label,)


def _by_content(item: DvcItem) -> tuple[object, ...] | None:
    return item.out.same_as if item.out.value else None


def compare_outs(pairs: Pairs, options: TrackedOptions) -> Iterator[OutChange]:
    """Compare each pair that may differ, one after the other, as their turn comes."""
    for old, new in pairs.changed:
        if any(item is not None and item.is_directory for item in (old, new)):
            yield _compare_directories(old, new, options)
        else:
            yield _compare_files(old, new, options)


# ---------------------------------------------------------------- files


@slotted
class _Opened:
    """One opened side: as input of a comparison, and where its bytes were found."""

    input: Input
    where: Where = ""


def _open(item: DvcItem | None, options: TrackedOptions, found_as: str = "") -> _Opened:
    """Open one side; whatever is wrong becomes a state."""
    if item is None:
        return _Opened(Input("", state=Absent()))
    try:
        found = open_item(item, label=found_as, fetch=options.fetch)
        if not (item.out.model or is_model_name(item.label) or _may_be_model(found.opened)):
            return _Opened(Input("", state=NotAModel("is not called like a model")), found.where)
        limits = _limits_for(options, found.where)
        return _Opened(as_input(found.opened, limits, label=""), found.where)
    except (SourceError, FormatError) as error:
        return _Opened(Input("", state=unreadable(error)))


def _limits_for(options: TrackedOptions, where: Where) -> Limits:
    """Nothing but the header is looked at of what was fetched for it: each further read is a request."""
    return replace(options.limits, values=False) if options.header_only and where == "remote" else options.limits


def _may_be_model(opened: Opened) -> bool:
    """Whether a file that is not called like a model begins like one; the readers are not loaded to find out."""
    if isinstance(opened, (State, Directory)):
        return True
    head = opened.read(0, 16)
    if head[8:9] == b"{" or head.startswith((b"PK\x03\x04", b"\x80")):
        return True
    opened.close()
    return False


def _compare_files(old: DvcItem | None, new: DvcItem | None, options: TrackedOptions) -> OutChange:
    sides = _open(old, options), _open(new, options)
    where = (sides[0].where, sides[1].where)
    try:
        kind = _no_model(old, new, sides)
        if kind:
            return OutChange(old, new, kind=kind, where=where)
        used = _options_for(options, where)
        change = compare_files("", sides[0].input, sides[1].input, used)
        if change.diff is None:  # a file changed while it was read
            state = Unreadable(change.reason)
            return OutChange(old, new, state=(state, state), where=where)
        return OutChange(old, new, change.diff, where=where, header_only=used.shape_only and "remote" in where)
    finally:
        _close(sides)


def _no_model(old: DvcItem | None, new: DvcItem | None, sides: tuple[_Opened, _Opened]) -> str:
    """What the sides look like when neither is a model; "" when one is, or could be.

    A file that is not here is taken for a model only when it is called like one: most outputs of a pipeline are
    data and figures.
    """
    kinds = []
    for item, side in ((old, sides[0]), (new, sides[1])):
        state = side.input.state
        if item is None:
            continue
        if isinstance(state, NotAModel):
            kinds.append(state.kind)
        elif side.input.checkpoint is not None or item.out.model or is_model_name(item.label):
            return ""
        else:
            kinds.append("")
    return next((kind for kind in kinds if kind), "is not called like a model, and is not here")


def _options_for(options: TrackedOptions, where: tuple[Where, Where]) -> CompareOptions:
    """Values are not compared where only a header was fetched."""
    if options.header_only and "remote" in where:
        return replace(options.compare, shape_only=True)
    return options.compare


def _close(sides: Sequence[_Opened]) -> None:
    for side in sides:
        if side.input.checkpoint is not None:
            side.input.checkpoint.close()


# ---------------------------------------------------------------- directories


class _Listing:
    """The files of one side of a directory, models by the name that they are paired by."""

    __slots__ = ("entries", "item", "models", "others", "state")

    def __init__(self, item: DvcItem | None, entries: tuple[DvcEntry, ...] = (), state: State | None = None) -> None:
        self.item, self.entries, self.state = item, entries, state
        self.models: dict[str, tuple[DvcEntry, ...]] = {}
        self.others: dict[str, DvcEntry] = {}


def _list(item: DvcItem | None, options: TrackedOptions) -> _Listing:
    if item is None:
        return _Listing(None)
    if not item.is_directory:  # it was a file
        return _Listing(item, state=Unreadable("is a file on this side, and a directory on the other"))
    try:
        entries = entries_of(item)
        if entries is None and options.fetch is not None:
            entries = getattr(options.fetch, "manifest", lambda _item: None)(item)
    except DvcTextError as error:
        return _Listing(item, state=Unreadable(str(error)))
    if entries is None:
        found = open_item(item).opened
        return _Listing(item, state=found if isinstance(found, State) else Unreadable("its list of files is missing"))
    listing = _Listing(item, entries)
    for entry in entries:
        key = model_key(entry.relpath)
        if key == entry.relpath and not is_model_name(key):
            listing.others[key] = entry
        else:
            listing.models[key] = (*listing.models.get(key, ()), entry)
    return listing


def _compare_directories(old: DvcItem | None, new: DvcItem | None, options: TrackedOptions) -> OutChange:
    left, right = _list(old, options), _list(new, options)
    if left.state is not None or right.state is not None:
        return OutChange(old, new, state=(left.state, right.state))
    files, remote, same = [], False, 0
    for name in sorted({**left.models, **right.models}, key=natural_key):
        before, after = left.models.get(name, ()), right.models.get(name, ())
        if _facts(before) == _facts(after) and all(entry.md5 for entry in before):
            same += 1
            continue
        file, fetched = _compare_models(name, left, right, options)
        remote = remote or fetched
        if file is not None:
            files.append(file)
            continue
        left.others.update((entry.relpath, entry) for entry in before)
        right.others.update((entry.relpath, entry) for entry in after)
    others = _count(left.others, right.others)
    diff = DirectoryDiff("", "", tuple(files), other_files=others, same_models=same)
    return OutChange(old, new, files=diff, header_only=remote and options.header_only)


def _compare_models(
    name: str, left: _Listing, right: _Listing, options: TrackedOptions
) -> tuple[FileChange | None, bool]:
    """The change of one model of a directory (None when it is a model on neither side), and whether it was fetched."""
    sides = _open_model(name, left, options), _open_model(name, right, options)
    where = (sides[0].where, sides[1].where)
    try:
        if all(isinstance(side.input.state, (Absent, NotAModel)) for side in sides):
            return None, False
        change = compare_files(name, sides[0].input, sides[1].input, _options_for(options, where))
        return change, "remote" in where
    finally:
        _close(sides)


def _open_model(name: str, side: _Listing, options: TrackedOptions) -> _Opened:
    """One model of a directory: a file, an index with its shards, or shards alone."""
    entries = side.models.get(name, ())
    if not entries or side.item is None:
        return _open(None, options)
    items = [entry_item(side.item, entry) for entry in entries]
    exact = next((item for item, entry in zip(items, entries, strict=True) if entry.relpath == name), None)
    return _open(exact, options) if exact is not None else _open_shards(items, options)


# ---------------------------------------------------------------- several files


def compare_shards(name: str, old: Sequence[DvcItem], new: Sequence[DvcItem], options: TrackedOptions) -> OutChange:
    """The change of a model of several files, wherever DVC keeps each."""
    sides = _open_shards(old, options), _open_shards(new, options)
    where = (sides[0].where, sides[1].where)
    used = _options_for(options, where)
    try:
        change = compare_files(name, sides[0].input, sides[1].input, used)
    finally:
        _close(sides)
    items = [next(iter(items), None) for items in (old, new)]
    if change.diff is None:  # a file changed while it was read
        state = Unreadable(change.reason)
        return OutChange(items[0], items[1], state=(state, state), where=where)
    return OutChange(items[0], items[1], change.diff, where=where, header_only=used.shape_only and "remote" in where)


def _open_shards(items: Sequence[DvcItem], options: TrackedOptions) -> _Opened:
    """The index and the shards of a model; all good for headers only as soon as one has to be fetched."""
    if not items:
        return _Opened(Input("", state=Absent()))
    where: Where = "cache" if options.fetch is None or all(map(is_complete, items)) else "remote"
    folder = ItemFolder(items, options.fetch if where == "remote" else None)
    try:
        return _Opened(as_input(folder, _limits_for(options, where), label=""), where)
    except (SourceError, FormatError) as error:
        return _Opened(Input("", state=unreadable(error)))


def _facts(entries: Sequence[DvcEntry]) -> set[tuple[str, str]]:
    return {(entry.relpath, entry.md5) for entry in entries}


def _count(old: Mapping[str, DvcEntry], new: Mapping[str, DvcEntry]) -> tuple[int, int, int, int]:
    """(equal, different, only old, only new) of files that are no models."""
    both = old.keys() & new.keys()
    equal = sum(1 for name in both if old[name].md5 and old[name].md5 == new[name].md5)
    return equal, len(both) - equal, len(old.keys() - new.keys()), len(new.keys() - old.keys())


__all__ = [
    "DvcImport", "DvcItem", "OutChange", "Pairs", "TrackedOptions", "Where", "compare_outs",
    "compare_shards", "pair_outs",
]  # fmt: skip
