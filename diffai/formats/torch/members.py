"""How items and keys get into the inert containers; nothing deep is ever hashed or compared."""

from __future__ import annotations

from diffai.formats.torch.objects import Global, OpaqueKey, PickledSet, Stub


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


def hashable(key: object) -> object:
    """The key itself where hashing it is cheap and equality means something, else a wrapper with identity."""
    if key is None or isinstance(key, (str, bytes, float, Stub, Global)):
        return key
    if isinstance(key, int):
        return key if key.bit_length() <= 64 else OpaqueKey(key)
    if type(key) is tuple and len(key) <= 16 and all(isinstance(item, (str, int, float)) for item in key):
        return key
    return OpaqueKey(key)
