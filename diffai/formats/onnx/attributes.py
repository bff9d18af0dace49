"""Attributes of nodes: short ones are text, tensors and long lists are weights, graphs are walked."""

from __future__ import annotations

import struct

from diffai.formats.onnx.nodes import Graph, Known, Node
from diffai.formats.onnx.tensors import STRING, TensorProto, parse
from diffai.formats.onnx.types import payload_digest, quoted
from diffai.formats.protobuf import FIXED32, LENGTH, VARINT, Message, signed, varints

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object

_SHORT = 16  # lists up to this many numbers are attributes, longer ones are weights


class Reader(Protocol):
    """The walk over a model, as far as attributes need it."""

    def add(self, tensor: TensorProto, message: Message, name: str) -> None:
        """Take a tensor in."""

    def add_list(self, name: str, dtype: str, message: Message, places: list[tuple[int, int, int]]) -> str:
        """Take a list of numbers in; a digest of what it is."""

    def sparse(self, message: Message, graph: Graph, name: str) -> None:
        """Take a sparse tensor in."""

    def graph_of(self, message: Message, graph: Graph, depth: int) -> None:
        """Walk a graph inside the graph."""


class Owner:
    """The node that has attributes: where its weights belong.

    Attributes:
        reader: takes weights in.
        graph: the graph it is in; depth: of that graph.
        name: what its weights are called by.
        outputs: of a Constant, whose weights are called by its output.
        learned: whether short lists are weights too.
    """

    __slots__ = ("depth", "graph", "learned", "name", "outputs", "reader")

    def __init__(self, reader: Reader, graph: Graph, depth: int, node: Node, learned: bool) -> None:
        self.reader, self.graph, self.depth, self.learned = reader, graph, depth, learned
        self.name = graph.prefix + (node.name or next(filter(None, node.outputs), node.operator))
        self.outputs = node.outputs if node.operator == "Constant" else []

    def title(self, name: str) -> str:
        """What a weight in the attribute ``name`` is called."""
        output = next(filter(None, self.outputs), "")
        return self.graph.prefix + output if output else f"{self.name}.{name}"


class Attributes:
    """The attributes of one node: short ones as text, tensors and long lists as weights, graphs walked.

    Without an ``owner`` only attributes may be added that hold no weights and no graphs.

    Attributes:
        texts: of those that are text.
        marks: digests of what weights there are.
        graphs: those inside, by attribute.
    """

    __slots__ = ("_owner", "graphs", "marks", "texts")

    def __init__(self, owner: Owner | None) -> None:
        self._owner = owner
        self.texts: list[str] = []
        self.marks: list[str] = []
        self.graphs: list[tuple[str, Graph]] = []

    def add(self, message: Message) -> None:
        """Take in one ``AttributeProto``."""
        name = ""
        texts: list[str] = []
        lists: dict[int, list[tuple[int, int, int]]] = {}
        parts: list[tuple[int, Message]] = []
        for number, kind, a, b in message.fields():
            if number == 1 and kind == LENGTH:
                name = message.text(a, b)
            elif number == 2 and kind == FIXED32:
                texts.append(repr(struct.unpack("<f", message.content(a, b))[0]))
            elif number == 3 and kind == VARINT:
                texts.append(str(signed(a)))
            elif number == 4 and kind == LENGTH:
                texts.append(quoted(message, a, b))
            elif number in (5, 6, 10, 11, 22, 23) and kind == LENGTH:
                parts.append((number, message.within(a, b)))
            elif number in (7, 8, 9):
                lists.setdefault(number, []).append((kind, a, b))
            elif number in (14, 15) and kind == LENGTH:
                texts.append(payload_digest(message, a, b))
            elif number == 21 and kind == LENGTH:
                texts.append("@" + message.text(a, b))
        for number, places in lists.items():
            text = self._list(name, number, message, places)
            if text:
                texts.append(text)
        for index, (number, part) in enumerate(parts):
            self._part(name if len(parts) == 1 else f"{name}.{index}", number, part)
        if texts:
            self.texts.append(f"{name}={', '.join(texts)}")

    def _list(self, name: str, number: int, message: Message, places: list[tuple[int, int, int]]) -> str:
        """A short list as text; a long one becomes a tensor."""
        if number == 9:
            shown = [quoted(message, a, b) for _, a, b in places[:_SHORT]]
            if len(places) > _SHORT:
                shown.append(f"... {len(places):,} strings, {payload_digest(message, places[0][1], places[-1][2])}")
            return f"[{', '.join(shown)}]"
        if number == 7:
            count = sum(b - a for _, a, b in places) // 4
            if count > _SHORT or (self._owner is not None and self._owner.learned):
                return self._weights(name, "F32", message, places)
            floats = [value for _, a, b in places for (value,) in struct.iter_unpack("<f", message.content(a, b))]
            return f"[{', '.join(map(repr, floats))}]"
        if sum(1 if kind == VARINT else b - a for kind, a, b in places) > 10 * _SHORT:
            return self._weights(name, "I64", message, places)
        numbers = [n for kind, a, b in places for n in ([a] if kind == VARINT else varints(message.content(a, b)))]
        if len(numbers) > _SHORT:
            return self._weights(name, "I64", message, places)
        return f"[{', '.join(str(signed(n)) for n in numbers)}]"

    def _weights(self, name: str, dtype: str, message: Message, places: list[tuple[int, int, int]]) -> str:
        assert self._owner is not None
        self.marks.append(self._owner.reader.add_list(self._owner.title(name), dtype, message, places))
        return ""

    def _part(self, name: str, number: int, part: Message) -> None:
        """A tensor, a sparse tensor or a graph."""
        owner = self._owner
        assert owner is not None
        if number in (5, 10):
            tensor = parse(part)
            owner.reader.add(tensor, part, owner.title(name))
            self.marks.append(f"tensor {name} {tensor.dtype} {tensor.dims!r}")
            if owner.outputs and tensor.kind != STRING:
                output = next(filter(None, owner.outputs), "")
                owner.graph.constants[output] = Known(owner.title(name), output, tensor.dtype, tensor.dims)
        elif number in (22, 23):
            owner.reader.sparse(part, Graph("", None), owner.title(name))
            self.marks.append(f"sparse {name}")
        else:
            inner = Graph(f"{owner.name}.{name}/", owner.graph)
            owner.reader.graph_of(part, inner, owner.depth + 1)
            self.graphs.append((name, inner))
