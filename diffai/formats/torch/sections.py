"""Which parts of a checkpoint are weights, which are training state, and which prefix a name keeps.

Rules, in order: an object that is no dictionary is one section; a dictionary with tensors of its own and no
container of them is a state dict; else every key is a section, and the one main container of weights loses its
prefix, so that a training checkpoint compares by name with a bare export of its weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from diffai.formats.torch.objects import Array, Recast, Storage, Stub, Tensor
from diffai.model import Problem

Role = Literal["weight", "training"]

MODULE_TENSORS = ("_parameters", "_buffers", "_modules")
MODULE_INTERNALS = frozenset(
    ("_non_persistent_buffers_set", "_backward_pre_hooks", "_backward_hooks", "_is_full_backward_hook",
     "_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks",
     "_forward_pre_hooks_with_kwargs", "_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks",
     "_load_state_dict_post_hooks", "_backend", "_flat_weights", "_flat_weight_refs",
     "_flat_weights_names", "_all_weights")
)  # fmt: skip

TENSOR_INTERNALS = ("persistent", "_is_buffer", "_is_param")  # what torch itself writes on a Buffer or Parameter

# Keys under which programs keep the weights; the first word of the checkpoint dialects that are met in the wild.
MAIN = ("state_dict", "model_state_dict", "model", "model_state", "net", "network", "module", "weights", "params",
        "model_weights", "state_dict_model", "net_state_dict", "params_ema", "ema", "state_dict_ema", "model_ema",
        "ema_state_dict")  # fmt: skip
_AVERAGED = frozenset(("params_ema", "ema", "state_dict_ema", "model_ema", "ema_state_dict"))
_TRAINING_PARTS = ("optim", "sched", "scaler", "rng", "callback", "loops", "hyper_param", "hparams", "history",
                   "metric", "random_state", "amp", "loss_scale")  # fmt: skip
_TRAINING_KEYS = frozenset(
    ("epoch", "step", "global_step", "iteration", "iter", "iters", "loss", "best_loss", "val_loss", "train_loss",
     "best_acc", "best_acc1", "best_prec1", "acc", "lr", "best_fitness", "updates", "random", "seed", "args",
     "config", "cfg", "opt")
)  # fmt: skip
MAX_METADATA = 4096


class Section(NamedTuple):
    """A value to walk, the name its tensors' names start with ("" = none), and their role."""

    name: str
    value: object
    role: Role


def sections_of(value: object, holds_tensors: Callable[[object], bool], problems: list[Problem]) -> list[Section]:
    """Split the top object. ``problems`` gets a line when a prefix had to stay."""
    if not isinstance(value, dict) or ("param_groups" in value and "state" in value):
        role: Role = "training" if isinstance(value, dict) else "weight"
        return [Section("", value, role)]
    if not all(isinstance(key, str) for key in value):
        return [Section("", value, "weight")]
    containers = [str(key) for key, item in value.items() if _is_container(item) and holds_tensors(item)]
    models = [key for key in containers if not _is_training(key)]
    main = _main(models)
    if main and _collides(value, main):
        message = f"names in {main!r} also stand beside it; the prefix {main!r} stays"
        problems.append(Problem("PT23", "warning", message))
        main = ""
    sections = []
    for key, item in value.items():
        name = str(key)
        training = _is_training(name) if name in containers else bool(models) and _is_training_leaf(name, item)
        sections.append(Section("" if name == main else name, item, "training" if training else "weight"))
    return sections


def _is_container(value: object) -> bool:
    return isinstance(value, (dict, list, tuple, Stub))


def _is_training(key: str) -> bool:
    low = key.lower()
    return low in _TRAINING_KEYS or any(part in low for part in _TRAINING_PARTS)


def _is_training_leaf(key: str, value: object) -> bool:
    return not isinstance(value, (Tensor, Array, Recast, Storage)) or _is_training(key)


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
