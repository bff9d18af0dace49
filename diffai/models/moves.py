"""Models that came and went in one step, joined where the evidence says that they are one.

git itself pairs identical files only; to compare contents it would read every model. Here equal identities count
first, then names that can only be one model (converted beside itself, moved to another folder), unless the tensors
contradict; at last, in one folder, the tensors' names, read from the headers alone.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Sequence

from diffai.formats.base import Limits
from diffai.model import natural_key
from diffai.models.reference import ModelRef

_LEAST = 0.5  # of the tensors' names
_MOST = 64  # models of one folder on each side that are opened for evidence
_LIMITS = Limits(allow_torch=False)  # whoever asks has not asked for these models


def joined(gone: Sequence[ModelRef], come: Sequence[ModelRef]) -> list[tuple[ModelRef, ModelRef]]:
    """Pairs of a model that is gone and one that came, each at most once."""
    rest_gone, rest_come = list(gone), list(come)
    found: list[tuple[ModelRef, ModelRef]] = []

    def take(before: ModelRef, after: ModelRef) -> None:
        found.append((before, after))
        rest_gone.remove(before)
        rest_come.remove(after)

    by_content = {model.identity: model for model in rest_gone if model.identity}
    for after in list(rest_come):
        before = by_content.pop(after.identity, None) if after.identity else None
        if before is not None:
            take(before, after)
    evidence = _Evidence()
    for same in (_stem, _name):
        before_by, after_by = _unique(rest_gone, same), _unique(rest_come, same)
        for key in sorted(before_by.keys() & after_by.keys(), key=natural_key):
            if not evidence.contradicts(before_by[key], after_by[key]):
                take(before_by[key], after_by[key])
    for folder in sorted({_folder(model) for model in rest_gone}):
        left = [model for model in rest_gone if _folder(model) == folder]
        right = [model for model in rest_come if _folder(model) == folder]
        if len(left) > _MOST or len(right) > _MOST:
            continue
        scored = [
            (-evidence.shared(before, after), natural_key(before.path), natural_key(after.path), before, after)
            for before in left
            for after in right
        ]
        for score, _, _, before, after in sorted(scored, key=lambda row: row[:3]):
            if -score >= _LEAST and before in rest_gone and after in rest_come:
                take(before, after)
    return found


class _Evidence:
    """Names of tensors, read once a model."""

    def __init__(self) -> None:
        self._names: dict[int, frozenset[str] | None] = {}

    def shared(self, before: ModelRef, after: ModelRef) -> float:
        """The share of tensor names that both have; 0 where one cannot be read."""
        old, new = self._of(before), self._of(after)
        return len(old & new) / len(old | new) if old and new else 0.0

    def contradicts(self, before: ModelRef, after: ModelRef) -> bool:
        """Whether both can be read and have little in common."""
        return bool(self._of(before) and self._of(after)) and self.shared(before, after) < _LEAST

    def _of(self, model: ModelRef) -> frozenset[str] | None:
        key = id(model)
        if key not in self._names:
            side = model.open(_LIMITS)
            self._names[key] = None
            if side.checkpoint is not None:
                self._names[key] = frozenset(side.checkpoint.tensors)
                side.checkpoint.close()
        return self._names[key]


def _folder(model: ModelRef) -> str:
    return posixpath.dirname(model.path)


def _stem(model: ModelRef) -> str:
    return posixpath.splitext(model.path)[0]


def _name(model: ModelRef) -> str:
    return posixpath.basename(model.path)


def _unique(models: Iterable[ModelRef], key: Callable[[ModelRef], str]) -> dict[str, ModelRef]:
    """Models by a key of their path, those left out that share it."""
    found: dict[str, list[ModelRef]] = {}
    for model in models:
        found.setdefault(key(model), []).append(model)
    return {name: some[0] for name, some in found.items() if len(some) == 1}
