"""The one comparison of two trees of models: which stand side by side, which moved, which are equal unopened.

It serves ``A..B``, the index and the work tree, folders on disk, folders and pointers of DVC, the gate and CI. Files
that DVC keeps stand beside those of git by their paths, so that a model is one wherever it is kept: a move from
``.dvc`` to ``dvc.lock``, into a folder of DVC's or into git is no move at all.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase

from diffai.frozen import frozen, slotted
from diffai.model import natural_key
from diffai.models.at import model_at, named_by, names_files
from diffai.models.moves import joined
from diffai.models.names import is_model_name, model_key, owners
from diffai.models.reference import File, ModelRef, companions, group
from diffai.models.rule import EVERY, ModelRule, attributed, is_text, matches
from diffai.repository.objects import reader_of
from diffai.repository.runner import Repository
from diffai.repository.trees import Changed, NoTree
from diffai.snapshots.outputs import Outputs
from diffai.snapshots.snapshot import Snapshot
from diffai.stores.dvc import is_pointer_name
from diffai.stores.dvc.items import HERE, Reach
from diffai.stores.dvc.pointers import DvcTextError

_MOST_GRAPH = 64 << 20  # bytes of a file that is looked into for the names of others


@frozen
class ModelPair:
    """One model on both sides, None on the side that has none; ``unmerged`` when the index holds a conflict."""

    old: ModelRef | None
    new: ModelRef | None
    unmerged: bool = False

    @property
    def old_path(self) -> str:
        """Its path before; "" when it is new."""
        return self.old.path if self.old is not None else ""

    @property
    def new_path(self) -> str:
        """Its path now; "" when it is gone."""
        return self.new.path if self.new is not None else ""

    @property
    def path(self) -> str:
        """Its path now, else before."""
        return self.new_path or self.old_path

    @property
    def title(self) -> str:
        """For a heading: ``old -> new`` where it moved."""
        moved = self.old_path and self.new_path and self.old_path != self.new_path
        return f"{self.old_path} -> {self.new_path}" if moved else self.path

    @property
    def held_by(self) -> tuple[str, ...]:
        """The files of either tree that take part: its own, or the pointers that speak of them."""
        sides = [side.held_by for side in (self.old, self.new) if side is not None]
        return tuple(dict.fromkeys(name for names in sides for name in names))

    def touches(self, wanted: str) -> bool:
        """Whether a path of the user (from the top, "." for all) means this model, a file of it, or a folder above."""
        sides = [side for side in (self.old, self.new) if side is not None]
        files = [file for side in sides for file in (*side.files, *side.companions)]
        own = wanted in (self.old_path, self.new_path)
        return own or any(_touched((file, None), wanted) for file in files)


@slotted
class Pairs:
    """Two trees of models side by side.

    Attributes:
        changed: models that are on one side only, or whose content may differ, in natural order.
        unchanged: models of files or pointers that changed, proved equal by their identity.
        others: files that are no models, on either side.
        excluded: files that the globs left out.
        problems: (path, reason) of what could not be looked at.
        rule: by which all this was told apart.
    """

    changed: list[ModelPair]
    unchanged: int
    others: list[tuple[File | None, File | None]]
    excluded: int
    problems: list[tuple[str, str]]
    rule: ModelRule = EVERY

    def announce(self) -> None:
        """Say to the object reader which blobs will be read, in the order in which the pairs are opened."""
        sides = [side for pair in self.changed for side in (pair.old, pair.new) if side is not None]
        if sides and sides[-1].snapshot.tree.repository is not None:
            files = [file for side in sides for file in (*side.files, *side.companions)]
            oids = [f.entry.oid for f in files if f.entry is not None and f.entry.is_file and f.entry.oid]
            reader_of(sides[-1].snapshot.repository).announce(oids)


@slotted
class _Side:
    """One side: files by path, how more are found, those that models name (file -> models), what a model names."""

    snapshot: Snapshot
    files: dict[str, File]
    outputs: Outputs
    named: dict[str, list[str]]
    looked_at: dict[str, set[str]]


def pairs(
    old: Snapshot, new: Snapshot, rule: ModelRule = EVERY, paths: Sequence[str] = (), *, moves: bool = True,
    reach: Reach = HERE,
) -> Pairs:  # fmt: skip
    """Compare two trees of models; nothing is opened but what proves a move.

    Args:
        old, new: both moments, of one repository, or two folders.
        rule: what is a model; attributes of git are added to it.
        paths: from the top; only models that they mean are paired. Empty = all.
        moves: whether models that came and went are joined where the evidence says that they are one.
        reach: whether lists of DVC's folders may be brought that are not here.

    Raises:
        SourceError: git fails, or a folder cannot be listed.

    """
    left, right = (_side(side, {}, reach) for side in (old, new))
    try:
        changes = old.tree.changed(new.tree)
        renamed, unmerged = _gather(changes, left, right)
        changed = {entry.name for change in changes for entry in (change.old, change.new) if entry is not None}
        if not new.tree.revision and new.tree.repository is not None:
            _gather_pointers(left, right)
        for side in (left, right):
            _add_owners(side, {**left.files, **right.files})
        return _paired(left, right, rule, paths, (renamed, unmerged, changed), moves=moves)
    finally:
        left.outputs.close()
        right.outputs.close()


def _side(snapshot: Snapshot, files: dict[str, File], reach: Reach = HERE) -> _Side:
    return _Side(snapshot, files, Outputs(snapshot, is_model_name, fetch=reach.fetch), {}, {})


def pair_files(old: Sequence[File], new: Sequence[File], repository: Repository, *, moves: bool = True) -> Pairs:
    """Compare the models among the files of two sides, which are all that is known of these.

    Raises:
        SourceError: git fails.

    """
    left, right = (_side(listed(repository), {file.path: file for file in files}) for files in (old, new))
    held = {file.held_by for file in (*old, *new)}
    return _paired(left, right, EVERY, (), ({}, set(), held), moves=moves)


def listed(repository: Repository) -> Snapshot:
    """The moment of files of which no more is known than that they are there."""
    return Snapshot(NoTree(repository))


def _paired(
    left: _Side, right: _Side, rule: ModelRule, paths: Sequence[str], facts: tuple[dict[str, str], set[str], set[str]],
    *, moves: bool,
) -> Pairs:  # fmt: skip
    renamed, unmerged, changed = facts
    found = Pairs([], 0, [], 0, [*left.snapshot.tree.problems, *right.snapshot.tree.problems], rule)
    _hide_unlisted(left, right)
    rule, models = _sorted_out(left, right, rule, found)
    sides = [group(side.snapshot, _completed(side, [f for p, f in side.files.items() if p in models]), side.named)
             for side in (left, right)]  # fmt: skip
    matched = [
        ModelPair(sides[0].pop(name, None) or sides[0].pop(renamed.get(name, ""), None), model, name in unmerged)
        for name, model in list(sides[1].items())
    ]
    gone = list(sides[0].values())
    come = [pair for pair in matched if pair.old is None]
    every = [pair for pair in matched if pair.old is not None]
    if moves and gone and come:
        for before, after in joined(gone, [pair.new for pair in come if pair.new is not None]):
            every.append(ModelPair(before, after))
            gone.remove(before)
            come = [pair for pair in come if pair.new is not after]
    every += [*come, *(ModelPair(model, None) for model in gone)]
    if paths:
        found.others = [sides for sides in found.others if any(_touched(sides, wanted) for wanted in paths)]
    for pair in sorted(every, key=lambda pair: natural_key(pair.path)):
        if paths and not any(pair.touches(wanted) for wanted in paths):
            continue
        if pair.old is not None and pair.new is not None and pair.old_path == pair.new_path and _equal(pair):
            found.unchanged += not changed.isdisjoint(pair.held_by)
        else:
            found.changed.append(pair)
    return found


def _touched(sides: tuple[File | None, File | None], wanted: str) -> bool:
    """Whether a path of the user means a file, its pointer, or a folder above."""
    names = {name for file in sides if file is not None for name in (file.path, file.held_by)}
    return wanted == "." or any(name == wanted or name.startswith(f"{wanted}/") for name in names)


def _equal(pair: ModelPair) -> bool:
    assert pair.old is not None and pair.new is not None
    return bool(pair.old.identity) and pair.old.identity == pair.new.identity


# ---------------------------------------------------------------- which files


def _gather(changed: Iterable[Changed], left: _Side, right: _Side) -> tuple[dict[str, str], set[str]]:
    """Put what changed into both sides; new name -> old name of models that moved whole, and those in conflict."""
    renamed, unmerged = dict[str, str](), set[str]()
    pointers: list[tuple[_Side, str]] = []
    for change in changed:
        for side, entry in ((left, change.old), (right, change.new)):
            if entry is None or entry.is_directory:
                continue
            if is_pointer_name(entry.name):
                pointers.append((side, entry.name))
            else:
                side.files[entry.name] = File(entry.name, entry)
        if change.unmerged:
            unmerged.add(model_key(change.path))
        if change.old is not None and change.new is not None and change.old.name != change.new.name:
            renamed[model_key(change.new.name)] = model_key(change.old.name)
    for side, pointer in pointers:
        _add_outputs(side, pointer)
    return renamed, unmerged


def _add_outputs(side: _Side, pointer: str) -> None:
    """Add what a pointer speaks of; one that makes no sense stands for itself, and opening it says why."""
    try:
        for item in side.outputs.of(pointer):
            side.files.setdefault(item.label, File(item.label, None, item))
    except DvcTextError:
        side.files[pointer] = File(pointer, side.snapshot.tree.entry(pointer))


def _gather_pointers(left: _Side, right: _Side) -> None:
    """Models on disk that differ from their pointer, which is as it was: ``dvc add`` was not run yet."""
    for pointer in right.snapshot.tree.list(("*.dvc", "dvc.lock")):
        if is_pointer_name(pointer):
            for side in (left, right):
                _add_outputs(side, pointer)


def _add_owners(side: _Side, changed: Collection[str]) -> None:
    """Models that are as they were and hold values in a file that is not: external data is part of its model."""
    for path in changed:
        for glob in owners(path):
            _add_owner(side, glob)
        if not side.snapshot.tree.whole and not owners(path) and not is_model_name(path):
            _add_namers(side, path)


def _add_namers(side: _Side, path: str) -> None:
    """Add the models beside a file, or in the folder above, that name it: a graph names its data as it likes."""
    folders = {posixpath.dirname(path), posixpath.dirname(posixpath.dirname(path))}
    near = [posixpath.join(f, name.removesuffix(".dvc")) for f in folders for name in side.snapshot.tree.children(f)]
    near += [name for name in side.files if posixpath.dirname(name) in folders]
    models = dict.fromkeys(name for name in near if names_files(name))
    head = side.files[path].head(side.snapshot) if models and path in side.files else None
    if head is None or not is_text(head[0]):
        for model in models:
            if path in _named(side, model):
                side.named.setdefault(path, []).append(model)
                ref = model_at(side.snapshot, model_key(model))
                side.files = {**{file.path: file for file in (ref.files if ref is not None else ())}, **side.files}


def _named(side: _Side, path: str) -> set[str]:
    """What a model names, where it is small enough to be one that holds its values elsewhere."""
    if path not in side.looked_at:
        model = model_at(side.snapshot, model_key(path))
        file = next((file for file in model.files if file.path == path), None) if model is not None else None
        head = file.head(side.snapshot) if file is not None else None
        small = head is not None and head[1] <= _MOST_GRAPH
        side.looked_at[path] = named_by(side.snapshot, model_key(path)) if small else set[str]()
    return side.looked_at[path]


def _add_owner(side: _Side, glob: str) -> None:
    """Add the models of this side that a glob of paths means."""
    folder, slash, _ = glob.rpartition("/")
    folder = re.sub(r"\[([*?[])\]", r"\1", folder)  # as it is called, where the glob escapes it
    for other in side.snapshot.tree.children(folder):
        model = f"{folder}{slash}{other.removesuffix('.dvc')}"
        if model in side.files or not fnmatchcase(model, glob):
            continue
        if other.endswith(".dvc"):
            _add_outputs(side, f"{folder}{slash}{other}")
        else:
            entry = side.snapshot.tree.entry(model)
            if entry is not None and not entry.is_directory:
                side.files[model] = File(model, entry)


def _hide_unlisted(left: _Side, right: _Side) -> None:
    """Of a folder whose list of files is missing on one side, nothing is said of single files on the other."""
    for one, other in ((left, right), (right, left)):
        for path in [path for path, file in one.files.items() if file.is_folder]:
            below = [name for name in other.files if name.startswith(f"{path}/")]
            if path not in other.files and below:
                root = next((item for item in other.outputs.roots(other.files[below[0]].held_by)
                             if item.label == path), None)  # fmt: skip
                if root is not None:
                    other.files[path] = File(path, None, root)
            for name in below:
                del other.files[name]


def _sorted_out(left: _Side, right: _Side, rule: ModelRule, found: Pairs) -> tuple[ModelRule, set[str]]:
    """Which paths are models on a side, by the one rule; the others are noted."""
    every = {**left.files, **right.files}
    repository = right.snapshot.tree.repository
    if repository is not None and not right.snapshot.tree.whole:
        rest = [path for path in every if not is_model_name(path)]
        rule = ModelRule(rule.include, rule.exclude, rule.only, rule.attributed | attributed(repository, rest))
    models = set[str]()
    beside = companions(every, {**left.named, **right.named})
    for path in sorted(every, key=beside.__contains__):  # models before what may belong to them
        if any(owner in models for owner in beside.get(path, ())):
            models.add(path)
            continue
        sides = [(side, side.files[path]) for side in (left, right) if path in side.files]
        if not (rule.wants(path) or (model_key(path) != path and _wants_whole(rule, path))):
            found.excluded += len(sides)
        elif any(_is_model(side, file, rule) for side, file in sides):
            models.add(path)
        elif not _same(left.files.get(path), right.files.get(path)):
            found.others.append((left.files.get(path), right.files.get(path)))
    return rule, models


def _wants_whole(rule: ModelRule, shard: str) -> bool:
    """Whether the globs mean the model of which a file is a shard: by its own name, or that of its index."""
    key = model_key(shard)
    return not matches(shard, rule.exclude) and (rule.wants(key) or rule.wants(f"{key}.index.json"))


def _same(old: File | None, new: File | None) -> bool:
    return old is not None and new is not None and bool(old.identity) and old.identity == new.identity


def _is_model(side: _Side, file: File, rule: ModelRule) -> bool:
    if file.is_folder or (file.item is not None and file.item.out.model):
        return True
    return rule.is_model(file.path, lambda: file.head(side.snapshot))


def _completed(side: _Side, files: Sequence[File]) -> Iterator[File]:
    """The files, with those of the same sharded models that did not change."""
    yield from files
    known = {file.path for file in files}
    parts = {model_key(file.path) for file in files if model_key(file.path) != file.path}
    if side.snapshot.tree.whole:
        return
    for key in parts:
        folder = key.rpartition("/")[0]
        prefix = f"{folder}/" if folder else ""
        for name, entry in side.snapshot.tree.children(folder).items():
            path = f"{prefix}{name}"
            if is_pointer_name(name):
                if model_key(path.removesuffix(".dvc")) == key or name == "dvc.lock":
                    yield from _unchanged_outputs(side, path, key, known)
            elif path not in known and model_key(path) == key and path != key and not entry.is_directory:
                known.add(path)
                yield File(path, side.snapshot.tree.entry(path))


def _unchanged_outputs(side: _Side, pointer: str, key: str, known: set[str]) -> Iterator[File]:
    try:
        items = side.outputs.of(pointer)
    except DvcTextError:
        return
    for item in items:
        if item.label not in known and model_key(item.label) == key and item.label != key:
            known.add(item.label)
            yield File(item.label, None, item)


def models_in(snapshot: Snapshot, rule: ModelRule = EVERY) -> tuple[list[ModelRef], Pairs]:
    """Every model of a plain folder, in natural order, and what was left out."""
    side, empty = _side(snapshot, {}), _side(snapshot, {})
    for path in snapshot.tree.list():
        side.files[path] = File(path, snapshot.tree.entry(path))
    found = Pairs([], 0, [], 0, [*snapshot.tree.problems])
    _, models = _sorted_out(empty, side, rule, found)
    refs = group(snapshot, (file for path, file in side.files.items() if path in models))
    return sorted(refs.values(), key=lambda ref: natural_key(ref.path)), found
