"""XGBoost models in JSON and UBJSON (the old binary form is recognised, not read).

Schema: https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html.

==== ======================================================================================================
code reason
==== ======================================================================================================
XB01 no JSON or UBJSON, or it breaks off
XB02 a part of a model that is missing, or of another kind
XB03 the arrays of a tree do not fit one another
XB04 a tree whose nodes do not exist, or lead in a circle
XB05 longer than ``diffai.maxHeader``
==== ======================================================================================================
"""

from __future__ import annotations

import re
from functools import partial

from diffai.errors import FormatError, LimitError
from diffai.formats.base import Limits
from diffai.formats.boosting.documents import Json, Ubjson
from diffai.formats.boosting.trees import BoostingCheckpoint, Forest
from diffai.formats.stored import reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    import numpy as np

    from diffai.model import Role

    Numbers = np.ndarray[Any, np.dtype[Any]]

NAME = "xgboost"
_IN_UBJSON = re.compile(rb"\{[iUIlL]\0*[\x01-\x7f][A-Za-z_]")
_UBJSON = re.compile(rb"\{[iUIlL]\0*\x07(learner|version)")
_JSON = re.compile(
    rb'\s*\{\s*("version"\s*:\s*\[[\d\s,]*\]\s*,\s*)?"learner"\s*:\s*\{\s*'
    rb'"(attributes|feature_names|feature_types|gradient_booster|learner_model_param|objective)"'
)


def recognise(head: bytes, size: int, name: str) -> bool:
    """Whether content is a model of XGBoost: its outermost key, in JSON or UBJSON."""
    return bool(_UBJSON.match(head) or _JSON.match(head))


def _wrong(reason: str, code: str = "XB02", where: str = "") -> FormatError:
    return FormatError(reason, code=code, tensor=where, format=NAME)


def fill(checkpoint: BoostingCheckpoint, limits: Limits) -> None:
    """Fill a checkpoint from its source: a file, or what a pickle of the library keeps, with its settings beside.

    Raises:
        FormatError: see the table of the module.

    """
    source = checkpoint.source
    if source.size > limits.max_header:
        reason = f"is {source.size:,} bytes long (diffai.maxHeader lifts the limit of {limits.max_header:,})"
        raise LimitError(reason, code="XB05", format=NAME)
    data = source.read(0, source.size)
    forest = Forest(checkpoint)

    def each(number: int, tree: object) -> None:
        try:
            _tree(forest, number, _part(tree, "", dict), f"trees.{number}")
        except (ValueError, OverflowError, TypeError) as error:
            raise _wrong(f"has a value of another kind ({str(error)[:100]})", where=f"trees.{number}") from error

    parser = (Ubjson if _IN_UBJSON.match(data) else Json)(data, checkpoint.budget, each)
    try:
        document = parser.parse()
    except UnicodeDecodeError as error:
        raise FormatError("is no UTF-8", code="XB01", format=NAME) from error
    try:
        whole = _part(document, "", dict)
        _fill(checkpoint, whole["Model"] if isinstance(whole.get("Model"), dict) else whole, forest)
        if "Config" in whole:
            checkpoint.note("config", _plain(whole["Config"]))
    except (ValueError, OverflowError, TypeError) as error:
        raise _wrong(f"has a value of another kind ({str(error)[:100]})") from error


def _part(value: object, name: str, kind: type) -> Any:
    """What has to be there, of a kind."""
    found = value.get(name) if name and isinstance(value, dict) else value
    if not isinstance(found, kind):
        raise _wrong(f"has no {name or 'object'}" if found is None else f"has a {name or 'document'} of another kind")
    return found


def _fill(checkpoint: BoostingCheckpoint, document: dict[str, Any], forest: Forest) -> None:
    learner = _part(document, "learner", dict)
    booster = _part(learner, "gradient_booster", dict)
    names = [str(name) for name in learner.get("feature_names", ())]
    checkpoint.features(names, [str(kind) for kind in learner.get("feature_types", ())])
    checkpoint.note("booster", str(booster.get("name")))
    for key, value in learner.get("learner_model_param", {}).items():
        checkpoint.note(key, _score(value) if key == "base_score" else _number(value))
    for key in ("attributes", "objective"):
        checkpoint.note("" if key == "objective" else key, _named(learner.get(key, {}), key))
    checkpoint.note("version", document.get("version"))
    if "weight_drop" in booster:
        checkpoint.add("weight_drop", booster["weight_drop"].astype("f4"))
    inner = booster.get("gbtree", booster)
    model = _part(inner, "model", dict)
    for key, value in model.items():
        if key == "weights":
            checkpoint.add("weights", value.astype("f4"))
        elif key not in ("trees", "tree_info"):
            checkpoint.note("" if key == "gbtree_model_param" else key, _plain(value))
    if "trees" in model:
        import numpy as np

        _part(model, "trees", int)  # how many were taken as they came
        info = model.get("tree_info")
        if isinstance(info, np.ndarray) and info.any():  # which class or output each is for; mostly all are for one
            checkpoint.add("tree_info", info.astype("i4"), "index")
        forest.finish(names)


def _named(value: object, key: str) -> object:
    """The objective's name under its own name, its parameters beside it."""
    if key != "objective" or not isinstance(value, dict):
        return value
    return {"objective" if inner == "name" else f"objective.{inner}": _plain(item) for inner, item in value.items()}


def _plain(value: object) -> object:
    """Numbers that stand as text, as numbers."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return _number(value)


def _number(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,18}", value):
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d*)?([eE][+-]?\d+)?", value):
        return float(value)
    return value


def _score(value: object) -> object:
    """``5E-1`` of older versions and ``[5E-1]`` of newer ones are one number."""
    one = isinstance(value, str) and value.startswith("[") and value.endswith("]") and "," not in value
    return _number(str(value)[1:-1] if one else value)


def _tree(forest: Forest, number: int, tree: dict[str, Any], where: str) -> None:
    import numpy as np

    def numbers(key: str, kind: str, count: int = -1) -> Numbers:
        values = tree.get(key)
        if isinstance(values, list) and not values:
            values = np.empty(0, kind)
        if not isinstance(values, np.ndarray):
            raise _wrong(f"has no {key}", where=where)
        if count >= 0 and len(values) != count:
            raise _wrong(f"has {len(values):,} {key} for {count:,} nodes", "XB03", where)
        return values.astype(kind)

    left = numbers("left_children", "i4")
    count = len(left)
    right, features = numbers("right_children", "i4", count), numbers("split_indices", "i4", count)
    conditions, default = numbers("split_conditions", "f4", count), numbers("default_left", "u1", count)
    kinds = numbers("split_type", "u1", count) if "split_type" in tree else np.zeros(count, "u1")
    inner = left >= 0
    tensors: dict[str, tuple[Role, Numbers]] = {
        "thresholds": ("weight", conditions[inner]), "leaf_values": ("weight", conditions[~inner]),
        "features": ("index", features[inner]), "children": ("index", np.stack([left, right], 1)),
        "default_left": ("index", default[inner]),
    }  # fmt: skip
    if kinds.any():
        tensors["split_types"] = ("index", kinds[inner])
        for key in ("categories", "categories_nodes", "categories_segments", "categories_sizes"):
            tensors[key] = ("index", numbers(key, "i4"))
    vector = int(tree.get("tree_param", {}).get("size_leaf_vector", 1) or 1)
    weights = numbers("base_weights", "f4") if "base_weights" in tree else np.empty(0, "f4")
    if vector > 1 and "leaf_weights" in tree:  # in the order of the numbers that leaves have as right child
        tensors["leaf_values"] = ("weight", numbers("leaf_weights", "f4").reshape(-1, vector))
    elif vector > 1:
        tensors["leaf_values"] = ("weight", weights.reshape(count, -1)[~inner])
    tensors["node_weights"] = ("training", weights)
    gains = numbers("loss_changes", "f4") if "loss_changes" in tree else np.zeros(count, "f4")
    tensors["gains"], tensors["hessians"] = ("training", gains), ("training", numbers("sum_hessian", "f4"))
    forest.add(number, tensors)
    forest.count(left.tolist(), np.where(inner, right, -1).tolist(), where, "XB04")
    forest.use(features[inner].tolist(), gains[inner].tolist() if len(gains) == count else [0.0] * int(inner.sum()))


open_checkpoint, check = reader(partial(BoostingCheckpoint, NAME), fill, "XB02")
