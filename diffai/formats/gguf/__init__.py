"""GGUF, the file format of ggml and llama.cpp: versions 1 to 3, both byte orders, all element types of ggml.

Quantized tensors are compared decoded. Specification: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.

==== ======================================================================================================
code reason
==== ======================================================================================================
GG01 the version is not known
GG02 the header is cut off
GG03 a count, a length or a nesting is impossible
GG04 a key stands twice, or a value is of an unknown type
GG05 the alignment is no power of two
GG06 a tensor has an impossible shape, or one that does not fit its blocks
GG07 a tensor has an element type that is not known, or was removed from ggml
GG08 a tensor does not begin at a multiple of the alignment
GG09 a tensor reaches past the end of the file
GG10 two tensors overlap
GG11 two tensors have one name
GG12 the header is longer than ``diffai.maxHeader``
==== ======================================================================================================
"""

from __future__ import annotations

from diffai.formats.gguf.header import FORMAT, GgufCheckpoint, read_header
from diffai.formats.stored import reader

NAME = FORMAT


def recognise(head: bytes, size: int, name: str) -> bool:
    """Whether content is GGUF: its magic decides."""
    return head[:4] == b"GGUF"


open_checkpoint, check = reader(GgufCheckpoint, read_header, "GG03")
