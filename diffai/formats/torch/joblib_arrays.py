"""Arrays that joblib keeps outside its pickle: behind the stand-in in the same stream, or in files beside it.

joblib 0.10 and later write ``NumpyArrayWrapper``: the raw values follow its BUILD, since 1.2 behind padding to 16 bytes
(its length in one byte, then so many bytes 0xFF); objects follow as a pickle of their own. joblib 0.9 and earlier write
``NDArrayWrapper`` (a ``.npy`` file) and ``ZNDArrayWrapper`` (the values, compressed), files of the same folder.
"""

from __future__ import annotations

from diffai.errors import FormatError, SourceError
from diffai.formats.base import Budget
from diffai.formats.npy_header import length_of, parse
from diffai.formats.regions import COPY_BLOCK, FileRegion, PartOf, read
from diffai.formats.torch.numpy_pickles import holds_objects, item_size
from diffai.formats.torch.objects import Array, LongBytes, NumpyDType, Stub, shown
from diffai.formats.torch.unpickler import Constructor, Machine
from diffai.model import element_count
from diffai.sources.base import Source

_ALIGNMENT = "numpy_array_alignment_bytes"


def _in_stream(machine: Machine, args: tuple[object, ...]) -> object:
    """The array whose values come next in the stream."""
    state = _state(args)
    dtype, shape = state.get("dtype"), state.get("shape")
    if not isinstance(dtype, NumpyDType) or not isinstance(shape, tuple) or not all(type(n) is int for n in shape):
        raise _bad(machine, "has an array of joblib without type or shape")
    if any(size < 0 for size in shape) or len(shape) > 64:
        raise _bad(machine, "has an array of joblib of an impossible shape")
    if holds_objects(dtype):
        return _objects(machine)
    item = item_size(dtype)
    if not item and element_count(shape):
        raise _bad(machine, "has an array of joblib whose elements have no known size")
    if state.get(_ALIGNMENT) is not None:
        padding = machine.take(1)[0]
        if machine.take(padding) != b"\xff" * padding or padding in _OPCODES:
            raise _bad(machine, "has an array of joblib behind padding that is none")
    elif machine.unpadded < 0:
        machine.unpadded = machine.at
    array = Array()
    array.dtype, array.shape, array.fortran = dtype, shape, state.get("order") == "F"
    array.data = LongBytes(machine.skip(element_count(shape) * item))
    return array


_OPCODES = frozenset(range(0x28, 0x100))  # a padding so long could begin as a pickle does; joblib aligns to 16


def _objects(machine: Machine) -> object:
    """A pickle of its own, of which joblib's stand-ins are no part."""
    inner = Machine(machine.region, machine.at, machine.budget, _plain(machine), machine.spool)
    inner.nested, inner.window = True, machine.window
    inner.uses = machine.uses
    value = inner.run()
    machine.go_on(inner.end)
    return value


def _plain(machine: Machine) -> dict[str, Constructor]:
    return {name: build for name, build in machine.constructors.items() if not name.startswith("what ")}


def _beside(machine: Machine, args: tuple[object, ...]) -> object:
    """The array of a ``.npy`` file beside this one."""
    source = _sibling(machine, _state(args))
    try:
        start, length = length_of(source.read(0, 12))
        header = parse(source.read(0, start + length), machine.budget)
        values = machine.spool.append(_blocks(source, header.start))
    finally:
        source.close()
    if header.objects:
        inner = Machine(values, 0, machine.budget, _plain(machine), machine.spool)
        inner.uses = machine.uses
        return inner.run()
    dtype = NumpyDType(header.fields[0].code if len(header.fields) == 1 else "V")
    dtype.structured = len(header.fields) != 1
    array = Array()
    array.dtype, array.shape, array.fortran = dtype, header.shape, header.fortran
    size = element_count(header.shape) * header.item
    array.data = LongBytes(PartOf(values, 0, min(size, values.size)))
    return array


def _compressed_beside(machine: Machine, args: tuple[object, ...]) -> object:
    """The array whose values lie compressed in a file beside this one, and whose shape and type lie here."""
    from diffai.formats.unpacking import unpacked

    state = _state(args)
    facts = state.get("state")
    if not isinstance(facts, tuple) or len(facts) < 3:
        raise _bad(machine, "has an array of joblib without type or shape")
    source = _sibling(machine, state)
    try:
        region = machine.spool.append(unpacked(source, "zfile", Budget(machine.budget.limits)))
    finally:
        source.close()
    array = Array()
    array.shape, array.dtype, array.fortran = facts[-3], facts[-2], facts[-1] is True
    array.data = LongBytes(region)
    return array


def _sibling(machine: Machine, state: dict[object, object]) -> Source:
    name = state.get("filename")
    if not isinstance(name, str) or not name or "/" in name or "\\" in name or name in (".", ".."):
        raise _bad(machine, f"keeps an array outside its folder, in {shown(str(name))}, which is not opened", "PT20")
    machine.siblings.append(name)
    if machine.sibling is None:
        raise _bad(machine, f"keeps an array in {shown(name)} beside it, which is not at hand here", "PT07")
    try:
        return machine.sibling(name)
    except SourceError as error:
        reason = f"keeps an array in {shown(name)} beside it, which is not at hand ({error})"
        raise _bad(machine, reason, "PT07") from error


def _blocks(source: Source, start: int):  # type: ignore[no-untyped-def]
    region = FileRegion(source, 0, source.size)
    for at in range(start, source.size, COPY_BLOCK):
        yield read(region, at, min(COPY_BLOCK, source.size - at))


def _state(args: tuple[object, ...]) -> dict[object, object]:
    (wrapper,) = args
    state = wrapper.state if isinstance(wrapper, Stub) else None
    return state if isinstance(state, dict) else {}


def _bad(machine: Machine, reason: str, code: str = "PT06") -> FormatError:
    return FormatError(reason, code=code, offset=machine.where(), format="joblib")


UNWRAPPED: dict[str, Constructor] = {
    "what NumpyArrayWrapper stands for": _in_stream,
    "what NDArrayWrapper stands for": _beside,
    "what ZNDArrayWrapper stands for": _compressed_beside,
}
"""How the stand-ins of joblib become arrays; entries of the allow-list of a plain pickle."""
