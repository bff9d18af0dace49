"""Long headers, of thousands of tensors: never held as one text, and parsed once for all files that have the same.

A header of 100,000 tensors is 10 MB, takes half a second to parse, and 30 MB to keep. The sides of a comparison, the
shards and the versions of a model mostly have the same one, but for what ``__metadata__`` says.
"""

from __future__ import annotations

import re
from hashlib import sha256
from weakref import WeakValueDictionary

from diffai.formats.safetensors_header import Entries, Header, Specs, check_layout, parse_header, raise_first

_METADATA = re.compile(
    rb'\{"__metadata__": ?\{(?:"[^"\\]*+(?:\\.[^"\\]*+)*+": ?"[^"\\]*+(?:\\.[^"\\]*+)*+"(?:, ?)?)*+\}(?=, ?")'
)
_WINDOW = 1 << 16

_known: WeakValueDictionary[tuple[bool, int, int, bytes], Specs] = WeakValueDictionary()
"""Specs that some open checkpoint has, by what they follow from: see :func:`header_of`."""


def header_of(raw: memoryview, file_size: int) -> Header:
    """As :func:`parse_header`, raising the first problem; specs are those of an earlier header where they are the same.

    They follow from where the data begins and ends, and from all bytes between the metadata, where these come first,
    and the padding. A header that is refused is never remembered.
    """
    length = len(raw)
    found = _METADATA.match(raw)
    cut = found.end() if found else 0
    own = memoryview(bytes(raw[:cut]) + b"}" if found else b"{}")
    del found  # it holds the memory
    end = _end(raw)
    key = (cut > 0, length, file_size, sha256(raw[cut:end]).digest())
    specs = _known.get(key)
    if specs is not None:
        raw.release()
        return Header(specs, parse_header(own, 8 + len(own), raise_first).metadata, 8 + length)
    entries = _usual_entries(raw, cut, end)
    if entries is None:
        header = parse_header(raw, file_size, raise_first)
    else:
        raw.release()
        metadata = parse_header(own, 8 + len(own), raise_first).metadata
        header = Header(check_layout(entries, file_size, raise_first), metadata, 8 + length)
    _known[key] = header.tensors
    return header


def _end(raw: memoryview) -> int:
    """Where the padding begins."""
    end = len(raw)
    while end:
        tail = bytes(raw[max(0, end - 4096) : end])
        kept = tail.rstrip(b" \t\r\n")
        if kept:
            return end - len(tail) + len(kept)
        end -= len(tail)
    return 0


def _usual_entries(raw: memoryview, cut: int, end: int) -> Entries | None:
    """The entries behind the metadata, decoded a window at a time; None when any is unusual, or nothing is right."""
    entries = Entries("", 8 + len(raw), raise_first)
    at, last = cut, end - 1
    if last < 1 or raw[last] != ord("}") or raw[at] != ord("," if cut else "{"):
        return None
    while at < last:
        at += 1
        if raw[at] == ord(" "):
            at += 1
        stop = last
        if last - at > _WINDOW:
            stop = at + bytes(raw[at : at + _WINDOW]).rfind(b"},") + 1
        try:
            text = str(raw[at:stop], "utf-8")
        except UnicodeDecodeError:
            return None
        if entries.take_usual(text, 0) != (len(text), True):
            return None
        at = stop
    return entries
