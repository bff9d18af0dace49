"""Values of quantized tensors, some rows at a time, in float32: what the kinds' own libraries compute."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffai.formats.quantized.recipes import Recipe
from diffai.model import Checkpoint, TensorSpec, byte_count

Array = NDArray[Any]

_AT_ONCE = 1 << 19  # elements
_MANY_READS = 8192  # of some bytes each, that take longer than reading all that lies between them, up to
_READ_WHOLE = 16 << 20  # so many bytes
_PLAIN = {
    "I8": "i1", "U8": "u1", "I16": "<i2", "U16": "<u2", "I32": "<i4", "F16": "<f2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip
_SMALL = {
    "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz", "F8_E8M0": "float8_e8m0fnu",
}  # fmt: skip
_AWQ_PLACE = np.array([0, 4, 1, 5, 2, 6, 3, 7])  # of column 0 to 7 in a word; the order 0 2 4 6 1 3 5 7 backwards
_FP4 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)


def decode_into(stored: Checkpoint, recipe: Recipe, offset: int, buffer: memoryview) -> None:
    """Fill ``buffer`` with little-endian float32 from byte ``offset`` of the logical tensor on."""
    out = np.frombuffer(buffer, np.uint8)
    width = recipe.shape[-1] if recipe.shape else 1
    first, last = offset // (4 * width), -(-(offset + len(buffer)) // (4 * width))
    step = max(1, _AT_ONCE // width)
    decode = _DECODERS[recipe.kind]
    for row in range(first, last, step):
        stop = min(row + step, last)
        with np.errstate(all="ignore"):  # scales may be NaN or infinite: so is what they scale
            values = decode(_Parts(stored, recipe), row, stop)
        raw = np.ascontiguousarray(values, "<f4").reshape(-1).view(np.uint8)
        start = row * width * 4 - offset  # place of the first of these bytes in the buffer
        skip = max(0, -start)
        taken = raw[skip : len(out) - start]
        out[start + skip : start + skip + len(taken)] = taken


class _Parts:
    """The stored tensors of one recipe."""

    def __init__(self, stored: Checkpoint, recipe: Recipe) -> None:
        self._stored, self.recipe = stored, recipe
        self.specs: Mapping[str, TensorSpec] = recipe.parts

    def number(self, name: str) -> int:
        """One of the recipe's whole numbers."""
        return int(self.recipe.numbers[name])

    def run(self, role: str, start: int, stop: int) -> Array:
        """Elements ``start`` to ``stop`` of a part, as they are stored."""
        spec = self.specs[role]
        dtype = spec.values_dtype
        size = byte_count(dtype, 1)
        data = np.empty((stop - start) * size, np.uint8)
        self._stored.read_into(spec, start * size, data.data)
        return _viewed(dtype, data)

    def all(self, role: str) -> Array:
        """A whole part, in its shape."""
        spec = self.specs[role]
        return self.run(role, 0, spec.elements).reshape(spec.shape)

    def columns(self, role: str, start: int, stop: int) -> Array:
        """Columns ``start`` to ``stop`` of a part of two dimensions, row by row: no more is read than they are."""
        spec = self.specs[role]
        rows, width = spec.shape
        if (start, stop) == (0, width) or (rows > _MANY_READS and spec.nbytes <= _READ_WHOLE):
            return self.all(role)[:, start:stop].copy()
        dtype = spec.values_dtype
        size = byte_count(dtype, 1)
        data = np.empty((rows, (stop - start) * size), np.uint8)
        view, length = data.reshape(-1).data, data.shape[1]
        for row in range(rows):
            self._stored.read_into(spec, (row * width + start) * size, view[row * length : (row + 1) * length])
        return _viewed(dtype, data.reshape(-1)).reshape(rows, stop - start)


def _viewed(dtype: str, data: Array) -> Array:
    """Bytes as numbers; small floats as float32."""
    if dtype in _PLAIN:
        return data.view(_PLAIN[dtype])
    import ml_dtypes

    found: Array = data.view(getattr(ml_dtypes, _SMALL[dtype])).astype(np.float32)
    return found


def _unpacked(words: Array, bits: int, count: int) -> Array:
    """``count`` codes of ``bits`` bits along the first axis of 32-bit words, lowest bits first, as int32."""
    words = words.view(np.uint32)
    if 32 % bits == 0:
        shifts = np.arange(0, 32, bits, dtype=np.uint32).reshape(1, -1, *[1] * (words.ndim - 1))
        spread = (words[:, None] >> shifts & np.uint32((1 << bits) - 1)).reshape(-1, *words.shape[1:])
        return spread[:count].astype(np.int32)
    places = np.arange(count) * bits  # 3 bits: a code can lie across two words
    low, shift = places // 32, (places % 32).astype(np.uint64)
    padded = np.concatenate((words, np.zeros_like(words[:1]))).astype(np.uint64)
    both = padded[low] | padded[low + 1] << np.uint64(32)
    codes = both >> shift.reshape(-1, *[1] * (words.ndim - 1)) & np.uint64((1 << bits) - 1)
    return codes.astype(np.int32)


def _groups(parts: _Parts, inputs: int, groups: int) -> Array:
    """The group of each input; out of what there is for an index that lies."""
    if "index" in parts.specs:
        return np.clip(parts.all("index"), 0, groups - 1)
    return np.arange(inputs) // parts.number("group")


def _gptq(parts: _Parts, first: int, last: int) -> Array:
    """Scale * (code - zero point), packed along the inputs; the stored zero point of version 1 is one too low."""
    bits, inputs = parts.number("bits"), parts.recipe.shape[1]
    codes = _unpacked(parts.columns("codes", first, last), bits, inputs)
    start, stop = first * bits // 32, -(-last * bits // 32)
    if 32 % bits:  # 32 codes in three words: begin where words and codes begin together
        start, stop = first // 32 * bits, min(-(-last // 32) * bits, parts.specs["zeros"].shape[1])
    held = (stop - start) * 32 // bits
    zeros = _unpacked(parts.columns("zeros", start, stop).T, bits, held).T
    skip = first - start * 32 // bits
    zeros = zeros[:, skip : skip + last - first] + parts.number("offset")
    scales = parts.columns("scales", first, last).astype(np.float32)
    group = _groups(parts, inputs, len(scales))
    return ((codes - zeros[group]).astype(np.float32) * scales[group]).T


def _awq(parts: _Parts, first: int, last: int) -> Array:
    """Scale * (code - zero point), packed along the outputs, eight in an order of its own."""
    inputs = parts.recipe.shape[1]
    start, stop = first // 8, -(-last // 8)

    def spread(role: str) -> Array:
        words = parts.columns(role, start, stop).view(np.uint32)
        codes = words[..., None] >> (4 * _AWQ_PLACE).astype(np.uint32) & np.uint32(15)
        return codes.reshape(len(words), -1)[:, first - 8 * start : last - 8 * start].astype(np.int32)

    scales = parts.columns("scales", first, last).astype(np.float32)
    group = _groups(parts, inputs, len(scales))
    return ((spread("codes") - spread("zeros")[group]).astype(np.float32) * scales[group]).T


def _awq_rows(parts: _Parts, first: int, last: int) -> Array:
    """Scale * (code - zero point), packed along the inputs in their order, a row of groups for each output."""
    inputs = parts.recipe.shape[1]
    group = np.arange(inputs) // parts.number("group")

    def rows(role: str) -> Array:
        width = parts.specs[role].shape[1]
        return parts.run(role, first * width, last * width).reshape(-1, width)

    codes = _unpacked(rows("codes").T, 4, inputs).T
    zeros = _unpacked(rows("zeros").T, 4, parts.specs["zeros"].shape[1] * 8).T
    return (codes - zeros[:, group]).astype(np.float32) * rows("scales").astype(np.float32)[:, group]


def _nibbles(data: Array, *, high_first: bool = False) -> Array:
    """Two codes of each byte, along the last axis."""
    both = (data >> 4, data & 15) if high_first else (data & 15, data >> 4)
    return np.stack(both, axis=-1).reshape(*data.shape[:-1], -1)


def _table(parts: _Parts, first: int, last: int) -> Array:
    """bitsandbytes: a table of 16 values, times the greatest magnitude of a block; the high half is first."""
    width = parts.recipe.shape[-1] if parts.recipe.shape else 1
    start, stop, block = first * width, last * width, parts.number("block")
    begin, end = start // block, -(-stop // block)
    scales = parts.run("scales", begin, end)
    if "nested_table" in parts.specs:
        size = parts.number("nested")
        outer = parts.run("nested_scales", begin // size, -(-end // size))
        place = np.arange(begin, end) // size - begin // size
        offset = np.float32(parts.recipe.numbers["offset"])
        scales = parts.all("nested_table").reshape(-1)[scales] * outer[place] + offset
    codes = _nibbles(parts.run("codes", start // 2, -(-stop // 2)), high_first=True)
    codes = codes[start % 2 : start % 2 + stop - start]
    values: Array = parts.all("table").reshape(-1)[codes] * scales[np.arange(start, stop) // block - begin]
    return values


def _packed(parts: _Parts, first: int, last: int) -> Array:
    """compressed-tensors: codes are stored plus half of their range, along the inputs."""
    bits, inputs = parts.number("bits"), parts.recipe.shape[1]
    width, groups = parts.specs["codes"].shape[1], parts.specs["scales"].shape[1]
    words = parts.run("codes", first * width, last * width).reshape(-1, width)
    half = 1 << bits - 1
    codes = _unpacked(words.T, bits, inputs).T - half
    scales = parts.run("scales", first * groups, last * groups).reshape(-1, groups).astype(np.float32)
    group = _groups(parts, inputs, groups)
    if "zeros" in parts.specs:
        start, stop = first * bits // 32, -(-last * bits // 32)
        packed = parts.run("zeros", start * groups, stop * groups).reshape(-1, groups)
        skip = first - start * 32 // bits
        zeros = _unpacked(packed, bits, (stop - start) * 32 // bits)[skip : skip + last - first] - half
        codes = codes - zeros[:, group]
    return codes.astype(np.float32) * scales[:, group]


def _nvfp4(parts: _Parts, first: int, last: int) -> Array:
    """NVFP4: E2M1 in blocks of 16 of an E4M3 scale, divided by one scale of the whole tensor."""
    width = parts.recipe.shape[1]
    codes = _nibbles(parts.run("codes", first * width // 2, last * width // 2).reshape(last - first, -1))
    scales = parts.run("scales", first * width // 16, last * width // 16).reshape(last - first, -1)
    whole = parts.all("global").reshape(-1)[0]
    values: Array = _FP4[codes] * np.repeat(scales / whole, 16, axis=1)
    return values


@cache
def _powers() -> Array:
    """2 ** (code - 127) of E8M0; 255 is NaN."""
    powers = np.ldexp(np.float32(1), np.arange(256) - 127).astype(np.float32)
    powers[255] = np.nan
    return powers


def _strips(parts: _Parts, role: str, rows: tuple[int, int], width: int, columns: tuple[int, int]) -> Array:
    """The same columns of some rows of bytes: ``rows`` says where the first of them begins, and how many there are."""
    (base, count), (start, stop) = rows, columns
    span = (count - 1) * width + stop - start
    if count <= _MANY_READS or span > _READ_WHOLE:
        strips = [parts.run(role, base + row * width + start, base + row * width + stop) for row in range(count)]
        return np.stack(strips)
    data = np.zeros(count * width, np.uint8)
    data[:span] = parts.run(role, base + start, base + start + span)
    return data.reshape(count, width)[:, : stop - start]


def _mxfp4(parts: _Parts, first: int, last: int) -> Array:
    """MXFP4 in blocks of 32 along the inputs, which come first in the logical tensor."""
    *_, inputs, rows = parts.recipe.shape
    made = []
    for matrix in range(first // inputs, -(-last // inputs)):
        begin, end = (min(max(place - matrix * inputs, 0), inputs) for place in (first, last))
        groups, start, stop = inputs // 32, begin // 32, -(-end // 32)
        base = matrix * rows * groups
        codes = _strips(parts, "codes", (base * 16, rows), groups * 16, (start * 16 + begin % 32 // 2, -(-end // 2)))
        scales = _strips(parts, "scales", (base, rows), groups, (start, stop))
        skip = begin % 2
        place = np.arange(begin, end) // 32 - start
        values = _FP4[_nibbles(codes)[:, skip : skip + end - begin]] * _powers()[scales][:, place]
        made.append(values.T)
    return np.concatenate(made)


def _scaled(parts: _Parts, first: int, last: int) -> Array:
    """(code - zero point) * scale, where a scale holds for a box of elements."""
    recipe = parts.recipe
    shape = recipe.shape or (1,)
    width, scale_shape = shape[-1], parts.specs["scales"].shape
    codes = parts.run("codes", first * width, last * width).reshape(last - first, width)
    steps = [parts.number(f"step{axis}") for axis in range(len(recipe.shape))] or [1]
    boxes = tuple(-(-size // step) for size, step in zip(shape, steps, strict=True))
    assert int(np.prod(boxes)) == int(np.prod(scale_shape))
    rows = np.arange(first, last)
    lead = np.zeros(len(rows), np.int64)
    if len(shape) > 1:
        places = np.unravel_index(rows, shape[:-1])
        lead = np.ravel_multi_index(
            tuple(place // step for place, step in zip(places, steps[:-1], strict=True)), boxes[:-1]
        )
    begin, end = int(lead.min()), int(lead.max()) + 1
    column = np.arange(width) // steps[-1]

    def spread(role: str) -> Array:
        table = parts.run(role, begin * boxes[-1], end * boxes[-1]).reshape(end - begin, boxes[-1])
        found = table[lead - begin]
        return found if boxes[-1] == 1 else found[:, column]

    scales = spread("scales").astype(np.float32) / np.float32(recipe.numbers["divisor"])
    values: Array = codes.astype(np.float32)
    if "zeros" in parts.specs:
        values = (codes.astype(np.float64) - spread("zeros").astype(np.float64)).astype(np.float32)
    scaled: Array = values * scales
    return scaled


_DECODERS: Mapping[str, Callable[[_Parts, int, int], Array]] = {
    "gptq": _gptq, "awq": _awq, "awq rows": _awq_rows, "table": _table, "packed": _packed, "nvfp4": _nvfp4,
    "mxfp4": _mxfp4, "scaled": _scaled,
}  # fmt: skip
