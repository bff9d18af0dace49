"""A Core ML model as a checkpoint: everything of a message that holds numbers is a tensor, the rest is said."""

from __future__ import annotations

from diffai.errors import FormatError
from diffai.formats.boosting.trees import BoostingCheckpoint, Forest
from diffai.formats.coreml import weights
from diffai.formats.coreml.records import Record
from diffai.formats.digests import digest_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    import numpy as np

    from diffai.formats.base import Limits
    from diffai.model import Role
    from diffai.sources.base import Source

    Numbers = np.ndarray[Any, np.dtype[Any]]

_LEAF = 6
_ONLY = ("value", "vector", "values")  # fields that are all that their message has


class CoremlCheckpoint(BoostingCheckpoint):
    """An opened model, and the file of its weights where it has one."""

    def __init__(self, source: Source, limits: Limits) -> None:
        super().__init__("coreml", source, limits)
        self.operators: dict[str, int] = {}

    def unused(self, name: str) -> str:
        """The name, or one like it that no tensor has."""
        found, number = name, 1
        while found in self.tensors:
            number += 1
            found = f"{name}#{number}"
        self.budget.name(len(found))
        return found


def described(record: Record) -> str:
    """The plain values of a message and of those in it: ``shape=[1, 3], dataType=FLOAT32``."""
    said: list[str] = []
    for name, kind in record.types.items():
        if kind.removesuffix("*") == "WeightParams":
            continue
        if is_message(kind):
            said += [f"{name}({described(inner)})" for inner in record.records(name)]
        else:
            said.append(f"{name}={record.scalar(name)}")
    return ", ".join(said)


def is_message(kind: str) -> bool:
    """Whether a field of this kind holds messages; kinds of plain values are one letter."""
    return len(kind.removesuffix("*")) > 1 and kind[0] != "="


# ---------------------------------------------------------------- any model


def walk(checkpoint: CoremlCheckpoint, record: Record, path: str, special: Callable[[Record, str], bool]) -> None:
    """Take in a message: numbers with a fraction as tensors, weights, and the rest as metadata.

    Args:
        path: what the names of all that is in it begin with.
        special: takes in messages that have a way of their own, and says so.

    """
    alone = len(record.types) == 1
    for name, kind in record.types.items():
        inner = path if alone and name in _ONLY and path else f"{path}.{name}" if path else name
        repeated = kind.endswith("*")
        if is_message(kind):
            for number, part in enumerate(record.records(name)):
                below = f"{inner}.{number}" if repeated else inner
                if kind.removesuffix("*") == "WeightParams":
                    weights.place(checkpoint, checkpoint.unused(below), part, ())
                elif not special(part, below):
                    walk(checkpoint, part, below, special)
        elif kind in ("d*", "f*"):
            region, dtype = record.reals(name), "F64" if kind == "d*" else "F32"
            width = 8 if kind == "d*" else 4
            checkpoint.place(checkpoint.unused(inner), dtype, (region.size // width,), region)
        elif kind == "d":  # the one learned number of a message, such as rho of a support vector machine
            checkpoint.place(checkpoint.unused(inner), "F64", (), record.reals(name))
        else:
            checkpoint.note(inner, record.scalar(name))


# ---------------------------------------------------------------- neural networks


def layers(checkpoint: CoremlCheckpoint, network: Record, path: str) -> None:
    """Take in the layers of a neural network."""
    made: dict[str, bytes] = {}
    wired: list[bytes] = []
    for number, layer in enumerate(network.records("layers")):
        kinds = [field for field, type_ in layer.types.items() if is_message(type_) and not field.endswith("Tensor")]
        outputs = layer.texts("output")
        name = layer.text("name") or (outputs[0] if outputs else f"layer {number}")
        kind = kinds[0] if kinds else "unknown"
        parameters = layer.record(kind) if kinds else None
        said = described(parameters) if parameters is not None else ""
        if parameters is not None:
            _layer_weights(checkpoint, parameters, kind, f"{path}{name}")
        checkpoint.operators[kind] = checkpoint.operators.get(kind, 0) + 1
        checkpoint.inputs[f"node {path}{name}"] = f"{kind}({said})"
        inputs = [made.get(used, b"?" + used.encode("utf-8", "surrogatepass")) for used in layer.texts("input")]
        wired.append(digest_of(kind, said, *inputs))
        for place, output in enumerate(outputs):
            made[output] = digest_of(wired[-1], str(place))
    checkpoint.inputs[f"{path}wiring"] = digest_of(*sorted(wired)).hex()


def _layer_weights(checkpoint: CoremlCheckpoint, parameters: Record, kind: str, name: str) -> None:
    """The weights of a layer, and of the gates in it."""
    known = weights.shapes(kind, parameters)
    pending = [(parameters, name)]
    while pending:
        record, path = pending.pop()
        for field, type_ in record.types.items():
            if not is_message(type_):
                continue
            for number, inner in enumerate(record.records(field)):
                below = f"{path}.{field}.{number}" if type_.endswith("*") else f"{path}.{field}"
                if inner.kind == "WeightParams":
                    weights.place(checkpoint, checkpoint.unused(below), inner, known.get(field, ()))
                else:
                    pending.append((inner, below))


# ---------------------------------------------------------------- tree ensembles


class Ensemble:
    """The nodes of a tree ensemble, tree by tree."""

    def __init__(self, checkpoint: CoremlCheckpoint, record: Record, path: str) -> None:
        self._checkpoint, self._path = checkpoint, path
        self._outputs = max(1, record.number("numPredictionDimensions", 1))
        self._forest = Forest(checkpoint, path)
        trees: dict[int, list[Record]] = {}
        for node in record.records("nodes"):
            trees.setdefault(node.number("treeId"), []).append(node)
        for number, tree in enumerate(trees.values()):
            self._tree(number, tree)
        self._forest.finish(())
        walk(checkpoint, record, path.removesuffix("."), lambda part, below: part.kind.endswith("TreeNode"))

    def _tree(self, number: int, nodes: list[Record]) -> None:
        import numpy as np

        where = f"{self._path}trees.{number}"
        below = {key for node in nodes if node.number("nodeBehavior") != _LEAF
                 for key in (node.number("trueChildNodeId"), node.number("falseChildNodeId"))}  # fmt: skip
        nodes = sorted(nodes, key=lambda node: node.number("nodeId") in below)  # the root first
        places = {node.number("nodeId"): place for place, node in enumerate(nodes)}
        children = np.full((len(nodes), 2), -1, "i4")
        inner = [place for place, node in enumerate(nodes) if node.number("nodeBehavior") != _LEAF]
        for place in inner:
            ids = (nodes[place].number("trueChildNodeId"), nodes[place].number("falseChildNodeId"))
            children[place] = [places.get(key, len(nodes)) for key in ids]
        leaves = [nodes[place] for place in sorted(set(range(len(nodes))) - set(inner))]
        features = [nodes[place].number("branchFeatureIndex") for place in inner]
        thresholds = b"".join(_double(nodes[place], "branchFeatureValue") for place in inner)
        self._checkpoint.budget.make(8 * len(leaves) * self._outputs)
        values = np.zeros((len(leaves), self._outputs))
        for row, leaf in enumerate(leaves):
            for part in leaf.records("evaluationInfo"):
                column = part.number("evaluationIndex")
                if not 0 <= column < self._outputs:
                    reason = f"has a leaf for output {column} of {self._outputs}"
                    raise FormatError(reason, code="CM04", tensor=where, format="coreml")
                values[row, column] = np.frombuffer(_double(part, "evaluationValue"), "<f8")[0]
        behaviours = [nodes[place].number("nodeBehavior") for place in inner]
        missing = [nodes[place].number("missingValueTracksTrueChild") for place in inner]
        tensors: dict[str, tuple[Role, Numbers]] = {
            "thresholds": ("weight", np.frombuffer(thresholds, "<f8")),
            "leaf_values": ("weight", values[:, 0] if self._outputs == 1 else values),
            "features": ("index", np.array(features, "i8")), "children": ("index", children),
            "decision_types": ("index", np.array(behaviours, "i4")), "missing": ("index", np.array(missing, "u1")),
        }  # fmt: skip
        self._forest.add(number, tensors)
        self._forest.count(children[:, 0].tolist(), children[:, 1].tolist(), where, "CM04")
        self._forest.use(features)


def _double(record: Record, name: str) -> bytes:
    """The eight bytes of a number; those of zero where it is not there."""
    if name not in record.types:
        return bytes(8)
    region = record.reals(name)
    data = bytearray(8)
    region.read_into(max(0, region.size - 8), memoryview(data))
    return bytes(data)
