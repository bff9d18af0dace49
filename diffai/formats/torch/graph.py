"""What is inside the inert objects of a pickle: which are tensors, which hold others, and under what names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from diffai.formats.base import Budget
from diffai.formats.layout import DType
from diffai.formats.torch.numpy_pickles import columns_of, element_type
from diffai.formats.torch.objects import (
    Array,
    Composite,
    Global,
    OpaqueKey,
    PickledSet,
    Recast,
    Storage,
    Stub,
    Tensor,
    Valueless,
)
from diffai.formats.torch.plain_values import described, item_text

_STEPS = {"Pipeline": "steps", "FeatureUnion": "transformer_list"}  # whose items stand under their own names
LONG_DICT = 1000
"""Entries beyond which a dictionary of plain values (a vocabulary) is one value."""

Kind = Literal["tensor", "plain", "container"]

MODULE_TENSORS = ("_parameters", "_buffers", "_modules")
# What a module keeps beside its parameters, buffers and modules, and follows from them or from the class.
_MODULE_CACHES = frozenset(("_backend", "_flat_weights", "_flat_weight_refs", "_flat_weights_names", "_all_weights"))
# What a module has whether it is used or not; only where it is used does it say anything.
_MODULE_HOOKS = frozenset(
    ("_non_persistent_buffers_set", "_backward_pre_hooks", "_backward_hooks", "_is_full_backward_hook",
     "_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks",
     "_forward_pre_hooks_with_kwargs", "_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks",
     "_load_state_dict_post_hooks")
)  # fmt: skip
# What torch itself writes on tensors: marks of parameters and buffers, and of its compiler.
_TENSOR_INTERNALS = ("persistent", "_is_buffer", "_is_param", "_specialize_on", "_has_dynamo_dim_marking")

_LEAVES = (Tensor, Storage, Composite, Valueless, Recast)
_PLAIN = frozenset((str, int, float, bool, type(None), bytes, complex, Global, DType))


class Graph:
    """Questions about the objects of one file; what was found out about a long or shared one is remembered."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._flat: dict[int, bool] = {}
        self._bare: set[int] = set()

    def kind(self, value: object) -> Kind:
        """Whether a value is a tensor, a plain value (or a list of such), or has parts of its own."""
        if isinstance(value, _LEAVES):
            return "tensor"
        if isinstance(value, Array):
            if not isinstance(value.data, (list, tuple)):
                if element_type(value.dtype) is not None:
                    return "tensor"
                return "container" if columns_of(value) else "plain"
            return "plain" if self._is_flat(value.data) else "container"
        if isinstance(value, dict):
            return "plain" if not value or (len(value) > LONG_DICT and self._is_flat(value)) else "container"
        if isinstance(value, (list, tuple)):
            return "plain" if self._is_flat(value) else "container"
        if isinstance(value, PickledSet):
            return "plain" if self._is_flat(value.items) else "container"
        if isinstance(value, Stub):
            plain = value.state is None and not value.items and not value.pairs and value.args and not _deep_args(value)
            return "plain" if plain else "container"
        return "plain"

    def _is_flat(self, items: list[object] | tuple[object, ...] | dict[object, object]) -> bool:
        """Whether a sequence, or the values of a dictionary, are plain values alone."""
        values = items.values() if isinstance(items, dict) else items
        if len(items) < 16:
            return all(type(item) in _PLAIN for item in values)
        known = self._flat.get(id(items))
        if known is None:
            known = self._flat[id(items)] = all(type(item) in _PLAIN for item in values)
        return known

    def holds_tensors(self, value: object) -> bool:
        """Whether a tensor is anywhere inside."""
        seen: set[int] = set()
        pending = [value]
        while pending:
            item = pending.pop()
            kind = self.kind(item)
            if kind == "tensor":
                return True
            if kind == "container" and id(item) not in seen and id(item) not in self._bare:
                seen.add(id(item))
                self._budget.value()
                pending.extend(child for _, child in children(item))
        self._bare |= seen
        return False


def _deep_args(stub: Stub) -> bool:
    return any(type(part) not in _PLAIN for part in stub.args)


def children(value: object) -> Iterator[tuple[str, object]]:
    """Names and values inside a container. Module state gives its parameters, buffers and modules directly."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield key_text(key), item
    elif isinstance(value, PickledSet):
        yield from _numbered(sorted(value.items, key=item_text))  # the order of a set means nothing
    elif isinstance(value, (list, tuple)):
        yield from named_steps(value) or _numbered(value)
    elif isinstance(value, Array):
        yield from _numbered(value.data) if isinstance(value.data, (list, tuple)) else columns_of(value)
    elif isinstance(value, Stub):
        yield from _stub_children(value)
    elif isinstance(value, Tensor):
        attributes = _state_children(value.state)
        yield from (item for item in attributes if not item[0].startswith(("_dynamo_", *_TENSOR_INTERNALS)))


def _numbered(items: list[object] | tuple[object, ...]) -> Iterator[tuple[str, object]]:
    for position, item in enumerate(items):
        yield str(position), item


def _stub_children(stub: Stub) -> Iterator[tuple[str, object]]:
    yield from _numbered(stub.args)
    named = _STEPS.get(stub.of.name, "") if stub.of.module.startswith("sklearn.") else ""
    for name, item in _state_children(stub.state):
        steps = named_steps(item) if name == named else []
        yield (name, " > ".join(step for step, _ in steps)) if steps else (name, item)
        yield from steps  # by their own names: clf.coef_
    yield from _numbered(stub.items)
    for key, item in stub.pairs.items():
        yield key_text(key), item


def _state_children(whole: object) -> Iterator[tuple[str, object]]:
    """What BUILD was given: attributes, (attributes, slots), or whatever a class's own ``__getstate__`` made."""
    states: tuple[object, ...] = (whole,)
    if isinstance(whole, tuple) and len(whole) == 2 and all(part is None or isinstance(part, dict) for part in whole):
        states = whole
    for state in states:
        if isinstance(state, dict):
            yield from _attributes(state)
        elif isinstance(state, tuple):
            yield from _numbered(state)
        elif state is not None:
            yield "state", state


def _attributes(state: dict[object, object]) -> Iterator[tuple[str, object]]:
    is_module = "_modules" in state and "_parameters" in state
    if is_module:
        for part in MODULE_TENSORS:
            inner = state.get(part)
            if isinstance(inner, dict):
                yield from ((key_text(key), item) for key, item in inner.items() if item is not None)
    for key, item in state.items():
        name = key_text(key)
        if not (is_module and (name in MODULE_TENSORS or name in _MODULE_CACHES or _unused_hook(name, item))):
            yield name, item


def _unused_hook(name: str, value: object) -> bool:
    if name not in _MODULE_HOOKS:
        return False
    return value in (None, False) if not isinstance(value, (dict, PickledSet)) else not (
        value.items if isinstance(value, PickledSet) else value)  # fmt: skip


def key_text(key: object) -> str:
    """A dictionary key as part of a name."""
    if isinstance(key, str):
        return key
    if isinstance(key, bytes):
        return key.decode("utf-8", "backslashreplace")
    if isinstance(key, tuple):
        return ",".join(str(part) for part in key)
    if isinstance(key, OpaqueKey):
        return f"<{type(key.value).__name__}>"
    if isinstance(key, Stub):
        return described(key)
    return key.full if isinstance(key, Global) else str(key)


def attributes_of(value: object) -> dict[object, object]:
    """The dictionary that a value is, or that an object's state is; empty for anything else."""
    state = value.state if isinstance(value, Stub) else value
    return state if isinstance(state, dict) else {}


def named_steps(value: object) -> list[tuple[str, object]]:
    """The steps of a pipeline or meta-estimator by name: a list of (name, estimator), or (name, estimator, columns)."""
    if not isinstance(value, list) or not value:
        return []
    steps: list[tuple[str, object]] = []
    for item in value:
        if not isinstance(item, tuple) or len(item) not in (2, 3) or not isinstance(item[0], str):
            return []
        if not isinstance(item[1], Stub) and item[1] not in ("passthrough", "drop", None):
            return []
        steps.append((item[0], item[1]))
        steps += [(f"{item[0]}.columns", item[2])] if len(item) == 3 else []
    return steps if any(isinstance(item[1], Stub) for item in value) else []
