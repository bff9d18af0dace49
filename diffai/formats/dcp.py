"""Distributed checkpoints of PyTorch: a pickle ``.metadata`` that says where the pieces of each tensor lie, and the
``*.distcp`` files beside it that hold them. How a tensor was cut up is no difference.

==== ======================================================================================================
code reason
==== ======================================================================================================
DC01 no metadata of a distributed checkpoint
DC02 metadata that does not say what it should
DC03 pieces that overlap, or leave a part of a tensor out
DC04 a file of pieces that is missing, or too short
DC05 a path that leads out of the checkpoint's folder
DC06 a piece that is not what the metadata says, or is packed in a way that is not read
==== ======================================================================================================

What is wrong with a pickle is numbered as in :mod:`diffai.formats.torch`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, product
from threading import Lock

from diffai.errors import FormatError, LimitError, SourceError
from diffai.formats.base import Budget, Limits
from diffai.formats.regions import FileRegion, LazyRegion, Region, RegionSource
from diffai.formats.stored import StoredCheckpoint, reader
from diffai.formats.torch import document as documents
from diffai.formats.torch import legacy, objects
from diffai.formats.torch import open_checkpoint as open_torch
from diffai.frozen import frozen, replace
from diffai.model import DTYPE_BITS, Checkpoint, Problem, Scalar, element_count
from diffai.sources.base import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.model import Role

NAME = "dcp"
_MODULE = b"torch.distributed.checkpoint.metadata"
_BLOCK = 32 << 20
_TRAINING = frozenset((
    "optim", "optimizer", "optimizers", "optimizer_state", "optimizer_state_dict", "optimizer_states", "lr_scheduler",
    "lr_schedulers", "scheduler", "train_state", "dataloader", "rng_state",
))  # fmt: skip

Sizes = tuple[int, ...]


def _wrong(reason: str, code: str, name: str = "") -> FormatError:
    return FormatError(reason, code=code, tensor=name, format=NAME)


def recognise(head: bytes, size: int, name: str) -> bool:
    """Whether content is the metadata of a distributed checkpoint: the class that its pickle begins with."""
    return head[:1] == b"\x80" and _MODULE in head[:80]


@frozen
class _Place:
    """Where a piece lies."""

    path: str
    offset: int
    length: int


@frozen
class _Piece:
    """A part of a tensor: its first element by dimension, its sizes, and its values."""

    corner: Sizes
    sizes: Sizes
    values: Region


class DcpCheckpoint(StoredCheckpoint):
    """An opened checkpoint; it owns the files beside its metadata."""

    def __init__(self, source: Source, limits: Limits) -> None:
        super().__init__(source, NAME, limits.max_spool)
        self.limits = limits
        self.values: dict[str, Scalar] = {}
        self.state: dict[str, Scalar] = {}
        self.metadata, self.training = self.values, self.state
        self.not_expressible = frozenset(("graph", "classes", "ties", "requires_grad"))

    def piece_file(self, path: str) -> Source:
        """The file of that name in the checkpoint's folder; DC05 for any other path, DC04 when it is not here."""
        try:
            return self.companions.need(path)
        except SourceError as error:
            raise _wrong(f"has a file of pieces that is not here: {path[:200]} ({error})", "DC04") from error

    def inspect(self) -> tuple[Problem, ...]:
        """Look into every piece."""
        for spec in self.tensors.values():
            if spec.nbytes:
                self.read_into(spec, 0, memoryview(bytearray(1)))
        return self.problems


class _Saved:
    """The values of a piece, which ``torch.save`` wrote; looked into when first read."""

    file_offset = -1

    def __init__(self, checkpoint: DcpCheckpoint, place: _Place, expected: tuple[str, str, Sizes]) -> None:
        self._checkpoint, self._place, self._expected = checkpoint, place, expected
        _, dtype, sizes = expected
        self.size = element_count(sizes) * DTYPE_BITS[dtype] // 8
        self._found: Checkpoint | None = None
        self._lock = Lock()

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Read from the tensor inside; DC06 when it is another."""
        with self._lock:
            if self._found is None:
                self._found = self._open()
        (spec,) = self._found.tensors.values()
        self._found.read_into(spec, offset, buffer)

    def _open(self) -> Checkpoint:
        name, dtype, sizes = self._expected
        try:
            inner = _inside(self._checkpoint, self._place)
        except FormatError as error:
            error.tensor = name
            raise
        specs = list(inner.tensors.values())
        if len(specs) != 1 or (specs[0].dtype, specs[0].shape) != (dtype, sizes):
            raise _wrong("has a piece that is not what the metadata says", "DC06", name)
        return inner


def _inside(checkpoint: DcpCheckpoint, place: _Place) -> Checkpoint:
    region = FileRegion(checkpoint.piece_file(place.path), place.offset, place.length)
    return open_torch(RegionSource(region, place.path), replace(checkpoint.limits, allow_torch=False))


def _read(checkpoint: DcpCheckpoint, limits: Limits) -> None:
    source = checkpoint.source
    if source.size > limits.max_header:
        raise LimitError(f"has metadata of {source.size:,} bytes (limit diffai.maxHeader)", code="DC02", format=NAME)
    document, budget = documents.Document(NAME), Budget(limits)
    legacy.open_pickle(source, budget, checkpoint.spool, document, 0)
    checkpoint.problems, checkpoint.safety = tuple(document.problems), document.safety
    try:
        top = _state(document.value, "Metadata")
        _fill(checkpoint, top, budget)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise _wrong("has metadata that does not say what it should", "DC02") from error


def _state(value: object, kind: str) -> dict[str, object]:
    """The attributes of an object of a class of the metadata's; DC02 for any other."""
    if not isinstance(value, objects.Stub) or value.of.name != kind or not isinstance(value.state, dict):
        raise _wrong(f"has no {kind} where one should be", "DC02" if kind != "Metadata" else "DC01")
    return value.state


def _sizes(value: object) -> Sizes:
    if not isinstance(value, (tuple, list)) or not all(type(size) is int and 0 <= size < 1 << 60 for size in value):
        raise _wrong("has impossible sizes", "DC02")
    return tuple(value)


def _fill(checkpoint: DcpCheckpoint, top: dict[str, object], budget: Budget) -> None:
    """Add all tensors and values."""
    places: dict[tuple[str, Sizes | None], _Place] = {}
    stored, described = top["storage_data"], top["state_dict_metadata"]
    if not isinstance(stored, dict) or not isinstance(described, dict):
        raise _wrong("has metadata that does not say what it should", "DC02")
    for key, value in stored.items():
        budget.value()
        index, info = _state(key, "MetadataIndex"), _state(value, "_StorageInfo")
        if info.get("transform_descriptors"):
            raise _wrong(f"has pieces packed by {info['transform_descriptors']!r}, not read", "DC06")
        offset, length = _sizes((info["offset"], info["length"]))
        place = _Place(str(info["relative_path"]), offset, length)
        if offset + length > checkpoint.piece_file(place.path).size:
            raise _wrong(f"has a piece past the end of {place.path[:200]}", "DC04", str(index["fqn"]))
        first = index.get("offset")
        places[str(index["fqn"]), None if first is None else _sizes(first)] = place
    paths = top.get("planner_data")
    for name, value in described.items():
        budget.name(len(name))
        path = paths.get(name) if isinstance(paths, dict) else None
        role: Role = "training" if path and path[0] in _TRAINING else "weight"
        if isinstance(value, objects.Stub) and value.of.name == "BytesStorageMetadata":
            _value(checkpoint, name, places[name, None], role)
        else:
            _tensor(checkpoint, name, _state(value, "TensorStorageMetadata"), places, budget, role)


def _value(checkpoint: DcpCheckpoint, name: str, place: _Place, role: Role) -> None:
    """A value that is no tensor: ``torch.save`` wrote it by itself."""
    inner = _inside(checkpoint, place)
    target = checkpoint.state if role == "training" else checkpoint.values
    for found in (inner.metadata, inner.training):
        for key, value in found.items():
            target[name if key == "top level" else f"{name}.{key}"] = value
    checkpoint.problems += tuple(problem for problem in inner.problems if problem.severity == "error")
    if inner.safety == "unsafe":
        checkpoint.safety = "unsafe"
    for spec in inner.tensors.values():
        checkpoint.place(f"{name}.{spec.name}", spec.values_dtype, spec.shape,
                         _Saved(checkpoint, place, (name, spec.dtype, spec.shape)), role=role)  # fmt: skip


def _tensor(
    checkpoint: DcpCheckpoint, name: str, state: dict[str, object], places: dict[tuple[str, Sizes | None], _Place],
    budget: Budget, role: Role,
) -> None:  # fmt: skip
    """A tensor of pieces."""
    properties = state["properties"]
    said = properties.state if isinstance(properties, objects.Stub) else ()
    kind = said[0] if isinstance(said, tuple) else said.get("dtype") if isinstance(said, dict) else None
    named = objects.DTYPES.get(kind.name) if isinstance(kind, objects.Global) else None
    if named is None or named.name not in DTYPE_BITS:
        raise _wrong("has a dtype that is not known", "DC02", name)
    shape, pieces = _sizes(state["size"]), []
    chunks = state["chunks"]
    if not isinstance(chunks, list):
        raise _wrong("has no pieces", "DC02", name)
    for chunk in chunks:
        budget.value()
        parts = _state(chunk, "ChunkStorageMetadata")
        corner, sizes = _sizes(parts["offsets"]), _sizes(parts["sizes"])
        place = places.get((name, corner)) or places.get((name, None))
        if place is None:
            raise _wrong("has a piece that is stored nowhere", "DC03", name)
        pieces.append(_Piece(corner, sizes, _Saved(checkpoint, place, (name, named.name, sizes))))
    pieces = [piece for piece in pieces if element_count(piece.sizes)]
    _check_tiling(name, shape, pieces, budget)
    width = DTYPE_BITS[named.name] // 8
    size = element_count(shape) * width
    whole: Region | None = None
    if len(pieces) == 1:
        whole = pieces[0].values
    elif pieces:
        whole = LazyRegion(size, lambda: checkpoint.spool.append(_rows(shape, pieces, width)))
    checkpoint.place(name, named.name, shape, whole, role=role, elsewhere=True)


def _check_tiling(name: str, shape: Sizes, pieces: list[_Piece], budget: Budget) -> None:
    """Every element belongs to exactly one piece: DC03 else."""
    for piece in pieces:
        ends = [at + size for at, size in zip(piece.corner, piece.sizes, strict=False)]
        if len(piece.corner) != len(shape) or len(piece.sizes) != len(shape) or any(
            end > size for end, size in zip(ends, shape, strict=True)
        ):  # fmt: skip
            raise _wrong("has a piece outside its shape", "DC03", name)
    cuts = [
        sorted({0, size, *(edge for p in pieces for edge in (p.corner[n], p.corner[n] + p.sizes[n]))})
        for n, size in enumerate(shape)
    ]
    cells = element_count(tuple(len(cut) - 1 for cut in cuts))
    budget.step(cells)
    if sum(element_count(piece.sizes) for piece in pieces) != element_count(shape):
        raise _wrong("has pieces that overlap, or leave a part of it out", "DC03", name)
    index = [{edge: number for number, edge in enumerate(cut)} for cut in cuts]
    seen: set[Sizes] = set()
    for piece in pieces:
        corners = enumerate(zip(piece.corner, piece.sizes, strict=True))
        spans = [range(index[n][at], index[n][at + size]) for n, (at, size) in corners]
        for cell in product(*spans):
            if cell in seen:
                raise _wrong("has pieces that overlap", "DC03", name)
            seen.add(cell)


def _rows(shape: Sizes, pieces: list[_Piece], width: int) -> Iterator[bytes]:
    """The values row by row, some rows at a time."""
    import numpy as np

    kind, rest = np.dtype(f"V{width}"), shape[1:]
    cuts = sorted({0, shape[0], *(edge for p in pieces for edge in (p.corner[0], p.corner[0] + p.sizes[0]))})
    most = max(1, _BLOCK // max(1, element_count(rest) * width))
    for start, stop in pairwise(cuts):
        here = [p for p in pieces if p.corner[0] <= start < p.corner[0] + p.sizes[0]]
        for first in range(start, stop, most):
            count = min(most, stop - first)
            out = np.empty((count, *rest), kind)
            for piece in here:
                row = element_count(piece.sizes[1:]) * width
                data = bytearray(count * row)
                piece.values.read_into((first - piece.corner[0]) * row, memoryview(data))
                spans = zip(piece.corner[1:], piece.sizes[1:], strict=True)
                place = tuple(slice(at, at + size) for at, size in spans)
                out[(slice(None), *place)] = np.frombuffer(data, kind).reshape(count, *piece.sizes[1:])
            yield out.tobytes()


open_checkpoint, check = reader(DcpCheckpoint, _read, "DC02", missing="DC05")
