"""What differs in the configurations and records that lie beside a changed model: ``config.json``, ``params.yaml``."""

from __future__ import annotations

import posixpath

from diffai.comparison.documents.compare import compare_documents
from diffai.comparison.documents.paths import path_text
from diffai.comparison.documents.result import Change, DocumentOptions, Special, Value
from diffai.comparison.result import BesideChange, ValueChange
from diffai.errors import DiffaiError
from diffai.formats.base import Limits
from diffai.model import Absent, Scalar, State
from diffai.sources.directory import Directory
from diffai.stores.store import Opened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.models.pairs import ModelPair
    from diffai.models.reference import ModelRef

# What an adapter's adapter_config.json says is part of the adapter, and compared with it.
NAMES = frozenset((
    "config.json", "config.yaml", "config.yml", "generation_config.json", "model_index.json", "tokenizer_config.json",
    "special_tokens_map.json", "preprocessor_config.json", "processor_config.json", "feature_extractor_config.json",
    "quantize_config.json", "quantization_config.json", "trainer_state.json", "training_args.json", "metrics.json",
    "metrics.yaml", "all_results.json", "eval_results.json", "train_results.json", "params.yaml", "params.json",
    "hparams.yaml", "hparams.json", "hyperparameters.json", "hyperparameters.yaml", "args.yaml", "args.json", "MLmodel",
))  # fmt: skip
"""Files of these names are looked at, and no others."""

MOST_BYTES = 4 << 20
MOST_LISTED = 50


def beside(pair: ModelPair, limits: Limits) -> tuple[BesideChange, ...]:
    """The files in the folder of a model that differ between both sides, with what differs in them."""
    if pair.old is None or pair.new is None:
        return ()
    names = _names(pair.old) | _names(pair.new)
    found = []
    for name in sorted(names):
        change = between(name, _open(pair.old, name), _open(pair.new, name), limits)
        if change is not None:
            found.append(change)
    return tuple(found)


def beside_in(old: Directory, new: Directory, limits: Limits) -> tuple[BesideChange, ...]:
    """The same of two folders that are one model each."""
    found = []
    for name in sorted(NAMES.intersection((*old.names(), *new.names()))):
        sides = [_in_folder(folder, name) for folder in (old, new)]
        change = between(name, sides[0], sides[1], limits)
        if change is not None:
            found.append(change)
    return tuple(found)


def _in_folder(folder: Directory, name: str) -> Opened:
    try:
        return folder.open(name)
    except DiffaiError:
        return Absent()


def _names(model: ModelRef) -> set[str]:
    """Files beside a model that may be looked at; all of them where DVC keeps the folder, whose files git lacks."""
    if model.files[0].item is not None:
        return set(NAMES)
    try:
        there = model.snapshot.tree.children(posixpath.dirname(model.files[0].path))
        return {name for name in NAMES if name in there}
    except DiffaiError:
        return set()


def _open(model: ModelRef, name: str) -> Opened:
    try:
        return model.snapshot.open(posixpath.join(posixpath.dirname(model.files[0].path), name))
    except DiffaiError:
        return Absent()


def between(name: str, old: Opened, new: Opened, limits: Limits) -> BesideChange | None:
    """What differs between two opened files, which are closed; None where nothing does, or nothing is known."""
    if isinstance(old, State | Directory) or isinstance(new, State | Directory):
        sides = [not isinstance(side, Absent | Directory) for side in (old, new)]
        for side in (old, new):
            if not isinstance(side, State | Directory):
                side.close()
        if sides[0] == sides[1]:
            return None  # on neither side, or not here on one, so that nothing is known
        return BesideChange(name, problem="is only on the new side" if sides[1] else "is only on the old side")
    if (old.identity and old.identity == new.identity) or max(old.size, new.size) > MOST_BYTES:
        large = old.size != new.size and max(old.size, new.size) > MOST_BYTES
        old.close()
        new.close()
        problem = f"differs (larger than {MOST_BYTES:,} bytes, not compared)"
        return BesideChange(name, problem=problem) if large else None
    try:
        diff = compare_documents(old, new, DocumentOptions(limits=limits))
    except DiffaiError as error:
        return BesideChange(name, problem=f"was not compared: {error}")
    changes = _flat(diff.changes)
    if not changes:
        return None
    return BesideChange(name, tuple(changes[:MOST_LISTED]), len(changes[MOST_LISTED:]) + diff.uncounted)


def _flat(changes: tuple[Change, ...]) -> list[ValueChange]:
    """Changes as scalars; of lists how many of their elements differ."""
    found: list[ValueChange] = []
    lists: dict[str, set[tuple[bool, object]]] = {}
    for change in changes:
        place = next((at for at, step in enumerate(change.path) if isinstance(step, int)), None)
        if place is not None:
            lists.setdefault(path_text(change.path[:place]), set()).add((change.kind == "Removed", change.path[place]))
            continue
        status = {"Added": "added", "Removed": "removed"}.get(change.kind, "changed")
        found.append(ValueChange(path_text(change.path), status, _scalar(change.old), _scalar(change.new)))  # type: ignore[arg-type]
    for name, places in lists.items():
        what = "1 element differs" if len(places) == 1 else f"{len(places):,} elements differ"
        found.append(ValueChange(name, "changed", None, f"({what})"))
    return found


def _scalar(value: Value) -> Scalar:
    if isinstance(value, dict | list):
        return f"{len(value):,} {'keys' if isinstance(value, dict) else 'elements'}"
    scalar: Scalar = value.text if isinstance(value, Special) else value
    return scalar
