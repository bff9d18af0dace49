"""The trees of one estimator of scikit-learn: how many, how deep, and what each feature adds.

Importances follow ``sklearn.tree._tree.Tree.compute_feature_importances`` and the ``feature_importances_`` of forests
and of gradient boosting (scikit-learn 1.x): the decrease of impurity, weighted by samples, normalised a tree (a forest)
or over all trees (boosting), averaged over the trees with more than one node; of AdaBoost over all trees by the weights
of these. Histogram gradient boosting has none.
"""

from __future__ import annotations

from diffai.formats.regions import read
from diffai.formats.torch.numpy_pickles import columns_of, element_type, item_size, region_of
from diffai.formats.torch.objects import Array, NumpyDType, Stub
from diffai.formats.torch.plain_values import Digest
from diffai.model import Scalar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    import numpy as np

    Numbers = np.ndarray[Any, np.dtype[Any]]

TREES = ("sklearn.tree._tree.Tree", "sklearn.tree.tree.Tree")
OF_SAMPLES = frozenset(("impurity", "n_node_samples", "weighted_n_node_samples", "count", "gain", "depth"))
PREDICTOR = "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"
_WEIGHTED = ("AdaBoostClassifier", "AdaBoostRegressor")
_FORESTS = ("RandomForestClassifier", "RandomForestRegressor", "ExtraTreesClassifier", "ExtraTreesRegressor")
_BOOSTING = ("GradientBoostingClassifier", "GradientBoostingRegressor")
_MOST_BYTES = 64 << 20  # of the nodes of one tree that are read at once
_MOST_FEATURES = 2000


def tree_of(estimator: Stub) -> Stub | None:
    """The one tree of a decision tree; None of anything else."""
    tree = estimator.state.get("tree_") if isinstance(estimator.state, dict) else None
    return tree if isinstance(tree, Stub) and tree.of.full in TREES else None


def predictors_of(value: object) -> list[Stub]:
    """The trees of histogram gradient boosting, iteration by iteration; [] where there is anything else among them."""
    if not isinstance(value, (list, tuple)) or not all(isinstance(turn, (list, tuple)) for turn in value):
        return []
    found = [item for turn in value for item in turn]
    trees = [item for item in found if isinstance(item, Stub) and item.of.full == PREDICTOR]
    return trees if len(trees) == len(found) and all(isinstance(tree.state, dict) for tree in trees) else []


class Tree:
    """The nodes of one tree as arrays, each None where the file does not have it."""

    def __init__(self, stub: Stub) -> None:
        state = stub.state if isinstance(stub.state, dict) else {}
        nodes = state.get("nodes")
        self._values = [state.get(name) for name in ("values", "raw_left_cat_bitsets")]
        self._nodes = nodes if isinstance(nodes, Array) else None
        self._depth = state.get("max_depth")
        shape = self._nodes.shape if self._nodes is not None else ()
        self.count = shape[0] if isinstance(shape, tuple) and len(shape) == 1 and type(shape[0]) is int else None

    @property
    def depth(self) -> int | None:
        """Edges from the root to the deepest leaf; None where the file does not say it."""
        if type(self._depth) is int:
            return self._depth
        depths = self.columns().get("depth")
        return int(depths.max()) if depths is not None else None

    def columns(self) -> dict[str, Numbers]:
        """Values by field; {} where they are none that can be read."""
        import numpy as np

        if self._nodes is None or not self.count or not isinstance(self._nodes.dtype, NumpyDType):
            return {}
        region, dtype = region_of(self._nodes.data), self._nodes.dtype
        item = item_size(dtype)
        if region is None or not columns_of(self._nodes) or not 0 < self.count * item <= _MOST_BYTES:
            return {}
        raw = np.frombuffer(read(region, 0, self.count * item), np.uint8).reshape(self.count, item)
        found = {}
        for name, (kind, offset) in dtype.fields.items():
            known = element_type(kind)
            if known is None or kind.base is not None or kind.code[0] not in "ifu":
                continue
            part = np.ascontiguousarray(raw[:, offset : offset + known.size])
            found[name] = part.view((">" if kind.big_endian else "<") + kind.code).reshape(self.count)
        return found

    def digest(self) -> str:
        """Of where it splits and what its leaves say."""
        digest = Digest()
        columns = self.columns()
        for name in sorted(columns):
            if name not in OF_SAMPLES and name != "padding":
                digest.update(name.encode() + columns[name].tobytes())
        for values in self._values:
            region = region_of(values.data) if isinstance(values, Array) else None
            if region is not None:
                for start in range(0, region.size, 1 << 20):
                    digest.update(read(region, start, min(1 << 20, region.size - start)))
        return str(digest)

    def importances(self, features: int) -> Numbers | None:
        """The decrease of impurity by feature, not normalised; None where the arrays do not give it."""
        import numpy as np

        columns = self.columns()
        needed = ("left_child", "right_child", "feature")
        if not {*needed, "impurity", "weighted_n_node_samples"} <= set(columns):
            return None
        left, right, feature = (columns[name].astype("i8") for name in needed)
        weight = columns["weighted_n_node_samples"].astype("f8")
        impurity = columns["impurity"].astype("f8")
        inner = np.flatnonzero(left >= 0)
        a, b, split = left[inner], right[inner], feature[inner]
        count = len(left)
        if len(inner) and (min(a.min(), b.min(), split.min()) < 0 or max(a.max(), b.max()) >= count):
            return None
        if (len(inner) and split.max() >= features) or not weight[0] > 0:
            return None
        gains = weight[inner] * impurity[inner] - weight[a] * impurity[a] - weight[b] * impurity[b]
        total = np.bincount(split, gains, features) / weight[0]
        return total if np.isfinite(total).all() else None


class Forest:
    """The trees of one estimator."""

    def __init__(self, owner: Stub, trees: list[Tree]) -> None:
        self._owner, self._trees = owner, trees

    def digests(self) -> tuple[str, ...]:
        """One a tree, in order."""
        return tuple(tree.digest() for tree in self._trees)

    def facts(self, names: list[str] | None) -> dict[str, Scalar]:
        """Counts, and importances by the names of the features."""
        counts = [tree.count for tree in self._trees]
        depths = [tree.depth for tree in self._trees]
        found: dict[str, Scalar] = {"trees": len(self._trees)}
        found["nodes"] = None if None in counts else sum(count or 0 for count in counts)
        found["max depth"] = None if None in depths else max((depth or 0 for depth in depths), default=0)
        features = _feature_count(self._owner)
        defined = tree_of(self._owner) is not None or self._owner.of.name in (*_FORESTS, *_BOOSTING, *_WEIGHTED)
        if not defined or features is None or features > _MOST_FEATURES:
            return found
        importances = self._importances(features)
        for number in range(features):
            name = names[number] if names is not None and len(names) == features else f"f{number}"
            found[f"importance {name}"] = None if importances is None else float(importances[number])
        return found

    def _importances(self, features: int) -> Numbers | None:
        """As ``feature_importances_`` says; None where the arrays do not give them."""
        import numpy as np

        if self._owner.of.name in _WEIGHTED:
            return self._weighted_importances(features)
        boosting, single = self._owner.of.name in _BOOSTING, tree_of(self._owner) is not None
        total, used = np.zeros(features), 0
        for tree in self._trees:
            if tree.count is None:
                return None
            if tree.count <= 1:
                continue
            found = tree.importances(features)
            if found is None:
                return None
            whole = found.sum()
            total += found if boosting or not whole > 0 else found / whole
            used += 1
        if not used:
            return total
        mean = total / used
        whole = mean.sum()
        return mean / whole if whole > 0 and not single else mean


    def _weighted_importances(self, features: int) -> Numbers | None:
        """Of AdaBoost: those of each tree, by the weights of the trees."""
        import numpy as np

        weights = _weights(self._owner, len(self._trees))
        if weights is None:
            return None
        total = np.zeros(features)
        for tree, weight in zip(self._trees, weights, strict=False):
            found = tree.importances(features)
            if found is None:
                return None
            whole = found.sum()
            total += weight * (found / whole if whole > 0 else found)
        whole = weights.sum()
        return total / whole if whole > 0 else None


def _weights(owner: Stub, count: int) -> Numbers | None:
    """The weights of ``count`` trees, and of those that were never trained; None where they are not finite numbers."""
    import numpy as np

    held = owner.state.get("estimator_weights_") if isinstance(owner.state, dict) else None
    region = region_of(held.data) if isinstance(held, Array) else None
    if not isinstance(held, Array) or region is None or not isinstance(held.dtype, NumpyDType):
        return None
    if held.dtype.code != "f8":
        return None
    if not count * 8 <= region.size <= 8 << 20 or region.size % 8:
        return None
    found = np.frombuffer(read(region, 0, region.size), ">f8" if held.dtype.big_endian else "<f8").astype("f8")
    return found if np.isfinite(found).all() else None


def _feature_count(owner: Stub) -> int | None:
    state = owner.state if isinstance(owner.state, dict) else {}
    found = state.get("n_features_in_", state.get("n_features_"))
    return found if type(found) is int and found > 0 else None


def feature_names(owner: Stub) -> list[str] | None:
    """What the features were called when it was fitted; None where that is not said."""
    state = owner.state if isinstance(owner.state, dict) else {}
    names = state.get("feature_names_in_")
    items = names.data if isinstance(names, Array) else None
    if isinstance(items, (list, tuple)) and all(isinstance(item, str) for item in items):
        return [str(item) for item in items]
    return None
