"""ML programs: operations in the MIL language, whose constants lie in the program or in a file of weights beside it.

Weights: ``weights/weight.bin``; a constant's offset leads to 64 bytes that say where its values lie (MIL blob storage,
version 2: https://github.com/apple/coremltools/tree/main/mlmodel/src/MILBlob).
"""

from __future__ import annotations

import struct

from diffai.errors import FormatError, SourceError
from diffai.formats.coreml.checkpoint import CoremlCheckpoint, described
from diffai.formats.coreml.compressed import DECODERS, DTYPES, SMALL, Value
from diffai.formats.coreml.decoding import NUMBERS
from diffai.formats.coreml.records import Record
from diffai.formats.digests import digest_of
from diffai.formats.onnx.tensors import SmallCoder
from diffai.formats.regions import BytesRegion, FileRegion, Region
from diffai.formats.tflite.quantized import Copied
from diffai.model import byte_count, element_count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    import numpy as np

    Numbers = np.ndarray[Any, np.dtype[Any]]

_REAL = frozenset((10, 11, 12, 13, 40, 41))
_STRING = 2
_SENTINEL = 0xDEADBEEF
_HERE = "@model_path/"
_COMPRESSED = ("_palettized", "_quantized", "_sparsified")
_FEW = 16


def read_program(checkpoint: CoremlCheckpoint, program: Record, path: str) -> None:
    """Take in all functions of a program."""
    functions = [(entry.text("key"), entry.record("value")) for entry in program.records("functions")]
    for name, function in functions:
        if function is None:
            continue
        prefix = path if len(functions) == 1 else f"{path}{name}."
        checkpoint.inputs[f"{prefix}opset"] = function.text("opset")
        for entry in function.records("block_specializations"):
            block = entry.record("value")
            if block is not None:
                _Block(checkpoint, prefix).read(block)


class _Block:
    """A block of operations; those inside an operation know the values of the block around it."""

    def __init__(self, checkpoint: CoremlCheckpoint, prefix: str, outer: _Block | None = None) -> None:
        self._checkpoint, self._prefix = checkpoint, prefix
        self._made: dict[str, bytes] = dict(outer._made) if outer else {}
        self._texts: dict[str, str] = dict(outer._texts) if outer else {}
        self._wired: list[bytes] = []

    def read(self, block: Record) -> bytes:
        """Take in all operations; a digest of what they compute, whatever their values are called."""
        for place, given in enumerate(block.records("inputs")):
            self._made[given.text("name")] = b"input %d" % place
        for operation in block.records("operations"):
            try:
                self._operation(operation)
            except FormatError as error:
                error.offset = operation.at if error.offset < 0 else error.offset
                raise
        ends = [self._made.get(name, b"?" + name.encode("utf-8", "surrogatepass")) for name in block.texts("outputs")]
        whole = digest_of(*ends, *sorted(self._wired))
        self._checkpoint.inputs[f"{self._prefix}wiring"] = whole.hex()
        return whole

    def _operation(self, operation: Record) -> None:
        kind, outputs = operation.text("type"), list(operation.records("outputs"))
        names = [output.text("name") for output in outputs]
        attributes: dict[str, Value] = {}
        for entry in operation.records("attributes"):
            value = entry.record("value")
            if value is not None and entry.text("key") != "name":
                attributes[entry.text("key")] = self._value(value)
        if kind == "const":
            for constant in attributes.values():
                self._constant(names[0] if names else "?", constant)
            return
        self._checkpoint.operators[kind] = self._checkpoint.operators.get(kind, 0) + 1
        inputs, said = self._arguments(operation, attributes)
        name = names[0] if names else f"operation {len(self._wired)}"
        if kind.startswith("constexpr_") and names:
            self._compressed(kind, name, attributes)
        elif attributes:
            said += [f"{key}={self._attribute(f'{name}.{key}', value)}" for key, value in attributes.items()]
        bodies = []
        for number, block in enumerate(operation.records("blocks")):
            bodies.append(_Block(self._checkpoint, f"{self._prefix}{name}.{number}.", self).read(block))
        types = ", ".join(_type_text(output.record("type")) for output in outputs)
        text = f"{kind}({', '.join(said)}) -> {types}"
        self._checkpoint.inputs[f"node {self._prefix}{name}"] = text
        self._wired.append(digest_of(text, *inputs, *bodies))
        for place, output in enumerate(names):
            self._made[output] = digest_of(self._wired[-1], str(place))

    def _arguments(self, operation: Record, attributes: dict[str, Value]) -> tuple[list[bytes], list[str]]:
        """What goes into an operation: values that others make as digests, small constants as text."""
        inputs: list[bytes] = []
        said: list[str] = []
        for entry in operation.records("inputs"):
            key, argument = entry.text("key"), entry.record("value")
            for binding in argument.records("arguments") if argument is not None else ():
                used, value = binding.text("name"), binding.record("value")
                if value is not None:
                    attributes[key] = self._value(value)
                elif used in self._texts:
                    said.append(f"{key}={self._texts[used]}")
                else:
                    made = self._made.get(used, b"?" + used.encode("utf-8", "surrogatepass"))
                    inputs.append(digest_of(key, made))
        return inputs, sorted(said)

    def _attribute(self, name: str, value: Value) -> str:
        """An attribute: itself where it is small, else the tensor that it becomes."""
        if value.text:
            return value.text
        self._place(name, value)
        return f"{value.dtype} {list(value.shape)}"

    # -- constants

    def _value(self, record: Record) -> Value:
        """A constant's value; lists, texts and small whole numbers as text."""
        type_ = record.record("type")
        tensor = type_.record("tensorType") if type_ is not None else None
        if tensor is None:
            return Value(0, (), None, text=described(record)[:400])
        kind, shape = tensor.number("dataType"), _shape(tensor)
        blob = record.record("blobFileValue")
        if blob is not None:
            return self._stored(kind, shape, blob)
        immediate = record.record("immediateValue")
        values = immediate.record("tensor") if immediate is not None else None
        if values is None:
            return Value(kind, shape, None, text=described(record)[:400])
        inner = next((part for name in values.types for part in values.records(name)), None)
        if inner is None:
            return Value(kind, shape, None, text="[]")
        if kind == _STRING:
            said = inner.texts("values")
            return Value(kind, shape, None, text=repr(said[0]) if not shape and said else f"{said}"[:400])
        found = self._numbers(kind, inner)
        whole = Value(kind, shape, found)
        if kind in _REAL or element_count(shape) > _FEW or found is None:
            return whole
        numbers = whole.numbers()
        if numbers is None or len(numbers) != max(1, element_count(shape)):
            return whole
        few = tuple(int(number) for number in numbers)
        return Value(kind, shape, found, text=str(few[0]) if not shape else str(list(few)), few=few)

    def _numbers(self, kind: int, values: Record) -> Region | None:
        """The bytes of numbers that stand in the program itself."""
        import numpy as np

        if "values" not in values.types:
            return BytesRegion(b"")
        if values.kind.endswith("RepeatedBytes"):
            return values.raw("values")
        if values.types["values"] in ("f*", "d*"):
            return values.reals("values")
        dtype = NUMBERS.get(DTYPES.get(kind, ""), "<i8" if kind in (24, 34) else "u1")
        found = np.array(values.integers("values"), "i8")
        self._checkpoint.budget.make(found.nbytes)
        return BytesRegion(found.astype(dtype).tobytes())

    def _stored(self, kind: int, shape: tuple[int, ...], blob: Record) -> Value:
        """A value in a file beside the model."""
        name, at = blob.text("fileName").removeprefix(_HERE), blob.number("offset")
        try:
            file = self._checkpoint.companions.open(name)
        except SourceError as error:
            return Value(kind, shape, None, str(error))
        head = file.read(at, 64) if 0 <= at <= file.size - 64 else b""
        if len(head) < 24 or int.from_bytes(head[:4], "little") != _SENTINEL:
            raise FormatError(f"has no values at offset {at:,} of {name[:100]!r}", code="CM05")
        size, start = struct.unpack_from("<QQ", head, 8)
        if start + size > file.size:
            reason = f"lies at {start:,} to {start + size:,} of {file.size:,} bytes of {name[:100]!r}"
            raise FormatError(reason, code="CM05")
        return Value(kind, shape, FileRegion(file, start, size))

    def _constant(self, name: str, value: Value) -> None:
        if value.text:
            self._texts[name] = value.text
            return
        self._made[name] = digest_of("const", value.dtype, str(value.shape))
        if value.kind in _REAL and not value.shape and value.region is not None:  # an epsilon, not a weight
            shown = value.numbers()
            if shown is not None and len(shown) == 1:
                self._texts[name] = f"{shown[0]:.9g}"
                return
        self._place(name, value)

    def _place(self, name: str, value: Value) -> None:
        """Add a constant as a tensor."""
        checkpoint, name = self._checkpoint, self._checkpoint.unused(self._prefix + name)
        count = element_count(value.shape)
        small = SMALL.get(value.kind)
        if value.region is None:
            decodes = "" if small is None else ("I8" if small[2] else "U8")
            checkpoint.place_absent(name, value.dtype, value.shape, value.lacking or "has no values", values=decodes)
        elif small is not None and 8 % small[1] == 0:
            coder = SmallCoder(small[1], small[2])
            values = "I8" if small[2] else "U8"
            checkpoint.place_coded(name, small[0], value.shape, value.region, coder, values=values)
        elif value.kind in DTYPES:
            if value.region.size != byte_count(value.dtype, count):
                reason = f"has {value.region.size:,} bytes, its shape needs {byte_count(value.dtype, count):,}"
                raise FormatError(reason, code="CM03", tensor=name)
            checkpoint.place(name, value.dtype, value.shape, value.region, elsewhere=True)
        else:
            checkpoint.place_bytes(name, value.dtype, value.shape, value.region, value.region.size)

    # -- compressed constants

    def _compressed(self, kind: str, output: str, parts: dict[str, Value]) -> None:
        """A constant that is made of codes and what they mean; its parts where it is not decoded here."""
        name = output
        for suffix in _COMPRESSED:
            name = name.removesuffix(suffix)
        make = DECODERS.get(kind)
        found = make(self._checkpoint, parts) if make is not None else None
        if found is not None:
            label = self._checkpoint.unused(self._prefix + name)
            self._checkpoint.place_coded(
                label, found.dtype, found.shape, found.region, Copied(byte_count(found.values, 1)),
                values=found.values, encoding=found.said,
            )  # fmt: skip
            return
        for key, value in parts.items():
            if not value.text:
                self._place(f"{name}.{key}", value)


# ---------------------------------------------------------------- parts of types


def _shape(tensor: Record) -> tuple[int, ...]:
    """The sizes of a type; -1 where one is not known."""
    sizes = []
    for dimension in tensor.records("dimensions"):
        constant = dimension.record("constant")
        sizes.append(-1 if constant is None else constant.number("size"))
    return tuple(sizes)


def _type_text(type_: Record | None) -> str:
    tensor = type_.record("tensorType") if type_ is not None else None
    if tensor is None:
        return "" if type_ is None else described(type_)[:200]
    value = Value(tensor.number("dataType"), _shape(tensor), None)
    return f"{value.dtype if value.kind != _STRING else 'STRING'} {list(value.shape)}"
