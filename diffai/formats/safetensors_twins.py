"""Long headers that say the same are parsed once: the two sides of a comparison, the shards and versions of a model.

A header of 100,000 tensors takes half a second to parse, and 30 MB to keep. Models that are compared mostly have
the same one, but for what ``__metadata__`` says.
"""

from __future__ import annotations

import re
from hashlib import sha256
from weakref import WeakValueDictionary

from diffai.formats.safetensors_header import Header, Specs, parse_header, raise_first

_METADATA = re.compile(
    rb'\{"__metadata__": ?\{(?:"[^"\\]*+(?:\\.[^"\\]*+)*+": ?"[^"\\]*+(?:\\.[^"\\]*+)*+"(?:, ?)?)*+\}(?=, ?")'
)

_known: WeakValueDictionary[tuple[int, int, int, bytes], Specs] = WeakValueDictionary()
"""Specs that some open checkpoint has, by what they follow from: see :func:`header_of`."""


def header_of(raw: bytearray, file_size: int) -> Header:
    """As :func:`parse_header`, raising the first problem; specs are those of an earlier header where they are the same.

    They follow from where the data begins and ends, and from all bytes between the metadata, where these come first,
    and the padding. A header that is refused is never remembered.
    """
    found = _METADATA.match(raw)
    cut = found.end() if found else 0
    end = raw.rfind(b"}") + 1
    if raw[end:].strip(b" \t\r\n"):
        return parse_header(raw, file_size, raise_first)
    with memoryview(raw) as view:
        key = (bool(cut), len(raw), file_size, sha256(view[cut:end]).digest())
    specs = _known.get(key)
    if specs is None:
        header = parse_header(raw, file_size, raise_first)
        _known[key] = header.tensors
        return header
    data_start = 8 + len(raw)
    own = bytearray(raw[:cut] + b"}" if cut else b"{}")
    return Header(specs, parse_header(own, 8 + len(own), raise_first).metadata, data_start)
