"""What Keras puts into an HDF5 file: names of layers and weights, the model's configuration, optimizer state.

Keras 1 and 2 (``.h5``): a group a layer with an attribute ``weight_names``; a whole model has them under
``model_weights`` beside ``model_config`` and ``optimizer_weights``. Keras 3 (``.weights.h5``): ``layers/NAME/vars/0``
and ``optimizer/vars/0``; the file alone has no human names, so its paths stay.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from diffai.formats.digests import shown_digest
from diffai.formats.hdf5.groups import Value
from diffai.model import Problem, Scalar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    Role = Literal["weight", "training"]

_MOST_CONFIG = 64 << 20
_MOST_LAYERS = 100_000
_MOST_VALUES = 200_000
_DEPTH = 40


class Layout:
    """How paths become names, and what the configuration says of layers."""

    def __init__(self) -> None:
        self.is_keras = False
        self.top: tuple[str, ...] = ()
        self.classes: dict[str, str] = {}
        self.values: dict[str, Scalar] = {}
        self.training: dict[str, Scalar] = {}
        self.problems: list[Problem] = []
        self._human: dict[tuple[str, ...], str] = {}
        self._said: set[str] = set()  # configurations that are said part by part

    @classmethod
    def of(cls, attributes: Mapping[tuple[str, ...], Mapping[str, Value]], config: object = None) -> Layout:
        """The layout of a file whose groups have these attributes; ``config`` is a configuration beside it."""
        layout = cls()
        for top in ((), ("model_weights",)):
            if "layer_names" in attributes.get(top, {}) or "layer_names0" in attributes.get(top, {}):
                layout.is_keras, layout.top = True, top
        own, compiled = (_parsed(attributes.get((), {}).get(f"{key}_config")) for key in ("model", "training"))
        layout.configure(own if config is None else config)
        flatten(compiled, "compile", layout.training)
        layout._said = {
            key for key, said in (("model_config", own), ("training_config", compiled))
            if isinstance(said, dict) and (key == "training_config" or "class_name" in said)
        }  # fmt: skip
        return layout

    def configure(self, config: object) -> None:
        """Classes of layers and their plain values, out of a model's configuration."""
        for name, layer in layers_of(config):
            self.classes[name] = str(layer.get("class_name"))
            flatten(_alone(layer.get("config")), name, self.values)
            flatten(layer.get("inbound_nodes"), f"{name}.inbound_nodes", self.values)
            if holds_code(layer):
                message = f"layer {name} is a Lambda with Python byte code (never run)"
                self.problems.append(Problem("HD11", "error", message))
        if isinstance(config, dict) and "class_name" in config:
            self.classes["model"] = str(config.get("class_name"))
            whole = config.get("config")
            if isinstance(whole, dict):  # what goes in and comes out; a name that only counts models says nothing
                counted = re.fullmatch(r"(model|sequential|functional)(_\d+)?", str(whole.get("name")))
                said = {key: value for key, value in whole.items() if key != "name" or not counted}
                flatten(_alone(said), "model", self.values)
            flatten(config.get("compile_config"), "compile", self.training)
            self._name_layers(config, (), "", 0)

    def _name_layers(self, model: Mapping[str, Any], path: tuple[str, ...], prefix: str, depth: int) -> None:
        """Keras 3 calls the second ``Dense`` of a container ``dense_1``: what the configuration calls it is better."""
        counts: dict[str, int] = {}
        for row in _rows(model):
            snake = _snake(str(row.get("class_name")))
            number = counts.get(snake, 0)
            counts[snake] = number + 1
            here = (*path, "layers", f"{snake}_{number}" if number else snake)
            human = f"{prefix}{_name(row)}"
            self._human[here] = human
            if depth < 16:
                self._name_layers(row, here, f"{human}.", depth + 1)

    def name_of(self, path: tuple[str, ...]) -> tuple[str, Role]:
        """A tensor's name and role."""
        if path[0] in ("optimizer_weights", "optimizer"):
            return ".".join(path), "training"
        for size in range(len(path) - 1, 1, -1):
            human = self._human.get(path[:size])
            if human is not None:
                return ".".join((human, *path[size:])), "weight"
        if not self.is_keras or path[: len(self.top)] != self.top:
            return ".".join(path), "weight"
        rest = list(path[len(self.top) :])
        if rest[0] in rest[1:-1]:  # the layer's name stands in its weights' names too
            del rest[: len(rest) - 2 - rest[-2::-1].index(rest[0])]
        return ".".join(rest).removesuffix(":0"), "weight"

    def is_said(self, path: tuple[str, ...]) -> bool:
        """Whether a path is that of a layer, or of a part of one, which the configuration says."""
        if any(path[:size] in self._human for size in range(2, len(path) + 1)):
            return True
        rest = path[len(self.top) :] if self.is_keras and path[: len(self.top)] == self.top else ()
        return bool(rest) and rest[0] in self.classes

    def hides(self, path: tuple[str, ...], key: str) -> bool:
        """Whether an attribute says nothing that names, classes and values do not."""
        if self._human and path[-1:] == ("vars",) and key == "name":
            return True
        return key.rstrip("0123456789") in ("layer_names", "weight_names") or (not path and key in self._said)


def _alone(config: object) -> object:
    """A configuration without the layers inside, which are said by their own names."""
    return {key: value for key, value in config.items() if key != "layers"} if isinstance(config, dict) else config


def _parsed(text: object) -> object:
    """JSON of a configuration; None where it is none."""
    if not isinstance(text, str) or len(text) > _MOST_CONFIG:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def flatten(value: object, path: str, into: dict[str, Scalar], depth: int = 0) -> None:
    """Plain values of a configuration by dotted path. Numbers that only this run of Python knew are left out."""
    if len(into) >= _MOST_VALUES or depth > _DEPTH:
        into[path] = "... not listed"
        return
    if isinstance(value, dict):
        for key, item in value.items():
            if key != "shared_object_id":
                flatten(item, f"{path}.{key}" if path else str(key), into, depth + 1)
    elif isinstance(value, list):
        if all(not isinstance(item, (dict, list)) for item in value) and len(value) <= 16:
            if value:
                into[path] = str(value)
        else:
            for number, item in enumerate(value):
                flatten(item, f"{path}.{number}", into, depth + 1)
    elif isinstance(value, str):
        into[path] = value if len(value) <= 400 else f"{value[:60]}... {len(value):,} characters, {shown_digest(value)}"
    elif isinstance(value, (int, float)):
        into[path] = value


def _snake(name: str) -> str:
    """``BatchNormalization`` as ``batch_normalization``, the way Keras spells it."""
    name = re.sub(r"\W+", "", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)).lower()


def _rows(model: object) -> list[dict[str, Any]]:
    """The layers of a model's configuration."""
    inner = model.get("config") if isinstance(model, dict) else None
    rows = inner.get("layers") if isinstance(inner, dict) else inner
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _name(row: Mapping[str, Any]) -> str:
    own = row.get("config")
    return str(row.get("name") or (own.get("name") if isinstance(own, dict) else None))


def layers_of(config: object) -> list[tuple[str, dict[str, Any]]]:
    """(name, layer) of every layer of a configuration, nested models included (``outer.inner``)."""
    found: list[tuple[str, dict[str, Any]]] = []
    pending: list[tuple[str, object]] = [("", config)]
    while pending and len(found) < _MOST_LAYERS:
        prefix, here = pending.pop()
        rows = _rows(here)
        found += [(f"{prefix}{_name(row)}", row) for row in rows]
        pending += [(f"{prefix}{_name(row)}.", row) for row in reversed(rows)]
    return found


def holds_code(layer: Mapping[str, Any]) -> bool:
    """Whether a layer is a Lambda whose function is marshalled byte code."""
    config = layer.get("config")
    if layer.get("class_name") != "Lambda" or not isinstance(config, dict):
        return False
    function = config.get("function")
    marked = isinstance(function, dict) and function.get("class_name") == "__lambda__"
    return config.get("function_type") == "lambda" or marked or isinstance(function, list)
