"""The model table: constants of all subgraphs as tensors, and what the graph computes as lines of text."""

from __future__ import annotations

from diffai.errors import FormatError
from diffai.formats.base import Budget, Limits
from diffai.formats.digests import digest_of, region_digest
from diffai.formats.flatbuffers import Pages, Table
from diffai.formats.regions import FileRegion
from diffai.formats.stored import StoredCheckpoint
from diffai.formats.tflite.operators import CUSTOM, DTYPES, INT4, OTHER_TYPES, PLAIN_OPTIONS, STRING, operator_name
from diffai.formats.tflite.quantized import Copied, DecodedRegion, Nibbles, Quantization, values_dtype
from diffai.frozen import frozen
from diffai.model import DTYPE_BITS, Scalar, byte_count, element_count
from diffai.sources.base import Source


class TfliteCheckpoint(StoredCheckpoint):
    """An opened model."""

    not_expressible = frozenset(("training", "classes", "requires_grad"))

    def __init__(self, source: Source, limits: Limits) -> None:
        super().__init__(source, "tflite", limits.max_spool)
        self.lines: dict[str, str] = {}
        self.texts: dict[str, Scalar] = {}
        self.graph, self.metadata = self.lines, self.texts


@frozen
class _Tensor:
    """One tensor of a subgraph, constant or not."""

    name: str
    kind: int
    shape: tuple[int, ...]
    buffer: int
    described: str
    quantization: Quantization | None
    note: str
    sparse: bool
    at: int

    @property
    def dtype(self) -> str:
        """Diffai's name of the element type."""
        return DTYPES.get(self.kind) or OTHER_TYPES.get(self.kind, f"TYPE_{self.kind}")


class _Reader:
    """One walk over a model."""

    def __init__(self, checkpoint: TfliteCheckpoint, limits: Limits) -> None:
        self._checkpoint = checkpoint
        self._source = checkpoint.source
        self._pages = Pages(checkpoint.source, Budget(limits, "TL04"))
        self._buffers: list[tuple[int, int]] = []
        self._codes: list[str] = []
        self._placed: dict[tuple[int, str, tuple[int, ...], str], str] = {}
        self._operators: dict[str, int] = {}

    def model(self) -> None:
        root, lines = self._pages.root(), self._checkpoint.lines
        lines["version"] = str(root.number(0, "I"))
        if description := root.text(3):
            self._checkpoint.texts["description"] = description
        self._buffers = [self._place(table) for table in root.tables(4)]
        self._codes = [_code(table) for table in root.tables(1)]
        for index, graph in enumerate(root.tables(2)):
            self._subgraph(graph, index)
        lines.update((f"operator {name}", str(count)) for name, count in sorted(self._operators.items()))
        self._signatures(root)
        for table in root.tables(6):
            name = table.text(0)
            start, size = self._buffer(table.number(1, "I"), table)
            if name != "min_runtime_version" or size > 64:
                self._checkpoint.texts[name] = f"{size:,} bytes, {self._digest(start, size)}"
            else:
                self._checkpoint.texts[name] = self._pages.read(start, size).rstrip(b"\0").decode("ascii", "replace")

    # -- buffers and tensors

    def _place(self, table: Table) -> tuple[int, int]:
        """Where a buffer's bytes lie: inside the FlatBuffer, or, of large models, behind it."""
        offset, size = table.number(1, "Q"), table.number(2, "Q")
        if offset > 1:
            if offset + size > self._source.size:
                raise FormatError("a buffer lies outside the file", code="TL03", offset=table.at)
            return offset, size
        return table.vector(0, 1)

    def _buffer(self, index: int, table: Table) -> tuple[int, int]:
        if index >= len(self._buffers):
            raise FormatError(f"names buffer {index} of {len(self._buffers)}", code="TL02", offset=table.at)
        return self._buffers[index]

    def _tensor(self, table: Table) -> _Tensor:
        shape, kind = table.numbers(0, "i"), table.number(1, "b")
        signature = table.numbers(7, "i") or shape
        quantization, note = _quantization(table.table(4))
        dtype = DTYPES.get(kind) or OTHER_TYPES.get(kind, f"TYPE_{kind}")
        described = f"{dtype} [{', '.join('?' if size < 0 else str(size) for size in signature)}]"
        described += f" {quantization.text()}" if quantization else ""
        sparse = table.table(6) is not None
        return _Tensor(
            table.text(3), kind, shape, table.number(2, "I"), described, quantization, note, sparse, table.at
        )

    def _constant(self, tensor: _Tensor, name: str, table: Table) -> bool:
        """Add a tensor that has values; whether it has."""
        start, size = self._buffer(tensor.buffer, table)
        if not size or tensor.buffer == 0:
            return False
        if name in self._checkpoint.tensors or f"strings {name}" in self._checkpoint.lines:
            raise FormatError("stands twice", code="TL02", tensor=name, offset=tensor.at)
        if tensor.kind == STRING:
            self._checkpoint.lines[f"strings {name}"] = f"{list(tensor.shape)}, {self._digest(start, size)}"
            return True
        if any(extent < 0 for extent in tensor.shape):
            raise FormatError("has an impossible shape", code="TL03", tensor=name, offset=tensor.at)
        key = (tensor.buffer, tensor.dtype, tensor.shape, tensor.quantization.text() if tensor.quantization else "")
        first = self._placed.setdefault(key, name)
        try:
            self._put(tensor, name, FileRegion(self._source, start, size), "" if first == name else first)
        except FormatError as error:
            error.code, error.offset = error.code or "TL03", tensor.at
            raise
        return True

    def _put(self, tensor: _Tensor, name: str, region: FileRegion, alias_of: str) -> None:
        """Place a constant: decoded, as it is, or as bytes."""
        checkpoint, dtype, shape = self._checkpoint, tensor.dtype, tensor.shape
        if tensor.sparse or (tensor.kind not in DTYPES and tensor.kind != INT4):
            dtype = f"sparse {dtype}" if tensor.sparse else dtype
            checkpoint.place_bytes(name, dtype, shape, region, region.size)
            return
        count = element_count(shape)
        wanted = (count + 1) // 2 if tensor.kind == INT4 else byte_count(dtype, count)
        if wanted != region.size:
            reason = f"has {region.size:,} bytes, its shape needs {wanted:,}"
            raise FormatError(reason, code="TL03", tensor=name)
        quantization = tensor.quantization
        if quantization is not None and quantization.suits(dtype, shape):
            values = values_dtype(dtype)
            decoded = DecodedRegion(region, dtype, shape, quantization)
            coder = Copied(DTYPE_BITS[values] // 8)
            checkpoint.place_coded(name, dtype, shape, decoded, coder, values=values, encoding=quantization.text())
        elif tensor.kind == INT4:
            checkpoint.place_coded(name, dtype, shape, region, Nibbles(), values="I8", encoding=tensor.note)
        else:
            checkpoint.place(name, dtype, shape, region, alias_of=alias_of)
            if quantization is not None or tensor.note:
                undecoded = quantization.text() if quantization else tensor.note
                checkpoint.lines[f"quantization {name}"] = f"{undecoded}, not decoded"

    def _digest(self, start: int, size: int) -> str:
        return region_digest(FileRegion(self._source, start, size))

    # -- graphs

    def _subgraph(self, graph: Table, index: int) -> None:
        title = graph.text(4) or f"subgraph{index}"
        prefix = f"{title}/" if index else ""
        tensors: list[_Tensor] = []
        values: list[bytes] = []
        seen: set[str] = set()
        for number, table in enumerate(graph.tables(0)):
            tensor = self._tensor(table)
            name = prefix + (tensor.name or f"tensor {number}")
            name = name if name not in seen and name not in self._checkpoint.tensors else f"{name}#{index}.{number}"
            seen.add(name)
            constant = self._constant(tensor, name, table)
            tensors.append(tensor)
            values.append(digest_of("constant" if constant else "unset", tensor.dtype, repr(tensor.shape)))
        for what, field in (("input", 1), ("output", 2)):
            for place, number in enumerate(graph.numbers(field, "i")):
                tensor = tensors[_within(number, tensors, graph)]
                if not index:
                    self._checkpoint.lines[f"{what} {place}"] = tensor.described
                if what == "input":
                    values[number] = digest_of("input", str(place))
        made = [self._operator(table, values) for table in graph.tables(3)]
        outputs = [values[number] for number in graph.numbers(2, "i")]
        self._checkpoint.lines[f"wiring {title}" if index else "wiring"] = digest_of(*sorted(made), *outputs).hex()

    def _operator(self, table: Table, values: list[bytes]) -> bytes:
        """Count an operator and give the values that it makes their digests."""
        code = table.number(0, "I")
        if code >= len(self._codes):
            raise FormatError(f"names operator {code} of {len(self._codes)}", code="TL02", offset=table.at)
        title = self._codes[code]
        self._operators[title] = self._operators.get(title, 0) + 1
        kind = table.number(3, "B")
        options = table.table(4) if kind in PLAIN_OPTIONS else None
        plain = [str(field).encode() + data.rstrip(b"\0") for field, data in options.inline()] if options else []
        start, size = table.vector(5, 1)
        custom = self._digest(start, size) if size else ""
        given = [b"" if n < 0 else values[_within(n, values, table)] for n in table.numbers(1, "i")]
        made = digest_of(title, str(kind), str(table.number(11, "B")), *sorted(plain), custom, *given)
        for place, number in enumerate(table.numbers(2, "i")):
            values[_within(number, values, table)] = digest_of(made, str(place))
        return made

    def _signatures(self, root: Table) -> None:
        """Names that callers use for inputs and outputs."""
        for table in root.tables(7):
            names = ["(" + ", ".join(part.text(0) for part in table.tables(field)) + ")" for field in (0, 1)]
            self._checkpoint.lines[f"signature {table.text(2)}"] = " -> ".join(names)


def _within(number: int, values: list[_Tensor] | list[bytes], table: Table) -> int:
    if not 0 <= number < len(values):
        raise FormatError(f"names tensor {number} of {len(values)}", code="TL02", offset=table.at)
    return number


def _code(table: Table) -> str:
    """An operator's name, with its version where that is not the first."""
    code = max(table.number(0, "b"), table.number(3, "i"))
    name = table.text(1) if code == CUSTOM else operator_name(code)
    version = table.number(2, "i", 1)
    return name if version == 1 else f"{name} v{version}"


def _quantization(table: Table | None) -> tuple[Quantization | None, str]:
    """Scales and zero points; a note where they are of another kind."""
    if table is None:
        return None, ""
    if table.number(4, "B"):
        return None, "custom quantization"
    scales, zeros = table.floats(2), table.numbers(3, "q")
    if not scales:
        return None, ""
    zeros = zeros or (0,) * len(scales)
    if len(zeros) == 1:
        zeros = zeros * len(scales)
    if len(zeros) != len(scales):
        raise FormatError(f"has {len(scales)} scales and {len(zeros)} zero points", code="TL03", offset=table.at)
    return Quantization(scales, zeros, table.number(6, "i")), ""


def read_model(checkpoint: TfliteCheckpoint, limits: Limits) -> None:
    """Fill a checkpoint from its source.

    Raises:
        FormatError: see the table of the package.

    """
    _Reader(checkpoint, limits).model()
