"""What both versions of MATLAB files share: arrays of numbers and text by name, converted where they are stored so."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from diffai.errors import FormatError, SourceError
from diffai.formats.base import Limits
from diffai.formats.digests import region_digest, shown_digest
from diffai.formats.regions import LazyRegion, PartOf, Region, read
from diffai.formats.stored import StoredCheckpoint
from diffai.frozen import frozen
from diffai.model import DTYPE_BITS, Scalar, element_count
from diffai.sources.base import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.model import Role

FORMAT = "matlab"
LONGEST_TEXT = 4096
_MOST_TEXT = 16 << 20
_BLOCK = 1 << 16  # elements
_CODES = {"F64": "f8", "F32": "f4", "I8": "i1", "U8": "u1", "I16": "i2", "U16": "u2", "I32": "i4", "U32": "u4",
          "I64": "i8", "U64": "u8", "BOOL": "?"}  # fmt: skip
COMPLEX = {"F32": "C64", "F64": "C128"}


def wrong(reason: str, code: str, name: str = "", offset: int = -1) -> FormatError:
    """A refusal with its number."""
    return FormatError(reason, code=code, tensor=name, offset=offset, format=FORMAT)


@frozen
class Stored:
    """Numbers as they lie in a file: their dtype and place."""

    dtype: str
    region: Region
    swap: bool = False

    @property
    def width(self) -> int:
        """Bytes of an element."""
        return DTYPE_BITS[self.dtype] // 8

    @property
    def elements(self) -> int:
        """How many whole elements there are."""
        return self.region.size // self.width

    def blocks(self, dtype: str, count: int) -> Iterator[bytes]:
        """``count`` elements as little-endian numbers of ``dtype``, a block at a time."""
        import numpy as np

        stored = np.dtype((">" if self.swap else "<") + _CODES[self.dtype])
        wanted = np.dtype("<" + _CODES[dtype])
        for first in range(0, count, _BLOCK):
            some = min(_BLOCK, count - first)
            values = np.frombuffer(read(self.region, first * self.width, some * self.width), stored)
            with np.errstate(all="ignore"):  # what does not fit is what MATLAB would never write
                yield values.astype(wanted).tobytes()


class MatlabCheckpoint(StoredCheckpoint):
    """An opened file."""

    not_expressible = frozenset(("ties", "requires_grad", "graph", "training"))

    def __init__(self, source: Source, limits: Limits) -> None:
        super().__init__(source, FORMAT, limits.max_spool)
        self.texts: dict[str, Scalar] = {}
        self.kinds: dict[str, str] = {}
        self.opaque: dict[str, str] = {}
        self.written: dict[str, Scalar] = {}
        self.metadata, self.classes, self.asides, self.facts = self.texts, self.kinds, self.opaque, self.written

    def numbers(
        self,
        name: str,
        dtype: str,
        shape: tuple[int, ...],
        real: Stored,
        imaginary: Stored | None = None,
        *,
        role: Role = "weight",
    ) -> None:
        """Add an array of ``dtype``, in column order, however its numbers are stored.

        Raises:
            FormatError: MA04 when numbers are missing; MA06 when the name stands twice.

        """
        count = element_count(shape)
        for part in (real, imaginary):
            if part is not None and part.elements < count:
                raise wrong(f"has {part.elements:,} values, its shape needs {count:,}", "MA04", name)
        if imaginary is not None and dtype in COMPLEX:
            self._lazy(name, COMPLEX[dtype], shape, lambda: _interleaved(dtype, real, imaginary, count))
        elif imaginary is not None:
            self.numbers(f"{name}.real", dtype, shape, real, role=role)
            self.numbers(f"{name}.imag", dtype, shape, imaginary, role=role)
        elif real.width == DTYPE_BITS[dtype] // 8 and (real.dtype == dtype or dtype == "BOOL"):
            self.place(name, dtype, shape, real.region, fortran=True, swap=real.swap, role=role)
        else:
            self._lazy(name, dtype, shape, lambda: real.blocks(dtype, count), role)

    def _lazy(
        self, name: str, dtype: str, shape: tuple[int, ...], blocks: Callable[[], Iterator[bytes]],
        role: Role = "weight",
    ) -> None:  # fmt: skip
        size = element_count(shape) * DTYPE_BITS[dtype] // 8
        self.place(name, dtype, shape, LazyRegion(size, lambda: self.spool.append(blocks())), fortran=True, role=role)

    def text(self, name: str, shape: tuple[int, ...], characters: str) -> None:
        """Add a text; the rows of a matrix of characters (stored in column order) are joined by line ends.

        Raises:
            FormatError: MA04 when characters are missing; MA06 when the name stands twice.

        """
        if name in self.texts:
            raise wrong("stands twice", "MA06", name)
        rows = shape[0] if shape else 1
        count = element_count(shape)
        if len(characters) < count:
            raise wrong(f"has {len(characters):,} characters, its shape needs {count:,}", "MA04", name)
        if rows > 1:
            characters = "\n".join(characters[row:count:rows] for row in range(rows))
        if len(characters) > LONGEST_TEXT:
            data = characters.encode("utf-8", "surrogatepass")
            characters = f"{characters[:60]}... {len(characters):,} characters, {shown_digest(data)}"
        self.texts[name] = characters

    def leave_aside(self, name: str, region: Region) -> None:
        """Note content whose meaning only MATLAB knows, by its digest."""
        self.opaque[name] = f"{region.size:,} bytes, {region_digest(region)}"


def _interleaved(dtype: str, real: Stored, imaginary: Stored, count: int) -> Iterator[bytes]:
    """Complex numbers out of two arrays."""
    import numpy as np

    kind = np.dtype("<" + _CODES[dtype])
    for one, other in zip(real.blocks(dtype, count), imaginary.blocks(dtype, count), strict=True):
        values = np.empty((len(one) // kind.itemsize, 2), kind)
        values[:, 0], values[:, 1] = np.frombuffer(one, kind), np.frombuffer(other, kind)
        yield values.tobytes()


def decoded(data: bytes, encoding: str) -> str:
    """Text; what does not decode is escaped."""
    return data.decode(encoding, "backslashreplace")


def bounded_text(region: Region, name: str) -> bytes:
    """The bytes of a text of at most 16 MiB."""
    if region.size > _MOST_TEXT:
        raise wrong(f"has a text of {region.size:,} bytes", "MA04", name)
    return read(region, 0, region.size)


class Cursor:
    """Small reads of one region through a window, never past its end."""

    __slots__ = ("_base", "_window", "region")

    def __init__(self, region: Region) -> None:
        self.region = region
        self._window, self._base = b"", 0

    def take(self, at: int, count: int) -> bytes:
        """Exactly ``count`` bytes (at most 64 KiB) from ``at``; MA02 past the end."""
        if not 0 <= count <= 1 << 16 or at < 0 or at + count > self.region.size:
            raise wrong("ends inside an element", "MA02", offset=self.place(at))
        if not self._base <= at <= at + count <= self._base + len(self._window):
            size = min(self.region.size - at, max(count, 1 << 12))
            try:
                self._window, self._base = read(self.region, at, size), at
            except SourceError as error:
                raise wrong("ends inside an element", "MA02", offset=self.place(at)) from error
        return self._window[at - self._base : at - self._base + count]

    def part(self, at: int, count: int) -> PartOf:
        """A part as a region; MA02 past the end."""
        if at < 0 or count < 0 or at + count > self.region.size:
            raise wrong("ends inside an element", "MA02", offset=self.place(at))
        return PartOf(self.region, at, count)

    def place(self, at: int) -> int:
        """Offset in the file; -1 in what was unpacked."""
        return self.region.file_offset + at if self.region.file_offset >= 0 else -1
