"""Files beside a model that say how its training went: what the trainers of Hugging Face, Lightning and DVC write."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from diffai.frozen import frozen
from diffai.model import Scalar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Kind = Literal["metrics", "log", "configuration"]
else:
    Kind = str

LARGEST = 16 << 20
"""Bytes of a file beside a model beyond which it is not read; a long ``trainer_state.json`` has a few megabytes."""
MOST_VALUES = 100_000

FILES: Mapping[str, Kind] = {
    "trainer_state.json": "log",
    "metrics.json": "metrics",
    "all_results.json": "metrics",
    "eval_results.json": "metrics",
    "train_results.json": "metrics",
    "results.json": "metrics",
    "training_args.json": "configuration",
    "hparams.json": "configuration",
    "hparams.yaml": "configuration",
    "params.yaml": "configuration",
    "config.json": "configuration",
    "adapter_config.json": "configuration",
}
"""What each file of ``RUN_FILES`` (see the table of analyses) holds, in their order: what is said first counts."""


@frozen
class RunFile:
    """Plain values and lists of numbers of one file, by dotted path."""

    values: tuple[tuple[str, Scalar], ...] = ()
    series: tuple[tuple[str, tuple[float, ...]], ...] = ()

DEEPEST = 32
"""Levels of a file that are looked into."""


def parse(name: str, data: bytes) -> RunFile | None:
    """What a file of :data:`FILES` says; None where it is damaged, or nothing of the kind.

    A list of records, each of one step (``log_history`` of a ``trainer_state.json``), becomes a curve a key, whose
    last number is the latest.
    """
    kind = FILES[name]
    told = _loaded(name, data)
    if not isinstance(told, dict):
        return None
    values: dict[str, Scalar] = {}
    curves: dict[str, list[float]] = {}
    prefix = {"metrics": "metrics.", "log": "", "configuration": "config."}[kind]
    history = told.pop("log_history", None) if kind == "log" else None
    for record in history if isinstance(history, list) else ():
        for key, value in record.items() if isinstance(record, dict) else ():
            if _is_number(value) and key not in ("epoch", "step"):
                curves.setdefault(str(key), []).append(float(value))
    for count, (path, value) in enumerate(_flat(prefix, told)):
        if count >= MOST_VALUES:
            return None
        values[path] = value
    rate = curves.get("learning_rate")
    if rate:
        values["learning_rate"] = rate[-1]
    return RunFile(tuple(values.items()), tuple((key, tuple(numbers)) for key, numbers in curves.items()))


def _loaded(name: str, data: bytes) -> object:
    """The object in it; None where it cannot be read. NaN is a number here, as these programs write it."""
    import json

    try:
        text = data.decode("utf-8-sig")
        if name.endswith(".json"):
            return json.loads(text)
        import yaml

        if any(mark in text for mark in ("&", "*", "!")):  # neither anchors, which may grow without bound, nor tags
            return None
        return yaml.safe_load(text)
    except (ValueError, RecursionError):
        return None
    except Exception as error:
        if type(error).__module__.partition(".")[0] == "yaml":
            return None
        raise


def _flat(prefix: str, value: object) -> Iterator[tuple[str, Scalar]]:
    """Plain values by path, without recursion; nothing below :data:`DEEPEST` levels, where no record is."""
    pending: list[tuple[str, object]] = [(prefix, value)]
    while pending:
        path, item = pending.pop()
        if isinstance(item, dict):
            if path.count(".") >= DEEPEST:
                continue
            pending.extend((f"{path}{key}." , part) for key, part in reversed(item.items()))
        elif isinstance(item, list):
            if all(part is None or isinstance(part, str | int | float) for part in item) and len(item) <= 64:
                yield path.removesuffix("."), repr(item)
        elif item is None or isinstance(item, str | int | float):
            yield path.removesuffix("."), item


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and (
        not isinstance(value, int) or abs(value) < 1 << 1023
    ) and not (isinstance(value, float) and math.isinf(value))
