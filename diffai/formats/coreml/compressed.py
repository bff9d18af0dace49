"""Constants of ML programs, and those that are made of codes and what these mean: decoded where that is known."""

from __future__ import annotations

from diffai.formats.coreml.checkpoint import CoremlCheckpoint
from diffai.formats.coreml.decoding import NUMBERS, Codes, Cut, decoded, looked_up, scaled, scattered
from diffai.formats.digests import digest_of
from diffai.formats.regions import Region, read
from diffai.frozen import frozen
from diffai.model import element_count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    import numpy as np

    Numbers = np.ndarray[Any, np.dtype[Any]]

DTYPES = {1: "BOOL", 10: "F16", 11: "F32", 12: "F64", 13: "BF16", 21: "I8", 22: "I16", 23: "I32", 24: "I64",
           31: "U8", 32: "U16", 33: "U32", 34: "U64", 40: "F8_E4M3", 41: "F8_E5M2"}  # fmt: skip
SMALL = {25: ("I4", 4, True), 35: ("U4", 4, False), 36: ("U2", 2, False), 37: ("U1", 1, False), 38: ("U6", 6, False),
          39: ("U3", 3, False)}  # fmt: skip


@frozen
class Value:
    """A constant: its type by number, its shape, and where its values lie.

    ``lacking``: why they are not here; ``text``: of one that is a setting, not a weight; ``few``: its whole numbers.
    """

    kind: int
    shape: tuple[int, ...]
    region: Region | None
    lacking: str = ""
    text: str = ""
    few: tuple[int, ...] = ()

    @property
    def dtype(self) -> str:
        """Diffai's name of the element type."""
        return DTYPES.get(self.kind) or SMALL.get(self.kind, (f"TYPE_{self.kind}",))[0]

    @property
    def codes(self) -> Codes | None:
        """As whole numbers that can be decoded; None where they are none, or not here."""
        if self.region is None:
            return None
        if self.kind in SMALL:
            _, bits, signed = SMALL[self.kind]
            return Codes(self.region, bits, signed)
        return Codes(self.region, 8, self.kind == 21) if self.kind in (21, 31) else None

    def numbers(self) -> Numbers | None:
        """All values, where they are numbers and here."""
        import numpy as np

        if self.few:
            return np.array(self.few, "f8")
        count = element_count(self.shape)
        codes = self.codes
        if codes is not None:
            return codes.read(0, count).astype("f8")
        if self.region is None or self.dtype not in NUMBERS:
            return None
        with np.errstate(all="ignore"):  # NaN of the kind that signals, in a damaged file
            return np.frombuffer(read(self.region, 0, self.region.size), NUMBERS[self.dtype]).astype("f8")


@frozen
class Decoded:
    """A compressed constant, as it is placed."""

    dtype: str
    shape: tuple[int, ...]
    values: str
    region: Region
    said: str


def _whole(value: Value, codes: Codes) -> bool:
    """Whether there are as many codes as the shape needs."""
    return -(-element_count(value.shape) * codes.bits // 8) == codes.region.size


def _affine(checkpoint: CoremlCheckpoint, parts: dict[str, Value]) -> Decoded | None:
    """``(code - zero point) * scale``, of the tensor or along an axis."""
    data, scale, zero = parts.get("quantized_data"), parts.get("scale"), parts.get("zero_point")
    if data is None or scale is None or zero is None or "axis" not in parts or not parts["axis"].few:
        return None
    axis = parts["axis"].few[0]
    count = element_count(scale.shape)
    cut = tuple(count if number == axis % max(1, len(data.shape)) else 1 for number in range(len(data.shape)))
    return _line(checkpoint, data, (scale, zero), Cut(data.shape, cut), f"affine, {count:,} scales")


def _blockwise(checkpoint: CoremlCheckpoint, parts: dict[str, Value]) -> Decoded | None:
    """``(code - offset) * scale``, each of a block."""
    data, scale = parts.get("data"), parts.get("scale")
    if data is None or scale is None:
        return None
    zero = parts.get("offset") or Value(0, scale.shape, None)
    return _line(checkpoint, data, (scale, zero), Cut(data.shape, scale.shape), f"blockwise, {scale.shape} scales")


def _line(
    checkpoint: CoremlCheckpoint, data: Value, line: tuple[Value, Value], cut: Cut, said: str
) -> Decoded | None:
    import numpy as np

    codes, scales = data.codes, line[0].numbers()
    if codes is None or scales is None or not cut.fits or not _whole(data, codes):
        return None
    zeros = line[1].numbers() if line[1].region is not None else np.zeros(len(scales))
    if zeros is None or len(scales) != element_count(cut.parts):
        return None
    zeros = np.full(len(scales), zeros[0]) if len(zeros) == 1 else zeros
    if len(zeros) != len(scales):
        return None
    make = scaled(codes, cut, scales, zeros, np.zeros(len(scales)))
    said = f"{said} ({digest_of(scales.tobytes(), zeros.tobytes()).hex()[:12]})"
    region = decoded(checkpoint.spool, "F32", element_count(data.shape), make)
    return Decoded(data.dtype, data.shape, "F32", region, said)


def _table(checkpoint: CoremlCheckpoint, parts: dict[str, Value]) -> Decoded | None:
    """The entries of a palette, of the tensor or of each block."""
    indices, table = parts.get("indices"), parts.get("lut")
    if indices is None or table is None or table.dtype not in ("F16", "F32"):
        return None
    entries = table.numbers()
    older = parts.get("shape")
    if entries is None or indices.region is None:
        return None
    if older is not None:  # of indices the bytes alone are given, and of how many bits they are the table says
        bits, count = max(1, (len(entries) - 1).bit_length()), len(entries)
        shape, codes, cut_parts = older.few, Codes(indices.region, bits, False), (1,) * len(older.few)
    else:
        found = indices.codes
        if found is None or len(table.shape) != len(indices.shape) + 2 or table.shape[-1] != 1:
            return None
        shape, codes, cut_parts, count = indices.shape, found, table.shape[:-2], table.shape[-2]
    cut = Cut(shape, cut_parts)
    if not shape or not cut.fits or len(entries) != count * element_count(cut_parts) or 1 << codes.bits > 2 * count:
        return None
    if -(-element_count(shape) * codes.bits // 8) != codes.region.size:
        return None
    palettes = entries.reshape(-1, count)
    region = decoded(checkpoint.spool, table.dtype, element_count(shape), looked_up(codes, cut, palettes))
    said = f"palette of {count}" if len(palettes) == 1 else f"{len(palettes):,} palettes of {count}"
    return Decoded(f"U{codes.bits}", shape, table.dtype, region, said)


def _sparse(checkpoint: CoremlCheckpoint, parts: dict[str, Value]) -> Decoded | None:
    """Zeros, and the values where a mask is set."""
    mask, values, older = parts.get("mask"), parts.get("nonzero_data"), parts.get("shape")
    if mask is None or values is None or mask.region is None or values.region is None or values.dtype not in NUMBERS:
        return None
    shape = older.few if older is not None else mask.shape
    if not shape or -(-element_count(shape) // 8) != mask.region.size:
        return None
    make = scattered(Codes(mask.region, 1, False), values.region, values.dtype)
    region = decoded(checkpoint.spool, values.dtype, element_count(shape), make)
    return Decoded(values.dtype, shape, values.dtype, region, "sparse")


DECODERS = {
    "constexpr_affine_dequantize": _affine, "constexpr_lut_to_dense": _table, "constexpr_sparse_to_dense": _sparse,
    "constexpr_blockwise_shift_scale": _blockwise,
}  # fmt: skip
"""What decodes the constants of an operation; None where these are not all there, or do not fit one another."""
