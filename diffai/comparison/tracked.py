"""Compare what two versions of a DVC pointer stand for: each output by itself, directories file by file.

Nothing is said to be unchanged unless the pointers prove it; what could not be opened is a state in the result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from diffai.comparison.result import CompareOptions, DirectoryDiff, FileChange, ModelDiff
from diffai.errors import SourceError
from diffai.formats.base import Limits
from diffai.frozen import frozen, replace
from diffai.model import Absent, NotAModel, NotPulled, State, Unreadable
from diffai.models.names import is_model_name, model_key, owners
from diffai.models.rule import EVERY, HEAD_BYTES
from diffai.repository.runner import Repository
from diffai.sources.directory import Directory
from diffai.stores.dvc.items import HERE, DvcItem, Reach, Where, entries_of, entry_item, open_item
from diffai.stores.dvc.pointers import DvcImport, DvcTextError

TYPE_CHECKING = False
if TYPE_CHECKING:  # what opens models is not loaded where there is none
    from diffai.models.inputs import Input
    from diffai.models.reference import File, ModelRef

_NO_MODEL = "is not called like a model"


@frozen
class TrackedOptions:
    """How outputs are opened and compared.

    Attributes:
        compare: options of each comparison.
        limits: of reading.
        reach: what may be brought from a remote.
    """

    compare: CompareOptions = CompareOptions()
    limits: Limits = Limits(allow_torch=False)
    reach: Reach = HERE


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
class Outs:
    """The outputs of two pointers side by side; ``unchanged`` counts those with the same content address."""

    changed: tuple[tuple[DvcItem | None, DvcItem | None], ...]
    unchanged: int


def pair_outs(old: Sequence[DvcItem], new: Sequence[DvcItem]) -> Outs:
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
    return Outs((*pairs, *((item, None) for item in rest_old)), unchanged)


def _by_stage(item: DvcItem) -> tuple[object, ...] | None:
    return (item.out.stage, item.label)


def _by_path(item: DvcItem) -> tuple[object, ...] | None:
    return (item.label,)


def _by_content(item: DvcItem) -> tuple[object, ...] | None:
    return item.out.same_as if item.out.value else None


def compare_outs(
    pairs: Outs, options: TrackedOptions, every: tuple[Sequence[DvcItem], Sequence[DvcItem]] = ((), ())
) -> Iterator[OutChange]:
    """Compare each pair that may differ, one after the other, as their turn comes.

    Args:
        pairs: of outputs.
        options: how.
        every: all outputs of both sides, among them the shards of a model that did not change.
    """
    several = any(model_key(item.label) != item.label for side in every for item in side)
    models = [models_among({item.label: item for item in side}) if several else {} for side in every]
    told = set[str]()
    for old, new in pairs.changed:
        item = new or old
        if any(side is not None and side.is_directory for side in (old, new)):
            yield _compare_directories(old, new, options)
            continue
        key = model_key(item.label) if item is not None else ""
        if item is not None and key != item.label and (key in models[0] or key in models[1]):
            if key not in told:
                told.add(key)
                yield compare_refs(models[0].get(key), models[1].get(key), options)
            continue
        yield compare_items(old, new, options)


def models_among(items: Mapping[str, DvcItem]) -> dict[str, ModelRef]:
    """Some files as models, by the name that each is paired by."""
    from diffai.models.pairs import listed
    from diffai.models.reference import File, group

    files = (File(path, None, item) for path, item in items.items() if not item.is_directory)
    return group(listed(Repository()), files)


def compare_items(old: DvcItem | None, new: DvcItem | None, options: TrackedOptions) -> OutChange:
    """The change of one file. What opens models is not loaded for one that is none, as most of a pipeline's are."""
    there = [item for item in (old, new) if item is not None]
    heads = [_head(item) for item in there]
    if not any(
        item.out.model or EVERY.is_model(item.label, lambda head=head: head)  # type: ignore[misc]
        for item, head in zip(there, heads, strict=True)
    ):
        return OutChange(old, new, kind=_NO_MODEL if any(heads) else f"{_NO_MODEL}, and is not here")
    from diffai.models.pairs import listed
    from diffai.models.reference import File, ModelRef

    def alone(item: DvcItem | None) -> ModelRef | None:
        return ModelRef(listed(Repository()), item.label, (File(item.label, None, item),)) if item else None

    return compare_refs(alone(old), alone(new), options)


def _head(item: DvcItem) -> tuple[bytes, int] | None:
    """The first bytes of a file and its size; None when it is not here."""
    try:
        found = open_item(item).opened
    except SourceError:
        return None
    if isinstance(found, (State, Directory)):
        return None
    try:
        return found.read(0, HEAD_BYTES), found.size
    finally:
        found.close()


def compare_refs(old: ModelRef | None, new: ModelRef | None, options: TrackedOptions) -> OutChange:
    """The change of one model."""
    before, now = (ref.files[0].item if ref is not None else None for ref in (old, new))
    change, where, far = _compared("", old, new, options)
    if isinstance(change, str):
        return OutChange(before, now, kind=change, where=where)
    if change.diff is None:  # a file changed while it was read
        state = Unreadable(change.reason)
        return OutChange(before, now, state=(state, state), where=where)
    return OutChange(before, now, change.diff, where=where, header_only=far)


def _compared(
    name: str, old: ModelRef | None, new: ModelRef | None, options: TrackedOptions
) -> tuple[FileChange | str, tuple[Where, Where], bool]:
    """The change of a model, or what its sides look like when it is one on neither; where it was found; whether only
    headers were compared, because a side is far away.
    """
    from diffai.comparison.directories import compare_files
    from diffai.models.reference import open_ref

    left, right = sides = open_ref(old, options.limits, options.reach), open_ref(new, options.limits, options.reach)
    where, far = (sides[0].where, sides[1].where), any(side.header_only for side in sides)
    try:
        if all(isinstance(side.state, (Absent, NotAModel)) for side in sides):
            kinds = [side.state.kind for side in sides if isinstance(side.state, NotAModel)]
            return next(filter(None, kinds), "is no model"), where, far
        used = replace(options.compare, shape_only=True) if far else options.compare
        return compare_files(name, _unnamed(left), _unnamed(right), used), where, far
    finally:
        for side in sides:
            if side.checkpoint is not None:
                side.checkpoint.close()


def _unnamed(side: Input) -> Input:
    """A side that is not here without its name, which what is said of it holds already."""
    return replace(side, label="") if isinstance(side.state, NotPulled) else side


# ---------------------------------------------------------------- directories


def _list(item: DvcItem | None, options: TrackedOptions) -> tuple[list[File], State | None]:
    """The files of a directory by their paths in it; or why they are not known."""
    from diffai.models.reference import File

    if item is None:
        return [], None
    if not item.is_directory:  # it was a file
        return [], Unreadable("is a file on this side, and a directory on the other")
    try:
        entries = entries_of(item, options.reach.fetch)
    except DvcTextError as error:
        return [], Unreadable(str(error))
    if entries is None:
        found = open_item(item).opened
        return [], found if isinstance(found, State) else Unreadable("its list of files is missing")
    return [File(entry.relpath, None, entry_item(item, entry)) for entry in entries], None


def _compare_directories(old: DvcItem | None, new: DvcItem | None, options: TrackedOptions) -> OutChange:
    from diffai.models.pairs import pair_files

    (left, missing_left), (right, missing_right) = _list(old, options), _list(new, options)
    if missing_left is not None or missing_right is not None:
        return OutChange(old, new, state=(missing_left, missing_right))
    same = _same(left, right)
    left, right = ([file for file in files if file.path not in same] for files in (left, right))
    found = pair_files(left, right, Repository(), moves=False)
    files, others, remote = list[FileChange](), list(found.others), False
    for pair in found.changed:
        change, _, far = _compared(pair.title, pair.old, pair.new, options)
        remote = remote or far
        if isinstance(change, FileChange):
            files.append(change)
        else:
            others.append(tuple(side.files[0] if side is not None else None for side in (pair.old, pair.new)))  # type: ignore[arg-type]
    only_old = sum(after is None for _, after in others)
    only_new = sum(before is None for before, _ in others)
    counts = (len(same), len(others) - only_old - only_new, only_old, only_new)
    diff = DirectoryDiff("", "", tuple(files), other_files=counts, same_models=found.unchanged)
    return OutChange(old, new, files=diff, header_only=remote)


def _same(old: Sequence[File], new: Sequence[File]) -> set[str]:
    """Files that are no models by their names, nor belong to one, and are equal: nobody looks into them."""
    known = {file.path: file.identity for file in old}
    equal = (file.path for file in new if file.identity and known.get(file.path) == file.identity)
    return {path for path in equal if not is_model_name(path) and not owners(path)}


__all__ = [
    "DvcImport", "DvcItem", "OutChange", "Outs", "TrackedOptions", "Where", "compare_items", "compare_outs",
    "compare_refs", "models_among", "pair_outs",
]  # fmt: skip
