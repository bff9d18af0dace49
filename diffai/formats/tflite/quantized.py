"""Quantized tensors as the numbers that they stand for: ``(code - zero point) * scale``, of a tensor or along an axis.

Specification: https://ai.google.dev/edge/litert/models/quantization_spec.
"""

from __future__ import annotations

import math
from hashlib import blake2b

from diffai.formats.regions import Region
from diffai.frozen import frozen
from diffai.model import DTYPE_BITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Values = NDArray[np.generic]

_CODES = {"I8": "<i1", "U8": "<u1", "I16": "<i2", "I32": "<i4"}


@frozen
class Quantization:
    """How codes stand for values: scales and zero points, one of each or one for each index along ``axis``."""

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int

    def text(self) -> str:
        """For people; equal texts mean equal parameters."""
        if len(self.scales) == 1:
            return f"scale={self.scales[0]!r}, zero_point={self.zero_points[0]}"
        digest = blake2b(repr((self.scales, self.zero_points)).encode(), digest_size=6).hexdigest()
        span = f"{min(self.scales):.6g}..{max(self.scales):.6g}"
        return f"{len(self.scales):,} scales along axis {self.axis} ({span}, {digest})"

    def suits(self, dtype: str, shape: tuple[int, ...]) -> bool:
        """Whether codes of this dtype and shape can be told apart once they are decoded."""
        if dtype not in (*_CODES, "I4") or not all(math.isfinite(scale) and scale > 0 for scale in self.scales):
            return False
        if len(self.scales) == 1:
            return True
        return 0 <= self.axis < len(shape) and shape[self.axis] == len(self.scales)


def values_dtype(dtype: str) -> str:
    """What codes decode to: wide enough that two codes never decode to one value."""
    return "F64" if dtype == "I32" else "F32"


class DecodedRegion:
    """The values of a quantized tensor, decoded as they are read."""

    file_offset = -1

    def __init__(self, codes: Region, dtype: str, shape: tuple[int, ...], quantization: Quantization) -> None:
        self._codes, self._dtype = codes, dtype
        self._quantization = quantization
        self._width = DTYPE_BITS[values_dtype(dtype)] // 8
        self._inner = math.prod(shape[quantization.axis + 1 :])
        self.size = math.prod(shape) * self._width

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Decode the elements that the wanted bytes belong to."""
        first, skip = divmod(offset, self._width)
        last = -(-(offset + len(buffer)) // self._width)
        values = self._decoded(first, last).tobytes()
        buffer[:] = memoryview(values)[skip : skip + len(buffer)]

    def _decoded(self, first: int, last: int) -> Values:
        import numpy as np

        codes = self._read(first, last)
        wide = np.float64 if self._dtype == "I32" else np.float32
        q = self._quantization
        if len(q.scales) == 1:
            scale, zero = np.float64(q.scales[0]), np.int64(q.zero_points[0])
            return np.asarray(((codes.astype(np.int64) - zero) * scale).astype(wide))
        index = np.arange(first, last) // self._inner % len(q.scales)
        scales, zeros = np.array(q.scales)[index], np.array(q.zero_points, np.int64)[index]
        return np.asarray(((codes.astype(np.int64) - zeros) * scales).astype(wide))

    def _read(self, first: int, last: int) -> Values:
        import numpy as np

        if self._dtype != "I4":
            data = bytearray((last - first) * DTYPE_BITS[self._dtype] // 8)
            self._codes.read_into(first * DTYPE_BITS[self._dtype] // 8, memoryview(data))
            return np.frombuffer(data, _CODES[self._dtype])
        data = bytearray((last + 1) // 2 - first // 2)
        self._codes.read_into(first // 2, memoryview(data))
        return nibbles(memoryview(data))[first % 2 : first % 2 + last - first]


class Copied:
    """A coder for bytes that are decoded already."""

    def __init__(self, width: int) -> None:
        self.kind, self.elements, self.size = f"bytes{width}", 1, width

    def decode(self, data: memoryview, out: memoryview) -> None:
        """Copy."""
        out[:] = data


class Nibbles:
    """Signed integers of 4 bits, the low ones first, as int8."""

    kind = "int4"
    elements, size = 2, 1

    def decode(self, data: memoryview, out: memoryview) -> None:
        """Spread the bits out."""
        out[:] = nibbles(data).view("uint8").data


def nibbles(data: memoryview) -> Values:
    """Signed integers of 4 bits, two in a byte, the low ones first."""
    import numpy as np

    codes = np.frombuffer(data, np.uint8)
    values = np.stack([codes & 15, codes >> 4], axis=-1).reshape(-1)
    return np.asarray((values ^ 8).astype(np.int8) - np.int8(8))
