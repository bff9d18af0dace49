"""``NodeProto`` and ``GraphProto`` as they were walked: what is said of them is worked out when somebody asks."""

from __future__ import annotations

import re

from diffai.formats.protobuf import LENGTH, WHOLE, Message, varint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.formats.onnx.attributes import Attributes

_LONGEST = 1 << 16
_SHORT = 16
_AUTOMATIC = re.compile(
    r"\d+|onnx::\w+|const_fold_opt__\d+|_v_\d+|val_\d+|Constant_\d+|(.*/)?Constant(_\d+)?_output_\d+|.+__\d+"
)


_TOLD = (b"Constant", b"DequantizeLinear")  # nodes that say something of tensors


def automatic(name: str) -> bool:
    """Whether a name is one that every export gives anew: numbered by PyTorch, by tf2onnx, by an optimizer."""
    return _AUTOMATIC.fullmatch(name) is not None


class Known:
    """A constant that nodes of a graph can use: its full name, element type and dimensions."""

    __slots__ = ("_short", "dims", "dtype", "name")

    def __init__(self, name: str, short: str, dtype: str, dims: tuple[int, ...]) -> None:
        self.name, self._short, self.dtype, self.dims = name, short, dtype, dims

    @property
    def automatic(self) -> bool:
        """Whether every export gives its name anew."""
        return automatic(self._short)


class Node:
    """A node: attributes that are only text are kept as the messages that they are, others as what was read of them.

    ``constant`` says what the one tensor is that a Constant is.
    """

    __slots__ = ("attributes", "constant", "domain", "inputs", "name", "operator", "outputs", "parts", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.name = self.operator = self.domain = self.constant = ""
        self.attributes: list[Message] = []
        self.parts: Attributes | None = None

    @property
    def title(self) -> str:
        """The operator, with its domain where that is not ONNX's own."""
        return self.operator if self.domain in ("", "ai.onnx") else f"{self.domain}.{self.operator}"


class Graph:
    """A graph, or the body of a function: what it is made of, and the constants that its nodes can use by name.

    ``inputs`` and ``outputs`` are names with types.
    """

    __slots__ = ("arguments", "constants", "inputs", "nodes", "outer", "outputs", "prefix")

    def __init__(self, prefix: str, outer: Graph | None) -> None:
        self.prefix, self.outer = prefix, outer
        self.nodes: list[Node | Message] = []  # a message is a node that holds nothing but words, not read yet
        self.inputs: list[tuple[str, str]] = []
        self.outputs: list[tuple[str, str]] = []
        self.arguments: list[str] = []
        self.constants: dict[str, Known] = {}

    def constant(self, name: str) -> Known | None:
        """The constant that a name means here, looked for in the graphs around too."""
        graph: Graph | None = self
        while graph is not None:
            found = graph.constants.get(name)
            if found is not None:
                return found
            graph = graph.outer
        return None


def attributes_in(message: Message) -> int:
    """How many attributes a node has; -1 where it has to be read to know what it holds.

    Raises:
        FormatError: the bytes are no message; with the offset.

    """
    if message.stop - message.start > WHOLE:
        return -1
    data, base = message.held()
    at, stop = message.start - base, message.stop - base
    count = 0
    while at < stop:
        key = data[at]
        if at + 2 > stop or data[at + 1] > 127 or key & 7 != LENGTH or key > 127:
            return -1  # long, odd or damaged
        if key == 0x2A:
            count += 1
        elif key == 0x22 and data[at + 2 : at + 2 + data[at + 1]] in _TOLD:
            return -1
        at += 2 + data[at + 1]
    return count if at == stop else -1


def read_node(message: Message) -> Node:
    """The fields of a ``NodeProto``.

    Raises:
        FormatError: the bytes are no message; with the offset.

    """
    node = Node(message.start)
    if message.stop - message.start > WHOLE:
        return _read_slowly(message)
    data, base = message.held()
    at, stop = message.start - base, message.stop - base
    while at < stop:
        key, first = data[at], at + 2
        size = data[at + 1] if first <= stop else 128
        end = first + size
        if size > 127 or end > stop or key & 7 != LENGTH or key > 127:
            return _read_slowly(message)  # long, odd or damaged
        at = end
        if key == 0x0A:
            node.inputs.append(data[first:end].decode("utf-8", "backslashreplace"))
        elif key == 0x12:
            node.outputs.append(data[first:end].decode("utf-8", "backslashreplace"))
        elif key == 0x1A:
            node.name = data[first:end].decode("utf-8", "backslashreplace")
        elif key == 0x22:
            node.operator = data[first:end].decode("utf-8", "backslashreplace")
        elif key == 0x2A:
            node.attributes.append(message.within(base + first, base + end))
        elif key == 0x3A:
            node.domain = data[first:end].decode("utf-8", "backslashreplace")
    return node


def _read_slowly(message: Message) -> Node:
    node = Node(message.start)
    for number, kind, a, b in message.fields():
        if kind != LENGTH:
            continue
        if number == 5:
            node.attributes.append(message.within(a, b))
        elif number in (1, 2):
            (node.inputs if number == 1 else node.outputs).append(message.text(a, b))
        elif number == 3:
            node.name = message.text(a, b)
        elif number == 4:
            node.operator = message.text(a, b)
        elif number == 7:
            node.domain = message.text(a, b)
    return node


def tensor_in(message: Message) -> Message | None:
    """The tensor that is all of an attribute; None where it has anything else."""
    if message.stop - message.start > _LONGEST:
        return None
    data, base = message.held()
    at, stop = message.start - base, message.stop - base
    found: Message | None = None
    while at + 1 < stop:
        key, size, first = data[at], data[at + 1], at + 2
        if key == 0xA0 and size == 1:  # the type
            at += 3
            continue
        if size > 127 and key in (0x0A, 0x2A):
            size, first = varint(data, at + 1, stop, base)
        at = first + size
        if key == 0x2A and found is None and at <= stop:
            found = message.within(base + first, base + at)
        elif key != 0x0A:
            return None
    return found if at == stop else None


def is_plain(message: Message) -> bool:
    """Whether an attribute is certainly nothing but a number, a string or a few whole numbers."""
    if message.stop - message.start > _LONGEST:
        return False
    data, base = message.held()
    at, stop = message.start - base, message.stop - base
    numbers = 0
    while at + 1 < stop:
        key = data[at]
        kind = key & 7
        if kind == LENGTH:
            size = data[at + 1]
            if size > 127 or key not in (0x0A, 0x22, 0x42, 0x6A):  # name, string, numbers, documentation
                return False
            numbers += size if key == 0x42 else 0
            at += 2 + size
        elif key == 0x15:  # a float
            at += 5
        elif key in (0x18, 0x40):  # a whole number, one of several
            numbers += key == 0x40
            at += 2
            while at <= stop and data[at - 1] > 127:
                at += 1
        elif key == 0xA0 and data[at + 1] == 1:  # the type
            at += 3
        else:
            return False
    return at == stop and numbers <= _SHORT
