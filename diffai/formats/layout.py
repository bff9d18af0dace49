"""How the values of a tensor lie in bytes: element type, strides, byte order, quantization."""

from __future__ import annotations

from typing import NamedTuple

from diffai.formats.regions import Region
from diffai.model import element_count


class DType:
    """An element type: diffai's name, bytes an element, and bits where it is packed below a byte."""

    __slots__ = ("bits", "name", "size", "torch_name")

    def __init__(self, name: str, size: int, torch_name: str = "", bits: int = 0) -> None:
        self.name = name
        self.size = size
        self.torch_name = torch_name
        self.bits = bits or size * 8


class Quantizer(NamedTuple):
    """(q - zero_point) * scale. Per channel, ``scales`` and ``zero_points`` are views and ``axis`` their dimension."""

    scale: float = 1.0
    zero_point: int = 0
    scales: View | None = None
    zero_points: View | None = None
    axis: int = 0

    @property
    def described(self) -> str:
        """For people."""
        if self.scales is None:
            return f"scale={self.scale!r}, zero_point={self.zero_point}"
        return f"per channel of axis {self.axis}, {element_count(self.scales.shape)} scales"


class View(NamedTuple):
    """A tensor's values as a strided window of a region.

    Attributes:
        region: where the bytes are; None only where there are no elements.
        start: byte of the first element in the region.
        dtype: stored element type.
        shape, strides: in elements.
        contiguous: row-major without gaps.
        swap: big-endian; conj, neg: values are conjugated, negated; quantizer: values are decoded.
        identity: equal for two tensors that are the same bytes seen the same way.

    """

    region: Region | None
    start: int
    dtype: DType
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    contiguous: bool
    swap: bool = False
    conj: bool = False
    neg: bool = False
    quantizer: Quantizer | None = None
    values: str = ""
    identity: tuple[object, ...] = ()

    @property
    def plain(self) -> bool:
        """Whether the logical bytes are the stored ones, in one run."""
        swapped = self.swap and self.dtype.size > 1
        return self.contiguous and not (swapped or self.conj or self.neg or self.quantizer)

    @property
    def item(self) -> int:
        """Bytes an element takes in what is yielded."""
        return 4 if self.quantizer else self.dtype.size

    @property
    def nbytes(self) -> int:
        """Bytes of the logical values."""
        if self.dtype.bits < 8:
            return (element_count(self.shape) * self.dtype.bits + 7) // 8
        return element_count(self.shape) * self.item

    @property
    def file_offset(self) -> int:
        """Where the logical bytes lie raw in the file; -1 when they do not."""
        if not self.plain or self.region is None or self.region.file_offset < 0:
            return -1
        return self.region.file_offset + self.start


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of a contiguous tensor, in elements."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def is_contiguous(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether elements lie row-major without gaps; strides of dimensions of size 1 mean nothing."""
    if 0 in shape:
        return True
    step = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1:
            if stride != step:
                return False
            step *= size
    return True
