"""A checkpoint whose tensors lie in bytes as they are, strided, byte-swapped, decompressed, or coded in blocks.

Readers of most formats are a table of places and this class: they call :meth:`StoredCheckpoint.place` for each
tensor, or :meth:`StoredCheckpoint.place_coded` where its elements are coded (Q4_K, packed int4), and never touch a
value themselves.
"""

from __future__ import annotations

import struct

from diffai.errors import FormatError, LimitError, SourceError
from diffai.formats.base import Limits, problem_of
from diffai.formats.companions import Companions, OutsideError
from diffai.formats.gather import Gatherer
from diffai.formats.layout import DType, View, is_contiguous, row_major
from diffai.formats.regions import Region, Spool
from diffai.model import DTYPE_BITS, Checkpoint, Codes, Problem, TensorSpec, byte_count, element_count
from diffai.sources.base import Source
from diffai.sources.spool import spool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol, TypeVar

    from diffai.model import Role

    C = TypeVar("C", bound="StoredCheckpoint")
    Opener = Callable[[Source, Limits], Checkpoint]
    Checker = Callable[[Source, Limits], tuple[Problem, ...]]
else:
    Protocol = object

MAX_DIMENSIONS = 64
_MAX_ELEMENTS = 1 << 60
_DECODED_AT_ONCE = 1 << 15  # elements


class Coder(Protocol):
    """How a run of elements is coded: ``elements`` of them take ``size`` bytes, a block of which none can be split.

    ``kind``: two coders of one kind decode the same codes to the same values.
    """

    kind: str
    elements: int
    size: int

    def decode(self, data: memoryview, out: memoryview) -> None:
        """Write the values of whole blocks, as little-endian numbers of the tensor's values dtype, to ``out``."""


class StoredCheckpoint(Checkpoint):
    """Tensors at places of a source; it owns the source and a private temporary file for what is unpacked.

    Attributes:
        companions: the files beside it that hold values of it.
        faults: what is wrong with single tensors: the first refuses the file, ``check`` lists all.

    """

    def __init__(self, source: Source, kind: str, max_spool: int) -> None:
        self.format = kind
        self.source = source
        self.spool = Spool(max_spool)
        self.companions = Companions(source, max_spool)
        self.faults: list[FormatError] = []
        self._specs: dict[str, TensorSpec] = {}
        self.tensors = self._specs
        self._views: dict[str, View] = {}
        self._coded: dict[str, tuple[Region, int, Coder]] = {}
        self._gatherer = Gatherer()

    def place(
        self,
        name: str,
        dtype: str,
        shape: tuple[int, ...],
        region: Region | None,
        start: int = 0,
        *,
        fortran: bool = False,
        swap: bool = False,
        role: Role = "weight",
        alias_of: str = "",
        elsewhere: bool = False,
    ) -> None:
        """Add a tensor whose elements lie from byte ``start`` of ``region``.

        Args:
            dtype: a name of :data:`diffai.model.DTYPE_BITS`; kinds below 8 bits are packed, low bits first.
            region: None only where there are no elements.
            fortran: the first dimension varies fastest.
            swap: big-endian.
            alias_of: an earlier tensor that is the same storage.
            elsewhere: the region is of another file than the checkpoint's source.

        Raises:
            FormatError: the name stands twice, the shape is impossible, or the region ends before the tensor.

        """
        self._checked(name, shape)
        nbytes = byte_count(dtype, element_count(shape))
        if nbytes and (region is None or start < 0 or start + nbytes > region.size):
            held = 0 if region is None else max(0, region.size - start)
            raise FormatError(f"needs {nbytes:,} bytes, {held:,} are there", tensor=name, format=self.format)
        strides = row_major(shape)
        if fortran:
            strides = tuple(reversed(row_major(tuple(reversed(shape)))))
        bits = DTYPE_BITS[dtype]
        kind = DType(dtype, max(1, bits // 8), bits=bits)
        view = View(region, start, kind, shape, strides, is_contiguous(shape, strides), swap)
        self._views[name] = view
        offset = -1 if elsewhere else view.file_offset
        self._specs[name] = TensorSpec(name, dtype, shape, nbytes, offset, 0, role, "", alias_of)

    def place_strided(
        self, name: str, dtype: str, shape: tuple[int, ...], strides: tuple[int, ...], region: Region, first: int,
        *, alias_of: str = "",
    ) -> None:  # fmt: skip
        """Add a tensor whose elements lie ``strides`` apart (in elements), from element ``first`` of ``region`` on.

        Raises:
            FormatError: as :meth:`place`; negative strides, or as many as the shape has not.

        """
        self._checked(name, shape)
        if len(strides) != len(shape) or first < 0 or any(stride < 0 for stride in strides):
            raise FormatError("has impossible strides", tensor=name, format=self.format)
        nbytes, size = byte_count(dtype, element_count(shape)), DTYPE_BITS[dtype] // 8
        last = first + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
        if nbytes and (last + 1) * size > region.size:
            reason = f"needs {(last + 1) * size:,} bytes, {region.size:,} are there"
            raise FormatError(reason, tensor=name, format=self.format)
        if nbytes > 16 * region.size + (128 << 20):  # elements that share bytes: a bomb of few of them
            raise FormatError("repeats its bytes too often", tensor=name, format=self.format)
        contiguous = is_contiguous(shape, strides)
        strides = tuple(0 if n == 1 else stride for n, stride in zip(shape, strides, strict=True))
        view = View(region, first * size, DType(dtype, size), shape, strides, contiguous)
        self._views[name] = view
        self._specs[name] = TensorSpec(name, dtype, shape, nbytes, view.file_offset, 0, "weight", "", alias_of)

    def place_coded(
        self,
        name: str,
        dtype: str,
        shape: tuple[int, ...],
        region: Region,
        coder: Coder,
        *,
        start: int = 0,
        values: str = "F32",
        encoding: str = "",
        role: Role = "weight",
    ) -> None:
        """Add a tensor whose elements are coded in blocks from byte ``start`` of ``region``; it is compared decoded.

        Args:
            dtype: what the file calls the code: ``Q4_K``, ``I4``; need not be in :data:`diffai.model.DTYPE_BITS`.
            coder: decodes runs of whole blocks.
            values: dtype of what it decodes to.
            encoding: how codes map to values, for people; a difference there alone is shown.

        Raises:
            FormatError: as :meth:`place`. The last block may be longer than the tensor (a third int4 in two bytes).

        """
        self._checked(name, shape)
        count = element_count(shape)
        blocks = -(-count // coder.elements)
        if start < 0 or start + blocks * coder.size > region.size:
            held = max(0, region.size - start)
            raise FormatError(
                f"needs {blocks * coder.size:,} bytes, {held:,} are there", tensor=name, format=self.format
            )
        self._coded[name] = (region, start, coder)
        nbytes = byte_count(values, count)
        self._specs[name] = TensorSpec(name, dtype, shape, nbytes, -1, 0, role, values, "", encoding)

    def place_absent(
        self, name: str, dtype: str, shape: tuple[int, ...], reason: str, *, values: str = "", role: Role = "weight"
    ) -> None:
        """Add a tensor whose values are not at hand, for ``reason``; only its header is compared.

        Raises:
            FormatError: as :meth:`place`.

        """
        self._checked(name, shape)
        nbytes = byte_count(values or dtype, element_count(shape)) if (values or dtype) in DTYPE_BITS else 0
        self._specs[name] = TensorSpec(name, dtype, shape, nbytes, role=role, values=values, lacking=reason)

    def place_bytes(self, name: str, dtype: str, shape: tuple[int, ...], region: Region, nbytes: int) -> None:
        """Add a tensor whose values the format does not define: ``nbytes`` bytes of ``region``, compared as bytes.

        Raises:
            FormatError: as :meth:`place`.

        """
        self._checked(name, shape)
        if nbytes > region.size:
            raise FormatError(f"needs {nbytes:,} bytes, {region.size:,} are there", tensor=name, format=self.format)
        kind = DType(dtype, 1)
        view = View(region, 0, kind, (nbytes,), (1,), True)
        self._views[name] = view
        self._specs[name] = TensorSpec(name, dtype, shape, nbytes, view.file_offset)

    def place_view(self, name: str, view: View, role: Role = "weight") -> None:
        """Add a tensor that somebody else laid out and checked: an array in a pickle.

        Raises:
            FormatError: as :meth:`place`.

        """
        self._checked(name, view.shape)
        self._views[name] = view
        self._specs[name] = TensorSpec(name, view.dtype.name, view.shape, view.nbytes, view.file_offset, 0, role)

    def _checked(self, name: str, shape: tuple[int, ...]) -> None:
        if name in self._specs:
            raise FormatError("stands twice", tensor=name, format=self.format)
        if len(shape) > MAX_DIMENSIONS or any(not 0 <= size <= _MAX_ELEMENTS for size in shape):
            raise FormatError("has an impossible shape", tensor=name, format=self.format)
        if element_count(shape) > _MAX_ELEMENTS:
            raise FormatError("has an impossible number of elements", tensor=name, format=self.format)

    @property
    def random_access(self) -> bool:
        """As the source."""
        return self.source.random_access

    def read_into(self, spec: TensorSpec, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer`` with the tensor's logical bytes from byte ``offset`` on."""
        if spec.lacking:
            raise SourceError(f"{spec.name}: {spec.lacking}")
        if offset < 0 or offset + len(buffer) > spec.nbytes:
            raise FormatError("read beyond the end of a tensor", tensor=spec.name, format=self.format)
        if not len(buffer):
            return
        if spec.name in self._coded:
            self._decode_into(spec, offset, buffer)
            return
        view = self._views[spec.name]
        if view.plain and view.region is not None:
            view.region.read_into(view.start + offset, buffer)
        else:
            self._gatherer.read_into(spec.name, view, offset, buffer)

    def _decode_into(self, spec: TensorSpec, offset: int, buffer: memoryview) -> None:
        """Decode the blocks that hold the wanted bytes; whole blocks go straight into the buffer."""
        region, start, coder = self._coded[spec.name]
        width = byte_count(spec.values_dtype, coder.elements)
        first, skip = divmod(offset, width)
        last = -(-(offset + len(buffer)) // width)
        stored = memoryview(bytearray((last - first) * coder.size))
        region.read_into(start + first * coder.size, stored)
        if not skip and len(buffer) == (last - first) * width:
            self.decode_codes(spec, stored, buffer)
            return
        values = memoryview(bytearray((last - first) * width))
        self.decode_codes(spec, stored, values)
        buffer[:] = values[skip : skip + len(buffer)]

    def codes(self, spec: TensorSpec) -> Codes | None:
        """How a tensor of :meth:`place_coded` is coded."""
        found = self._coded.get(spec.name)
        return None if found is None else Codes(found[2].kind, found[2].elements, found[2].size)

    def read_codes_into(self, spec: TensorSpec, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer`` with the stored bytes of a coded tensor."""
        region, start, _ = self._coded[spec.name]
        region.read_into(start + offset, buffer)

    def decode_codes(self, spec: TensorSpec, codes: memoryview, values: memoryview) -> None:
        """Decode whole blocks, a piece at a time that stays in the cache with all that is made on the way."""
        coder = self._coded[spec.name][2]
        width = byte_count(spec.values_dtype, coder.elements)
        step = max(1, _DECODED_AT_ONCE // coder.elements)
        for first in range(0, len(codes) // coder.size, step):
            part = values[first * width : (first + step) * width]
            coder.decode(codes[first * coder.size : (first + step) * coder.size], part)

    def read_file_into(self, file: int, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer`` from absolute ``offset`` of the file."""
        self.source.read_into(offset, buffer)

    def verify_unchanged(self) -> None:
        """Raise SourceError when the file, or one beside it, was changed since it was opened."""
        self.source.verify_unchanged()
        self.companions.verify_unchanged()

    def inspect(self) -> tuple[Problem, ...]:
        """What ``check`` says of it, which may take reads that opening does not; FormatError for what is found so."""
        return self.problems

    def release(self) -> None:
        """Close what this object opened and remove temporary files; the source stays the caller's."""
        self.companions.close()
        self.spool.close()

    def close(self) -> None:
        """Close the source too; may be called twice."""
        self.release()
        self.source.close()


# What the bytes of a damaged file make of code that takes them for whole; anything else is a mistake of ours.
_DAMAGED = (struct.error, IndexError, OverflowError, RecursionError, UnicodeDecodeError)


def reader(
    make: Callable[[Source, Limits], C], read: Callable[[C, Limits], None], code: str, *, missing: str = ""
) -> tuple[Opener, Checker]:
    """``open_checkpoint`` and ``check`` of a format: what every reader does around reading.

    Args:
        make: makes an empty checkpoint of a source with random access.
        read: fills it from its source; raises FormatError, LimitError, SourceError.
        code: the reason's number where an error of ``read`` has none.
        missing: that of a file beside the model which is not here, or lies outside its folder.

    """

    def fill(checkpoint: C, limits: Limits) -> None:
        companions = checkpoint.companions
        try:
            read(checkpoint, limits)
        except _DAMAGED as error:
            raise FormatError("is damaged", code=code, format=checkpoint.format) from error
        except FormatError as error:
            known = missing if isinstance(error, OutsideError) else code
            error.format, error.code = error.format or checkpoint.format, error.code or known
            raise
        if companions.opened or companions.missing:
            checkpoint.identity = companions.identity()

    def open_checkpoint(source: Source, limits: Limits) -> Checkpoint:
        copy = spool(source, limits.max_spool)
        checkpoint = make(copy, limits)
        try:
            fill(checkpoint, limits)
            if checkpoint.faults:
                raise checkpoint.faults[0]
        except BaseException:
            checkpoint.release()
            if copy is not source:
                copy.close()
            raise
        return checkpoint

    def check(source: Source, limits: Limits) -> tuple[Problem, ...]:
        copy = spool(source, limits.max_spool)
        checkpoint = make(copy, limits)
        try:
            fill(checkpoint, limits)
            found = checkpoint.inspect()
            for name, why in checkpoint.companions.missing.items():
                found += (Problem(missing, "error", f"values in {name!r} cannot be opened: {why}"),)
        except LimitError:
            raise
        except FormatError as error:
            checkpoint.faults.append(error)
            found = checkpoint.problems
        finally:
            checkpoint.release()
            if copy is not source:
                copy.close()
        return (*map(problem_of, checkpoint.faults), *found)

    return open_checkpoint, check
