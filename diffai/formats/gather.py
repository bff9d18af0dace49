"""Values of views that are not one raw run: strided, big-endian, conjugated, quantized. Memory stays bounded.

The output is made in blocks of at most BLOCK bytes; a block is gathered through windows of at most WINDOW
bytes of the region, so a transposed tensor of any size costs these two buffers and some more passes.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Any

from diffai.errors import FormatError
from diffai.formats.layout import View
from diffai.formats.regions import Region, read

if TYPE_CHECKING:
    import numpy as np

    Values = np.ndarray[Any, np.dtype[Any]]

BLOCK = 16 << 20
WINDOW = 4 << 20
CACHE = 16 << 20
SPARSE = 4  # a window with less than one element in so many is read run by run
PAGE = 16 << 10  # below this, reading more is as cheap as reading less


class Gatherer:
    """Makes and keeps the last blocks; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._blocks: OrderedDict[tuple[str, int], memoryview] = OrderedDict()
        self._held = 0

    def read_into(self, name: str, view: View, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer`` with the logical bytes of ``view`` from byte ``offset`` on."""
        done = 0
        while done < len(buffer):
            start, block = self._block(name, view, (offset + done) // view.item)
            skip = offset + done - start * view.item
            part = block[skip : skip + len(buffer) - done]
            if not part:
                raise FormatError("read beyond the end of a tensor", code="PT09", tensor=name)
            buffer[done : done + len(part)] = part
            done += len(part)

    def _block(self, name: str, view: View, element: int) -> tuple[int, memoryview]:
        """First element and bytes of the block that holds ``element``."""
        start, leading, row, rows, axis = _plan(view, element)
        with self._lock:
            found = self._blocks.get((name, start))
            if found is None:
                wanted = min(view.nbytes, BLOCK)
                while self._blocks and self._held + wanted > CACHE:
                    self._held -= len(self._blocks.popitem(last=False)[1])
                found = _make(view, leading, row, rows, axis).view("u1").data
                self._blocks[name, start] = found
                self._held += len(found)
            else:
                self._blocks.move_to_end((name, start))
        return start, found


def _plan(view: View, element: int) -> tuple[int, int, int, int, int]:
    """The block around an element: its first element, leading index, first row, rows, and the axis it is cut along.

    A block is ``rows`` steps of dimension ``axis`` at one fixed index of the dimensions before it.
    """
    limit = max(1, BLOCK // max(view.item, view.dtype.size))
    inner, axis = 1, -1
    for position in reversed(range(len(view.shape))):
        if inner * view.shape[position] > limit:
            axis = position
            break
        inner *= view.shape[position]
    if axis < 0:
        return 0, 0, 0, 1, -1
    size = view.shape[axis]
    step = max(1, limit // inner)
    leading, within = divmod(element, inner * size)
    row = within // inner // step * step
    return (leading * size + row) * inner, leading, row, min(step, size - row), axis


def _make(view: View, leading: int, row: int, rows: int, axis: int) -> Values:
    """One block, one-dimensional."""
    import numpy as np

    shape, strides, start = view.shape, view.strides, 0
    corner = [0] * len(shape)
    if axis >= 0:
        for position in reversed(range(axis)):
            leading, corner[position] = divmod(leading, shape[position])
        corner[axis] = row
        start = sum(index * stride for index, stride in zip(corner, strides, strict=True))
        shape, strides = (rows, *shape[axis + 1 :]), strides[axis:]
    item = view.dtype.size
    kind = np.dtype(f"u{item}" if item in (1, 2, 4, 8) else f"V{item}")
    out = np.empty(shape, kind)
    if view.region is not None and out.size:
        squeezed = [position for position, size in enumerate(shape) if size > 1]
        target = out.reshape([shape[position] for position in squeezed])
        _fill(target, view.region, view.start, start, [strides[position] for position in squeezed])
    values = _words(out.reshape(-1), view)
    if view.quantizer is not None:
        values = _decoded(values, view, shape, corner)
    return np.ascontiguousarray(values).reshape(-1)


def _fill(out: Values, region: Region, base: int, start: int, strides: list[int]) -> None:
    """Copy the strided window that begins at element ``start``, through buffers of at most WINDOW bytes."""
    import numpy as np

    item = out.dtype.itemsize
    spans = [(size - 1) * stride for size, stride in zip(out.shape, strides, strict=True)]
    span = sum(spans) + 1
    dense = out.size * SPARSE >= span or span * item <= PAGE
    if span * item <= WINDOW and dense:
        data = np.frombuffer(read(region, base + start * item, span * item), out.dtype)
        out[...] = np.lib.stride_tricks.as_strided(data, out.shape, [stride * item for stride in strides])
        return
    axis = max(range(len(strides)), key=lambda position: strides[position])
    rest = span - spans[axis]
    if not dense and out.ndim == 2 and rest * item <= WINDOW:
        _fill_runs(np.moveaxis(out, axis, 0), region, base + start * item, (strides[axis], strides[1 - axis]))
        return
    step = max(1, (WINDOW // item - rest) // strides[axis] + 1) if rest * item < WINDOW else 1
    for first in range(0, out.shape[axis], step):
        index: list[slice | int] = [slice(None)] * out.ndim
        index[axis] = first if step == 1 else slice(first, first + step)
        inner = [stride for position, stride in enumerate(strides) if step > 1 or position != axis]
        _fill(out[tuple(index)], region, base, start + first * strides[axis], inner)


def _fill_runs(out: Values, region: Region, base: int, strides: tuple[int, int]) -> None:
    """Copy short runs that lie far apart (columns of a block of rows), reading no more than the runs."""
    import numpy as np

    item, (far, near) = out.dtype.itemsize, strides
    run = (out.shape[1] - 1) * near + 1
    rows = max(1, min(out.shape[0], WINDOW // (run * item)))
    buffer = np.empty((rows, run), out.dtype)
    view, width = buffer.view("u1").reshape(-1).data, run * item
    for first in range(0, out.shape[0], rows):
        count = min(rows, out.shape[0] - first)
        at = base + first * far * item
        for position in range(0, count * width, width):
            region.read_into(at, view[position : position + width])
            at += far * item
        out[first : first + count] = buffer[:count, ::near] if near else buffer[:count]


def _words(values: Values, view: View) -> Values:
    """Byte order, conjugation and negation, done on the bits so that every dtype is exact."""
    import numpy as np

    is_complex = view.dtype.name in ("C32", "C64", "C128")
    width = view.dtype.size // 2 if is_complex else view.dtype.size
    if view.swap and width in (2, 4, 8):
        values = values.view(f"u{width}").byteswap(inplace=True)
    elif view.swap and width > 8:
        values = np.ascontiguousarray(values.view("u1").reshape(-1, width)[:, ::-1]).reshape(-1)
    if not (view.conj or view.neg):
        return values
    words = values.view(f"u{width}")
    if not is_complex and view.dtype.name[0] not in "FB":
        return np.negative(words) if view.neg else words
    sign = words.dtype.type(1 << (8 * width - 1))
    if view.conj and is_complex:
        words[1::2] ^= sign
    if view.neg:
        words ^= sign
    return words


def _decoded(values: Values, view: View, shape: tuple[int, ...], corner: list[int]) -> Values:
    """(q - zero_point) * scale as torch's dequantize: in float32 per tensor, in float64 and rounded per channel."""
    import numpy as np

    quantizer = view.quantizer
    assert quantizer is not None
    stored = values.view({"QI8": "i1", "QU8": "u1", "QI32": "i4"}[view.dtype.name])
    if quantizer.scales is None or quantizer.zero_points is None:
        centred = (stored.astype(np.int64) - quantizer.zero_point).astype(np.float32)
        return centred * np.float32(quantizer.scale)
    scales, points = _numbers(quantizer.scales), _numbers(quantizer.zero_points)
    cut = len(view.shape) - len(shape)
    if quantizer.axis < cut:
        part = slice(corner[quantizer.axis], corner[quantizer.axis] + 1)
        along = [1] * len(shape)
    else:
        position = quantizer.axis - cut
        first = corner[quantizer.axis]
        part = slice(first, first + shape[position])
        along = [shape[position] if index == position else 1 for index in range(len(shape))]
    grid = stored.reshape(shape)
    shifted = grid.astype(np.float64) - points[part].astype(np.float64).reshape(along)
    per_channel: Values = (shifted * scales[part].astype(np.float64).reshape(along)).astype(np.float32)
    return per_channel


def _numbers(view: View) -> Values:
    """All values of a small one-dimensional view."""
    codes = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1"}
    if view.dtype.name not in codes:
        raise FormatError(f"quantizer scales are {view.dtype.name}", code="PT10")
    return _make(view, 0, 0, 1, -1).view(codes[view.dtype.name])
