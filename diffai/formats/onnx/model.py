"""``ModelProto``: every constant of a model as a tensor, and its graph as lines of text."""

from __future__ import annotations

import struct

from diffai.errors import FormatError, LimitError, SourceError
from diffai.formats.base import Budget, Limits
from diffai.formats.onnx.attributes import Attributes, Owner
from diffai.formats.onnx.graph import NOT_ONE, Description, decoding
from diffai.formats.onnx.nodes import Graph, Known, attributes_in, is_plain, read_node, tensor_in
from diffai.formats.onnx.tensors import (
    SMALL,
    STRING,
    SmallCoder,
    TensorProto,
    entry,
    external_region,
    parse,
    strings_of,
    values_of,
)
from diffai.formats.onnx.types import value_info
from diffai.formats.protobuf import LENGTH, VARINT, Message, signed, varints
from diffai.formats.regions import BytesRegion, FileRegion, LazyRegion
from diffai.formats.stored import StoredCheckpoint
from diffai.model import Decoding, Scalar, byte_count, element_count
from diffai.sources.base import Source

_NODE_STEPS, _ATTRIBUTE_STEPS = 11, 7  # what reading them costs, in instructions of a pickle
_DEPTH = 64
_ML = "ai.onnx.ml"


class OnnxCheckpoint(StoredCheckpoint):
    """An opened ONNX model."""

    not_expressible = frozenset(("training", "classes", "ties", "requires_grad"))

    def __init__(self, source: Source, limits: Limits) -> None:
        super().__init__(source, "onnx", limits.max_spool)
        self.lines: dict[str, str] = {}
        self.texts: dict[str, Scalar] = {}
        self.decodings: dict[str, Decoding] = {}
        self.description = Description(self.lines)
        self.graph, self.metadata = self.description.graph, self.texts
        self.uses, self.scaled = self.description.uses, self.decodings


def read_model(checkpoint: OnnxCheckpoint, limits: Limits) -> None:
    """Fill a checkpoint from its source; its graph is described when it is asked for.

    Raises:
        FormatError: see the table of the package.

    """
    _Reader(checkpoint, limits).model(Message(checkpoint.source, 0, checkpoint.source.size))


class _Reader:
    """One walk over a model."""

    def __init__(self, checkpoint: OnnxCheckpoint, limits: Limits) -> None:
        self._checkpoint = checkpoint
        self._header, self.budget = limits.max_header, Budget(limits, "ON09")
        self._strings: set[str] = set()

    def model(self, message: Message) -> None:
        lines, texts = self._checkpoint.lines, self._checkpoint.texts
        producer = ["", ""]
        graphs: list[Message] = []
        functions: list[Message] = []
        training: list[Message] = []
        for number, kind, a, b in message.fields():
            if number == 1 and kind == VARINT:
                lines["ir version"] = str(a)
            elif number in (2, 3) and kind == LENGTH:
                producer[number - 2] = message.text(a, b)
            elif number in (4, 6) and (kind == VARINT or b > a):
                texts["model_version" if number == 4 else "doc_string"] = a if kind == VARINT else message.text(a, b)
            elif number == 7 and kind == LENGTH:
                graphs.append(message.within(a, b))
            elif number == 8 and kind == LENGTH:
                self._opset(message.within(a, b))
            elif number == 14 and kind == LENGTH:
                key, value = entry(message.within(a, b))
                texts[key] = value
            elif number == 20 and kind == LENGTH:
                training.append(message.within(a, b))
            elif number == 25 and kind == LENGTH:
                functions.append(message.within(a, b))
        if any(producer):
            lines["producer"] = " ".join(filter(None, producer))
        if len(graphs) != 1:
            raise FormatError(f"has {len(graphs)} graphs" if graphs else "has no graph", code="ON02", offset=0)
        description = self._checkpoint.description
        self.graph_of(graphs[0], description.whole, 0)
        for function in functions:
            description.functions.append(self._function(function))
        for index, part in enumerate(training):
            self._training(part, index)

    def _opset(self, message: Message) -> None:
        domain, version = "ai.onnx", 0
        for number, kind, a, b in message.fields():
            if number == 1 and kind == LENGTH:
                domain = message.text(a, b) or domain
            elif number == 2 and kind == VARINT:
                version = signed(a)
        self._checkpoint.lines[f"opset {domain}"] = str(version)

    def _function(self, message: Message) -> tuple[str, Graph]:
        """A local function: its nodes' constants are weights too, and its body is part of the graph."""
        name = domain = ""
        nodes: list[Message] = []
        arguments: list[str] = []
        for number, kind, a, b in message.fields():
            if kind != LENGTH:
                continue
            if number == 1:
                name = message.text(a, b)
            elif number == 10:
                domain = message.text(a, b)
            elif number in (4, 5, 6):
                arguments.append(f"{number}{message.text(a, b)}")
            elif number == 7:
                nodes.append(message.within(a, b))
        title = f"{domain}.{name}" if domain else name
        body = Graph(f"{title}/", None)
        body.arguments = arguments
        for node in nodes:
            self._node(node, body, 1)
        return title, body

    def _training(self, message: Message, index: int) -> None:
        for number, kind, a, b in message.fields():
            if number in (1, 2) and kind == LENGTH:
                what = "initialization" if number == 1 else "algorithm"
                graph = Graph(f"training{index}.{what}/", None)
                self.graph_of(message.within(a, b), graph, 1)
                self._checkpoint.description.training.append((f"{what} {index}", graph))

    # -- graphs and nodes

    def graph_of(self, message: Message, graph: Graph, depth: int) -> None:
        """Walk a graph: take its constants in, keep its nodes."""
        if depth > _DEPTH:
            raise FormatError(f"has graphs nested deeper than {_DEPTH}", code="ON08", offset=message.start)
        nodes: list[Message] = []
        for number, kind, a, b in message.fields():
            if kind != LENGTH:
                continue
            if number == 1:
                nodes.append(message.within(a, b))
            elif number == 5:
                self._initializer(message.within(a, b), graph)
            elif number == 15:
                self.sparse(message.within(a, b), graph, "")
            elif number == 11:
                graph.inputs.append(value_info(message.within(a, b)))
            elif number == 12:
                graph.outputs.append(value_info(message.within(a, b)))
        for node in nodes:
            self._node(node, graph, depth)

    def _node(self, message: Message, graph: Graph, depth: int) -> None:
        """One node: its constants; what is text of it is kept as it is."""
        self._header -= message.stop - message.start
        if self._header < 0:
            reason = "has a graph that is longer than the limit (diffai.maxHeader lifts it)"
            raise LimitError(reason, code="ON09", offset=message.start)
        count = attributes_in(message)
        self.budget.step(_NODE_STEPS + _ATTRIBUTE_STEPS * max(count, 0))
        if not count:
            graph.nodes.append(message)
            return
        node = read_node(message)
        graph.nodes.append(node)
        attributes = node.attributes
        if count < 0:
            self.budget.step(_ATTRIBUTE_STEPS * len(attributes))
        learned = node.domain == _ML
        constant = tensor_in(attributes[0]) if node.operator == "Constant" and len(attributes) == 1 else None
        if constant is not None and node.outputs and node.outputs[0]:
            node.constant = self._constant(constant, graph, node.outputs[0])
        elif attributes and (learned or node.operator == "Constant" or not all(map(is_plain, attributes))):
            node.parts = Attributes(Owner(self, graph, depth, node, learned))
            for attribute in attributes:
                node.parts.add(attribute)
        if node.operator == "DequantizeLinear":
            decode = decoding(node, graph)
            if decode is not None:
                codes, how = decode
                known = self._checkpoint.decodings.setdefault(codes, how)
                if known != how:  # decoded in two ways: neither is what it is
                    self._checkpoint.decodings[codes] = NOT_ONE

    # -- constants

    def _constant(self, message: Message, graph: Graph, output: str) -> str:
        """A Constant that is one tensor, as most are; what is said of it."""
        tensor = parse(message)
        name = graph.prefix + output
        self.add(tensor, message, name)
        if tensor.kind != STRING:
            graph.constants[output] = Known(name, output, tensor.dtype, tensor.dims)
        return f"tensor value {tensor.dtype} {tensor.dims!r}"

    def _initializer(self, message: Message, graph: Graph) -> None:
        tensor = parse(message)
        name = graph.prefix + tensor.name
        self.add(tensor, message, name)
        graph.constants[tensor.name] = Known(name, tensor.name, tensor.dtype, tensor.dims)

    def sparse(self, message: Message, graph: Graph, name: str) -> None:
        """A ``SparseTensorProto``: its values and its indices are two tensors."""
        parts: dict[int, Message] = {}
        dims: list[int] = []
        for number, kind, a, b in message.fields():
            if number in (1, 2) and kind == LENGTH:
                parts[number] = message.within(a, b)
            elif number == 3:
                dims += [signed(a)] if kind == VARINT else [signed(n) for n in varints(message.content(a, b)[:4096])]
        if 1 not in parts:
            raise FormatError("a sparse tensor has no values", code="ON04", tensor=name, offset=message.start)
        values = parse(parts[1])
        name = name or graph.prefix + values.name
        self.add(values, parts[1], f"{name}.values")
        if 2 in parts:
            self.add(parse(parts[2]), parts[2], f"{name}.indices")
        self._checkpoint.lines[f"sparse {name}"] = repr(dims)
        short = name.removeprefix(graph.prefix)
        graph.constants[short] = Known(f"{name}.values", short, values.dtype, values.dims)

    def add(self, tensor: TensorProto, message: Message, name: str) -> None:
        """Take a tensor in under a name that is not taken yet."""
        checkpoint = self._checkpoint
        if name in checkpoint.tensors or name in self._strings:
            raise FormatError("stands twice", code="ON05", tensor=name, offset=message.start)
        if tensor.kind == STRING:
            count, digest = strings_of(tensor, message)
            self._strings.add(name)
            checkpoint.lines[f"strings {name}"] = f"{count} in {list(tensor.dims)}, {digest}"
            return
        if not tensor.dtype:
            reason = f"has element type {tensor.kind}, which is not known"
            raise FormatError(reason, code="ON03", tensor=name, offset=message.start)
        if len(tensor.dims) > 64 or any(not 0 <= size < 1 << 60 for size in tensor.dims):
            raise FormatError("has an impossible shape", code="ON04", tensor=name, offset=message.start)
        small = SMALL.get(tensor.kind)
        count = element_count(tensor.dims)
        wanted = (count * small[1] + 7) // 8 if small else byte_count(tensor.dtype, count)
        external = tensor.is_external and wanted > 0
        try:
            region = (
                external_region(tensor, name, checkpoint.companions, wanted)
                if external
                else values_of(tensor, message, name, wanted)
            )
        except SourceError as error:
            if not external:
                raise
            values = ("I8" if small[2] else "U8") if small else ""
            checkpoint.place_absent(name, tensor.dtype, tensor.dims, str(error), values=values)
            return
        if small:
            coder = SmallCoder(small[1], small[2])
            values = "I8" if small[2] else "U8"
            checkpoint.place_coded(name, small[0], tensor.dims, region or BytesRegion(b""), coder, values=values)
        else:
            checkpoint.place(name, tensor.dtype, tensor.dims, region, elsewhere=external)

    def add_list(self, name: str, dtype: str, message: Message, places: list[tuple[int, int, int]]) -> str:
        """A long list of numbers in an attribute, as a tensor of one dimension; returns a digest of what it is."""
        if dtype == "F32":
            wanted = sum(b - a for _, a, b in places)
            if len(places) == 1:
                region: FileRegion | BytesRegion | LazyRegion = FileRegion(message.source, places[0][1], wanted)
            else:
                region = BytesRegion(b"".join(message.content(a, b) for _, a, b in places))
            if wanted % 4:
                raise FormatError("has a list of floats that is cut off", code="ON04", tensor=name, offset=places[0][1])
            count = wanted // 4
        else:
            numbers: list[int] = []
            for kind, a, b in places:
                numbers += [a] if kind == VARINT else varints(message.content(a, b))
            count = len(numbers)
            region = BytesRegion(struct.pack(f"<{count}Q", *numbers))
        self._checkpoint.place(name, dtype, (count,), region if count else None)
        return f"list {dtype} {count}"
