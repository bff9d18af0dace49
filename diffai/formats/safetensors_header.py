"""Read the header of a safetensors file: JSON to tensor specs, with every rule of the format kept.

Source: the format description in the README of https://github.com/huggingface/safetensors and the checks
of its ``SafeTensors::read_metadata`` and ``Metadata::validate``. Only the standard library is used, members
of the header are taken one at a time (a header of 100,000 tensors never becomes a tree of 100,000
dictionaries), and equal names, dtypes and shapes are shared.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection
from operator import attrgetter

from diffai.errors import FormatError, LimitError
from diffai.formats.base import Limits
from diffai.formats.strict_json import MalformedError, Repeated, members
from diffai.frozen import frozen
from diffai.model import DTYPE_BITS, Problem, TensorSpec
from diffai.sources.base import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mmap import mmap
    from typing import Any, NoReturn

NAME = "safetensors"

#: Dtypes that a safetensors header may name.
DTYPES = frozenset(DTYPE_BITS) - {"C32", "C128", "QI8", "QU8", "QI32"}

LONG = 1 << 19
"""Bytes of a header from which on it is worth a module or two to take care of it."""

_U64_MAX = (1 << 64) - 1
_FIELDS = ("dtype", "shape", "data_offsets")

# The entry as all writers write it: no escapes in the name, fields in this order, sizes below 10^19.
_SIZE = "(?:0|[1-9][0-9]{0,18})"
_USUAL_ENTRY = re.compile(
    rf'"([^"\\\x00-\x1f]*)": ?{{("dtype": ?"[A-Z0-9_]+", ?"shape": ?\[(?:{_SIZE}(?:, ?{_SIZE})*|)\])'
    rf', ?"data_offsets": ?\[({_SIZE}), ?({_SIZE})\]}}(, ?(?="))?'
)

Report = Callable[[Problem], None]


class Specs(dict[str, TensorSpec]):
    """Specs by name, in file order; unlike a plain dictionary's its life can be followed (:mod:`weakref`)."""


@frozen
class Header:
    """What a header says.

    Attributes:
        tensors: offsets are absolute.
        metadata: ``__metadata__``; empty when there is none.
        data_start: absolute offset of the data section, 8 + header length.

    """

    tensors: Specs
    metadata: dict[str, str]
    data_start: int


def shown(name: str) -> str:
    """A name for a message: quoted, control characters escaped, at most some 80 characters."""
    return repr(name if len(name) <= 80 else name[:77] + "...")


def raise_first(problem: Problem) -> None:
    """The report function of opening: the first error ends it; warnings pass."""
    if problem.severity == "error":
        raise FormatError(problem.message, code=problem.code, tensor=problem.tensor, offset=problem.offset, format=NAME)


def read_header(source: Source, limits: Limits, report: Report) -> Header:
    """Read and check the header of ``source``; no byte of tensor data is read.

    Args:
        source: read at offset 0 and 8 only, in this order.
        limits: ``max_header`` is kept.
        report: called with each problem; it may raise to stop (``raise_first``). Messages leave out the tensor's
            own name, which the problem carries.

    Raises:
        LimitError: the header is longer than ``limits.max_header``.
        FormatError: nothing can be read after a problem that ``report`` let pass.
        SourceError: the source cannot be read.

    """
    return parse_header(read_bytes(source, limits, report), source.size, report)


def parse_header(raw: memoryview, file_size: int, report: Report) -> Header:
    """The same of what :func:`read_bytes` gave, which is released: 10 MB need not be held twice."""
    data_start = 8 + len(raw)
    try:
        text = str(raw, "utf-8")
    except UnicodeDecodeError as error:
        _fail(report, "ST03", f"header is not UTF-8 ({error.reason})", offset=8 + error.start)
    raw.release()
    entries = Entries(text, data_start, report)
    try:
        for key, value, position in members(text, entries.take_usual):
            entries.take(key, value, position)
    except MalformedError as error:
        offset = 8 + entries.byte_position(error.position)
        if error.syntax:
            _fail(report, "ST04", f"header is not valid JSON: {error.reason}", offset=offset)
        _fail(report, "ST05", "header is JSON, but not an object", offset=offset)
    return Header(check_layout(entries, file_size, report), entries.metadata, data_start)


def _fail(report: Report, code: str, message: str, *, offset: int) -> NoReturn:
    """Report a problem after which nothing more can be read."""
    problem = Problem(code, "error", message, offset=offset)
    report(problem)
    raise FormatError(message, code=code, offset=offset, format=NAME)


def read_bytes(source: Source, limits: Limits, report: Report) -> memoryview:
    """The bytes of the header; the data begins 8 + their number into the file. Arguments as for read_header."""
    size = source.size
    if size < 8:
        _fail(report, "ST01", f"is {size} bytes long, too short for the 8-byte header length", offset=0)
    length = int.from_bytes(source.read(0, 8), "little")
    if length > size - 8:
        _fail(report, "ST02", f"header length {length:,} reaches past the end of the file ({size:,} bytes):"
              " cut short, or not a safetensors file", offset=0)  # fmt: skip
    if length > limits.max_header:
        raise LimitError(
            f"header of {length:,} bytes is over the limit of {limits.max_header:,} bytes"
            " (diffai.maxHeader lifts it)",
            code="ST20", offset=0, format=NAME,
        )  # fmt: skip
    raw = memoryview(_memory(length))
    source.read_into(8, raw)
    return raw


def _memory(length: int) -> bytearray | mmap:
    """Memory that goes back to the system when it is let go, if it is much; the C library keeps it for itself."""
    if length < LONG:
        return bytearray(length)
    from mmap import mmap

    return mmap(-1, length)


# ---------------------------------------------------------------- entries


_Kind = tuple[str, tuple[int, ...], int]  # dtype, shape, bytes (-1: no such size)


class Entries:
    """Collects the members of a header into specs."""

    def __init__(self, text: str, data_start: int, report: Report) -> None:
        self._text = text
        self._ascii = text.isascii()
        self._reached = (0, 0)  # a position in characters, the same in bytes
        self.data_start = data_start
        self.report = report
        self.tensors = Specs()
        self.metadata: dict[str, str] = {}
        self.repeated: list[TensorSpec] = []  # further entries of a name, for the layout only
        self.complete = True  # False when the range of an entry is unknown
        self.ascending = self.gapless = True
        self.end = data_start  # of the entry before
        self._seen_metadata = False
        self._kinds: dict[tuple[str, tuple[int, ...]], _Kind] = {}
        self._usual_kinds: dict[str, _Kind] = {}

    def take_usual(self, text: str, at: int) -> tuple[int, bool]:
        """Take the entries of ``text`` from ``at`` on that are right and written as usual; :meth:`take` has the others.

        Most headers hold nothing else. Returns the position behind the last one, and whether it had no comma after it.
        """
        tensors, kinds, data_start, end = self.tensors, self._usual_kinds, self.data_start, self.end
        through = False
        while not through and (usual := _USUAL_ENTRY.match(text, at)):
            key, form, first, behind, comma = usual.groups()
            kind = kinds.get(form) or self._usual_kind(form)
            begin = int(first)
            if int(behind) - begin != kind[2] or kind[2] < 0 or key in tensors or key == "__metadata__":
                break
            name, offset = sys.intern(key), data_start + begin
            if offset != end:
                self.gapless = False
                self.ascending = self.ascending and offset > end
            end = offset + kind[2]
            tensors[name] = TensorSpec(name, *kind, offset)
            at, through = usual.end(), not comma
        self.end = end
        return at, through

    def _usual_kind(self, form: str) -> _Kind:
        """Of an entry's ``"dtype":"F32","shape":[2,3]``."""
        dtype, sizes = form.split('"')[3], form[form.index("[") + 1 : -1]
        shape = tuple(map(int, sizes.split(","))) if sizes else ()
        return self._usual_kinds.setdefault(form, self._kind(dtype, shape))

    def take(self, key: str, value: Any, position: int) -> None:
        """One member of the header object, whatever it is."""
        if key == "__metadata__":
            self._take_metadata(value, position)
            return
        self._check_fields(key, value, position)
        fault = _fault(value)
        if fault:
            self.complete = False
            self._problem("ST08", f"header entry has {fault}", key, position)
            return
        kind = self._kind(value["dtype"], tuple(value["shape"]))
        begin, end = value["data_offsets"]
        if not key.isascii():
            self._check_unicode(key, key, position)
        if end - begin != kind[2] or kind[2] < 0:
            self._problem(*_misfit(kind, begin, end), key, position)
            kind = (kind[0], kind[1], abs(end - begin))  # where problems are only collected
            begin = min(begin, end)
        offset = self.data_start + begin
        if offset != self.end:
            self.gapless = False
            self.ascending = self.ascending and offset > self.end
        self.end = offset + kind[2]
        name = sys.intern(key)
        spec = TensorSpec(name, *kind, offset)
        if self.tensors.setdefault(name, spec) is not spec:
            self._problem("ST06", "stands twice in the header", key, position)
            self.repeated.append(spec)

    def _kind(self, dtype: str, shape: tuple[int, ...]) -> _Kind:
        """Dtype and shape, shared by all tensors that have them, with the bytes that they need."""
        known = self._kinds.get((dtype, shape))
        if known is None:
            bits = _expected_bits(dtype, shape)
            known = (sys.intern(dtype), shape, bits >> 3 if bits >= 0 and not bits % 8 else -1)
            self._kinds[dtype, shape] = known
        return known

    def _check_fields(self, key: str, value: Any, position: int) -> None:
        """Repeated keys are an error, unknown fields a warning."""
        if isinstance(value, Repeated):
            message = f"{shown(value.key)} stands twice in its header entry"
            self._problem("ST06", message, key, position)
        if isinstance(value, dict):
            for field in value.keys() - set(_FIELDS):
                at = 8 + self.byte_position(position)
                message = f"unknown field {shown(field)} in its header entry"
                self.report(Problem("ST21", "warning", message, key, at))

    def _take_metadata(self, value: Any, position: int) -> None:
        """``__metadata__``: a map of string to string; null counts as none, as in the reference reader."""
        if self._seen_metadata:
            self._problem("ST06", "__metadata__ stands twice in the header", "", position)
        self._seen_metadata = True
        if isinstance(value, Repeated):
            self._problem("ST06", f"key {shown(value.key)} stands twice in __metadata__", "", position)
        if value is None:
            return
        if not isinstance(value, dict):
            self._problem("ST07", "__metadata__ is not a map of strings", "", position)
            return
        for name, content in value.items():
            if type(content) is str:
                self._check_unicode(name + content, "", position)
                self.metadata[name] = content
            else:
                message = f"value of {shown(name)} in __metadata__ is not a string"
                self._problem("ST07", message, "", position)

    def _check_unicode(self, words: str, tensor: str, position: int) -> None:
        """Lone surrogates, written as escapes, are no text."""
        try:
            words.encode("utf-8")
        except UnicodeEncodeError:
            where = "name" if tensor else "__metadata__"
            self._problem("ST19", f"{where} holds a lone surrogate, which is no text", tensor, position)

    def byte_position(self, position: int) -> int:
        """Bytes in front of a position in characters; quick for ascending positions."""
        if self._ascii:
            return position
        start, count = self._reached if position >= self._reached[0] else (0, 0)
        count += len(self._text[start:position].encode("utf-8"))
        self._reached = (position, count)
        return count

    def _problem(self, code: str, message: str, tensor: str, position: int) -> None:
        self.report(Problem(code, "error", message, tensor, 8 + self.byte_position(position)))


def _misfit(kind: _Kind, begin: int, end: int) -> tuple[str, str]:
    """Code and message of an entry whose byte range is not what dtype and shape need."""
    dtype, shape, nbytes = kind
    if dtype not in DTYPES:
        return "ST09", f"unknown dtype {shown(dtype)}"
    if _expected_bits(dtype, shape) < 0:
        return "ST10", f"{dtype} {_shape(shape)} overflows a 64-bit size"
    if nbytes < 0:
        return "ST11", f"{dtype} {_shape(shape)} does not end at a whole byte"
    if end < begin:
        return "ST12", f"data_offsets [{begin}, {end}] are reversed"
    needs = f"{dtype} {_shape(shape)} needs {nbytes:,} bytes"
    return "ST13", f"{needs}, data_offsets [{begin}, {end}] span {end - begin:,}"


def _expected_bits(dtype: str, shape: tuple[int, ...]) -> int:
    """Bits that a tensor takes; -1 for an unknown dtype, or when a product from the left leaves 64 bits."""
    count = 1
    for size in shape:
        count *= size
        if count > _U64_MAX:
            return -1
    bits = count * DTYPE_BITS[dtype] if dtype in DTYPES else -1
    return -1 if bits > _U64_MAX else bits


def _shape(shape: tuple[int, ...]) -> str:
    text = str(list(shape))
    return text if len(text) <= 60 else text[:56] + "...]"


def _fault(entry: Any) -> str:
    """What is wrong with the form of an entry, for a message; "" when nothing is."""
    if not isinstance(entry, dict):
        return "no JSON object"
    for field in _FIELDS:
        if field not in entry:
            return f"no {field}"
    if type(entry["dtype"]) is not str:
        return "dtype that is not a string"
    if not _sizes(entry["shape"]):
        return "shape that is not a list of sizes"
    if not _sizes(entry["data_offsets"]) or len(entry["data_offsets"]) != 2:
        return "data_offsets that are not two positions"
    return ""


def _sizes(value: Any) -> bool:
    """Whether a value is a list of whole numbers that fit 64 bits."""
    return type(value) is list and all(type(size) is int and 0 <= size <= _U64_MAX for size in value)


# ---------------------------------------------------------------- layout of the data


def check_layout(entries: Entries, file_size: int, report: Report) -> Specs:
    """Byte ranges follow each other without hole or overlap, up to the end. Returns specs in file order."""
    tensors, end = entries.tensors, entries.end
    ordered: Collection[TensorSpec] = tensors.values()
    if entries.repeated or not entries.ascending:
        ordered = sorted([*ordered, *entries.repeated], key=attrgetter("offset", "nbytes"))
    if entries.repeated or not entries.gapless:
        end = _check_neighbours(ordered, entries, report)
    if end > file_size:
        _report_cut(ordered, end, file_size, report)
    elif end < file_size and entries.complete:
        message = f"{file_size - end:,} bytes follow the last tensor"
        report(Problem("ST16", "error", message, offset=end))
    return tensors if entries.ascending else Specs((spec.name, tensors[spec.name]) for spec in ordered)


def _check_neighbours(ordered: Collection[TensorSpec], entries: Entries, report: Report) -> int:
    """Each tensor begins where the ones before it end. Returns where the last one ends."""
    cursor, last = entries.data_start, ""
    for spec in ordered:
        at = spec.offset
        if at < cursor:
            message = f"overlaps tensor {shown(last)}: begins at offset {at}, before that ends at {cursor}"
            report(Problem("ST14", "error", message, spec.name, at))
        elif at > cursor and entries.complete:
            message = f"hole of {at - cursor:,} bytes before it"
            report(Problem("ST15", "error", message, spec.name, cursor))
        if at + spec.nbytes >= cursor:
            cursor, last = at + spec.nbytes, spec.name
    return cursor


def _report_cut(ordered: Collection[TensorSpec], end: int, file_size: int, report: Report) -> None:
    """The data ends early: say by how much, and which tensors miss bytes."""
    cut = [spec for spec in ordered if spec.offset + spec.nbytes > file_size]
    more = f", {len(cut) - 1} more tensors are incomplete" if len(cut) > 1 else ""
    message = f"data ends {end - file_size:,} bytes early{more}"
    report(Problem("ST17", "error", message, cut[0].name, file_size))
    for spec in cut:
        there = max(0, file_size - spec.offset)
        message = f"only {there:,} of its {spec.nbytes:,} bytes are there"
        report(Problem("ST18", "error", message, spec.name, spec.offset))
