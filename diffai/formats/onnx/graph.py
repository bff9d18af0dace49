"""What a graph says of its computation, and what uses a constant: worked out when somebody asks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from diffai.formats.onnx.attributes import Attributes
from diffai.formats.onnx.nodes import Graph, Known, Node, read_node
from diffai.formats.protobuf import LENGTH, VARINT, Message, signed
from diffai.model import Decoding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    V = TypeVar("V")
    Value = str | bytes

NOT_ONE = Decoding("")
"""Of codes that are decoded in two ways."""

_COUNTED = re.compile(r"[A-Za-z]*_?\d+")


def decoding(node: Node, graph: Graph) -> tuple[str, Decoding] | None:
    """The codes that a ``DequantizeLinear`` decodes and how, where codes and scale are constants."""
    codes, scale, zeros = (graph.constant(name) if name else None for name in [*node.inputs, "", "", ""][:3])
    if codes is None or scale is None or (len(node.inputs) > 2 and node.inputs[2] and zeros is None):
        return None
    numbers = dict(map(_number, node.attributes))
    how = Decoding(scale.name, zeros.name if zeros else "", numbers.get("axis", 1), numbers.get("block_size", 0))
    return codes.name, how


def _number(message: Message) -> tuple[str, int]:
    name, number = "", 0
    for field, kind, a, b in message.fields():
        if field == 1 and kind == LENGTH:
            name = message.text(a, b)
        elif field == 3 and kind == VARINT:
            number = signed(a)
    return name, number


class Later(Mapping[str, "V"]):
    """A mapping that is made when it is first looked into."""

    def __init__(self, make: Callable[[], Mapping[str, V]]) -> None:
        self._make = make

    def __getitem__(self, key: str) -> V:
        return self._make()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._make())

    def __len__(self) -> int:
        return len(self._make())


class _Scope:
    """Values by name: digests of how they are computed, what makes them, and the constant that they still are."""

    __slots__ = ("constants", "makers", "outer", "values")

    def __init__(self, outer: _Scope | None) -> None:
        self.outer = outer
        self.values: dict[str, Value] = {}
        self.makers: dict[str, str] = {}
        self.constants: dict[str, Known] = {}

    def value(self, name: str) -> Value:
        scope: _Scope | None = self
        while scope is not None:
            found = scope.values.get(name)
            if found is not None:
                return found
            scope = scope.outer
        return f"? {name}" if name else ""

    def maker(self, name: str) -> str:
        scope: _Scope | None = self
        while scope is not None:
            found = scope.makers.get(name)
            if found is not None:
                return found
            scope = scope.outer
        return ""


class Description:
    """The graphs of a model, described once.

    Attributes:
        whole, functions, training: what was walked.
        graph: as :attr:`diffai.model.Checkpoint.graph`; ``uses``: as its attribute of that name.
    """

    def __init__(self, lines: Mapping[str, str]) -> None:
        self.whole = Graph("", None)
        self.functions: list[tuple[str, Graph]] = []
        self.training: list[tuple[str, Graph]] = []
        self.graph: Mapping[str, str] = Later(lambda: self._described[0])
        self.uses: Mapping[str, tuple[str, ...]] = Later(lambda: self._described[1])
        self._early = lines
        self._made: tuple[dict[str, str], dict[str, tuple[str, ...]]] | None = None
        self._operators: dict[str, int] = {}
        self._used: dict[str, list[tuple[str, str]]] = {}

    @property
    def _described(self) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
        if self._made is None:
            lines = dict(self._early)
            wiring = self._graph(self.whole, _Scope(None), lines, "")
            for title, body in self.functions:
                lines[f"function {title}"] = self._graph(body, _Scope(None), lines, title).hex()
            for title, graph in self.training:
                lines[f"training {title}"] = self._graph(graph, _Scope(None), lines, title).hex()
            lines.update((f"operator {name}", str(count)) for name, count in sorted(self._operators.items()))
            lines["wiring"] = wiring.hex()
            uses = {name: tuple(_digest(*sorted(k)).hex() for k in zip(*keys, strict=True)) for name, keys in
                    self._used.items()}  # fmt: skip
            self._made = lines, uses
        return self._made

    def _graph(self, graph: Graph, scope: _Scope, lines: dict[str, str], inside: str) -> bytes:
        """A digest of what a graph computes; numbered names of constants and names of values take no part in it."""
        for argument in graph.arguments:
            scope.values[argument[1:]] = f"argument {argument[1:]}"
        for name, known in graph.constants.items():
            own = "" if known.automatic else name
            scope.values[name] = repr(("constant", own, known.dtype, known.dims))
            scope.constants[name] = known
        top = not graph.prefix
        for name, described in graph.inputs:
            if name not in graph.constants:
                scope.values[name] = f"input {name}"
            if top:
                lines[f"input {name}"] = described
        nodes = (read_node(node) if isinstance(node, Message) else node for node in graph.nodes)
        made = sorted(self._node(node, graph, scope, lines) for node in nodes)
        if top:
            lines.update((f"output {name}", described) for name, described in graph.outputs)
        return _digest("graph", inside, graph.arguments, made, [scope.value(name) for name, _ in graph.outputs])

    def _node(self, node: Node, graph: Graph, scope: _Scope, lines: dict[str, str]) -> bytes:
        """One node: its line, and a digest of what it computes."""
        title = node.title
        self._operators[title] = self._operators.get(title, 0) + 1
        texts, marks = self._attributes(node, scope, lines)
        if node.name and node.operator != "Constant":
            lines[f"node {graph.prefix}{node.name}"] = f"{title}({', '.join(texts)})" if texts else title
        values = [scope.value(name) for name in node.inputs]
        digest = _digest(title, marks, values)
        name = "" if _COUNTED.fullmatch(node.name) else node.name
        constants = [_constant(name, graph, scope) for name in node.inputs]
        if constants and all(constants):  # a constant still, decoded or turned round: what uses it is further on
            first = constants[0]
            assert first is not None
            scope.constants.update((output, first) for output in node.outputs if output)
        else:
            for slot, known in enumerate(constants):
                if known is not None and known.automatic:
                    self._use(known, (name, title, marks, slot), [scope.maker(i) for i in node.inputs], values)
        for index, output in enumerate(node.outputs):
            if output:
                scope.values[output] = digest + index.to_bytes(4, "little") if index else digest
                scope.makers[output] = f"{title} {name}"
        return digest

    def _use(
        self, known: Known, node: tuple[str, str, list[str], int], makers: list[str], values: list[Value]
    ) -> None:
        """Note two keys of a use of a constant: by all that leads to it, and by the nodes next to it."""
        name, title, marks, slot = node
        others = [value for place, value in enumerate(values) if place != slot]
        near = [
            maker or (value if isinstance(value, str) else "")
            for place, (maker, value) in enumerate(zip(makers, values, strict=True))
            if place != slot
        ]
        deep = _digest("deep", title, marks, slot, known.dims, others).hex()
        local = _digest("near", name, title, marks, slot, known.dims, near).hex()
        self._used.setdefault(known.name, []).append((deep, local))

    def _attributes(self, node: Node, scope: _Scope, lines: dict[str, str]) -> tuple[list[str], list[str]]:
        """Attributes as text, and all of them as marks of what the node computes; both sorted."""
        if node.constant or not node.attributes:
            return [], [node.constant] if node.constant else []
        parts = node.parts
        if parts is None:
            parts = Attributes(None)
            for message in node.attributes:
                parts.add(message)
        texts = sorted(parts.texts)
        inner = [f"graph {name} {self._graph(each, _Scope(scope), lines, '').hex()}" for name, each in parts.graphs]
        return texts, sorted([*texts, *parts.marks, *inner])


def _constant(name: str, graph: Graph, scope: _Scope) -> Known | None:
    """The constant that an input is, be it by way of nodes that have nothing but constants."""
    if not name:
        return None
    inner: _Scope | None = scope
    while inner is not None:
        found = inner.constants.get(name)
        if found is not None:
            return found
        inner = inner.outer
    return graph.constant(name)


def _digest(*parts: object) -> bytes:
    """A digest of parts by what they are written as, so that none runs into the next."""
    from hashlib import blake2b

    return blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=16).digest()
