"""OpenVINO models: an ``.xml`` of layers and the ``.bin`` beside it that holds their constants.

Declarations of types and entities are refused, so that nothing outside the text is ever looked at. Numbers that
conversions append to names are part of the names of constants, which are paired by their values, never of the wiring.
Specification: https://docs.openvino.ai/2025/documentation/openvino-ir-format.html.

==== ======================================================================================================
code reason
==== ======================================================================================================
OV01 the text is no XML of a network, or is cut off
OV02 the text declares types or entities
OV03 a constant's shape, place or number of bytes makes no sense, or its name stands twice
OV04 the text is longer, or more deeply nested, than the limits allow
OV05 the file of values is not here (``check`` only)
==== ======================================================================================================
"""

from __future__ import annotations

from typing import NoReturn
from xml.parsers import expat

from diffai.errors import FormatError, LimitError, SourceError
from diffai.formats.base import Budget, Limits
from diffai.formats.digests import digest_of
from diffai.formats.onnx.tensors import SmallCoder
from diffai.formats.regions import FileRegion
from diffai.formats.stored import StoredCheckpoint, reader
from diffai.frozen import slotted
from diffai.model import Scalar, byte_count, element_count
from diffai.sources.base import Source

NAME = "openvino"

_DTYPES = {
    "f64": "F64", "f32": "F32", "f16": "F16", "bf16": "BF16", "f8e4m3": "F8_E4M3", "f8e5m2": "F8_E5M2",
    "f8e8m0": "F8_E8M0", "i64": "I64", "i32": "I32", "i16": "I16", "i8": "I8", "u64": "U64", "u32": "U32",
    "u16": "U16", "u8": "U8", "boolean": "BOOL",
}  # fmt: skip
_SMALL = {"u4": ("U4", 4, False), "i4": ("I4", 4, True), "u2": ("U2", 2, False)}
#: Numbers of layers, which every conversion gives anew.
_NUMBERS = frozenset(("internal_layer_id", "from-layer", "to-layer"))


def recognise(head: bytes, size: int, name: str) -> bool:
    """Whether content is a network: an element ``net`` first, and layers in it."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"<?xml"):
        text = text[text.find(b"?>") + 2 :].lstrip()
    return text.startswith((b"<net ", b"<net>")) and b"<layer" in text


class _OpenvinoCheckpoint(StoredCheckpoint):
    """An opened network and its file of values."""

    not_expressible = frozenset(("training", "classes", "ties", "requires_grad"))

    def __init__(self, source: Source, limits: Limits) -> None:
        super().__init__(source, NAME, limits.max_spool)
        self.lines: dict[str, str] = {}
        self.texts: dict[str, Scalar] = {}
        self.graph, self.metadata = self.lines, self.texts

    @property
    def values_name(self) -> str:
        """What the file of values is called."""
        return source_name(self.source).rpartition(".")[0] + ".bin"


def source_name(source: Source) -> str:
    """The last name of a source's label, which may be ``REV:path``."""
    return source.label.rpartition("/")[2].rpartition(":")[2]


@slotted
class _Layer:
    """A layer while it is read; ``inputs``: what its ports are fed by, as (layer, port)."""

    name: str
    kind: str
    version: str
    data: dict[str, str]
    inputs: dict[str, tuple[str, str]]
    shape: list[str]
    bodies: list[bytes]


class _Reader:
    """One pass over the text."""

    def __init__(self, checkpoint: _OpenvinoCheckpoint, limits: Limits) -> None:
        self._checkpoint, self._limits = checkpoint, limits
        self._budget = Budget(limits, "OV04")
        self._path: list[str] = []
        self._scopes: list[dict[str, _Layer]] = []
        self._owners: list[_Layer] = []
        self._layer: _Layer | None = None
        self._operators: dict[str, int] = {}
        self._dim: list[str] | None = None
        self._whole = b""

    def read(self) -> None:
        """Parse, and say what the network is."""
        source, lines = self._checkpoint.source, self._checkpoint.lines
        if source.size > self._limits.max_header:
            raise LimitError(f"is {source.size:,} bytes of text (limit diffai.maxHeader)", code="OV04")
        parser = expat.ParserCreate()
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = _refuse
        try:
            for at in range(0, source.size, 1 << 20):
                parser.Parse(source.read(at, 1 << 20), False)
            parser.Parse(b"", True)
        except FormatError:
            raise
        except (expat.ExpatError, ValueError, LookupError) as error:  # the last two: an encoding that is not known
            raise FormatError(f"is no XML: {error}", code="OV01", offset=max(0, parser.ErrorByteIndex)) from error
        if not self._operators:
            raise FormatError("has no layers", code="OV01", offset=0)
        lines.update((f"operator {name}", str(count)) for name, count in sorted(self._operators.items()))
        lines["wiring"] = self._whole.hex()

    # -- what expat calls

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._budget.step()
        self._path.append(tag)
        self._budget.deep(len(self._path))
        layer = self._layer
        if tag == "net" and len(self._path) == 1:
            self._checkpoint.lines["version"] = attributes.get("version", "")
        elif tag == "layers":
            if layer is not None:
                self._owners.append(layer)
            self._scopes.append({})
        elif tag == "layer" and self._scopes:
            name, kind = attributes.get("name", ""), attributes.get("type", "")
            self._budget.name(len(name))
            layer = self._layer = _Layer(name, kind, attributes.get("version", ""), {}, {}, [], [])
            self._scopes[-1][attributes.get("id", "")] = layer
            self._operators[kind] = self._operators.get(kind, 0) + 1
        elif tag == "data" and layer is not None and self._path[-2] == "layer":
            layer.data = attributes
        elif tag == "dim" and layer is not None and layer.kind in ("Parameter", "Result"):
            self._dim = []
        elif layer is not None and self._path[-2] in ("port_map", "back_edges"):
            said = sorted(item for item in attributes.items() if item[0] not in _NUMBERS)
            layer.bodies.append(digest_of(tag, repr(said)))
        elif tag == "edge" and self._scopes and self._path[-2] == "edges":
            to = self._scopes[-1].get(attributes.get("to-layer", ""))
            if to is not None:
                at = (attributes.get("from-layer", ""), attributes.get("from-port", ""))
                to.inputs[attributes.get("to-port", "")] = at
        elif "value" in attributes and len(self._path) > 2 and self._path[1] in ("rt_info", "meta_data"):
            self._checkpoint.texts[".".join(self._path[2:])] = attributes["value"]

    def _end(self, tag: str) -> None:
        self._path.pop()
        if tag == "dim" and self._dim is not None and self._layer is not None:
            self._layer.shape.append("".join(self._dim).strip())
            self._dim = None
        elif tag == "layer" and self._layer is not None:
            self._finish(self._layer)
            self._layer = None
        elif tag in ("net", "body", "then_body", "else_body") and self._scopes:
            digest = self._wired(self._scopes.pop())
            if tag == "net":
                self._whole = digest
            elif self._owners:
                self._layer = self._owners.pop()
                self._layer.bodies.append(digest_of(tag, digest))

    def _characters(self, text: str) -> None:
        if self._dim is not None:
            self._dim.append(text)

    # -- layers

    def _finish(self, layer: _Layer) -> None:
        """A layer is whole: a constant becomes a tensor, an end of the network a line."""
        inside = "/".join(owner.name for owner in self._owners)
        name = f"{inside}/{layer.name}" if inside else layer.name
        if layer.kind == "Const":
            try:
                self._constant(name, layer.data)
            except FormatError as error:
                error.code, error.tensor = error.code or "OV03", error.tensor or name
                raise
        elif layer.kind in ("Parameter", "Result") and not inside:
            dtype = layer.data.get("element_type", "")
            what = "input" if layer.kind == "Parameter" else "output"
            described = f"{_DTYPES.get(dtype, dtype)} [{', '.join(layer.shape)}]".strip()
            self._checkpoint.lines[f"{what} {layer.name}"] = described

    def _constant(self, name: str, data: dict[str, str]) -> None:
        kind = data.get("element_type", "")
        try:
            shape = tuple(int(size) for size in data.get("shape", "").split(",") if size.strip())
            offset, size = int(data.get("offset", "")), int(data.get("size", ""))
        except ValueError as error:
            raise FormatError("has a place that is no number", code="OV03") from error
        dtype = _DTYPES.get(kind) or (_SMALL[kind][0] if kind in _SMALL else kind.upper() or "UNKNOWN")
        if any(extent < 0 for extent in shape) or offset < 0 or size < 0:
            raise FormatError("has an impossible shape or place", code="OV03")
        count = element_count(shape)
        known = kind in _DTYPES or kind in _SMALL
        wanted = byte_count(dtype, count) if kind in _DTYPES else -(-count * _SMALL[kind][1] // 8) if known else size
        if size != wanted:
            raise FormatError(f"has {size:,} bytes, its shape needs {wanted:,}", code="OV03")
        self._place(name, kind, dtype, shape, (offset, size))

    def _place(self, name: str, kind: str, dtype: str, shape: tuple[int, ...], place: tuple[int, int]) -> None:
        checkpoint, (offset, size) = self._checkpoint, place
        if not size:
            if kind in _DTYPES:
                checkpoint.place(name, dtype, shape, None)
            return
        small = _SMALL.get(kind)
        try:
            values = checkpoint.companions.open(checkpoint.values_name)
        except SourceError as error:
            decoded = "" if kind in _DTYPES else "U8" if small is None or not small[2] else "I8"
            checkpoint.place_absent(name, dtype, shape, str(error), values=decoded)
            return
        if offset + size > values.size:
            raise FormatError(f"lies at {offset:,} to {offset + size:,} of {values.size:,} bytes", code="OV03")
        region = FileRegion(values, offset, size)
        if small is not None:
            coder = SmallCoder(small[1], small[2])
            checkpoint.place_coded(name, dtype, shape, region, coder, values="I8" if small[2] else "U8")
        elif kind in _DTYPES:
            checkpoint.place(name, dtype, shape, region, elsewhere=True)
        else:
            checkpoint.place_bytes(name, dtype, shape, region, size)

    def _wired(self, layers: dict[str, _Layer]) -> bytes:
        """A digest of what a network or a body computes, whatever its layers are called and numbered."""
        made: dict[str, bytes] = {}
        waiting = {key: {one for one, _ in layer.inputs.values()} & layers.keys() for key, layer in layers.items()}
        users: dict[str, list[str]] = {}
        for key, sources in waiting.items():
            for source in sources:
                users.setdefault(source, []).append(key)
        ready = [key for key, sources in waiting.items() if not sources]
        inputs = [key for key, layer in layers.items() if layer.kind == "Parameter"]
        position = {key: place for place, key in enumerate(inputs)}
        while ready:
            self._budget.step()
            key = ready.pop()
            layer = layers[key]
            own = layer.data
            if layer.kind == "Const":
                own = {name: layer.data.get(name, "").replace(" ", "") for name in ("element_type", "shape")}
            given = [digest_of(port, made[source]) + made_port.encode() for port, (source, made_port) in sorted(
                layer.inputs.items()) if source in made]  # fmt: skip
            place = str(position.get(key, ""))
            made[key] = digest_of(layer.kind, layer.version, place, repr(sorted(own.items())), *layer.bodies, *given)
            for user in users.get(key, ()):
                waiting[user].discard(key)
                if not waiting[user]:
                    ready.append(user)
        return digest_of(str(len(layers)), *sorted(made.values()))


def _refuse(*_: object) -> NoReturn:
    raise FormatError("declares types or entities, which no network needs", code="OV02", offset=0)


def _read(checkpoint: _OpenvinoCheckpoint, limits: Limits) -> None:
    _Reader(checkpoint, limits).read()


open_checkpoint, check = reader(_OpenvinoCheckpoint, _read, "OV01", missing="OV05")
