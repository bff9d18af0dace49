"""CatBoost models (``.cbm``): trees, borders, features, and the tables of categorical features that follow them.

Schema: https://github.com/catboost/catboost/tree/master/catboost/libs/model/flatbuffers. Trees are oblivious (one
split a level) or not, as they were grown. The threshold of a split on a category is the category's hash.

==== ======================================================================================================
code reason
==== ======================================================================================================
CB01 the core of the model is no FlatBuffer, or is cut off
CB02 a split that is none of the model's
CB03 the numbers of a tree do not fit one another
CB04 a tree whose nodes do not exist, or lead in a circle
CB05 the core of the model is longer than ``diffai.maxHeader``
CB06 the tables behind the core are damaged
==== ======================================================================================================
"""

from __future__ import annotations

import json
from functools import partial

from diffai.errors import FormatError, LimitError
from diffai.formats.boosting.trees import BoostingCheckpoint, Forest
from diffai.formats.digests import shown_digest
from diffai.formats.flatbuffers import Pages, Table
from diffai.formats.regions import FileRegion, PartOf, RegionSource
from diffai.formats.stored import reader
from diffai.frozen import slotted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    import numpy as np

    from diffai.formats.base import Limits
    from diffai.model import Role

    Numbers = np.ndarray[Any, np.dtype[Any]]

NAME = "catboost"
_HEAD = 8
_DEEPEST = 30
_NANS = {1: ", NaN is false", 2: ", NaN is true"}
_TABLES = ("Borders", "Buckets", "BinarizedTargetMeanValue", "FloatTargetMeanValue", "Counter", "FeatureFreq")
_MEANS = (2, 3)
_NO_LEAF = (1 << 32) - 1
_WIDTHS = {"f4": 4, "f8": 8, "i4": 4, "u4": 4}


def recognise(head: bytes, size: int, name: str) -> bool:
    """Whether content is a model of CatBoost: its magic decides."""
    return head[:4] == b"CBM1"


def _wrong(reason: str, code: str, where: str = "") -> FormatError:
    return FormatError(reason, code=code, tensor=where, format=NAME)


@slotted
class _Splits:
    """All splits that trees choose from, by number: the feature that each looks at, and its threshold."""

    features: list[int]
    thresholds: list[float]
    names: list[str]
    categories: dict[int, str]


def _read(checkpoint: BoostingCheckpoint, limits: Limits) -> None:
    source = checkpoint.source
    length = int.from_bytes(source.read(4, 4), "little")
    if length > limits.max_header:
        raise LimitError(f"has a core of {length:,} bytes (limit diffai.maxHeader)", code="CB05", format=NAME)
    if not recognise(source.read(0, 4), source.size, "") or _HEAD + length > source.size:
        raise _wrong(f"claims {length:,} bytes, {max(0, source.size - _HEAD):,} are there", "CB01")
    core = Pages(RegionSource(FileRegion(source, _HEAD, length), source.label), checkpoint.budget).root()
    trees = core.table(1)
    if trees is None:
        raise _wrong("has no trees", "CB01")
    for pair in core.tables(2):
        _information(checkpoint, pair.text(0), pair.text(1))
    checkpoint.note("format", core.text(0))
    splits = _features(checkpoint, trees)
    dimension = trees.number(0, "i", 1)
    if not 0 < dimension <= 1 << 20:
        raise _wrong(f"has {dimension:,} outputs", "CB03")
    checkpoint.note("outputs", dimension)
    checkpoint.note("scale", trees.real(14, "d", 1.0))
    bias = _array(trees, 16, "f8")
    if not len(bias):
        import numpy as np

        bias = np.full(dimension, trees.real(15, "d", 0.0))
    checkpoint.add("bias", bias)
    _Trees(checkpoint, trees, splits, dimension).read()
    parts = list(core.texts(3))
    if parts:
        _tables(checkpoint, parts, _HEAD + length, splits.categories)


def _array(table: Table, field: int, kind: str) -> Numbers:
    """A vector of numbers."""
    import numpy as np

    return np.frombuffer(table.raw(field, _WIDTHS[kind]), f"<{kind}")


def _information(checkpoint: BoostingCheckpoint, key: str, value: str) -> None:
    """A pair of the model's own notes; options are JSON in text. What became of training is training state."""
    try:
        found = json.loads(value) if value[:1] == "{" else value
    except (ValueError, RecursionError):
        found = value
    checkpoint.note(key, found, training=key in ("training", "train_finish_time"))


# ---------------------------------------------------------------- features and splits


def _features(checkpoint: BoostingCheckpoint, trees: Table) -> _Splits:
    """Note what goes in; the splits in the order in which trees number them."""
    floats, cats = list(trees.tables(5)), list(trees.tables(4))
    texts, embeddings = list(trees.tables(12)), list(trees.tables(18))
    named: dict[int, tuple[str, str]] = {}
    for row in floats:
        place = row.number(2, "i", -1)
        named[place] = (row.text(4) or str(place), "float" + _NANS.get(row.number(5, "b"), ""))
    for rows, kind in ((cats, "categorical"), (texts, "text"), (embeddings, "embedding")):
        for row in rows:
            place = row.number(1, "i", -1)
            named[place] = (row.text(2) or str(place), kind)
    if len(named) < len(floats) + len(cats) + len(texts) + len(embeddings):
        raise _wrong("has two features at one place", "CB02")
    order = {place: number for number, place in enumerate(sorted(named))}
    checkpoint.features([named[place][0] for place in sorted(named)], [named[place][1] for place in sorted(named)])
    names = [named[place][0] for place in sorted(named)]
    splits = _Splits([], [], names, {row.number(0, "i", -1): names[order[row.number(1, "i", -1)]] for row in cats})

    def add(feature: int, values: Numbers) -> None:
        splits.features += [feature] * len(values)
        splits.thresholds += values.astype("f8").tolist()

    for row in floats:
        add(order[row.number(2, "i", -1)], _array(row, 3, "f4"))
    for number, row in enumerate(trees.tables(13)):
        splits.names.append(f"estimated {number}")
        add(len(splits.names) - 1, _array(row, 3, "f4"))
    by_index = {row.number(0, "i", -1): order[row.number(1, "i", -1)] for row in cats}
    for row in trees.tables(6):
        category = row.number(0, "i", -1)
        if category not in by_index:
            raise _wrong(f"has a split on category {category}, which is none of its features", "CB02")
        add(by_index[category], _array(row, 1, "i4"))
    for number, row in enumerate(trees.tables(7)):
        name, said = _counted(row.table(0), splits.categories)
        checkpoint.inputs[f"counted feature {number}"] = said
        splits.names.append(f"{name} ({number})")
        add(len(splits.names) - 1, _array(row, 1, "f4"))
    return splits


def _counted(counter: Table | None, categories: dict[int, str]) -> tuple[str, str]:
    """What a feature that is counted from categories is called, and all that defines it."""
    base = None if counter is None else counter.table(0)
    if counter is None or base is None:
        raise _wrong("has a table of categories that says nothing", "CB02")
    name = _table_name(base, categories)
    numbers = [counter.real(field, "f", default) for field, default in ((2, 0.0), (3, 1.0), (4, 0.0), (5, 1.0))]
    prior, weight, shift, scale = numbers
    said = f"target border {counter.number(1, 'i')}, prior {prior:g}/{weight:g}, shift {shift:g}, scale {scale:g}"
    return name, f"{name}, {said}"


def _table_name(base: Table, categories: dict[int, str]) -> str:
    """``Borders(colour, size)``: the kind of a table, and the categories that it counts together."""
    kind, combination = base.number(1, "b"), base.table(0)
    parts: list[str] = []
    if combination is not None:
        parts += [categories.get(int(index), f"category {index}") for index in _array(combination, 0, "i4")]
        for field, sign, code in ((1, ">", "f4"), (2, "=", "i4")):
            pairs = combination.raw(field, 8)
            import numpy as np

            rows = np.frombuffer(pairs, [("feature", "<i4"), ("value", f"<{code}")])
            parts += [f"{row['feature']}{sign}{row['value']:g}" for row in rows]
    known = _TABLES[kind] if 0 <= kind < len(_TABLES) else f"kind {kind}"
    return f"{known}({', '.join(parts)})"


# ---------------------------------------------------------------- trees


class _Trees:
    """The trees of a model, one after another."""

    def __init__(self, checkpoint: BoostingCheckpoint, table: Table, splits: _Splits, dimension: int) -> None:
        import numpy as np

        self._checkpoint, self._dimension = checkpoint, dimension
        self._features = np.array(splits.features, "i4")
        self._thresholds = np.array(splits.thresholds, "f8")
        self._used = np.zeros(len(splits.features), bool)
        self._forest, self._names = Forest(checkpoint), splits.names
        self._splits, self._sizes = _array(table, 1, "i4"), _array(table, 2, "i4")
        self._values, self._weights = _array(table, 8, "f8"), _array(table, 9, "f8")
        self._steps = np.frombuffer(table.raw(10, 4), "<u2").reshape(-1, 2)
        self._leaves = _array(table, 11, "u4")

    def read(self) -> None:
        """Add all trees and what is said of them together."""
        import numpy as np

        oblivious = not len(self._steps)
        self._checkpoint.note("trees are", "oblivious" if oblivious else "not oblivious")
        if not oblivious and not len(self._steps) == len(self._leaves) == len(self._splits):
            raise _wrong("has numbers of nodes that do not fit one another", "CB03")
        at = first = 0
        for number, size in enumerate(self._sizes.tolist()):
            where = f"trees.{number}"
            if size < 0 or at + size > len(self._splits):
                raise _wrong(f"has {size:,} splits, which are not there", "CB03", where)
            if oblivious:
                first += self._oblivious(number, self._splits[at : at + size], first)
            else:
                self._grown(number, slice(at, at + size))
            at += size
        if at != len(self._splits) or (oblivious and first * self._dimension != len(self._values)):
            raise _wrong("has splits or leaves that belong to no tree", "CB03")
        self._forest.finish(self._names)
        idle = np.flatnonzero(~self._used)
        if len(idle):
            said = np.stack([self._features[idle], self._thresholds[idle]], 1)
            self._checkpoint.note("splits that no tree uses", f"{len(idle):,}, {shown_digest(str(said.tolist()))}")

    def _chosen(self, splits: Numbers, where: str) -> tuple[Numbers, Numbers]:
        """The features and thresholds of splits."""
        if len(splits) and not 0 <= int(splits.min()) <= int(splits.max()) < len(self._features):
            raise _wrong("has a split that is none of the model's", "CB02", where)
        self._used[splits] = True
        return self._features[splits], self._thresholds[splits]

    def _leaf_tensors(self, rows: Numbers, where: str) -> dict[str, tuple[Role, Numbers]]:
        """Values, and weights where they were kept, of the leaves of a tree; ``rows`` of all leaves."""
        total = len(self._values) // self._dimension
        if len(rows) and int(rows.max()) >= total:
            raise _wrong("has fewer values than leaves", "CB03", where)
        values = self._values[: total * self._dimension].reshape(total, self._dimension)[rows]
        found: dict[str, tuple[Role, Numbers]] = {
            "leaf_values": ("weight", values[:, 0] if self._dimension == 1 else values)
        }
        if len(self._weights) == total:
            found["leaf_weights"] = ("training", self._weights[rows])
        return found

    def _oblivious(self, number: int, splits: Numbers, first: int) -> int:
        """A tree of one split a level; how many leaves it has."""
        import numpy as np

        where, depth = f"trees.{number}", len(splits)
        leaves = 1 << min(depth, _DEEPEST + 1)
        if depth > _DEEPEST or (first + leaves) * self._dimension > len(self._values):
            raise _wrong("has fewer values than leaves", "CB03", where)
        features, thresholds = self._chosen(splits, where)
        tensors: dict[str, tuple[Role, Numbers]] = {
            "thresholds": ("weight", thresholds), "features": ("index", features),
        }  # fmt: skip
        self._forest.add(number, tensors | self._leaf_tensors(np.arange(first, first + leaves), where))
        self._forest.whole(depth)
        self._forest.use(features.tolist())
        return leaves

    def _grown(self, number: int, nodes: slice) -> None:
        """A tree whose nodes were split one by one: each says how far its children are, 0 where it is a leaf itself."""
        import numpy as np

        where, steps = f"trees.{number}", self._steps[nodes].astype("i8")
        count = len(steps)
        if not count:
            raise _wrong("has no nodes", "CB03", where)
        children = np.where(steps > 0, steps + np.arange(count)[:, None], -1)
        splitting, ending = (steps > 0).any(axis=1), (steps == 0).any(axis=1)
        ids = self._leaves[nodes][ending]
        if (ids == _NO_LEAF).any() or (ids % self._dimension).any():
            raise _wrong("has a leaf without values", "CB03", where)
        features, thresholds = self._chosen(self._splits[nodes][splitting], where)
        tensors: dict[str, tuple[Role, Numbers]] = {
            "thresholds": ("weight", thresholds), "features": ("index", features),
            "children": ("index", children.astype("i4")),
        }  # fmt: skip
        self._forest.add(number, tensors | self._leaf_tensors(ids // self._dimension, where))
        # Of a node with one child the other side is a leaf: the count wants leaves as nodes of their own.
        half = splitting & ending
        extra = np.cumsum(half) - 1 + count
        full = np.where((children < 0) & half[:, None], extra[:, None], children)
        both = np.concatenate([full, np.full((int(half.sum()), 2), -1)])
        self._forest.count(both[:, 0].tolist(), both[:, 1].tolist(), where, "CB04")
        self._forest.use(features.tolist())


# ---------------------------------------------------------------- what follows the core


def _tables(checkpoint: BoostingCheckpoint, parts: list[str], start: int, categories: dict[int, str]) -> None:
    """The parts behind the core; of the tables of categories each is a tensor, the others are compared as bytes."""
    source = checkpoint.source
    checkpoint.note("parts", ", ".join(parts))
    if parts[0] != "static_provider_v1":
        region = FileRegion(source, start, source.size - start)
        checkpoint.place_bytes("parts", "BYTES", (region.size,), region, region.size)
        return
    at, count = start + 4, int.from_bytes(source.read(start, 4), "little")
    checkpoint.budget.value(count)
    for number in range(count):
        size = int.from_bytes(source.read(at, 4), "little") if at + 4 <= source.size else -1
        if size < 0 or at + 4 + size > source.size:
            raise _wrong("has tables that are cut off", "CB06")
        try:
            _table(checkpoint, f"counts.{number}", FileRegion(source, at + 4, size), categories)
        except FormatError as error:
            error.code = error.code or "CB06"
            raise
        at += 4 + size
    if at < source.size:
        region = FileRegion(source, at, source.size - at)
        checkpoint.place_bytes("more parts", "BYTES", (region.size,), region, region.size)


def _table(checkpoint: BoostingCheckpoint, name: str, region: FileRegion, categories: dict[int, str]) -> None:
    """A table: hashes of categories, and what was counted for each."""
    table = Pages(RegionSource(region, name), checkpoint.budget).root()
    base = table.table(0)
    if base is None:
        raise _wrong("says nothing of what it counts", "CB06", name)
    said = f"{_table_name(base, categories)}, {table.number(3, 'i'):,} in all, {table.number(4, 'i')} classes"
    checkpoint.inputs[name] = said
    (hashes, size), (counts, length) = table.vector(1, 1), table.vector(2, 1)
    checkpoint.place(f"{name}.hashes", "U8", (size,), PartOf(region, hashes, size), role="index")
    values = PartOf(region, counts, length)
    if base.number(1, "b") in _MEANS or length % 4:  # pairs of a sum (F32) and a count (I32)
        checkpoint.place_bytes(f"{name}.means", "BYTES", (length,), values, length)
    else:
        checkpoint.place(f"{name}.counts", "I32", (length // 4,), values)


open_checkpoint, check = reader(partial(BoostingCheckpoint, NAME), _read, "CB01")
