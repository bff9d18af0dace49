"""Attributes of nodes: short ones are text, tensors and long lists are weights, graphs are walked."""

from __future__ import annotations

import struct

from diffai.formats.onnx.tensors import TensorProto, parse
from diffai.formats.onnx.types import digest_of, payload_digest, quoted
from diffai.formats.protobuf import FIXED32, LENGTH, VARINT, Message, signed, varints

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from diffai.formats.base import Budget
else:
    Protocol = object

_ATTRIBUTE_STEPS = 7
_SHORT = 16  # lists up to this many numbers are attributes, longer ones are weights


class Scope:
    """What a graph sees: digests of values by name, those of the graph around it included."""

    def __init__(self, prefix: str, outer: Scope | None) -> None:
        self.prefix = prefix
        self.exact: dict[str, bytes] = dict(outer.exact) if outer else {}
        self.loose: dict[str, bytes] = dict(outer.loose) if outer else {}


class Reader(Protocol):
    """The walk over a model, as far as attributes need it."""

    budget: Budget

    def add(self, tensor: TensorProto, message: Message, name: str) -> None:
        """Take a tensor in."""

    def add_list(self, name: str, dtype: str, message: Message, places: list[tuple[int, int, int]]) -> bytes:
        """Take a list of numbers in."""

    def sparse(self, message: Message, scope: Scope, name: str) -> str:
        """Take a sparse tensor in."""

    def graph_of(self, message: Message, scope: Scope, depth: int) -> tuple[bytes, bytes]:
        """Walk a graph inside the graph."""


class Attributes:
    """The attributes of one node: short ones as text, tensors and long lists as weights, graphs walked."""

    def __init__(
        self, reader: Reader, scope: Scope, depth: int, node: str, outputs: list[str], learned: bool
    ) -> None:
        self._reader, self._scope, self._depth, self._node = reader, scope, depth, node
        self._outputs, self._learned = outputs, learned
        self.texts: list[str] = []
        self.exact: list[bytes] = []
        self.loose: list[bytes] = []

    def add(self, message: Message) -> None:
        """Take in one ``AttributeProto``."""
        self._reader.budget.step(_ATTRIBUTE_STEPS)
        name = ""
        texts: list[str] = []
        lists: dict[int, list[tuple[int, int, int]]] = {}
        parts: list[tuple[int, Message]] = []
        for number, kind, a, b in message.fields():
            if number == 1 and kind == LENGTH:
                name = message.text(a, b)
            elif number == 2 and kind == FIXED32:
                texts.append(repr(struct.unpack("<f", message.content(a, b))[0]))
            elif number == 3 and kind == VARINT:
                texts.append(str(signed(a)))
            elif number == 4 and kind == LENGTH:
                texts.append(quoted(message, a, b))
            elif number in (5, 6, 10, 11, 22, 23) and kind == LENGTH:
                parts.append((number, message.within(a, b)))
            elif number in (7, 8, 9):
                lists.setdefault(number, []).append((kind, a, b))
            elif number in (14, 15) and kind == LENGTH:
                texts.append(payload_digest(message, a, b))
            elif number == 21 and kind == LENGTH:
                texts.append("@" + message.text(a, b))
        for number, places in lists.items():
            text = self._list(name, number, message, places)
            if text:
                texts.append(text)
        for index, (number, part) in enumerate(parts):
            self._part(name if len(parts) == 1 else f"{name}.{index}", number, part)
        if texts:
            self.texts.append(f"{name}={', '.join(texts)}")
            self.exact.append(digest_of(self.texts[-1]))
            self.loose.append(self.exact[-1])

    def _list(self, name: str, number: int, message: Message, places: list[tuple[int, int, int]]) -> str:
        """A short list as text; a long one becomes a tensor."""
        if number == 9:
            shown = [quoted(message, a, b) for _, a, b in places[:_SHORT]]
            if len(places) > _SHORT:
                shown.append(f"... {len(places):,} strings, {payload_digest(message, places[0][1], places[-1][2])}")
            return f"[{', '.join(shown)}]"
        if number == 7:
            count = sum(b - a for _, a, b in places) // 4
            if count > _SHORT or self._learned:
                return self._weights(name, "F32", message, places)
            floats = [value for _, a, b in places for (value,) in struct.iter_unpack("<f", message.content(a, b))]
            return f"[{', '.join(map(repr, floats))}]"
        if sum(1 if kind == VARINT else b - a for kind, a, b in places) > 10 * _SHORT:
            return self._weights(name, "I64", message, places)
        numbers = [n for kind, a, b in places for n in ([a] if kind == VARINT else varints(message.content(a, b)))]
        if len(numbers) > _SHORT:
            return self._weights(name, "I64", message, places)
        return f"[{', '.join(str(signed(n)) for n in numbers)}]"

    def _weights(self, name: str, dtype: str, message: Message, places: list[tuple[int, int, int]]) -> str:
        title = next(filter(None, self._outputs), "")
        full = self._scope.prefix + title if title else f"{self._node}.{name}"
        digest = self._reader.add_list(full, dtype, message, places)
        self.exact.append(digest)
        self.loose.append(digest)
        return ""

    def _part(self, name: str, number: int, part: Message) -> None:
        """A tensor, a sparse tensor or a graph."""
        title = next(filter(None, self._outputs), "")
        full = self._scope.prefix + title if title else f"{self._node}.{name}"
        if number in (5, 10):
            tensor = parse(part)
            self._reader.add(tensor, part, full)
            digests = (digest_of("tensor", name, tensor.dtype, repr(tensor.dims)),) * 2
        elif number in (22, 23):
            inner = Scope("", None)
            self._reader.sparse(part, inner, full)
            digests = (digest_of("sparse", name),) * 2
        else:
            digests = self._reader.graph_of(part, Scope(f"{self._node}.{name}/", self._scope), self._depth + 1)
            digests = (digest_of(name, digests[0]), digest_of(name, digests[1]))
        self.exact.append(digests[0])
        self.loose.append(digests[1])
