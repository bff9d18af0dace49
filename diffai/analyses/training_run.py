"""What is recorded of the training run behind one side: metrics, learning rates, epoch and step, hyper-parameters.

It is read from the training state and metadata of the checkpoint, and, where they were looked at, from the files
beside it (``trainer_state.json``, ``metrics.json``, ...). Nothing is worked out: what is not recorded is not there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from diffai.analyses.metric_directions import direction
from diffai.comparison.result import ModelDiff, Side
from diffai.frozen import frozen
from diffai.model import Scalar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from diffai.analyses.context import Context

    Split = Literal["validation", "test", "training"]
else:
    Split = str

NOT_RECORDED = "not recorded"

_VALIDATION = frozenset(("val", "valid", "validation", "eval", "evaluation", "dev"))
_TEST = frozenset(("test", "testing"))
_BEST = frozenset(("best", "max", "min"))
_MACHINERY = frozenset(("loops", "state", "param_groups", "scaler", "gradscaler", "compile", "fp32_from_fp16_params"))
"""Segments of paths below which numbers are the optimizer's or the loop's own, and no metric."""
_OPTIMIZER_KEYS: tuple[tuple[str, frozenset[str]], ...] = (
    ("Adafactor", frozenset(("relative_step", "clip_threshold"))),
    ("Adafactor", frozenset(("beta2_decay", "d"))),
    ("RMSprop", frozenset(("alpha", "centered"))),
    ("Adadelta", frozenset(("rho",))),
    ("Adagrad", frozenset(("lr_decay", "initial_accumulator_value"))),
    ("SGD", frozenset(("dampening", "nesterov"))),
    ("Adam", frozenset(("betas", "amsgrad"))),
    ("Lion or another with two betas", frozenset(("betas",))),
)
_SCHEDULER_KEYS = frozenset(
    ("last_epoch", "_step_count", "_last_lr", "base_lrs", "T_max", "step_size", "gamma", "milestones", "total_steps",
     "eta_min", "warmup_steps", "num_bad_epochs", "best", "patience", "factor", "T_0", "T_cur", "max_lr")
)  # fmt: skip
_CONFIGURATION = frozenset(
    ("hyper_parameters", "hyperparameters", "hparams", "args", "config", "cfg", "opt", "training_args", "params",
     "parameters")
)


@frozen
class Run:
    """What is recorded of one side.

    Attributes:
        metrics: the latest number of each metric by name, those of validation first, then of tests, of training, and
            last the best ones so far, which say less of this very version.
        series: lists of numbers (loss curves) by path.
        groups: the settings of each parameter group of the optimizer, in order (``lr``, ``weight_decay``, ...).
        optimizer: its family, by the settings of its groups (an estimate: older torch has the same for AdamW as for
            Adam); "" unknown.
        scheduler: the state of the learning-rate scheduler by key.
        hyperparameters: what the training was asked for, by path.
        epoch, step: how far it had come.
        sources: where this was read: ``checkpoint``, names of files beside it.
    """

    metrics: Mapping[str, float] = MappingProxyType({})
    series: Mapping[str, tuple[float, ...]] = MappingProxyType({})
    groups: tuple[Mapping[str, Scalar], ...] = ()
    optimizer: str = ""
    scheduler: Mapping[str, Scalar] = MappingProxyType({})
    hyperparameters: Mapping[str, Scalar] = MappingProxyType({})
    epoch: float | None = None
    step: float | None = None
    sources: tuple[str, ...] = ()

    @property
    def learning_rates(self) -> tuple[float | None, ...]:
        """The learning rate of each parameter group; of the whole run where only that is known."""
        found = tuple(_finite(group.get("lr", group.get("learning_rate"))) for group in self.groups)
        if any(rate is not None for rate in found):
            return found
        for key in ("lr", "learning_rate"):
            rate = _finite(self.hyperparameters.get(key))
            if rate is not None:
                return (rate,)
        return ()


Values = Iterable[tuple[str, Scalar]]
Series = Iterable[tuple[str, tuple[float, ...]]]


def run_of(side: Side, beside: Mapping[str, tuple[Values, Series]] = MappingProxyType({})) -> Run:
    """What is recorded of a side.

    Args:
        side: of a comparison.
        beside: values and curves by path, of files beside the model, by their names; see
            :mod:`diffai.analyses.training_files`.
    """
    work = _Reader()
    arguments = estimator_arguments(side)
    metadata = (row for row in side.metadata if row[0] not in arguments and _may_be_said(row))
    work.hyperparameters |= arguments
    if work.take((*side.recorded, *metadata), side.series) or arguments:
        work.sources.append("checkpoint")
    for name, (values, series) in beside.items():
        if work.take(values, series):
            work.sources.append(name)
    return work.run()


def runs(diff: ModelDiff, context: Context) -> tuple[Run, Run]:
    """What is recorded of both sides; of the files beside them too where the analysis was asked for."""
    beside: list[dict[str, tuple[Values, Series]]] = [{}, {}]
    if context.asked:
        from diffai.analyses.training_files import FILES, parse

        sides: tuple[Literal["old", "new"], ...] = ("old", "new")
        for found, which in zip(beside, sides, strict=True):
            for name in FILES:
                data = context.sibling(which, name)
                told = parse(name, data) if data is not None else None
                if told is not None:
                    found[name] = told.values, told.series
    return run_of(diff.old, beside[0]), run_of(diff.new, beside[1])


_ESTIMATOR = frozenset(("_sklearn_version", "n_estimators"))
"""What the state of an estimator holds: scikit-learn's own the version, those of boosting libraries their rounds."""
_XGBOOST = frozenset(("objective", "booster", "num_class", "num_target", "num_parallel_tree"))
"""What a saved booster of XGBoost keeps of what its training was asked for."""


def estimator_arguments(side: Side) -> dict[str, Scalar]:
    """What the estimators of one side were constructed with, by path, as its metadata has it.

    By the rule of scikit-learn's developers' guide an argument stands under its own name, what was fitted has a name
    that ends with ``_``, and what begins with one is private.
    """
    if side.format == "xgboost":
        return {key: value for key, value in side.metadata if key.split(".")[0] in _XGBOOST}
    if side.format not in ("joblib", "pickle", "skops"):
        return {}
    places = {key.removesuffix(mark) for key, _ in side.metadata for mark in _ESTIMATOR
              if key == mark or key.endswith(f".{mark}")}  # fmt: skip
    found: dict[str, Scalar] = {}
    for key, value in side.metadata:
        path = key.split(".")
        inside = not places.isdisjoint(".".join([*path[:depth], ""]) if depth else "" for depth in range(len(path)))
        if inside and path[0] != "trees" and not any(part.startswith("_") or part.endswith("_") for part in path):
            found[key] = value
    return found


_CONTAINERS = frozenset(("metrics", "metric", "results", "eval", "evaluation", "val", "validation", "test", "history"))
_NO_METRICS = frozenset(("error_score", "loss_weight"))


def _may_be_said(row: tuple[str, Scalar]) -> bool:
    """Whether an entry of the metadata may be of a training run.

    Whatever a format says of itself stands there, too: the parameters of a booster (``parameters.multi_error_top_k``),
    the settings of an estimator. So a number below a key is a metric only where that key says so.
    """
    path = row[0].split(".")
    if len(path) == 1:
        return row[0] not in _NO_METRICS
    return path[0] in _CONTAINERS or not _CONFIGURATION.isdisjoint(path[:-1])


class _Reader:
    """Sorts plain values into what they are; what was said first stays."""

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}
        self.series: dict[str, tuple[float, ...]] = {}
        self.groups: dict[str, dict[str, Scalar]] = {}
        self.scheduler: dict[str, Scalar] = {}
        self.hyperparameters: dict[str, Scalar] = {}
        self.progress: dict[str, float] = {}
        self.monitors: dict[str, str] = {}
        self.sources: list[str] = []

    def take(self, values: Values, series: Series) -> bool:
        """Take in what one source says; whether it said anything of a run."""
        before = self._size()
        rows = list(values)
        self.monitors |= {
            key.removesuffix("monitor"): str(value) for key, value in rows if key.endswith(".monitor") and value
        }
        for key, value in rows:
            self._value(key, value)
        for key, numbers in series:
            self._curve(key, numbers)
        return self._size() > before

    def _size(self) -> int:
        parts: tuple[Mapping[str, object], ...] = (
            self.metrics, self.series, self.groups, self.scheduler, self.hyperparameters, self.progress,
        )  # fmt: skip
        return sum(len(part) for part in parts)

    def _value(self, key: str, value: Scalar) -> None:
        path = key.split(".")
        if "param_groups" in path:
            self._setting(path, value)
            return
        number = _number(value)
        last = path[-1]
        if _CONFIGURATION.intersection(path[:-1]):
            self.hyperparameters.setdefault(".".join(path[1:]), value)
            return
        if len(path) > 1 and last in _SCHEDULER_KEYS and "sched" in ".".join(path[:-1]).lower():
            self.scheduler.setdefault(last, value)
            return
        if last in ("lr", "learning_rate") and len(path) == 1:
            self.hyperparameters.setdefault(last, value)
            return
        if number is None or not _MACHINERY.isdisjoint(path[:-1]):
            self._count_of_steps(path, number)
            return
        word = last.lower()
        if word in ("epoch", "current_epoch", "global_step", "step", "iteration", "iter", "steps", "num_updates"):
            if math.isfinite(number):
                self.progress.setdefault("epoch" if "epoch" in word else "step", number)
            return
        metric = self._metric(key, path)
        if metric:
            self.metrics.setdefault(metric, number)

    def _count_of_steps(self, path: list[str], number: float | None) -> None:
        """An optimizer's own count of the steps it took, where no other is recorded."""
        if number is not None and path[-3:] == ["state", "0", "step"]:
            self.progress.setdefault("optimizer step", number)

    def _setting(self, path: list[str], value: Scalar) -> None:
        """One setting of a parameter group: ``optimizer.param_groups.0.lr``."""
        place = path.index("param_groups")
        if len(path) == place + 3 and path[-1] != "params":
            self.groups.setdefault(".".join(path[: place + 2]), {}).setdefault(path[-1], value)

    def _metric(self, key: str, path: list[str]) -> str:
        """The name of a metric that a path stands for; "" where it is none."""
        before = key[: len(key) - len(path[-1])]
        if before in self.monitors:  # the callbacks of Lightning keep the score of what they watch
            scores = {"current_score": "", "best_model_score": "best "}
            return scores[path[-1]] + self.monitors[before] if path[-1] in scores else ""
        if path[0] == "metrics":  # a file, or a dictionary, of metrics alone
            return key.removeprefix("metrics.")
        if path[-1] in ("best_metric", "metric", "score", "best_score"):
            return key
        return key if direction(key) and not key.endswith(("_weight", "_fn", "_scale")) else ""

    def _curve(self, key: str, numbers: tuple[float, ...]) -> None:
        """A list of numbers; the last of it is the latest value of its metric."""
        path = key.split(".")
        if not _MACHINERY.isdisjoint(path[:-1]) or not numbers:
            return
        if path[-1] in _SCHEDULER_KEYS:
            self.scheduler.setdefault(path[-1], f"[{', '.join(f'{number:g}' for number in numbers[:8])}]")
            return
        metric = self._metric(key, path)
        if metric:
            self.series.setdefault(metric, numbers)
            self.metrics.setdefault(metric, numbers[-1])

    def run(self) -> Run:
        """All of it."""
        order = sorted(self.metrics, key=_rank)
        groups = tuple(self.groups[key] for key in sorted(self.groups, key=_place))
        return Run(
            {name: self.metrics[name] for name in order}, self.series, groups, _optimizer(groups), self.scheduler,
            self.hyperparameters, self.progress.get("epoch"),
            self.progress.get("step", self.progress.get("optimizer step")), tuple(self.sources),
        )  # fmt: skip


_RANKS: dict[Split, int] = {"validation": 0, "test": 1, "training": 2}


def _rank(name: str) -> tuple[bool, int, bool]:
    """The order of metrics: this version's own first, by the data they were measured on, losses first."""
    return is_best(name), _RANKS[split_of(name)], "loss" not in name.lower()


def split_of(metric: str) -> Split:
    """The data that a metric was measured on, by its name; training where it does not say."""
    words = _words(metric)
    if not _VALIDATION.isdisjoint(words):
        return "validation"
    return "test" if not _TEST.isdisjoint(words) else "training"


def is_best(metric: str) -> bool:
    """Whether a metric is the best so far, which may be another version's."""
    return not _BEST.isdisjoint(_words(metric))


def _words(name: str) -> set[str]:
    import re

    return set(re.split(r"[^a-z0-9]+", name.lower()))


def _place(key: str) -> tuple[str, int]:
    head, _, number = key.rpartition(".")
    return head, int(number) if number.isdigit() else 0


def _optimizer(groups: tuple[Mapping[str, Scalar], ...]) -> str:
    if any(group.get("decoupled_weight_decay") is True for group in groups):
        return "AdamW"
    keys = frozenset(key for group in groups for key in group)
    return next((name for name, wanted in _OPTIMIZER_KEYS if wanted <= keys), "")


def _finite(value: Scalar) -> float | None:
    number = _number(value)
    return number if number is not None and math.isfinite(number) else None


def _number(value: Scalar) -> float | None:
    """A plain number, or text that is one, as the metadata of safetensors is."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number
