"""How items and keys get into the inert containers; nothing deep is ever hashed or compared."""

from __future__ import annotations

from diffai.errors import FormatError
from diffai.formats.torch.objects import Global, OpaqueKey, PickledSet, Storage, Stub, Tensor


def extend(target: object, items: list[object]) -> None:
    """Append to a list, set or Stub; ValueError for anything else."""
    if type(target) is list:
        target.extend(items)
    elif type(target) is PickledSet or type(target) is Stub:
        target.items.extend(items)
    else:
        raise ValueError


def set_items(target: object, items: list[object]) -> None:
    """Set alternating keys and values in a dictionary or Stub."""
    if type(target) is Stub:
        target = target.pairs
    if type(target) is not dict or len(items) % 2:
        raise ValueError
    for position in range(0, len(items), 2):
        key = items[position]
        target[key if type(key) is str else hashable(key)] = items[position + 1]


def set_state(target: Tensor, state: object, offset: int) -> None:
    """BUILD of a tensor: attributes, or as torch before 0.4 wrote them, what ``Tensor.set_`` takes in its place.

    Raises:
        FormatError: a form of which torch would make other values than we do (PT10).

    """
    if type(state) is dict:
        target.state = state
        return
    if type(state) is tuple and len(state) == 4 and isinstance(state[0], Storage):
        target.storage, target.offset, target.shape, target.strides = state
        return
    raise FormatError("a tensor is given a state of a form that is not read", code="PT10", offset=offset)


def hashable(key: object) -> object:
    """The key itself where hashing it is cheap and equality means something, else a wrapper with identity."""
    if key is None or isinstance(key, (str, bytes, float, Stub, Global)):
        return key
    if isinstance(key, int):
        return key if key.bit_length() <= 64 else OpaqueKey(key)
    if type(key) is tuple and len(key) <= 16 and all(isinstance(item, (str, int, float)) for item in key):
        return key
    return OpaqueKey(key)
