"""The opcodes of pickle protocols 0 to 5, one small function each; semantics as in CPython's ``pickletools``."""

from __future__ import annotations

import struct
from _codecs import escape_decode
from collections.abc import Callable
from typing import TYPE_CHECKING

from diffai.errors import FormatError
from diffai.formats.torch.calls import CALLS
from diffai.formats.torch.members import extend, set_items
from diffai.formats.torch.objects import (
    LongBytes,
    LongText,
    PickledSet,
)

if TYPE_CHECKING:
    from diffai.formats.torch.unpickler import Machine

LONG_BYTES = 4096  # longer bytes are left where they lie
LONG_TEXT = 65536
MAX_INTEGER_BYTES = 1024
# Fixed arguments of the opcodes that occur most; struct.error (too short) counts as damage like IndexError.
_u16 = struct.Struct("<H").unpack_from
_u32 = struct.Struct("<I").unpack_from
_i32 = struct.Struct("<i").unpack_from


# -------------------------------------------------------------- opcodes: stack and memo


class Stop(Exception):  # noqa: N818
    """The pickle is complete."""


def _mark(m: Machine) -> None:
    m.marks.append(m.stack)
    m.stack = []


def _stop(m: Machine) -> None:
    if len(m.stack) != 1 or m.marks:
        raise FormatError("pickle ends with a stack of other than one object", code="PT05", offset=m.where())
    raise Stop


def _pop(m: Machine) -> None:
    if m.stack:
        del m.stack[-1]
    else:
        m.pop_mark()


def _pop_mark(m: Machine) -> None:
    m.pop_mark()


def _dup(m: Machine) -> None:
    m.stack.append(m.stack[-1])


def _get(m: Machine) -> None:
    m.stack.append(m.memo[int(m.line())])


def _binget(m: Machine) -> None:
    m.stack.append(m.memo[m.buf[m.pos]])
    m.pos += 1


def _long_binget(m: Machine) -> None:
    pos = m.pos
    m.pos = pos + 4
    m.stack.append(m.memo[_u32(m.buf, pos)[0]])


def _put(m: Machine) -> None:
    m.memo[int(m.line())] = m.stack[-1]


def _binput(m: Machine) -> None:
    m.memo[m.buf[m.pos]] = m.stack[-1]
    m.pos += 1


def _long_binput(m: Machine) -> None:
    pos = m.pos
    m.pos = pos + 4
    m.memo[_u32(m.buf, pos)[0]] = m.stack[-1]


def _memoize(m: Machine) -> None:
    m.memo[len(m.memo)] = m.stack[-1]


# -------------------------------------------------------------- opcodes: scalars


def _proto(m: Machine) -> None:
    if m.unsigned(1) > 5:
        raise FormatError("pickle of a protocol above 5", code="PT05", offset=m.where())


def _frame(m: Machine) -> None:
    m.unsigned(8)


def _none(m: Machine) -> None:
    m.stack.append(None)


def _true(m: Machine) -> None:
    m.stack.append(True)


def _false(m: Machine) -> None:
    m.stack.append(False)


def _int(m: Machine) -> None:
    line = m.line()
    m.stack.append({b"00": False, b"01": True}.get(line) if line in (b"00", b"01") else int(line))


def _long(m: Machine) -> None:
    m.stack.append(int(m.line().rstrip(b"L")))


def _binint(m: Machine) -> None:
    pos = m.pos
    m.pos = pos + 4
    m.stack.append(_i32(m.buf, pos)[0])


def _binint1(m: Machine) -> None:
    m.stack.append(m.buf[m.pos])
    m.pos += 1


def _binint2(m: Machine) -> None:
    pos = m.pos
    m.pos = pos + 2
    m.stack.append(_u16(m.buf, pos)[0])


def _long1(m: Machine) -> None:
    m.stack.append(int.from_bytes(m.take(m.unsigned(1)), "little", signed=True))


def _long4(m: Machine) -> None:
    size = m.unsigned(4)
    if size > MAX_INTEGER_BYTES:
        raise FormatError(f"pickle has an integer of {size:,} bytes", code="PT05", offset=m.where())
    m.stack.append(int.from_bytes(m.take(size), "little", signed=True))


def _float(m: Machine) -> None:
    m.stack.append(float(m.line()))


def _binfloat(m: Machine) -> None:
    m.stack.append(struct.unpack(">d", m.take(8))[0])


# -------------------------------------------------------------- opcodes: text and bytes


def _push_text(m: Machine, size: int) -> None:
    if size > LONG_TEXT:
        m.stack.append(LongText(m.skip(size)))
    else:
        m.stack.append(m.take(size).decode("utf-8", "surrogatepass"))


def _push_bytes(m: Machine, size: int) -> None:
    m.stack.append(LongBytes(m.skip(size)) if size > LONG_BYTES else m.take(size))


def _push_old_string(m: Machine, data: bytes | LongBytes) -> None:
    """A Python 2 ``str``: text where it is ASCII, else bytes."""
    m.stack.append(data.decode("ascii") if isinstance(data, bytes) and data.isascii() else data)


def _string(m: Machine) -> None:
    line = m.line()
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
        raise ValueError
    _push_old_string(m, escape_decode(line[1:-1])[0])


def _unicode(m: Machine) -> None:
    m.stack.append(m.line().decode("raw-unicode-escape"))


def _binstring(m: Machine) -> None:
    size = m.unsigned(4)
    _push_old_string(m, LongBytes(m.skip(size)) if size > LONG_BYTES else m.take(size))


def _short_binstring(m: Machine) -> None:
    _push_old_string(m, m.take(m.unsigned(1)))


def _binunicode(m: Machine) -> None:
    pos = m.pos
    m.pos = pos + 4
    _push_text(m, _u32(m.buf, pos)[0])


def _short_binunicode(m: Machine) -> None:
    _push_text(m, m.unsigned(1))


def _binunicode8(m: Machine) -> None:
    _push_text(m, m.unsigned(8))


def _binbytes(m: Machine) -> None:
    _push_bytes(m, m.unsigned(4))


def _short_binbytes(m: Machine) -> None:
    _push_bytes(m, m.unsigned(1))


def _binbytes8(m: Machine) -> None:
    _push_bytes(m, m.unsigned(8))


def _next_buffer(m: Machine) -> None:
    raise FormatError("pickle keeps its buffers outside itself", code="PT10", offset=m.where())


def _readonly_buffer(m: Machine) -> None:
    """Nothing to do: nothing here is written to."""


# -------------------------------------------------------------- opcodes: containers


def _empty_list(m: Machine) -> None:
    m.stack.append([])


def _empty_dict(m: Machine) -> None:
    m.stack.append({})


def _empty_tuple(m: Machine) -> None:
    m.stack.append(())


def _empty_set(m: Machine) -> None:
    m.stack.append(PickledSet([]))


def _list(m: Machine) -> None:
    items = m.pop_mark()
    m.stack.append(items)


def _tuple(m: Machine) -> None:
    items = m.pop_mark()
    m.stack.append(tuple(items))


def _tuple1(m: Machine) -> None:
    m.stack[-1] = (m.stack[-1],)


def _tuple2(m: Machine) -> None:
    m.stack[-2:] = [(m.stack[-2], m.stack[-1])]


def _tuple3(m: Machine) -> None:
    m.stack[-3:] = [(m.stack[-3], m.stack[-2], m.stack[-1])]


def _dict(m: Machine) -> None:
    items = m.pop_mark()
    made: dict[object, object] = {}
    set_items(made, items)
    m.stack.append(made)


def _frozenset(m: Machine) -> None:
    items = m.pop_mark()
    m.stack.append(PickledSet(items))


def _append(m: Machine) -> None:
    value = m.stack.pop()
    extend(m.stack[-1], [value])


def _appends(m: Machine) -> None:
    items = m.pop_mark()
    extend(m.stack[-1], items)


def _setitem(m: Machine) -> None:
    pair = m.stack[-2:]
    del m.stack[-2:]
    set_items(m.stack[-1], pair)


def _setitems(m: Machine) -> None:
    items = m.pop_mark()
    set_items(m.stack[-1], items)


def _unknown(m: Machine) -> None:
    raise FormatError("pickle has a byte that is no opcode", code="PT05", offset=m.where() - 1)


_OPCODES: dict[bytes, Callable[[Machine], None]] = {
    b"(": _mark, b".": _stop, b"0": _pop, b"1": _pop_mark,
    b"2": _dup, b"g": _get, b"h": _binget, b"j": _long_binget,
    b"p": _put, b"q": _binput, b"r": _long_binput, b"\x94": _memoize,
    b"\x80": _proto, b"\x95": _frame, b"N": _none,
    b"\x88": _true, b"\x89": _false,
    b"I": _int, b"L": _long, b"J": _binint, b"K": _binint1,
    b"M": _binint2, b"\x8a": _long1, b"\x8b": _long4,
    b"F": _float, b"G": _binfloat,
    b"S": _string, b"V": _unicode, b"T": _binstring,
    b"U": _short_binstring, b"X": _binunicode, b"\x8c": _short_binunicode,
    b"\x8d": _binunicode8, b"B": _binbytes, b"C": _short_binbytes,
    b"\x8e": _binbytes8, b"\x96": _binbytes8,
    b"\x97": _next_buffer, b"\x98": _readonly_buffer,
    b"]": _empty_list, b"}": _empty_dict, b")": _empty_tuple,
    b"\x8f": _empty_set, b"l": _list, b"t": _tuple,
    b"\x85": _tuple1, b"\x86": _tuple2, b"\x87": _tuple3,
    b"d": _dict, b"\x91": _frozenset, b"a": _append, b"e": _appends,
    b"\x90": _appends, b"s": _setitem, b"u": _setitems,
    **CALLS,
}  # fmt: skip
TABLE = tuple(_OPCODES.get(bytes((code,)), _unknown) for code in range(256))
OPCODE_BYTES = frozenset(code[0] for code in _OPCODES)
