"""Names for the tensors of an object graph: dotted paths, weights apart from training state.

The walk is iterative and bounded in depth and number of steps, so cyclic, deep and shared structures all end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from diffai.errors import FormatError, LimitError
from diffai.formats.layout import DType
from diffai.formats.regions import COPY_BLOCK, BytesRegion, Region, read
from diffai.formats.torch.numpy_pickles import element_type, region_of
from diffai.formats.torch.objects import (
    Array,
    Composite,
    Global,
    LongBytes,
    LongText,
    OpaqueKey,
    PickledSet,
    Recast,
    Storage,
    Stub,
    Tensor,
    Valueless,
    shown,
)
from diffai.formats.torch.sections import MODULE_INTERNALS, MODULE_TENSORS, TENSOR_INTERNALS, Role, Section, sections_of
from diffai.model import Problem, Scalar

MAX_DEPTH = 200
MAX_STEPS = 2_000_000
MAX_SCALARS = 20_000
LONG_SEQUENCE = 64
LONG_STRING = 256
LEAVES = (Tensor, Storage, Composite, Valueless, Recast)
Kind = Literal["tensor", "scalar", "container"]


class Flat:
    """Result: leaves that are tensors, in file order, by name, with their role; scalars; problems."""

    def __init__(self) -> None:
        self.leaves: dict[str, tuple[object, Role]] = {}
        self.training: dict[str, Scalar] = {}
        self.metadata: dict[str, str] = {}
        self.problems: list[Problem] = []


def flatten(value: object) -> Flat:
    """Give names to everything in the object of one file.

    Raises:
        FormatError: nested deeper than MAX_DEPTH (PT11).
        LimitError: more than MAX_STEPS values.

    """
    walker = _Walker()
    for section in sections_of(value, holds_tensors, walker.flat.problems):
        walker.walk(section)
    walker.finish()
    return walker.flat


def kind_of(value: object) -> Kind:
    """Whether a value is a tensor, has children, or is a plain value."""
    if isinstance(value, LEAVES):
        return "tensor"
    if isinstance(value, Array):
        return "container" if isinstance(value.data, (list, tuple)) else (
            "tensor" if element_type(value.dtype) is not None else "scalar")  # fmt: skip
    if isinstance(value, (dict, list, tuple, PickledSet)):
        return "container"
    if isinstance(value, Stub):
        return "container" if value.state is not None or value.items or value.pairs or _deep_args(value) else "scalar"
    return "scalar"


def _deep_args(stub: Stub) -> bool:
    return any(kind_of_arg not in (str, int, float, bool, type(None), bytes, Global, DType)
               for kind_of_arg in map(type, stub.args))  # fmt: skip


def children(value: object) -> Iterator[tuple[str, object]]:
    """Names and values inside a container. Module state gives its parameters, buffers and modules directly."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield key_text(key), item
    elif isinstance(value, PickledSet):
        yield from _numbered(value.items)
    elif isinstance(value, (list, tuple)):
        yield from _numbered(value)
    elif isinstance(value, Array):
        yield from _numbered(value.data if isinstance(value.data, (list, tuple)) else ())
    elif isinstance(value, Stub):
        yield from _stub_children(value)
    elif isinstance(value, Tensor):
        attributes = _state_children(value.state)
        yield from (item for item in attributes if item[0] not in TENSOR_INTERNALS)


def _numbered(items: list[object] | tuple[object, ...]) -> Iterator[tuple[str, object]]:
    for position, item in enumerate(items):
        yield str(position), item


def _stub_children(stub: Stub) -> Iterator[tuple[str, object]]:
    if _deep_args(stub):
        yield from _numbered(stub.args)
    yield from _state_children(stub.state)
    yield from _numbered(stub.items)
    for key, item in stub.pairs.items():
        yield key_text(key), item


def _state_children(whole: object) -> Iterator[tuple[str, object]]:
    """What BUILD was given: attributes, (attributes, slots), or whatever a class's own ``__getstate__`` made."""
    states: tuple[object, ...] = (whole,)
    if isinstance(whole, tuple) and len(whole) == 2 and all(part is None or isinstance(part, dict) for part in whole):
        states = whole
    for state in states:
        if isinstance(state, dict):
            yield from _attributes(state)
        elif isinstance(state, tuple):
            yield from _numbered(state)
        elif state is not None:
            yield "state", state


def _attributes(state: dict[object, object]) -> Iterator[tuple[str, object]]:
    is_module = "_modules" in state and "_parameters" in state
    if is_module:
        for part in MODULE_TENSORS:
            inner = state.get(part)
            if isinstance(inner, dict):
                yield from ((key_text(key), item) for key, item in inner.items() if item is not None)
    for key, item in state.items():
        name = key_text(key)
        if not (is_module and (name in MODULE_TENSORS or name in MODULE_INTERNALS)):
            yield name, item


def key_text(key: object) -> str:
    """A dictionary key as part of a name."""
    if isinstance(key, str):
        return key
    if isinstance(key, bytes):
        return key.decode("utf-8", "backslashreplace")
    if isinstance(key, tuple):
        return ",".join(str(part) for part in key)
    if isinstance(key, OpaqueKey):
        return f"<{type(key.value).__name__}>"
    if isinstance(key, Stub):
        return described(key)
    return key.full if isinstance(key, Global) else str(key)


def holds_tensors(value: object) -> bool:
    """Whether a tensor is anywhere inside."""
    seen: set[int] = set()
    pending = [value]
    while pending:
        item = pending.pop()
        kind = kind_of(item)
        if kind == "tensor":
            return True
        if kind == "container" and id(item) not in seen:
            seen.add(id(item))
            pending.extend(child for _, child in children(item))
            if len(seen) > MAX_STEPS:
                break
    return False


class _Walker:
    """Walks the sections one after another, keeping names unique."""

    def __init__(self) -> None:
        self.flat = Flat()
        self._steps = 0
        self._digest: Digest | None = None
        self._left_out = 0

    def walk(self, section: Section) -> None:
        """All leaves of one section, depth first, in file order."""
        if kind_of(section.value) != "container":
            self._leaf(section.name, section.value, section.role)
            if not (isinstance(section.value, Tensor) and section.value.state is not None):
                return
        path = [section.name] if section.name else []
        frames: list[tuple[Iterator[tuple[str, object]], int, Role]] = []
        open_ids: set[int] = set()
        self._enter(section.value, path, section.role, frames, open_ids)
        while frames:
            iterator, identity, role = frames[-1]
            step = next(iterator, None)
            if step is None:
                frames.pop()
                open_ids.discard(identity)
                if path and frames:
                    path.pop()
                continue
            self._steps += 1
            if self._steps > MAX_STEPS:
                raise LimitError(f"holds more than {MAX_STEPS:,} values", code="PT12")
            name, value = step
            kind = kind_of(value)
            if kind != "container":
                self._leaf(".".join((*path, name)), value, role)
            if kind == "container" or (isinstance(value, Tensor) and value.state is not None):
                path.append(name)
                if not self._enter(value, path, role, frames, open_ids):
                    path.pop()

    def _enter(
        self,
        value: object,
        path: list[str],
        role: Role,
        frames: list[tuple[Iterator[tuple[str, object]], int, Role]],
        open_ids: set[int],
    ) -> bool:
        if id(value) in open_ids:
            return False  # a cycle: the value is being walked already
        if len(frames) >= MAX_DEPTH:
            raise FormatError(f"objects nested more than {MAX_DEPTH} deep", code="PT11")
        if _is_long(value):
            self._scalar(".".join(path), _summary(value))
            return False
        if isinstance(value, dict) and "param_groups" in value and "state" in value:
            role = "training"
        frames.append((children(value), id(value), role))
        open_ids.add(id(value))
        return True

    def _leaf(self, name: str, value: object, role: Role) -> None:
        if kind_of(value) != "tensor":
            self._scalar(name, scalar_of(value))
        elif isinstance(value, Composite):
            name = name or "tensor"
            if value.size is not None:
                self._metadata(f"{name}.size", f"{value.kind} {_sizes(value.size)}")
            for part, tensor in value.parts:
                if isinstance(tensor, (Tensor, Recast, Array)):
                    self._add(f"{name}.{part}", tensor, role)
        elif isinstance(value, Valueless):
            self._metadata(name, f"no values (meta device) {scalar_of(value.dtype)} {_sizes(value.shape)}")
            self.flat.problems.append(Problem("PT24", "warning", "has no values (meta device)", tensor=name))
        else:
            self._add(name, value, role)

    def _add(self, name: str, leaf: object, role: Role) -> None:
        name = name or "tensor"
        unique, number = name, 2
        while unique in self.flat.leaves:
            unique, number = f"{name}#{number}", number + 1
        if unique != name:
            message = f"a second tensor has this name; it is shown as {shown(unique)}"
            self.flat.problems.append(Problem("PT23", "warning", message, tensor=name))
        self.flat.leaves[unique] = (leaf, role)

    def _metadata(self, name: str, text: str) -> None:
        self.flat.metadata[name] = text

    def _scalar(self, name: str, value: Scalar) -> None:
        if len(self.flat.training) >= MAX_SCALARS:
            self._left_out += 1
            self._digest = self._digest or Digest()
            self._digest.update(f"{name}={value!r}\n".encode("utf-8", "backslashreplace"))
            return
        unique, number = name, 2
        while unique in self.flat.training:
            unique, number = f"{name}#{number}", number + 1
        self.flat.training[unique] = value

    def finish(self) -> None:
        """Values beyond MAX_SCALARS leave their number and digest, so that a change in them still shows."""
        if self._left_out:
            self.flat.training["..."] = f"{self._left_out:,} more values, {self._digest}"
            message = f"{self._left_out:,} values that are no tensors are only compared as a whole"
            self.flat.problems.append(Problem("PT26", "warning", message))


class Digest:
    """xxh3-128 of pieces, as text."""

    def __init__(self) -> None:
        import xxhash

        self._state = xxhash.xxh3_128()

    def update(self, data: bytes) -> None:
        """Add bytes."""
        self._state.update(data)

    def __str__(self) -> str:
        return f"xxh3:{self._state.hexdigest()}"


def _digest(region: Region) -> str:
    digest = Digest()
    for start in range(0, region.size, COPY_BLOCK):
        digest.update(read(region, start, min(COPY_BLOCK, region.size - start)))
    return str(digest)


def _is_long(value: object) -> bool:
    """A long sequence of plain values, which is summarised rather than listed."""
    items = value.items if isinstance(value, PickledSet) else value
    return (
        isinstance(items, (list, tuple)) and len(items) > LONG_SEQUENCE
        and all(item is None or isinstance(item, (str, int, float, bytes)) for item in items)
    )  # fmt: skip


def _summary(value: object) -> str:
    items = value.items if isinstance(value, PickledSet) else value
    assert isinstance(items, (list, tuple))
    texts = [repr(item) for item in items]
    if isinstance(value, PickledSet):
        texts.sort()
    digest = Digest()
    for text in texts:
        digest.update(text.encode("utf-8", "backslashreplace") + b"\n")
    return f"<{len(texts):,} values {digest}>"


def scalar_of(value: object) -> Scalar:
    """A plain value as it is; anything else as a short text that differs when the content does."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        if len(value) <= LONG_STRING:
            return value
        digest = Digest()
        digest.update(value.encode("utf-8", "surrogatepass"))
        return f"{value[:64]}... <{len(value):,} characters {digest}>"
    if isinstance(value, (LongText, LongBytes)):
        return f"<{value.region.size:,} bytes {_digest(value.region)}>"
    if isinstance(value, bytes):
        return f"<{len(value):,} bytes {_digest(BytesRegion(value))}>"
    if isinstance(value, complex):
        return str(value)
    if isinstance(value, DType):
        return f"torch.{value.torch_name}"
    return described(value)


def described(value: object) -> str:
    """A stub, array of text, or other inert object in a few words."""
    if isinstance(value, Global):
        return value.full if len(value.full) <= LONG_STRING else shown(value.full)
    if isinstance(value, Stub):
        inside = ", ".join(str(scalar_of(part)) for part in value.args)
        return f"<{shown(value.of.full)}({inside if len(inside) <= LONG_STRING else scalar_of(inside)})>"
    if isinstance(value, Array):
        region = region_of(value.data)
        return f"<numpy array {_sizes(value.shape)} of no numbers {_digest(region) if region else ''}>"
    return f"<{type(value).__name__}>"


def _sizes(value: object) -> str:
    if not isinstance(value, (tuple, list)) or not all(isinstance(size, int) for size in value):
        return "[?]"
    return f"[{', '.join(str(size) for size in value[:64])}]"
