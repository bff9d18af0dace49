"""Which parts of a checkpoint are weights, which are training state, and which prefix a name keeps.

Rules, in order: an object that is no dictionary is one section; a dictionary with tensors of its own and no
container of them is a state dict; else every key is a section, and the one main container of weights loses its
prefix, so that a training checkpoint compares by name with a bare export of its weights.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from diffai.formats.torch.graph import Graph
from diffai.formats.torch.objects import Stub
from diffai.formats.torch.training_state import (
    is_configuration_key,
    is_generator_state,
    is_progress_key,
    is_single_number,
    is_state_key,
    proves_training,
)
from diffai.model import Problem

Role = Literal["weight", "training", "said", "configuration"]
"""``training``: structure proves it; ``said``: a key says so, which a weight's name inside outweighs."""

# Keys under which programs keep the weights; the first word of the checkpoint dialects that are met in the wild.
MAIN = ("state_dict", "model_state_dict", "model", "model_state", "net", "network", "module", "weights", "params",
        "model_weights", "state_dict_model", "net_state_dict", "params_ema", "ema", "state_dict_ema", "model_ema",
        "ema_state_dict")  # fmt: skip
_AVERAGED = frozenset(("params_ema", "ema", "state_dict_ema", "model_ema", "ema_state_dict"))


class Section(NamedTuple):
    """A value to walk, the name its tensors' names start with ("" = none), and their role."""

    name: str
    value: object
    role: Role


def sections_of(value: object, graph: Graph, problems: list[Problem]) -> list[Section]:
    """Split the top object. ``problems`` gets a line when a prefix had to stay."""
    if not isinstance(value, dict) or proves_training(value):
        return [Section("", value, "training" if isinstance(value, dict) else "weight")]
    if not value or not all(isinstance(key, str) for key in value):
        return [Section("", value, "weight")]
    containers = {str(key) for key, item in value.items() if _is_container(item) and graph.holds_tensors(item)}
    roles = {str(key): _role(str(key), item) for key, item in value.items() if key in containers}
    models = [key for key, role in roles.items() if role == "weight"]
    main = _main(models)
    if main and _collides(value, main):
        message = f"names in {main!r} also stand beside it; the prefix {main!r} stays"
        problems.append(Problem("PT23", "warning", message))
        main = ""
    sections = []
    for key, item in value.items():
        name = str(key)
        role = roles[name] if name in roles else _role_beside(name, item, graph, beside_models=bool(models))
        sections.append(Section("" if name == main else name, item, role))
    return sections


def _is_container(value: object) -> bool:
    return isinstance(value, (dict, list, tuple, Stub))


def _role(key: str, value: object) -> Role:
    """The role of a container of tensors."""
    if proves_training(value) or (isinstance(value, list) and value and all(map(proves_training, value))):
        return "training"
    if is_configuration_key(key):
        return "configuration"
    return "said" if is_state_key(key) else "weight"


def _role_beside(key: str, value: object, graph: Graph, *, beside_models: bool) -> Role:
    """The role of a plain value, or of a single tensor, at the top of a file."""
    if graph.kind(value) == "tensor":
        lone = is_generator_state(key, value) or (
            beside_models and (is_state_key(key) or (is_progress_key(key) and is_single_number(value))))  # fmt: skip
        return "training" if lone else "weight"
    if proves_training(value) or is_progress_key(key):
        return "training"
    return "configuration" if is_configuration_key(key) or beside_models else "weight"


def _main(models: list[str]) -> str:
    """The one container of weights that loses its prefix; "" when there is none or several could be it."""
    known = [key for key in models if key in MAIN]
    plain = [key for key in known if key not in _AVERAGED]
    if len(plain) == 1 and all(key in MAIN for key in models):
        return plain[0]
    return known[0] if len(known) == 1 and len(models) == 1 else ""


def _collides(value: dict[object, object], main: str) -> bool:
    """Whether a name inside the main container also stands beside it, or starts with a name that does."""
    inner = value[main]
    names = {str(key).partition(".")[0] for key in inner} if isinstance(inner, dict) else set()
    return any(key != main and key in names for key in value)
