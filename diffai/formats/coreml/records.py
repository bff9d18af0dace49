"""Messages of Core ML by the names of their fields, which ``schema.json`` has of all messages of its specification.

Specification: https://apple.github.io/coremltools/mlmodel (version 9); the schema lists ``name:type`` of each field by
number, ``*`` for repeated ones, a letter for numbers and texts, ``=`` and a name for an enumeration.
"""

from __future__ import annotations

import json
import struct
from functools import cache
from itertools import islice
from pathlib import Path

from diffai.errors import FormatError
from diffai.formats.base import Budget
from diffai.formats.digests import region_digest
from diffai.formats.protobuf import LENGTH, VARINT, Message, signed, varints
from diffai.formats.regions import FileRegion, JoinedRegion, Region

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from diffai.formats.protobuf import Field

_FIXED = {"d": 8, "f": 4}
_SHOWN = 16


@cache
def _schema() -> tuple[dict[str, dict[int, tuple[str, str]]], dict[str, dict[str, str]]]:
    found = json.loads((Path(__file__).parent / "schema.json").read_text(encoding="utf-8"))
    messages = {
        name: {int(number): _split(text) for number, text in fields.items()}
        for name, fields in found["messages"].items()
    }
    return messages, found["enums"]


def _split(text: str) -> tuple[str, str]:
    name, _, kind = text.partition(":")
    return name.removesuffix("*"), kind + "*" if name.endswith("*") else kind


class Record:
    """A message whose fields have names; what it holds is read when it is asked for."""

    __slots__ = ("_budget", "_depth", "_fields", "_message", "kind", "types")

    def __init__(self, message: Message, kind: str, budget: Budget, depth: int = 0) -> None:
        budget.deep(depth)
        self._message, self._budget, self._depth, self.kind = message, budget, depth, kind
        self._fields: dict[str, list[Field]] = {}
        self.types: dict[str, str] = {}
        known = _schema()[0][kind]
        for field in message.fields():
            budget.step()
            name, type_ = known.get(field[0], (f"field {field[0]}", "?"))
            self._fields.setdefault(name, []).append(field)
            self.types[name] = type_

    @property
    def at(self) -> int:
        """Where it begins in the file."""
        return self._message.start

    def records(self, name: str) -> Iterator[Record]:
        """Each message of a field."""
        for number, kind, a, b in self._fields.get(name, ()):
            type_ = self.types[name].removesuffix("*")
            if kind != LENGTH or type_ not in _schema()[0]:
                raise FormatError(f"has a field {number} of another kind", offset=a if kind == LENGTH else self.at)
            yield Record(self._message.within(a, b), type_, self._budget, self._depth + 1)

    def record(self, name: str) -> Record | None:
        """The message of a field, where it is there; the last one counts."""
        return None if name not in self._fields else list(self.records(name))[-1]

    def number(self, name: str, default: int = 0) -> int:
        """A whole number, an enumeration or a truth value."""
        found = [a for _, kind, a, _ in self._fields.get(name, ()) if kind == VARINT]
        return signed(found[-1]) if found else default

    def texts(self, name: str) -> list[str]:
        """Strings."""
        found = [(a, b) for _, kind, a, b in self._fields.get(name, ()) if kind == LENGTH]
        for a, b in found:
            self._budget.name(min(b - a, 1 << 16))
        return [self._message.text(a, b) for a, b in found]

    def text(self, name: str) -> str:
        """A string; "" when it is not there."""
        return (self.texts(name) or [""])[-1]

    def raw(self, name: str) -> Region | None:
        """The bytes of a field where they lie; None when it is not there."""
        found = [(a, b) for _, kind, a, b in self._fields.get(name, ()) if kind == LENGTH]
        return FileRegion(self._message.source, found[-1][0], found[-1][1] - found[-1][0]) if found else None

    def reals(self, name: str) -> Region:
        """Numbers with a fraction, one after another, where they lie, whether packed or each with its tag."""
        parts: list[Region] = []
        self._budget.value(len(self._fields.get(name, ())))
        for _, kind, a, b in self._fields.get(name, ()):
            if kind == VARINT or (b - a) % _FIXED[self.types[name][0]]:
                raise FormatError(f"has numbers of another kind in {name}", offset=a)
            parts.append(FileRegion(self._message.source, a, b - a))
        return parts[0] if len(parts) == 1 else JoinedRegion(parts)

    def integers(self, name: str, most: int = -1) -> list[int]:
        """Whole numbers; ``most``: the first so many."""
        found: list[int] = []
        for _, kind, a, b in self._fields.get(name, ()):
            if kind == VARINT:
                found.append(signed(a))
            elif kind == LENGTH:
                self._budget.make(8 * (b - a))
                left = None if most < 0 else max(0, most - len(found))
                found += [signed(value) for value in islice(varints(self._message.content(a, b)), left)]
        return found

    def scalar(self, name: str) -> object:
        """What is shown of a field of plain values: one, a short list, or how many and a digest."""
        type_ = self.types[name]
        base = type_.removesuffix("*")
        if base == "?":
            return f"{len(self._fields[name])} of a kind that is not known"
        if base == "B":
            region = self.raw(name)
            return None if region is None else f"{region.size:,} bytes, {region_digest(region)}"
        if base == "s":
            found: list[object] = list(self.texts(name))
        elif base in _FIXED:
            region = self.reals(name)
            if region.size > _SHOWN * _FIXED[base] and type_.endswith("*"):
                return f"{region.size // _FIXED[base]:,} numbers, {region_digest(region)}"
            data = bytearray(region.size)
            region.read_into(0, memoryview(data))
            found = [float(f"{value:.9g}") for value in struct.unpack(f"<{len(data) // _FIXED[base]}{base}", data)]
        else:
            names = _schema()[1].get(base[1:], {}) if base[0] == "=" else {}
            found = [names.get(str(value), value) for value in self.integers(name)]
            if base == "b":
                found = [bool(value) for value in found]
        return found if type_.endswith("*") else (found[-1] if found else None)
