"""``ModelProto``: every constant of a model as a tensor, and its graph as lines of text."""

from __future__ import annotations

import struct

from diffai.errors import FormatError, LimitError, SourceError
from diffai.formats.base import Budget, Limits
from diffai.formats.onnx.attributes import Attributes, Scope
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
from diffai.formats.onnx.types import digest_of, unknown, value_info
from diffai.formats.protobuf import LENGTH, VARINT, Message, signed, varints
from diffai.formats.regions import BytesRegion, FileRegion, LazyRegion
from diffai.formats.stored import StoredCheckpoint
from diffai.model import Scalar, byte_count, element_count
from diffai.sources.base import Source

_NODE_STEPS = 11  # what reading a node costs, in instructions of a pickle
_DEPTH = 64
_AUTOMATIC = ("onnx::", "const_fold_opt__", "Constant_", "_v_")
_ML = "ai.onnx.ml"


class OnnxCheckpoint(StoredCheckpoint):
    """An opened ONNX model."""

    not_expressible = frozenset(("training", "classes", "ties", "requires_grad"))

    def __init__(self, source: Source, limits: Limits) -> None:
        super().__init__(source, "onnx", limits.max_spool)
        self.lines: dict[str, str] = {}
        self.texts: dict[str, Scalar] = {}
        self.graph, self.metadata = self.lines, self.texts


def read_model(checkpoint: OnnxCheckpoint, limits: Limits) -> None:
    """Fill a checkpoint from its source.

    Raises:
        FormatError: see the table of the package.

    """
    _Reader(checkpoint, limits).model(Message(checkpoint.source, 0, checkpoint.source.size))


class _Reader:
    """One walk over a model."""

    def __init__(self, checkpoint: OnnxCheckpoint, limits: Limits) -> None:
        self._checkpoint = checkpoint
        self._header, self.budget = limits.max_header, Budget(limits, "ON09")
        self._operators: dict[str, int] = {}
        self._automatic = False

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
        exact, loose = self.graph_of(graphs[0], Scope("", None), 0)
        for function in functions:
            self._function(function)
        for index, part in enumerate(training):
            self._training(part, index)
        lines.update((f"operator {name}", str(count)) for name, count in sorted(self._operators.items()))
        lines["wiring"] = loose.hex()
        if self._automatic:  # names that every export gives anew: the wiring must not depend on them alone
            lines["wiring with names"] = exact.hex()

    def _opset(self, message: Message) -> None:
        domain, version = "ai.onnx", 0
        for number, kind, a, b in message.fields():
            if number == 1 and kind == LENGTH:
                domain = message.text(a, b) or domain
            elif number == 2 and kind == VARINT:
                version = signed(a)
        self._checkpoint.lines[f"opset {domain}"] = str(version)

    def _function(self, message: Message) -> None:
        """A local function: its nodes' constants are weights too, and its body is part of the graph."""
        name = domain = ""
        nodes: list[Message] = []
        signature: list[str] = []
        for number, kind, a, b in message.fields():
            if kind != LENGTH:
                continue
            if number == 1:
                name = message.text(a, b)
            elif number == 10:
                domain = message.text(a, b)
            elif number in (4, 5, 6):
                signature.append(f"{number}{message.text(a, b)}")
            elif number == 7:
                nodes.append(message.within(a, b))
        title = f"{domain}.{name}" if domain else name
        scope = Scope(f"{title}/", None)
        for text in signature:
            scope.exact[text[1:]] = scope.loose[text[1:]] = digest_of("argument", text[1:])
        bodies = [self.node(node, scope, 1)[0] for node in nodes]
        self._checkpoint.lines[f"function {title}"] = digest_of("function", *signature, *sorted(bodies)).hex()

    def _training(self, message: Message, index: int) -> None:
        for number, kind, a, b in message.fields():
            if number in (1, 2) and kind == LENGTH:
                what = "initialization" if number == 1 else "algorithm"
                prefix = f"training{index}.{what}/"
                exact, _ = self.graph_of(message.within(a, b), Scope(prefix, None), 1)
                self._checkpoint.lines[f"training {what} {index}"] = exact.hex()

    # -- graphs and nodes

    def graph_of(self, message: Message, scope: Scope, depth: int) -> tuple[bytes, bytes]:
        """Walk a graph; digests of what it computes, with the names of its constants and without automatic ones."""
        if depth > _DEPTH:
            raise FormatError(f"has graphs nested deeper than {_DEPTH}", code="ON08", offset=message.start)
        nodes: list[Message] = []
        ends: dict[int, list[tuple[str, str]]] = {11: [], 12: []}
        initialized: set[str] = set()
        for number, kind, a, b in message.fields():
            if kind != LENGTH:
                continue
            if number == 1:
                nodes.append(message.within(a, b))
            elif number == 5:
                initialized.add(self._initializer(message.within(a, b), scope))
            elif number == 15:
                initialized.add(self.sparse(message.within(a, b), scope, ""))
            elif number in (11, 12):
                ends[number].append(value_info(message.within(a, b)))
        for name, described in ends[11]:
            if name not in initialized:
                scope.exact[name] = scope.loose[name] = digest_of("input", name)
            if depth == 0:
                self._checkpoint.lines[f"input {name}"] = described
        made = [self.node(node, scope, depth) for node in nodes]
        if depth == 0:
            self._checkpoint.lines.update((f"output {name}", described) for name, described in ends[12])
        outputs = [name for name, _ in ends[12]]
        return (
            digest_of("graph", *sorted(exact for exact, _ in made), *(scope.exact.get(name, b"") for name in outputs)),
            digest_of("graph", *sorted(loose for _, loose in made), *(scope.loose.get(name, b"") for name in outputs)),
        )

    def node(self, message: Message, scope: Scope, depth: int) -> tuple[bytes, bytes]:
        """One node: its constants, its line, and the digests of the values that it makes."""
        self._header -= message.stop - message.start
        self.budget.step(_NODE_STEPS)
        inputs: list[str] = []
        outputs: list[str] = []
        words = ["", "", ""]  # name, operator, domain
        attributes: list[Message] = []
        for number, kind, a, b in message.fields():
            if kind != LENGTH:
                continue
            if number == 5:
                attributes.append(message.within(a, b))
            elif number in (1, 2):
                (inputs if number == 1 else outputs).append(message.text(a, b))
            elif number in (3, 4):
                words[number - 3] = message.text(a, b)
            elif number == 7:
                words[2] = message.text(a, b)
        name, operator, domain = words
        title = operator if domain in ("", "ai.onnx") else f"{domain}.{operator}"
        self._operators[title] = self._operators.get(title, 0) + 1
        own = scope.prefix + (name or next(filter(None, outputs), operator))
        parts = Attributes(self, scope, depth, own, outputs if operator == "Constant" else [], domain == _ML)
        for attribute in attributes:
            parts.add(attribute)
        if name and operator != "Constant":
            texts = ", ".join(sorted(parts.texts))
            self._checkpoint.lines[f"node {scope.prefix}{name}"] = f"{title}({texts})" if texts else title
        exact = digest_of(title, *sorted(parts.exact), *(scope.exact.get(i, unknown(i)) for i in inputs))
        loose = digest_of(title, *sorted(parts.loose), *(scope.loose.get(i, unknown(i)) for i in inputs))
        for index, output in enumerate(outputs):
            if output:
                scope.exact[output], scope.loose[output] = digest_of(exact, str(index)), digest_of(loose, str(index))
        if self._header < 0:
            reason = "has a graph that is longer than the limit (diffai.maxHeader lifts it)"
            raise LimitError(reason, code="ON09", offset=message.start)
        return exact, loose

    # -- constants

    def _initializer(self, message: Message, scope: Scope) -> str:
        tensor = parse(message)
        self.add(tensor, message, scope.prefix + tensor.name)
        self._know(scope, tensor.name, tensor)
        return tensor.name

    def _know(self, scope: Scope, name: str, tensor: TensorProto) -> None:
        """Digests of a constant as a value: by its name, and without it where every export gives a new one."""
        kind = (tensor.dtype, repr(tensor.dims))
        scope.exact[name] = digest_of("constant", name, *kind)
        automatic = name.isdigit() or name.startswith(_AUTOMATIC)
        self._automatic = self._automatic or automatic
        scope.loose[name] = digest_of("constant", *kind) if automatic else scope.exact[name]

    def sparse(self, message: Message, scope: Scope, name: str) -> str:
        """A ``SparseTensorProto``: its values and its indices are two tensors; returns its name."""
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
        name = name or scope.prefix + values.name
        self.add(values, parts[1], f"{name}.values")
        if 2 in parts:
            self.add(parse(parts[2]), parts[2], f"{name}.indices")
        self._checkpoint.lines[f"sparse {name}"] = repr(dims)
        self._know(scope, name.removeprefix(scope.prefix), values)
        return name.removeprefix(scope.prefix)

    def add(self, tensor: TensorProto, message: Message, name: str) -> None:
        """Take a tensor in under a name that is not taken yet."""
        checkpoint = self._checkpoint
        if name in checkpoint.tensors or f"strings {name}" in checkpoint.lines:
            raise FormatError("stands twice", code="ON05", tensor=name, offset=message.start)
        if tensor.kind == STRING:
            count, digest = strings_of(tensor, message)
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
                else values_of(tensor, message, name)
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

    def add_list(self, name: str, dtype: str, message: Message, places: list[tuple[int, int, int]]) -> bytes:
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
        return digest_of("list", dtype, str(count))
