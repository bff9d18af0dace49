"""Names for all that an object graph holds: tensors by dotted path, plain values, classes; weights apart from training.

The walk is iterative and bounded in depth, number of steps and length of names, so cyclic, deep and shared structures
all end.
"""

from __future__ import annotations

from collections.abc import Iterator

from diffai.formats.base import Budget
from diffai.formats.torch.graph import Graph, children
from diffai.formats.torch.objects import Array, Composite, Recast, Stub, Tensor, Valueless, shown
from diffai.formats.torch.plain_values import Digest, PlainValues, class_name, kind_label, sizes
from diffai.formats.torch.sections import Role, Section, sections_of
from diffai.formats.torch.training_state import holds_a_weight, is_generator_state, proves_training
from diffai.frozen import frozen
from diffai.model import Problem, Scalar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

MAX_SCALARS = 20_000
MAX_NUMBERS = 100_000
"""Numbers in lists of training state (loss curves) that are kept as they are, of all lists together."""
TOP = "top level"
ITSELF = "<itself>"
_GREATEST = 1 << 1023  # an integer beyond it has no float


@frozen
class Leaf:
    """A tensor as the pickle has it, and what it is in the model."""

    value: object
    role: Literal["weight", "training", "index"]


class Flat:
    """Result: tensors in file order by name; plain values, apart by what they say; classes; problems."""

    def __init__(self) -> None:
        self.leaves: dict[str, Leaf] = {}
        self.requires_grad: set[str] = set()
        self.training: dict[str, Scalar] = {}
        self.series: dict[str, tuple[float, ...]] = {}
        self.metadata: dict[str, Scalar] = {}
        self.classes: dict[str, str] = {}
        self.problems: list[Problem] = []


def flatten(value: object, budget: Budget) -> Flat:
    """Give names to everything in the object of one file.

    Raises:
        LimitError: too many values, nested too deep, too long names, too much text (PT12).

    """
    walker = _Walker(budget)
    for section in sections_of(value, walker.graph, walker.flat.problems):
        walker.walk(section)
    walker.finish()
    return walker.flat


class _Frame:
    """A container that is being walked: what is left of it, and what kind of container it is ("" = goes unsaid)."""

    __slots__ = ("class_", "identity", "items", "kind", "leaves", "role")

    def __init__(self, value: object, role: Role, leaves: int) -> None:
        self.items: Iterator[tuple[str, object]] = children(value)
        self.identity = id(value)
        self.role = role
        self.class_ = class_name(value.of) if isinstance(value, Stub) else ""
        self.kind = self.class_ or kind_label(value)
        self.leaves = leaves


class _Walker:
    """Walks the sections one after another, keeping names unique."""

    def __init__(self, budget: Budget) -> None:
        self.flat = Flat()
        self.graph = Graph(budget)
        self._budget = budget
        self._plain = PlainValues(budget)
        self._trees = Trees(self.graph, self._plain, budget)
        self._repeated: dict[str, int] = {}
        self._digest: Digest | None = None
        self._left_out = 0
        self._numbers_left = MAX_NUMBERS
        self._root = ""

    def walk(self, section: Section) -> None:
        """All that one section holds, depth first, in file order."""
        self._root = "" if section.name or not isinstance(section.value, Stub) else section.value.of.name
        path = [section.name] if section.name else []
        frames: list[_Frame] = []
        open_ids: set[int] = set()
        if not self._visit(section.value, path, section.role, frames, open_ids):
            return
        while frames:
            frame = frames[-1]
            step = next(frame.items, None)
            if step is None:
                frames.pop()
                open_ids.discard(frame.identity)
                self._leave(frame, path)
                if path and frames:
                    path.pop()
                continue
            self._budget.value()
            name, value = step
            path.append(name)
            if not self._visit(value, path, frame.role, frames, open_ids):
                path.pop()

    def _visit(
        self, value: object, path: list[str], role: Role, frames: list[_Frame], open_ids: set[int]
    ) -> bool:
        """Note what a value is; True when it was entered, so that its parts come next."""
        kind = self.graph.kind(value)
        if kind != "container":
            self._leaf(self._named(path), value, role, is_tensor=kind == "tensor")
            if not (isinstance(value, Tensor) and value.state is not None):
                return False
        if id(value) in open_ids:
            self._scalar(self._named(path), ITSELF, role)  # a cycle: the value is being walked already
            return False
        if self._is_full(role) and not self.graph.holds_tensors(value):
            self._leave_out(self._named(path), self._trees.text(value))
            return False
        self._budget.deep(len(frames) + 1)
        if role != "training" and proves_training(value):
            role = "training"
        elif role == "said" and holds_a_weight(value):
            role = "weight"
        frames.append(_Frame(value, role, len(self.flat.leaves)))
        open_ids.add(id(value))
        return True

    def _named(self, path: list[str]) -> str:
        name = path[0] if len(path) == 1 else ".".join(path)
        self._budget.name(len(name))
        return name

    def _leave(self, frame: _Frame, path: list[str]) -> None:
        """Say what kind of container was walked: a class, or a container whose kind its names do not show."""
        if not frame.kind:
            return
        name = self._named(path) if path else ""
        holds = len(self.flat.leaves) > frame.leaves
        if frame.role in ("training", "said") or (not holds and (frame.role == "configuration" or not frame.class_)):
            self._scalar(name or TOP, f"<{frame.kind}>", frame.role)
        elif len(self.flat.classes) < MAX_SCALARS:
            root = self._root
            key = f"{root}.{name}" if root and name else root or name or TOP
            self.flat.classes[_unique(key, self.flat.classes, self._repeated)] = frame.kind
        else:
            self._leave_out(name, frame.kind)

    def _leaf(self, name: str, value: object, role: Role, *, is_tensor: bool) -> None:
        if not is_tensor:
            self._scalar(name or TOP, self._plain.scalar(value), role)
            if role in ("training", "said") and isinstance(value, (list, tuple)):
                self._numbers(name, value)
        elif isinstance(value, Composite):
            self._composite(name or "tensor", value, role)
        elif isinstance(value, Valueless):
            self.flat.metadata[name] = f"no values (meta device) {self._plain.scalar(value.dtype)} {sizes(value.shape)}"
            self.flat.problems.append(Problem("PT24", "warning", "has no values (meta device)", tensor=name))
        else:
            self._add(name, value, role)

    def _numbers(self, name: str, value: list[object] | tuple[object, ...]) -> None:
        """Keep a list of numbers, such as a loss curve, beside the text that is compared."""
        if not 0 < len(value) <= self._numbers_left or name not in self.flat.training:
            return
        numbers = [number for item in value if (number := _as_float(item)) is not None]
        if len(numbers) == len(value):
            self._numbers_left -= len(numbers)
            self.flat.series[name] = tuple(numbers)

    def _composite(self, name: str, value: Composite, role: Role) -> None:
        if value.size is not None:
            self.flat.metadata[f"{name}.size"] = f"{value.kind} {sizes(value.size)}"
        for part, tensor in value.parts:
            if isinstance(tensor, (Tensor, Recast, Array)):
                self._add(f"{name}.{part}", tensor, role, index=part != "values")

    def _add(self, name: str, value: object, role: Role, *, index: bool = False) -> None:
        name = name or "tensor"
        unique = _unique(name, self.flat.leaves, self._repeated)
        if unique != name:
            message = f"a second tensor has this name; it is shown as {shown(unique)}"
            self.flat.problems.append(Problem("PT23", "warning", message, tensor=name))
        self._budget.value()
        if role == "weight" and is_generator_state(name, value):
            role = "training"
        if role == "weight" and isinstance(value, Array) and value.says:
            role, index = ("training", index) if value.says == "training" else (role, True)
        self.flat.leaves[unique] = Leaf(value, "training" if role != "weight" else "index" if index else "weight")
        if isinstance(value, Tensor):
            if value.requires_grad and role == "weight":
                self.flat.requires_grad.add(unique)
            if value.kind is not None:
                self.flat.classes[f"{self._root}.{unique}" if self._root else unique] = class_name(value.kind)

    def _scalar(self, name: str, value: Scalar, role: Role) -> None:
        if self._is_full(role):
            self._leave_out(name, value)
        else:
            target = self._target(role)
            target[_unique(name, target, self._repeated)] = value

    def _target(self, role: Role) -> dict[str, Scalar]:
        return self.flat.training if role in ("training", "said") else self.flat.metadata

    def _is_full(self, role: Role) -> bool:
        return len(self._target(role)) >= MAX_SCALARS

    def _leave_out(self, name: str, value: Scalar) -> None:
        self._left_out += 1
        self._digest = self._digest or Digest()
        self._digest.update(f"{name}={value!r}\n".encode("utf-8", "backslashreplace"))

    def finish(self) -> None:
        """Values beyond MAX_SCALARS leave their number and digest, so that a change in them still shows."""
        if self._left_out:
            self.flat.metadata["..."] = f"{self._left_out:,} more values, {self._digest}"
            message = f"{self._left_out:,} values that are no tensors are only compared as a whole"
            self.flat.problems.append(Problem("PT26", "warning", message))


def _as_float(item: object) -> float | None:
    """A plain number, NaN included; None for anything else."""
    if type(item) is int and abs(item) > _GREATEST:
        return None
    return float(item) if type(item) in (int, float) else None  # type: ignore[arg-type]


class Trees:
    """Digests of whole structures without tensors, each worked out once however often the file refers to it."""

    def __init__(self, graph: Graph, plain: PlainValues, budget: Budget) -> None:
        self._graph = graph
        self._plain = plain
        self._budget = budget
        self._known: dict[int, tuple[object, str]] = {}

    def text(self, value: object, depth: int = 1) -> str:
        """What a value holds, as a digest of its kind and of names and texts of its parts.

        Raises:
            LimitError: nested too deep, too many values.

        """
        if self._graph.kind(value) != "container":
            return repr(self._plain.scalar(value))
        known = self._known.get(id(value))
        if known is None:
            self._budget.deep(depth)
            self._known[id(value)] = value, ITSELF
            digest = Digest()
            lines = [class_name(value.of) if isinstance(value, Stub) else kind_label(value)]
            for name, part in children(value):
                self._budget.value()
                lines.append(f"{name}={self.text(part, depth + 1)}\n")
            digest.update("".join(sorted(lines)).encode("utf-8", "backslashreplace"))
            known = self._known[id(value)] = value, str(digest)
        return known[1]


def _unique(name: str, taken: dict[str, object] | dict[str, Leaf] | dict[str, Scalar] | dict[str, str],
            repeated: dict[str, int]) -> str:  # fmt: skip
    """The name, or ``name#2`` and so on where it is taken already."""
    if name not in taken:
        return name
    number = repeated.get(name, 2)
    while f"{name}#{number}" in taken:
        number += 1
    repeated[name] = number + 1
    return f"{name}#{number}"


