"""TensorFlow Lite models written with the FlatBuffers library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import flatbuffers
import numpy as np

TYPES = {"float32": 0, "float16": 1, "int32": 2, "uint8": 3, "int64": 4, "int16": 7, "int8": 9}
INT4 = 17


@dataclass
class Tensor:
    """One tensor; ``values`` None for what is computed, ``buffer`` to share that of an earlier tensor."""

    name: str
    shape: Sequence[int]
    values: np.ndarray | None = None
    kind: int = 0
    scales: Sequence[float] = ()
    zeros: Sequence[int] = ()
    axis: int = 0
    buffer: int = 0


@dataclass
class Graph:
    """One subgraph: operators are (code, inputs, outputs)."""

    tensors: Sequence[Tensor]
    operators: Sequence[tuple[int, Sequence[int], Sequence[int]]] = ()
    inputs: Sequence[int] = ()
    outputs: Sequence[int] = ()
    name: str = "main"


@dataclass
class _Writer:
    behind: int = 0  # where buffers begin that lie behind the FlatBuffer; 0 = inside
    builder: flatbuffers.Builder = field(default_factory=lambda: flatbuffers.Builder(1024))
    tail: bytes = b""

    def table(self, width: int, fields: Mapping[int, tuple[str, float]]) -> int:
        self.builder.StartObject(width)
        for number, (kind, value) in fields.items():
            if kind == "UOffsetTRelative":
                self.builder.PrependUOffsetTRelativeSlot(number, value, 0)
            else:
                getattr(self.builder, f"Prepend{kind}Slot")(number, value, 0)
        return int(self.builder.EndObject())

    def tables(self, offsets: Sequence[int]) -> tuple[str, int]:
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return "UOffsetTRelative", self.builder.EndVector()

    def numbers(self, values: Sequence[float], dtype: str) -> tuple[str, int]:
        return "UOffsetTRelative", self.builder.CreateNumpyVector(np.array(values, dtype))

    def text(self, text: str) -> tuple[str, int]:
        return "UOffsetTRelative", self.builder.CreateString(text)

    def buffer(self, values: np.ndarray | None) -> int:
        if values is None:
            return self.table(3, {})
        data = np.frombuffer(values.tobytes(), np.uint8)
        if not self.behind:
            return self.table(3, {0: ("UOffsetTRelative", self.builder.CreateNumpyVector(data))})
        offset = self.behind + len(self.tail)
        self.tail += data.tobytes()
        return self.table(3, {1: ("Uint64", offset), 2: ("Uint64", len(data))})

    def tensor(self, tensor: Tensor) -> int:
        kind = tensor.kind or TYPES[str(tensor.values.dtype) if tensor.values is not None else "float32"]
        fields = {
            0: self.numbers(tensor.shape, "<i4"), 1: ("Int8", kind), 2: ("Uint32", tensor.buffer),
            3: self.text(tensor.name),
        }  # fmt: skip
        if tensor.scales:
            scales, zeros = self.numbers(tensor.scales, "<f4"), self.numbers(tensor.zeros, "<i8")
            fields[4] = ("UOffsetTRelative", self.table(7, {2: scales, 3: zeros, 6: ("Int32", tensor.axis)}))
        return self.table(10, fields)

    def graph(self, graph: Graph, codes: Sequence[int]) -> int:
        tensors = self.tables([self.tensor(tensor) for tensor in graph.tensors])
        operators = []
        for code, given, made in graph.operators:
            fields = {1: self.numbers(given, "<i4"), 2: self.numbers(made, "<i4"), 0: ("Uint32", codes.index(code))}
            operators.append(self.table(13, fields))
        return self.table(6, {
            0: tensors, 1: self.numbers(graph.inputs, "<i4"), 2: self.numbers(graph.outputs, "<i4"),
            3: self.tables(operators), 4: self.text(graph.name),
        })  # fmt: skip

    def model(self, graphs: Sequence[Graph]) -> bytes:
        buffers: list[np.ndarray | None] = [None]
        for tensor in [tensor for graph in graphs for tensor in graph.tensors]:
            if tensor.values is not None and not tensor.buffer:
                buffers.append(tensor.values)
                tensor.buffer = len(buffers) - 1
            elif tensor.values is not None and tensor.buffer >= len(buffers):
                buffers.append(tensor.values)
        codes = sorted({code for graph in graphs for code, _, _ in graph.operators})
        places = self.tables([self.buffer(values) for values in buffers])
        known = self.tables([self.table(4, {3: ("Int32", code), 0: ("Int8", code)}) for code in codes])
        subgraphs = self.tables([self.graph(graph, codes) for graph in graphs])
        root = self.table(8, {0: ("Uint32", 3), 1: known, 2: subgraphs, 3: self.text("tests"), 4: places})
        self.builder.Finish(root, file_identifier=b"TFL3")
        return bytes(self.builder.Output())


def lite(*graphs: Graph, behind: bool = False) -> bytes:
    """A model; ``behind``: the buffers lie behind the FlatBuffer, as those of models beyond 2 GB do."""
    if not behind:
        return _Writer().model(graphs)
    size = len(_Writer(behind=1 << 20).model(graphs))
    writer = _Writer(behind=size)
    return writer.model(graphs) + writer.tail
