"""The entries of a checkpoint: which shard holds a tensor's bytes, and where.

Source: https://github.com/tensorflow/tensorflow/tree/master/tensorflow/core/util/tensor_bundle and
``tensor_bundle.proto``; keys of slices: ``saved_tensor_slice_util.cc``, ``ordered_code.cc``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from diffai.errors import FormatError, SourceError
from diffai.formats.base import Budget, Limits
from diffai.formats.digests import region_digest
from diffai.formats.protobuf import LENGTH, VARINT, Message, signed
from diffai.formats.regions import BytesRegion, FileRegion, Region, RegionSource
from diffai.formats.stored import StoredCheckpoint
from diffai.formats.tensorflow.sstable import entries
from diffai.formats.tensorflow.types import DTYPES, STRING, dtype_name, shape_of
from diffai.frozen import slotted
from diffai.model import byte_count, element_count
from diffai.sources.base import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.model import Role
else:
    Role = str

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_MOST_SHARDS = 100_000
_MOST_TEXT = 64 << 20
#: Whole names (without ``.ATTRIBUTES``) that are training state wherever they stand.
_COUNTERS = frozenset(("global_step", "save_counter", "beta1_power", "beta2_power"))
_STATE = ("optimizer/", "_optimizer/", "keras_api/metrics/")
_SLOT = re.compile(r"(.+)/(?:Adam|Adam_1|Momentum|RMSProp|RMSProp_1|Adagrad|Ftrl|Ftrl_1|ExponentialMovingAverage)")


@slotted
class Entry:
    """One tensor of a checkpoint, or one slice of it.

    ``slices``: (start, length) of each dimension of each slice, length -1 for all; empty where it is whole.
    """

    kind: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    slices: list[tuple[tuple[int, int], ...]]
    at: int


class BundleCheckpoint(StoredCheckpoint):
    """An opened checkpoint: the index, and the shards that it names."""

    not_expressible = frozenset(("classes", "ties", "requires_grad"))

    def __init__(self, kind: str, source: Source, limits: Limits) -> None:
        super().__init__(source, kind, limits.max_spool)
        self.lines: dict[str, str] = {}
        self.graph = self.lines


def read_bundle(checkpoint: BundleCheckpoint, index: Source, place: str, budget: Budget) -> None:
    """Add all tensors of an index to a checkpoint.

    Args:
        index: the index file.
        place: what the shards' names begin with, relative to the checkpoint's folder.

    Raises:
        FormatError: see the table of the package.

    """
    found: dict[bytes, Entry] = {}
    count = swap = 0
    for key, value, at in entries(index, budget):
        message = Message(RegionSource(BytesRegion(value), index.label), 0, len(value))
        try:
            if key:
                found[key] = _entry(message, at)
            else:
                header = {n: a for n, k, a, _ in message.fields() if k == VARINT}
                count, swap = header.get(1, 0), header.get(2, 0)
        except FormatError as error:
            error.offset = at
            raise
    if not 0 < count <= _MOST_SHARDS:
        raise FormatError(f"names {count:,} files of values", code="TF02", offset=0)
    _Placer(checkpoint, (place, count), found, bool(swap)).place()


def _entry(message: Message, at: int) -> Entry:
    """A ``BundleEntryProto``."""
    entry = Entry(0, (), 0, 0, 0, [], at)
    for number, kind, a, b in message.fields():
        if number == 1 and kind == VARINT:
            entry.kind = a
        elif number == 2 and kind == LENGTH:
            entry.shape = shape_of(message.within(a, b))
        elif number == 3 and kind == VARINT:
            entry.shard = signed(a)
        elif number == 4 and kind == VARINT:
            entry.offset = signed(a)
        elif number == 5 and kind == VARINT:
            entry.size = signed(a)
        elif number == 7 and kind == LENGTH:
            entry.slices.append(_slice(message.within(a, b)))
    return entry


def _slice(message: Message) -> tuple[tuple[int, int], ...]:
    """A ``TensorSliceProto``."""
    extents = []
    for number, kind, a, b in message.fields():
        if number == 1 and kind == LENGTH:
            parts = {n: signed(value) for n, k, value, _ in message.within(a, b).fields() if k == VARINT}
            extents.append((parts.get(1, 0), parts.get(2, -1)))
    return tuple(extents)


class _Placer:
    """Places the entries of one index."""

    def __init__(
        self, checkpoint: BundleCheckpoint, shards: tuple[str, int], found: Mapping[bytes, Entry], swap: bool
    ) -> None:
        self._checkpoint, self._found, self._swap = checkpoint, found, swap
        self._place, self._count = shards
        names = {key: _text(key) for key in found if key[:1] != b"\0"}
        short = {key: name.removesuffix(_VALUE) for key, name in names.items()}
        plain = set(names.values())
        self._names = {k: short[k] if short[k] == names[k] or short[k] not in plain else names[k] for k in names}

    def place(self) -> None:
        """Add every entry under its name."""
        known = set(self._names.values())
        for key, name in self._names.items():
            entry = self._found[key]
            try:
                self._one(key, name, entry, _role(name, known))
            except FormatError as error:
                error.code, error.offset = error.code or "TF03", entry.at
                error.tensor = error.tensor or name
                raise

    def _one(self, key: bytes, name: str, entry: Entry, role: Role) -> None:
        checkpoint, dtype = self._checkpoint, dtype_name(entry.kind)
        if any(size < 0 for size in entry.shape):
            raise FormatError("has an impossible shape", code="TF03")
        try:
            region = self._sliced(key, entry) if entry.slices else self._region(entry)
        except SourceError as error:
            if entry.kind == STRING or entry.kind not in DTYPES:
                checkpoint.lines[f"values of {name}"] = "not here"
            else:
                checkpoint.place_absent(name, dtype, entry.shape, str(error), role=role)
            return
        if entry.kind == STRING:
            what = "object graph" if name == _OBJECT_GRAPH else f"strings {name}"
            checkpoint.lines[what] = f"{list(entry.shape)}, {_digest(region)}"
        elif entry.kind not in DTYPES:
            checkpoint.place_bytes(name, dtype, entry.shape, region, region.size)
        else:
            wanted = byte_count(dtype, element_count(entry.shape))
            if wanted != region.size:
                raise FormatError(f"has {region.size:,} bytes, its shape needs {wanted:,}", code="TF03")
            checkpoint.place(name, dtype, entry.shape, region, swap=self._swap, role=role, elsewhere=True)

    def _region(self, entry: Entry) -> Region:
        source = self._checkpoint.companions.open(f"{self._place}.data-{entry.shard:05}-of-{self._count:05}")
        if entry.offset < 0 or entry.size < 0 or entry.offset + entry.size > source.size:
            reason = f"lies at {entry.offset:,} to {entry.offset + entry.size:,} of {source.size:,} bytes"
            raise FormatError(reason, code="TF03")
        return FileRegion(source, entry.offset, entry.size)

    def _sliced(self, key: bytes, entry: Entry) -> Region:
        """A tensor that is stored in slices: along its first axis they lie one behind the other."""
        rows = 0
        parts: list[Region] = []
        for extents in sorted(entry.slices):
            start, length = extents[0] if extents else (0, -1)
            sizes = zip(extents[1:], entry.shape[1:], strict=False)
            whole = all(extent in ((0, -1), (0, size)) for extent, size in sizes)
            if len(extents) != len(entry.shape) or not whole:
                raise SourceError("the values are stored in slices along several axes, which are not put together")
            part = self._found.get(slice_key(key, extents))
            if part is None or start != rows:
                raise FormatError("is stored in slices of which one is missing", code="TF04")
            rows += entry.shape[0] - start if length == -1 else length
            parts.append(self._region(part))
        if rows != (entry.shape[0] if entry.shape else 1):
            raise FormatError("is stored in slices of which one is missing", code="TF04")
        return _Joined(parts)


class _Joined:
    """Regions one behind the other."""

    file_offset = -1

    def __init__(self, parts: Sequence[Region]) -> None:
        self._parts = parts
        self.size = sum(part.size for part in parts)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Read from each part what is wanted of it."""
        for part in self._parts:
            if not buffer:
                return
            count = min(len(buffer), max(0, part.size - offset))
            if count:
                part.read_into(offset, buffer[:count])
                buffer = buffer[count:]
            offset = max(0, offset - part.size)


def _text(key: bytes) -> str:
    return key.decode("utf-8", "backslashreplace")


def _role(name: str, known: set[str]) -> Role:
    """Training state: slots of an optimizer, its own objects, counters of steps and saves."""
    if "/.OPTIMIZER_SLOT/" in name or name.removeprefix("model/").startswith(_STATE):
        return "training"
    slot = _SLOT.fullmatch(name)
    return "training" if name in _COUNTERS or (slot is not None and slot[1] in known) else "weight"


def _digest(region: Region) -> str:
    if region.size > _MOST_TEXT:
        raise FormatError(f"has {region.size:,} bytes of text", code="TF05")
    return region_digest(region)


# ---------------------------------------------------------------- keys of slices


_ESCAPED = {0: b"\0\xff", 255: b"\xff\0"}


def slice_key(name: bytes, extents: Sequence[tuple[int, int]]) -> bytes:
    """The key under which a slice is stored: name and extents in an encoding that sorts as they do."""
    text = b"".join(_ESCAPED.get(byte) or bytes((byte,)) for byte in name)
    key = b"\0" + text + b"\0\x01" + _unsigned(len(extents))
    return key + b"".join(_signed(start) + _signed(length) for start, length in extents)


def _unsigned(value: int) -> bytes:
    data = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return bytes((len(data),)) + data


def _signed(value: int) -> bytes:
    positive = ~value if value < 0 else value
    length = positive.bit_length() // 7 + 1
    data = bytearray(value.to_bytes(10, "big", signed=True)[10 - length :])
    header = ((1 << length) - 1 << (16 - length)) & 0xFFFF
    data[0] ^= header >> 8
    if length > 1:
        data[1] ^= header & 0xFF
    return bytes(data)
