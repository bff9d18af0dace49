"""What estimators of scikit-learn say beyond their attributes: trees, importances, and less of what repeats.

Works on the inert objects of a pickle, before names are given; nothing of the library is needed. What is left out is
said again elsewhere: a parameter that every tree of a forest has from the forest, a version that every step repeats.
Random states are set aside: a difference in them alone is listed as not compared.
"""

from __future__ import annotations

from diffai.formats.base import Budget
from diffai.formats.records import Joined
from diffai.formats.regions import read
from diffai.formats.torch import boosters
from diffai.formats.torch.forests import OF_SAMPLES, TREES, Forest, Tree, feature_names, predictors_of, tree_of
from diffai.formats.torch.numpy_pickles import columns_of, region_of
from diffai.formats.torch.objects import Array, LongBytes, NumpyDType, Stub
from diffai.formats.torch.plain_values import Digest
from diffai.model import Scalar

RANDOM = "random states of estimators"
_VERSION = "_sklearn_version"
_SHARED = ("classes_", "feature_names_in_")  # arrays that the members of an ensemble have from one fit
_NAMED = ("Pipeline.steps", "FeatureUnion.transformer_list")
_INDEX = frozenset((
    "left_child", "right_child", "feature", "missing_go_to_left", "left", "right", "feature_idx", "is_leaf",
    "is_categorical", "bitset_idx", "bin_threshold",
))  # fmt: skip


class Described:
    """What was found: facts, digests of trees, and what was set aside."""

    def __init__(self) -> None:
        self.facts: dict[str, Scalar] = {}
        self.parts: dict[str, tuple[str, ...]] = {}
        self.asides: dict[str, str] = {}


def describe(value: object, budget: Budget) -> Described:
    """Look at all estimators inside ``value`` and simplify them in place.

    Raises:
        LimitError: over the budget.

    """
    walker = _Walker(budget)
    walker.walk(value)
    return walker.found


class _Walker:
    """Visits each object once, outer ones first."""

    def __init__(self, budget: Budget) -> None:
        self.found = Described()
        self._budget = budget
        self._version: object = None
        self._random: Digest | None = None
        self._boosted = 0  # bytes of documents that were read
        self._said: set[int] = set()

    def walk(self, value: object) -> None:
        seen: set[int] = set()
        pending: list[tuple[str, object]] = [("", value)]
        while pending:
            path, item = pending.pop()
            if id(item) in seen or not isinstance(item, (Stub, dict, list, tuple, Array)):
                continue
            seen.add(id(item))
            self._budget.value()
            if isinstance(item, Stub) and isinstance(item.state, dict) and item.of.module.startswith("sklearn."):
                item.state = self._estimator(path, item, dict(item.state))
            elif isinstance(item, Stub) and item.of.module.startswith(boosters.LIBRARIES):
                self._booster(path, item)
            pending += reversed(list(_inside(path, item)))
        if self._random is not None:
            self.found.asides[RANDOM] = str(self._random)

    def _estimator(self, path: str, stub: Stub, state: dict[object, object]) -> dict[object, object]:
        """The state of one estimator without what is said elsewhere."""
        if stub.of.full in TREES:
            return _tree_state(stub, state)
        version = state.get(_VERSION)
        if version is not None and self._version is None:
            self._version = version
        elif version is not None and version == self._version:
            del state[_VERSION]
        for key, value in list(state.items()):
            if isinstance(value, Stub) and value.of.module.startswith(("numpy.random", "numpy.random.")):
                self._set_aside(path, value)
                del state[key]
        for key in ("_random_seed", "_seeds"):  # drawn anew by every fit
            if type(state.get(key)) is int or isinstance(state.get(key), Array):
                self._set_aside(path, state.pop(key))
        for key in ("_optimizer", "cv_results_"):  # of training, and of looking for parameters
            _mark_training(state.get(key))
        if stub.of.name == "_BinMapper" and "random_state" in state:
            self._set_aside(path, state.pop("random_state"))
        predictors = predictors_of(state.get("_predictors"))
        if predictors:
            self._trees(path, stub, predictors)
            joined = _joined_trees(predictors)
            if joined is not None:
                del state["_predictors"]
                state["trees"] = joined
        members = _members(state.get("estimators_"))
        if members:
            trees = [tree for tree in map(tree_of, members) if tree is not None]
            joined = None
            if len(trees) == len(members):
                self._trees(path, stub, trees)
                joined = _joined_trees(trees)
            self._members(path, state, members)
            if joined is not None:
                _take_trees(state, members, joined)
        tree = tree_of(stub)
        if tree is not None and id(tree) not in self._said:
            self._trees(path, stub, [tree])
        return state

    def _booster(self, path: str, stub: Stub) -> None:
        """What a booster of another library holds, as trees."""
        limits = self._budget.limits
        data = boosters.document_of(stub, min(limits.max_header, limits.max_made // 2 - self._boosted))
        self._boosted += len(data)
        checkpoint = boosters.opened(stub, data, limits) if data else None
        if checkpoint is None:
            return
        prefix = f"{path}." if path else ""
        self.found.facts.update((prefix + key, value) for key, value in checkpoint.figures.items())
        self.found.parts.update((prefix + kind, digests) for kind, digests in checkpoint.parts.items())
        stub.state = boosters.state_of(stub, checkpoint)

    def _set_aside(self, path: str, value: object) -> None:
        from diffai.formats.torch.flatten import Trees
        from diffai.formats.torch.graph import Graph
        from diffai.formats.torch.plain_values import PlainValues

        self._random = self._random or Digest()
        text = Trees(Graph(self._budget), PlainValues(self._budget), self._budget).text(value)
        self._random.update(f"{path}={text}\n".encode("utf-8", "backslashreplace"))

    def _members(self, path: str, state: dict[object, object], members: list[Stub]) -> None:
        """Leave out of the members of an ensemble what they have from it, and what the first of them says already."""
        given = state.get("estimator_params")
        names = [name for name in given if isinstance(name, str)] if isinstance(given, tuple) else []
        state.pop("estimator_params", None)
        first: dict[object, object] = {}
        for number, member in enumerate(members):
            assert isinstance(member.state, dict)
            self._budget.value()
            kept = dict(member.state)
            seed = kept.get("random_state")
            if type(seed) is int:
                self._set_aside(f"{path}{number}", seed)
                del kept["random_state"]
            for name in names:
                if name in kept and name in state and _same(kept[name], state[name]):
                    del kept[name]
            if number:
                kept = {key: value for key, value in kept.items() if not _said(key, value, first)}
            else:
                first = kept
            member.state = kept

    def _trees(self, path: str, owner: Stub, trees: list[Stub]) -> None:
        self._said |= {id(tree) for tree in trees}
        forest = Forest(owner, [Tree(tree) for tree in trees])
        prefix = f"{path}." if path else ""
        names = feature_names(owner)
        for key, value in forest.facts(names).items():
            self.found.facts[prefix + key] = value
        self.found.parts[f"{prefix}trees"] = forest.digests()


def _inside(path: str, value: object) -> list[tuple[str, object]]:
    """What to look at inside, with the path of names that steps and attributes give it."""
    if isinstance(value, Stub):
        parts: list[tuple[str, object]] = []
        if isinstance(value.state, dict):
            for key, item in value.state.items():
                plain = f"{value.of.name}.{key}" in _NAMED or key == "tree_"
                parts.append((path if plain else _joined(path, str(key)), item))
        elif value.state is not None:
            parts.append((path, value.state))
        return [*parts, *((path, item) for item in (*value.args, *value.items, *value.pairs.values()))]
    if isinstance(value, dict):
        return [(_joined(path, str(key)), item) for key, item in value.items()]
    if isinstance(value, Array):
        return [(path, item) for item in value.data] if isinstance(value.data, (list, tuple)) else []
    assert isinstance(value, (list, tuple))
    if isinstance(value, tuple) and len(value) in (2, 3) and isinstance(value[0], str) and isinstance(value[1], Stub):
        return [(_joined(path, value[0]), value[1])]
    counted = len(value) > 1 and any(isinstance(item, Stub) for item in value)
    return [(_joined(path, str(number)) if counted else path, item) for number, item in enumerate(value)]


def _mark_training(value: object) -> None:
    """Say of the arrays inside that they are no weights."""
    inner = value.state if isinstance(value, Stub) else value
    if not isinstance(inner, dict):
        return
    for key, item in inner.items():
        for array in item if isinstance(item, list) else (item,):
            if isinstance(array, Array) and key != "params":  # those are the weights themselves
                array.says = "training"


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _members(value: object) -> list[Stub]:
    """The estimators of an ensemble, in a list or an array of objects; [] where there are others among them."""
    items = value.data if isinstance(value, Array) else value
    if not isinstance(items, (list, tuple)) or not items:
        return []
    found = [item for item in items if isinstance(item, Stub) and isinstance(item.state, dict)]
    return found if len(found) == len(items) and len({item.of.full for item in found}) == 1 else []


def _said(key: object, value: object, first: dict[object, object]) -> bool:
    """Whether the first member of an ensemble says the same already; arrays of its own each has."""
    return key in first and _alike(value, first[key]) and (not isinstance(value, Array) or key in _SHARED)


def _same(a: object, b: object) -> bool:
    """Whether two plain values are the same; anything else is not said to be."""
    return type(a) is type(b) and isinstance(a, (str, int, float, bool, type(None))) and a == b


def _alike(a: object, b: object) -> bool:
    """Whether two plain values, or two short arrays, are the same."""
    if isinstance(a, Array) and isinstance(b, Array):
        same_kind = isinstance(a.dtype, NumpyDType) and isinstance(b.dtype, NumpyDType) and a.dtype.code == b.dtype.code
        return same_kind and a.shape == b.shape and _numbers(a) is not None and _numbers(a) == _numbers(b)
    return _same(a, b)


def _joined_trees(trees: list[Stub]) -> dict[object, object] | None:
    """The arrays of all trees, field by field one behind another; None where they are not of one kind."""
    parts: dict[object, list[Array]] = {}
    said: list[dict[object, object]] = []
    for tree in trees:
        state = _tree_state(tree, dict(tree.state)) if isinstance(tree.state, dict) else {}
        arrays = {key: value for key, value in state.items() if isinstance(value, Array) and key != "n_classes"}
        said.append({key: value for key, value in state.items() if key not in arrays and key != "node_count"})
        if not arrays or "nodes" in arrays or tree.args or (parts and parts.keys() != arrays.keys()):
            return None
        for key, array in arrays.items():
            parts.setdefault(key, []).append(array)
        if said[-1].keys() != said[0].keys() or not all(_alike(said[-1][key], said[0][key]) for key in said[0]):
            return None
    joined: dict[object, object] = {}  # how many there are is told of the parts
    for key, arrays_of in parts.items():
        whole = _concatenated(arrays_of)
        if whole is None:
            return None
        joined[key] = whole
    return {**joined, **said[0]}


def _concatenated(arrays: list[Array]) -> Array | None:
    """Arrays one behind another along their first dimension."""
    regions, rows, first = [], 0, arrays[0]
    for array in arrays:
        region, shape, dtype = region_of(array.data), array.shape, array.dtype
        if region is None or not isinstance(shape, tuple) or not shape or not isinstance(first.shape, tuple):
            return None
        if not isinstance(dtype, NumpyDType) or not isinstance(first.dtype, NumpyDType) or type(shape[0]) is not int:
            return None
        if (dtype.code, dtype.big_endian, shape[1:], array.fortran) != (
            first.dtype.code, first.dtype.big_endian, first.shape[1:], False,
        ):  # fmt: skip
            return None
        regions.append(region)
        rows += shape[0]
    made = Array()
    assert isinstance(first.shape, tuple)
    made.dtype, made.shape, made.says = first.dtype, (rows, *first.shape[1:]), first.says
    made.data = LongBytes(Joined(regions))
    return made


def _take_trees(state: dict[object, object], members: list[Stub], joined: dict[object, object]) -> None:
    """Put all trees in one place of the ensemble; of its members only those stay that say something of their own."""
    for member in members:
        assert isinstance(member.state, dict)
        del member.state["tree_"]
    kept = {str(number): member for number, member in enumerate(members) if not number or member.state}
    state["estimators_"] = kept
    state["trees"] = joined


def _numbers(value: object) -> bytes | None:
    region = region_of(value.data) if isinstance(value, Array) else None
    return read(region, 0, region.size) if region is not None and region.size <= 4096 else None


def _tree_state(tree: Stub, state: dict[object, object]) -> dict[object, object]:
    """A tree's arrays, those that say where it splits and those of its samples marked; counts follow from them."""
    nodes = state.get("nodes")
    columns = columns_of(nodes) if isinstance(nodes, Array) else []
    for name, column in columns:
        column.says = "index" if name in _INDEX else "training" if name in OF_SAMPLES else ""
    if not columns:
        return state
    left_out = {"nodes", "max_depth"}
    if isinstance(nodes, Array) and (state.get("node_count"),) == nodes.shape:
        left_out.add("node_count")
    kept = {key: value for key, value in state.items() if key not in left_out}
    made: dict[object, object] = dict(zip(("n_features", "n_classes", "n_outputs"), tree.args, strict=False))
    classes = made.get("n_classes")
    if isinstance(classes, Array):
        classes.says = "index"
    tree.args = tree.args[3:]
    made.update((name, column) for name, column in columns if name != "padding")
    return {**made, **kept}
