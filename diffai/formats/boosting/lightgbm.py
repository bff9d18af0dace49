"""LightGBM models, which are text: ``model.txt`` as ``save_model`` writes it, of versions 2 to 4.

==== ======================================================================================================
code reason
==== ======================================================================================================
LG01 the first line is not ``tree``, or the text is cut off before the last tree
LG02 a line of a tree that is missing, or holds no numbers
LG03 the lines of a tree do not fit one another
LG04 a tree whose nodes do not exist, or lead in a circle
LG05 longer than ``diffai.maxHeader``
==== ======================================================================================================
"""

from __future__ import annotations

from functools import partial

from diffai.errors import FormatError, LimitError
from diffai.formats.base import Limits
from diffai.formats.boosting.trees import BoostingCheckpoint, Forest
from diffai.formats.stored import reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    import numpy as np

    from diffai.model import Role

    Numbers = np.ndarray[Any, np.dtype[Any]]

NAME = "lightgbm"
_START = (b"tree\nversion=", b"tree\r\nversion=", b"tree\nnum_class=", b"tree\r\nnum_class=")
_END = "end of trees"
_INNER = ("split_gain", "internal_value", "internal_weight", "internal_count")
_LEAVES = ("leaf_weight", "leaf_count")


def recognise(head: bytes, size: int, name: str) -> bool:
    """Whether content is a model of LightGBM: its first two lines."""
    return head.startswith(_START)


def _wrong(reason: str, code: str, where: str = "") -> FormatError:
    return FormatError(reason, code=code, tensor=where, format=NAME)


def fill(checkpoint: BoostingCheckpoint, limits: Limits) -> None:
    """Fill a checkpoint from its source.

    Raises:
        FormatError: see the table of the module.

    """
    source = checkpoint.source
    if source.size > limits.max_header:
        reason = f"is {source.size:,} bytes long (diffai.maxHeader lifts the limit of {limits.max_header:,})"
        raise LimitError(reason, code="LG05", format=NAME)
    data = source.read(0, source.size)
    if not recognise(data[:64], source.size, ""):
        raise FormatError("does not begin as a model of LightGBM", code="LG01", offset=0, format=NAME)
    lines = _lines(data)
    names = _header(checkpoint, lines)
    forest = Forest(checkpoint)
    for number, block in enumerate(_trees(lines)):
        _tree(forest, number, block)
    forest.finish(names)
    _rest(checkpoint, lines)


def _lines(data: bytes) -> Iterator[str]:
    at = 0
    while at < len(data):
        end = data.find(b"\n", at)
        end = len(data) if end < 0 else end
        yield data[at:end].decode("utf-8", "backslashreplace").rstrip("\r")
        at = end + 1


def _header(checkpoint: BoostingCheckpoint, lines: Iterator[str]) -> list[str]:
    """What stands before the first tree; the names of the features."""
    names: list[str] = []
    infos: list[str] = []
    next(lines)
    for line in lines:
        if not line:
            break
        key, _, value = line.partition("=")
        if key == "feature_names":
            names = value.split(" ")
        elif key == "feature_infos":
            infos = value.split(" ")
        elif key != "tree_sizes":  # bytes of each tree: they follow from the trees
            checkpoint.note(key, _number(value))
    checkpoint.features(names, ["numeric" if info[:1] == "[" else info for info in infos])
    for name, info in zip(names, infos, strict=False):
        if info[:1] == "[":
            checkpoint.note(f"range of {name}", info)
    return names


def _number(text: str) -> int | float | str:
    try:
        return int(text) if len(text) < 19 else text
    except ValueError:
        return text


def _trees(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    """The lines of each tree by key."""
    block: dict[str, str] = {}
    for line in lines:
        key, is_pair, value = line.partition("=")
        if (key == "Tree" or line == _END) and block:
            yield block
            block = {}
        if line == _END:
            return
        if is_pair:
            if key in block:
                raise _wrong(f"has {key[:100]!r} twice", "LG02", f"tree {block.get('Tree', '?')}")
            block[key] = value
    raise _wrong("ends before the line 'end of trees'", "LG01")


def _tree(forest: Forest, number: int, block: dict[str, str]) -> None:
    import numpy as np

    where = f"trees.{number}"

    def numbers(key: str, kind: str, count: int = -1) -> Numbers:
        words = block.get(key, "").split()
        if count >= 0 and len(words) != count:
            raise _wrong(f"has {len(words):,} numbers in {key}, not {count:,}", "LG03", where)
        try:
            values = [int(word) for word in words] if kind[0] in "iu" else [float(word) for word in words]
            return np.array(values, kind)
        except (ValueError, OverflowError) as error:
            raise _wrong(f"has no numbers in {key}", "LG02", where) from error

    leaves = int(numbers("num_leaves", "i4", 1)[0])
    if leaves < 1:
        raise _wrong(f"has {leaves} leaves", "LG03", where)
    inner = leaves - 1
    left, right = numbers("left_child", "i4", inner), numbers("right_child", "i4", inner)
    features = numbers("split_feature", "i4", inner)
    tensors: dict[str, tuple[Role, Numbers]] = {
        "thresholds": ("weight", numbers("threshold", "f8", inner)),
        "leaf_values": ("weight", numbers("leaf_value", "f8", leaves)),
        "features": ("index", features), "children": ("index", np.stack([left, right], 1)),
        "decision_types": ("index", numbers("decision_type", "i4", inner)),
    }  # fmt: skip
    for key, kind, role in _OPTIONAL:
        if key in block:
            tensors[key] = (role, numbers(key, kind))
    for key in (*_INNER, *_LEAVES):
        if block.get(key):
            tensors[key] = ("training", numbers(key, "f8", inner if key in _INNER else leaves))
    if block.get("shrinkage", "1") != "":
        tensors["shrinkage"] = ("training", numbers("shrinkage", "f8"))
    forest.add(number, tensors)
    # Leaf n is child ~n there; the count wants leaves as nodes of their own.
    if ((left < -leaves) | (right < -leaves)).any():
        raise _wrong("has a child that does not exist", "LG04", where)
    wide_left, wide_right = (
        np.concatenate([np.where(side >= 0, side, inner - 1 - side), np.full(leaves, -1)]) for side in (left, right)
    )
    if inner and (np.maximum(left, right).max() >= inner):
        raise _wrong("has a child that does not exist", "LG04", where)
    forest.count(wide_left.tolist(), wide_right.tolist(), where, "LG04")
    forest.use(features.tolist(), tensors["split_gain"][1].tolist() if "split_gain" in tensors else [0.0] * inner)


_OPTIONAL: tuple[tuple[str, str, Role], ...] = (
    ("cat_boundaries", "i4", "index"), ("cat_threshold", "u4", "index"), ("leaf_const", "f8", "weight"),
    ("leaf_coeff", "f8", "weight"), ("num_features", "i4", "index"), ("leaf_features", "i4", "index"),
)  # fmt: skip


def _rest(checkpoint: BoostingCheckpoint, lines: Iterator[str]) -> None:
    """The parameters of training, and the categories of pandas."""
    for line in lines:
        if line.startswith("[") and line.endswith("]"):
            key, _, value = line[1:-1].partition(": ")
            if value:
                checkpoint.note(f"parameters.{key}", _number(value))
        elif line.startswith("pandas_categorical:"):
            checkpoint.note("pandas_categorical", line.partition(":")[2])


open_checkpoint, check = reader(partial(BoostingCheckpoint, NAME), fill, "LG02")
