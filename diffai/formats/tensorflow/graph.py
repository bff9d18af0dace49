"""TensorFlow's graphs: a frozen ``.pb``, and ``saved_model.pb``, one model with the variables below its folder.

Constants of the graph are tensors; of functions those of more than 16 elements, as the others (shapes, axes) are part
of what the graph computes. Specification: ``graph.proto``, ``saved_model.proto`` of TensorFlow.

==== ======================================================================================================
code reason
==== ======================================================================================================
TG01 the file is no graph, or is cut off
TG02 a constant's values do not fit its shape, or its name stands twice
TG03 the graph is longer than the limits allow
TG04 the graph has variables, and ``variables/variables.index`` is not here
==== ======================================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import blake2b

from diffai.errors import FormatError, SourceError
from diffai.formats.base import Budget, Limits
from diffai.formats.digests import digest_of
from diffai.formats.protobuf import LENGTH, VARINT, Field, Message
from diffai.formats.stored import reader
from diffai.formats.tensorflow import constants
from diffai.formats.tensorflow.bundle import BundleCheckpoint, read_bundle
from diffai.formats.tensorflow.types import DTYPES, dtype_name, shape_of, shape_text
from diffai.model import Scalar, element_count
from diffai.sources.base import Source
from diffai.sources.directory import UnresolvedError

NAME = "tf-graph"

_SMALL = 16
_VARIABLES = frozenset(("VarHandleOp", "VariableV2", "Variable"))
_NUMBERED = re.compile(r"_\d+$")
#: Attributes that say where or under which name something runs, not what it computes.
_ASIDE = frozenset(("shared_name", "container", "_output_shapes", "_class", "device"))


def recognise(head: bytes, size: int, name: str) -> bool:
    """Whether content is a graph: a node with a name and an operator first, or a version and a message of meta data."""
    if len(head) > 8 and head[:3] == b"\x08\x01\x12":
        at = 3
        while at < 12 and head[at] & 0x80:
            at += 1
        return head[at + 1 : at + 2] == b"\x0a" and not name.lower().endswith(".mlmodel")
    if len(head) < 8 or head[0] != 0x0A:
        return False
    at = 1
    while at < 8 and head[at] & 0x80:
        at += 1
    at += 1
    if head[at : at + 1] != b"\x0a":
        return False
    stop = at + 2 + head[at + 1]
    return head[at + 1] < 128 and head[stop : stop + 1] == b"\x12" and head[at + 2 : stop].isascii()


class GraphCheckpoint(BundleCheckpoint):
    """An opened graph, with its variables where it has any."""

    def __init__(self, source: Source, limits: Limits) -> None:
        super().__init__(NAME, source, limits)
        self.texts: dict[str, Scalar] = {}
        self.metadata = self.texts


class _Reader:
    """One walk over a graph."""

    def __init__(self, checkpoint: GraphCheckpoint, budget: Budget) -> None:
        self._checkpoint, self._budget = checkpoint, budget
        self._operators: dict[str, int] = {}
        self.saved = self.variables = False

    def file(self, message: Message) -> None:
        """A ``SavedModel`` or a ``GraphDef``."""
        lines = self._checkpoint.lines
        fields = list(_bounded(message, self._budget))
        self.saved = any(number == 1 and kind == VARINT for number, kind, _, _ in fields[:1])
        graphs = [message.within(a, b) for number, kind, a, b in fields if number == 2 and kind == LENGTH]
        if not self.saved:
            self._graph(message, "")
        elif not graphs:
            raise FormatError("has no graph", code="TG01", offset=0)
        for index, graph in enumerate(graphs if self.saved else ()):
            self._meta_graph(graph, f"graph{index}/" if index else "")
        if not self._operators:
            raise FormatError("has no graph", code="TG01", offset=0)
        lines.update((f"operator {name}", str(count)) for name, count in sorted(self._operators.items()))

    def _meta_graph(self, message: Message, prefix: str) -> None:
        for number, kind, a, b in message.fields():
            if kind != LENGTH:
                continue
            inside = message.within(a, b)
            if number == 1:
                self._meta_info(inside, prefix)
            elif number == 2:
                self._graph(inside, prefix)
            elif number == 5:
                self._signature(inside, prefix)

    def _meta_info(self, message: Message, prefix: str) -> None:
        tags = [message.text(a, b) for number, kind, a, b in message.fields() if number == 4 and kind == LENGTH]
        self._checkpoint.lines[f"{prefix}tags"] = ", ".join(tags)
        for number, kind, a, b in message.fields():
            if number == 5 and kind == LENGTH:
                self._checkpoint.texts[f"{prefix}tensorflow_version"] = message.text(a, b)

    def _signature(self, message: Message, prefix: str) -> None:
        """Names, types and shapes that callers use."""
        name, value = _map_entry(message)
        if value is None:
            return
        for number, kind, a, b in value.fields():
            if number in (1, 2) and kind == LENGTH:
                key, info = _map_entry(value.within(a, b))
                what = "input" if number == 1 else "output"
                self._checkpoint.lines[f"{prefix}{name} {what} {key}"] = _tensor_info(info) if info else "unknown"

    def _graph(self, message: Message, prefix: str) -> None:
        """A ``GraphDef``: its nodes, and the functions of its library."""
        nodes: list[bytes] = []
        functions: list[bytes] = []
        for number, kind, a, b in _bounded(message, self._budget):
            if kind != LENGTH:
                continue
            if number == 1:
                nodes.append(self._node(message.within(a, b), prefix, own=True))
            elif number == 2:
                library = message.within(a, b)
                inside = [library.within(c, d) for n, k, c, d in library.fields() if (n, k) == (1, LENGTH)]
                functions += [self._function(function, prefix) for function in inside]
        self._checkpoint.lines[f"{prefix}wiring"] = digest_of(*sorted(nodes), *sorted(functions)).hex()
        if functions:
            self._checkpoint.lines[f"{prefix}functions"] = str(len(functions))

    def _function(self, message: Message, prefix: str) -> bytes:
        """A ``FunctionDef``; the number that every export gives its name anew is left aside."""
        name, nodes = "", []
        for number, kind, a, b in message.fields():
            if number == 1 and kind == LENGTH:
                signature = message.within(a, b)
                name = next((signature.text(c, d) for n, k, c, d in signature.fields() if (n, k) == (1, LENGTH)), "")
            elif number == 3 and kind == LENGTH:
                nodes.append(self._node(message.within(a, b), f"{prefix}{name}/", own=False))
        return digest_of(_NUMBERED.sub("", name), *sorted(nodes))

    def _node(self, message: Message, prefix: str, *, own: bool) -> bytes:
        """A ``NodeDef``: its constants, its line, and a digest of what it says."""
        self._budget.step()
        name = operator = ""
        inputs: list[str] = []
        attributes: list[tuple[str, Message]] = []
        for number, kind, a, b in message.fields():
            if kind != LENGTH:
                continue
            if number == 1:
                name = message.text(a, b)
            elif number == 2:
                operator = message.text(a, b)
            elif number == 3:
                inputs.append(message.text(a, b))
            elif number == 5:
                key, value = _map_entry(message.within(a, b))
                if value is not None and key not in _ASIDE:
                    attributes.append((key, value))
        self._budget.name(len(name))
        self._operators[operator] = self._operators.get(operator, 0) + 1
        self.variables = self.variables or operator in _VARIABLES
        parts = [self._attribute(key, value, prefix + name, own=own) for key, value in sorted(attributes, key=_key)]
        if own and operator != "Const":
            self._checkpoint.lines[f"node {prefix}{name}"] = f"{operator}({', '.join(filter(None, inputs))})"
        return digest_of(name, operator, *(_NUMBERED.sub("", text) for text in inputs), *parts)

    def _attribute(self, key: str, value: Message, name: str, *, own: bool) -> bytes:
        """An ``AttrValue``: a tensor is a constant, the rest is told by its bytes, the numbers of functions aside."""
        for number, kind, a, b in value.fields():
            if number == 8 and kind == LENGTH and key == "value":
                return self._constant(constants.parse(value.within(a, b)), name, own=own)
            if number == 10 and kind == LENGTH:
                function = value.within(a, b)
                called = next((function.text(c, d) for n, k, c, d in function.fields() if (n, k) == (1, LENGTH)), "")
                return digest_of(key, _NUMBERED.sub("", called))
        digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16)
        for at in range(value.start, value.stop, 1 << 20):
            digest.update(value.content(at, min(at + (1 << 20), value.stop)))
        return digest.digest()

    def _constant(self, constant: constants.Constant, name: str, *, own: bool) -> bytes:
        """Take in a constant, or give the digest of one that is part of what the graph computes."""
        checkpoint, dtype = self._checkpoint, dtype_name(constant.kind)
        few = element_count(constant.shape) <= _SMALL if min(constant.shape, default=0) >= 0 else False
        if constant.kind not in DTYPES or (few and not own):
            return digest_of("value", constants.digest(constant))
        try:
            region = constants.values_of(constant, dtype, self._budget)
            checkpoint.place(name, dtype, constant.shape, region if region.size else None)
        except FormatError as error:
            error.code, error.tensor = error.code or "TG02", error.tensor or name
            raise
        return digest_of("constant", dtype, repr(constant.shape))


def _bounded(message: Message, budget: Budget) -> Iterator[Field]:
    """The fields of a message, each a step of the budget."""
    for field in message.fields():
        budget.step()
        yield field


def _key(attribute: tuple[str, Message]) -> str:
    return attribute[0]


def _map_entry(message: Message) -> tuple[str, Message | None]:
    """An entry of a map whose values are messages."""
    key, value = "", None
    for number, kind, a, b in message.fields():
        if number == 1 and kind == LENGTH:
            key = message.text(a, b)
        elif number == 2 and kind == LENGTH:
            value = message.within(a, b)
    return key, value


def _tensor_info(message: Message) -> str:
    """A ``TensorInfo``: ``F32 [?, 224, 3]``."""
    dtype, shape = "unknown", ""
    for number, kind, a, b in message.fields():
        if number == 2 and kind == VARINT:
            dtype = dtype_name(a)
        elif number == 3 and kind == LENGTH:
            shape = f" {shape_text(shape_of(message.within(a, b)))}"
    return dtype + shape


def _read(checkpoint: GraphCheckpoint, limits: Limits) -> None:
    walk = _Reader(checkpoint, Budget(limits, "TG03"))
    walk.file(Message(checkpoint.source, 0, checkpoint.source.size))
    if walk.saved and walk.variables:  # the checkpoint below a SavedModel's folder is part of the model
        try:
            index = checkpoint.companions.need("variables/variables.index")
        except UnresolvedError:
            raise
        except SourceError as error:
            raise FormatError(f"has variables that cannot be opened: {error}", code="TG04", offset=0) from error
        read_bundle(checkpoint, index, "variables/variables", Budget(limits, "TF05"))


open_checkpoint, check = reader(GraphCheckpoint, _read, "TG01", missing="TF06")
