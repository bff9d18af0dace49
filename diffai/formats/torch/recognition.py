"""Whether bytes are a torch file, from the first 4 KiB alone."""

from __future__ import annotations

import struct

from diffai.formats.base import Limits
from diffai.formats.torch import legacy, tar
from diffai.formats.torch.opcodes import OPCODE_BYTES
from diffai.sources.base import Source

HEAD = 4096
ZIP = b"PK\x03\x04"
_TOP_MEMBERS = frozenset(("data.pkl", ".format_version", ".storage_alignment", "byteorder", "version", "constants.pkl",
                          "bytecode.pkl", "model.json", "attributes.pkl"))  # fmt: skip
_FOLDERS = frozenset(("data", "code", ".data", "constants", "tensors", "extra", "ts_code"))
_PICKLE_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".torch")
# How pickles of protocol 0 and 1 that hold a container or a call begin.
_OLD_STARTS = (b"(dp", b"(lp", b"}q\x00", b"]q\x00", b"(dq\x00", b"ccollections\n", b"ccopy_reg\n", b"cnumpy")


def recognise(head: bytes, size: int, name: str) -> bool:
    """Whether content is a torch file's; the name decides only about pickles of protocol 0."""
    if head[:4] == ZIP:
        return _is_torch_zip(head, name)
    if legacy.is_legacy(head) or tar.is_tar(head) or head[4:8] == b"PTMF":
        return True
    if head[:1] == b"\x80":
        return is_pickle(head)
    return name.lower().endswith(_PICKLE_SUFFIXES) and is_pickle(head)


def _is_torch_zip(head: bytes, name: str) -> bool:
    """Look at the names of as many members as the head shows."""
    at, seen_folder = 0, False
    while head[at : at + 4] == ZIP and at + 30 <= len(head):
        flags, _, _, _, _, packed, _, name_size, extra_size = struct.unpack_from("<4H3I2H", head, at + 6)
        member = head[at + 30 : at + 30 + name_size].decode("utf-8", "replace")
        if member.endswith(".npy"):
            return False
        parts = member.split("/")
        if member == "data.pkl" or (len(parts) == 2 and parts[1] in _TOP_MEMBERS):
            return True
        if len(parts) > 2 and parts[1] in _FOLDERS and (parts[1] != "data" or parts[2].isdigit()):
            return True
        seen_folder = seen_folder or (len(parts) == 2 and not parts[1])
        if not seen_folder or flags & 8:
            return False
        at += 30 + name_size + extra_size + packed
    return False


def is_pickle(head: bytes) -> bool:
    """Whether a pickle starts here: a protocol byte and an opcode, or a known beginning of protocol 0 or 1."""
    if head[:1] == b"\x80":
        return len(head) > 3 and 2 <= head[1] <= 5 and head[2] in OPCODE_BYTES
    return head.startswith(_OLD_STARTS) or _starts_with_call(head)


def _starts_with_call(head: bytes) -> bool:
    """Letter c, two lines (module, name), and ``(``: a global and the arguments it is called with."""
    if head[:1] != b"c":
        return False
    lines = head[1:600].split(b"\n", 2)
    if len(lines) < 3:
        return False
    words = all(line and line.replace(b".", b"").replace(b"_", b"").isalnum() for line in lines[:2])
    return words and lines[2][:1] in (b"(", b"p", b"q", b")")


def spooled(source: Source, limits: Limits) -> Source:
    """The same bytes with random access."""
    from diffai.sources.spool import spool

    return spool(source, limits.max_spool)
