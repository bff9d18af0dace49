"""skops files: a zip of ``schema.json``, which says of what an estimator is made, and its arrays (``.npy``).

Types are names here, and nothing is built; what is shown is what a pickle of the same estimator shows.

==== ======================================================================================================
code reason
==== ======================================================================================================
SK01 there is no ``schema.json``
SK02 the schema is damaged, or names a member that is not there
==== ======================================================================================================

What is wrong with the archive is numbered as in :mod:`diffai.formats.zip`, with arrays as in :mod:`diffai.formats.npz`.
"""

from __future__ import annotations

import json
import re
from functools import partial

from diffai.errors import FormatError, LimitError
from diffai.formats.base import Budget, Limits
from diffai.formats.npy_header import Header, length_of, parse
from diffai.formats.regions import PartOf, read
from diffai.formats.stored import reader
from diffai.formats.torch.checkpoint import TorchCheckpoint
from diffai.formats.torch.document import Document
from diffai.formats.torch.objects import Array, Global, LongBytes, NumpyDType, PickledSet, Stub
from diffai.formats.zip import Archive
from diffai.model import element_count

NAME = "skops"
_SCHEMA = "schema.json"
_NUMBERED = re.compile(rb"\d{6,24}\.npy")


def recognise(head: bytes, size: int, name: str) -> bool:
    """Whether content is a zip that begins with the schema, or with an array that is named by a number."""
    if head[:4] != b"PK\x03\x04":
        return False
    member = head[30 : 30 + int.from_bytes(head[26:28], "little")]
    return member == _SCHEMA.encode() or name.lower().endswith(".skops") or bool(_NUMBERED.fullmatch(member))


class _Reader:
    """Makes the inert objects that a pickle of the same would give."""

    def __init__(self, archive: Archive, budget: Budget) -> None:
        self._archive, self._budget = archive, budget
        self._known: dict[object, object] = {}

    def read(self) -> object:
        member = self._archive.members.get(_SCHEMA)
        if member is None:
            raise FormatError(f"has no {_SCHEMA}", code="SK01", format=NAME)
        if member.size > self._budget.limits.max_header:
            reason = f"has a schema of {member.size:,} bytes (limit diffai.maxHeader)"
            raise LimitError(reason, code="LIM01", format=NAME)
        region = self._archive.open(member)
        try:
            return self._value(json.loads(read(region, 0, region.size)), 0)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise FormatError(f"has a damaged schema ({type(error).__name__})", code="SK02", format=NAME) from error

    def _value(self, node: object, depth: int) -> object:
        self._budget.value()
        self._budget.deep(depth)
        if not isinstance(node, dict) or "__loader__" not in node:
            return node if isinstance(node, (str, int, float, bool, type(None))) else str(node)
        key = node.get("__id__")
        if key in self._known:
            return self._known[key]
        made = self._made(node, str(node["__loader__"]), depth + 1)
        if key is not None:
            self._known[key] = made
        return made

    def _made(self, node: dict[str, object], loader: str, depth: int) -> object:
        content = node.get("content")
        if loader == "JsonNode":
            return json.loads(str(content))
        if loader == "DictNode" and isinstance(content, dict):
            return {key: self._value(item, depth) for key, item in content.items()}
        if loader in ("ListNode", "TupleNode", "SetNode") and isinstance(content, list):
            items = [self._value(item, depth) for item in content]
            return tuple(items) if loader == "TupleNode" else PickledSet(items) if loader == "SetNode" else items
        if "file" in node and str(node["file"]).endswith(".npy"):
            return self._array(str(node["file"]))
        args: object = ()
        reduced = node.get("__reduce__")
        if isinstance(reduced, dict):
            args = self._value(reduced.get("args"), depth)
        kind = Global(str(node["__module__"]), str(node["__class__"]))
        made = Stub(kind, args if isinstance(args, tuple) else (args,))
        if "file" in node:
            member = self._archive.members[str(node["file"])]
            made.args = (*made.args, f"{member.size:,} bytes, crc32 {member.crc:08x}")
        if isinstance(content, list):
            made.items = [self._value(item, depth) for item in content]
        elif isinstance(content, dict) and "__loader__" not in content:
            made.state = {key: self._value(item, depth) for key, item in content.items()}
        elif content is not None:
            made.state = self._value(content, depth)
        return made

    def _array(self, name: str) -> object:
        member = self._archive.members[name]
        start, length = length_of(self._archive.head(member, 12))
        header = parse(self._archive.head(member, start + length), self._budget)
        if header.objects:
            raise FormatError("keeps objects in an array, which skops does not write", code="SK02", format=NAME)
        size = element_count(header.shape) * header.item
        if size > member.size - header.start:
            reason = f"needs {size:,} bytes, {member.size - header.start:,} are there"
            raise FormatError(reason, code="NP03", tensor=name, format=NAME)
        array = Array()
        array.shape, array.fortran, array.dtype = header.shape, header.fortran, _dtype(header)
        array.data = LongBytes(PartOf(self._archive.open(member), header.start, size))
        return array


def _dtype(header: Header) -> NumpyDType:
    """The type of an array as a pickle would have it."""
    if len(header.fields) == 1 and not header.fields[0].name:
        return NumpyDType(header.fields[0].code)
    made = NumpyDType("V")
    made.structured, made.item = True, header.item
    for field in header.fields:
        kind = NumpyDType(field.code)
        if field.shape:
            kind.base = (NumpyDType(field.code), field.shape)
        made.fields[field.name] = kind, field.offset
    return made


def _read(checkpoint: TorchCheckpoint, limits: Limits) -> None:
    budget = Budget(limits)
    archive = Archive(checkpoint.source, budget, checkpoint.spool, format=NAME)
    if limits.values:
        archive.verify()
    document = Document(NAME)
    document.value = _Reader(archive, budget).read()
    document.has_estimators = True
    checkpoint.fill(document, budget)


open_checkpoint, check = reader(partial(TorchCheckpoint, NAME), _read, "SK02")
