"""What is training state and what is a weight: structure proves it, or a key that as a whole says so.

A key decides only as a whole, word by word (``optimizer_states``, ``lr_scheduler``; never a part of a word, so
``upsampler`` is a module), and a tensor inside that has a weight's name and shape stays a weight: an EMA copy kept by a
callback, a module that somebody called ``history``.
"""

from __future__ import annotations

import re

from diffai.formats.torch.graph import attributes_of
from diffai.formats.torch.objects import Storage, Tensor

# Words that say what is kept, and words that may stand beside them.
_STATE = frozenset(
    ("optim", "optims", "optimizer", "optimizers", "optimiser", "optimisers", "sched", "scheduler", "schedulers",
     "lrs", "scaler", "scalers", "gradscaler", "amp", "rng", "callback", "callbacks", "loops", "history", "metric",
     "metrics", "loss", "losses", "lr", "random")
)  # fmt: skip
_PROGRESS = frozenset(
    ("epoch", "epochs", "step", "steps", "iteration", "iterations", "iter", "iters", "it", "acc", "acc1", "acc5",
     "prec1", "accuracy", "fitness", "score", "scores", "updates", "seed", "seeds", "patience", "perplexity", "ppl",
     "psnr", "ssim", "bleu", "map", "miou", "iou", "f1", "auc", "wer", "cer", "fid", "mse", "mae", "rmse", "err",
     "error", "batch", "batches", "samples", "tokens", "time", "timestamp", "date", "counter", "reward", "scale")
)  # fmt: skip
_BESIDE = frozenset(
    ("state", "states", "dict", "dicts", "best", "last", "current", "start", "next", "global", "total", "num", "n",
     "train", "training", "trained", "val", "valid", "validation", "test", "eval", "dev", "g", "d", "gen", "disc",
     "gan", "grad", "cpu", "cuda", "gpu", "mps", "xpu", "torch", "numpy", "np", "python", "avg", "average", "mean",
     "min", "max", "running", "base", "native", "scaling", "and", "of", "seen", "model", "net", "the", "e", "ema",
     "top1", "top5", "at")
)  # fmt: skip
_CONFIGURATION = frozenset(
    ("hyper_parameters", "hyperparameters", "hparams", "datamodule_hyper_parameters", "args", "config", "cfg", "opt",
     "options", "settings")
)  # fmt: skip
_SPLIT = re.compile(r"[^a-z0-9]+|(?<=[a-z])(?=[0-9]+$)")

_WEIGHT_NAME = re.compile(
    r"(weight|bias)(_(ih|hh)_l\d+(_reverse)?|_[gv])?|in_proj_(weight|bias)|running_(mean|var)|kernel|embedding|gamma|beta"
)
_SCHEDULER = (("last_epoch", "base_lrs"), ("last_epoch", "_last_lr"), ("last_epoch", "_step_count"),
              ("num_bad_epochs", "patience"))  # fmt: skip
_RNG_BYTES = 5056  # of torch's generator on the CPU
_RNG_DEVICE_BYTES = (16, 24, 816)  # on CUDA (Philox; the older XORWOW), with a key that says so


def is_state_key(key: str) -> bool:
    """Whether a key as a whole names training state that can hold tensors (``optimizer_states``, ``rng_state``)."""
    return _made_of(key, _STATE)


def is_progress_key(key: str) -> bool:
    """Whether a key as a whole names training state that is a number or text (``best_val_loss``, ``global_step``)."""
    return _made_of(key, _STATE | _PROGRESS)


def is_configuration_key(key: str) -> bool:
    """Whether a key holds what a training was asked for: plain values, which are the file's metadata."""
    return key.lower() in _CONFIGURATION


def _made_of(key: str, wanted: frozenset[str]) -> bool:
    words = [word for word in _SPLIT.split(key.lower()) if word and not word.isdigit()]
    return any(word in wanted for word in words) and all(word in wanted or word in _BESIDE for word in words)


def proves_training(value: object) -> bool:
    """Whether the structure is that of an optimizer's, a scheduler's or a loss scaler's state."""
    state = attributes_of(value)
    if "param_groups" in state and "state" in state:
        return True
    if "growth_factor" in state and "backoff_factor" in state:
        return True
    return any(first in state and second in state for first, second in _SCHEDULER)


def holds_a_weight(value: object) -> bool:
    """Whether a dictionary's own tensors include one with a weight's name and shape."""
    if not isinstance(value, dict):
        return False
    return any(
        isinstance(item, Tensor) and isinstance(key, str) and item.shape
        and _WEIGHT_NAME.fullmatch(key.rpartition(".")[2])
        for key, item in value.items()
    )  # fmt: skip


def is_generator_state(name: str, value: object) -> bool:
    """Whether a tensor is the state of a random number generator: bytes of a known number."""
    if not isinstance(value, Tensor) or not isinstance(value.storage, Storage) or value.storage.dtype.name != "U8":
        return False
    if not isinstance(value.shape, tuple) or len(value.shape) != 1:
        return False
    size = value.shape[0]
    return size == _RNG_BYTES or (size in _RNG_DEVICE_BYTES and any(map(_says_random, name.split("."))))


def _says_random(part: str) -> bool:
    return not {"rng", "seed", "random"}.isdisjoint(_SPLIT.split(part.lower()))


def is_single_number(value: object) -> bool:
    """Whether a tensor holds one element: a loss, a counter."""
    return isinstance(value, Tensor) and isinstance(value.shape, (tuple, list)) and all(s == 1 for s in value.shape)
