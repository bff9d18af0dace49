"""Element types of ggml: blocks, their sizes, and what they decode to.

Layouts: ggml-common.h and the reference routines ``dequantize_row_*`` of https://github.com/ggml-org/ggml (MIT). All
fields are little-endian, in files for big-endian machines big-endian. Every decoder takes whole blocks, one a row, and
gives float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from diffai.frozen import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    Blocks = NDArray[Any]
    Decode = Callable[[Blocks, str], Blocks]


@frozen
class GgmlType:
    """One element type: ``elements`` of it take ``size`` bytes; ``decode`` names its decoder, None = plain or none."""

    name: str
    elements: int
    size: int
    decode: str | None = None


#: Names of ours; values lie as they are.
PLAIN = frozenset(("F32", "F16", "BF16", "F64", "I8", "I16", "I32", "I64"))

#: By number. 4, 5, 31 to 33 and 36 to 38 were removed from ggml; Q1_0 has no reference decoder: its bytes are compared.
TYPES: Mapping[int, GgmlType] = {
    0: GgmlType("F32", 1, 4), 1: GgmlType("F16", 1, 2), 24: GgmlType("I8", 1, 1), 25: GgmlType("I16", 1, 2),
    26: GgmlType("I32", 1, 4), 27: GgmlType("I64", 1, 8), 28: GgmlType("F64", 1, 8), 30: GgmlType("BF16", 1, 2),
    2: GgmlType("Q4_0", 32, 18, "q4_0"), 3: GgmlType("Q4_1", 32, 20, "q4_1"), 6: GgmlType("Q5_0", 32, 22, "q5_0"),
    7: GgmlType("Q5_1", 32, 24, "q5_1"), 8: GgmlType("Q8_0", 32, 34, "q8_0"), 9: GgmlType("Q8_1", 32, 36, "q8_1"),
    10: GgmlType("Q2_K", 256, 84, "q2_k"), 11: GgmlType("Q3_K", 256, 110, "q3_k"),
    12: GgmlType("Q4_K", 256, 144, "q4_k"), 13: GgmlType("Q5_K", 256, 176, "q5_k"),
    14: GgmlType("Q6_K", 256, 210, "q6_k"), 15: GgmlType("Q8_K", 256, 292, "q8_k"),
    16: GgmlType("IQ2_XXS", 256, 66, "iq2_xxs"), 17: GgmlType("IQ2_XS", 256, 74, "iq2_xs"),
    18: GgmlType("IQ3_XXS", 256, 98, "iq3_xxs"), 19: GgmlType("IQ1_S", 256, 50, "iq1_s"),
    20: GgmlType("IQ4_NL", 32, 18, "iq4_nl"), 21: GgmlType("IQ3_S", 256, 110, "iq3_s"),
    22: GgmlType("IQ2_S", 256, 82, "iq2_s"), 23: GgmlType("IQ4_XS", 256, 136, "iq4_xs"),
    29: GgmlType("IQ1_M", 256, 56, "iq1_m"), 34: GgmlType("TQ1_0", 256, 54, "tq1_0"),
    35: GgmlType("TQ2_0", 256, 66, "tq2_0"), 39: GgmlType("MXFP4", 32, 17, "mxfp4"),
    40: GgmlType("NVFP4", 64, 36, "nvfp4"), 41: GgmlType("Q1_0", 128, 18),
}  # fmt: skip


class BlockCoder:
    """Decodes runs of blocks of one type; see :class:`diffai.formats.stored.Coder`."""

    __slots__ = ("_decode", "_endian", "elements", "kind", "size")

    def __init__(self, kind: GgmlType, endian: str) -> None:
        assert kind.decode is not None
        self.elements, self.size = kind.elements, kind.size
        self.kind = f"{kind.name}{endian}"
        self._decode, self._endian = kind.decode, endian

    def decode(self, data: memoryview, out: memoryview) -> None:
        """Whole blocks to float32."""
        import numpy as np

        from diffai.formats.gguf.decoding import DECODERS

        blocks = np.frombuffer(data, np.uint8).reshape(-1, self.size)
        with np.errstate(all="ignore"):  # scales may be NaN or infinite: so is what they scale
            values = DECODERS[self._decode](blocks, self._endian)
        np.frombuffer(out, "<f4").reshape(values.shape)[...] = values
