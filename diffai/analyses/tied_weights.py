"""Weights that are one: stored once under several names, or stored several times with equal values."""

from __future__ import annotations

from diffai.analyses.beside import CONFIGURATION, object_beside
from diffai.analyses.finding import Finding, counted, not_computed, nothing
from diffai.comparison.result import ModelDiff
from diffai.model import Checkpoint, TensorSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from diffai.analyses.context import Context, Which
    from diffai.finding import Fields

    Groups = dict[frozenset[str], bool]

NAME = "tied_weights"

FEWEST = 64
"""Elements from which on equal values are no chance."""

_HEAD = 4096


def find(diff: ModelDiff, context: Context) -> Finding | None:
    """Groups of tied weights on both sides, and what became of them."""
    if context.unread:
        return not_computed(NAME, context.unread)
    assert context.old is not None and context.new is not None
    sides = [
        _groups(context.old, [c.old for c in diff.tensors if c.old is not None]),
        _groups(context.new, [c.new for c in diff.tensors if c.new is not None]),
    ]
    renamed = {c.old.name: c.name for c in diff.tensors if c.old is not None and c.new is not None}
    old = {frozenset(renamed.get(name, name) for name in group): once for group, once in sides[0].items()}
    new = sides[1]
    said = {which: _said(context, which) for which in ("old", "new")}
    if not old and not new:
        note = "; config.json ties the word embeddings" if said["new"] else ""
        return nothing(NAME, f"no tensor is stored twice or under two names{note}")
    came = [group for group in new if group not in old]
    gone = [group for group in old if group not in new]
    fields: Fields = {
        "old": _listed(old), "new": _listed(new), "tied": tuple(_names(g) for g in came),
        "untied": tuple(_names(g) for g in gone), "tie_word_embeddings_old": said["old"],
        "tie_word_embeddings_new": said["new"],
    }  # fmt: skip
    missing = [which for which in ("old", "new") if said[which] is None]
    evidence = (f"tie_word_embeddings is not recorded beside the {' and '.join(missing)} model",) if missing else ()
    return Finding(NAME, "notice" if came or gone else "info", "fact", fields, evidence, _text(old, new, came, gone))


def _text(old: Groups, new: Groups, came: list[frozenset[str]], gone: list[frozenset[str]]) -> str:
    parts = []
    for groups, word in ((gone, "untied"), (came, "newly tied")):
        if groups:
            more = f" and {len(groups) - 1:,} more" if len(groups) > 1 else ""
            parts.append(f"{word}: {' = '.join(_names(groups[0]))}{more}")
    kept = [group for group in new if group in old]
    if kept:
        more = f" and {len(kept) - 1:,} more" if len(kept) > 1 else ""
        form = "stored once" if new[kept[0]] else f"stored {counted(len(kept[0]), 'time')}"
        parts.append(f"tied on both sides: {' = '.join(_names(kept[0]))} ({form}){more}")
    return "; ".join(parts)


def _listed(groups: Groups) -> tuple[Fields, ...]:
    return tuple({"names": _names(group), "stored_once": once} for group, once in groups.items())


def _names(group: Iterable[str]) -> tuple[str, ...]:
    from diffai.model import natural_key

    return tuple(sorted(group, key=natural_key))


def _groups(checkpoint: Checkpoint, specs: list[TensorSpec]) -> Groups:
    """Groups of names with whether each is stored once."""
    found: Groups = {}
    names: dict[str, set[str]] = {}
    for spec in specs:
        if spec.alias_of and spec.role == "weight":
            names.setdefault(spec.alias_of, {spec.alias_of}).add(spec.name)
    found.update((frozenset(group), True) for group in names.values())
    found.update((frozenset(group), False) for group in _equal(checkpoint, specs))
    return found


def _equal(checkpoint: Checkpoint, specs: list[TensorSpec]) -> list[list[str]]:
    """Names of weights of equal dtype, shape and bytes that are not all of one value."""
    from diffai.tensors.engine import summarise

    kinds: dict[object, list[TensorSpec]] = {}
    for spec in specs:
        candidate = spec.role == "weight" and not spec.alias_of and not spec.lacking and not spec.values
        if candidate and len(spec.shape) >= 2 and spec.elements >= FEWEST:
            kinds.setdefault((spec.dtype, spec.shape), []).append(spec)
    heads: dict[object, list[TensorSpec]] = {}
    for kind, group in kinds.items():
        for spec in group if len(group) > 1 else ():  # most tensors differ in their first bytes already
            start = bytearray(min(_HEAD, spec.nbytes))
            checkpoint.read_into(spec, 0, memoryview(start))
            heads.setdefault((kind, bytes(start)), []).append(spec)
    alike = [spec for group in heads.values() if len(group) > 1 for spec in group]
    found: dict[object, list[str]] = {}
    for spec, summary in zip(alike, summarise(checkpoint, alike, statistics=False, digest=True), strict=True):
        if not summary.constant:
            found.setdefault((spec.dtype, spec.shape, summary.digest), []).append(spec.name)
    return [names for names in found.values() if len(names) > 1]


def _said(context: Context, which: Which) -> bool | None:
    """What the configuration beside a model says of tying word embeddings; None where it says nothing."""
    told = object_beside(context, which, CONFIGURATION).get("tie_word_embeddings")
    return told if isinstance(told, bool) else None
