"""Trees as tensors: thresholds and values of leaves are weights, which feature splits where is structure by index.

The tensors of tree 3 are ``trees.3.thresholds``, ``trees.3.leaf_values`` and what else its format has. A digest of
each tree says how many of two models are identical; how often each feature splits, and what it gains, are facts.
"""

from __future__ import annotations

from hashlib import blake2b

from diffai.errors import FormatError
from diffai.formats.base import Budget, Limits
from diffai.formats.digests import shortened, shown_digest
from diffai.formats.regions import BytesRegion
from diffai.formats.stored import StoredCheckpoint
from diffai.model import Scalar
from diffai.sources.base import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    import numpy as np

    from diffai.model import Role

    Numbers = np.ndarray[Any, np.dtype[Any]]

MOST_FEATURES = 2000
_LONGEST_TEXT = 400
_KINDS = {"f8": "F64", "f4": "F32", "i8": "I64", "i4": "I32", "u4": "U32", "u1": "U8", "i1": "I8", "b1": "BOOL",
          "i2": "I16", "u2": "U16"}  # fmt: skip


class BoostingCheckpoint(StoredCheckpoint):
    """An opened model; its tensors are in memory, as ``diffai.maxMade`` bounds them."""

    not_expressible = frozenset(("ties", "requires_grad", "classes"))

    def __init__(self, kind: str, source: Source, limits: Limits) -> None:
        super().__init__(source, kind, limits.max_spool)
        self.budget = Budget(limits)
        self.values: dict[str, Scalar] = {}
        self.inputs: dict[str, str] = {}
        self.figures: dict[str, Scalar] = {}
        self.state: dict[str, Scalar] = {}
        self.metadata, self.graph, self.facts, self.training = self.values, self.inputs, self.figures, self.state

    def add(self, name: str, values: Numbers, role: Role = "weight") -> bytes:
        """Add a tensor; its bytes (row-major, little-endian)."""
        import numpy as np

        kind = values.dtype.newbyteorder("<")
        data = np.ascontiguousarray(values, kind).tobytes()
        self.budget.value()
        self.budget.name(len(name))
        self.budget.make(len(data))
        self.place(name, _KINDS[kind.str[1:]], values.shape, BytesRegion(data), role=role)
        return data

    def note(self, path: str, value: object, depth: int = 0, *, training: bool = False) -> None:
        """Keep a plain value, or what is in a nested one, by dotted path; ``training``: as training state."""
        values = self.state if training else self.values
        self.budget.deep(depth)
        self.budget.value()
        if isinstance(value, dict):
            for key, inner in value.items():
                self.budget.name(len(path) + len(key))
                self.note(f"{path}.{key}" if path else key, inner, depth + 1, training=training)
        elif isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
            for number, inner in enumerate(value):
                self.note(f"{path}.{number}", inner, depth + 1, training=training)
        elif isinstance(value, (str, int, float, bool)) or value is None:
            values[path] = shortened(value, _LONGEST_TEXT) if isinstance(value, str) else value
        else:  # numbers, or texts
            items: list[object] = list(value) if isinstance(value, list) else value.tolist()  # type: ignore[attr-defined]
            if items:
                values[path] = shortened(str(items), _LONGEST_TEXT)

    def features(self, names: Sequence[str], kinds: Sequence[str]) -> None:
        """Note what goes in, by position: a difference there is one of structure."""
        self.budget.value(len(names))
        for number, name in enumerate(names[:MOST_FEATURES]):
            self.inputs[f"feature {number}"] = f"{name} ({kinds[number]})" if number < len(kinds) else name
        if len(names) > MOST_FEATURES:
            rest = "\0".join((*names[MOST_FEATURES:], "", *kinds[MOST_FEATURES:]))
            self.inputs["more features"] = f"{len(names) - MOST_FEATURES:,}, {shown_digest(rest)}"


class Forest:
    """Counts what is said of all trees together."""

    def __init__(self, checkpoint: BoostingCheckpoint, path: str = "") -> None:
        self._checkpoint, self._path = checkpoint, path
        self._trees: list[str] = []
        self._shapes: list[str] = []
        self._nodes = self._leaves = self._deepest = 0
        self._splits: dict[int, int] = {}
        self._gains: dict[int, float] = {}

    def add(self, number: int, tensors: Mapping[str, tuple[Role, Numbers]]) -> None:
        """Add a tree: its tensors by name. ``features`` and ``thresholds`` (where there are any) are its splits."""
        whole, splits = blake2b(digest_size=16), blake2b(digest_size=16)
        for name, (role, values) in tensors.items():
            data = self._checkpoint.add(f"{self._path}trees.{number}.{name}", values, role)
            said = f"{name} {values.dtype.str} {values.shape} ".encode()
            if role != "training":
                whole.update(said + data)
            if role == "index" or name == "thresholds":
                splits.update(said + data)
        self._trees.append(whole.hexdigest())
        self._shapes.append(splits.hexdigest())

    def count(self, left: Sequence[int], right: Sequence[int], where: str, code: str) -> None:
        """Count the nodes and the depth of a tree; a child below 0 is no inner node.

        Raises:
            FormatError: a child does not exist, or is reached twice.

        """
        self._checkpoint.budget.step(len(left))
        seen, pending = bytearray(len(left)), [(0, 0)] if left else []
        inner = 0
        while pending:
            node, depth = pending.pop()
            if node >= len(left) or seen[node]:
                what = "a child that does not exist" if node >= len(left) else "a node that is reached twice"
                raise FormatError(f"has {what}", code=code, tensor=where, format=self._checkpoint.format)
            seen[node] = 1
            self._deepest = max(self._deepest, depth)
            if left[node] >= 0 or right[node] >= 0:
                inner += 1
                pending += [(child, depth + 1) for child in (left[node], right[node]) if child >= 0]
        self._nodes += sum(seen)
        self._leaves += sum(seen) - inner

    def whole(self, depth: int) -> None:
        """Count a tree of which every path has ``depth`` splits."""
        self._nodes += (2 << depth) - 1
        self._leaves += 1 << depth
        self._deepest = max(self._deepest, depth)

    def use(self, features: Sequence[int], gains: Sequence[float] = ()) -> None:
        """Count the splits of a tree by feature, and what they gain, where the format says it."""
        for feature in features:
            self._splits[feature] = self._splits.get(feature, 0) + 1
        for feature, gain in zip(features, gains, strict=False):
            self._gains[feature] = self._gains.get(feature, 0.0) + gain

    def finish(self, names: Sequence[str]) -> None:
        """Give the checkpoint the counts and digests; ``names`` are those of the features."""
        figures = self._checkpoint.figures
        found = {"trees": len(self._trees), "nodes": self._nodes, "leaves": self._leaves, "max depth": self._deepest}
        figures |= {f"{self._path}{name}": count for name, count in found.items()}
        for feature, count in sorted(self._splits.items())[:MOST_FEATURES]:
            name = names[feature] if 0 <= feature < len(names) else f"f{feature}"
            figures[f"{self._path}splits on {name}"] = count
            if feature in self._gains:
                figures[f"{self._path}gain of {name}"] = float(f"{self._gains[feature]:.6g}")
        own = {f"{self._path}trees": tuple(self._trees), f"{self._path}trees' splits": tuple(self._shapes)}
        self._checkpoint.parts = {**self._checkpoint.parts, **own}
