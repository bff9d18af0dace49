"""The opcodes of pickles that name globals, call them, set their state, or refer to what lies elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from diffai.errors import FormatError
from diffai.formats.torch.members import set_state
from diffai.formats.torch.objects import Array, Global, NumpyDType, Stub, Tensor

if TYPE_CHECKING:
    from diffai.formats.torch.unpickler import Machine

WRAPPERS = frozenset(("NumpyArrayWrapper", "NDArrayWrapper", "ZNDArrayWrapper"))
WRAPPER_MODULES = ("joblib.numpy_pickle", "joblib.numpy_pickle_compat")


def _global(m: Machine) -> None:
    module = m.line().decode("utf-8")
    m.stack.append(m.find(module, m.line().decode("utf-8")))


def _stack_global(m: Machine) -> None:
    module, name = m.stack[-2:]
    if not (isinstance(module, str) and isinstance(name, str)):
        raise ValueError
    m.stack[-2:] = [m.find(module, name)]


def _inst(m: Machine) -> None:
    module = m.line().decode("utf-8")
    function = m.find(module, m.line().decode("utf-8"))
    items = m.pop_mark()
    m.stack.append(m.call(function, tuple(items), "reduce" if items else "new"))


def _obj(m: Machine) -> None:
    items = m.pop_mark()
    m.stack.append(m.call(items[0], tuple(items[1:]), "reduce" if items[1:] else "new"))


def _reduce(m: Machine) -> None:
    args = m.stack.pop()
    m.stack[-1] = m.call(m.stack[-1], args)


def _newobj(m: Machine) -> None:
    args = m.stack.pop()
    m.stack[-1] = m.call(m.stack[-1], args, "new")


def _newobj_ex(m: Machine) -> None:
    function, args, keywords = m.stack[-3:]
    if type(args) is not tuple:
        raise ValueError
    made = m.call(function, args, "new")
    if type(made) is Stub and keywords:
        made.args = (*args, keywords)
    m.stack[-3:] = [made]


def _build(m: Machine) -> None:
    state = m.stack.pop()
    target = m.stack[-1]
    if type(target) is Stub:
        target.state = state
        m.judge(target.of, "build")
        if target.of.name in WRAPPERS:
            _unwrap(m, target)
    elif type(target) is Tensor:
        set_state(target, state, m.where())
    elif type(target) is Global:
        m.walk(target)  # attributes of a class, function or module are set
    elif type(target) is Array or type(target) is NumpyDType:
        setter = m.constructors["state of an array" if type(target) is Array else "state of a dtype"]
        setter(m, (target, state))
    elif type(target) is dict:
        m.dict_attributes.append(state)


def _unwrap(m: Machine, wrapper: Stub) -> None:
    """A stand-in of joblib: the array itself comes next, or lies in a file beside this one."""
    unwrapped = m.constructors.get(f"what {wrapper.of.name} stands for")
    if unwrapped is not None and wrapper.of.module.endswith(WRAPPER_MODULES):
        m.stack[-1] = unwrapped(m, (wrapper,))


def _ext(m: Machine) -> None:
    raise FormatError("pickle uses extension codes, whose meaning is not in the file", code="PT20", offset=m.where())


def _persid(m: Machine) -> None:
    m.stack.append(_load(m, m.line().decode("ascii")))


def _binpersid(m: Machine) -> None:
    m.stack[-1] = _load(m, m.stack[-1])


def _load(m: Machine, identifier: object) -> object:
    if m.persistent is None:
        raise FormatError("pickle refers to objects outside itself", code="PT20", offset=m.where())
    return m.persistent(identifier)


CALLS: dict[bytes, Callable[[Machine], None]] = {
    b"c": _global, b"\x93": _stack_global, b"i": _inst, b"o": _obj,
    b"R": _reduce, b"\x81": _newobj, b"\x92": _newobj_ex, b"b": _build,
    b"\x82": _ext, b"\x83": _ext, b"\x84": _ext,
    b"P": _persid, b"Q": _binpersid,
}  # fmt: skip
