"""Whether bytes are a torch file, from the first 4 KiB alone."""

from __future__ import annotations

import struct

from diffai.errors import DiffaiError
from diffai.formats.base import Budget, Limits
from diffai.formats.torch import legacy, tar
from diffai.formats.torch.opcodes import OPCODE_BYTES

HEAD = 4096
ZIP = b"PK\x03\x04"
_TOP_MEMBERS = frozenset(("data.pkl", ".format_version", ".storage_alignment", "byteorder", "version", "constants.pkl",
                          "bytecode.pkl", "model.json", "attributes.pkl"))  # fmt: skip
_FOLDERS = frozenset(("data", "code", ".data", "constants", "tensors", "extra", "ts_code"))
_PICKLE_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".joblib", ".torch", ".pdparams")
# How pickles of protocol 0 and 1 that hold a container or a call begin.
_BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_OLD_STARTS = (b"(dp", b"(lp", b"}q\x00", b"]q\x00", b"(dq\x00", b"ccollections\n", b"ccopy_reg\n", b"cnumpy")


def recognise(head: bytes, size: int, name: str) -> bool:
    """Whether content is a torch file's; the name decides only where content says little."""
    if head[:4] == ZIP:
        return _is_torch_zip(head, name)
    if legacy.is_legacy(head) or tar.is_tar(head) or head[4:8] == b"PTMF":
        return True
    return pickle_start(head, size, named=name.lower().endswith(_PICKLE_SUFFIXES)) >= 0


def pickle_start(head: bytes, size: int, *, named: bool) -> int:
    """Where in ``head`` a pickle starts that a loader would accept: 0, or behind a byte order mark; -1 = nowhere.

    Content that begins like a pickle is one. Any other, text included, is one when the pickle machine, tried on its
    first bytes, calls something: what a loader would have run. ``named`` like a pickle, it is one already when the
    machine names something, or finds no fault up to the end of ``head``.
    """
    start = next((len(mark) for mark in _BYTE_ORDER_MARKS if head.startswith(mark)), 0)
    data = head[start:]
    if data[:1] == b"\x80" or (named and is_pickle(data)):
        return start if is_pickle(data) else -1
    return start if data[:1] and data[0] in OPCODE_BYTES and _runs(data, size - start, named=named) else -1


def _runs(data: bytes, size: int, *, named: bool) -> bool:
    from diffai.formats.regions import BytesRegion, Spool
    from diffai.formats.torch.unpickler import Machine

    machine = Machine(BytesRegion(data), 0, Budget(Limits()), {}, Spool(0), lambda identifier: None)
    complete = False
    try:
        machine.run()
        complete = True
    except DiffaiError:
        pass
    uses = {key: use for key, use in machine.uses.items() if _could_be_names(*key)}
    done = any(use.use != "import" for use in uses.values())
    if done or not named:
        return done
    return (bool(uses) and complete) or (0 < machine.wanted <= size and machine.wanted > len(data))


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


def _could_be_names(module: str, name: str) -> bool:
    """Two lines of text behind an ``i`` or ``c`` are seldom a module and a name."""
    return all(word.replace("-", "_").isidentifier() for word in (*module.split("."), *name.split(".")))


def is_pickle(head: bytes) -> bool:
    """Whether a pickle starts here: a protocol byte and an opcode, or a known beginning of protocol 0 or 1."""
    if head[:1] == b"\x80":
        return len(head) > 3 and head[1] <= 5 and head[2] in OPCODE_BYTES
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
